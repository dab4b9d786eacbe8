"""Writes protocol/vectors/*.json and the worked examples of protocol/README.md; the same bytes each time.

    python -m tests.vectors.generate           write them
    python -m tests.vectors.generate --check   exit 1 if a file would change

The expected verdict of each vector is stated here by hand; both readers must give it before anything is written.
A changed vector is a changed protocol.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from protocol import identity, keys, messages, minutes, proof, recon, roster, signing, statements, trie
from protocol.encoding import encode
from protocol.errors import Refused
from protocol.head import NO_HASH
from protocol.signing import NO_COOP
from tests.vectors import naive, ours

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "protocol" / "vectors"
README = ROOT / "protocol" / "README.md"
BEGIN = "<!-- examples: written by tests/vectors/generate.py -->\n"
END = "<!-- end of examples -->\n"

Vector = dict[str, Any]
NOW_MS = 1_800_000_000_000
PROBLEMS: list[str] = []
"""Vectors whose verdict is not the expected one: nothing is written while there are any."""


def vector(name: str, what: str, op: str, expect: str = "ok", **given: Any) -> Vector:
    """Return a vector after both readers have given the verdict that is expected."""
    one: Vector = {"name": name, "what": what, "op": op, "in": given, "expect": expect}
    outs = []
    for reader in (ours, naive):
        try:
            out: dict[str, Any] | None = reader.OPERATIONS[op](given)
            got = "ok"
        except Refused as refused:
            out, got = None, refused.reason.value
        except naive.No as no:
            out, got = None, no.reason
        if got != expect:
            PROBLEMS.append(f"{name}: {reader.__name__} says {got}, the vector expects {expect}")
        outs.append(out)
    if outs[0] != outs[1]:
        PROBLEMS.append(f"{name}: the readers differ: {outs[0]} and {outs[1]}")
    return one if outs[0] is None else {**one, "out": outs[0]}


# ── things to make vectors from ───────────────────────────────────────────────────────────────────


def seed(name: str) -> bytes:
    return hashlib.sha256(b"coopnode vector seed " + name.encode()).digest()


def public(name: str) -> bytes:
    return keys.public_key(seed(name))


def bits(name: str, length: int) -> bytes:
    return hashlib.sha256(b"coopnode vector bytes " + name.encode()).digest()[:length]


def signed(what: str, by: str, value: Any, coop: bytes = NO_COOP) -> bytes:
    body = value if type(value) is bytes else encode(value)
    return signing.sign(what, coop, body, seed(by)).to_bytes()


def deflated(raw: bytes) -> bytes:
    """A zlib stream of stored blocks: the same bytes whatever library is installed."""
    parts = [raw[i : i + 65535] for i in range(0, len(raw), 65535)] or [b""]
    blocks = [bytes([part is parts[-1]]) + struct.pack("<HH", len(part), len(part) ^ 0xFFFF) + part for part in parts]
    return b"\x78\x01" + b"".join(blocks) + zlib.adler32(raw).to_bytes(4, "big")


def bomb(length: int) -> bytes:
    """A zlib stream of at least *length* zero bytes, one fixed block: a literal, then runs of 258."""
    runs = -(-(length - 1) // 258)
    written = "1" + "10" + "00110000" + ("11000101" + "00000") * runs + "0000000"
    written += "0" * (-len(written) % 8)
    block = bytes(int(written[i : i + 8][::-1], 2) for i in range(0, len(written), 8))
    return b"\x78\x01" + block + zlib.adler32(bytes(1 + 258 * runs)).to_bytes(4, "big")


def id_of(data: bytes) -> bytes:
    return hashlib.sha256(data[64:]).digest()


def founding(name: str, **changes: Any) -> dict[str, Any]:
    value = {
        "v": 1,
        "kind": "identity",
        "seq": 0,
        "prev": None,
        "rotation": [public(f"{name} rotation 1"), public(f"{name} rotation 2")],
        "key": public(f"{name} key 0"),
        "epoch": 0,
        "next": hashlib.sha256(public(f"{name} paper")).digest(),
        "by": public(f"{name} rotation 1"),
    }
    return {**value, **changes}


def change(name: str, before: bytes, by: str, seq: int = 1, epoch: int = 1, **changes: Any) -> bytes:
    """A successor of *before*, signed by the named key, with a signing key of its own."""
    value = founding(
        name, seq=seq, prev=id_of(before), epoch=epoch, key=public(f"{name} key {epoch}"), by=public(by), next=None
    )
    return signed("identity", by, {**value, **changes})


def first(name: str) -> bytes:
    return signed("identity", f"{name} rotation 1", founding(name))


def member(name: str) -> bytes:
    return id_of(first(name))[:20]


NAMES = ("anna", "bert", "cleo")
BODY = minutes.genesis_body(
    name="Harbour Co-operative",
    founders=map(member, NAMES),
    time_ms=NOW_MS,
    nonce=bits("charter", 16),
    policy={"fee_bp": 150, "currency": "EUR"},
)
COOP = hashlib.sha256(BODY).digest()
FOUNDERS = sorted(NAMES, key=member)
SIGNATURES = [minutes.sign_genesis(BODY, seed(f"{name} key 0")) for name in FOUNDERS]
LOG = [first(name) for name in FOUNDERS]
BUNDLE = minutes.genesis_bundle(BODY, SIGNATURES, LOG)


def said(kind: str, name: str, own: dict[str, Any], *, epoch: int = 0, revision: int = 1, **changes: Any) -> bytes:
    """A statement, right or wrong, signed by the named member's first key."""
    value = {"v": 1, "kind": kind, "member": member(name), "epoch": epoch, "revision": revision, **own, **changes}
    return signed(kind, f"{name} key 0", value, COOP)


def hexes(items: Iterable[bytes]) -> list[str]:
    return [one.hex() for one in items]


Pairs = list[tuple[bytes, bytes]]


def pairs(number: int) -> Pairs:
    return [(f"sku-{i}".encode(), encode({"title": f"Article {i}"})) for i in range(number)]


def pairs_hex(items: Pairs) -> list[list[str]]:
    return [hexes(one) for one in items]


def in_trie_order(items: Pairs) -> Pairs:
    return sorted(items, key=lambda one: hashlib.sha256(one[0]).digest())


def chunk_of(items: Pairs, pack: Callable[[Any], bytes] = encode) -> bytes:
    return deflated(pack([item for pair in items for item in pair]))


def head_row(**changes: Any) -> list[Any]:
    row = {
        "v": 1,
        "member": member("anna"),
        "stream": 0,
        "epoch": 0,
        "rev": NOW_MS * 1000,
        "instance": bits("instance", 8),
        "prev": NO_HASH,
        "root": trie.state_root({}),
        "records": 0,
        "bytes": 0,
        "since": 0,
        "ops_root": NO_HASH,
        "ops_count": 0,
        "ops_bytes": 0,
        "flags": 0,
    }
    return list({**row, **changes}.values())


def head_of(by: str = "anna key 0", **changes: Any) -> bytes:
    return signed("head", by, head_row(**changes), COOP)


def flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def encoding_vectors() -> list[Vector]:
    def read(name: str, what: str, data: str, expect: str = "ok", most: int = 100_000) -> Vector:
        return vector(name, what, "decode", expect, data=data, max_bytes=most)

    edges = [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1, -1, -32, -33, -128, -129]
    edges += [-32768, -32769, -(2**31), -(2**31) - 1, -(2**63)]
    good: dict[str, Any] = {f"integer {one}": one for one in edges}
    good |= {
        "nil": None,
        "true": True,
        "false": False,
        "empty text": "",
        "text of 31 bytes": "a" * 31,
        "text of 32 bytes": "a" * 32,
        "text of 256 bytes": "a" * 256,
        "text beyond ASCII": "Käse ☕ 𝛑",
        "empty bytes": b"",
        "bytes of 256": bytes(256),
        "empty list": [],
        "list of 15": [0] * 15,
        "list of 16": [0] * 16,
        "empty map": {},
        "map in order": {"": 1, "a": 2, "aa": 3, "b": 4, "\uffff": 5, "𝛑": 6},
        "map of 16": {chr(97 + i): i for i in range(16)},
        "depth 8": [[[[[[[[1, "a"]]]]]]]],
    }
    found = [read(name, "the one encoding of its value", encode(value).hex()) for name, value in good.items()]
    bad = [
        ("too large", "one byte more than the context allows", "a3616263", "too_large"),
        ("nothing", "no bytes at all", "", "truncated"),
        ("text cut", "a text of 3 bytes with 2", "a36162", "truncated"),
        ("list cut", "a list of 2 with 1", "9201", "truncated"),
        ("huge list", "promises 2^32 - 1 items", "ddffffffff", "truncated"),
        ("huge map", "promises 2^32 - 1 entries", "dfffffffff", "truncated"),
        ("huge bytes", "promises 2^32 - 1 bytes", "c6ffffffff", "truncated"),
        ("integer cut", "uint 64 with 7 bytes", "cf01020304050607", "truncated"),
        ("trailing", "a second value", "0102", "trailing"),
        ("c1", "the reserved byte", "c1", "malformed"),
        ("not UTF-8", "a text with the byte ff", "a1ff", "malformed"),
        ("surrogate", "half a surrogate pair in a text", "a3eda080", "malformed"),
        ("overlong", "U+0000 in two bytes", "a2c080", "malformed"),
        ("depth 9", "nine lists in each other", "91*9 c0", "too_deep"),
        ("depth 9 with maps", "nine maps in each other", "81a161*9 c0", "too_deep"),
        ("float 64", "0.0", "cb0000000000000000", "forbidden_type"),
        ("float 32", "0.0", "ca00000000", "forbidden_type"),
        ("float 64 at depth 8", "in the deepest list that is allowed", "91*8 cb0000000000000000", "forbidden_type"),
        ("float 64 in a map at depth 8", "in the deepest map", "91*7 81a161 cb0000000000000000", "forbidden_type"),
        ("extension", "fixext 1 of type 0", "d40000", "forbidden_type"),
        ("timestamp", "a MessagePack timestamp", "d6ff00000000", "forbidden_type"),
        ("integer key", "a map key that is a number", "8101c0", "forbidden_type"),
        ("bytes key", "a map key that is bytes", "81c40161c0", "forbidden_type"),
        ("nil key", "a map key that is nil", "81c0c0", "forbidden_type"),
        ("uint 8 of 1", "an integer that is too long", "cc01", "not_canonical"),
        ("uint 16 of 255", "an integer that is too long", "cd00ff", "not_canonical"),
        ("uint 32 of 65535", "an integer that is too long", "ce0000ffff", "not_canonical"),
        ("uint 64 of 1", "an integer that is too long", "cf0000000000000001", "not_canonical"),
        ("int 8 of 1", "a positive integer in a signed form", "d001", "not_canonical"),
        ("int 8 of -32", "a negative fixint written long", "d0e0", "not_canonical"),
        ("int 16 of -128", "an integer that is too long", "d1ff80", "not_canonical"),
        ("int 64 of -1", "an integer that is too long", "d3ffffffffffffffff", "not_canonical"),
        ("str 8 of 1", "a length that is too long", "d90161", "not_canonical"),
        ("str 16 of 32", "a length that is too long", "da0020 61*32", "not_canonical"),
        ("bin 16 of 1", "a length that is too long", "c5000161", "not_canonical"),
        ("array 16 of 1", "a number of items that is too long", "dc0001c0", "not_canonical"),
        ("map 16 of 1", "a number of entries that is too long", "de0001a161c0", "not_canonical"),
        ("keys out of order", "b before a", "82a162c0a161c0", "not_canonical"),
        ("key twice", "a and a", "82a161c0a161c0", "not_canonical"),
        ("inner keys out of order", "in a list in a map", "81a17891 82a162c0a161c0", "not_canonical"),
        ("code points, not UTF-16", "U+1D6D1 before U+FFFF", "82a4f09d9b91c0a3efbfbfc0", "not_canonical"),
    ]
    found += [read(name, what, data, expect, 3 if expect == "too_large" else 9999) for name, what, data, expect in bad]
    text = b"the same bytes " * 3
    squeezed = bytes.fromhex("789c4b4c4c0400024a0124")

    def unpack(name: str, what: str, data: bytes, expect: str = "ok", most: int = 1000) -> Vector:
        return vector(name, what, "inflate", expect, data=data.hex(), max_bytes=most)

    return [
        *found,
        unpack("stored", "a zlib stream of one stored block", deflated(text)),
        unpack("fixed codes", "a stream with another compression", bomb(600)),
        unpack("stored, at the bound", "as large as allowed", deflated(text), most=45),
        unpack("one byte too large", "unpacks to one byte more than allowed", deflated(text), "too_large", 44),
        unpack("bomb", "a small body that unpacks to a megabyte", bomb(2**20), "too_large"),
        unpack("stream cut", "the checksum is missing", deflated(text)[:-4], "truncated"),
        unpack("stream and more", "a byte behind the stream", deflated(text) + b"\0", "trailing"),
        unpack("wrong checksum", "Adler-32 does not fit", flip(deflated(text)), "malformed"),
        unpack("no stream", "not zlib at all", b"hello, world", "malformed"),
        unpack("damaged block", "a header that does not check", flip(squeezed, 1), "malformed"),
    ]


