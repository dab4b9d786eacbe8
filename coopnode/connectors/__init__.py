"""Inventory in: a member's stock file, in whichever format its shop exports, read as articles.

Never publishes and never writes: what becomes of an article is the caller's business.
The thing to understand: each row ends as exactly one `Article`, `BadRow` or `Skipped` (rows that add a
picture or a second location belong to the article before them), and every `Article` that comes out can be
published as it is.

    for outcome in read_articles(Path("stock.csv")):
        if isinstance(outcome, Article):
            records = outcome.records(now_ms)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from coopnode.connectors import plain, shopify, woocommerce
from coopnode.connectors.article import Article, BadRow, Outcome, Skipped, StockSaid, place
from coopnode.connectors.tables import Table, UnreadableFile, count_rows, open_table, shown_columns
from protocol.errors import Refused

__all__ = [
    "FORMATS",
    "Article",
    "BadRow",
    "Format",
    "Outcome",
    "Skipped",
    "StockSaid",
    "UnreadableFile",
    "count_rows",
    "read_articles",
]


@dataclass(frozen=True, slots=True)
class Format:
    """One way in which shops write their stock: how to know it by its header, and how to read it."""

    name: str
    description: str
    needed: tuple[str, ...]
    recognises: Callable[[frozenset[str]], bool]
    read: Callable[[Table, str], Iterator[Outcome]]


# The most particular header comes first: "sku" and "title" stand in many.
FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("shopify", "product export of Shopify", shopify.NEEDED, shopify.recognises, shopify.read),
        Format(
            "woocommerce",
            "product export of WooCommerce",
            woocommerce.NEEDED,
            woocommerce.recognises,
            woocommerce.read,
        ),
        Format("plain", "plain CSV, one row an article", plain.NEEDED, plain.recognises, plain.read),
    )
}


def read_articles(path: Path, *, form: str = "auto", currency: str = "EUR") -> Iterator[Outcome]:
    """Read the articles of the CSV file at *path*, one after the other.

    *form* is a name in `FORMATS`, or "auto" to go by the header; *currency* holds where the file names
    none. Raises UnreadableFile at once, before the first row is asked for.
    """
    table = open_table(path)
    chosen = _detect(table) if form == "auto" else _named(form, table)
    return _checked(chosen.read(table, currency))


def _detect(table: Table) -> Format:
    columns = frozenset(table.columns)
    for one in FORMATS.values():
        if one.recognises(columns):
            return one
    needs = "; ".join(f"{one.description}: {', '.join(one.needed)}" for one in FORMATS.values())
    raise UnreadableFile(
        f"{table.path.name} has no header row that is known here. Its first row says: {shown_columns(table)}. "
        f"Name at least these columns ({needs}), or export the file again with a header row."
    )


def _named(form: str, table: Table) -> Format:
    chosen = FORMATS.get(form)
    if chosen is None:
        raise UnreadableFile(f"'{form}' is not a format: choose auto, {', '.join(FORMATS)}.")
    if not chosen.recognises(frozenset(table.columns)):
        raise UnreadableFile(
            f"{table.path.name} is not a {chosen.description}: its columns are {shown_columns(table)}, "
            f"needed are {', '.join(chosen.needed)}."
        )
    return chosen


def _checked(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Turn an article that could not be published, or whose sku an earlier row has, into a bad row."""
    rows: dict[str, int] = {}
    for outcome in outcomes:
        yield _check(outcome, rows) if isinstance(outcome, Article) else outcome


def _check(article: Article, rows: dict[str, int]) -> Article | BadRow:
    first = rows.get(article.sku)
    if first is not None:
        cause = f"the sku '{article.sku}' of {place(article.row, article.line)} is already that of row {first}"
        return BadRow(article.row, cause, article.line)
    try:
        article.records(0)
    except Refused as refused:
        return BadRow(article.row, refused.detail, article.line)
    rows[article.sku] = article.row
    return article
