"""Measurements of the promises: `python -m benchmarks` prints a table and writes build/bench/*.json.

Every figure stands beside its floor, measured in the same run: the bare step that cannot be left out.
"""
