"""Records on their way with their proofs: every row stands for itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from protocol import proof, proved
from protocol.encoding import decode, encode
from protocol.errors import Reason
from protocol.limits import MAX_PROVED_BYTES, MAX_PROVED_ROWS
from protocol.proved import Row
from tests.protocol.builders import Catalogue, listing, listings, member, refused

ANNA, BERT = member(1), member(2)
STATE = Catalogue({"listing": listings(300), "stock": {b"sku-1\0": b"\x80"}})
THEIRS = Catalogue({"listing": {b"theirs": b"\x80"}})
KEY, VALUE = listing(7)


def row(held: Catalogue, author: Any, collection: str, key: bytes) -> Row:
    value = held.collections.get(collection, {}).get(key)
    made = proof.build(
        held.summaries(),
        collection,
        key,
        lambda prefix: held.entries_under(collection, prefix),
        lambda prefix: held.summary(collection, prefix),
    )
    return Row(held.head(author), collection, key, value, made)


@cache
def rows() -> tuple[Row, ...]:
    return (
        row(STATE, ANNA, "listing", KEY),
        row(STATE, ANNA, "stock", b"sku-7\0"),
        row(THEIRS, BERT, "listing", b"theirs"),
    )


def test_rows_come_back_as_they_were_sent_with_each_head_once() -> None:
    data = proved.write(40, rows())
    assert len(decode(data, MAX_PROVED_BYTES)[2]) == 2
    read = proved.read(data)
    assert (read.total, read.rows) == (40, rows())
    assert read.rows[0].value == VALUE
    for one in read.rows:
        one.check()


def test_nothing_is_an_answer_too() -> None:
    assert proved.read(proved.write(0, [])) == proved.Bundle(0, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": b"\x81\xa1a\x01"},
        {"value": None},
        {"key": b"another"},
        {"collection": "stock"},
        {"head": THEIRS.head(BERT)},
        {"head": Catalogue({"listing": listings(299)}).head(ANNA)},
    ],
)
def test_a_row_that_was_changed_is_found_out(wrong: dict[str, Any]) -> None:
    with refused(Reason.PROOF_MISMATCH):
        replace(rows()[0], **wrong).check()


def test_a_record_where_there_is_none_is_found_out() -> None:
    with refused(Reason.PROOF_MISMATCH):
        replace(rows()[1], value=b"\x80").check()


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ([0], 2, Reason.OUT_OF_RANGE),
        ([1], -1, Reason.OUT_OF_RANGE),
        ([2], [], Reason.OUT_OF_RANGE),
        ([2, 0], bytes(64), Reason.OUT_OF_RANGE),
        ([3, 0, 0], 2, Reason.OUT_OF_RANGE),
        ([3, 0, 0], MAX_PROVED_ROWS, Reason.OUT_OF_RANGE),
        ([3, 0, 1], "", Reason.OUT_OF_RANGE),
        ([3, 0, 2], b"", Reason.OUT_OF_RANGE),
        ([3, 0, 3], 7, Reason.WRONG_SHAPE),
        ([3, 0, 4], b"", Reason.OUT_OF_RANGE),
        ([3, 0], [0, "listing", KEY, VALUE], Reason.WRONG_SHAPE),
        ([3], [[0, "listing", b"k", None, b"p"]] * (MAX_PROVED_ROWS + 1), Reason.OUT_OF_RANGE),
    ],
)
def test_shapes_and_bounds(place: list[int], value: Any, reason: Reason) -> None:
    whole = decode(proved.write(40, rows()), MAX_PROVED_BYTES)
    at = whole
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    with refused(reason):
        proved.read(encode(whole))


def test_an_answer_is_bounded_and_canonical() -> None:
    with refused(Reason.TOO_LARGE):
        proved.read(bytes(MAX_PROVED_BYTES + 1))
    with refused(Reason.NOT_CANONICAL):
        proved.read(b"\xdc\x00\x04" + proved.write(0, [])[1:])
