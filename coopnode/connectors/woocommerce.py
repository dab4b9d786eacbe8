"""The product CSV that WooCommerce exports, variable products and their variations included.

Never looks at a clock: a sale price with dates is passed over for the regular price.
The thing to understand: a variable product is not for sale itself, its variations are. They take title,
description, category and pictures from it, and wait in memory if the file has it only further down.

Left out by rule: what is not published or hidden from the shop's own catalogue, the variable product
itself, grouped products (their parts have rows of their own) and external ones (another shop sells them).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from coopnode.connectors import fields
from coopnode.connectors.article import Article, BadRow, Outcome, Skipped, StockSaid, WrongCell
from coopnode.connectors.html import plain_text
from coopnode.connectors.money import parse_number, parse_price, parse_quantity
from coopnode.connectors.tables import Row, Table

NEEDED = ("ID", "Type", "SKU", "Name", "Regular price")
_GTIN = "gtin, upc, ean, or isbn"
_COMMA = re.compile(r"(?<!\\),")
_ATTRIBUTE = re.compile(r"attribute (\d+) name")
_WEIGHT = re.compile(r"weight \((kg|g|lbs|oz)\)")
_GRAMS = {"kg": Decimal(1000), "g": Decimal(1), "lbs": Decimal("453.59237"), "oz": Decimal("28.349523125")}
_INHERITED = ("text", "category", "tags", "picture_urls", "brand")


def recognises(columns: frozenset[str]) -> bool:
    """Whether these column names are a header of this format."""
    return {"id", "type", "sku", "name", "regular price"} <= columns


@dataclass(frozen=True, slots=True)
class _Parent:
    """What the variations take from their variable product."""

    sku: str
    listing: dict[str, Any]
    left_out: str
    some_in_stock: bool


def read(table: Table, currency: str) -> Iterator[Outcome]:
    """Read each article of *table*, with prices in *currency*, which the export does not name."""
    reader = _Products(table, currency)
    orphans: list[Row] = []
    for row in table.rows():
        if isinstance(row, BadRow):
            yield row
        elif "variation" in _types(row) and row.get("parent") not in reader.parents:
            orphans.append(row)
        else:
            yield reader.outcome(row)
    for row in orphans:
        yield reader.outcome(row)


class _Products:
    """Reads the rows of one file and remembers its variable products."""

    def __init__(self, table: Table, currency: str) -> None:
        self.parents: dict[str, _Parent] = {}
        self._currency = currency
        self._attributes = [match[1] for match in map(_ATTRIBUTE.fullmatch, table.columns) if match]
        self._weight = next((match for match in map(_WEIGHT.fullmatch, table.columns) if match), None)

    def outcome(self, row: Row) -> Outcome:
        """Read one row."""
        try:
            types = _types(row)
            if "variable" in types:
                return self._remember(row)
            if "variation" in types:
                return self._variation(row)
            left_out = _left_out(row, types)
            if left_out:
                return row.skipped(left_out)
            return _article(row, _sku(row), self._listing(row, fields.title(row.get("name"))), _stock(row))
        except WrongCell as error:
            return row.bad(str(error))

    def _remember(self, row: Row) -> Skipped:
        sku, left_out = _sku(row), _left_out(row, {"simple"})
        listing = self._listing(row, fields.title(row.get("name")))
        some = _stock(row)
        parent = _Parent(sku, listing, left_out, bool(some.available or some.quantity_milli))
        self.parents[sku] = parent
        # An export names a parent without a SKU by its number.
        self.parents[f"id:{row.get('id')}"] = parent
        return row.skipped(left_out or "a variable product is sold through its variations")

    def _variation(self, row: Row) -> Article | BadRow | Skipped:
        parent = self.parents.get(row.get("parent"))
        if parent is None:
            return row.bad(f"the variable product '{row.get('parent')}' of this variation is not in the file")
        left_out = parent.left_out or _left_out(row, {"simple"})
        if left_out:
            return row.skipped(left_out)
        chosen = self._chosen(row)
        listing = self._listing(row, fields.variant_title(parent.listing["title"], chosen.values()))
        for name in _INHERITED:
            if not listing.get(name) and parent.listing.get(name):
                listing[name] = parent.listing[name]
        listing["variant_of"] = parent.sku
        return _article(row, _sku(row), listing, _stock(row, parent))

    def _listing(self, row: Row, title: str) -> dict[str, Any]:
        listing: dict[str, Any] = {"title": title}
        regular, sale = row.get("regular price"), _sale_price(row)
        if sale or regular:
            listing["price_minor"] = parse_price(sale or regular, self._currency)
            listing["currency"] = self._currency
        text = plain_text(_line_breaks(row.get("description") or row.get("short description")))
        found = {
            "text": text,
            "category": fields.category_path(_list(row.get("categories"))[0]),
            "tags": fields.tags(row.get("tags"), ","),
            "picture_urls": fields.pictures(_list(row.get("images"))),
            "brand": _list(row.get("brands"))[0],
            "attributes": self._chosen(row),
            "weight_g": self._weight_g(row),
        }
        listing |= {name: value for name, value in found.items() if value}
        fields.barcode(row.get(_GTIN), listing)
        return listing

    def _chosen(self, row: Row) -> dict[str, str]:
        """Give the attributes that this row has values for."""
        named = ((row.get(f"attribute {n} name"), row.get(f"attribute {n} value(s)")) for n in self._attributes)
        return {name: ", ".join(_list(value)) for name, value in named if name and value}

    def _weight_g(self, row: Row) -> int:
        if self._weight is None or not row.get(self._weight[0]):
            return 0
        weight = parse_number(row.get(self._weight[0]), decimal=".,")
        return round(weight * _GRAMS[self._weight[1]])


def _types(row: Row) -> set[str]:
    return {part.strip() for part in row.get("type").casefold().split(",")}


def _left_out(row: Row, types: set[str]) -> str:
    """Name the rule by which a row is left out, if there is one."""
    if row.get("published") in ("0", "-1"):
        return "not published in the shop"
    if row.get("visibility in catalog").casefold() == "hidden":
        return "hidden from the shop's own catalogue"
    if "grouped" in types:
        return "a grouped product: its parts are listed by themselves"
    if "external" in types:
        return "an external product: another shop sells it"
    if "simple" not in types:
        return f"a product of type '{row.get('type')[:40]}', which has no listing here"
    return ""


def _sku(row: Row) -> str:
    sku, number = row.get("sku"), row.get("id")
    if not sku and not number:
        raise WrongCell("has neither SKU nor ID")
    return sku or f"woo-{number}"


def _article(row: Row, sku: str, listing: dict[str, Any], stock: StockSaid) -> Article:
    return Article(sku, listing, (stock,), row.number, row.other_line())


def _sale_price(row: Row) -> str:
    dated = row.get("date sale price starts") or row.get("date sale price ends")
    return "" if dated else row.get("sale price")


def _stock(row: Row, parent: _Parent | None = None) -> StockSaid:
    """Say the counted stock, or, where the shop does not count or takes orders beyond it, whether there is some."""
    counted, in_stock = row.get("stock"), row.get("in stock?").casefold()
    if counted == "parent" and parent is not None:
        # The count is shared by all variations: to repeat it for each would promise it several times.
        return StockSaid(available=parent.some_in_stock)
    if not counted or counted == "parent":
        return StockSaid(available=in_stock not in ("0", "no", "false", ""))
    oversold = counted.startswith("-")
    quantity_milli = 0 if oversold else parse_quantity(counted, decimal=".")
    if quantity_milli == 0 and row.get("backorders allowed?").casefold() in ("1", "notify"):
        return StockSaid(available=True)
    return StockSaid(quantity_milli=quantity_milli)


def _list(cell: str) -> list[str]:
    """Part a list at its commas; a comma after a backslash belongs to a name."""
    return [part.strip().replace("\\,", ",") for part in _COMMA.split(cell)]


def _line_breaks(text: str) -> str:
    """Undo the backslash and n that the export writes for a line break."""
    return text.replace("\\\\n", "\0").replace("\\n", "\n").replace("\0", "\\n")
