"""`coopnode vote`: propose, cast a ballot, see the count."""

from __future__ import annotations

import re
from typing import Any

import click

from coopnode.cli import show
from coopnode.cli.root import State, json_option, pass_state, shows_example
from coopnode.errors import BadInput

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_LONGEST_MS = 366 * 86_400 * 1_000


@click.group()
@shows_example("coopnode vote propose 'Open on Mondays?' --closes 7d", "coopnode vote cast 3f2a yes")
def vote() -> None:
    """Propose, cast your ballot, see the count."""


@vote.command()
@click.argument("title")
@click.option("--text", default="", help="What it is about, at length.")
@click.option("--closes", default="7d", show_default=True, help="How long ballots count: 20s, 10m, 12h, 7d, 2w.")
@click.option("--quorum", default="0", show_default=True, help="Percent of the members that must take part.")
@click.option(
    "--threshold",
    default="50",
    show_default=True,
    help="Percent of yes among yes and no: to be exceeded at 50 or less, reached above.",
)
@json_option
@shows_example("coopnode vote propose 'Open on Mondays?' --closes 7d --quorum 50 --threshold 66.67")
@pass_state
def propose(state: State, title: str, text: str, closes: str, quorum: str, threshold: str, *, as_json: bool) -> None:
    """Propose a decision to all who are members now."""
    answer = state.ask(
        "vote.propose",
        title=title,
        text=text,
        closes_in_ms=read_duration(closes),
        quorum_bp=read_percent(quorum),
        threshold_bp=read_percent(threshold),
    )
    if as_json:
        show.as_json(answer)
        return
    show.line(f"Proposed: {answer['title']}")
    show.line(f"Ballots count until {show.moment(answer['closes_ms'])}. Its id:")
    show.line(answer["id"])


@vote.command()
@click.argument("proposal")
@click.argument("choice", type=click.Choice(["yes", "no", "abstain"]))
@click.option("--why", default="", help="Your reason, for all to read.")
@json_option
@shows_example("coopnode vote cast 3f2a yes --why 'More customers'")
@pass_state
def cast(state: State, proposal: str, choice: str, why: str, *, as_json: bool) -> None:
    """Cast your ballot on PROPOSAL (the beginning of its id), or change it until the poll closes."""
    answer = state.ask("vote.cast", proposal=proposal, choice=choice, why=why)
    if as_json:
        show.as_json(answer)
        return
    show.line(f"Your ballot on '{answer['title']}': {choice}.")
    show.line(_count(answer))


@vote.command("show")
@click.argument("proposal", required=False)
@json_option
@shows_example("coopnode vote show", "coopnode vote show 3f2a --json")
@pass_state
def show_votes(state: State, proposal: str | None, *, as_json: bool) -> None:
    """Show all proposals, or one with its ballots and this node's count."""
    answer = state.ask("vote.list") if proposal is None else state.ask("vote.show", proposal=proposal)
    if as_json:
        show.as_json(answer)
    elif proposal is None:
        _list(answer["proposals"])
    else:
        _one(answer)


def _list(proposals: list[dict[str, Any]]) -> None:
    rows = []
    for one in proposals:
        tally = one["tally"]
        counts = f"{tally['yes']}/{tally['no']}/{tally['abstain']}"
        rows.append((one["id"][:12], one["title"], _state(one), show.moment(one["closes_ms"]), counts))
    if rows:
        show.table(("id", "title", "state", "closes", "yes/no/abstain"), rows)
    show.line(f"{show.many(len(rows), 'proposal')}.")


def _one(answer: dict[str, Any]) -> None:
    show.line(answer["title"])
    show.line(f"{answer['id']}, proposed by {answer['proposer_name']}")
    if answer["text"]:
        show.line(answer["text"], lines=True)
    show.line(f"{_state(answer)}, closing time {show.moment(answer['closes_ms'])}")
    show.line(_count(answer))
    ballots = [
        (one["member_name"], one["choice"] + (" (too late)" if one["late"] else ""), one["why"])
        for one in answer["ballots"]
    ]
    if ballots:
        show.table(("member", "ballot", "why"), ballots)


def _state(one: dict[str, Any]) -> str:
    if one["open"]:
        return "open"
    return "closed, carried" if one["tally"]["carried"] else "closed, not carried"


def _count(one: dict[str, Any]) -> str:
    tally = one["tally"]
    cast_by = tally["yes"] + tally["no"] + tally["abstain"]
    doubled = f", {tally['doubled']} void for being doubled" if tally["doubled"] else ""
    kind = "provisional: this node's own count" if one["provisional"] else "official"
    return (
        f"{tally['yes']} yes, {tally['no']} no, {tally['abstain']} abstain{doubled}; "
        f"{cast_by} of {tally['entitled']} members, quorum {tally['quorum']} ({kind})"
    )


def read_duration(text: str) -> int:
    """Read "20s", "10m", "12h", "7d" or "2w" into milliseconds. Raises BadInput."""
    match = re.fullmatch(r"([0-9]{1,7})([smhdw])", text.strip().lower())
    duration_ms = 0 if match is None else int(match[1]) * _UNITS[match[2]] * 1_000
    if not 0 < duration_ms <= _LONGEST_MS:
        raise BadInput(f"'{text}' is not a time until closing: give 20s, 10m, 12h, 7d or 2w, at most 366d.")
    return duration_ms


def read_percent(text: str) -> int:
    """Read "50", "66.67" or "50 %" into basis points. Raises BadInput."""
    match = re.fullmatch(r"([0-9]{1,3})(?:[.,]([0-9]{1,2}))?", text.strip().removesuffix("%").strip())
    share_bp = -1 if match is None else int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
    if not 0 <= share_bp <= 10_000:
        raise BadInput(f"'{text}' is not a percentage: give 0 to 100, with at most two decimals.")
    return share_bp
