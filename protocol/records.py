"""What a catalogue may say: records, their keys and their fields.

A record is (collection, key, value). The trie commits to the bytes whatever they say, so a record that
breaks a rule here does not spoil its author's stream: it counts as absent, is not shown, and is counted.
Unknown collections and unknown fields are kept and ignored, so that a newer node can say more.
Specification, section 6.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from protocol import shape
from protocol.encoding import check_types, decode, encode, is_shortest, unpack
from protocol.errors import Reason, Refused
from protocol.limits import (
    MAX_COLLECTION_BYTES,
    MAX_DEPTH,
    MAX_KEY_BYTES,
    MAX_LOCATION_BYTES,
    MAX_NAME_BYTES,
    MAX_PRICE_MINOR,
    MAX_QUANTITY_MILLI,
    MAX_SKU_BYTES,
    MAX_TEXT_BYTES,
    MAX_TITLE_BYTES,
    MAX_VALUE_BYTES,
)

LISTING, STOCK, PROFILE, STOREFRONT, POLICY = "listing", "stock", "profile", "storefront", "policy"
PROFILE_KEY = b"self"
"""A member has one profile, under this key."""

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_NAME_CHARS = _LOWER | frozenset("0123456789-")
_UPPER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_UPPER_DIGITS = _UPPER | frozenset("0123456789")


def check_collection(name: Any) -> None:
    """Refuse (record_key) a collection name that is not `[a-z][a-z0-9-]{0,31}`."""
    if (
        type(name) is not str
        or not 1 <= len(name) <= MAX_COLLECTION_BYTES
        or name[0] not in _LOWER
        or not _NAME_CHARS.issuperset(name)
    ):
        raise Refused(Reason.RECORD_KEY, "a collection is named by 1 to 32 of a-z, 0-9 and '-'")


def check_sku(sku: str) -> None:
    """Refuse (record_key) an article number that is empty, too long, padded or holds control characters."""
    size = _utf8_bytes(sku)
    if not 1 <= size <= MAX_SKU_BYTES:
        raise Refused(Reason.RECORD_KEY, f"a sku has 1 to {MAX_SKU_BYTES} bytes, not {size}")
    if sku != sku.strip() or (not sku.isprintable() and any(map(shape.is_control, sku))):
        raise Refused(Reason.RECORD_KEY, "a sku may not begin or end with a space, nor hold control characters")


def listing_key(sku: str) -> bytes:
    """Key of the listing of *sku*."""
    check_sku(sku)
    return sku.encode()


def stock_key(sku: str, location: str = "") -> bytes:
    """Key of the stock of *sku* at *location*; the empty location is the member's main one."""
    check_sku(sku)
    if _utf8_bytes(location) > MAX_LOCATION_BYTES or any(map(shape.is_control, location)):
        raise Refused(Reason.RECORD_KEY, f"a location has at most {MAX_LOCATION_BYTES} bytes, no control characters")
    return f"{sku}\0{location}".encode()


def split_stock_key(key: bytes) -> tuple[str, str]:
    """Return (sku, location) of a stock key. Refuses: record_key."""
    text = _key_text(key)
    sku, separator, location = text.partition("\0")
    if not separator or stock_key(sku, location) != key:
        raise Refused(Reason.RECORD_KEY, "a stock key is a sku, a zero byte and a location")
    return sku, location


