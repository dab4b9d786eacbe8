"""What a catalogue may say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import records
from protocol.encoding import decode, encode
from protocol.errors import LocalError, Reason, Refused
from tests.protocol.builders import QUICK, refused

KEY, VALUE = Reason.RECORD_KEY, Reason.RECORD_VALUE

GOOD: list[tuple[str, bytes, dict[str, Any]]] = [
    ("listing", b"apple", {"title": "Apple"}),
    (
        "listing",
        b"apple",
        {
            "title": "Apple",
            "attributes": {"colour": "red"},
            "brand": "Orchard",
            "category": ["Food", "Fruit"],
            "currency": "EUR",
            "gtin": "4006381333931",
            "language": "de",
            "minimum": 1,
            "mpn": "A-1",
            "pack_milli": 1500,
            "picture_urls": ["https://example.org/a.jpg", "http://example.org/b.jpg"],
            "pictures": [bytes(32)],
            "price_minor": 0,
            "tags": ["organic"],
            "tax_bp": 700,
            "tax_included": True,
            "text": "Red\nand round",
            "unit": "KGM",
            "url": "https://example.org/apple",
            "variant_of": "fruit",
            "weight_g": 120,
        },
    ),
    ("stock", b"apple\0", {"said_ms": 1, "quantity_milli": 0}),
    ("stock", b"apple\0shed 2", {"said_ms": 1, "available": False}),
    ("profile", b"self", {"name": "Orchard", "place": {"lat_e7": -900_000_000, "lon_e7": 1_800_000_000}}),
    ("profile", b"self", {"name": "Orchard", "country": "AT", "url": "https://example.org", "languages": ["de"]}),
    ("storefront", b"any", {"name": "Shop", "text": ""}),
    ("policy", b"any", {"kind": "discount", "anything": [1, {"else": b"x"}]}),
    ("a-later-one", b"\xff", {"field": "of a newer node"}),
]


@pytest.mark.parametrize(("collection", "key", "value"), GOOD)
def test_a_good_record_is_written_and_read_back(collection: str, key: bytes, value: dict[str, Any]) -> None:
    assert records.read(collection, key, records.write(collection, key, value)) == value


BAD: list[tuple[str, dict[str, Any]]] = [
    ("listing", {}),
    ("listing", {"title": ""}),
    ("listing", {"title": "x" * 501}),
    ("listing", {"title": 1}),
    ("listing", {"title": "a\nb"}),
    ("listing", {"title": "\ud800"}),
    ("listing", {"title": "A", "price_minor": 1}),
    ("listing", {"title": "A", "currency": "EUR"}),
    *[("listing", {"title": "A", "price_minor": 1, "currency": bad}) for bad in ("eur", "EURO", "E1R", "ÉUR", 978)],
    *[("listing", {"title": "A", "price_minor": bad, "currency": "EUR"}) for bad in (-1, 10**15 + 1, "1", True)],
    *[("listing", {"title": "A", "unit": bad}) for bad in ("K", "KGMX", "kgm", "K-M", 1)],
    *[("listing", {"title": "A", "gtin": bad}) for bad in ("4006381333930", "400638133393", "", 4006381333931)],
    *[("listing", {"title": "A", "url": bad}) for bad in ("javascript:alert(1)", "ftp://x", "", 1)],
    ("listing", {"title": "A", "pictures": [bytes(31)]}),
    ("listing", {"title": "A", "category": []}),
    ("listing", {"title": "A", "tax_bp": 10_001}),
    ("stock", {"quantity_milli": 1}),
    ("stock", {"said_ms": 1}),
    ("stock", {"said_ms": 1, "quantity_milli": 1, "available": True}),
    ("stock", {"said_ms": 1, "quantity_milli": -1}),
    ("profile", {"text": "nameless"}),
    ("profile", {"name": "A", "place": {"lat_e7": 900_000_001, "lon_e7": 0}}),
    ("profile", {"name": "A", "place": {"lat_e7": 0}}),
    ("profile", {"name": "A", "country": "AUT"}),
    ("storefront", {"name": 1}),
    ("policy", {}),
]


@pytest.mark.parametrize(("collection", "value"), BAD)
def test_a_record_that_breaks_a_rule_of_its_collection_is_refused(collection: str, value: dict[str, Any]) -> None:
    with refused(VALUE):
        records.check_value(collection, value)


@pytest.mark.parametrize(("collection", "value"), [row for row in BAD if row[1].get("title") != "\ud800"])
def test_such_a_record_is_refused_when_it_is_read(collection: str, value: dict[str, Any]) -> None:
    key = {"stock": b"sku\0", "profile": b"self"}.get(collection, b"key")
    with refused(VALUE):
        records.read(collection, key, encode(value))


@pytest.mark.parametrize(("collection", "key", "value"), GOOD)
def test_reading_gives_the_same_without_its_short_cut(
    collection: str, key: bytes, value: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = records.write(collection, key, value)
    quick = records.read(collection, key, raw)
    monkeypatch.setattr(records, "_passes", lambda *_: False)
    assert records.read(collection, key, raw) == quick == value


@pytest.mark.parametrize("collection", ["listing", "policy", "a-later-one"])
def test_a_record_is_a_map_in_every_collection(collection: str) -> None:
    with refused(VALUE):
        records.read(collection, b"key", encode(["title"]))


def test_a_record_has_its_bound_in_bytes() -> None:
    most = {"title": "A", "text": "x" * 8000}
    assert len(records.write("listing", b"a", most)) < 16 * 1024
    with refused(Reason.TOO_LARGE):
        records.write("listing", b"a", {**most, "later": "x" * 9000})
    with refused(Reason.TOO_LARGE):
        records.read("listing", b"a", encode({**most, "later": "x" * 9000}))


def test_a_record_in_another_encoding_is_refused() -> None:
    with refused(Reason.NOT_CANONICAL):
        records.read("policy", b"a", b"\x81\xd9\x04kind\xa1x")


def test_a_float_cannot_be_written() -> None:
    with pytest.raises(LocalError):
        records.write("policy", b"a", {"kind": "x", "share": 0.5})


@pytest.mark.parametrize("name", ["a", "listing", "x-1", "a" * 32])
def test_a_collection_may_be_called(name: str) -> None:
    records.check_collection(name)


@pytest.mark.parametrize("name", ["", "A", "1a", "-a", "a_b", "a" * 33, "é", b"listing", None, "a\n"])
def test_a_collection_may_not_be_called(name: Any) -> None:
    with refused(KEY):
        records.check_collection(name)
    with refused(KEY):
        records.write(name, b"key", {})


@pytest.mark.parametrize("sku", ["a", "a b", "é" * 32, "\u200b"])
def test_a_sku_may_be(sku: str) -> None:
    assert records.listing_key(sku).decode() == sku


@pytest.mark.parametrize("sku", ["", " a", "a ", "a\0b", "a\nb", "é" * 33, "x" * 65, "a\x85b", "a\ud800"])
def test_a_sku_may_not_be(sku: str) -> None:
    with refused(KEY):
        records.listing_key(sku)
    with refused(KEY):
        records.stock_key(sku)


@pytest.mark.parametrize("location", ["", "shed", "x" * 31])
def test_a_stock_key_splits_into_its_parts(location: str) -> None:
    assert records.split_stock_key(records.stock_key("apple", location)) == ("apple", location)


@pytest.mark.parametrize("location", ["x" * 32, "a\0b", "a\x1b", "\ud800"])
def test_a_location_may_not_be(location: str) -> None:
    with refused(KEY):
        records.stock_key("apple", location)


@pytest.mark.parametrize(
    ("collection", "key"),
    [
        ("listing", b""),
        ("listing", b"x" * 97),
        ("listing", "text"),
        ("listing", b"\xff"),
        ("listing", b" a"),
        ("stock", b"apple"),
        ("stock", b"\0shed"),
        ("stock", b"apple\0a\0b"),
        ("stock", b"apple \0"),
        ("stock", b"\xff\0"),
        ("profile", b"other"),
        ("storefront", b""),
    ],
)
def test_a_key_that_may_not_stand_in_its_collection_is_refused(collection: str, key: Any) -> None:
    with refused(KEY):
        records.check_key(collection, key)


@pytest.mark.parametrize("gtin", ["96385074", "036000291452", "4006381333931", "10614141000415"])
def test_a_gtin_with_its_check_digit_is_valid(gtin: str) -> None:
    assert records.gtin_is_valid(gtin)
    wrong = gtin[:-1] + str((int(gtin[-1]) + 1) % 10)
    assert not records.gtin_is_valid(wrong)


@pytest.mark.parametrize("gtin", ["", "1234567", "9638507a", "٩٦٣٨٥٠٧٤", "963850744"])
def test_a_gtin_of_other_letters_or_length_is_not(gtin: str) -> None:
    assert not records.gtin_is_valid(gtin)


LENIENT = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**16) | st.text(max_size=5) | st.binary(max_size=33) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(-(2**63), 2**64 - 1), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = sorted({name for _, _, value in GOOD for name in value} | {"zzz", "aaa"})


@QUICK
@given(st.sampled_from(GOOD), st.dictionaries(st.sampled_from(NAMES), LENIENT, max_size=3), st.booleans(), st.data())
def test_reading_agrees_with_decoding_and_then_checking_rule_by_rule(
    good: tuple[str, bytes, dict[str, Any]], changes: dict[str, Any], in_order: bool, data: st.DataObject
) -> None:
    collection, key, value = good
    rows = list({**value, **changes}.items())
    raw = msgpack.packb(dict(sorted(rows) if in_order else data.draw(st.permutations(rows))), use_bin_type=True)

    def verdict(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except Refused as error:
            return error.reason

    def slowly() -> Any:
        decoded = decode(raw, 16 * 1024)
        records.check_value(collection, decoded)
        return decoded

    assert verdict(lambda: records.read(collection, key, raw)) == verdict(slowly)


@pytest.mark.parametrize(
    ("collection", "raw", "reason"),
    [
        ("policy", b"\x82\xa4kind\xa1x\xa1a\x01", Reason.NOT_CANONICAL),
        ("policy", b"\x82\x01\x01\xa4kind\xa1x", Reason.FORBIDDEN_TYPE),
        ("policy", encode({"kind": "x", "more": [[[[[[[[1]]]]]]]]}), Reason.TOO_DEEP),
        ("policy", encode({"kind": "x", "more": [[[[[[[1]]]]]]]}), None),
        ("policy", b"\x82\xa4kind\xa1x\xa4more\xca\x00\x00\x00\x00", Reason.FORBIDDEN_TYPE),
        ("listing", b"\x82\xaaattributes\x82\xa1b\xa1x\xa1a\xa1x\xa5title\xa1A", Reason.NOT_CANONICAL),
        ("listing", b"\x82\xaaattributes\x82\xa1a\xa1x\xa1b\xa1x\xa5title\xa1A", None),
        ("profile", b"\x82\xa4name\xa1A\xa5place\x82\xa6lon_e7\x01\xa6lat_e7\x01", Reason.NOT_CANONICAL),
        ("profile", b"\x82\xa4name\xa1A\xa5place\x82\xa6lat_e7\x01\xa6lon_e7\x01", None),
        ("policy", b"\xc1", Reason.MALFORMED),
    ],
)
def test_a_record_is_canonical_in_depth(collection: str, raw: bytes, reason: Reason | None) -> None:
    key = b"self" if collection == "profile" else b"key"
    if reason is None:
        assert encode(records.read(collection, key, raw)) == raw
    else:
        with refused(reason):
            records.read(collection, key, raw)
