"""Everything that reaches the terminal: lines, tables, JSON, progress.

Never lets a text of somebody else command the terminal: control characters and those that turn the reading
direction of what follows become a replacement sign. On a terminal tables are drawn; in a pipe they are
plain aligned columns, one row a line, never cut.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Overrides, embeddings and isolates: they reorder what stands around them. Letters that are written from
# right to left are left alone, and so are the joiners that emoji and many scripts need.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})


def clean(text: str, *, lines: bool = False) -> str:
    """Return *text* as a terminal may have it, on one line unless *lines*."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_fit(char, lines) for char in text)


def _fit(char: str, lines: bool) -> str:
    if char in "\n\t":
        return char if lines else " "
    return REPLACEMENT if char in _TURNING or unicodedata.category(char) in _UNFIT else char


def line(text: str = "", *, lines: bool = False) -> None:
    """Print one line to standard output."""
    click.echo(clean(text, lines=lines))


def note(text: str) -> None:
    """Tell the person something that is not part of the answer: to standard error."""
    click.echo(clean(text), err=True)


def as_json(value: Any) -> None:
    """Print JSON that is safe in a terminal as well: plain ASCII."""
    click.echo(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under *columns*; a column whose name begins with '>' is aligned to the right."""
    cells = [[clean("" if cell is None else str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _drawn(columns, cells)
    else:
        _plain(columns, cells)


def _drawn(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        drawn.add_column(Text(name.lstrip(">")), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))  # Text: square brackets in a title are no markup
    Console().print(drawn)


def _plain(columns: Sequence[str], rows: list[list[str]]) -> None:
    from rich.cells import cell_len

    names = [name.lstrip(">") for name in columns]
    every = [names, *rows]
    widths = [max(cell_len(row[i]) for row in every) for i in range(len(names))]
    for row in every:
        padded = []
        for name, cell, width in zip(columns, row, widths, strict=True):
            gap = " " * (width - cell_len(cell))
            padded.append(gap + cell if name.startswith(">") else cell + gap)
        click.echo("  ".join(padded).rstrip())


class Steps(Protocol):
    """Told how far some long work has come."""

    def advance(self, count: int = 1) -> None:
        """*count* more are done."""


class _Silent:
    def advance(self, count: int = 1) -> None:
        """Say nothing: nobody is watching."""


class _Bar:
    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Steps]:
    """Draw a progress bar while standard error is a terminal; otherwise be silent."""
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        yield _Bar(drawn, drawn.add_task(clean(what).replace("[", "("), total=total))


def age(seconds: int | None) -> str:
    """Say how old a word is: "4 min"."""
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def moment(milliseconds: int) -> str:
    """Write a time for people, in their own zone."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def many(count: int, one: str, more: str | None = None) -> str:
    """Count things: "1 member", "2 members"."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def quantity(stock: dict[str, Any] | None) -> str:
    """Say how many there are: "12", "in stock", "out of stock", or nothing where nothing was said."""
    if stock is None:
        return ""
    if stock["quantity"] is not None:
        return str(stock["quantity"])
    return {True: "in stock", False: "out of stock", None: ""}[stock["available"]]


def publication(answer: dict[str, Any]) -> None:
    """Say, to standard error, whether own words still wait to leave this node, and why."""
    if answer["publishing"] == "ready" and not answer["waiting"]:
        return
    why = f": {answer['why']}." if answer["why"] else "."
    if answer["waiting"]:
        note(f"{many(answer['waiting'], 'record')} still to be published{why}")
    elif answer["publishing"] != "ready":
        note(f"Publishing is {answer['publishing']}{why}")


def members(rows: Iterable[dict[str, Any]]) -> None:
    """Print members and how much of their catalogues is here."""
    shown = [
        (one["name"], one["member"][:12], one["listings"], "yes" if one["complete"] else "no", age(one["age_s"]))
        for one in rows
    ]
    if shown:
        table(("member", "id", ">listings", "complete", "said"), shown)