def keys_vectors() -> list[Vector]:
    text = b"bread and salt"
    key, signature = public("anna key 0"), keys.sign(seed("anna key 0"), text)
    order = keys.GROUP_ORDER
    s = int.from_bytes(signature[32:], "little")

    def check(name: str, what: str, expect: str = "ok", *, a: bytes = key, sig: bytes = signature) -> Vector:
        return vector(name, what, "verify", expect, public=a.hex(), signature=sig.hex(), message=text.hex())

    low = [(y | sign << 255).to_bytes(32, "little") for y in sorted(keys.LOW_ORDER_Y) for sign in (0, 1)]
    off = next(y for y in range(2, 99) if _off_curve(y))  # half of all numbers are no y of the curve
    return [
        check("good", "a signature by a good key"),
        check("other message byte", "one bit of S is another", "bad_signature", sig=flip(signature, 32)),
        check("other R", "one bit of R is another", "bad_signature", sig=flip(signature, 0)),
        check("other key", "signed by somebody else", "bad_signature", a=public("bert key 0")),
        check(
            "S + L",
            "the equation holds, S is not canonical",
            "bad_signature",
            sig=signature[:32] + (s + order).to_bytes(32, "little"),
        ),
        check("S = L", "S is not below L", "bad_signature", sig=signature[:32] + order.to_bytes(32, "little")),
        check("signature of 63 bytes", "too short", "bad_signature", sig=signature[:63]),
        check("signature of 65 bytes", "too long", "bad_signature", sig=signature + b"\0"),
        check("key of 31 bytes", "too short", "bad_key", a=key[:31]),
        check("key of 33 bytes", "too long", "bad_key", a=key + b"\0"),
        check("y = p + 3", "not canonical", "bad_key", a=(keys.FIELD_PRIME + 3).to_bytes(32, "little")),
        check("y = 2^255 - 1", "not canonical", "bad_key", a=b"\xff" * 31 + b"\x7f"),
        check("no point", "a y that is not on the curve", "bad_signature", a=off.to_bytes(32, "little")),
        check(
            "R not canonical",
            "R has y = p + 3",
            "bad_signature",
            sig=(keys.FIELD_PRIME + 3).to_bytes(32, "little") + signature[32:],
        ),
        *[check(f"low order key {i}", "a point of order 1, 2, 4 or 8", "bad_key", a=a) for i, a in enumerate(low)],
        *[
            check(f"low order R {i}", "R of order 1, 2, 4 or 8", "bad_signature", sig=a + signature[32:])
            for i, a in enumerate(low)
        ],
        check(
            "key of low order, all of zero",
            "A of order 4, S = 0, R = identity",
            "bad_key",
            a=bytes(32),
            sig=b"\x01" + bytes(63),
        ),
    ]