def check_key(collection: str, key: Any) -> None:
    """Refuse (record_key) a key that may not stand in *collection*."""
    if type(key) is not bytes or not 1 <= len(key) <= MAX_KEY_BYTES:
        raise Refused(Reason.RECORD_KEY, f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if collection == LISTING:
        check_sku(_key_text(key))
    elif collection == STOCK:
        split_stock_key(key)
    elif collection == PROFILE and key != PROFILE_KEY:
        raise Refused(Reason.RECORD_KEY, "a member has one profile, under the key 'self'")


def read(collection: str, key: bytes, value: bytes) -> dict[str, Any]:
    """Decode one record and check it by the rules of its collection.

    Refuses: record_key, record_value (a field breaks its rule), and what `encoding.decode` refuses.
    """
    check_key(collection, key)
    if len(value) <= MAX_VALUE_BYTES:
        quick: dict[str, Any] = unpack(value)
        if _passes(collection, quick) and is_shortest(quick, value):
            return quick
    # A rule is broken: rule by rule, in the order of the specification, says which.
    decoded: dict[str, Any] = decode(value, MAX_VALUE_BYTES)
    check_value(collection, decoded)
    return decoded


def _passes(collection: str, value: Any) -> bool:
    """Whether *value* would pass `check_types` and `check_value`, found out in one pass over its fields."""
    plan = _plan(collection, tuple(value)) if type(value) is dict else None
    if plan is None:
        return False
    try:
        for check, item in zip(plan, value.values(), strict=True):
            check(item, "")
    except Refused:
        return False
    return True


@lru_cache(maxsize=256)
def _plan(collection: str, names: tuple[Any, ...]) -> tuple[shape.Check, ...] | None:
    """The check of each field, or None if the names alone break a rule. Catalogues repeat few sets of names."""
    if any(type(name) is not str for name in names) or any(map(str.__ge__, names, names[1:])):
        return None
    required, optional = _RULES.get(collection, ({}, {}))
    try:
        if not required.keys() <= set(names):
            return None
        for check in _TOGETHER.get(collection, ()):
            check(names)
    except Refused:
        return None
    return tuple(_in_order(required.get(name) or optional.get(name)) for name in names)


def _in_order(check: shape.Check | None) -> shape.Check:
    """Add what `check_types` asks of a field, where its own check does not imply it: unknown fields and maps."""
    if check is not None and check not in _MAP_CHECKS:
        return check

    def both(value: Any, name: str) -> None:
        check_types(value, MAX_DEPTH - 1)
        if check is not None:
            check(value, name)

    return both


def check_value(collection: str, value: Any) -> None:
    """Refuse (record_value) a decoded value that breaks a rule of *collection*. Spec 6.2 to 6.6."""
    rules = _RULES.get(collection)
    try:
        if rules is None:
            shape.fields(value, {}, extra=True)
            return
        required, optional = rules
        shape.fields(value, required, optional, extra=True)
    except Refused as error:
        raise Refused(Reason.RECORD_VALUE, error.detail) from error
    for check in _TOGETHER.get(collection, ()):
        check(value)


def write(collection: str, key: bytes, value: dict[str, Any]) -> bytes:
    """Check and encode a record of our own. Refuses what `read` would refuse."""
    check_collection(collection)
    check_key(collection, key)
    check_value(collection, value)
    encoded = encode(value)
    if len(encoded) > MAX_VALUE_BYTES:
        raise Refused(Reason.TOO_LARGE, f"a record has at most {MAX_VALUE_BYTES} bytes, not {len(encoded)}")
    return encoded


def gtin_is_valid(gtin: str) -> bool:
    """Whether *gtin* has 8, 12, 13 or 14 digits and a right check digit (GS1 General Specifications 7.9)."""
    if not gtin.isascii() or not gtin.isdigit() or len(gtin) not in (8, 12, 13, 14):
        return False
    digits = gtin.encode()
    # From the right: the check digit counts once, its neighbour three times, and so on; "0" is byte 48.
    once, thrice = digits[-1::-2], digits[-2::-2]
    return (sum(once) - 48 * len(once) + 3 * (sum(thrice) - 48 * len(thrice))) % 10 == 0


def _utf8_bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise Refused(Reason.RECORD_KEY, "a key is text that UTF-8 can hold") from error


def _key_text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise Refused(Reason.RECORD_KEY, "the key is not UTF-8") from error


def _currency(value: Any, name: str) -> None:
    if type(value) is not str or len(value) != 3 or not _UPPER.issuperset(value):
        raise Refused(Reason.WRONG_SHAPE, f"'{name}' must be three capital letters (ISO 4217)")


def _unit_code(value: Any, name: str) -> None:
    if type(value) is not str or not 2 <= len(value) <= 3 or not _UPPER_DIGITS.issuperset(value):
        raise Refused(Reason.WRONG_SHAPE, f"'{name}' must be a UN/ECE Recommendation 20 code")


def _gtin(value: Any, name: str) -> None:
    if type(value) is not str or not gtin_is_valid(value):
        raise Refused(Reason.OUT_OF_RANGE, f"'{name}' must be a GTIN with a right check digit")


def _link(value: Any, name: str) -> None:
    _SHORT(value, name)
    if not value.startswith(("https://", "http://")):
        raise Refused(Reason.OUT_OF_RANGE, f"'{name}' must begin with https:// or http://")


def _place(value: Any, name: str) -> None:
    try:
        shape.fields(
            value,
            {
                "lat_e7": shape.integer(-900_000_000, 900_000_000),
                "lon_e7": shape.integer(-1_800_000_000, 1_800_000_000),
            },
        )
    except Refused as error:
        raise Refused(error.reason, f"'{name}': {error.detail}") from error


_SHORT = shape.text(1, 500)
_WORD = shape.text(1, 100)
_NAME = shape.text(1, MAX_NAME_BYTES)
_TEXT = shape.text(0, MAX_TEXT_BYTES, lines=True)
_MS = shape.integer(0, 2**53)

_ATTRIBUTES = shape.texts_map(32, 100, 500)
_MAP_CHECKS = (_ATTRIBUTES, _place)
"""The checks that let a map through; none of them looks at the order of its keys."""

_LISTING_REQUIRED: dict[str, shape.Check] = {"title": shape.text(1, MAX_TITLE_BYTES)}
_LISTING_OPTIONAL: dict[str, shape.Check] = {
    "attributes": _ATTRIBUTES,
    "brand": _WORD,
    "category": shape.array(_WORD, 1, 8),
    "currency": _currency,
    "gtin": _gtin,
    "language": shape.text(2, 35),
    "minimum": shape.integer(1, 10**9),
    "mpn": _WORD,
    "pack_milli": shape.integer(1, MAX_QUANTITY_MILLI),
    "picture_urls": shape.array(_link, 1, 16),
    "pictures": shape.array(shape.binary(32), 1, 16),
    "price_minor": shape.integer(0, MAX_PRICE_MINOR),
    "tags": shape.array(_WORD, 1, 32),
    "tax_bp": shape.integer(0, 10_000),
    "tax_included": shape.boolean,
    "text": _TEXT,
    "unit": _unit_code,
    "url": _link,
    "variant_of": shape.text(1, MAX_SKU_BYTES),
    "weight_g": shape.integer(0, 10**9),
}
_RULES: dict[str, tuple[dict[str, shape.Check], dict[str, shape.Check]]] = {
    LISTING: (_LISTING_REQUIRED, _LISTING_OPTIONAL),
    STOCK: (
        {"said_ms": _MS},
        {"quantity_milli": shape.integer(0, MAX_QUANTITY_MILLI), "available": shape.boolean},
    ),
    PROFILE: (
        {"name": _NAME},
        {
            "address": shape.text(1, 500, lines=True),
            "country": shape.text(2, 2),
            "email": _SHORT,
            "languages": shape.array(shape.text(2, 35), 1, 16),
            "phone": shape.text(1, 40),
            "place": _place,
            "text": _TEXT,
            "url": _link,
        },
    ),
    STOREFRONT: ({"name": _NAME}, {"text": _TEXT}),
    POLICY: ({"kind": shape.text(1, 40)}, {}),
}


# Rules across fields look at names only, which may come as the map itself or as a tuple.
def _price_with_currency(value: Collection[str]) -> None:
    if ("price_minor" in value) != ("currency" in value):
        raise Refused(Reason.RECORD_VALUE, "'price_minor' and 'currency' go together")


def _quantity_or_available(value: Collection[str]) -> None:
    if ("quantity_milli" in value) == ("available" in value):
        raise Refused(Reason.RECORD_VALUE, "stock says either 'quantity_milli' or 'available'")


_TOGETHER = {LISTING: (_price_with_currency,), STOCK: (_quantity_or_available,)}
