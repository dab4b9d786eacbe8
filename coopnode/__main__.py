"""Lets `python -m coopnode` do what the command `coopnode` does."""

from coopnode.cli import main

main(prog_name="coopnode")
