"""`coopnode key`: the keys with which this member signs."""

from __future__ import annotations

import click

from coopnode.cli import show
from coopnode.cli.root import State, json_option, pass_state, passphrase, shows_example


@click.group()
@shows_example("coopnode key rotate")
def key() -> None:
    """Replace the keys of this member."""


@key.command()
@click.option("--recovery", is_flag=True, help="Use the recovery key from paper: asks for it.")
@json_option
@shows_example("coopnode key rotate", "coopnode key rotate --recovery")
@pass_state
def rotate(state: State, *, recovery: bool, as_json: bool) -> None:
    """Go on with a new signing key, at once and everywhere.

    With --recovery the rotation key is replaced as well: for when the keys of this node were stolen.
    """
    state.folder.check_exists()
    given = passphrase(state.folder)
    paper = str(click.prompt("Recovery key", hide_input=True, err=True)) if recovery else None
    with state.client(given) as client:
        answer = client.call("key.rotate", recovery=paper, passphrase=given)
    if as_json:
        show.as_json(answer)
    else:
        show.line(f"The new key holds from epoch {answer['epoch']} on: {answer['key']}")
        show.line("Make a new backup of the data folder: older ones hold the old key.")
