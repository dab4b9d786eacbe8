"""`coopnode status`, `peers`, `takeover` and `publish`: how the node stands, and its way out of a standstill."""

from __future__ import annotations

from typing import Any

import click

from coopnode.cli import show
from coopnode.cli.root import State, json_option, pass_state, shows_example


@click.command()
@json_option
@shows_example("coopnode status", "coopnode status --json")
@pass_state
def status(state: State, *, as_json: bool) -> None:
    """Say how this node stands: co-op, catalogue, what waits."""
    with state.client() as client:
        answer = {**client.call("status"), "runs": client.runs}
    if as_json:
        show.as_json(answer)
        return
    where = f"running at {answer['url']}" if answer["runs"] else "not running"
    show.line(f"{answer['name']} ({answer['member']}), {where}")
    show.line(f"Folder: {answer['folder']}")
    if answer["coop"] is not None:
        show.line(f"Co-op: {answer['coop']}, {'member' if answer['is_member'] else 'not admitted yet'}")
    own = answer["own_head"]
    if own is not None:
        show.line(f"Published: {show.many(own['records'], 'record')}, version {own['epoch']}.{own['rev']}")
    _keeps(answer["replica"])
    if answer["runs"]:
        show.line(f"Linked to {show.many(answer['peers'], 'peer')}.")
    show.fetching(answer)
    show.faults(answer)
    if answer["refused"]:
        show.line("Refused: " + ", ".join(f"{reason} {count}" for reason, count in answer["refused"].items()))
    for one in (*answer.get("throttled", []), *answer.get("dropped", [])):
        show.line(one["text"])
    for text in answer["notes"]:
        show.line(text)
    show.publication(answer)
    show.members(answer["members"])


def _keeps(replica: dict[str, Any]) -> None:
    """Say what kind of replica this node is, and what it holds."""
    if replica["kind"] == "light":
        show.line("Keeps: heads only (replica = light), no other member's catalogue; buyers' questions are passed on.")
    elif replica["kind"] == "scoped":
        chosen = [
            f"{what} {', '.join(replica[what])}" for what in ("members", "regions", "collections") if replica[what]
        ]
        if replica["max_records"]:
            chosen.append(f"no catalogue of more than {show.many(replica['max_records'], 'record')}")
        show.line(f"Keeps: a part (replica = scoped): {'; '.join(chosen) or 'everything'}.")
        show.line(
            f"Of {show.many(replica['others'], 'other member')} {replica['whole']} are here whole, "
            f"{replica['records']:,} of {show.many(replica['signed_records'], 'record')}."
        )
    for one in replica["problems"]:
        show.note(f"Setting 'replica_members': {one}.")


@click.command()
@json_option
@shows_example("coopnode peers")
@pass_state
def peers(state: State, *, as_json: bool) -> None:
    """Show the nodes to which this one is linked now."""
    answer = state.ask("peers")
    if as_json:
        show.as_json(answer)
        return
    columns = ("peer", "member", "keeps", "url", "since", ">in", ">out")
    show.table(columns, [_peer(one) for one in answer["peers"]])
    show.line(
        f"Linked to {show.many(len(answer['peers']), 'peer')}; known are "
        f"{show.many(len(answer['addresses']), 'address', 'addresses')}."
    )
    for one in (*answer["throttled"], *answer["dropped"]):
        show.line(one["text"])


def _peer(one: dict[str, Any]) -> tuple[str, ...]:
    since = show.moment(one["since_ms"]) if one["since_ms"] else ""
    moved = (f"{one['bytes_in']:,}", f"{one['bytes_out']:,}")
    return one["name"], one["member"][:12], one["replica"], one["url"] or "", since, *moved


@click.command()
@json_option
@shows_example("coopnode takeover")
@pass_state
def takeover(state: State, *, as_json: bool) -> None:
    """Say that this node is the one that speaks for the member, after two have run with the same keys.

    Stop the other node first: as long as both run, both halt again.
    """
    _publication(state.ask("takeover"), "This node speaks for the member again.", as_json=as_json)


@click.command()
@click.option("--anyway", is_flag=True, required=True, help="Say that you mean it.")
@json_option
@shows_example("coopnode publish --anyway")
@pass_state
def publish(state: State, *, anyway: bool, as_json: bool) -> None:
    """Publish what waits although too few members have answered since the start.

    After a restored backup the other nodes may know a later word of yours. Without them, this node cannot tell.
    """
    _publication(state.ask("publish.override"), "Published without waiting for more answers.", as_json=as_json)


def _publication(answer: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        show.as_json(answer)
        return
    if answer["publishing"] == "ready":
        show.line(sentence)
    show.publication(answer)
