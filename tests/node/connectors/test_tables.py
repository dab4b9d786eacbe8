"""Encodings, delimiters and damage: what is wrong with a row is a BadRow, with the file an UnreadableFile."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from coopnode.connectors.article import BadRow
from coopnode.connectors.tables import Row, Table, UnreadableFile, count_rows, open_table


def given_file(folder: Path, content: bytes | str, name: str = "stock.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def all_rows(table: Table) -> tuple[list[Row], list[BadRow]]:
    rows = list(table.rows())
    return [row for row in rows if isinstance(row, Row)], [row for row in rows if isinstance(row, BadRow)]


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp1252", "cp1252"),
    ],
)
def test_encodings_are_found_out(tmp_path: Path, encoding: str, named: str) -> None:
    table = open_table(given_file(tmp_path, "sku;title\r\nA;Brötchen für 1 €\r\n", encoding=encoding))
    rows, bad = all_rows(table)
    assert (table.encoding, bad) == (named, [])
    assert table.columns == ("sku", "title")
    assert rows[0].cells == {"sku": "A", "title": "Brötchen für 1 €"}


def test_one_damaged_row_does_not_spoil_a_utf8_file(tmp_path: Path) -> None:
    good = "".join(f"A{n};Grüße\n" for n in range(5)).encode()
    rows, bad = all_rows(open_table(given_file(tmp_path, b"sku;title\n" + good + b"B;Gr\xfc\xdfe\n")))
    assert [row.get("title") for row in rows] == ["Grüße"] * 5
    assert [(one.row, one.cause) for one in bad] == [
        (7, "holds a character that cannot be read; save the file as UTF-8")
    ]


def test_a_cp1252_letter_far_down_is_seen(tmp_path: Path) -> None:
    content = b"sku,title\n" + b"A,plain\n" * 200_000 + b"Z,M\xfchle\n"
    table = open_table(given_file(tmp_path, content))
    assert table.encoding == "cp1252"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found_out(tmp_path: Path, delimiter: str) -> None:
    header = delimiter.join(["sku", '"title, or; name"', "price"])
    table = open_table(given_file(tmp_path, f"{header}\n{delimiter.join('abc')}\n"))
    assert table.delimiter == delimiter
    assert table.columns == ("sku", "title, or; name", "price")


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_the_line_that_names_the_delimiter_is_heeded(tmp_path: Path, delimiter: str) -> None:
    content = "sep=|\nsku|title\nA|b\n".replace("|", delimiter)
    table = open_table(given_file(tmp_path, content))
    rows, _ = all_rows(table)
    assert (table.header_row, rows[0].number, rows[0].get("title")) == (2, 3, "b")


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    content = 'sku,text\nA,"one\ntwo\nthree"\n\nB,x\nC\n'
    rows, bad = all_rows(open_table(given_file(tmp_path, content)))
    assert [(row.number, row.line, row.other_line()) for row in rows] == [(2, 2, None), (4, 6, 6)]
    assert bad == [BadRow(5, "has 1 columns where the header has 2", 7)]
    assert str(bad[0]) == "row 5 (line 7): has 1 columns where the header has 2"


def test_empty_rows_before_the_header_are_counted(tmp_path: Path) -> None:
    rows, _ = all_rows(open_table(given_file(tmp_path, "\n,,\nsku,title\nA,b\n")))
    assert [(row.number, row.cells) for row in rows] == [(4, {"sku": "A", "title": "b"})]


def test_too_many_columns_are_reported_unless_empty(tmp_path: Path) -> None:
    rows, bad = all_rows(open_table(given_file(tmp_path, "sku,title\nA,b,,\nB,c,d\n")))
    assert [row.get("sku") for row in rows] == ["A"]
    assert [one.row for one in bad] == [3]
    assert "has 3 columns where the header has 2" in bad[0].cause


def test_nul_bytes_are_reported(tmp_path: Path) -> None:
    rows, bad = all_rows(open_table(given_file(tmp_path, b"sku,title\nA,b\0c\nB,d\n")))
    assert [row.get("sku") for row in rows] == ["B"]
    assert [(one.row, "NUL" in one.cause) for one in bad] == [(2, True)]


def test_a_quotation_mark_that_is_not_closed_costs_no_memory_and_is_reported(tmp_path: Path) -> None:
    content = 'sku,title\nA,b\nB,"open\n' + "C,d\n" * 50_000
    rows, bad = all_rows(open_table(given_file(tmp_path, content)))
    assert rows[0].get("sku") == "A"
    assert bad[0].row == 3
    assert "lines 3 to" in bad[0].cause
    assert "not closed" in bad[0].cause
    assert rows[-1].get("sku") == "C"


def test_an_open_quotation_mark_near_the_end_is_hinted_at(tmp_path: Path) -> None:
    _, bad = all_rows(open_table(given_file(tmp_path, 'sku,title,x\nA,"open\nB,c,d\n')))
    assert [one.cause for one in bad] == [
        "has 2 columns where the header has 3; perhaps a quotation mark is not closed"
    ]


def test_of_two_columns_with_one_name_the_first_counts(tmp_path: Path) -> None:
    rows, _ = all_rows(open_table(given_file(tmp_path, "sku,Note,note\nA,first,second\n")))
    assert rows[0].get("note") == "first"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \r\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xff\xfe", "is empty"),
        (b",,\n,,\n", "is empty"),
        (b"PK\x03\x04" + bytes(100), "spreadsheet"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "old Excel"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x1f\x8b\x08" + bytes(30), "compressed"),
        (b"\x89PNG\r\n", "picture"),
        (b'<?xml version="1.0"?><a/>', "XML"),
        (b"\xef\xbb\xbf<html></html>", "XML or HTML"),
        (b'[{"sku": 1}]', "JSON"),
        (bytes(range(256)) * 20, "not a text file"),
    ],
)
def test_other_files_are_refused_with_what_to_do(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(UnreadableFile, match=words) as caught:
        open_table(given_file(tmp_path, content))
    assert "export" in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="There is no file"):
        open_table(tmp_path / "absent.csv")
    with pytest.raises(UnreadableFile, match="is a folder"):
        open_table(tmp_path)


@pytest.mark.parametrize(
    ("content", "count"), [("", 0), ("sku\n", 0), ("sku\nA\n", 1), ("sku\nA", 1), ("sku\r\nA\r\nB\r\n", 2)]
)
def test_rows_are_estimated(tmp_path: Path, content: str, count: int) -> None:
    assert count_rows(given_file(tmp_path, content)) == count


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    path = given_file(tmp_path, "sku,title\n" + "A,some title of an article\n" * 100_000)
    table = open_table(path)
    tracemalloc.start()
    try:
        count = sum(1 for _ in table.rows())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert peak < 1_000_000 < path.stat().st_size
