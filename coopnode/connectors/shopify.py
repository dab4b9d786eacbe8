"""The product CSV that Shopify exports, with the column names of before and after 2024.

Never merges what is apart: the rows of one product stand together under its handle, as Shopify writes them.
The thing to understand: the first row of a handle carries the product, each row with an option or a price
is one variant, and a row with neither only adds a picture.

Left out by rule: drafts, archived products and what is not published in the online store.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from coopnode.connectors import fields
from coopnode.connectors.article import Article, BadRow, Outcome, StockSaid, WrongCell
from coopnode.connectors.html import plain_text
from coopnode.connectors.money import parse_number, parse_price, parse_quantity
from coopnode.connectors.tables import Row, Table

NEEDED = ("Handle or URL handle", "Title", "Variant Price or Price")
_NAMES: dict[str, tuple[str, ...]] = {
    "handle": ("handle", "url handle"),
    "title": ("title",),
    "text": ("body (html)", "description"),
    "brand": ("vendor",),
    "type": ("type",),
    "category": ("product category", "google shopping / google product category"),
    "tags": ("tags",),
    "published": ("published", "published on online store"),
    "status": ("status",),
    "sku": ("variant sku", "sku"),
    "price": ("variant price", "price"),
    "barcode": ("variant barcode", "barcode"),
    "grams": ("variant grams", "weight value (grams)"),
    "tracker": ("variant inventory tracker", "inventory tracker"),
    "quantity": ("variant inventory qty", "inventory quantity"),
    "policy": ("variant inventory policy", "continue selling when out of stock"),
    "picture": ("image src", "product image url"),
    "variant picture": ("variant image", "variant image url"),
    "mpn": ("google shopping / mpn",),
}
_OPTIONS = (1, 2, 3)


def recognises(columns: frozenset[str]) -> bool:
    """Whether these column names are a header of this format, in either dialect."""
    return "title" in columns and ({"handle", "variant price"} <= columns or {"url handle", "price"} <= columns)


def read(table: Table, currency: str) -> Iterator[Outcome]:
    """Read each article of *table*, with prices in *currency*, which the export does not name."""
    columns = {name: [one for one in names if one in table.columns] for name, names in _NAMES.items()}
    for handle, group in groupby(table.rows(), lambda row: _handle(row, columns)):
        rows = []
        for row in group:
            if isinstance(row, BadRow):
                yield row
            elif not handle:
                yield row.bad("has no handle, so the product it belongs to is unknown")
            else:
                rows.append(row)
        if rows:
            yield from _Product(handle, rows, columns, currency).outcomes()


def _handle(row: Row | BadRow, columns: dict[str, list[str]]) -> str:
    return "" if isinstance(row, BadRow) else _cell(row, columns["handle"])


def _cell(row: Row, names: list[str]) -> str:
    return next((cell for cell in map(row.get, names) if cell), "")


class _Product:
    """The rows of one handle."""

    def __init__(self, handle: str, rows: list[Row], columns: dict[str, list[str]], currency: str) -> None:
        self._handle = handle
        self._rows = rows
        self._columns = columns
        self._currency = currency
        self._option_names = [rows[0].get(f"option{n} name") for n in _OPTIONS]
        self._pictures = [self._text(row, "picture") for row in rows]

    def outcomes(self) -> Iterator[Outcome]:
        """Read each variant."""
        variants = [row for row in self._rows if self._text(row, "price") or row.get("option1 value")]
        left_out = self._left_out()
        for row in variants or self._rows[:1]:
            try:
                yield row.skipped(left_out) if left_out else self._article(row, len(variants) > 1)
            except WrongCell as error:
                yield row.bad(str(error))

    def _left_out(self) -> str:
        """Name the rule by which the product is left out, if there is one."""
        first = self._rows[0]
        status = self._text(first, "status").casefold()
        if status and status != "active":
            return f"the product's status is '{status}'"
        if self._text(first, "published").casefold() == "false":
            return "not published in the online store"
        return ""

    def _article(self, row: Row, is_one_of_several: bool) -> Article:
        options = self._options(row)
        name = self._text(self._rows[0], "title")
        if not name:
            raise WrongCell(f"the first row of '{self._handle[:60]}' has no title; keep its rows together")
        listing = self._listing(row, fields.variant_title(name, options.values()))
        if options:
            listing["attributes"] = options | listing.get("attributes", {})
        if is_one_of_several:
            listing["variant_of"] = fields.made_up_sku(self._handle)
        sku = self._text(row, "sku").lstrip("'") or fields.made_up_sku(self._handle, *options.values())
        return Article(sku, listing, (self._stock(row),), row.number, row.other_line())

    def _options(self, row: Row) -> dict[str, str]:
        """Give the options that set this variant apart; "Default Title" means that there are none."""
        values = (row.get(f"option{n} value") for n in _OPTIONS)
        named = zip(self._option_names, values, strict=True)
        return {name or "Option": value for name, value in named if value and value != "Default Title"}

    def _listing(self, row: Row, title: str) -> dict[str, Any]:
        first = self._rows[0]
        found = {
            "title": title,
            "text": plain_text(self._text(first, "text")),
            "brand": self._text(first, "brand"),
            "category": self._category(),
            "tags": fields.tags(self._text(first, "tags"), ","),
            "picture_urls": fields.pictures([self._text(row, "variant picture"), *self._pictures]),
            "mpn": self._text(row, "mpn"),
            "weight_g": self._weight_g(row),
        }
        listing = {name: value for name, value in found.items() if value}
        price = self._text(row, "price")
        if price:
            listing |= {"price_minor": parse_price(price, self._currency, decimal="."), "currency": self._currency}
        fields.barcode(self._text(row, "barcode"), listing)
        return listing

    def _category(self) -> list[str]:
        first = self._rows[0]
        category = self._text(first, "category")
        # Some exports give the number that Google has for a category, which says nothing to a buyer.
        return fields.category_path(self._text(first, "type") if category.isdigit() or not category else category)

    def _weight_g(self, row: Row) -> int:
        grams = self._text(row, "grams")
        return round(parse_number(grams, decimal=".")) if grams else 0

    def _stock(self, row: Row) -> StockSaid:
        """Say the counted stock; without a tracker, or if it sells on beyond the stock, that there is some."""
        sells_on = self._text(row, "policy").casefold() in ("continue", "true")
        quantity = self._text(row, "quantity")
        if not self._text(row, "tracker") or not quantity:
            return StockSaid(available=True)
        quantity_milli = 0 if quantity.startswith("-") else parse_quantity(quantity, decimal=".")
        if quantity_milli == 0 and sells_on:
            return StockSaid(available=True)
        return StockSaid(quantity_milli=quantity_milli)

    def _text(self, row: Row, name: str) -> str:
        return _cell(row, self._columns[name])
