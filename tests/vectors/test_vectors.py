"""Both readers give every vector's verdict; the files are what the generator writes; the tables are whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol import limits, messages, records, statements
from protocol.errors import Reason, Refused
from tests.vectors import generate, naive, ours

Vector = dict[str, Any]

FILES: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in generate.FOLDER.glob("*.json")}
VECTORS: list[tuple[str, Vector]] = [(name, one) for name, file in sorted(FILES.items()) for one in file["vectors"]]
README = generate.README.read_text()

# Reasons that no bytes alone can show, each with what it depends on.
OF_STATE = {
    Reason.NOT_MEMBER: "which pages this node holds when a peer or an author is judged",
    Reason.QUOTA: "how much the author has published within the last minutes",
    Reason.TOO_MANY: "how many questions this node has not yet answered",
    Reason.TIMED_OUT: "the clock",
    Reason.FORGED: "what this peer has sent before",
}


def names(one: tuple[str, Vector]) -> str:
    return f"{one[0]}: {one[1]['name']}"


def by_our_code(one: Vector) -> tuple[str, Any]:
    try:
        return "ok", ours.OPERATIONS[one["op"]](one["in"])
    except Refused as refused:
        return refused.reason.value, None


def by_the_naive_reader(one: Vector) -> tuple[str, Any]:
    try:
        return "ok", naive.OPERATIONS[one["op"]](one["in"])
    except naive.No as no:
        return no.reason, None


@pytest.mark.parametrize("read", [by_our_code, by_the_naive_reader])
@pytest.mark.parametrize("case", VECTORS, ids=names)
def test_reader_gives_the_verdict(case: tuple[str, Vector], read: Callable[[Vector], tuple[str, Any]]) -> None:
    one = case[1]
    assert read(one) == (one["expect"], one.get("out"))


def test_the_files_are_what_the_generator_writes() -> None:
    written = generate.written()
    assert set(written) == {generate.README, *generate.FOLDER.glob("*.json")}
    changed = [path.name for path, text in written.items() if path.read_text() != text]
    assert not changed, f"run tests/vectors/generate.py: {changed}"


def test_the_naive_reader_stands_alone() -> None:
    source = Path(naive.__file__).read_text()
    assert not re.search(r"^\s*(from|import) (protocol|coopnode|msgpack)\b", source, re.MULTILINE)


def test_every_reason_of_bytes_has_a_vector() -> None:
    seen = {one["expect"] for _, one in VECTORS} - {"ok"}
    assert seen == {reason.value for reason in Reason} - {reason.value for reason in OF_STATE}


def test_every_kind_has_a_good_vector() -> None:
    good = [(file, one) for file, one in VECTORS if one["expect"] == "ok"]
    kinds = {one["out"]["kind"] for _, one in good if one["op"] == "statement_read"}
    assert kinds == set(statements.KINDS)
    collections = {one["in"]["collection"] for _, one in good if one["op"] == "record"}
    assert collections >= {records.LISTING, records.STOCK, records.PROFILE, records.STOREFRONT, records.POLICY}
    assert {one["out"]["number"] for _, one in good if one["op"] == "message"} == set(messages.KINDS)


def table(section: str) -> list[list[str]]:
    """The cells of the rows of the first table in a section of the specification."""
    part = README.split(f"{section}\n", 1)[1]
    part = re.split(r"^##", part, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_the_specification_lists_every_limit() -> None:
    told = {row[0].strip("| "): int(row[1]) for row in table("### 1.3 Limits")}
    assert told == {name: value for name, value in vars(limits).items() if name.isupper()}


def test_the_specification_lists_every_reason() -> None:
    rows = table("## 12 Reasons")
    assert [row[0].strip("`| ") for row in rows] == [reason.value for reason in Reason]
    headings = set(re.findall(r"^##+ ([0-9.]+) ", README, re.MULTILINE))
    assert {row[2] for row in rows} <= headings


def test_the_specification_lists_every_message() -> None:
    rows = [row for row in table("### 9.3 Messages") if row[0].strip("| ").isdigit()]
    assert {int(row[0].strip("| ")): row[1] for row in rows} == {
        number: getattr(kind, "__name__", "") for number, kind in messages.KINDS.items()
    }


def test_docstrings_name_sections_that_exist() -> None:
    headings = set(re.findall(r"^##+ ([0-9.]+) ", README, re.MULTILINE))
    for path in (generate.ROOT / "protocol").glob("*.py"):
        named = re.findall(r"(?:[Ss]pec|[Ss]pecification, sections?) ([0-9]+(?:\.[0-9]+)*)", path.read_text())
        assert set(named) <= headings, path.name
