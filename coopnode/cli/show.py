"""Everything that reaches the terminal: lines, tables, JSON, progress.

Never lets a text of somebody else command the terminal: control characters and those that turn the reading
direction of what follows become a replacement sign. On a terminal tables are drawn; in a pipe they are
plain aligned columns, one row a line, never cut.
"""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

LINE_SECONDS = 5.0
MOST_LINES = 10
"""Catalogues on their way that are listed one by one."""
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


class Watched(Protocol):
    """Told again and again how far some long work has come, whose end moves."""

    def show(self, done: int, total: int, text: str) -> None:
        """*done* of *total*; *text* says it in words."""


class _Lines:
    """One line every few seconds: for logs and pipes."""

    def __init__(self) -> None:
        self._next = 0.0

    def show(self, done: int, total: int, text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_SECONDS
            note(text)


class _Live:
    """A bar that stays in its place."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def show(self, done: int, total: int, text: str) -> None:
        self._progress.update(self._task, completed=done, total=total or None, text=clean(text).replace("[", "("))


@contextmanager
def watch(what: str) -> Iterator[Watched]:
    """Draw a bar while standard error is a terminal; else print a line now and then, to standard error."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        yield _Live(drawn, drawn.add_task(what, total=None, text=""))


def fetching_text(done: int, total: int, shown: dict[str, Any]) -> str:
    """Say how far fetching is, of all catalogues together."""
    if not shown["fetching"]:
        return f"{shown['answered']} of {many(shown['asked'], 'node')} have told what they know."
    sums = shown["totals"]
    return f"{many(sums['streams'], 'catalogue')}: {_amounts(done, total, shown['bytes_in'], None, sums)}"


def fetching(answer: dict[str, Any]) -> None:
    """Print a line for each catalogue on its way, and one for all of them."""
    rows = answer.get("fetching", [])
    for one in rows[:MOST_LINES]:
        name = f"{one['name']} ({one['member'][:12]})"
        if one["under_way"]:
            line(f"Fetching {name}: {_amounts(one['done'], one['records'], one['bytes_in'], one['peers'], one)}")
        else:
            line(f"Waiting to fetch {name}: {many(one['missing'], 'record')} missing.")
    if len(rows) > MOST_LINES:
        line(f"And {many(len(rows) - MOST_LINES, 'more catalogue')}.")
    if len(rows) > 1:
        sums = answer["totals"]
        done = max(0, sums["records"] - sums["missing"])
        line(f"All {len(rows)} catalogues: {_amounts(done, sums['records'], sums['bytes_in'], None, sums)}")


def _amounts(done: int, total: int, bytes_in: int, peers: int | None, pace: dict[str, Any]) -> str:
    words = [
        f"{done:,} of {many(total, 'record')}",
        size(bytes_in) + ("" if peers is None else f" from {many(peers, 'peer')}"),
    ]
    if pace["rate"]:
        words.append(f"{pace['rate']:,} records/s")
    if pace["remaining_s"] is not None:
        words.append(f"{age(pace['remaining_s'])} left")
    return ", ".join(words) + "."


def faults(answer: dict[str, Any]) -> None:
    """Print whose signed words contradict themselves."""
    for one in answer.get("faults", []):
        line(
            f"{one['name']} ({one['member'][:12]}) has signed what contradicts itself: {one['why']}. "
            "Its records are shown all the same; only that member can mend it, by publishing again."
        )


def size(count: int) -> str:
    """Say how many bytes: "12 B", "3.4 kB", "56.7 MB"."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1_000:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1_000
    return f"{amount:.1f} GB"


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
