"""A second reader of the protocol, written from protocol/README.md alone.

Slow and plain on purpose: it shares no line with `protocol`, so that our code is not its own only witness.
`OPERATIONS` maps the `op` of a vector to a function from its `in` to its `out`; `No` carries the reason.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

In = dict[str, Any]
Out = dict[str, Any]
Check = Callable[[Any], None]
MAX = 2**64 - 1
ZERO = bytes(32)


class No(Exception):
    """Refused, for the reason named."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def want(condition: bool, reason: str) -> None:
    if not condition:
        raise No(reason)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def unhex(text: str) -> bytes:
    """`61*3 62` is 61616162: parts with spaces between, each hex or hex*count."""
    out = b""
    for part in text.split():
        digits, _, times = part.partition("*")
        out += bytes.fromhex(digits) * int(times or "1")
    return out


# ── 2 encoding ────────────────────────────────────────────────────────────────────────────────────


class Foreign:
    """A float or an extension: no type of section 2.1, so no check of a field lets it through."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


class Reader:
    """Reads MessagePack; remembers what is wrong for good order of reasons."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.forbidden, self.deepest, self.loose = data, 0, False, 0, False

    def take(self, number: int) -> bytes:
        want(self.at + number <= len(self.data), "truncated")
        self.at += number
        return self.data[self.at - number : self.at]

    def uint(self, number: int) -> int:
        return int.from_bytes(self.take(number), "big")

    def length(self, number: int, shorter_below: int) -> int:
        found = self.uint(number)
        self.loose |= found < shorter_below
        return found

    def text(self, number: int) -> str:
        try:
            return self.take(number).decode("utf-8", "strict")
        except UnicodeDecodeError:
            raise No("malformed") from None

    def array(self, number: int, depth: int) -> list[Any]:
        want(number <= len(self.data) - self.at, "truncated")
        self.deepest = max(self.deepest, depth)
        return [self.value(depth + 1) for _ in range(number)]

    def map(self, number: int, depth: int) -> dict[Any, Any]:
        want(2 * number <= len(self.data) - self.at, "truncated")
        self.deepest = max(self.deepest, depth)
        out: dict[Any, Any] = {}
        previous: bytes | None = None
        for _ in range(number):
            key = self.value(depth + 1)
            value = self.value(depth + 1)
            if type(key) is not str:
                self.forbidden = True
                continue
            self.loose |= previous is not None and key.encode() <= previous
            previous = key.encode()
            out[key] = value
        return out

    def value(self, depth: int = 1) -> Any:
        want(depth < 100, "too_deep")  # before the stack ends
        tag = self.uint(1)
        if tag < 0x80:
            return tag
        if tag < 0x90:
            return self.map(tag & 15, depth)
        if tag < 0xA0:
            return self.array(tag & 15, depth)
        if tag < 0xC0:
            return self.text(tag & 31)
        if tag >= 0xE0:
            return tag - 256
        match tag:
            case 0xC0:
                return None
            case 0xC1:
                raise No("malformed")
            case 0xC2 | 0xC3:
                return tag == 0xC3
            case 0xC4:
                return self.take(self.uint(1))
            case 0xC5:
                return self.take(self.length(2, 2**8))
            case 0xC6:
                return self.take(self.length(4, 2**16))
            case 0xC7 | 0xC8 | 0xC9:
                self.forbidden = True
                return Foreign(self.take(self.uint(1 << (tag - 0xC7)) + 1))
            case 0xCA | 0xCB:
                self.forbidden = True
                return Foreign(self.take(4 if tag == 0xCA else 8))
            case 0xCC | 0xCD | 0xCE | 0xCF:
                power = tag - 0xCC
                return self.length(1 << power, 2**7 if power == 0 else 2 ** (8 << (power - 1)))
            case 0xD0 | 0xD1 | 0xD2 | 0xD3:
                power = tag - 0xD0
                number = int.from_bytes(self.take(1 << power), "big", signed=True)
                # Not below 0, or it would have fitted a shorter form.
                self.loose |= number >= (-32 if power == 0 else -(2 ** ((8 << (power - 1)) - 1)))
                return number
            case 0xD9:
                return self.text(self.length(1, 32))
            case 0xDA:
                return self.text(self.length(2, 2**8))
            case 0xDB:
                return self.text(self.length(4, 2**16))
            case 0xDC:
                return self.array(self.length(2, 16), depth)
            case 0xDD:
                return self.array(self.length(4, 2**16), depth)
            case 0xDE:
                return self.map(self.length(2, 16), depth)
            case 0xDF:
                return self.map(self.length(4, 2**16), depth)
            case _:  # d4 to d8: fixed extensions
                self.forbidden = True
                return Foreign(self.take((1 << (tag - 0xD4)) + 1))


def loose(data: bytes) -> tuple[Any, Reader]:
    """Read a value that need not be canonical."""
    reader = Reader(data)
    value = reader.value()
    want(reader.at == len(data), "trailing")
    return value, reader


def strict(data: bytes, most: int) -> Any:
    want(len(data) <= most, "too_large")
    value, reader = loose(data)
    want(reader.deepest <= 8, "too_deep")
    want(not reader.forbidden, "forbidden_type")
    want(not reader.loose, "not_canonical")
    return value


def pack(value: Any) -> bytes:
    """Write a value in its one encoding."""

    def sized(number: int, fix: tuple[int, int] | None, tags: tuple[int, ...]) -> bytes:
        if fix is not None and number < fix[1]:
            return bytes([fix[0] | number])
        for tag, width in zip(tags, (1, 2, 4) if len(tags) == 3 else (2, 4), strict=True):
            if number < 1 << (8 * width):
                return bytes([tag]) + number.to_bytes(width, "big")
        raise AssertionError

    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if type(value) is int:
        if -32 <= value < 128:
            return (value & 0xFF).to_bytes(1, "big")
        for power in range(4):
            width = 1 << power
            if value >= 0 and value < 1 << (8 * width):
                return bytes([0xCC + power]) + value.to_bytes(width, "big")
            if value < 0 and value >= -(1 << (8 * width - 1)):
                return bytes([0xD0 + power]) + value.to_bytes(width, "big", signed=True)
    if type(value) is bytes:
        return sized(len(value), None, (0xC4, 0xC5, 0xC6)) + value
    if type(value) is str:
        raw = value.encode()
        return sized(len(raw), (0xA0, 32), (0xD9, 0xDA, 0xDB)) + raw
    if type(value) is list:
        return sized(len(value), (0x90, 16), (0xDC, 0xDD)) + b"".join(map(pack, value))
    assert type(value) is dict
    body = b"".join(pack(key) + pack(value[key]) for key in sorted(value, key=str.encode))
    return sized(len(value), (0x80, 16), (0xDE, 0xDF)) + body