def _off_curve(y: int) -> bool:
    p = keys.FIELD_PRIME
    square = (y * y - 1) * pow(naive.D * y * y + 1, -1, p) % p
    return pow(square, (p - 1) // 2, p) == p - 1


def signing_vectors() -> list[Vector]:
    found = []
    key = public("anna key 0")

    def check(name: str, what: str, expect: str = "ok", **given: Any) -> Vector:
        return vector(name, what, "signed", expect, **given)

    for kind in ("identity", *sorted(statements.KINDS), "head", "link", "genesis"):
        coop = NO_COOP if kind == "identity" else COOP
        data = signed(kind, "anna key 0", {"kind": kind}, coop)
        common: dict[str, Any] = {"kind": kind, "coop": coop.hex(), "public": key.hex(), "max_body": 100}
        found.append(check(f"{kind}", f"a body signed as {kind}", data=data.hex(), **common))
        wrong = {**common, "kind": "final" if kind != "final" else "page"}
        found.append(check(f"{kind} as another", "the name is signed too", "bad_signature", data=data.hex(), **wrong))
    data = signed("head", "anna key 0", b"body", COOP)
    common = {"kind": "head", "public": key.hex()}
    other: dict[str, Any] = {**common, "coop": bits("other co-op", 32).hex(), "max_body": 4}
    common["coop"] = COOP.hex()
    return [
        *found,
        check("another co-op", "the co-op id is signed too", "bad_signature", data=data.hex(), **other),
        check(
            "other body", "a bit of the body is another", "bad_signature", data=flip(data).hex(), max_body=4, **common
        ),
        check("body at the bound", "as large as allowed", data=data.hex(), max_body=4, **common),
        check("body too large", "one byte more than allowed", "too_large", data=data.hex(), max_body=3, **common),
        check("no body", "64 bytes are a signature alone", "truncated", data=data[:64].hex(), max_body=4, **common),
        check("cut", "less than a signature", "truncated", data=data[:20].hex(), max_body=4, **common),
    ]


def identity_vectors() -> list[Vector]:
    name = "anna"
    start = first(name)

    def read(title: str, what: str, expect: str = "ok", by: str = "anna rotation 1", **changes: Any) -> Vector:
        return vector(
            title, what, "identity_read", expect, data=signed("identity", by, founding(name, **changes)).hex()
        )

    def fold(title: str, what: str, log: list[bytes], expect: str = "ok", **given: bytes) -> Vector:
        named = {name: one.hex() for name, one in given.items()}
        return vector(title, what, "identity_fold", expect, log=hexes(log), **named)

    def follow(title: str, what: str, new: bytes, expect: str = "ok") -> Vector:
        return vector(title, what, "identity_follows", expect, new=new.hex(), before=start.hex())

    by_one, by_two = change(name, start, "anna rotation 1"), change(name, start, "anna rotation 2")
    by_paper = change(name, start, "anna paper")
    rival = change(name, start, "anna rotation 1", key=public("thief"))
    later = change(name, by_one, "anna rotation 1", seq=2, epoch=2)
    after_rival = change(name, rival, "anna rotation 1", seq=2, epoch=5)
    stranger = change(name, start, "thief")
    unfenced = change(name, start, "anna rotation 1", epoch=0)
    jump = change(name, start, "anna rotation 1", seq=2)
    low = (keys.FIELD_PRIME - 1).to_bytes(32, "little")
    no_self = signed("identity", "thief", founding(name, by=public("thief")))
    missing = founding(name)
    del missing["next"]
    head_0, head_1 = head_of(), head_of("anna key 1", epoch=1)

    def judge(title: str, what: str, data: bytes, log: list[bytes], expect: str = "ok") -> Vector:
        return vector(title, what, "head_verify", expect, data=data.hex(), log=hexes(log), coop=COOP.hex())

    late = signed("identity", "anna rotation 1", founding(name, epoch=3))
    late_member = id_of(late)[:20]
    return [
        read("first", "a first statement"),
        read("eight rotation keys", "as many as allowed", rotation=[public(f"anna rotation {i}") for i in range(1, 9)]),
        read("no paper key", "next is nil", next=None),
        read("no rotation keys", "at least one", "out_of_range", rotation=[]),
        read(
            "nine rotation keys",
            "one too many",
            "out_of_range",
            rotation=[public(f"anna rotation {i}") for i in range(1, 10)],
        ),
        read("key of 31 bytes", "a field of the wrong length", "wrong_shape", key=bytes(31)),
        read("seq as text", "a field of the wrong type", "wrong_shape", seq="0"),
        read("unknown field", "identity statements have no others", "wrong_shape", colour="red"),
        vector(
            "missing field",
            "without next",
            "identity_read",
            "wrong_shape",
            data=signed("identity", "anna rotation 1", missing).hex(),
        ),
        read("another kind", "kind is not identity", "out_of_range", kind="ballot"),
        read("version 2", "a version that is not known", "wrong_version", v=2),
        read("version 0", "any other number", "wrong_version", v=0),
        read("version -1", "any other number", "wrong_version", v=-1),
        read("version true", "true is no number", "wrong_shape", v=True),
        vector(
            "version 2 of another shape",
            "the version is looked at first",
            "identity_read",
            "wrong_version",
            data=signed("identity", "anna rotation 1", {"v": 2, "who": "anna"}).hex(),
        ),
        read("epoch too high", "above 2^48", "out_of_range", epoch=2**48 + 1),
        read("signing key of low order", "p - 1", "bad_key", key=low),
        read("rotation key of low order", "p - 1", "bad_key", rotation=[public("anna rotation 1"), low]),
        read("seq 0 with a predecessor", "a first statement has none", "not_successor", prev=bytes(32)),
        read("seq 1 without a predecessor", "a later one has one", "not_successor", seq=1),
        read("signed by another key", "not the one in by", "bad_signature", by="thief"),
        vector("cut", "no body", "identity_read", "truncated", data=start[:64].hex()),
        vector("too large", "a body of 16385 bytes", "identity_read", "too_large", data="00*16449"),
        follow("by the paper key", "priority 0", by_paper),
        follow("by the first rotation key", "priority 1", by_one),
        follow("by the second rotation key", "priority 2", by_two),
        follow("by a stranger", "a key that the predecessor does not name", stranger, "not_successor"),
        follow("seq jumps", "seq is not one more", jump, "not_successor"),
        follow("another predecessor", "prev names another statement", later, "not_successor"),
        follow("epoch stays", "a key change must begin a later epoch", unfenced, "epoch_not_fenced"),
        fold("one statement", "a new identity", [start]),
        fold("three in a row", "two changes", [start, by_one, later]),
        fold("any order", "the same from the end", [later, by_one, start]),
        fold("one given twice", "a set", [start, by_one, start, by_one]),
        fold("higher priority wins", "rotation key 1 against 2", [start, by_two, by_one]),
        fold("paper wins", "against both rotation keys", [start, by_one, by_two, by_paper]),
        fold("equal priority freezes", "two changes by rotation key 1", [start, by_one, rival]),
        fold("frozen for good", "what follows one branch does not heal it", [start, by_one, rival, later]),
        fold("settled", "a page has recorded one branch", [start, by_one, rival, later], settled=id_of(by_one)),
        fold(
            "settled further on",
            "the path to what the page recorded holds",
            [start, by_one, rival, after_rival],
            settled=id_of(after_rival),
        ),
        fold(
            "settled against priority",
            "a page outweighs the paper key",
            [start, by_one, by_paper],
            settled=id_of(by_one),
        ),
        fold("settled by something unknown", "changes nothing", [start, by_one], settled=bits("unknown", 32)),
        fold("without right", "is passed over", [start, stranger, unfenced, jump]),
        fold("gap", "a statement whose predecessor is missing waits", [start, later]),
        fold("no first", "the log does not begin", [by_one], "not_successor"),
        fold("founder not among its keys", "the first is signed by a stranger", [no_self], "not_successor"),
        fold("two firsts", "nobody says whose log it is", [start, first("bert")], "not_successor"),
        fold("two firsts, turned", "in either order", [first("bert"), start], "not_successor"),
        fold("one of two firsts", "the member id chooses", [first("bert"), start, by_one], member=member("anna")),
        fold("one of two firsts, turned", "any order", [by_one, start, first("bert")], member=member("anna")),
        fold("the other of two firsts", "its own log", [first("bert"), start, by_one], member=member("bert")),
        fold("no first of this id", "the log is another's", [start, by_one], "not_successor", member=member("bert")),
        judge("epoch 0", "the first key", head_0, [start]),
        judge("epoch 1 by the same key", "epochs rise without a key change too", head_of(epoch=1), [start]),
        judge("epoch 1 by the new key", "after the change", head_1, [start, by_one]),
        judge("epoch 0 by the old key", "what was signed before the change stays", head_0, [start, by_one]),
        judge("epoch 1 by the old key", "a stolen key cannot pass", head_of(epoch=1), [start, by_one], "bad_signature"),
        judge(
            "epoch 0 by the new key",
            "nor can the past be rewritten",
            head_of("anna key 1"),
            [start, by_one],
            "bad_signature",
        ),
        judge("frozen, epoch 0", "before the fork", head_0, [start, by_one, rival]),
        judge("frozen, epoch 1", "past the fork", head_1, [start, by_one, rival], "identity_frozen"),
        judge("before the identity", "it begins at epoch 3", head_of(member=late_member), [late], "epoch_not_fenced"),
        judge("head, another bit", "the head is another", flip(head_0, 0), [start], "bad_signature"),
    ]


PROPOSAL = {
    "title": "Lower the fee",
    "text": "From 150 to 100 basis points.\nFrom January on.",
    "method": "yes_no",
    "options": [],
    "page": COOP,
    "opens_ms": NOW_MS,
    "closes_ms": NOW_MS + 86_400_000,
    "quorum_bp": 5000,
    "threshold_bp": 5000,
}
THE_PROPOSAL = said("proposal", "anna", PROPOSAL)
INVITATION = {"nonce": bits("invitation", 16), "until_ms": NOW_MS + 1000, "uses": 1}
THE_INVITATION = said("invitation", "bert", INVITATION)
OWN: dict[str, dict[str, Any]] = {
    "contact": {"name": "Anna's Bread", "endpoints": ["https://anna.example:8443"], "relays": [member("bert")]},
    "proposal": PROPOSAL,
    "ballot": {"proposal": id_of(THE_PROPOSAL), "choice": "yes", "why": "It is enough."},
    "invitation": INVITATION,
    "application": {"invitation": id_of(THE_INVITATION), "name": "Dora", "log": [first("dora")]},
    "page": {
        "teller_epoch": 0,
        "slot": 1,
        "parent": COOP,
        "time_ms": NOW_MS,
        "acts": [],
        "state": bits("state", 32),
    },
    "final": {"slot": 1, "page": bits("page", 32)},
}
# kind -> field -> values that are refused, each with its reason
WRONG: dict[str, dict[str, list[tuple[Any, str]]]] = {
    "contact": {
        "name": [("", "out_of_range"), ("ä" * 61, "out_of_range"), ("a\nb", "out_of_range"), (b"a", "wrong_shape")],
        "endpoints": [
            (["ftp://a"], "out_of_range"),
            (["https://a"] * 9, "out_of_range"),
            (["https://" + "a" * 249], "out_of_range"),
            ("https://a", "wrong_shape"),
        ],
        "relays": [([bytes(20)] * 4, "out_of_range"), ([bytes(19)], "wrong_shape")],
    },
    "proposal": {
        "title": [("", "out_of_range"), ("a" * 501, "out_of_range"), ("a\tb", "out_of_range")],
        "text": [("a" * 8001, "out_of_range"), ("a\x1b[31m", "out_of_range"), ("a\u0085", "out_of_range")],
        "method": [("dice", "out_of_range"), (1, "wrong_shape")],
        "options": [(["a"] * 33, "out_of_range"), ([""], "out_of_range"), (["a" * 101], "out_of_range")],
        "page": [(bytes(31), "wrong_shape"), ("0" * 32, "wrong_shape")],
        "opens_ms": [(-1, "out_of_range"), (2**53 + 1, "out_of_range"), (True, "wrong_shape")],
        "closes_ms": [(2**53 + 1, "out_of_range")],
        "quorum_bp": [(10001, "out_of_range")],
        "threshold_bp": [(4999, "out_of_range"), (10001, "out_of_range"), (10000, "ok"), (0, "out_of_range")],
    },
    "ballot": {
        "proposal": [(bytes(33), "wrong_shape")],
        "choice": [("", "out_of_range"), ("a" * 33, "out_of_range")],
        "why": [("", "out_of_range"), ("a" * 2001, "out_of_range")],
    },
    "invitation": {
        "nonce": [(bytes(15), "wrong_shape")],
        "until_ms": [(-1, "out_of_range")],
        "uses": [(0, "out_of_range"), (101, "out_of_range")],
    },
    "application": {
        "invitation": [(bytes(20), "wrong_shape")],
        "name": [("", "out_of_range")],
        "log": [([], "out_of_range"), ([bytes(64)], "out_of_range"), ([bytes(65)] * 240, "ok"), ("a", "wrong_shape")],
    },
    "page": {
        "teller_epoch": [(2**48 + 1, "out_of_range")],
        "slot": [(0, "out_of_range"), (2**48 + 1, "out_of_range")],
        "parent": [(bytes(31), "wrong_shape")],
        "time_ms": [(-1, "out_of_range")],
        "acts": [([{}] * 65, "out_of_range"), ([1], "wrong_shape"), ({}, "wrong_shape")],
        "state": [(None, "wrong_shape")],
    },
    "final": {"slot": [(0, "out_of_range")], "page": [(bytes(20), "wrong_shape")]},
}


def statements_vectors() -> list[Vector]:
    found: list[Vector] = []

    def read(name: str, what: str, data: bytes, expect: str = "ok") -> None:
        found.append(vector(name, what, "statement_read", expect, data=data.hex()))

    for kind, own in OWN.items():
        read(f"{kind}", f"a good {kind}", said(kind, "anna", own))
        for field in own:
            without = {name: item for name, item in own.items() if name != field}
            expect = "ok" if field == "why" else "wrong_shape"
            read(f"{kind} without {field}", "a field is missing", said(kind, "anna", without), expect)
            for i, (value, reason) in enumerate(WRONG[kind][field]):
                data = said(kind, "anna", {**own, field: value})
                about = f"{field} is bad" if reason != "ok" else f"{field} is as much as may be"
                read(f"{kind}, {field}, {i}", about, data, reason)
        read(
            f"{kind} with another field",
            "others are allowed" if kind == "contact" else "no others",
            said(kind, "anna", {**own, "zzz": 1}),
            "ok" if kind == "contact" else "wrong_shape",
        )
    ballot = OWN["ballot"]
    for word, expect in (
        ("full", "ok"),
        ("light", "ok"),
        ("a later word", "ok"),
        ("", "out_of_range"),
        (1, "wrong_shape"),
    ):
        data = said("contact", "anna", {**OWN["contact"], "replica": word})
        read(f"contact, keeps {word!r}", "how much its node keeps", data, expect)
    envelope: list[tuple[str, dict[str, Any], str]] = [
        ("unknown kind", {"kind": "poem"}, "unknown_kind"),
        ("version 2", {"v": 2}, "wrong_version"),
        ("version 256", {"v": 256}, "out_of_range"),
        ("member of 19 bytes", {"member": bytes(19)}, "wrong_shape"),
        ("epoch above 2^48", {"epoch": 2**48 + 1}, "out_of_range"),
        ("revision below 0", {"revision": -1}, "out_of_range"),
        ("greatest revision", {"revision": 2**64 - 1}, "ok"),
        ("kind as number", {"kind": 7}, "wrong_shape"),
    ]
    for name, changes, expect in envelope:
        read(name, "the envelope", said("ballot", "anna", {**ballot, **changes}), expect)
    read("a list", "the body is no map", signed("ballot", "anna key 0", [1], COOP), "wrong_shape")
    read("empty", "64 bytes", bytes(64), "truncated")
    read(
        "map out of order",
        "keys b, a",
        signed("ballot", "anna key 0", bytes.fromhex("82a162c0a161c0"), COOP),
        "not_canonical",
    )
    found.append(vector("too large", "a body of 16385 bytes", "statement_read", "too_large", data="00*16449"))

    start = first("anna")
    good = said("ballot", "anna", ballot)

    def verify(name: str, what: str, data: bytes, log: list[bytes], expect: str = "ok", coop: bytes = COOP) -> None:
        given = {"data": data.hex(), "log": hexes(log), "coop": coop.hex()}
        found.append(vector(name, what, "statement_verify", expect, **given))

    changed = change("anna", start, "anna rotation 1")
    rival = change("anna", start, "anna rotation 1", key=public("thief"))
    late = signed("identity", "anna rotation 1", founding("anna", epoch=3))
    verify("signed", "by the author", good, [start])
    verify("signed before a key change", "epoch 0 needs the old key", good, [start, changed])
    verify("signed in another co-op", "the co-op id is signed", good, [start], "bad_signature", bits("other", 32))
    verify(
        "signed by the old key",
        "epoch 1 needs the new one",
        said("ballot", "anna", ballot, epoch=1),
        [start, changed],
        "bad_signature",
    )
    verify("frozen", "past a fork", said("ballot", "anna", ballot, epoch=1), [start, changed, rival], "identity_frozen")
    verify("before the identity", "it begins at epoch 3", good, [late], "epoch_not_fenced")

    def replaces(name: str, what: str, new: bytes, current: bytes, expect: str = "ok") -> None:
        given = {"new": new.hex(), "current": current.hex()}
        found.append(vector(name, what, "statement_replaces", expect, **given))

    def vote(choice: str, epoch: int, revision: int) -> bytes:
        return said("ballot", "anna", {**ballot, "choice": choice}, epoch=epoch, revision=revision)

    replaces("higher revision", "same epoch", vote("no", 0, 2), vote("yes", 0, 1))
    replaces("higher epoch", "a lower revision does not matter", vote("no", 1, 0), vote("yes", 0, 9))
    replaces("lower revision", "an older word", vote("no", 0, 1), vote("yes", 0, 2), "superseded")
    replaces("lower epoch", "an older word", vote("no", 0, 9), vote("yes", 1, 0), "superseded")
    replaces("the same", "once more", vote("no", 0, 1), vote("no", 0, 1), "superseded")
    replaces("two of one revision", "evidence", vote("no", 0, 1), vote("yes", 0, 1), "equivocation")
    return found


def records_vectors() -> list[Vector]:
    listing: dict[str, Any] = {
        "attributes": {"colour": "rot", "size": "XL"},
        "brand": "Anna",
        "category": ["Food", "Bread"],
        "currency": "EUR",
        "gtin": "4006381333931",
        "language": "de-CH",
        "minimum": 1,
        "mpn": "A-1",
        "pack_milli": 1500,
        "picture_urls": ["https://anna.example/1.jpg"],
        "pictures": [bits("picture", 32)],
        "price_minor": 450,
        "tags": ["vegan"],
        "tax_bp": 700,
        "tax_included": True,
        "text": "Rye bread.\nKeeps a week.",
        "title": "Rye bread, 1.5 kg",
        "unit": "KGM",
        "url": "http://anna.example/rye",
        "variant_of": "RYE",
        "weight_g": 1530,
    }
    found: list[Vector] = []

    def read(name: str, what: str, collection: str, key: bytes, value: Any, expect: str = "ok") -> None:
        data = value if type(value) is bytes else encode(value)
        given = {"collection": collection, "key": key.hex(), "value": data.hex()}
        found.append(vector(name, what, "record", expect, **given))

    read("listing", "every field", "listing", b"RYE-15", listing)
    read("short listing", "a title is enough", "listing", b"1", {"title": "x"})
    read("later listing", "unknown fields are ignored", "listing", b"1", {"title": "x", "zzz": [1, {"a": None}]})
    wrong: dict[str, list[Any]] = {
        "attributes": [{"": "a"}, {"a": 1}, {"a" * 101: ""}, {"a": "b" * 501}, {f"{i:02}": "" for i in range(33)}, []],
        "brand": ["", "a" * 101, 1],
        "category": [[], ["a"] * 9, "a"],
        "currency": ["eur", "EURO", "E1R", "ÄÖÜ", 978],
        "gtin": ["4006381333932", "123", "400638133393A", "", 4006381333931],
        "language": ["d", "a" * 36],
        "minimum": [0, 10**9 + 1],
        "mpn": [""],
        "pack_milli": [0, 10**15 + 1, "1"],
        "picture_urls": [["ftp://x"], [], ["https://x"] * 17, ["https://" + "a" * 493]],
        "pictures": [[bytes(31)], [bytes(32)] * 17],
        "price_minor": [-1, 10**15 + 1, None],
        "tags": [["a"] * 33, [""], []],
        "tax_bp": [10001, -1],
        "tax_included": [1],
        "text": ["a" * 8001, "a\x00"],
        "title": ["", "a" * 501, "a\nb", b"a"],
        "unit": ["kg", "K", "KGMX"],
        "url": ["anna.example", "javascript:x"],
        "variant_of": ["", "a" * 65],
        "weight_g": [-1, 10**9 + 1],
    }
    for field, values in wrong.items():
        for i, value in enumerate(values):
            data = {**listing, field: value}
            read(f"listing, {field}, {i}", f"{field} is bad", "listing", b"1", data, "record_value")
    for field in ("title", "currency", "price_minor"):
        without = {name: item for name, item in listing.items() if name != field}
        read(f"listing without {field}", "required, or one of a pair", "listing", b"1", without, "record_value")
    for i, code in enumerate(("96385074", "036000291452", "4006381333931", "10012345678902")):
        read(f"gtin {i}", f"{len(code)} digits", "listing", b"1", {"title": "x", "gtin": code})
    read("listing as list", "no map", "listing", b"1", [], "record_value")
    skus: list[tuple[str, bytes, str]] = [
        ("64 bytes", b"a" * 64, "ok"),
        ("two bytes a letter", "ä".encode() * 32, "ok"),
        ("space inside", b"a b", "ok"),
        ("empty", b"", "record_key"),
        ("65 bytes", b"a" * 65, "record_key"),
        ("leading space", b" a", "record_key"),
        ("trailing no-break space", "a\u00a0".encode(), "record_key"),
        ("trailing ideographic space", "a\u3000".encode(), "record_key"),
        ("line break", b"a\nb", "record_key"),
        ("DEL", b"a\x7fb", "record_key"),
        ("zero byte", b"a\0b", "record_key"),
        ("not UTF-8", b"a\xff", "record_key"),
    ]
    for name, key, expect in skus:
        read(f"sku, {name}", "the key of a listing", "listing", key, {"title": "x"}, expect)
    stock = {"said_ms": NOW_MS, "quantity_milli": 12_000}
    places: list[tuple[str, bytes, str]] = [
        ("main place", b"RYE\0", "ok"),
        ("named place", "RYE\0Zürich".encode(), "ok"),
        ("longest", b"a" * 64 + b"\0" + b"b" * 31, "ok"),
        ("no zero byte", b"RYE", "record_key"),
        ("no sku", b"\0a", "record_key"),
        ("two zero bytes", b"RYE\0a\0b", "record_key"),
        ("place of 32 bytes", b"RYE\0" + b"b" * 32, "record_key"),
        ("control in place", b"RYE\0a\x1b", "record_key"),
    ]
    for name, key, expect in places:
        read(f"stock key, {name}", "sku, zero byte, location", "stock", key, stock, expect)
    stocks: list[tuple[str, dict[str, Any], str]] = [
        ("none left", {"said_ms": 0, "quantity_milli": 0}, "ok"),
        ("not counted", {"said_ms": 0, "available": True}, "ok"),
        ("both", {"said_ms": 0, "available": True, "quantity_milli": 1}, "record_value"),
        ("neither", {"said_ms": 0}, "record_value"),
        ("without time", {"available": True}, "record_value"),
        ("below zero", {"said_ms": 0, "quantity_milli": -1}, "record_value"),
        ("too many", {"said_ms": 0, "quantity_milli": 10**15 + 1}, "record_value"),
    ]
    for name, value, expect in stocks:
        read(f"stock, {name}", "a figure", "stock", b"RYE\0", value, expect)
    profile: dict[str, Any] = {
        "name": "Anna's Bread",
        "address": "Mill Lane 1\nHarbour",
        "country": "CH",
        "email": "anna@anna.example",
        "languages": ["de", "fr"],
        "phone": "+41 44 000 00 00",
        "place": {"lat_e7": 473_769_000, "lon_e7": 85_417_000},
        "text": "Bakers.",
        "url": "https://anna.example",
    }
    read("profile", "every field", "profile", b"self", profile)
    read("profile under another key", "there is one", "profile", b"me", profile, "record_key")
    for field, value in {
        "name": "",
        "address": "",
        "country": "CHE",
        "email": "",
        "languages": [],
        "phone": "1" * 41,
        "place": {"lat_e7": 900_000_001, "lon_e7": 0},
        "text": 1,
        "url": "x",
    }.items():
        read(f"profile, {field}", f"{field} is bad", "profile", b"self", {**profile, field: value}, "record_value")
    read(
        "place with height",
        "exactly two fields",
        "profile",
        b"self",
        {**profile, "place": {"lat_e7": 0, "lon_e7": 0, "height_m": 1}},
        "record_value",
    )
    read("storefront", "name and text", "storefront", b"shelf", {"name": "Shelf", "text": "For others."})
    read("storefront without name", "required", "storefront", b"shelf", {"text": "x"}, "record_value")
    read("policy", "the kind names the rest", "policy", b"discount", {"kind": "discount", "bp": 500})
    read("policy without kind", "required", "policy", b"discount", {"bp": 500}, "record_value")
    read("unknown collection", "kept and passed on", "menu", bytes(range(96)), {"x": 1})
    read("unknown collection, no map", "a value is a map", "menu", b"x", 1, "record_value")
    read("key of 97 bytes", "too long", "menu", bytes(97), {}, "record_key")
    for name in ("", "Menu", "1menu", "me_nu", "a" * 33):
        read(f"collection '{name}'", "a name that is none", name, b"x", {}, "record_key")
    read("collection of 32", "as long as allowed", "a-" + "1" * 30, b"x", {})
    read(
        "value not canonical",
        "a title in the long form",
        "listing",
        b"1",
        bytes.fromhex("81a57469746c65d90178"),
        "not_canonical",
    )
    read("value with a float", "no floats", "menu", b"1", bytes.fromhex("81a178cb0000000000000000"), "forbidden_type")
    found.append(
        vector(
            "value too large",
            "16385 bytes",
            "record",
            "too_large",
            collection="menu",
            key="61",
            value="81a178c53ffc 00*16379",
        )
    )
    found.append(
        vector(
            "value as large as allowed",
            "16384 bytes",
            "record",
            collection="menu",
            key="61",
            value="81a178c53ffa 00*16378",
        )
    )
    return found


def trie_vectors() -> list[Vector]:
    many = pairs(300)
    found = [
        vector(f"{number} records", "count, size and hash", "trie", records=pairs_hex(many[:number]))
        for number in (0, 1, 2, 16, 17, 300)
    ]
    found.append(vector("another order", "the same 17 records", "trie", records=pairs_hex(many[:17][::-1])))
    state = {"listing": pairs_hex(many[:17]), "stock": pairs_hex(many[:1]), "profile": []}
    found += [
        vector("state", "an empty collection has no row", "state", collections=state),
        vector("empty state", "no collections", "state", collections={}),
    ]

    def chunk(name: str, what: str, data: bytes, expect: str = "ok", prefix: str = "", **given: Any) -> None:
        found.append(vector(name, what, "chunk", expect, data=data.hex(), prefix=prefix, **given))

    def loose(flat: Any) -> bytes:
        return b"\xdd" + len(flat).to_bytes(4, "big") + b"".join(map(encode, flat))

    few, all_ = in_trie_order(many[:5]), in_trie_order(many)
    under = [one for one in all_ if hashlib.sha256(one[0]).hexdigest()[0] == "a"]
    summary = trie.summarise(trie.entries(few))
    chunk("chunk of 5", "a leaf", chunk_of(few), expected=summary.hash.hex())
    chunk("chunk of 300", "a node", chunk_of(all_), expected=trie.summarise(trie.entries(many)).hash.hex())
    chunk("chunk under a", "at depth 1", chunk_of(under), prefix="a")
    chunk("empty chunk", "no records", chunk_of([]))
    chunk("loose chunk", "a list in the long form: chunks need not be canonical", chunk_of(few, loose))
    chunk(
        "other records", "not those that were signed", chunk_of(few[:4]), "chunk_mismatch", expected=summary.hash.hex()
    )
    chunk("out of order", "two records change places", chunk_of([few[1], few[0], *few[2:]]), "chunk_mismatch")
    chunk("key twice", "the same record again", chunk_of([few[0], few[0]]), "chunk_mismatch")
    chunk("outside the prefix", "a record of another subtree", chunk_of(under), "chunk_mismatch", prefix="b")
    chunk("odd number", "a key without value", deflated(encode([b"a"])), "wrong_shape")
    chunk("text in a chunk", "only bytes", deflated(encode([b"a", "b"])), "wrong_shape")
    chunk("map for a chunk", "a list is expected", deflated(encode({})), "wrong_shape")
    chunk("empty key", "1 to 96 bytes", chunk_of([(b"", b"v")]), "record_key")
    chunk("key of 97 bytes", "1 to 96 bytes", chunk_of([(bytes(97), b"v")]), "record_key")
    chunk("value of 16385 bytes", "too large", chunk_of([(b"k", bytes(16385))]), "too_large")
    chunk("1025 records", "too many", chunk_of(in_trie_order([(b"%d" % i, b"") for i in range(1025)])), "wrong_shape")
    chunk("chunk bomb", "unpacks to too much", bomb(2**20 + 8 * 1024 + 1), "too_large")
    chunk("chunk and more", "a second value", deflated(b"\x90\x90"), "trailing")
    chunk("chunk cut", "a list of 2 with 1", deflated(b"\x92\xc4\x01a"), "truncated")
    chunk("chunk not deflated", "the bare list", encode([b"a", b"b"]), "malformed")

    def ops(name: str, what: str, bodies: dict[str, bytes], expect: str = "ok", **given: Any) -> None:
        found.append(vector(name, what, "operations", expect, bodies={k: b.hex() for k, b in bodies.items()}, **given))

    two = {
        "listing": encode([b"a", encode({"title": "A"}), b"b", None]),
        "stock": encode([b"a\0", encode({"available": True, "said_ms": 1})]),
    }
    root, count, size = naive.operations(two)
    good: dict[str, Any] = {"ops_root": root, "ops_count": count, "ops_bytes": size, "since": 1}
    ops("operations", "two collections, one record goes", two, head=head_of(**good).hex())
    ops("no operations", "a head without any", {}, "ok")
    ops(
        "operations of another head",
        "the root is another",
        two,
        "ops_mismatch",
        head=head_of(**{**good, "ops_root": bits("x", 32)}).hex(),
    )
    ops("one too few", "the number is another", two, "ops_mismatch", head=head_of(**{**good, "ops_count": 4}).hex())
    ops("other bytes", "their length is another", two, "ops_mismatch", head=head_of(**{**good, "ops_bytes": 1}).hex())
    ops("operations out of order", "b before a", {"listing": encode([b"b", None, b"a", None])}, "not_canonical")
    ops("operation twice", "a and a", {"listing": encode([b"a", None, b"a", None])}, "not_canonical")
    ops("long form", "a list in the long form", {"listing": loose([b"a", None])}, "not_canonical")
    ops("empty list", "at least one operation", {"listing": encode([])}, "wrong_shape")
    ops("odd", "a key without value", {"listing": encode([b"a"])}, "wrong_shape")
    ops("text value", "bytes or nil", {"listing": encode([b"a", "b"])}, "wrong_shape")
    ops("empty key in operations", "1 to 96 bytes", {"listing": encode([b"", None])}, "record_key")
    ops("collection name", "an upper-case letter", {"Listing": encode([b"a", None])}, "record_key")
    ops("large value", "16385 bytes", {"listing": encode([b"a", bytes(16385)])}, "too_large")
    flat = [item for i in range(1001) for item in (i.to_bytes(2, "big"), None)]
    ops("1001 operations", "one too many", {"listing": encode(flat)}, "too_large")
    ops("1000 operations", "as many as allowed", {"listing": encode(flat[:2000])})

    entries = trie.entries(many)
    top = trie.summarise(entries)
    state_body = trie.state_body({"listing": top})
    the_head = head_of(root=trie.state_root({"listing": top}), records=300, bytes=top.size).hex()
    rows: list[list[Any]] = [
        [one.count, one.size, one.hash] for one in (trie.summarise(part, 1) for part in trie.split(entries, 0))
    ]

    def walk(name: str, what: str, item: list[Any], expect: str = "ok", more: int = 0) -> None:
        data = messages.write(messages.Nodes(1, None, b"", [item] * (1 + more)))
        given = {"head": the_head, "state": state_body.hex(), "nodes": data.hex()}
        found.append(vector(name, what, "walk_nodes", expect, **given))

    def state_is(name: str, what: str, data: bytes, expect: str = "ok", root: bytes | None = None) -> None:
        given = {"head": head_of(root=root).hex() if root else the_head, "state": data.hex()}
        found.append(vector(name, what, "walk_state", expect, **given))

    def contradicting(name: str, what: str, records: int, size: int) -> None:
        one = head_of(root=trie.state_root({"listing": top}), records=records, bytes=size).hex()
        found.append(vector(name, what, "walk_state", head=one, state=state_body.hex()))

    sparse = in_trie_order([one for one in many if hashlib.sha256(one[0]).hexdigest()[0] not in "3c"])
    sparse_top = trie.summarise(trie.entries(sparse))
    holes = [
        [one.count, one.size, one.hash]
        for one in (trie.summarise(part, 1) for part in trie.split(trie.entries(sparse), 0))
    ]
    sparse_state = trie.state_body({"listing": sparse_top})
    sparse_head = head_of(
        root=trie.state_root({"listing": sparse_top}), records=sparse_top.count, bytes=sparse_top.size
    ).hex()
    data = messages.write(messages.Nodes(1, None, b"", [["", 0, holes]]))
    found.append(
        vector(
            "walk, empty children",
            "two of the sixteen are empty",
            "walk_nodes",
            head=sparse_head,
            state=sparse_state.hex(),
            nodes=data.hex(),
        )
    )
    state_is("walk, state", "the list of collections", state_body)
    state_is("walk, empty state", "a catalogue without records", b"\x90", root=trie.state_root({}))
    contradicting("walk, one record more", "the author is at fault, the state is kept", 301, top.size)
    contradicting("walk, one byte less", "the author is at fault, the state is kept", 300, top.size - 1)
    state_is("walk, other state", "not what the head signed", trie.state_body({"listing": summary}), "root_mismatch")
    twice = encode([["listing", *rows[0]], ["listing", *rows[0]]])
    state_is(
        "walk, collection twice",
        "names ascend strictly",
        twice,
        "root_mismatch",
        hashlib.sha256(b"\x04" + twice).digest(),
    )
    named = encode([["Listing", *rows[0]]])
    state_is(
        "walk, collection name", "an upper-case letter", named, "record_key", hashlib.sha256(b"\x04" + named).digest()
    )
    none = encode([["listing", 0, 0, bytes(32)]])
    state_is(
        "walk, row of nothing",
        "an empty collection has no row",
        none,
        "out_of_range",
        hashlib.sha256(b"\x04" + none).digest(),
    )
    walk("walk, children", "sixteen summaries", ["", 0, rows])
    walk("walk, chunk", "all records at once", ["", 1, chunk_of(all_)])
    walk(
        "walk, other hash",
        "one child is another",
        ["", 0, [[*rows[0][:2], bits("x", 32)], *rows[1:]]],
        "chunk_mismatch",
    )
    more = [[rows[0][0] + 1, *rows[0][1:]], *rows[1:]]
    walk("walk, other count", "one record more than signed", ["", 0, more], "chunk_mismatch")
    moved = [[0, 0, rows[0][2]], [rows[0][0] + rows[1][0], rows[0][1] + rows[1][1], rows[1][2]], *rows[2:]]
    walk(
        "walk, count moved away",
        "a child with records is said to be empty; the sums are right",
        ["", 0, moved],
        "chunk_mismatch",
    )
    shifted = [[rows[0][0] + 1, *rows[0][1:]], [rows[1][0] - 1, *rows[1][1:]], *rows[2:]]
    walk("walk, count moved", "counts are hints: only the sum is bound", ["", 0, shifted])
    huge = [[rows[0][0], 2**64 - 1, rows[0][2]], [rows[1][0], 2**64 - 1, rows[1][2]], *rows[2:]]
    walk("walk, sizes beyond 64 bits", "sums are bounded", ["", 0, huge], "chunk_mismatch")
    walk("walk, not asked for", "another prefix", ["0", 0, rows], "chunk_mismatch")
    walk("walk, twice", "one prefix, two answers", ["", 0, rows], "chunk_mismatch", 1)
    walk("walk, other records", "not those that were signed", ["", 1, chunk_of(few)], "chunk_mismatch")
    nothing = messages.write(messages.Nodes(1, None, b"", []))
    found.append(
        vector(
            "walk, no answer",
            "nothing comes",
            "walk_nodes",
            "chunk_mismatch",
            head=the_head,
            state=state_body.hex(),
            nodes=nothing.hex(),
        )
    )
    return found


def proved_vectors(
    build: Callable[[str, bytes], bytes], many: list[tuple[bytes, bytes]], the_head: bytes
) -> list[Vector]:
    found: list[Vector] = []
    key, value = many[7]
    row: list[Any] = [0, "listing", key, value, build("listing", key)]
    none: list[Any] = [0, "stock", b"nothing", None, build("stock", b"nothing")]

    def read(name: str, what: str, whole: Any, expect: str = "ok") -> None:
        data = whole if type(whole) is bytes else encode(whole)
        found.append(vector(f"answer: {name}", what, "proved", expect, data=data.hex()))

    def with_row(name: str, what: str, place: int, item: Any, expect: str) -> None:
        changed = [*row[:place], item, *row[place + 1 :]]
        read(name, what, [1, 9, [the_head], [changed, none]], expect)

    read("two rows", "a record, and none where there is none", [1, 9, [the_head], [row, none]])
    read("empty", "nothing was found", [1, 0, [], []])
    with_row("other value", "not the one that was signed", 3, b"\x80", "proof_mismatch")
    with_row("kept back", "a record is said not to be there", 3, None, "proof_mismatch")
    with_row("other key", "the leaf is not where it belongs", 2, b"nothing", "proof_mismatch")
    with_row("other collection", "the path leads elsewhere", 1, "stock", "proof_mismatch")
    with_row("no such head", "only head 0 is there", 0, 1, "out_of_range")
    with_row("no collection", "a name has 1 to 32 bytes", 1, "", "out_of_range")
    with_row("no key", "a key has 1 to 96 bytes", 2, b"", "out_of_range")
    with_row("value as text", "bytes or nil", 3, "a", "wrong_shape")
    read("another head", "the state root is another", [1, 9, [head_of()], [row]], "proof_mismatch")
    read("made up", "a record where there is none", [1, 9, [the_head], [[*none[:3], b"", none[4]]]], "proof_mismatch")
    read("version 2", "another version", [2, 9, [the_head], [row]], "out_of_range")
    read("257 heads", "256 at most", [1, 9, [the_head] * 257, [row]], "out_of_range")
    read("one item more", "exactly four", [1, 9, [the_head], [row], None], "wrong_shape")
    read("row cut", "exactly five", [1, 9, [the_head], [row[:4]]], "wrong_shape")
    read("long form", "not canonical", b"\xdc\x00\x04" + encode([1, 0, [], []])[1:], "not_canonical")
    return found


def proofs_vectors() -> list[Vector]:
    many = pairs(300)
    entries = trie.entries(many)
    sets = {"listing": entries, "stock": trie.entries(many[:3])}
    summaries = {name: trie.summarise(one) for name, one in sets.items()}
    the_head = head_of(root=trie.state_root(summaries))

    def build(collection: str, key: bytes) -> bytes:
        packed = sets.get(collection, b"")

        def under(prefix: str) -> bytes:
            return b"".join(
                packed[i : i + 68] for i in range(0, len(packed), 68) if packed[i : i + 32].hex().startswith(prefix)
            )

        return proof.build(summaries, collection, key, under, lambda p: trie.summarise(under(p), len(p)))

    found: list[Vector] = []

    def check(name: str, what: str, data: bytes, expect: str = "ok", **given: Any) -> None:
        common = {"proof": data.hex(), "head": the_head.hex(), "collection": "listing", "key": many[7][0].hex()}
        found.append(vector(name, what, "proof", expect, **{**common, **given}))

    good = build("listing", many[7][0])
    value = naive.strict(good, 8192)

    def changed(place: list[int], new: Any) -> bytes:
        copy = json_copy(value)
        at = copy
        for step in place[:-1]:
            at = at[step]
        at[place[-1]] = new
        return encode(copy)

    leaf = value[3]
    check("present", "a record, with its value", good, value=many[7][1].hex())
    check(
        "present in a leaf",
        "a collection of 3",
        build("stock", many[1][0]),
        collection="stock",
        key=many[1][0].hex(),
        value=many[1][1].hex(),
    )
    check("absent", "a key that the catalogue has not", build("listing", b"nothing"), key=b"nothing".hex())
    check(
        "absent collection",
        "a collection that the catalogue has not",
        build("profile", b"self"),
        collection="profile",
        key=b"self".hex(),
    )
    check("other value", "not the one that was signed", good, "proof_mismatch", value="80")
    check(
        "value of an absent key",
        "there is none",
        build("listing", b"nothing"),
        "proof_mismatch",
        key=b"nothing".hex(),
        value="80",
    )
    check("another head", "the state root is another", good, "proof_mismatch", head=head_of().hex())
    check("another collection", "the path leads elsewhere", good, "proof_mismatch", collection="stock")
    check("another key", "the leaf is not where it belongs", good, "proof_mismatch", key=b"nothing".hex())
    check("leaf cut", "an entry is missing", changed([3], leaf[:-68]), "proof_mismatch")
    check("leaf with half an entry", "68 bytes each", changed([3], leaf + bytes(34)), "proof_mismatch")
    swapped = leaf[68:136] + leaf[:68] + leaf[136:]
    check("leaf out of order", "entries ascend", changed([3], swapped), "proof_mismatch")
    check("count too low", "a node has more than 16", changed([2, 0, 0], 16), "proof_mismatch")
    check("other count", "one more than signed", changed([2, 0, 0], 301), "proof_mismatch")
    check("other sibling", "one hash is another", changed([2, 0, 2, 1], bits("x", 32)), "proof_mismatch")
    check("level missing", "the path is too short", changed([2], value[2][1:]), "proof_mismatch")
    check("collection missing", "the state is another", changed([1], value[1][:1]), "proof_mismatch")
    check("collections out of order", "by name", changed([1], value[1][::-1]), "proof_mismatch")
    empty = [*value[1], ["zzz", 0, 0, bytes(32)]]
    check("row of nothing", "an empty collection has no row", changed([1], empty), "out_of_range")
    check("version 2", "another version", changed([0], 2), "out_of_range")
    check("three siblings", "four a level", changed([2, 0, 2], value[2][0][2][:3]), "out_of_range")
    check("17 entries", "too many for a leaf", changed([3], bytes(68 * 17)), "out_of_range")
    check("one item more", "exactly four", encode([*value, 0]), "wrong_shape")
    check("long form", "not canonical", b"\xdc\x00\x04" + good[1:], "not_canonical")
    check("cut", "the end is missing", good[:-1], "truncated")
    found += proved_vectors(build, many, the_head)
    found.append(
        vector(
            "too large",
            "8193 bytes",
            "proof",
            "too_large",
            proof="00*8193",
            head=the_head.hex(),
            collection="listing",
            key="61",
        )
    )
    return found


def json_copy(value: Any) -> Any:
    return [json_copy(one) for one in value] if type(value) is list else value


def heads_vectors() -> list[Vector]:
    found: list[Vector] = []

    def read(name: str, what: str, expect: str = "ok", **changes: Any) -> None:
        found.append(vector(name, what, "head_read", expect, data=head_of(**changes).hex()))

    rev = NOW_MS * 1000
    with_ops: dict[str, Any] = {"since": rev - 1, "ops_root": bits("ops", 32), "ops_count": 3, "ops_bytes": 99}
    read("head", "of an empty catalogue")
    read("with operations", "from an earlier rev", **with_ops)
    read(
        "greatest numbers",
        "all at their bounds",
        stream=15,
        epoch=2**48,
        rev=2**64 - 1,
        records=2**64 - 1,
        bytes=2**64 - 1,
        since=2**64 - 2,
        ops_count=1000,
        ops_bytes=2**20,
    )
    read("version 2", "a version that is not known", "wrong_version", v=2)
    read("version 300", "any other number", "wrong_version", v=300)
    read("version true", "true is no number", "wrong_shape", v=True)
    read("member of 32 bytes", "20 are needed", "wrong_shape", member=bytes(32))
    read("stream 16", "0 to 15", "out_of_range", stream=16)
    read("epoch too high", "above 2^48", "out_of_range", epoch=2**48 + 1)
    read("negative rev", "0 or more", "out_of_range", rev=-1, since=0)
    read("instance of 7 bytes", "8 are needed", "wrong_shape", instance=bytes(7))
    read("root as text", "bytes are needed", "wrong_shape", root="0" * 32)
    read("flags", "0 until there are some", "out_of_range", flags=1)
    read("1001 operations", "too many", "out_of_range", **{**with_ops, "ops_count": 1001})
    read("operations too large", "above 1 MiB", "out_of_range", **{**with_ops, "ops_bytes": 2**20 + 1})
    read("since without operations", "0 if there are none", "out_of_range", since=5)
    read("root without operations", "zero bytes if there are none", "out_of_range", ops_root=bits("ops", 32))
    read("bytes without operations", "0 if there are none", "out_of_range", ops_bytes=1)
    read("operations since 0", "they name where they begin", "out_of_range", **{**with_ops, "since": 0})
    read("since itself", "an earlier rev", "out_of_range", **{**with_ops, "since": rev})
    read("rev 0", "at least 1", "out_of_range", rev=0)
    raw: list[tuple[str, str, Any, str]] = [
        ("one item less", "exactly fifteen", head_row()[:-1], "wrong_shape"),
        ("one item more", "exactly fifteen", [*head_row(), 0], "wrong_shape"),
        ("a map", "a list is needed", {"v": 1}, "wrong_shape"),
        (
            "long form",
            "rev 1 in nine bytes",
            b"\x9f\x01\xc4\x14"
            + bytes(20)
            + b"\0\0\xcf"
            + bytes(7)
            + b"\1"
            + b"\xc4\x08"
            + bytes(8)
            + (b"\xc4\x20" + bytes(32)) * 2
            + b"\0\0\0\xc4\x20"
            + bytes(32)
            + b"\0\0\0",
            "not_canonical",
        ),
    ]
    for name, what, value, expect in raw:
        data = signed("head", "anna key 0", value, COOP)
        found.append(vector(name, what, "head_read", expect, data=data.hex()))
    found.append(vector("too large", "a body of 513 bytes", "head_read", "too_large", data="00*577"))
    found.append(vector("cut", "a signature alone", "head_read", "truncated", data="00*64"))
    found.append(
        vector(
            "trailing",
            "a byte behind the body",
            "head_read",
            "trailing",
            data=signed("head", "anna key 0", encode(head_row()) + b"\0", COOP).hex(),
        )
    )

    def pair(name: str, what: str, new: dict[str, Any], current: dict[str, Any], expect: str = "ok") -> None:
        given = {"new": head_of(**new).hex(), "current": head_of(**current).hex()}
        found.append(vector(name, what, "head_replaces", expect, **given))

    pair("A(0,5) -> A(0,6)", "a later rev", {"rev": 6}, {"rev": 5})
    pair("A(0,9) -> A(1,2)", "a later epoch", {"rev": 2, "epoch": 1}, {"rev": 9})
    pair("A(0,6) -> A(0,5)", "an older rev", {"rev": 5}, {"rev": 6}, "stale")
    pair("A(1,2) -> A(0,9)", "an older epoch", {"rev": 9}, {"rev": 2, "epoch": 1}, "stale")
    pair("A(0,5) -> A(0,5)", "the same once more", {"rev": 5}, {"rev": 5}, "stale")
    pair("A(0,5) -> B(0,5)", "two of one version", {"rev": 5, "records": 1}, {"rev": 5}, "equivocation")
    pair("B(0,5) -> A(0,5)", "the other way round", {"rev": 5}, {"rev": 5, "records": 1}, "equivocation")
    one, other = head_of(rev=5).hex(), head_of(rev=5, records=1).hex()
    found.append(vector("tie", "the lower id holds", "head_tie", one=one, other=other))
    found.append(vector("tie, turned", "in either order", "head_tie", one=other, other=one))

    def now(name: str, what: str, rev: int, expect: str = "ok") -> None:
        found.append(vector(name, what, "head_now", expect, data=head_of(rev=rev).hex(), now_ms=NOW_MS))

    now("five minutes ahead", "to the last microsecond", rev + 300_000_999)
    now("a millisecond more", "parked", rev + 300_001_000, "future")
    now("long ago", "age is no fault", 1)
    return found


def messages_vectors() -> list[Vector]:
    found: list[Vector] = []
    a_head, a_statement = head_of(), said("ballot", "anna", OWN["ballot"])
    id_, hash_ = bits("store", 8), bits("frontier", 32)
    chunk = chunk_of(in_trie_order(pairs(2)))
    node = [[1, 2, hash_]] * 16
    rows: dict[str, list[Any]] = {
        "Hello": [1, 1, COOP, member("anna"), id_, hash_, [first("anna")]],
        "Proof": [2, a_head[:64]],
        "Status": [10, 1, COOP, id_, [a_head]],
        "Put": [11, [a_head], [a_statement], [first("anna")]],
        "Since": [12, 1, id_, 77, hash_],
        "News": [13, 1, id_, 80, False, True, [a_head], [a_statement], []],
        "GetOps": [14, 2, member("anna"), 0, 0, 1],
        "Ops": [15, 2, a_head, [[5, [["listing", chunk]]]]],
        "WalkTrie": [16, 3, member("anna"), 0, hash_, "listing", ["", "0a"]],
        "Nodes": [17, 3, None, b"", [["", 0, node], ["0a", 1, chunk]]],
        "GetPages": [18, 4, 0],
        "Pages": [19, 4, False, [a_statement], [first("anna")]],
        "Ping": [20, 2**64 - 1],
        "Pong": [21, 0],
        "Twin": [22, id_],
        "Bye": [23, "leaving", ""],
        "Reconcile": [24, 5, hash_[:16], [[b"\x01", 0, None], [b"\x01\x02", 1, hash_[:16]], [b"", 2, id_ * 2]]],
        "Reconciled": [25, 5, id_, 80, [[b"\x01", 1, hash_[:16]], [b"\x02", 2, hash_], [b"", 3, [hash_, id_]]]],
        "GetItems": [26, 6, [hash_]],
        "Items": [27, 6, [a_head], [a_statement], [first("anna")]],
        "Have": [28, id_ * 2],
        "Graft": [29, id_],
        "Prune": [30],
        "Busy": [31, 6, 250],
    }

    def read(name: str, what: str, row: Any, expect: str = "ok") -> None:
        data = row if type(row) is bytes else encode(row)
        found.append(vector(name, what, "message", expect, data=data.hex()))

    for name, row in rows.items():
        read(name, "a good one", row)
        read(f"{name}, one item less", "exactly its items", row[:-1], "wrong_shape")
        read(f"{name}, one item more", "exactly its items", [*row, None], "wrong_shape")
        for place in range(1, len(row)):
            read(f"{name}, item {place}", "of another type", [*row[:place], {}, *row[place + 1 :]], "wrong_shape")

    def put(name: str, place: int, value: Any, expect: str, what: str = "beyond its bound") -> None:
        row = rows[name]
        read(f"{name}, {what}, {place}", what, [*row[:place], value, *row[place + 1 :]], expect)

    put("Hello", 1, 256, "out_of_range")
    put("Hello", 2, bytes(31), "wrong_shape", "too short")
    put("Hello", 6, [], "out_of_range")
    put("Hello", 6, [bytes(64)], "out_of_range", "item too short")
    put("Hello", 6, [bytes(65)] * 257, "out_of_range", "too many")
    put("Proof", 1, bytes(63), "wrong_shape", "too short")
    put("Status", 1, -1, "out_of_range")
    put("Status", 4, [a_head] * 17, "out_of_range")
    status = rows["Status"]
    for word in ("full", "scoped", "light", "a later word"):
        read(f"Status, {word}", "says how much its node keeps", [*status, word])
    read("Status, no word", "empty", [*status, ""], "out_of_range")
    read("Status, long word", "17 bytes", [*status, "a" * 17], "out_of_range")
    read("Status, two items more", "at most one", [*status, "full", None], "wrong_shape")
    put("Put", 1, [bytes(65)] * 1001, "out_of_range")
    put("Put", 1, [bytes(577)], "out_of_range", "item too long")
    put("Put", 2, [bytes(64)], "out_of_range", "item too short")
    put("Put", 2, [bytes(16448)], "ok", "item as long as may be")
    put("Put", 2, [bytes(16449)], "out_of_range", "item too long")
    put("Since", 1, 2**32, "out_of_range")
    put("Since", 1, True, "wrong_shape", "true is no number")
    put("News", 4, 0, "wrong_shape", "0 is not false")
    put("GetOps", 3, 16, "out_of_range")
    put("Ops", 2, None, "ok", "no head")
    put("Ops", 3, [], "ok", "no segments")
    put("Ops", 3, [[5, []]], "out_of_range", "segment without lists")
    put("Ops", 3, [[5, [["", chunk]]]], "out_of_range", "no collection")
    put("Ops", 3, [[5, [["listing", b""]]]], "out_of_range", "empty body")
    put("WalkTrie", 5, "", "ok", "the state")
    put("WalkTrie", 5, "a" * 33, "out_of_range")
    put("WalkTrie", 6, ["0A"], "wrong_shape", "upper-case prefix")
    put("WalkTrie", 6, ["0" * 65], "wrong_shape", "prefix too long")
    put("WalkTrie", 6, ["0"] * 257, "out_of_range")
    put("Nodes", 2, a_head, "ok", "with a head")
    put("Nodes", 3, bytes(4097), "out_of_range")
    put("Nodes", 4, [["", 2, chunk]], "out_of_range", "form 2")
    put("Nodes", 4, [["", False, node]], "wrong_shape", "form false")
    put("Nodes", 4, [["", 0, node[:15]]], "out_of_range", "fifteen children")
    put("Nodes", 4, [["", 0]], "wrong_shape", "two items")
    put("Nodes", 4, [["", 0, [[1, 2, bytes(31)]] * 16]], "wrong_shape", "short hash")
    put("Pages", 3, [b""], "out_of_range", "empty page")
    put("Bye", 1, "", "out_of_range", "no reason")
    put("Bye", 1, "a" * 41, "out_of_range")
    put("Bye", 2, "a\x1b[2J", "out_of_range", "control character")
    put("Bye", 2, "a" * 501, "out_of_range")
    put("Reconcile", 2, bytes(15), "wrong_shape", "salt too short")
    put("Reconcile", 3, [], "out_of_range", "no ranges")
    put("Reconcile", 3, [[bytes([one // 256, one % 256]), 0, None] for one in range(4097)], "out_of_range")
    put("Reconcile", 3, [[bytes(9), 0, None]], "out_of_range", "bound too long")
    put("Reconcile", 3, [[b"", 0]], "wrong_shape", "two items")
    put("Reconcile", 3, [[b"", 3, [b"", b""]]], "out_of_range", "mode of an answer")
    put("Reconcile", 3, [[b"", False, None]], "wrong_shape", "mode false")
    put("Reconcile", 3, [[b"", 0, b""]], "wrong_shape", "skipped with a payload")
    put("Reconcile", 3, [[b"", 1, bytes(15)]], "wrong_shape", "short fingerprint")
    put("Reconcile", 3, [[b"", 2, b""]], "ok", "no names")
    put("Reconcile", 3, [[b"", 2, bytes(9)]], "wrong_shape", "a name and a byte")
    put("Reconcile", 3, [[b"", 2, bytes(8 * 33)]], "out_of_range", "too many names")
    put("Reconcile", 3, [[b"\x02", 0, None], [b"\x02", 0, None]], "out_of_range", "equal bounds")
    put("Reconcile", 3, [[b"\x02", 0, None], [b"\x01\xff", 0, None]], "out_of_range", "bounds descend")
    put("Reconcile", 3, [[b"", 0, None], [b"\x01", 0, None]], "out_of_range", "end before the end")
    put("Reconcile", 3, [[b"", 0, None], [b"", 0, None]], "out_of_range", "two ends")
    put("Reconcile", 3, [[b"\x01", 0, None], [b"\x01\x00", 0, None]], "ok", "a beginning comes first")
    put("Reconciled", 4, [[b"", 2, bytes(31)]], "wrong_shape", "short id")
    put("Reconciled", 4, [[b"", 2, bytes(32 * 1001)]], "out_of_range", "too many ids")
    put("Reconciled", 4, [[b"", 3, [b"", b""]]], "ok", "no difference")
    put("Reconciled", 4, [[b"", 3, [b""]]], "wrong_shape", "no needs")
    put("Reconciled", 4, [[b"", 3, [bytes(33), b""]]], "wrong_shape", "an id and a byte")
    put("Reconciled", 4, [[b"", 3, [b"", bytes(8 * 33)]]], "out_of_range", "too many needs")
    put("Reconciled", 4, [[b"", 4, None]], "out_of_range", "mode 4")
    put("GetItems", 2, [], "out_of_range", "no ids")
    put("GetItems", 2, [hash_] * 1001, "out_of_range")
    put("Items", 1, 2**32, "out_of_range")
    put("Items", 2, [bytes(65)] * 1001, "out_of_range")
    put("Have", 1, b"", "ok", "no names")
    put("Have", 1, bytes(9), "wrong_shape", "a name and a byte")
    put("Have", 1, bytes(8 * 1000), "ok", "as many as there may be")
    put("Have", 1, bytes(8 * 1001), "out_of_range")
    put("Graft", 1, b"", "ok", "no names")
    put("Graft", 1, bytes(8 * 1001), "out_of_range")
    put("Busy", 1, 2**32, "out_of_range")
    put("Busy", 2, 0, "out_of_range", "no time")
    put("Busy", 2, 60_000, "ok", "as long as may be")
    put("Busy", 2, 60_001, "out_of_range")
    read("loose", "messages need not be canonical", bytes.fromhex("dc0002cc14cf0000000000000001"))
    read("number 3", "not known", [3, 1], "unknown_kind")
    read("number -1", "not known", [-1], "unknown_kind")
    read("a map", "a list is needed", {}, "wrong_shape")
    read("empty list", "a number is needed", [], "wrong_shape")
    read("text for a number", "a number is needed", ["ping", 1], "wrong_shape")
    read("true for a number", "a number is needed", [True, 1], "wrong_shape")
    read("no bytes", "nothing", b"", "truncated")
    read("two messages", "one a frame", encode([20, 1]) * 2, "trailing")
    read("cut", "the end is missing", encode([20, 1])[:-1], "truncated")
    read("reserved", "c1", b"\xc1", "malformed")
    found.append(vector("very deep", "2000 lists", "message", "too_deep", data="91*2000 c0"))
    found.append(vector("too large", "a byte more than 2 MiB", "message", "too_large", data="00*2097153"))
    return found


def recon_vectors() -> list[Vector]:
    """One exchange whole, from both sides; then answers of a lazy peer and of liars."""
    found: list[Vector] = []
    salt = bits("salt", 16)
    asker, peer = [[0, 600], [900, 903]], [[3, 600], [700, 704]]

    def ids(ranges: list[list[int]]) -> list[bytes]:
        return ours.ids_in({"ids": ranges})

    def answered(question: messages.Reconcile, held: list[list[int]] = peer) -> bytes:
        return messages.write(recon.answer(ids(held), question, bits("store", 8), 80))

    def ask(name: str, what: str, held: list[list[int]], answers: list[bytes], expect: str = "ok") -> None:
        told = [one.hex() for one in answers]
        found.append(vector(name, what, "reconcile_ask", expect, ids=held, salt=salt.hex(), answers=told))

    def reply(name: str, what: str, held: list[list[int]], question: messages.Reconcile) -> None:
        data = messages.write(question).hex()
        found.append(vector(name, what, "reconcile_answer", ids=held, question=data))

    def told(*ranges: list[Any]) -> bytes:
        return encode([25, 1, bits("store", 8), 80, list(ranges)])

    asking = recon.Reconciler(ids(asker), salt)
    answers: list[bytes] = []
    ask("first question", "the fingerprints of 16 parts", asker, [])
    while not asking.done:
        (question,) = asking.questions()
        number = len(answers) + 1
        reply(f"answer {number}", "what differs is split or listed", peer, question)
        answers.append(answered(question))
        answer = messages.read(answers[-1])
        assert isinstance(answer, messages.Reconciled)
        asking.receive(question, answer)
        ask(f"after answer {number}", "what is known by then", asker, answers)
    (question,) = recon.Reconciler(ids(asker), salt).questions()
    reply("equal", "one range says it all", asker, question)
    reply("few here", "all ids of a range are listed", [[0, 20]], question)
    reply("none here", "empty lists", [], question)
    few = recon.Reconciler(ids([[0, 5]]), salt).questions()[0]
    ask("few", "are listed at once", [[0, 5]], [answered(few)])
    reply("few asked", "have and need", [[1, 9]], few)
    reply("few asked of many", "more than 1000 are split", [[0, 1100]], few)
    ask("nothing", "all is lacking", [], [answered(recon.Reconciler([], salt).questions()[0], [[0, 3]])])
    ask("all ids of a range", "both directions", asker, [answered(question, [[20, 40]])])
    first_bound = question.ranges[0][0]
    ask("cut short", "the rest is asked again", asker, [told([first_bound, 0, None])])
    ask("cut within a range", "the rest of it is asked again", [[0, 5]], [told([b"\x80", 0, None])])
    ask("not asked", "two ranges in one row", asker, [told([b"", 1, bytes(16)])], "unasked")
    ask("answers nothing", "ends where it should begin", asker, [answers[0], told([b"\x00", 0, None])], "unasked")
    ask(
        "id out of its range",
        "another range's",
        [[0, 5]],
        [told([b"\x00", 2, ids([[7, 8]])[0]], [b"", 0, None])],
        "unasked",
    )
    ask("needs what is not here", "not listed", [[0, 5]], [told([b"", 3, [b"", bytes(8)]])], "unasked")
    return found


def hello(name: str, **changes: Any) -> bytes:
    row = {
        "number": 1,
        "version": 1,
        "coop": COOP,
        "member": member(name),
        "instance": bits(f"{name} instance", 8),
        "nonce": bits(f"{name} nonce", 32),
        "log": [first(name)],
    }
    return encode(list({**row, **changes}.values()))


def transcript(speaker: str, dialer: str, listener: str) -> bytes:
    sides = [[member(one), bits(f"{one} instance", 8), bits(f"{one} nonce", 32)] for one in (dialer, listener)]
    return encode([speaker, *sides])


def proof_by(by: str, body: bytes, what: str = "link", coop: bytes = COOP) -> bytes:
    return encode([2, signing.sign(what, coop, body, seed(by)).signature])


def sessions_vectors() -> list[Vector]:
    found: list[Vector] = []

    def play(name: str, what: str, receive: list[bytes], expect: str = "ok", role: str = "dialer", **more: Any) -> None:
        given = {
            **more,
            "role": role,
            "coop": COOP.hex(),
            "seed": seed("anna key 0").hex(),
            "log": [first("anna").hex()],
            "instance": bits("anna instance", 8).hex(),
            "nonce": bits("anna nonce", 32).hex(),
            "receive": hexes(receive),
        }
        found.append(vector(name, what, "session", expect, **given))

    found.append(
        vector(
            "transcript",
            "what either side signs",
            "transcript",
            dialer=hello("anna").hex(),
            listener=hello("bert").hex(),
        )
    )
    as_dialer, as_listener = transcript("listener", "anna", "bert"), transcript("dialer", "bert", "anna")
    proved, proved_back = proof_by("bert key 0", as_dialer), proof_by("bert key 0", as_listener)
    ping, bye = encode([20, 7]), encode([23, "leaving", ""])
    play("dialer", "the whole handshake", [hello("bert"), proved])
    play("listener", "the whole handshake", [hello("bert"), proved_back], role="listener")
    play("dialer, nothing yet", "a dialer speaks first", [])
    play("listener, nothing yet", "a listener waits", [], role="listener")
    play("half way", "the proof is still to come", [hello("bert")])
    play("ping", "answered at once", [hello("bert"), proved, ping])
    play("bye", "in any state", [bye])
    play("after bye", "what comes is ignored", [hello("bert"), bye, proved])
    play("news", "a message of an open session", [hello("bert"), proved, encode([11, [], [], []])])
    bert = first("bert")
    rotated = change("bert", bert, "bert rotation 1")
    log = [bert, rotated]
    play("after a key change", "the current key proves", [hello("bert", log=log), proof_by("bert key 1", as_dialer)])
    play("old key", "the current key proves", [hello("bert", log=log), proved], "bad_signature")
    play(
        "proof for the other role",
        "sent back to us",
        [hello("bert"), proof_by("bert key 0", transcript("dialer", "anna", "bert"))],
        "bad_signature",
    )
    play("proof of the other direction", "bert had dialled", [hello("bert"), proved_back], "bad_signature")
    play(
        "proof by another",
        "not the key of the identity",
        [hello("bert"), proof_by("cleo key 0", as_dialer)],
        "bad_signature",
    )
    play(
        "proof of another kind",
        "signed as head",
        [hello("bert"), proof_by("bert key 0", as_dialer, "head")],
        "bad_signature",
    )
    play(
        "proof of another co-op",
        "signed for it",
        [hello("bert"), proof_by("bert key 0", as_dialer, coop=bits("other", 32))],
        "bad_signature",
    )
    play("version 2", "not known", [hello("bert", version=2)], "wrong_version")
    play("another co-op", "not ours", [hello("bert", coop=bits("other", 32))], "wrong_coop")
    play("same instance", "we have called ourselves", [hello("bert", instance=bits("anna instance", 8))], "same_node")
    play("same nonce", "we are being mirrored", [hello("bert", nonce=bits("anna nonce", 32))], "same_node")
    play("another member's log", "the log gives another id", [hello("bert", log=[first("cleo")])], "not_successor")
    play("log with another's first", "the id in the hello chooses", [hello("bert", log=[first("cleo"), bert]), proved])
    play("log with another's first, turned", "any order", [hello("bert", log=[bert, first("cleo")]), proved])
    play("log without a beginning", "the first statement is missing", [hello("bert", log=[rotated])], "not_successor")
    play("log with a bad signature", "a statement is forged", [hello("bert", log=[flip(bert, 0)])], "bad_signature")
    play("proof before hello", "hello comes first", [proved], "out_of_turn")
    play("ping before hello", "hello comes first", [ping], "out_of_turn")
    play("hello twice", "once a session", [hello("bert"), hello("bert")], "out_of_turn")
    play("ping before proof", "not yet open", [hello("bert"), ping], "out_of_turn")
    play("proof twice", "once a session", [hello("bert"), proved, proved], "out_of_turn")
    play("answer without question", "nobody asked", [hello("bert"), proved, encode([19, 1, False, [], []])], "unasked")
    asks = hexes([encode([18, 1, 7]), encode([14, 2, member("bert"), 0, 0, 1])])
    pages, ops = encode([19, 1, False, [], []]), encode([15, 2, None, []])

    def ask(name: str, what: str, answers: list[bytes], expect: str = "ok", **more: Any) -> None:
        play(name, what, [hello("bert"), proved, *answers], expect, asks=asks, **more)

    ask("answers", "in any order", [ops, pages])
    ask("answer twice", "it counts once", [pages, pages], "unasked")
    ask("answer of another kind", "pages for operations", [encode([19, 2, False, [], []])], "unasked")
    ask("answer to question 3", "nobody asked it", [encode([19, 3, False, [], []])], "unasked")
    ask("late answers", "to questions given up: ignored", [ops, pages, ping], late=True)
    ask("late answer twice", "it is ignored once", [pages, pages], "unasked", late=True)
    ask("late answer of another kind", "pages for operations", [encode([19, 2, False, [], []])], "unasked", late=True)
    ask("late answer to question 3", "nobody asked it", [encode([19, 3, False, [], []])], "unasked", late=True)
    play("unknown message", "number 99", [hello("bert"), proved, encode([99])], "unknown_kind")
    return found


def admit(invitation: bytes = THE_INVITATION, application: bytes | None = None) -> dict[str, Any]:
    if application is None:
        own = {"invitation": id_of(invitation), "name": "Dora", "log": [first("dora")]}
        application = said("application", "dora", own)
    return {"act": "admit", "invitation": invitation, "application": application}


GENESIS_ROSTER = roster.from_genesis(minutes.read_genesis(BUNDLE, COOP))
KNOWN = {member(name): identity.fold([identity.read(first(name))]) for name in (*NAMES, "dora", "emil")}


def page_fields(before: roster.Roster, acts: list[dict[str, Any]], time_ms: int = NOW_MS + 10) -> dict[str, Any]:
    return roster.draft(before, acts, time_ms, KNOWN.get)


def name_of(member_id: bytes) -> str:
    return next(name for name in (*NAMES, "dora", "emil") if member(name) == member_id)


def official(own: dict[str, Any], before: roster.Roster, by: str | None = None, finals: Any = None) -> bytes:
    page = said("page", by or name_of(before.secretary(own["slot"])), own)
    tellers = [name_of(one) for one in before.tellers]
    if finals is None:
        finals = [said("final", name, {"slot": own["slot"], "page": id_of(page)}) for name in tellers]
    elif callable(finals):
        finals = finals(page, tellers)
    return encode([page, finals])


def minutes_vectors() -> list[Vector]:
    found: list[Vector] = []

    def genesis(name: str, what: str, expect: str = "ok", *, bundle: bytes = BUNDLE, coop: bytes = COOP) -> None:
        found.append(vector(name, what, "genesis", expect, bundle=bundle.hex(), coop=coop.hex()))

    def charter(title: str, what: str, expect: str, **changes: Any) -> None:
        value = {**naive.strict(BODY, 16384), **changes}
        body = encode(value)
        signatures = [minutes.sign_genesis(body, seed(f"{one} key 0")) for one in FOUNDERS]
        genesis(title, what, expect, bundle=encode([body, signatures, LOG]), coop=hashlib.sha256(body).digest())

    genesis("charter", "three founders")
    changed = change(FOUNDERS[0], LOG[0], f"{FOUNDERS[0]} rotation 1")
    genesis("charter after a key change", "the first key signed", bundle=encode([BODY, SIGNATURES, [*LOG, changed]]))
    genesis("another co-op", "the id comes from elsewhere", "wrong_coop", coop=bits("other", 32))
    genesis(
        "forged signature",
        "a bit is another",
        "bad_signature",
        bundle=encode([BODY, [flip(SIGNATURES[0], 0), *SIGNATURES[1:]], LOG]),
    )
    genesis(
        "signatures exchanged",
        "in the order of founders",
        "bad_signature",
        bundle=encode([BODY, [SIGNATURES[1], SIGNATURES[0], SIGNATURES[2]], LOG]),
    )
    genesis("two signatures", "every founder signs", "bad_signature", bundle=encode([BODY, SIGNATURES[:2], LOG]))
    genesis("identity missing", "of one founder", "unknown_author", bundle=encode([BODY, SIGNATURES, LOG[:2]]))
    genesis(
        "change without beginning",
        "a statement that connects to nothing",
        "not_successor",
        bundle=encode([BODY, SIGNATURES, [*LOG, change("dora", first("dora"), "dora rotation 1")]]),
    )
    genesis(
        "short signature", "64 bytes", "wrong_shape", bundle=encode([BODY, [SIGNATURES[0][:63], *SIGNATURES[1:]], LOG])
    )
    genesis("bundle of two", "three items", "wrong_shape", bundle=encode([BODY, SIGNATURES]))
    genesis("bundle in the long form", "canonical", "not_canonical", bundle=b"\xdc\x00\x03" + BUNDLE[1:])
    founders = [member(one) for one in FOUNDERS]
    charter("founders out of order", "ascending", "not_canonical", founders=founders[::-1])
    charter("founder twice", "strictly", "not_canonical", founders=[founders[0], founders[0], founders[2]])
    charter("no founders", "at least one", "out_of_range", founders=[])
    charter("version 2", "not known", "wrong_version", v=2)
    charter("version 300", "any other number", "wrong_version", v=300)
    later = encode({"v": 2, "motto": "x"})
    later_bundle = encode([later, SIGNATURES, LOG])
    later_id = hashlib.sha256(later).digest()
    genesis(
        "version 2 of another shape",
        "the version is looked at first",
        "wrong_version",
        bundle=later_bundle,
        coop=later_id,
    )
    genesis(
        "identity statement as long as may be",
        "16448 bytes, though what is in them is no value alone",
        "trailing",
        bundle=encode([BODY, SIGNATURES, [*LOG, bytes(16448)]]),
    )
    genesis(
        "identity statement too long",
        "16449 bytes",
        "out_of_range",
        bundle=encode([BODY, SIGNATURES, [*LOG, bytes(16449)]]),
    )
    charter("another kind", "genesis", "out_of_range", kind="page")
    charter("another admission", "invitation", "out_of_range", admission="open")
    charter("unknown field", "no others", "wrong_shape", motto="x")
    charter("policy with a list", "numbers and texts", "wrong_shape", policy={"a": []})
    charter("policy too high", "2^53", "out_of_range", policy={"a": 2**53 + 1})
    charter("no name", "at least one byte", "out_of_range", name="")
    charter("short nonce", "16 bytes", "wrong_shape", nonce=bytes(15))

    people = [*NAMES, "dora"]

    def turn(name: str, what: str, pages: list[bytes], expect: str = "ok", known: Iterable[str] = people) -> None:
        given = {"identities": [first(one).hex() for one in known], "pages": hexes(pages)}
        found.append(vector(name, what, "pages", expect, bundle=BUNDLE.hex(), coop=COOP.hex(), **given))

    start = GENESIS_ROSTER
    empty, one_act = page_fields(start, []), page_fields(start, [admit()])
    first_page = official(one_act, start)
    after = roster.check_certificate(minutes.read_official(first_page), start, KNOWN.get)
    second = official(page_fields(after, [], NOW_MS + 20), after)
    turn("no pages", "the founders", [])
    turn("empty page", "nothing changes but the slot", [official(empty, start)])
    turn("admission", "a newcomer", [first_page])
    turn("two pages", "the newcomer must sign the second", [first_page, second])

    def bad(name: str, what: str, expect: str, own: dict[str, Any] | None = None, **changes: Any) -> None:
        by, finals = changes.pop("by", None), changes.pop("finals", None)
        data = official({**(own or empty), **changes}, start, by, finals)
        turn(name, what, [data], expect)

    secretary = name_of(start.secretary(1))
    other = next(one for one in NAMES if one != secretary)
    bad("slot 2", "slot 1 comes first", "wrong_slot", slot=2, by=secretary)
    bad("another teller epoch", "it stays", "wrong_slot", teller_epoch=1)
    bad("another parent", "not the latest page", "wrong_parent", parent=bits("x", 32))
    bad("another secretary", "not that member's turn", "wrong_secretary", by=other)
    bad("before its parent", "time does not fall", "wrong_time", time_ms=NOW_MS - 1)
    bad("another state", "not what the acts lead to", "wrong_state", state=bits("x", 32))
    bad("unknown act", "poem", "bad_act", acts=[{"act": "poem"}])
    bad("act without a name", "no act", "bad_act", acts=[{}])
    bad("act with another field", "no others", "wrong_shape", acts=[{**admit(), "x": 1}])
    bad("act without application", "required", "wrong_shape", acts=[{"act": "admit", "invitation": THE_INVITATION}])
    forged = encode(
        [
            flip(said("page", secretary, empty), 0),
            [said("final", one, {"slot": 1, "page": bits("x", 32)}) for one in NAMES],
        ]
    )
    turn("forged page", "the secretary did not sign", [forged], "bad_signature")
    turn("identity of a newcomer not known", "a final by somebody new", [first_page, second], "unknown_author", NAMES)

    def acting(name: str, what: str, expect: str, act: dict[str, Any], page_ms: int = NOW_MS + 10) -> None:
        bad(name, what, expect, acts=[act], time_ms=page_ms)

    def invited(**changes: Any) -> bytes:
        return said("invitation", "bert", {**INVITATION, **changes})

    def applied(to: bytes, log: list[bytes], name: str = "dora", **changes: Any) -> dict[str, Any]:
        own = {"invitation": id_of(to), "name": "Dora", "log": log, **changes}
        return admit(to, said("application", name, own))

    stranger = said("invitation", "emil", INVITATION)
    acting("invited by a stranger", "not a member", "invitation_void", admit(stranger))
    acting("expired", "until_ms is before the page", "invitation_void", admit(), NOW_MS + 1001)
    acting(
        "names another invitation",
        "the application",
        "invitation_void",
        applied(THE_INVITATION, [first("dora")], invitation=bits("x", 32)),
    )
    acting(
        "log of somebody else",
        "the applicant's identity is missing",
        "unknown_author",
        applied(THE_INVITATION, [first("emil")]),
    )
    dora, by_dora = first("dora"), "dora rotation 1"
    fork = [dora, change("dora", dora, by_dora), change("dora", dora, by_dora, key=public("thief"))]
    acting("frozen", "the applicant's log has a fork", "identity_frozen", applied(THE_INVITATION, fork))
    moved = applied(THE_INVITATION, fork[:2])
    turn("after a key change", "the newcomer's latest key", [official(page_fields(start, [moved]), start)])
    acting(
        "forged invitation", "a bit is another", "bad_signature", admit(flip(THE_INVITATION, 0), admit()["application"])
    )
    acting(
        "forged application",
        "a bit is another",
        "bad_signature",
        {**admit(), "application": flip(admit()["application"], 0)},
    )
    acting("member already", "a founder applies", "bad_act", applied(THE_INVITATION, [first("cleo")], "cleo"))
    acting(
        "kinds exchanged",
        "invitation and application",
        "unknown_kind",
        {"act": "admit", "invitation": admit()["application"], "application": THE_INVITATION},
    )
    emil = applied(THE_INVITATION, [first("emil")], "emil")
    bad("used up", "two newcomers, one use", "invitation_void", acts=[admit(), emil])
    twice = invited(uses=2)
    both = [admit(twice), applied(twice, [first("emil")], "emil")]
    turn("two uses", "two newcomers", [official(page_fields(start, both), start)])
    last = page_fields(start, [admit()], NOW_MS + 1000)
    turn("last moment", "until_ms is the page's time", [official(last, start)])

    def missing(page: bytes, tellers: list[str]) -> list[bytes]:
        return [said("final", one, {"slot": 1, "page": id_of(page)}) for one in tellers[1:]]

    def turned(page: bytes, tellers: list[str]) -> list[bytes]:
        return [said("final", one, {"slot": 1, "page": id_of(page)}) for one in [*tellers[::-1], tellers[0]]]

    def elsewhere(page: bytes, tellers: list[str]) -> list[bytes]:
        return [said("final", one, {"slot": 1, "page": bits("x", 32)}) for one in tellers]

    def other_slot(page: bytes, tellers: list[str]) -> list[bytes]:
        return [said("final", one, {"slot": 2, "page": id_of(page)}) for one in tellers]

    def outsider(page: bytes, tellers: list[str]) -> list[bytes]:
        return [said("final", one, {"slot": 1, "page": id_of(page)}) for one in [*tellers, "dora"]]

    def forger(page: bytes, tellers: list[str]) -> list[bytes]:
        return [flip(said("final", one, {"slot": 1, "page": id_of(page)}), 0) for one in tellers]

    bad("one final missing", "all tellers sign", "not_enough_finals", finals=missing)
    bad("finals in another order, one twice", "does no harm", "ok", finals=turned)
    bad("finals of another page", "they name it", "wrong_slot", finals=elsewhere)
    bad("finals of another slot", "they name it", "wrong_slot", finals=other_slot)
    bad("final of an outsider", "not on the roster", "not_entitled", finals=outsider)
    bad("forged finals", "a bit is another", "bad_signature", finals=forger)
    short = len(said("contact", "anna", {**OWN["contact"], "zzz": ""}))
    full = said("contact", "anna", {**OWN["contact"], "zzz": "a" * (16448 - short - 2)})
    assert len(full) == 16448
    bad("final as long as may be", "16448 bytes, of another kind", "unknown_kind", finals=[full])
    bad("final too long", "16449 bytes", "out_of_range", finals=[bytes(16449)])
    bad("no finals", "at least one", "out_of_range", finals=[])
    bad("final of another kind", "a page", "unknown_kind", finals=lambda page, tellers: [page])
    turn("official page in the long form", "canonical", [b"\xdc\x00\x02" + first_page[1:]], "not_canonical")
    page = said("page", secretary, {**empty, "time_ms": NOW_MS})
    found.append(vector("five minutes ahead", "may be signed", "page_now", page=page.hex(), now_ms=NOW_MS - 300_000))
    found.append(
        vector("a millisecond more", "may not", "page_now", "wrong_time", page=page.hex(), now_ms=NOW_MS - 300_001)
    )
    return found


def invitations_vectors() -> list[Vector]:
    def text(row: Any) -> str:
        data = row if type(row) is bytes else encode(row)
        return "coopnode:" + base64.urlsafe_b64encode(data).decode().rstrip("=")

    def read(name: str, what: str, written: str, expect: str = "ok") -> Vector:
        return vector(name, what, "invitation", expect, text=written)

    row = [1, COOP, THE_INVITATION, ["https://bert.example"]]
    good = text(row)
    longer = next(
        text([1, COOP, THE_INVITATION, ["a" * n]])
        for n in range(1, 9)
        if len(text([1, COOP, THE_INVITATION, ["a" * n]])[9:]) % 4 == 2
    )
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    bits_set = longer[:-1] + alphabet[alphabet.index(longer[-1]) + 1]
    return [
        read("invitation", "one line", good),
        read(
            "broken lines",
            "mail puts white space in",
            "  " + "\r\n".join(good[i : i + 60] for i in range(0, len(good), 60)) + "\n",
        ),
        read("no endpoints", "may be empty", text([*row[:3], []])),
        read("another scheme", "not ours", good.replace("coopnode", "http"), "malformed"),
        read("nothing", "empty", "", "malformed"),
        read("cut letter", "a number of letters that base64 has not", longer[:-1], "malformed"),
        read("not base64", "an exclamation mark", good[:20] + "!" + good[21:], "malformed"),
        read("too long", "more than 65536 characters", "coopnode:" + "A" * 65536, "malformed"),
        read("padding", "written without", longer + "==", "not_canonical"),
        read("loose bits", "set behind the last byte", bits_set, "not_canonical"),
        read("cut row", "the end is missing", text(encode(row)[:-3]), "truncated"),
        read("version 2", "1 is the only one", text([2, *row[1:]]), "out_of_range"),
        read("short co-op id", "32 bytes", text([1, COOP[:31], *row[2:]]), "wrong_shape"),
        read(
            "ballot inside",
            "an invitation is needed",
            text([1, COOP, said("ballot", "anna", OWN["ballot"]), []]),
            "unknown_kind",
        ),
        read("statement as long as may be", "16448 bytes of no sense", text([1, COOP, bytes(16448), []]), "trailing"),
        read("statement too long", "16449 bytes", text([1, COOP, bytes(16449), []]), "out_of_range"),
        read("nine endpoints", "8 at most", text([*row[:3], ["https://a"] * 9]), "out_of_range"),
        read("row in the long form", "canonical", text(b"\xdc\x00\x04" + encode(row)[1:]), "not_canonical"),
    ]


def polls_vectors() -> list[Vector]:
    found: list[Vector] = []
    members = [member(name) for name in NAMES]

    def proposed(name: str, what: str, expect: str = "ok", **changes: Any) -> None:
        data = said("proposal", "anna", {**PROPOSAL, **changes})
        found.append(vector(name, what, "proposal", expect, data=data.hex()))

    proposed("proposal", "a good one")
    proposed("closes at once", "after it opens", "out_of_range", closes_ms=NOW_MS)
    proposed("with options", "yes_no has none", "out_of_range", options=["red"])

    def ballot(name: str, what: str, data: bytes, expect: str = "ok", proposal: bytes | None = THE_PROPOSAL) -> None:
        given = {"proposal": proposal.hex() if proposal else None, "ballot": data.hex(), "members": hexes(members)}
        found.append(vector(name, what, "ballot", expect, **given))

    def vote(name: str, choice: str, revision: int = 1, epoch: int = 0, **changes: Any) -> bytes:
        own = {"proposal": id_of(THE_PROPOSAL), "choice": choice, **changes}
        return said("ballot", name, own, revision=revision, epoch=epoch)

    ballot("ballot", "a good one", vote("anna", "yes"))
    ballot("proposal not known", "parked", vote("anna", "yes"), "unknown_proposal", None)
    ballot("another proposal", "names another", vote("anna", "yes", proposal=bits("x", 32)), "unknown_proposal")
    ballot("not on the roster", "a stranger", vote("dora", "yes"), "not_entitled")
    ballot("another choice", "maybe", vote("anna", "maybe"), "wrong_choice")

    def count(name: str, what: str, ballots: list[bytes], voters: list[str] | None = None, **changes: Any) -> None:
        proposal = said("proposal", "anna", {**PROPOSAL, **changes})
        named = [
            signed("ballot", f"{NAMES[0]} key 0", {**naive.strict(one[64:], 16384), "proposal": id_of(proposal)}, COOP)
            for one in ballots
        ]
        roll = members if voters is None else [member(one) for one in voters]
        given: dict[str, Any] = {"proposal": proposal.hex(), "ballots": hexes(named), "members": hexes(roll)}
        found.append(vector(name, what, "tally", **given))

    a, b, c = NAMES
    count("nobody votes", "nothing is carried", [])
    count("two to one", "carried", [vote(a, "yes"), vote(b, "yes"), vote(c, "no")])
    count("a tie", "fails at 5000", [vote(a, "yes"), vote(b, "no")])
    count("two thirds of three", "6666 is exceeded", [vote(a, "yes"), vote(b, "yes"), vote(c, "no")], threshold_bp=6666)
    count(
        "two thirds, rounded up",
        "6667 is not reached",
        [vote(a, "yes"), vote(b, "yes"), vote(c, "no")],
        threshold_bp=6667,
    )
    count("all of them", "10000 is reached", [vote(a, "yes"), vote(b, "yes")], threshold_bp=10000)
    count(
        "three quarters",
        "7500 is reached exactly",
        [vote(n, "yes") for n in "efg"] + [vote("h", "no")],
        list("efgh"),
        threshold_bp=7500,
    )
    count("quorum missed", "2 of 3 are needed", [vote(a, "yes")])
    count("quorum with abstentions", "they count for it alone", [vote(a, "yes"), vote(b, "abstain")])
    count("only abstentions", "nothing is decided", [vote(a, "abstain"), vote(b, "abstain"), vote(c, "abstain")])
    count("quorum 0", "one vote is still needed", [], quorum_bp=0)
    count("quorum 0, one vote", "is enough", [vote(a, "yes")], quorum_bp=0)
    count("only no", "one yes must be", [vote(a, "no"), vote(b, "no")])
    count("changed mind", "the later holds", [vote(a, "no", 2), vote(a, "yes", 1), vote(b, "yes")])
    count("later epoch", "outweighs the revision", [vote(a, "no", 9), vote(a, "yes", 1, 1), vote(b, "yes")])
    count("doubled", "neither counts", [vote(a, "no"), vote(a, "yes"), vote(b, "yes"), vote(c, "yes")])
    count("doubled, healed", "by a later one", [vote(a, "no"), vote(a, "yes"), vote(a, "yes", 2), vote(b, "yes")])
    count("doubled, older", "does no harm to a later one", [vote(a, "yes", 2), vote(a, "no"), vote(a, "yes")])
    count("the same twice", "is one", [vote(a, "yes"), vote(a, "yes"), vote(b, "yes")])
    count(
        "strangers and nonsense",
        "are passed over",
        [vote(a, "yes"), vote(b, "yes"), vote("dora", "no"), vote(c, "maybe")],
    )
    return found


FILES: dict[str, tuple[str, str, Callable[[], list[Vector]]]] = {
    "encoding": ("2", "values in their one encoding; deflated bodies", encoding_vectors),
    "keys": ("3.1", "strict Ed25519", keys_vectors),
    "signing": ("3.3", "signed objects of each kind", signing_vectors),
    "identity": ("4", "identity statements, logs, fencing", identity_vectors),
    "statements": ("5", "every kind of statement", statements_vectors),
    "records": ("6", "every kind of record", records_vectors),
    "trie": ("7.1 to 7.5, 8.3, 9.4", "roots, chunks, operations, walks", trie_vectors),
    "proofs": ("7.6, 7.7", "presence and absence", proofs_vectors),
    "heads": ("8", "heads and which of two holds", heads_vectors),
    "messages": ("9.3", "every message", messages_vectors),
    "reconciliation": ("9.6", "one exchange from both sides, and liars", recon_vectors),
    "sessions": ("9.2, 9.3", "handshakes", sessions_vectors),
    "minutes": ("10.1 to 10.4", "charter, pages, certificates, state", minutes_vectors),
    "invitations": ("10.5", "the text that a newcomer gets", invitations_vectors),
    "polls": ("11", "proposals, ballots, counts", polls_vectors),
}


def examples() -> str:
    """The worked examples of the specification."""

    def block(title: str, *lines: tuple[str, Any]) -> str:
        shown = []
        for name, value in lines:
            text = value.hex() if type(value) is bytes else str(value)
            parts = [text[i : i + 96] for i in range(0, len(text), 96)] or [""]
            shown += [f"    {name:<14}{parts[0]}", *(f"    {'':<14}{part}" for part in parts[1:])]
        return f"### {title}\n\n" + "\n".join(shown) + "\n"

    key, value = b"RYE", encode({"title": "Rye bread"})
    few, many = trie.entries([(key, value)]), trie.entries(pairs(17))
    children = [trie.subtree_hash(part, 1) for part in trie.split(many, 0)]
    summary = trie.summarise(few)
    text = b"bread and salt"
    ballot = said("ballot", "anna", OWN["ballot"])
    the_head = head_of(root=trie.state_root({"listing": summary}), records=1, bytes=summary.size)
    spoken = transcript("dialer", "anna", "bert")
    return "\n".join(
        [
            "All keys are made from seeds: SHA-256(`coopnode vector seed ` and a name).\n",
            block(
                "Entry and leaf (7.1, 7.2)",
                ("key", key),
                ("value", value),
                ("entry", few),
                ("count, size", f"{summary.count}, {summary.size}"),
                ("leaf hash", summary.hash),
            ),
            block(
                "Node (7.3)",
                ("records", '17: key "sku-0" to "sku-16", value {"title": "Article 0"} and so on'),
                *[(f"child {i:x}", one) for i, one in enumerate(children)],
                ("count, size", f"17, {trie.size(many)}"),
                ("node hash", trie.subtree_hash(many, 0)),
            ),
            block(
                "State root (7.4)",
                ("state body", trie.state_body({"listing": summary})),
                ("state root", trie.state_root({"listing": summary})),
            ),
            block(
                "Signed object (3.3)",
                ("seed", seed("anna key 0")),
                ("public key", public("anna key 0")),
                ("key id", keys.key_id(public("anna key 0"))),
                ("what", "ballot"),
                ("co-op id", COOP),
                ("body", text),
                ("covered", signing.message("ballot", COOP, text)),
                ("signature", keys.sign(seed("anna key 0"), signing.message("ballot", COOP, text))),
                ("id", hashlib.sha256(text).digest()),
            ),
            block(
                "Identity statement (4.1)",
                ("whole", first("anna")),
                ("id", id_of(first("anna"))),
                ("member id", member("anna")),
            ),
            block(
                "Statement (5)",
                ("value", naive.diagnose(naive.strict(ballot[64:], 16384))),
                ("whole", ballot),
                ("id", id_of(ballot)),
                ("slot", statements.read(ballot).slot),
            ),
            block("Head (8.2)", ("body", the_head[64:]), ("signature", the_head[:64]), ("id", id_of(the_head))),
            block(
                "Handshake transcript (9.2)",
                ("dialer", "anna"),
                ("listener", "bert"),
                ("speaker", "dialer"),
                ("transcript", spoken),
                ("proof", signing.sign("link", COOP, spoken, seed("anna key 0")).signature),
            ),
        ]
    )


def written() -> dict[Path, str]:
    """Every file and what belongs into it."""
    files = {}
    for name, (section, about, make) in FILES.items():
        vectors = make()
        names = [one["name"] for one in vectors]
        doubled = sorted({one for one in names if names.count(one) > 1})
        if doubled:
            PROBLEMS.append(f"{name}: named twice: {doubled}")
        lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in vectors)
        top = json.dumps({"about": about, "section": section}, ensure_ascii=False)[:-1]
        files[FOLDER / f"{name}.json"] = f'{top}, "vectors": [\n{lines}\n]}}\n'
    if PROBLEMS:
        raise SystemExit("\n".join(PROBLEMS))
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    files[README] = before + BEGIN + "\n" + examples() + "\n" + END + rest.partition(END)[2]
    return files


def main() -> int:
    """Write or check; see the module's text."""
    changed = [path for path, text in written().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in changed:
            print(f"would change: {path.relative_to(ROOT)}")
        return 1 if changed else 0
    for path, text in written().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
