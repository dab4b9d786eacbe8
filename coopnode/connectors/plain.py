"""Our own CSV format: one row an article, columns named in English or German, in any order.

Never guesses what a column means: unknown columns are passed over, two columns for one field are refused.
The thing to understand: rows that follow each other with one sku and different locations are one article
with several stocks, whose listing is that of the first row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from coopnode.connectors import fields
from coopnode.connectors.article import Article, BadRow, Outcome, StockSaid, WrongCell
from coopnode.connectors.html import plain_text
from coopnode.connectors.money import decimal_sign, parse_price, parse_quantity
from coopnode.connectors.tables import Row, Table, UnreadableFile

NEEDED = ("sku", "title")
ATTRIBUTE = "attribute:"
ALIASES: dict[str, tuple[str, ...]] = {
    "sku": ("article number", "article no", "item number", "artikelnummer", "artikelnr", "artikelnr.", "art.-nr."),
    "title": ("name", "product", "product name", "bezeichnung", "titel", "artikel", "artikelname", "produkt"),
    "text": ("description", "beschreibung", "langtext"),
    "price": ("preis", "unit price", "sales price", "verkaufspreis", "vk", "vk-preis", "bruttopreis"),
    "currency": ("währung", "waehrung"),
    "unit": ("einheit", "mengeneinheit"),
    "pack": ("pack size", "packung", "packungsgröße", "gebinde", "inhalt"),
    "brand": ("manufacturer", "marke", "hersteller"),
    "gtin": ("ean", "ean13", "ean-code", "upc", "barcode"),
    "mpn": ("manufacturer number", "herstellernummer", "hersteller-nr."),
    "category": ("categories", "kategorie", "warengruppe"),
    "tags": ("keywords", "schlagwörter", "schlagworte", "stichwörter"),
    "quantity": ("stock", "qty", "on hand", "bestand", "menge", "lagerbestand"),
    "available": ("in stock", "verfügbar", "lieferbar"),
    "location": ("warehouse", "lager", "lagerort", "filiale", "standort"),
    "tax_percent": ("tax", "vat", "tax rate", "vat rate", "mwst", "mwst.", "mwst %", "ust", "steuersatz"),
    "tax_included": ("price includes tax", "inkl. mwst", "inkl. mwst."),
    "weight_g": ("weight (g)", "gewicht_g", "gewicht (g)"),
    "minimum": ("minimum order", "mindestmenge", "mindestbestellmenge"),
    "language": ("sprache",),
    "url": ("link", "webseite"),
    "picture_urls": ("pictures", "picture", "image", "images", "bild", "bilder", "bild-url"),
    "variant_of": ("variante von",),
}
_FIELDS = {alias.casefold(): name for name, aliases in ALIASES.items() for alias in (name, *aliases)}
_DECIMAL_COLUMNS = ("price", "quantity", "pack", "tax_percent")
_ROWS_OF_EVIDENCE = 500

Columns = dict[str, str]
"""Field to the column of this file that holds it."""


def recognises(columns: frozenset[str]) -> bool:
    """Whether these column names are a header of this format."""
    return {"sku", "title"} <= {_FIELDS[column] for column in columns if column in _FIELDS}


def read(table: Table, currency: str) -> Iterator[Outcome]:
    """Read each article of *table*; prices without a currency of their own are in *currency*."""
    columns = _columns(table)
    attributes = [
        (name[len(ATTRIBUTE) :].strip(), column)
        for name, column in zip(table.header, table.columns, strict=True)
        if column.startswith(ATTRIBUTE) and column != ATTRIBUTE
    ]
    reader = _Cells(columns, attributes, currency, _decimal_sign(table, columns))
    waiting: Article | None = None
    for row in table.rows():
        outcome = row if isinstance(row, BadRow) else reader.article(row)
        if isinstance(outcome, Article) and waiting is not None and _is_more_stock(waiting, outcome):
            waiting = replace(waiting, stock=waiting.stock + outcome.stock)
            continue
        if waiting is not None:
            yield waiting
        waiting = outcome if isinstance(outcome, Article) else None
        if isinstance(outcome, BadRow):
            yield outcome
    if waiting is not None:
        yield waiting


def _is_more_stock(article: Article, following: Article) -> bool:
    places = {stock.location for stock in article.stock}
    return (
        article.sku == following.sku
        and bool(following.stock)
        and all(stock.location not in places for stock in following.stock)
    )


def _columns(table: Table) -> Columns:
    found: Columns = {}
    for column in table.columns:
        name = _FIELDS.get(column)
        if name is None:
            continue
        if name in found:
            raise UnreadableFile(
                f"{table.path.name} has two columns for the {name}, '{found[name]}' and '{column}': "
                "remove or rename one of them."
            )
        found[name] = column
    return found


def _decimal_sign(table: Table, columns: Columns) -> str | None:
    """Look at the numbers of the first rows for the sign that marks decimals in this file."""
    wanted = [columns[name] for name in _DECIMAL_COLUMNS if name in columns]
    rows = (row for row in islice(table.rows(), _ROWS_OF_EVIDENCE) if isinstance(row, Row))
    return decimal_sign(row.get(column) for row in rows for column in wanted)


class _Cells:
    """Reads the rows of one file, whose columns, currency and decimal sign are known."""

    def __init__(self, columns: Columns, attributes: list[tuple[str, str]], currency: str, decimal: str | None) -> None:
        self._columns = columns
        self._attributes = attributes
        self._currency = currency
        self._decimal = decimal
        # Only what this file has columns for is looked at, row by row.
        self._readers = {name: one for name, one in self._all_readers().items() if name in columns}

    def article(self, row: Row) -> Article | BadRow:
        """Read one row."""
        try:
            sku = self._text(row, "sku")
            if not sku:
                raise WrongCell("has no sku (article number)")
            listing = self._listing(row)
            return Article(sku, listing, self._stock(row), row.number, row.other_line())
        except WrongCell as error:
            return row.bad(str(error))

    def _listing(self, row: Row) -> dict[str, Any]:
        listing: dict[str, Any] = {"title": fields.title(self._text(row, "title"))}
        for name, read_cell in self._readers.items():
            cell = row.get(self._columns[name])
            value = self._named(name, cell, read_cell) if cell else ""
            # A zero and a "no" are said; an empty text or list is not.
            if value not in ("", []):
                listing[_LISTING_FIELD.get(name, name)] = value
        price = self._text(row, "price")
        if price:
            currency = self._currency_of(row)
            listing["currency"] = currency
            listing["price_minor"] = self._named(
                "price", price, lambda cell: parse_price(cell, currency, decimal=self._decimal)
            )
        attributes = {name: row.get(column) for name, column in self._attributes if row.get(column)}
        if attributes:
            listing["attributes"] = attributes
        return listing

    def _all_readers(self) -> dict[str, Callable[[str], Any]]:
        decimal = self._decimal
        return {
            **_SIMPLE,
            "pack": lambda cell: parse_quantity(cell, decimal=decimal),
            "tax_percent": lambda cell: fields.tax_bp(cell, decimal=decimal),
            "weight_g": lambda cell: fields.whole_number(cell, decimal=decimal),
            "minimum": lambda cell: fields.whole_number(cell, decimal=decimal),
        }

    def _stock(self, row: Row) -> tuple[StockSaid, ...]:
        location = self._text(row, "location")
        quantity, available = self._text(row, "quantity"), self._text(row, "available")
        if quantity:
            milli = self._named("quantity", quantity, lambda cell: parse_quantity(cell, decimal=self._decimal))
            return (StockSaid(location, quantity_milli=milli),)
        if available:
            return (StockSaid(location, available=self._named("available", available, fields.truth)),)
        return ()

    def _currency_of(self, row: Row) -> str:
        code = self._text(row, "currency").upper() or self._currency
        if len(code) != 3 or not (code.isascii() and code.isalpha()):
            raise WrongCell(f"{self._columns['currency']}: '{code[:40]}' is not a currency code such as EUR")
        return code

    def _text(self, row: Row, name: str) -> str:
        column = self._columns.get(name)
        return row.get(column) if column else ""

    def _named(self, name: str, cell: str, read_cell: Callable[[str], Any]) -> Any:
        """Read a cell; a complaint begins with the column's name."""
        try:
            return read_cell(cell)
        except WrongCell as error:
            raise WrongCell(f"{self._columns[name]}: {error}") from error


_SIMPLE: dict[str, Callable[[str], Any]] = {
    "text": plain_text,
    "unit": fields.unit_code,
    "brand": str,
    "gtin": fields.gtin,
    "mpn": str,
    "category": fields.category_path,
    "tags": fields.tags,
    "tax_included": fields.truth,
    "language": str,
    "url": str,
    "picture_urls": lambda cell: fields.pictures(cell.replace("|", ",").split(",")),
    "variant_of": str,
}
_LISTING_FIELD = {"pack": "pack_milli", "tax_percent": "tax_bp"}
