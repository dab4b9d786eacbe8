"""`coopnode search`: ask the own node for what anybody in the co-op sells."""

from __future__ import annotations

from typing import Any

import click

from coopnode.cli import show
from coopnode.cli.root import State, json_option, pass_state, shows_example


@click.command()
@click.argument("words", nargs=-1)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000), help="How many to show.")
@click.option("--offset", default=0, show_default=True, type=click.IntRange(0, 10_000), help="How many to pass over.")
@json_option
@shows_example("coopnode search rye bread", "coopnode search --limit 5 4006381333931")
@pass_state
def search(state: State, words: tuple[str, ...], limit: int, offset: int, *, as_json: bool) -> None:
    """Search the catalogue of all members; without words, show everything."""
    answer = state.ask("search", text=" ".join(words), limit=limit, offset=offset)
    if as_json:
        show.as_json(answer)
        return
    if answer["listings"]:
        show.table(("title", ">price", ">stock", "said", "seller", "sku"), [row(one) for one in answer["listings"]])
    show.line(f"{show.many(answer['total'], 'listing')} found{_rest(answer)}.{_coverage(answer['coverage'])}")
    if answer.get("note"):
        show.note(answer["note"])


def row(listing: dict[str, Any]) -> tuple[str, str, str, str, str, str]:
    """Return one line of the table of results."""
    stock = listing["stock"][0] if listing["stock"] else None
    said = show.age(listing["age_s"] if stock is None else stock["age_s"])
    price = "" if listing["price"] is None else listing["price"]["text"]
    return listing["title"], price, show.quantity(stock), said, listing["member_name"], listing["sku"]


def _rest(answer: dict[str, Any]) -> str:
    shown_to = answer["offset"] + len(answer["listings"])
    return f", shown are {answer['offset'] + 1} to {shown_to}" if 0 < len(answer["listings"]) < answer["total"] else ""


def _coverage(coverage: dict[str, Any]) -> str:
    if coverage["complete"] >= coverage["members"] or coverage["replica"] != "full":
        return ""
    return f" Only {coverage['complete']} of {coverage['members']} members' catalogues are complete here."
