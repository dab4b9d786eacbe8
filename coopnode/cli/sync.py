"""`coopnode sync`: ask the other members' nodes now for what was missed, and wait until it is here."""

from __future__ import annotations

import time
from typing import Any

import click

from coopnode.cli import show
from coopnode.cli.client import Client
from coopnode.cli.root import State, json_option, pass_state, shows_example
from coopnode.errors import NodeError

LINK_SECONDS = 5.0
"""A node that has just started gets so long to find somebody."""
LOOK_SECONDS = 0.25


@click.command()
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait at most.",
)
@json_option
@shows_example("coopnode sync", "coopnode sync --wait 30 --json")
@pass_state
def sync(state: State, *, wait_s: float, as_json: bool) -> None:
    """Ask all linked members now for what was missed, and wait until everything known is here.

    The exit code is 0 when this node is in step, and 1 when it is not. The node fetches on its own as well;
    this command is for those who want to see it, or to go on only when it is done.
    """
    began = time.monotonic()
    with state.client() as client:
        asked, others = _ask(client, began + min(wait_s, LINK_SECONDS))
        shown = _watch(client, began + wait_s) if asked else {"in_step": not others, "asked": 0}
    why = None if shown["in_step"] else _why(shown, wait_s)
    if as_json:
        seconds = round(time.monotonic() - began, 3)
        show.as_json({**shown, "seconds": seconds, "why": why})
    if why is not None:
        raise NodeError(why)
    if not as_json:
        show.line(_in_step(shown, others))


def _ask(client: Client, until: float) -> tuple[int, int]:
    """Have all linked nodes asked; return how many that are, and how many other members there are."""
    while True:
        begun = client.call("sync.begin")
        if begun["asked"] or not begun["others"] or time.monotonic() >= until:
            return begun["asked"], begun["others"]
        time.sleep(LOOK_SECONDS)


def _watch(client: Client, until: float) -> dict[str, Any]:
    """Show how far it is, until it is done, cannot go on, or time is over; return the last word."""
    with show.watch("Fetching") as watched:
        while True:
            shown = client.call("sync.show")
            stuck = shown["heard_out"] and not shown["fetching"]
            if shown["in_step"] or stuck or time.monotonic() >= until:
                return shown
            total = shown["records_in"] + shown["totals"]["missing"]
            watched.show(shown["records_in"], total, show.fetching_text(shown["records_in"], total, shown))
            time.sleep(LOOK_SECONDS)


def _why(shown: dict[str, Any], wait_s: float) -> str:
    """Say why this node is not in step."""
    if not shown["asked"]:
        return (
            "No other member's node is linked, so nobody can be asked what was missed. "
            "`coopnode peers` shows who is linked, and which addresses are known."
        )
    if shown["heard_out"] and not shown["fetching"]:
        if not shown["answered"]:
            return "No linked node has told what it knows. Its owner, or the log of this node, may know more."
        names = ", ".join(shown["lacking"][:5]) + (", ..." if len(shown["lacking"]) > 5 else "")
        return f"No linked node gives what is known of these members' catalogues: {names}. Try again later."
    missing = shown["totals"]["missing"]
    lacks = f"{show.many(missing, 'record')} of {show.many(len(shown['fetching']), 'catalogue')} are missing"
    if not shown["fetching"]:
        lacks = f"{shown['asked'] - shown['answered'] - shown['failed']} of {shown['asked']} nodes have not answered"
    return f"Not everything was here after {wait_s:g} s: {lacks}. The node goes on by itself."


def _in_step(shown: dict[str, Any], others: int) -> str:
    if not others:
        return "This member is alone in its co-op: there is nobody to be in step with."
    brought = "nothing was missing"
    if shown["records_in"]:
        brought = f"{show.many(shown['records_in'], 'record')} fetched, {show.size(shown['bytes_in'])}"
    return f"In step with {show.many(shown['answered'], 'node')}: {brought}."
