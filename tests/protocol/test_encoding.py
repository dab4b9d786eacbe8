"""One value, one encoding."""

from __future__ import annotations

import zlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import encoding
from protocol.encoding import decode, deflate, encode, inflate
from protocol.errors import LocalError, Reason, Refused
from protocol.limits import MAX_DEPTH, MAX_INT
from tests.protocol.builders import QUICK, refused

KIB = 1024
MIN_INT = -(2**63)
SCALARS = st.none() | st.booleans() | st.integers(MIN_INT, MAX_INT) | st.text(max_size=40) | st.binary(max_size=40)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@QUICK
@given(VALUES)
def test_what_is_encoded_decodes_to_the_same_value_and_bytes(value: Any) -> None:
    data = encode(value)
    again = decode(data, 100 * KIB, max_depth=50)
    assert again == value
    assert encode(again) == data


def test_maps_are_written_in_key_order_and_tuples_as_lists() -> None:
    assert encode({"b": 1, "a": (2, 3)}) == b"\x82\xa1a\x92\x02\x03\xa1b\x01"


@pytest.mark.parametrize("value", [1.5, {1: 2}, {"a": {b"k": 1}}, object(), {1, 2}, MAX_INT + 1, MIN_INT - 1, "\ud800"])
def test_what_has_no_encoding_is_our_own_mistake(value: Any) -> None:
    with pytest.raises(LocalError, match="cannot encode"):
        encode(value)


@pytest.mark.parametrize("value", [MAX_INT, MIN_INT, "é", {}, [], None])
def test_the_widest_values_have_an_encoding(value: Any) -> None:
    assert decode(encode(value), KIB) == value


NESTED_8 = b"\x91" * MAX_DEPTH + b"\x01"
REFUSALS = [
    ("too many bytes", b"\xa4abcd", Reason.TOO_LARGE),
    ("no bytes", b"", Reason.TRUNCATED),
    ("an array that ends early", b"\x92\x01", Reason.TRUNCATED),
    ("a text that is longer than the rest", b"\xa3ab", Reason.TRUNCATED),
    ("a length field beyond the bytes", b"\xdb\xff\xff\xff\xff", Reason.TRUNCATED),
    ("a second value", b"\x01\x01", Reason.TRAILING),
    ("the byte that MessagePack never uses", b"\xc1", Reason.MALFORMED),
    ("a text that is not UTF-8", b"\xa1\xff", Reason.MALFORMED),
    ("half a surrogate pair", b"\xa3\xed\xa0\x80", Reason.MALFORMED),
    ("a timestamp of an impossible length", b"\xd4\xff\x00", Reason.MALFORMED),
    ("nine lists in one another", b"\x91" + NESTED_8, Reason.TOO_DEEP),
    ("nine maps in one another", b"\x81\xa1a" * 9 + b"\x01", Reason.TOO_DEEP),
    ("a float", b"\xca\x00\x00\x00\x00", Reason.FORBIDDEN_TYPE),
    ("a float in a map", b"\x81\xa1a\xcb" + bytes(8), Reason.FORBIDDEN_TYPE),
    ("a float in the deepest list that is allowed", b"\x91" * 8 + b"\xcb" + bytes(8), Reason.FORBIDDEN_TYPE),
    ("a float in the deepest map that is allowed", b"\x81\xa1a" * 8 + b"\xcb" + bytes(8), Reason.FORBIDDEN_TYPE),
    ("an extension", b"\xd4\x05\x00", Reason.FORBIDDEN_TYPE),
    ("a timestamp", b"\xd6\xff\x00\x00\x00\x00", Reason.FORBIDDEN_TYPE),
    ("a key that is a number", b"\x81\x01\x01", Reason.FORBIDDEN_TYPE),
    ("a key that is a list", b"\x81\x90\x01", Reason.FORBIDDEN_TYPE),
    ("a key that is bytes", b"\x81\xc4\x01a\x01", Reason.FORBIDDEN_TYPE),
    ("keys out of order", b"\x82\xa1b\x01\xa1a\x01", Reason.NOT_CANONICAL),
    ("a key twice", b"\x82\xa1a\x01\xa1a\x01", Reason.NOT_CANONICAL),
    ("a number in two bytes that fits one", b"\xcc\x01", Reason.NOT_CANONICAL),
    ("a signed form of a positive number", b"\xd0\x01", Reason.NOT_CANONICAL),
    ("a long text header", b"\xd9\x01a", Reason.NOT_CANONICAL),
    ("a long list header", b"\xdc\x00\x01\x01", Reason.NOT_CANONICAL),
    ("a long map header", b"\xde\x00\x00", Reason.NOT_CANONICAL),
]


@pytest.mark.parametrize(("data", "reason"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_bytes_that_break_a_rule_are_refused_for_that_rule(data: bytes, reason: Reason) -> None:
    with refused(reason):
        decode(data, 4 if reason is Reason.TOO_LARGE else KIB)


@pytest.mark.parametrize("data", [b"\xa4abcd", NESTED_8, b"\x82\xa1a\x01\xa1b\x01", b"\xcc\x80", b"\xd0\x80", b"\x80"])
def test_their_lawful_neighbours_are_read(data: bytes) -> None:
    assert encode(decode(data, len(data))) == data


def test_nesting_beyond_the_library_is_too_deep_and_not_a_crash() -> None:
    with refused(Reason.TOO_DEEP):
        decode(b"\x91" * 100_000 + b"\x01", 200_000)


def test_every_single_byte_and_every_pair_is_read_or_refused() -> None:
    read = 0
    for first in range(256):
        for second in (None, *range(256)):
            data = bytes([first] if second is None else [first, second])
            try:
                value = decode(data, 2)
            except Refused:
                continue
            assert encode(value) == data
            read += 1
    assert read > 128


def test_check_types_passes_scalars_at_any_depth_left() -> None:
    encoding.check_types(1, 0)
    for deeper in ([1], {"a": 1}):
        with refused(Reason.TOO_DEEP):
            encoding.check_types(deeper, 0)
    with refused(Reason.FORBIDDEN_TYPE):
        encoding.check_types(0.5, 0)


def test_a_body_survives_packing() -> None:
    raw = b"goods " * 1000
    assert len(deflate(raw)) < 100
    assert inflate(deflate(raw), len(raw)) == raw


def test_a_body_is_unpacked_up_to_its_bound_and_not_beyond() -> None:
    with refused(Reason.TOO_LARGE):
        inflate(deflate(b"x" * 101), 100)
    assert inflate(deflate(b"x" * 100), 100) == b"x" * 100


def test_a_bomb_is_refused_without_unpacking_it() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    with refused(Reason.TOO_LARGE):
        inflate(bomb, 1000)


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"not zlib", Reason.MALFORMED),
        (b"", Reason.TRUNCATED),
        (deflate(b"goods")[:-1], Reason.TRUNCATED),
        (deflate(b"goods") + b"x", Reason.TRAILING),
        (deflate(b"goods")[:-1] + b"x", Reason.MALFORMED),
    ],
)
def test_a_damaged_body_is_refused(packed: bytes, reason: Reason) -> None:
    with refused(reason):
        inflate(packed, 1000)


def test_unpack_turns_any_other_complaint_of_the_library_into_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    def complain(*_: Any, **__: Any) -> None:
        raise ValueError("something new")

    monkeypatch.setattr(msgpack, "unpackb", complain)
    with refused(Reason.MALFORMED):
        encoding.unpack(b"\x01")
