"""`coopnode coop`: found a co-op, invite to it, join it, show it."""

from __future__ import annotations

import click

from coopnode.cli import show
from coopnode.cli.root import State, json_option, pass_state, shows_example


@click.group()
@shows_example("coopnode coop found 'Valley Traders'", "coopnode coop join coopnode:...")
def coop() -> None:
    """Found, invite to, join or show your co-op."""


@coop.command()
@click.argument("name")
@json_option
@shows_example("coopnode coop found 'Valley Traders'")
@pass_state
def found(state: State, name: str, *, as_json: bool) -> None:
    """Found a co-op with this member as its first."""
    answer = state.ask("coop.found", name=name)
    if as_json:
        show.as_json(answer)
        return
    show.line(f"The co-op '{answer['coop']}' is founded; its id is {answer['coop_id']}.")
    show.line("Next: `coopnode run`, then `coopnode coop invite` for each business that shall join.")


@coop.command()
@click.option("--uses", default=1, show_default=True, type=click.IntRange(1, 100), help="How many may join with it.")
@click.option("--days", default=14, show_default=True, type=click.IntRange(1, 366), help="How long it holds.")
@json_option
@shows_example("coopnode coop invite --uses 3 --days 7")
@pass_state
def invite(state: State, uses: int, days: int, *, as_json: bool) -> None:
    """Write an invitation: one line to send to whoever shall join."""
    answer = state.ask("coop.invite", uses=uses, days=days)
    if as_json:
        show.as_json(answer)
        return
    show.note(f"Good for {uses} and for {days} days; it leads to {', '.join(answer['endpoints'])}.")
    show.line(answer["invitation"])


@coop.command()
@click.argument("invitation")
@json_option
@shows_example("coopnode coop join coopnode:...")
@pass_state
def join(state: State, invitation: str, *, as_json: bool) -> None:
    """Join a co-op with an invitation that one of its members has sent."""
    answer = state.ask("coop.join", invitation=invitation)
    if as_json:
        show.as_json(answer)
        return
    show.line(f"This is the co-op '{answer['coop']}' with {show.many(answer['members'], 'member')}.")
    if answer["state"] == "member":
        show.line("This node is a member.")
    else:
        show.line("The application is handed in; `coopnode run`, and `coopnode status` says when it is admitted.")


@coop.command("show")
@json_option
@shows_example("coopnode coop show")
@pass_state
def show_coop(state: State, *, as_json: bool) -> None:
    """Show the co-op: its members, and how much of their catalogues is here."""
    answer = state.ask("coop.show")
    if as_json:
        show.as_json(answer)
        return
    show.line(f"{answer['coop']} ({answer['coop_id']}), minute book at page {answer['page']}")
    show.members(answer["members"])