def diagnose(value: Any) -> str:
    """Write a value for a person: nil, true, 12, "text", h'00', [..], {..}."""
    if value is None:
        return "nil"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is bytes:
        return f"h'{value.hex()}'"
    if type(value) is list:
        return "[" + ", ".join(map(diagnose, value)) + "]"
    if type(value) is dict:
        return "{" + ", ".join(f"{diagnose(key)}: {diagnose(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def inflated(data: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data, most + 1)
    except zlib.error:
        raise No("malformed") from None
    want(len(raw) <= most, "too_large")
    want(inflater.eof, "truncated")
    want(not inflater.unused_data, "trailing")
    return raw


# ── 1.2 types of fields ───────────────────────────────────────────────────────────────────────────


def integer(low: int, high: int) -> Check:
    def check(value: Any) -> None:
        want(type(value) is int, "wrong_shape")
        want(low <= value <= high, "out_of_range")

    return check


def binary(low: int, high: int | None = None) -> Check:
    def check(value: Any) -> None:
        want(type(value) is bytes, "wrong_shape")
        if high is None:
            want(len(value) == low, "wrong_shape")
        else:
            want(low <= len(value) <= high, "out_of_range")

    return check


def control(text: str) -> bool:
    return any(ord(one) < 0x20 or 0x7F <= ord(one) <= 0x9F for one in text)


def words(low: int, high: int, begins: tuple[str, ...] = ("",), breaks: bool = False) -> Check:
    def check(value: Any) -> None:
        want(type(value) is str, "wrong_shape")
        seen = value.replace("\n", "").replace("\t", "") if breaks else value
        want(low <= len(value.encode()) <= high and not control(seen) and value.startswith(begins), "out_of_range")

    return check


def word(*choices: str) -> Check:
    def check(value: Any) -> None:
        want(type(value) is str, "wrong_shape")
        want(value in choices, "out_of_range")

    return check


def boolean(value: Any) -> None:
    want(type(value) is bool, "wrong_shape")


def many(low: int, high: int, item: Check) -> Check:
    def check(value: Any) -> None:
        want(type(value) is list, "wrong_shape")
        want(low <= len(value) <= high, "out_of_range")
        for one in value:
            item(one)

    return check


def nil_or(inner: Check) -> Check:
    return lambda value: None if value is None else inner(value)


def row(*items: Check) -> Check:
    def check(value: Any) -> None:
        want(type(value) is list and len(value) == len(items), "wrong_shape")
        for one, item in zip(value, items, strict=True):
            item(one)

    return check


def any_map(value: Any) -> None:
    want(type(value) is dict, "wrong_shape")


def exact(
    value: Any, required: dict[str, Check], optional: dict[str, Check] | None = None, others: bool = False
) -> None:
    any_map(value)
    known = {**required, **(optional or {})}
    want(set(required) <= set(value), "wrong_shape")
    want(others or set(value) <= set(known), "wrong_shape")
    for name, item in value.items():
        if name in known:
            known[name](item)


def version(value: Any) -> None:
    """Another version may have another shape, so it is looked at before anything else."""
    if type(value) is dict and type(value.get("v")) is int:
        want(value["v"] == 1, "wrong_version")


# ── 3 keys and signatures ─────────────────────────────────────────────────────────────────────────

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def low_order() -> set[int]:
    """The y of all points whose order divides 8, found by arithmetic instead of from a table."""

    def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        k = D * a[0] * b[0] * a[1] * b[1]
        x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + k, -1, P)
        y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, P)
        return x % P, y % P

    seen: set[int] = set()
    y = 2
    while len(seen) < 5:  # L times any point of the curve is a point of low order
        y += 1
        square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        if x * x % P != square:
            x = x * pow(2, (P - 1) // 4, P) % P
        if x * x % P != square:
            continue
        total, power = (0, 1), (x, y)
        for bit in range(L.bit_length()):
            if L >> bit & 1:
                total = add(total, power)
            power = add(power, power)
        point = (0, 1)
        for _ in range(8):
            seen.add(point[1])
            point = add(point, total)
    return seen


LOW_ORDER = low_order()


def check_point(encoded: bytes, reason: str = "bad_key") -> None:
    want(len(encoded) == 32, reason)
    y = int.from_bytes(encoded, "little") % 2**255
    want(y < P and y not in LOW_ORDER, reason)


def check_signature(public: bytes, signature: bytes, message: bytes) -> None:
    check_point(public)
    want(len(signature) == 64, "bad_signature")
    want(int.from_bytes(signature[32:], "little") < L, "bad_signature")
    check_point(signature[:32], "bad_signature")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise No("bad_signature") from None


def cut(data: bytes, most: int) -> tuple[bytes, bytes]:
    want(len(data) > 64, "truncated")
    want(len(data) <= 64 + most, "too_large")
    return data[:64], data[64:]


def covered(what: str, coop: bytes, body: bytes) -> bytes:
    return b"coopnode/" + what.encode() + b"/v1\x00" + coop + body


# ── 4 identity ────────────────────────────────────────────────────────────────────────────────────

KEY = binary(32)
IDENTITY: dict[str, Check] = {
    "v": integer(1, 1),
    "kind": word("identity"),
    "seq": integer(0, 2**32),
    "prev": nil_or(KEY),
    "rotation": many(1, 8, KEY),
    "key": KEY,
    "epoch": integer(0, 2**48),
    "next": nil_or(KEY),
    "by": KEY,
}


def identity_statement(data: bytes) -> dict[str, Any]:
    signature, body = cut(data, 16384)
    value = strict(body, 16384)
    version(value)
    exact(value, IDENTITY)
    for key in [*value["rotation"], value["key"]]:
        check_point(key)
    want((value["seq"] == 0) == (value["prev"] is None), "not_successor")
    check_signature(value["by"], signature, covered("identity", ZERO, body))
    return {**value, "id": sha(body)}


def follows(one: dict[str, Any], before: dict[str, Any]) -> int:
    want(one["prev"] == before["id"] and one["seq"] == before["seq"] + 1, "not_successor")
    want(one["epoch"] > before["epoch"], "epoch_not_fenced")
    if before["next"] == sha(one["by"]):
        return 0
    want(one["by"] in before["rotation"], "not_successor")
    rotation: list[bytes] = before["rotation"]
    return 1 + rotation.index(one["by"])


class Identity:
    """The log of one member, folded."""

    def __init__(
        self, statements: list[dict[str, Any]], member: bytes | None = None, settled: bytes | None = None
    ) -> None:
        by_id = {one["id"]: one for one in statements}
        firsts = [one for one in by_id.values() if one["seq"] == 0]
        if member is not None:
            firsts = [one for one in firsts if one["id"][:20] == member]
        want(len(firsts) == 1, "not_successor")
        first = firsts[0]
        want(first["by"] in first["rotation"], "not_successor")
        path = set()
        while settled in by_id:
            assert settled is not None
            path.add(settled)
            settled = by_id[settled]["prev"]
        self.log, self.frozen = [first], False
        while True:
            rights: dict[int, list[dict[str, Any]]] = {}
            for one in by_id.values():
                try:
                    rights.setdefault(follows(one, self.log[-1]), []).append(one)
                except No:
                    continue
            recorded = [one for rivals in rights.values() for one in rivals if one["id"] in path]
            if recorded:
                self.log.append(recorded[0])
            elif not rights:
                break
            elif len(rights[min(rights)]) == 1:
                self.log.append(rights[min(rights)][0])
            else:
                self.frozen = True
                break
        self.member_id = bytes(first["id"][:20])

    def check(self, what: str, coop: bytes, epoch: int, data: bytes) -> None:
        want(not (self.frozen and epoch > self.log[-1]["epoch"]), "identity_frozen")
        keys = [one["key"] for one in self.log if one["epoch"] <= epoch]
        want(bool(keys), "epoch_not_fenced")
        check_signature(keys[-1], data[:64], covered(what, coop, data[64:]))


def identities(datas: list[bytes]) -> dict[bytes, Identity]:
    """Sort the statements of several members by their first statement, and fold each member's."""
    by_id = {one["id"]: one for one in map(identity_statement, datas)}
    members: dict[bytes, list[dict[str, Any]]] = {}
    for one in by_id.values():
        first = one
        while first["prev"] is not None:
            want(first["prev"] in by_id, "not_successor")
            first = by_id[first["prev"]]
        members.setdefault(first["id"], []).append(one)
    folded = [Identity(statements) for statements in members.values()]
    return {one.member_id: one for one in folded}


# ── 5 statements ──────────────────────────────────────────────────────────────────────────────────

MS = integer(0, 2**53)
MEMBER = binary(20)
ENVELOPE: dict[str, Check] = {
    "v": integer(0, 255),
    "kind": words(1, 32),
    "member": MEMBER,
    "epoch": integer(0, 2**48),
    "revision": integer(0, MAX),
}
KINDS: dict[str, tuple[dict[str, Check], list[str]]] = {
    "contact": (
        {
            "name": words(1, 120),
            "endpoints": many(0, 8, words(1, 256, ("http://", "https://"))),
            "relays": many(0, 3, MEMBER),
        },
        [],
    ),
    "proposal": (
        {
            "title": words(1, 500),
            "text": words(0, 8000, breaks=True),
            "method": word("yes_no"),
            "options": many(0, 32, words(1, 100)),
            "page": KEY,
            "opens_ms": MS,
            "closes_ms": MS,
            "quorum_bp": integer(0, 10000),
            "threshold_bp": integer(5000, 10000),
        },
        ["epoch", "revision"],
    ),
    "ballot": ({"proposal": KEY, "choice": words(1, 32)}, ["proposal"]),
    "invitation": ({"nonce": binary(16), "until_ms": MS, "uses": integer(1, 100)}, ["nonce"]),
    "application": (
        {"invitation": KEY, "name": words(1, 120), "log": many(1, 256, binary(65, 16448))},
        ["invitation"],
    ),
    "page": (
        {
            "teller_epoch": integer(0, 2**48),
            "slot": integer(1, 2**48),
            "parent": KEY,
            "time_ms": MS,
            "acts": many(0, 64, any_map),
            "state": KEY,
        },
        ["slot"],
    ),
    "final": ({"slot": integer(1, 2**48), "page": KEY}, ["slot"]),
}


def statement(data: bytes, kind: str | None = None) -> dict[str, Any]:
    _, body = cut(data, 16384)
    value = strict(body, 16384)
    exact(value, ENVELOPE, others=True)
    want(value["kind"] in KINDS and kind in (None, value["kind"]), "unknown_kind")
    want(value["v"] == 1, "wrong_version")
    own, slot = KINDS[value["kind"]]
    optional = {"ballot": {"why": words(1, 2000)}, "contact": {"replica": words(1, 16)}}.get(value["kind"], {})
    exact(value, {**ENVELOPE, **own}, optional, others=value["kind"] == "contact")
    name = sha(pack([value["kind"], value["member"], *[value[field] for field in slot]]))
    return {**value, "id": sha(body), "slot_id": name, "data": data, "order": (value["epoch"], value["revision"])}


def signed_by(one: dict[str, Any], coop: bytes, known: dict[bytes, Identity]) -> None:
    want(one["member"] in known, "unknown_author")
    known[one["member"]].check(one["kind"], coop, one["epoch"], one["data"])


# ── 6 records ─────────────────────────────────────────────────────────────────────────────────────

SPACES = " \u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def letters(value: Any, alphabet: str, low: int, high: int) -> None:
    want(type(value) is str and low <= len(value) <= high and set(value) <= set(alphabet), "wrong_shape")


UPPER, DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
LINK = words(1, 500, ("https://", "http://"))
WORD = words(1, 100)
LONG = words(0, 8000, breaks=True)


def gtin(value: Any) -> None:
    letters(value, DIGITS, 8, 14)
    want(len(value) in (8, 12, 13, 14), "out_of_range")
    total = int(value[-1]) + sum(int(one) * (3, 1)[i % 2] for i, one in enumerate(value[-2::-1]))
    want(total % 10 == 0, "out_of_range")


def attributes(value: Any) -> None:
    any_map(value)
    want(len(value) <= 32, "out_of_range")
    for key, item in value.items():
        words(1, 100)(key)
        words(0, 500)(item)


RULES: dict[str, tuple[dict[str, Check], dict[str, Check]]] = {
    "listing": (
        {"title": words(1, 500)},
        {
            "attributes": attributes,
            "brand": WORD,
            "mpn": WORD,
            "category": many(1, 8, WORD),
            "currency": lambda value: letters(value, UPPER, 3, 3),
            "gtin": gtin,
            "language": words(2, 35),
            "minimum": integer(1, 10**9),
            "pack_milli": integer(1, 10**15),
            "picture_urls": many(1, 16, LINK),
            "pictures": many(1, 16, KEY),
            "price_minor": integer(0, 10**15),
            "tags": many(1, 32, WORD),
            "tax_bp": integer(0, 10000),
            "tax_included": boolean,
            "text": LONG,
            "unit": lambda value: letters(value, UPPER + DIGITS, 2, 3),
            "url": LINK,
            "variant_of": words(1, 64),
            "weight_g": integer(0, 10**9),
        },
    ),
    "stock": ({"said_ms": MS}, {"quantity_milli": integer(0, 10**15), "available": boolean}),
    "profile": (
        {"name": words(1, 120)},
        {
            "address": words(1, 500, breaks=True),
            "country": words(2, 2),
            "email": words(1, 500),
            "languages": many(1, 16, words(2, 35)),
            "phone": words(1, 40),
            "place": lambda value: exact(
                value, {"lat_e7": integer(-900000000, 900000000), "lon_e7": integer(-1800000000, 1800000000)}
            ),
            "text": LONG,
            "url": LINK,
        },
    ),
    "storefront": ({"name": words(1, 120)}, {"text": LONG}),
    "policy": ({"kind": words(1, 40)}, {}),
}


def check_collection(name: str) -> None:
    lower = UPPER.lower()
    want(1 <= len(name) <= 32 and name[0] in lower and set(name) <= set(lower + DIGITS + "-"), "record_key")


def record(collection: str, key: bytes, data: bytes) -> dict[str, Any]:
    want(1 <= len(key) <= 96, "record_key")
    if collection in ("listing", "stock"):
        sku, zero, place = key.partition(b"\x00")
        want(bool(zero) == (collection == "stock"), "record_key")
        try:
            article, where = sku.decode(), place.decode()
        except UnicodeDecodeError:
            raise No("record_key") from None
        want(1 <= len(sku) <= 64 and not control(article) and article == article.strip(SPACES), "record_key")
        want(len(place) <= 31 and not control(where), "record_key")
    want(collection != "profile" or key == b"self", "record_key")
    value = strict(data, 16384)
    try:
        required, optional = RULES.get(collection, ({}, {}))
        exact(value, required, optional, others=True)
    except No:
        raise No("record_value") from None
    if collection == "listing":
        want(("price_minor" in value) == ("currency" in value), "record_value")
    if collection == "stock":
        want(("quantity_milli" in value) != ("available" in value), "record_value")
    found: dict[str, Any] = value
    return found


# ── 7 trie ────────────────────────────────────────────────────────────────────────────────────────

Summary = tuple[int, int, bytes]
Pairs = list[tuple[bytes, bytes]]


def entry(key: bytes, value: bytes) -> bytes:
    return sha(key) + sha(value) + (len(key) + len(value)).to_bytes(4, "big")


def leaf_size(entries: list[bytes]) -> int:
    return sum(int.from_bytes(one[64:], "big") for one in entries)


def pair(left: bytes, right: bytes) -> bytes:
    return ZERO if left == right == ZERO else sha(b"\x03" + left + right)


def top(count: int, size: int, left: bytes, right: bytes) -> bytes:
    return sha(b"\x02" + count.to_bytes(8, "big") + size.to_bytes(8, "big") + left + right)


def node(count: int, size: int, children: list[bytes]) -> bytes:
    while len(children) > 2:
        children = [pair(children[i], children[i + 1]) for i in range(0, len(children), 2)]
    return top(count, size, children[0], children[1])


def subtree(entries: list[bytes], depth: int = 0) -> Summary:
    """Count, size and hash of what lies below *depth* hex digits."""
    size = leaf_size(entries)
    if not entries:
        return 0, 0, ZERO
    if len(entries) <= 16:
        return len(entries), size, sha(b"\x01" + b"".join(sorted(entries)))
    children = [
        subtree([one for one in entries if one.hex()[depth] == digit], depth + 1) for digit in "0123456789abcdef"
    ]
    return len(entries), size, node(len(entries), size, [child[2] for child in children])


def trie(pairs: Pairs) -> Summary:
    return subtree([entry(key, value) for key, value in pairs])


def state_body(collections: dict[str, Summary]) -> bytes:
    return pack([[name, *collections[name]] for name in sorted(collections) if collections[name][0]])


def chunk(data: bytes, prefix: str) -> Summary:
    raw = inflated(data, 2**20 + 8 * 1024)
    flat, _ = loose(raw)
    want(type(flat) is list and len(flat) % 2 == 0 and len(flat) <= 2048, "wrong_shape")
    want(all(type(one) is bytes for one in flat), "wrong_shape")
    keys, values = flat[::2], flat[1::2]
    want(all(1 <= len(key) <= 96 for key in keys), "record_key")
    want(all(len(value) <= 16384 for value in values), "too_large")
    hashes = [sha(key) for key in keys]
    want(hashes == sorted(set(hashes)), "chunk_mismatch")
    want(all(one.hex().startswith(prefix) for one in hashes), "chunk_mismatch")
    return subtree([entry(key, value) for key, value in zip(keys, values, strict=True)], len(prefix))


def operations(bodies: dict[str, bytes]) -> tuple[bytes, int, int]:
    """Check operations and return their root, number and bytes."""
    rows: list[list[Any]] = []
    total = 0
    want(sum(map(len, bodies.values())) <= 2**20, "too_large")
    for name in sorted(bodies):
        check_collection(name)
        flat, reader = loose(bodies[name])
        want(type(flat) is list and len(flat) % 2 == 0 and bool(flat), "wrong_shape")
        keys, values = flat[::2], flat[1::2]
        want(all(type(key) is bytes for key in keys), "wrong_shape")
        want(all(value is None or type(value) is bytes for value in values), "wrong_shape")
        want(all(1 <= len(key) <= 96 for key in keys), "record_key")
        want(keys == sorted(set(keys)) and not reader.loose, "not_canonical")
        want(all(value is None or len(value) <= 16384 for value in values), "too_large")
        rows.append([name, len(keys), sha(bodies[name])])
        total += len(keys)
    want(total <= 1000, "too_large")
    return sha(b"\x05" + pack(rows)), total, sum(map(len, bodies.values()))


COUNT = integer(0, MAX)
PROOF = row(
    integer(1, 1),
    many(0, 32, row(words(1, 32), integer(1, MAX), COUNT, KEY)),
    many(0, 64, row(COUNT, COUNT, many(4, 4, KEY))),
    binary(0, 1088),
)


def proof(data: bytes, root: bytes, collection: str, key: bytes) -> bytes | None:
    """Check a proof and return the entry that it shows, or None for absence."""
    value = strict(data, 8192)
    PROOF(value)
    _, rows, levels, leaf = value
    names = [one[0] for one in rows]
    bad = "proof_mismatch"
    want(names == sorted(set(names)) and sha(b"\x04" + pack(rows)) == root, bad)
    want(len(leaf) % 68 == 0 and len(leaf) <= 16 * 68, bad)
    entries = [leaf[i : i + 68] for i in range(0, len(leaf), 68)]
    hashes = [one[:32] for one in entries]
    path = sha(key).hex()
    want(hashes == sorted(set(hashes)), bad)
    want(all(one.hex()[: len(levels)] == path[: len(levels)] for one in hashes), bad)
    count, size, found = len(entries), leaf_size(entries), sha(b"\x01" + leaf) if entries else ZERO
    for digit, (above, bytes_above, siblings) in reversed(list(zip(path, levels, strict=False))):
        want(above > 16 and above >= count and bytes_above >= size, bad)
        count, size, place = above, bytes_above, int(digit, 16)
        for sibling in siblings[:3]:
            found = pair(sibling, found) if place % 2 else pair(found, sibling)
            place //= 2
        left, right = (siblings[3], found) if place else (found, siblings[3])
        found = top(count, size, left, right)
    expected = next((one[1:] for one in rows if one[0] == collection), [0, 0, ZERO])
    want([count, size, found] == expected, bad)
    return next((one for one in entries if one[:32] == sha(key)), None)


PROVED = row(
    integer(1, 1),
    COUNT,
    many(0, 256, binary(65, 576)),
    many(0, 256, row(integer(0, 255), words(1, 32), binary(1, 96), nil_or(binary(0, 16384)), binary(1, 8192))),
)


def proved(data: bytes) -> list[list[Any]]:
    """Check every row of an answer by its proof; return member, collection, key and whether there is a record."""
    value = strict(data, 2**20)
    PROVED(value)
    heads = [head(one) for one in value[2]]
    found = []
    for place, collection, key, record, path in value[3]:
        want(place < len(heads), "out_of_range")
        shown = proof(path, heads[place]["root"], collection, key)
        want(shown == (None if record is None else entry(key, record)), "proof_mismatch")
        found.append([heads[place]["member"].hex(), collection, key.hex(), record is not None])
    return found


# ── 8 heads ───────────────────────────────────────────────────────────────────────────────────────

HEAD = row(
    integer(1, 1),
    MEMBER,
    integer(0, 15),
    integer(0, 2**48),
    COUNT,
    binary(8),
    KEY,
    KEY,
    COUNT,
    COUNT,
    COUNT,
    KEY,
    integer(0, 1000),
    integer(0, 2**20),
    integer(0, 0),
)


def head(data: bytes) -> dict[str, Any]:
    _, body = cut(data, 512)
    value = strict(body, 512)
    if type(value) is list and value and type(value[0]) is int:
        want(value[0] == 1, "wrong_version")
    HEAD(value)
    want((value[10] == 0) == (value[12] == 0) and value[10] < value[4], "out_of_range")
    want(value[12] > 0 or (value[11] == ZERO and value[13] == 0), "out_of_range")
    names = "v member stream epoch rev instance prev root records bytes since ops_root ops_count ops_bytes flags"
    return {**dict(zip(names.split(), value, strict=True)), "id": sha(body), "data": data}


# ── 9 sessions ────────────────────────────────────────────────────────────────────────────────────


def prefix(value: Any) -> None:
    want(type(value) is str and len(value) <= 64 and set(value) <= set("0123456789abcdef"), "wrong_shape")


def node_item(value: Any) -> None:
    want(type(value) is list and len(value) == 3, "wrong_shape")
    prefix(value[0])
    integer(0, 1)(value[1])
    (binary(0, 1114112) if value[1] else many(16, 16, row(COUNT, COUNT, KEY)))(value[2])


def nil(value: Any) -> None:
    want(value is None, "wrong_shape")


def pieces(length: int, most: int) -> Check:
    def check(value: Any) -> None:
        binary(0, length * most)(value)
        want(len(value) % length == 0, "wrong_shape")

    return check


def ranges(*payloads: Check) -> Check:
    def check(value: Any) -> None:
        many(1, 4096, row(binary(0, 8), integer(0, len(payloads) - 1), lambda _: None))(value)
        before = b""
        for place, (bound, mode, payload) in enumerate(value):
            payloads[mode](payload)
            want(bound > before or (bound == b"" and place == len(value) - 1), "out_of_range")
            before = bound

    return check


U32 = integer(0, 2**32 - 1)
A_HEAD, A_SIGNED = binary(65, 576), binary(65, 16448)
NEWS = (many(0, 1000, A_HEAD), many(0, 1000, A_SIGNED), many(0, 1000, A_SIGNED))
STREAM = integer(0, 15)
SEGMENT = row(COUNT, many(1, 32, row(words(1, 32), binary(1, 2**20))))
MESSAGES: dict[int, tuple[Check, ...]] = {
    1: (integer(0, 255), KEY, MEMBER, binary(8), KEY, many(1, 256, A_SIGNED)),
    2: (binary(64),),
    10: (COUNT, KEY, binary(8), many(0, 16, A_HEAD), words(1, 16)),
    11: NEWS,
    12: (U32, binary(8), COUNT, KEY),
    13: (U32, binary(8), COUNT, boolean, boolean, *NEWS),
    14: (U32, MEMBER, STREAM, COUNT, COUNT),
    15: (U32, nil_or(A_HEAD), many(0, 1000, SEGMENT)),
    16: (U32, MEMBER, STREAM, KEY, words(0, 32), many(0, 256, prefix)),
    17: (U32, nil_or(A_HEAD), binary(0, 4096), many(0, 256, node_item)),
    18: (U32, COUNT),
    19: (U32, boolean, many(0, 1000, binary(1, 2**21)), many(0, 1000, A_SIGNED)),
    20: (COUNT,),
    21: (COUNT,),
    22: (binary(8),),
    23: (words(1, 40), words(0, 500)),
    24: (U32, binary(16), ranges(nil, binary(16), pieces(8, 32))),
    25: (U32, binary(8), COUNT, ranges(nil, binary(16), pieces(32, 1000), row(pieces(32, 1000), pieces(8, 32)))),
    26: (U32, many(1, 1000, KEY)),
    27: (U32, *NEWS),
    28: (pieces(8, 1000),),
    29: (pieces(8, 1000),),
    30: (),
    31: (U32, integer(1, 60_000)),
}


def message(data: bytes) -> list[Any]:
    want(len(data) <= 2**21, "too_large")
    value, _ = loose(data)
    want(type(value) is list and bool(value) and type(value[0]) is int, "wrong_shape")
    want(value[0] in MESSAGES, "unknown_kind")
    checks = MESSAGES[value[0]]
    if value[0] == 10 and len(value) == 5:
        checks = checks[:4]  # a status that does not say how much its node keeps: everything
    row(*checks)(value[1:])
    found: list[Any] = value
    return found


def transcript(speaker: str, dialer: list[Any], listener: list[Any]) -> bytes:
    return pack([speaker, dialer[3:6], listener[3:6]])


def session(i: In) -> Out:
    """Play one side of a handshake against the messages of the other."""
    coop = unhex(i["coop"])
    seed = Ed25519PrivateKey.from_private_bytes(unhex(i["seed"]))
    log = list(map(unhex, i["log"]))
    me = Identity(list(map(identity_statement, log)))
    mine = [1, 1, coop, me.member_id, unhex(i["instance"]), unhex(i["nonce"]), log]
    we_dial = i["role"] == "dialer"
    roles = ("dialer", "listener") if we_dial else ("listener", "dialer")
    sent = [pack(mine)] if we_dial else []
    questions = [message(unhex(one)) for one in i.get("asks", [])]
    state, both, them = "hello", (mine, mine), me
    waiting: dict[int, int] = {}
    answered = 0
    for data in map(unhex, i["receive"]):
        if state == "closed":
            continue
        one = message(data)
        allowed = {"hello": (1, 23), "proof": (2, 23), "open": range(10, 28)}[state]
        want(one[0] in allowed, "out_of_turn")
        if one[0] == 23:
            state = "closed"
        elif one[0] == 1:
            want(one[1] == 1, "wrong_version")
            want(one[2] == coop, "wrong_coop")
            want(one[4] != mine[4] and one[5] != mine[5], "same_node")
            them = Identity(list(map(identity_statement, one[6])), one[3])
            both = (mine, one) if we_dial else (one, mine)
            if not we_dial:
                sent.append(pack(mine))
            sent.append(pack([2, seed.sign(covered("link", coop, transcript(roles[0], *both)))]))
            state = "proof"
        elif one[0] == 2:
            check_signature(them.log[-1]["key"], one[1], covered("link", coop, transcript(roles[1], *both)))
            state = "open"
            waiting = {number: question[0] + 1 for number, question in enumerate(questions, 1)}
        elif one[0] == 20:
            sent.append(pack([21, one[1]]))
        elif one[0] in (13, 15, 17, 19, 25, 27):
            want(waiting.pop(one[1], None) == one[0], "unasked")
            answered += not i.get("late")
    return {"state": state, "sent": [one.hex() for one in sent], "answered": answered}


# ── 10 minute book ────────────────────────────────────────────────────────────────────────────────


def policy(value: Any) -> None:
    want(type(value) is dict and len(value) <= 64, "wrong_shape")
    for key, item in value.items():
        words(1, 64)(key)
        (words(0, 500) if type(item) is str else integer(-(2**53), 2**53))(item)


GENESIS: dict[str, Check] = {
    "v": integer(1, 1),
    "kind": word("genesis"),
    "name": words(1, 120),
    "founders": many(1, 100, MEMBER),
    "time_ms": MS,
    "nonce": binary(16),
    "admission": word("invitation"),
    "policy": policy,
}
ADMIT: dict[str, Check] = {"act": word("admit"), "invitation": binary(65, 16448), "application": binary(65, 16448)}


class Book:
    """The minute book from genesis on, and the roster after its latest page."""

    def __init__(self, bundle: bytes, coop: bytes) -> None:
        value = strict(bundle, 2**21)
        row(binary(1, 16384), many(1, 100, binary(64)), many(1, 400, binary(65, 16448)))(value)
        body, signatures, log = value
        want(sha(body) == coop, "wrong_coop")
        charter = strict(body, 16384)
        version(charter)
        exact(charter, GENESIS)
        founders = charter["founders"]
        want(founders == sorted(set(founders)), "not_canonical")
        self.known = identities(log)
        want(len(signatures) == len(founders), "bad_signature")
        self.coop, self.name, self.policy = coop, charter["name"], charter["policy"]
        self.slot, self.page_id, self.time_ms, self.teller_epoch = 0, coop, charter["time_ms"], 0
        self.members: dict[bytes, list[Any]] = {}
        self.uses: dict[bytes, int] = {}
        for member, signature in zip(founders, signatures, strict=True):
            want(member in self.known, "unknown_author")
            first = self.known[member].log[0]
            check_signature(first["key"], signature, covered("genesis", coop, body))
            self.members[member] = ["active", first["key"], first["epoch"], first["id"], None, 0, self.time_ms]

    def rows(self) -> Pairs:
        rows = [(b"member/" + one, pack(line)) for one, line in self.members.items()]
        rows.append((b"tellers", pack([self.teller_epoch, sorted(self.members)])))
        rows += [(b"policy/" + name.encode(), pack(value)) for name, value in self.policy.items()]
        return rows + [(b"invitation/" + one, pack(number)) for one, number in self.uses.items()]

    def turn(self, data: bytes) -> None:
        """Check an official page and go on to the state after it."""
        value = strict(data, 2**21)
        row(binary(65, 16448), many(1, 10000, binary(65, 16448)))(value)
        page = statement(value[0], "page")
        finals = [statement(one, "final") for one in value[1]]
        tellers = sorted(self.members)
        want(page["slot"] == self.slot + 1 and page["teller_epoch"] == self.teller_epoch, "wrong_slot")
        want(page["parent"] == self.page_id, "wrong_parent")
        want(page["member"] == tellers[page["slot"] % len(tellers)], "wrong_secretary")
        want(page["time_ms"] >= self.time_ms, "wrong_time")
        signed_by(page, self.coop, self.known)
        self.slot, self.page_id, self.time_ms = page["slot"], page["id"], page["time_ms"]
        for act in page["acts"]:
            self.act(act)
        want(trie(self.rows())[2] == page["state"], "wrong_state")
        for final in finals:
            want(final["slot"] == page["slot"] and final["page"] == page["id"], "wrong_slot")
            want(final["member"] in tellers, "not_entitled")
            signed_by(final, self.coop, self.known)
        want({final["member"] for final in finals} == set(tellers), "not_enough_finals")

    def act(self, act: dict[str, Any]) -> None:
        want(act.get("act") == "admit", "bad_act")
        exact(act, ADMIT)
        invitation = statement(act["invitation"], "invitation")
        application = statement(act["application"], "application")
        newcomer = application["member"]
        want(invitation["member"] in self.members, "invitation_void")
        signed_by(invitation, self.coop, self.known)
        used = self.uses.get(invitation["id"], 0)
        want(application["invitation"] == invitation["id"], "invitation_void")
        want(self.time_ms <= invitation["until_ms"] and used < invitation["uses"], "invitation_void")
        folded = identities(application["log"])
        want(newcomer in folded, "unknown_author")
        want(not folded[newcomer].frozen, "identity_frozen")
        signed_by(application, self.coop, folded)
        want(newcomer not in self.members, "bad_act")
        last = folded[newcomer].log[-1]
        line = ["active", last["key"], last["epoch"], last["id"], invitation["member"], self.slot, self.time_ms]
        self.members[newcomer] = line
        self.uses[invitation["id"]] = used + 1


def invitation_text(i: In) -> Out:
    compact = "".join(i["text"].split())
    want(compact.startswith("coopnode:") and len(compact) <= 65536, "malformed")
    letters_ = compact.removeprefix("coopnode:")
    plain = letters_.rstrip("=").replace("-", "+").replace("_", "/")
    want(set(plain) <= set(UPPER + UPPER.lower() + DIGITS + "+/") and len(plain) % 4 != 1, "malformed")
    data = base64.b64decode(plain + "=" * (-len(plain) % 4))
    want(base64.urlsafe_b64encode(data).decode().rstrip("=") == letters_, "not_canonical")
    value = strict(data, 49152)
    row(integer(1, 1), KEY, binary(65, 16448), many(0, 8, words(1, 256)))(value)
    return {"coop": value[1].hex(), "statement": statement(value[2], "invitation")["id"].hex(), "endpoints": value[3]}


# ── 11 polls ──────────────────────────────────────────────────────────────────────────────────────


def check_ballot(ballot: dict[str, Any], proposal: dict[str, Any] | None, members: list[bytes]) -> None:
    want(proposal is not None and ballot["proposal"] == proposal["id"], "unknown_proposal")
    want(ballot["member"] in members, "not_entitled")
    want(ballot["choice"] in ("yes", "no", "abstain"), "wrong_choice")


def tally(i: In) -> Out:
    proposal = statement(unhex(i["proposal"]), "proposal")
    members = list(map(unhex, i["members"]))
    said: dict[bytes, dict[bytes, dict[str, Any]]] = {}
    for data in i["ballots"]:
        ballot = statement(unhex(data), "ballot")
        try:
            check_ballot(ballot, proposal, members)
        except No:
            continue
        said.setdefault(ballot["member"], {})[ballot["id"]] = ballot
    counts = {"yes": 0, "no": 0, "abstain": 0, "doubled": 0}
    for ballots in said.values():
        last = max(one["order"] for one in ballots.values())
        latest = [one for one in ballots.values() if one["order"] == last]
        counts["doubled" if len(latest) > 1 else latest[0]["choice"]] += 1
    voters = counts["yes"] + counts["no"] + counts["abstain"]
    decided = counts["yes"] + counts["no"]
    whole, rest = divmod(len(members) * proposal["quorum_bp"], 10000)
    quorum = whole + (rest > 0)
    left, right = counts["yes"] * 10000, decided * proposal["threshold_bp"]
    enough = left > right or (proposal["threshold_bp"] > 5000 and left == right)
    carried = voters >= max(quorum, 1) and decided > 0 and enough
    return {**counts, "entitled": len(members), "quorum": quorum, "carried": carried}


# ── the operations of the vectors ─────────────────────────────────────────────────────────────────


def pairs_of(records: list[list[str]]) -> Pairs:
    return [(unhex(key), unhex(value)) for key, value in records]


def summary_out(summary: Summary) -> Out:
    return {"count": summary[0], "size": summary[1], "hash": summary[2].hex()}


def op_decode(i: In) -> Out:
    return {"value": diagnose(strict(unhex(i["data"]), i["max_bytes"]))}


def op_inflate(i: In) -> Out:
    return {"raw": inflated(unhex(i["data"]), i["max_bytes"]).hex()}


def op_verify(i: In) -> Out:
    check_signature(unhex(i["public"]), unhex(i["signature"]), unhex(i["message"]))
    return {"key_id": sha(unhex(i["public"]))[:8].hex()}


def op_signed(i: In) -> Out:
    coop = unhex(i["coop"])
    signature, body = cut(unhex(i["data"]), i["max_body"])
    check_signature(unhex(i["public"]), signature, covered(i["kind"], coop, body))
    return {"id": sha(body).hex(), "covered": covered(i["kind"], coop, body).hex()}


def op_identity_read(i: In) -> Out:
    one = identity_statement(unhex(i["data"]))
    return {"id": one["id"].hex(), "seq": one["seq"], "epoch": one["epoch"]}


def identity_in(i: In) -> Identity:
    member = unhex(i["member"]) if i.get("member") else None
    settled = unhex(i["settled"]) if i.get("settled") else None
    return Identity([identity_statement(unhex(one)) for one in i["log"]], member, settled)


def op_identity_fold(i: In) -> Out:
    one = identity_in(i)
    return {"member": one.member_id.hex(), "log": [each["id"].hex() for each in one.log], "frozen": one.frozen}


def op_identity_follows(i: In) -> Out:
    new, before = identity_statement(unhex(i["new"])), identity_statement(unhex(i["before"]))
    return {"priority": follows(new, before)}


def op_statement_read(i: In) -> Out:
    one = statement(unhex(i["data"]))
    return {"kind": one["kind"], "id": one["id"].hex(), "member": one["member"].hex(), "slot": one["slot_id"].hex()}


def op_statement_verify(i: In) -> Out:
    one = statement(unhex(i["data"]))
    identity_in(i).check(one["kind"], unhex(i["coop"]), one["epoch"], one["data"])
    return {}


def op_statement_replaces(i: In) -> Out:
    new, current = statement(unhex(i["new"])), statement(unhex(i["current"]))
    want(new["order"] != current["order"] or new["id"] == current["id"], "equivocation")
    want(new["order"] > current["order"], "superseded")
    return {}


def op_record(i: In) -> Out:
    check_collection(i["collection"])
    return {"value": diagnose(record(i["collection"], unhex(i["key"]), unhex(i["value"])))}


def op_trie(i: In) -> Out:
    return summary_out(trie(pairs_of(i["records"])))


def op_state(i: In) -> Out:
    body = state_body({name: trie(pairs_of(records)) for name, records in i["collections"].items()})
    return {"body": body.hex(), "root": sha(b"\x04" + body).hex()}


def op_chunk(i: In) -> Out:
    summary = chunk(unhex(i["data"]), i["prefix"])
    want(i.get("expected") in (None, summary[2].hex()), "chunk_mismatch")
    return summary_out(summary)


def op_operations(i: In) -> Out:
    root, count, size = operations({name: unhex(body) for name, body in i["bodies"].items()})
    if "head" in i:
        one = head(unhex(i["head"]))
        want((root, count, size) == (one["ops_root"], one["ops_count"], one["ops_bytes"]), "ops_mismatch")
    return {"root": root.hex(), "count": count, "size": size}


def op_walk_state(i: In) -> Out:
    rows = strict(unhex(i["state"]), 4096)
    many(0, 32, row(words(1, 32), integer(1, 2**63), integer(0, 2**63), KEY))(rows)
    names = [one[0] for one in rows]
    for name in names:
        check_collection(name)
    want(names == sorted(set(names)), "root_mismatch")
    signed = head(unhex(i["head"]))
    want(sha(b"\x04" + unhex(i["state"])) == signed["root"], "root_mismatch")
    sums = [sum(one[place] for one in rows) for place in (1, 2)]
    return {"collections": names, "author_fault": sums != [signed["records"], signed["bytes"]]}


def op_walk_nodes(i: In) -> Out:
    """One answer about collection `listing` at the empty prefix."""
    op_walk_state(i)
    rows = strict(unhex(i["state"]), 4096)
    expected = rows[0][3]
    items = message(unhex(i["nodes"]))[4]
    want([one[0] for one in items] == [""], "chunk_mismatch")
    _, form, body = items[0]
    if form == 1:
        want(chunk(body, "")[2] == expected, "chunk_mismatch")
        return {"below": []}
    count, size = sum(one[0] for one in body), sum(one[1] for one in body)
    want(count > 16 and count <= MAX and size <= MAX, "chunk_mismatch")
    want(all((one[0] == 0) == (one[2] == ZERO) for one in body), "chunk_mismatch")
    want(node(count, size, [one[2] for one in body]) == expected, "chunk_mismatch")
    return {"below": [digit for digit, one in zip("0123456789abcdef", body, strict=True) if one[0]]}


def op_proof(i: In) -> Out:
    key = unhex(i["key"])
    found = proof(unhex(i["proof"]), head(unhex(i["head"]))["root"], i["collection"], key)
    if "value" in i:
        want(found == entry(key, unhex(i["value"])), "proof_mismatch")
    return {"entry": found.hex() if found else None}


def op_proved(i: In) -> Out:
    return {"rows": proved(unhex(i["data"]))}


def op_head_read(i: In) -> Out:
    one = head(unhex(i["data"]))
    return {"id": one["id"].hex(), "epoch": one["epoch"], "rev": one["rev"], "root": one["root"].hex()}


def op_head_verify(i: In) -> Out:
    one = head(unhex(i["data"]))
    identity_in(i).check("head", unhex(i["coop"]), one["epoch"], one["data"])
    return {}


def op_head_replaces(i: In) -> Out:
    new, current = head(unhex(i["new"])), head(unhex(i["current"]))
    a, b = (new["epoch"], new["rev"]), (current["epoch"], current["rev"])
    want(a != b or new["id"] == current["id"], "equivocation")
    want(a > b, "stale")
    return {}


def op_head_tie(i: In) -> Out:
    return {"holds": min(head(unhex(i["one"]))["id"], head(unhex(i["other"]))["id"]).hex()}


def op_head_now(i: In) -> Out:
    want(head(unhex(i["data"]))["rev"] // 1000 - i["now_ms"] <= 300000, "future")
    return {}


def op_message(i: In) -> Out:
    return {"number": message(unhex(i["data"]))[0]}


TOP = b"\xff" * 9


def ids_in(i: In) -> list[bytes]:
    return [sha(f"item {number}".encode()) for begin, end in i["ids"] for number in range(begin, end)]


def placed(rows: list[list[Any]]) -> list[tuple[bytes, bytes, int, Any]]:
    bounds = [b"", *[one[0] or TOP for one in rows]]
    return [(bounds[at], bounds[at + 1], one[1], one[2]) for at, one in enumerate(rows)]


def cut_up(names: list[bytes], upper: bytes, salt: bytes, most: int) -> list[list[Any]]:
    number = min(most, (len(names) + 15) // 16)
    rows = []
    for k in range(number):
        part = names[k * len(names) // number : (k + 1) * len(names) // number]
        bound = b"" if upper == TOP else upper
        if k < number - 1:
            right = names[(k + 1) * len(names) // number]
            bound = next(right[:n] for n in range(1, 9) if right[:n] > part[-1])
        rows.append([bound, 1, sha(salt + b"".join(part))[:16]])
    return rows


def rows_out(rows: list[list[Any]]) -> list[list[Any]]:
    def text(value: Any) -> Any:
        return [one.hex() for one in value] if type(value) is list else value.hex() if value is not None else None

    return [[bound.hex(), mode, text(payload)] for bound, mode, payload in rows]


def op_reconcile_answer(i: In) -> Out:
    _, _, salt, asked = message(unhex(i["question"]))
    ids = {sha(salt + one)[:8]: one for one in ids_in(i)}
    rows: list[list[Any]] = []
    for lower, upper, mode, payload in placed(asked):
        ours = sorted(name for name in ids if lower <= name < upper)
        bound = b"" if upper == TOP else upper
        told = [[bound, 0, None]]
        if mode == 1 and payload != sha(salt + b"".join(ours))[:16]:
            told = [[bound, 2, b"".join(ids[name] for name in ours)]]
            if len(ours) > 32:
                told = cut_up(ours, upper, salt, 64)
        if mode == 2 and len(ours) > 1000:
            told = cut_up(ours, upper, salt, 64)
        elif mode == 2:
            listed = {payload[at : at + 8] for at in range(0, len(payload), 8)}
            have, need = [one for one in ours if one not in listed], sorted(listed - set(ours))
            if have or need:
                told = [[bound, 3, [b"".join(ids[name] for name in have), b"".join(need)]]]
        if rows and rows[-1][1] == told[0][1] == 0:
            rows.pop()
        rows += told
    return {"ranges": rows_out(rows)}


def op_reconcile_ask(i: In) -> Out:
    salt = unhex(i["salt"])
    ids = {sha(salt + one)[:8]: one for one in ids_in(i)}
    wanted, waiting, asked = [(b"", TOP)], list[list[list[Any]]](), list[Any]()
    lacking: set[bytes] = set()
    spare: set[bytes] = set()

    def within(lower: bytes, upper: bytes) -> list[bytes]:
        return sorted(name for name in ids if lower <= name < upper)

    def put() -> None:
        rows: list[list[Any]] = []
        at = b""
        for lower, upper in wanted:
            if lower > at:
                rows.append([lower, 0, None])
            names, bound = within(lower, upper), b"" if upper == TOP else upper
            small = [[bound, 2, b"".join(names)]]
            rows += small if len(names) <= 32 else cut_up(names, upper, salt, 64 if asked else 16)
            at = upper
        if rows:
            waiting.append(rows)
            asked.append(rows_out(rows))
        wanted.clear()

    put()
    for answer in i["answers"]:
        question = [one for one in placed(waiting.pop(0)) if one[2] != 0]
        end = b""
        for lower, upper, mode, payload in placed(message(unhex(answer))[4]):
            end = upper
            if mode == 0:
                continue
            want(any(one[0] <= lower and upper <= one[1] for one in question), "unasked")
            ours = within(lower, upper)
            if mode == 1:
                wanted += [(lower, upper)] if payload != sha(salt + b"".join(ours))[:16] else []
                continue
            whole, need = (payload, b"") if mode == 2 else payload
            theirs = {sha(salt + one)[:8]: one for one in (whole[at : at + 32] for at in range(0, len(whole), 32))}
            want(all(lower <= name < upper for name in theirs), "unasked")
            lacking |= {item for name, item in theirs.items() if name not in ids}
            gone = [need[at : at + 8] for at in range(0, len(need), 8)]
            want(all(name in ours for name in gone), "unasked")
            spare |= {ids[name] for name in (gone if mode == 3 else set(ours) - set(theirs))}
        want(end > question[0][0], "unasked")
        wanted += [(max(lower, end), upper) for lower, upper, _, _ in question if upper > end]
        put()
    return {"asked": asked, "lacking": hexed(lacking), "spare": hexed(spare), "done": not waiting}


def hexed(ids: set[bytes]) -> list[str]:
    return sorted(one.hex() for one in ids)


def op_transcript(i: In) -> Out:
    dialer, listener = message(unhex(i["dialer"])), message(unhex(i["listener"]))
    return {who: transcript(who, dialer, listener).hex() for who in ("dialer", "listener")}


def op_genesis(i: In) -> Out:
    book = Book(unhex(i["bundle"]), unhex(i["coop"]))
    return {
        "name": book.name,
        "founders": [one.hex() for one in book.members],
        "rows": [[key.hex(), value.hex()] for key, value in sorted(book.rows())],
        "state": trie(book.rows())[2].hex(),
    }


def op_pages(i: In) -> Out:
    book = Book(unhex(i["bundle"]), unhex(i["coop"]))
    book.known.update(identities(list(map(unhex, i["identities"]))))
    for data in i["pages"]:
        book.turn(unhex(data))
    return {
        "slot": book.slot,
        "page": book.page_id.hex(),
        "members": [one.hex() for one in sorted(book.members)],
        "rows": [[key.hex(), value.hex()] for key, value in sorted(book.rows())],
        "state": trie(book.rows())[2].hex(),
    }


def op_page_now(i: In) -> Out:
    want(statement(unhex(i["page"]), "page")["time_ms"] <= i["now_ms"] + 300000, "wrong_time")
    return {}


def op_proposal(i: In) -> Out:
    one = statement(unhex(i["data"]), "proposal")
    want(one["closes_ms"] > one["opens_ms"] and not one["options"], "out_of_range")
    return {}


def op_ballot(i: In) -> Out:
    proposal = statement(unhex(i["proposal"]), "proposal") if i["proposal"] else None
    check_ballot(statement(unhex(i["ballot"]), "ballot"), proposal, list(map(unhex, i["members"])))
    return {}


OPERATIONS: dict[str, Callable[[In], Out]] = {
    name.removeprefix("op_"): function for name, function in list(globals().items()) if name.startswith("op_")
}
OPERATIONS |= {"session": session, "invitation": invitation_text, "tally": tally}
