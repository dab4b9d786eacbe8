"""What one row of somebody's stock file becomes: an article, a bad row or a skipped one.

Knows nothing of files or formats, and never reads the clock: when the stock was said is an argument.
The thing to understand: an article is one listing and what is said of its stock, under one sku.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from protocol import records


class WrongCell(ValueError):
    """One cell cannot be read; the message is a sentence for the shopkeeper, without the row."""


@dataclass(frozen=True, slots=True)
class StockSaid:
    """What the file says of the stock at one place: a counted quantity, or only whether there is some.

    Exactly one of `quantity_milli` and `available` is given. The empty location is the main one.
    """

    location: str = ""
    quantity_milli: int | None = None
    available: bool | None = None

    def value(self, said_ms: int) -> dict[str, Any]:
        """Give the fields of the stock record."""
        said: dict[str, Any] = {"said_ms": said_ms}
        if self.quantity_milli is not None:
            said["quantity_milli"] = self.quantity_milli
        if self.available is not None:
            said["available"] = self.available
        return said


@dataclass(frozen=True, slots=True)
class Article:
    """One thing for sale. `row` and `line` say where the file has it and do not count when comparing."""

    sku: str
    listing: dict[str, Any]
    stock: tuple[StockSaid, ...] = ()
    row: int = field(default=0, compare=False)
    line: int | None = field(default=None, compare=False)

    def records(self, said_ms: int) -> list[tuple[str, bytes, bytes]]:
        """Give the (collection, key, encoded value) of the listing and of each stock, ready to publish.

        Refuses what `protocol.records.write` refuses.
        """
        key = records.listing_key(self.sku)
        found = [(records.LISTING, key, records.write(records.LISTING, key, self.listing))]
        for stock in self.stock:
            key = records.stock_key(self.sku, stock.location)
            found.append((records.STOCK, key, records.write(records.STOCK, key, stock.value(said_ms))))
        return found


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be imported, and why.

    `row` counts as a spreadsheet does, the header being row 1. `line` is where the row begins in the file
    as a text editor counts, given only when quoted line breaks make it differ from `row`.
    """

    row: int
    cause: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{place(self.row, self.line)}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that is in order but is left out by rule, and by which one."""

    row: int
    cause: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{place(self.row, self.line)}: {self.cause}"


Outcome: TypeAlias = Article | BadRow | Skipped


def place(row: int, line: int | None) -> str:
    """Name a row for a person."""
    return f"row {row}" if line is None else f"row {row} (line {line})"
