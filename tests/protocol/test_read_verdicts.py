"""The quick way through `records.read` against a slow one that shares no rule with it."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol import records
from protocol.encoding import decode, unpack
from protocol.errors import Reason, Refused
from tests.protocol.builders import QUICK


def slow_verdict(key: bytes, data: bytes) -> Reason | None:
    """What section 6.2 of the specification says about one listing, step by step; None where it is good."""
    try:
        sku = key.decode()
    except UnicodeDecodeError:
        return Reason.RECORD_KEY
    if not 1 <= len(key) <= 64 or sku != sku.strip() or holds_control(sku, ""):
        return Reason.RECORD_KEY
    if len(data) > 16_384:
        return Reason.TOO_LARGE
    try:
        value = unpack(data)
    except Refused as error:
        return error.reason
    try:
        check_types(value, 8)
    except Refused as error:
        return error.reason
    if msgpack.packb(value) != data:
        return Reason.NOT_CANONICAL
    if not isinstance(value, dict) or "title" not in value:
        return Reason.RECORD_VALUE
    if not all(RULES[name](item) for name, item in value.items() if name in RULES):
        return Reason.RECORD_VALUE
    return None if ("price_minor" in value) == ("currency" in value) else Reason.RECORD_VALUE


def check_types(value: Any, depth: int) -> None:
    if value is None or type(value) in (bool, int, str, bytes):
        return
    if type(value) not in (list, dict):
        raise Refused(Reason.FORBIDDEN_TYPE, "")
    if depth == 0:
        raise Refused(Reason.TOO_DEEP, "")
    if type(value) is list:
        for item in value:
            check_types(item, depth - 1)
        return
    last = None
    for name, item in value.items():
        if type(name) is not str:
            raise Refused(Reason.FORBIDDEN_TYPE, "")
        if last is not None and name.encode() <= last:
            raise Refused(Reason.NOT_CANONICAL, "")
        last = name.encode()
        check_types(item, depth - 1)


def holds_control(text: str, allowed: str) -> bool:
    return any((ord(char) < 32 or 127 <= ord(char) <= 159) and char not in allowed for char in text)


def text(value: Any, low: int, high: int, allowed: str = "") -> bool:
    return type(value) is str and low <= len(value.encode()) <= high and not holds_control(value, allowed)


def number(value: Any, low: int, high: int) -> bool:
    return type(value) is int and value in range(low, high + 1)


def many(value: Any, high: int, good: Any) -> bool:
    return type(value) is list and 1 <= len(value) <= high and all(map(good, value))


def word(value: Any) -> bool:
    return text(value, 1, 100)


def link(value: Any) -> bool:
    return text(value, 1, 500) and value.split("://")[0] in ("http", "https") and "://" in value


def gtin(value: Any) -> bool:
    if type(value) is not str or len(value) not in (8, 12, 13, 14) or set(value) - set("0123456789"):
        return False
    padded = value.rjust(14, "0")
    return sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(padded)) % 10 == 0


def attributes(value: Any) -> bool:
    return (
        type(value) is dict
        and len(value) <= 32
        and all(text(name, 1, 100) and text(item, 0, 500) for name, item in value.items())
    )


RULES: dict[str, Any] = {
    "attributes": attributes,
    "brand": word,
    "category": lambda value: many(value, 8, word),
    "currency": lambda value: type(value) is str and len(value) == 3 and all("A" <= char <= "Z" for char in value),
    "gtin": gtin,
    "language": lambda value: text(value, 2, 35),
    "minimum": lambda value: number(value, 1, 10**9),
    "mpn": word,
    "pack_milli": lambda value: number(value, 1, 10**15),
    "picture_urls": lambda value: many(value, 16, link),
    "pictures": lambda value: many(value, 16, lambda one: type(one) is bytes and len(one) == 32),
    "price_minor": lambda value: number(value, 0, 10**15),
    "tags": lambda value: many(value, 32, word),
    "tax_bp": lambda value: number(value, 0, 10_000),
    "tax_included": lambda value: value is True or value is False,
    "text": lambda value: text(value, 0, 8_000, "\n\t"),
    "title": lambda value: text(value, 1, 500),
    "unit": lambda value: (
        type(value) is str and len(value) in (2, 3) and all("0" <= char <= "9" or "A" <= char <= "Z" for char in value)
    ),
    "url": link,
    "variant_of": lambda value: text(value, 1, 64),
    "weight_g": lambda value: number(value, 0, 10**9),
}


def verdict(key: bytes, data: bytes) -> Reason | None:
    try:
        read = records.read("listing", key, data)
    except Refused as error:
        return error.reason
    assert read == msgpack.unpackb(data)
    return None


TEXTS = (
    st.text(max_size=6)
    | st.sampled_from(["", "a", "ä" * 50, "é" * 51, "x" * 100, "x" * 101, "x" * 500, "x" * 501, "a\tb", "\x7f", "\x85"])
    | st.sampled_from(["EUR", "eur", "ÄÖÜ", "C62", "C6", "c62", "ⅣⅣⅣ", "١٢٣٤٥٦٧٨", "https://x", "http://é", "ftp://x"])
    | st.sampled_from(["4006381333931", "4006381333932", "73513537", "036000291452", "00012345600012", "x" * 8_001])
)
NUMBERS = st.sampled_from([-1, 0, 1, 9_999, 10_000, 10_001, 10**9, 10**9 + 1, 10**15, 10**15 + 1, 2**64 - 1, -(2**63)])
SCALARS = TEXTS | NUMBERS | st.booleans() | st.none() | st.binary(max_size=3) | st.just(b"p" * 32) | st.floats()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | NUMBERS, inner, max_size=3),
    max_leaves=8,
)
GOOD: dict[str, Any] = {
    "attributes": {"a": "", "b": "ü"},
    "brand": "Müller",
    "category": ["Tools", "Saws"],
    "currency": "EUR",
    "gtin": "4006381333931",
    "language": "de",
    "minimum": 1,
    "mpn": "GSR",
    "pack_milli": 1_000,
    "picture_urls": ["https://example.org/é"],
    "pictures": [b"p" * 32],
    "price_minor": 100,
    "tags": ["new"],
    "tax_bp": 1_900,
    "tax_included": True,
    "text": "two\nlines",
    "title": "Säge",
    "unit": "C62",
    "url": "http://example.org",
    "variant_of": "S-1",
    "weight_g": 0,
    "zz": [{"unknown": [None]}],
}


def packed(names: list[str], changes: dict[Any, Any], *, in_order: bool) -> bytes:
    value = {name: GOOD[name] for name in names} | changes
    if in_order:
        value = dict(sorted(value.items(), key=lambda pair: (type(pair[0]) is not str, str(pair[0]))))
    return bytes(msgpack.packb(value))


NAMES = st.lists(st.sampled_from(sorted(GOOD)), unique=True).map(lambda names: sorted({*names, "title"}))
CHANGES = st.dictionaries(st.sampled_from(sorted(GOOD)) | TEXTS | st.just(1), VALUES, max_size=2)


@settings(QUICK, max_examples=1_500)
@given(data=st.builds(packed, NAMES, CHANGES, in_order=st.booleans() | st.just(True)))
@example(msgpack.packb({"attributes": {"b": "", "a": ""}, "title": "x"}))  # out of order inside a known field
@example(msgpack.packb({"title": "x", "zz": {"b": 1, "a": 1}}))  # and inside an unknown one
@example(msgpack.packb({"title": "x", "zz": [[[[[[[[]]]]]]]]}))
@example(msgpack.packb({"title": "x", "zz": [[[[[[[]]]]]]]}))
@example(msgpack.packb({"title": "x", "zz": [[[[[[[0.5]]]]]]]}))
@example(msgpack.packb({"price_minor": 1, "title": "x"}))
@example(msgpack.packb({1: "x", "title": "x"}))
@example(b"\x82\xa5title\xa1x\xa5title\xa1x")  # one key twice
@example(b"\x81\xd9\x05title\xa1x")  # a longer form than needed
@example(msgpack.packb({"title": "x", "zz": 1.0}))
@example(msgpack.packb({"title": "x", "zz": "y" * 17_000}))
def test_the_quick_way_gives_the_same_verdict(data: bytes) -> None:
    assert verdict(b"sku", data) == slow_verdict(b"sku", data)


@settings(QUICK, max_examples=500)
@given(
    whole=st.builds(packed, NAMES, CHANGES, in_order=st.just(True)),
    place=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    cut=st.booleans(),
)
def test_the_same_with_broken_bytes(whole: bytes, place: float, byte: int, cut: bool) -> None:
    at = int(place * len(whole))
    data = whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :]
    assert verdict(b"sku", data) == slow_verdict(b"sku", data)


@QUICK
@given(key=st.binary(max_size=70) | st.text(max_size=40).map(str.encode) | st.integers(60, 70).map(lambda n: b"x" * n))
def test_the_same_with_any_key(key: bytes) -> None:
    data = msgpack.packb({"title": "x"})
    assert verdict(key, data) == slow_verdict(key, data)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_field_has_a_good_value_and_a_bad_one(name: str) -> None:
    good = bytes(msgpack.packb({key: GOOD[key] for key in sorted({"currency", "price_minor", "title", name})}))
    assert verdict(b"sku", good) is slow_verdict(b"sku", good) is None
    if name in RULES:
        bad = packed(["currency", "price_minor", "title"], {name: None}, in_order=True)
        assert verdict(b"sku", bad) is slow_verdict(b"sku", bad) is Reason.RECORD_VALUE


def test_the_slow_way_knows_every_field() -> None:
    required, optional = records._RULES["listing"]
    assert RULES.keys() == required.keys() | optional.keys()


OTHERS = {
    "stock": ["available", "quantity_milli", "said_ms", "zz"],
    "profile": ["address", "country", "languages", "name", "place", "zz"],
    "storefront": ["name", "text"],
    "policy": ["kind"],
    "later": ["anything"],
}
KEYS = {"stock": b"sku\0", "profile": b"self"}
PLACES = st.sampled_from([{"lat_e7": 1, "lon_e7": 1}, {"lon_e7": 1, "lat_e7": 1}, {"lat_e7": 1}])


@settings(QUICK, max_examples=600)
@given(collection=st.sampled_from(sorted(OTHERS)), in_order=st.booleans(), drawn=st.data())
def test_every_collection_is_read_as_its_parts_say(collection: str, in_order: bool, drawn: st.DataObject) -> None:
    names = st.sampled_from(OTHERS[collection]) | TEXTS
    value = drawn.draw(st.dictionaries(names, VALUES | PLACES, max_size=5))
    data = packed([], value, in_order=in_order)
    key = KEYS.get(collection, b"key")
    parts = whole = None
    try:
        records.check_value(collection, decode(data, 16_384))
    except Refused as error:
        parts = error.reason
    try:
        records.read(collection, key, data)
    except Refused as error:
        whole = error.reason
    assert whole == parts
