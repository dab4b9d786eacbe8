"""`coopnode stock`: the own articles, one by one. Whole files come in by `importing`."""

from __future__ import annotations

from typing import Any

import click

from coopnode.cli import show
from coopnode.cli.root import State, json_option, pass_state, shows_example
from coopnode.errors import BadInput


@click.group()
@shows_example("coopnode stock import stock.csv", "coopnode stock set RYE-1KG 12", "coopnode stock list")
def stock() -> None:
    """Show and change what you sell, and how many you have."""


@stock.command("set")
@click.argument("sku")
@click.argument("quantity")
@json_option
@shows_example("coopnode stock set RYE-1KG 12", "coopnode stock set CLOTH-RED 2.5", "coopnode stock set REPAIR in")
@pass_state
def set_stock(state: State, sku: str, quantity: str, *, as_json: bool) -> None:
    """Say how many there are of an article: a number, or `in` or `out` of stock."""
    said: dict[str, Any] = {"available": quantity == "in"} if quantity in ("in", "out") else _counted(quantity)
    answer = state.ask("stock.set", sku=sku, **said)
    if as_json:
        show.as_json(answer)
        return
    show.line(f"{sku}: {quantity}" + (" of stock" if quantity == "out" else " stock" if quantity == "in" else ""))
    show.publication(answer)


@stock.command()
@click.argument("sku")
@click.argument("title")
@click.option("--price", help="Price, such as 4.20.")
@click.option("--currency", help="Currency of the price; without it that of the settings.")
@click.option("--quantity", help="How many there are, such as 12 or 2.5.")
@click.option("--unit", help="What is counted: piece, kg, litre, m, ... or a UN/ECE code.")
@click.option("--text", help="Description.")
@click.option("--brand", help="Who makes it.")
@click.option("--gtin", help="EAN, UPC or GTIN.")
@click.option("--category", help="From the general to the particular: 'Food > Bread'.")
@click.option("--tag", "tags", multiple=True, help="A word under which it shall be found; may be repeated.")
@click.option("--url", help="Its own web page.")
@json_option
@shows_example("coopnode stock add RYE-1KG 'Rye bread, 1 kg' --price 4.20 --quantity 12 --category 'Food > Bread'")
@pass_state
def add(state: State, /, sku: str, title: str, *, quantity: str | None, as_json: bool, **given: Any) -> None:
    """Add one article, or replace all that was said of it."""
    said = {} if quantity is None else _counted(quantity)
    answer = state.ask("stock.add", sku=sku, listing=_listing(state, title, given), **said)
    if as_json:
        show.as_json(answer)
        return
    show.line(f"{sku} is in your stock.")
    show.publication(answer)


@stock.command()
@click.argument("sku")
@json_option
@shows_example("coopnode stock remove RYE-1KG")
@pass_state
def remove(state: State, sku: str, *, as_json: bool) -> None:
    """Take an article out of your catalogue."""
    answer = state.ask("stock.remove", sku=sku)
    if as_json:
        show.as_json(answer)
        return
    show.line(f"{sku} is no longer in your stock.")
    show.publication(answer)


@stock.command("list")
@click.option("--limit", default=1_000, show_default=True, type=click.IntRange(1, 10_000), help="How many to show.")
@click.option("--offset", default=0, show_default=True, type=click.IntRange(0), help="How many to pass over.")
@json_option
@shows_example("coopnode stock list", "coopnode stock list --limit 100 --offset 1000 --json")
@pass_state
def list_stock(state: State, limit: int, offset: int, *, as_json: bool) -> None:
    """List your articles, also those that still wait to be published (marked with +)."""
    answer = state.ask("stock.list", limit=limit, offset=offset)
    if as_json:
        show.as_json(answer)
        return
    articles = answer["articles"]
    if articles:
        show.table((" ", "sku", "title", ">price", ">stock"), [_row(one) for one in articles])
    more = f", shown are {offset + 1} to {offset + len(articles)}" if 0 < len(articles) < answer["total"] else ""
    show.line(f"{show.many(answer['total'], 'article')}{more}.")
    show.publication(answer)


def _row(one: dict[str, Any]) -> tuple[str, str, str, str, str]:
    return "+" if one["waits"] else "", one["sku"], one["title"], one["price"] or "", show.quantity(one)


def _counted(text: str) -> dict[str, Any]:
    from coopnode.connectors.article import WrongCell
    from coopnode.connectors.money import parse_quantity

    try:
        return {"quantity_milli": parse_quantity(text)}
    except WrongCell as error:
        raise BadInput(f"{error}. Give a number such as 12 or 2.5, or `in` or `out`.") from error


def _listing(state: State, title: str, given: dict[str, Any]) -> dict[str, Any]:
    """Read the options of `stock add` the way an import reads the cells of a file."""
    from coopnode.connectors import fields, money
    from coopnode.connectors.article import WrongCell

    listing: dict[str, Any] = {name: given[name] for name in ("text", "brand", "url") if given[name] is not None}
    try:
        listing["title"] = fields.title(title)
        if given["price"] is not None:
            currency = given["currency"] or _currency(state)
            listing.update(price_minor=money.parse_price(given["price"], currency), currency=currency)
        if given["gtin"] is not None:
            listing["gtin"] = fields.gtin(given["gtin"])
        if given["unit"] is not None:
            listing["unit"] = fields.unit_code(given["unit"])
    except WrongCell as error:
        raise BadInput(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
    if given["category"] is not None:
        listing["category"] = fields.category_path(given["category"])
    if given["tags"]:
        listing["tags"] = list(given["tags"])
    return listing


def _currency(state: State) -> str:
    from coopnode import config as configs

    return configs.load(state.folder.config).currency
