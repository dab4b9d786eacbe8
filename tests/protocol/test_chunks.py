"""Records and operations in bulk."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import chunks, trie
from protocol.encoding import deflate, encode
from protocol.errors import Reason
from protocol.limits import MAX_CHUNK_BYTES, MAX_OPS_BYTES
from tests.protocol.builders import QUICK, key_hex, listings, refused


def in_order(records: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return sorted(records.items(), key=lambda record: key_hex(record[0]))


def packed(*items: Any) -> bytes:
    return deflate(msgpack.packb(list(items), use_bin_type=True))


def test_a_chunk_gives_back_its_records_and_their_entries() -> None:
    records = listings(100)
    chunk = chunks.read_chunk(chunks.write_chunk(in_order(records)), "")
    assert dict(zip(chunk.keys, chunk.values, strict=True)) == records
    assert chunk.entries == trie.entries(records.items())


def test_an_empty_chunk_holds_nothing() -> None:
    assert chunks.read_chunk(chunks.write_chunk([]), "ab") == chunks.Chunk([], [], b"")


def test_the_fullest_chunk_is_read_and_one_record_more_is_not() -> None:
    assert len(chunks.read_chunk(chunks.write_chunk(in_order(listings(1024))), "").keys) == 1024
    with refused(Reason.WRONG_SHAPE):
        chunks.read_chunk(chunks.write_chunk(in_order(listings(1025))), "")


def test_a_leaf_of_the_largest_records_fits() -> None:
    largest = {b"%096d" % one: bytes(16 * 1024) for one in range(16)}
    assert len(chunks.read_chunk(chunks.write_chunk(in_order(largest)), "").keys) == 16


def test_a_chunk_that_unpacks_beyond_its_bound_is_refused() -> None:
    with refused(Reason.TOO_LARGE):
        chunks.read_chunk(deflate(bytes(MAX_CHUNK_BYTES + 8 * 1024 + 1)), "")


FIRST, SECOND = sorted([b"a", b"b"], key=key_hex)
OVERLONG = b"\xdc\x00\x02"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"raw", Reason.MALFORMED),
        (deflate(b"\xc1"), Reason.MALFORMED),
        (deflate(b""), Reason.TRUNCATED),
        (packed(FIRST, b"")[:-1], Reason.TRUNCATED),
        (packed(FIRST, b"") + b"\0", Reason.TRAILING),
        (deflate(msgpack.packb([FIRST, b""]) + b"\0"), Reason.TRAILING),
        (packed(FIRST), Reason.WRONG_SHAPE),
        (packed(FIRST, None), Reason.WRONG_SHAPE),
        (packed(FIRST, "text"), Reason.WRONG_SHAPE),
        (deflate(encode({})), Reason.WRONG_SHAPE),
        (packed(b"", b""), Reason.RECORD_KEY),
        (packed(b"k" * 97, b""), Reason.RECORD_KEY),
        (packed(FIRST, bytes(16 * 1024 + 1)), Reason.TOO_LARGE),
        (packed(FIRST, b"", SECOND, bytes(16 * 1024 + 1)), Reason.TOO_LARGE),
        (packed(SECOND, b"", FIRST, b""), Reason.CHUNK_MISMATCH),
        (packed(FIRST, b"", FIRST, b""), Reason.CHUNK_MISMATCH),
    ],
)
def test_a_chunk_that_breaks_a_rule_is_refused(bad: bytes, reason: Reason) -> None:
    with refused(reason):
        chunks.read_chunk(bad, "")


def test_the_lawful_neighbour_of_those_chunks_is_read() -> None:
    assert chunks.read_chunk(packed(FIRST, b"", SECOND, bytes(16 * 1024)), "").keys == [FIRST, SECOND]
    assert chunks.read_chunk(packed(b"k" * 96, b""), "").keys == [b"k" * 96]


def test_a_record_outside_the_prefix_is_refused_at_either_end() -> None:
    records = in_order(listings(200))
    inside = [record for record in records if key_hex(record[0]).startswith("7")]
    before = [record for record in records if key_hex(record[0]) < "7"]
    after = [record for record in records if key_hex(record[0]) >= "8"]
    assert chunks.read_chunk(chunks.write_chunk(inside), "7").keys == [key for key, _ in inside]
    for bad in (before[-1:] + inside, inside + after[:1]):
        with refused(Reason.CHUNK_MISMATCH):
            chunks.read_chunk(chunks.write_chunk(bad), "7")


OPS: dict[str, dict[bytes, bytes | None]] = {
    "stock": {b"b": b"2", b"a": None},
    "listing": {b"c": b""},
    "policy": {},
}


def test_operations_give_back_the_changes_without_empty_collections() -> None:
    bodies = chunks.write_ops(OPS)
    assert list(bodies) == ["listing", "stock"]
    assert chunks.read_ops(bodies) == {"stock": OPS["stock"], "listing": OPS["listing"]}


@QUICK
@given(st.dictionaries(st.binary(min_size=1, max_size=96), st.none() | st.binary(max_size=30), min_size=1, max_size=9))
def test_operations_have_one_encoding(changes: dict[bytes, bytes | None]) -> None:
    bodies = chunks.write_ops({"stock": changes})
    assert chunks.read_ops(bodies) == {"stock": changes}
    assert chunks.write_ops(chunks.read_ops(bodies)) == bodies
    assert chunks.write_ops({"stock": dict(reversed(changes.items()))}) == bodies


def test_the_summary_of_operations_counts_and_depends_on_every_part() -> None:
    bodies = chunks.write_ops(OPS)
    summary = chunks.summarise_ops(bodies)
    assert (summary.count, summary.size) == (3, sum(map(len, bodies.values())))
    assert chunks.summarise_ops(dict(reversed(bodies.items()))) == summary
    others = [
        {"listing": bodies["listing"]},
        {"listing": bodies["stock"], "stock": bodies["listing"]},
        {"listing": bodies["listing"], "stocks": bodies["stock"]},
        {},
    ]
    assert len({summary.root, *(chunks.summarise_ops(one).root for one in others)}) == 5


@pytest.mark.parametrize("body", [encode(1), encode({}), encode([b"k"])])
def test_the_summary_of_what_are_no_operations_is_refused_and_no_crash(body: bytes) -> None:
    with refused(Reason.WRONG_SHAPE):
        chunks.summarise_ops({"listing": body})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xc1", Reason.MALFORMED),
        (encode([]), Reason.WRONG_SHAPE),
        (encode({}), Reason.WRONG_SHAPE),
        (encode([b"a"]), Reason.WRONG_SHAPE),
        (encode(["a", b""]), Reason.WRONG_SHAPE),
        (encode([b"a", "v"]), Reason.WRONG_SHAPE),
        (encode([b"", b""]), Reason.RECORD_KEY),
        (encode([b"k" * 97, b""]), Reason.RECORD_KEY),
        (encode([b"b", b"", b"a", b""]), Reason.NOT_CANONICAL),
        (encode([b"a", b"", b"a", b""]), Reason.NOT_CANONICAL),
        (OVERLONG + b"\xc4\x01a\xc0", Reason.NOT_CANONICAL),
        (encode([b"a", bytes(16 * 1024 + 1)]), Reason.TOO_LARGE),
    ],
)
def test_operations_that_break_a_rule_are_refused(body: bytes, reason: Reason) -> None:
    with refused(reason):
        chunks.read_ops({"listing": body})


def test_the_lawful_neighbours_of_those_operations_are_read() -> None:
    body = encode([b"a", bytes(16 * 1024), b"k" * 96, None])
    assert len(chunks.read_ops({"listing": body})["listing"]) == 2


def test_operations_of_a_collection_without_a_lawful_name_are_refused() -> None:
    with refused(Reason.RECORD_KEY):
        chunks.read_ops({"Listing": encode([b"a", None])})


def test_a_head_has_at_most_1000_operations_over_all_collections() -> None:
    half: dict[bytes, bytes | None] = {b"%03d" % one: None for one in range(500)}
    assert len(chunks.read_ops(chunks.write_ops({"listing": half, "stock": half}))) == 2
    with refused(Reason.TOO_LARGE):
        chunks.read_ops(chunks.write_ops({"listing": half, "stock": {**half, b"one more": None}}))


def test_a_head_has_at_most_one_mebibyte_of_operations_over_all_collections() -> None:
    half: dict[bytes, bytes | None] = {b"%03d" % one: bytes(16_000) for one in range(32)}
    assert len(chunks.read_ops(chunks.write_ops({"listing": half, "stock": half}))) == 2
    with refused(Reason.TOO_LARGE):
        chunks.read_ops(chunks.write_ops({"listing": half, "stock": half, "policy": half}))


def test_one_mebibyte_of_operations_is_read_to_the_byte() -> None:
    ops: dict[bytes, bytes | None] = {b"%03d" % one: bytes(16_000) for one in range(65)}
    missing = MAX_OPS_BYTES - len(chunks.write_ops({"listing": ops})["listing"])
    ops[b"last"] = bytes(missing - len(b"\xc4\x04last\xc5\x00\x00"))
    bodies = chunks.write_ops({"listing": ops})
    assert len(bodies["listing"]) == MAX_OPS_BYTES
    assert chunks.read_ops(bodies) == {"listing": ops}
    ops[b"last"] = bytes(missing - len(b"\xc4\x04last\xc5\x00\x00") + 1)
    with refused(Reason.TOO_LARGE):
        chunks.read_ops(chunks.write_ops({"listing": ops}))
