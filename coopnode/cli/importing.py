"""`coopnode stock import`: a whole file of articles, read here and handed to the node in batches.

Never changes a part of the catalogue only: the node keeps what comes as a draft and publishes it whole at
the end, or forgets it. Holds one batch at a time, so that a million rows need no more memory than a thousand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from coopnode.cli import show
from coopnode.cli.client import Client
from coopnode.cli.root import State, json_option, pass_state, shows_example
from coopnode.errors import NodeError
from coopnode.folder import Folder, Lock

BATCH_RECORDS = 2_000
BATCH_BYTES = 4 * 1024 * 1024
MAX_BAD_SHOWN = 100
_PROGRESS_ROWS = 100
Record = tuple[str, bytes, bytes]


@dataclass(slots=True)
class Report:
    """What became of the rows of a file. Of the bad ones the first are named, all are counted."""

    articles: int = 0
    skipped: int = 0
    bad: int = 0
    named: list[str] = field(default_factory=list)

    def add_bad(self, text: str) -> None:
        """Count a bad row, and keep its words while they are few."""
        self.bad += 1
        if len(self.named) < MAX_BAD_SHOWN:
            self.named.append(text)

    def as_json(self) -> dict[str, Any]:
        """Return the report for a script."""
        return {"articles": self.articles, "skipped": self.skipped, "bad": self.bad, "bad_rows": self.named}


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "form", default="auto", show_default=True, help="auto, plain, woocommerce or shopify.")
@click.option("--currency", help="Currency of prices that name none; without it that of the settings.")
@click.option("--keep-going", is_flag=True, help="Import the good rows although there are bad ones.")
@click.option("--dry-run", is_flag=True, help="Only read the file and say what would happen.")
@json_option
@shows_example("coopnode stock import stock.csv", "coopnode stock import export.csv --format shopify --keep-going")
@pass_state
def import_(
    state: State, file: Path, form: str, currency: str | None, *, keep_going: bool, dry_run: bool, as_json: bool
) -> None:
    """Import articles from a CSV file: new ones are added, known skus replaced.

    Articles that are not in the file stay as they are. Where a row is bad nothing changes at all, unless
    --keep-going is given; each bad row is named with its cause.
    """
    from coopnode import config as configs

    state.folder.check_exists()
    chosen = currency or configs.load(state.folder.config).currency
    if dry_run:
        report = Report()
        for _ in _records(file, form, chosen, report):
            pass
        answer: dict[str, Any] = {}
    else:
        with one_import(state.folder), state.client() as client:
            report, answer = import_file(client, file, form=form, currency=chosen, keep_going=keep_going)
    _tell(report, answer, as_json=as_json, dry_run=dry_run, keep_going=keep_going)


def import_file(
    client: Client,
    file: Path,
    *,
    form: str = "auto",
    currency: str = "EUR",
    keep_going: bool = False,
) -> tuple[Report, dict[str, Any]]:
    """Import a file; return what became of its rows, and the node's answer, empty when nothing was changed."""
    report = Report()
    client.call("import.begin")
    try:
        for batch in _batches(_records(file, form, currency, report)):
            # After the first bad row the rest is only read, to name all bad ones in one go.
            if keep_going or not report.bad:
                client.call("import.rows", rows=batch)
        if report.articles and (keep_going or not report.bad):
            with show.progress("publishing", None):
                return report, client.call("import.finish")
    except BaseException:
        # The first error is the one to tell. A draft that stays all the same goes with the next start or import.
        with suppress(Exception):
            client.call("import.begin")
        raise
    client.call("import.begin")
    return report, {}


def one_import(folder: Folder) -> Lock:
    """Take the right to import: a node has one draft, and two imports at once would mix in it."""
    try:
        return Lock(folder.path / "import.lock")
    except NodeError as error:
        if isinstance(error.__cause__, BlockingIOError):
            raise NodeError("Another import into this node is under way: wait until it has ended.") from error
        raise


def _records(file: Path, form: str, currency: str, report: Report) -> Iterator[Record]:
    """Yield the records of all good rows; count every row in *report*."""
    from coopnode.connectors import Article, BadRow, count_rows, read_articles

    said_ms = time.time_ns() // 1_000_000
    outcomes = read_articles(file, form=form, currency=currency)
    with show.progress(file.name, count_rows(file)) as steps:
        for number, outcome in enumerate(outcomes, 1):
            if number % _PROGRESS_ROWS == 0:
                steps.advance(_PROGRESS_ROWS)
            if isinstance(outcome, Article):
                report.articles += 1
                yield from outcome.records(said_ms)
            elif isinstance(outcome, BadRow):
                report.add_bad(str(outcome))
            else:
                report.skipped += 1


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record[1]) + len(record[2])
        if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _tell(report: Report, answer: dict[str, Any], *, as_json: bool, dry_run: bool, keep_going: bool) -> None:
    stopped = report.bad > 0 and not keep_going
    imported = not stopped and not dry_run and report.articles > 0
    if as_json:
        show.as_json({**report.as_json(), "imported": imported, **answer})
    for text in report.named:
        show.note(text)
    if report.bad > len(report.named):
        show.note(f"... and {show.many(report.bad - len(report.named), 'more bad row')}.")
    if stopped:
        raise NodeError(
            f"{show.many(report.bad, 'bad row')}: nothing was changed. Mend them, or import the other "
            f"{show.many(report.articles, 'article')} with --keep-going."
        )
    if not as_json:
        verb = "would be imported" if dry_run else "imported"
        extra = f", {show.many(report.skipped, 'row')} left out by rule" if report.skipped else ""
        extra += f", {show.many(report.bad, 'bad row')} left out" if report.bad else ""
        show.line(f"{show.many(report.articles, 'article')} {verb}{extra}.")
        if imported:
            show.publication(answer)
