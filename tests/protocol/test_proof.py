"""Proofs of presence and absence."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from protocol import head, proof, trie
from protocol.encoding import decode, encode
from protocol.errors import LocalError, Reason, Refused
from protocol.head import Head
from tests.protocol.builders import COOP, Catalogue, key_hex, listing, listings, member, refused, secret

AUTHOR = member(1)
KIB = 1024


@cache
def catalogue(number: int) -> Catalogue:
    return Catalogue({"listing": listings(number), "stock": {b"sku-1\0": b"\x80"}})


def build(held: Catalogue, collection: str, key: bytes) -> bytes:
    return proof.build(
        held.summaries(),
        collection,
        key,
        lambda prefix: held.entries_under(collection, prefix),
        lambda prefix: held.summary(collection, prefix),
    )


@pytest.mark.parametrize("number", [1, 16, 17, 300, 20_000])
def test_a_record_is_proved_present(number: int) -> None:
    held = catalogue(number)
    signed = held.head(AUTHOR)
    for key, value in (listing(0), listing(number - 1)):
        found = proof.check(build(held, "listing", key), signed, "listing", key)
        assert found.entry == trie.entry(key, value)
        found.check_value(key, value)


@pytest.mark.parametrize("number", [1, 16, 17, 300, 20_000])
def test_a_record_is_proved_absent(number: int) -> None:
    held = catalogue(number)
    for key in (b"absent", b"another", b"third"):
        assert proof.check(build(held, "listing", key), held.head(AUTHOR), "listing", key).entry is None


def test_a_record_of_an_absent_collection_and_of_an_empty_catalogue_is_proved_absent() -> None:
    for held in (catalogue(17), Catalogue()):
        assert proof.check(build(held, "policy", b"key"), held.head(AUTHOR), "policy", b"key").entry is None


def test_a_record_under_an_empty_child_is_proved_absent() -> None:
    held = catalogue(17)
    empty = next(nibble for nibble in trie.HEX if not held.summary("listing", nibble).count)
    key = next(key for key in (b"%d" % one for one in range(1000)) if key_hex(key).startswith(empty))
    made = build(held, "listing", key)
    assert decode(made, KIB * 8)[3] == b""
    assert proof.check(made, held.head(AUTHOR), "listing", key).entry is None


def test_another_value_is_not_the_one_that_was_proved() -> None:
    held = catalogue(300)
    key, value = listing(7)
    found = proof.check(build(held, "listing", key), held.head(AUTHOR), "listing", key)
    with refused(Reason.PROOF_MISMATCH):
        found.check_value(key, value + b"x")
    absent = proof.check(build(held, "listing", b"absent"), held.head(AUTHOR), "listing", b"absent")
    with refused(Reason.PROOF_MISMATCH):
        absent.check_value(b"absent", value)


def test_a_proof_is_good_for_its_own_head_collection_and_key_only() -> None:
    held = catalogue(300)
    key, _ = listing(7)
    made = build(held, "listing", key)
    assert proof.check(made, held.head(AUTHOR), "listing", key).entry is not None
    far = next(other for other in (b"%d" % n for n in range(99)) if key_hex(other)[0] != key_hex(key)[0])
    for target, collection, asked in (
        (catalogue(299).head(AUTHOR), "listing", key),
        (held.head(AUTHOR), "stock", key),
        (held.head(AUTHOR), "policy", key),
        (held.head(AUTHOR), "listing", far),
    ):
        with refused(Reason.PROOF_MISMATCH):
            proof.check(made, target, collection, asked)


@pytest.mark.parametrize("number", [16, 300])
@pytest.mark.parametrize("key", [listing(7)[0], b"absent"])
def test_every_flipped_bit_and_every_cut_of_a_proof_is_refused(number: int, key: bytes) -> None:
    held = catalogue(number)
    signed = held.head(AUTHOR)
    made = build(held, "listing", key)
    for place in range(len(made)):
        for bit in range(8):
            bad = bytearray(made)
            bad[place] ^= 1 << bit
            with pytest.raises(Refused):
                proof.check(bytes(bad), signed, "listing", key)
        with pytest.raises(Refused):
            proof.check(made[:place], signed, "listing", key)
    with refused(Reason.TRAILING):
        proof.check(made + b"\0", signed, "listing", key)
    proof.check(made, signed, "listing", key)


Change = Callable[[list[Any]], object]


def swap_entries(row: list[Any]) -> None:
    row[3] = row[3][68:136] + row[3][:68] + row[3][136:]


def pretend_leaf(row: list[Any]) -> None:
    """Claim that a level holds so few records that it would be a leaf."""
    row[2][-1][0] = 16


TAMPERED: list[tuple[str, Change]] = [
    ("a collection less", lambda row: row[1].pop()),
    ("collections out of order", lambda row: row[1].reverse()),
    ("a collection twice", lambda row: row[1].append(row[1][-1])),
    ("a level less", lambda row: row[2].pop()),
    ("a level twice", lambda row: row[2].append(row[2][-1])),
    ("an entry cut off", lambda row: row.__setitem__(3, row[3][:-68])),
    ("an entry cut through", lambda row: row.__setitem__(3, row[3][:-1])),
    ("entries out of order", swap_entries),
    ("no entries", lambda row: row.__setitem__(3, b"")),
    ("a node that would be a leaf", pretend_leaf),
    ("a node with fewer records than its child", lambda row: row[2][0].__setitem__(0, 17)),
    ("a node with fewer bytes than its child", lambda row: row[2][0].__setitem__(1, 1)),
]


@pytest.mark.parametrize("change", [one[1] for one in TAMPERED], ids=[one[0] for one in TAMPERED])
def test_a_proof_that_was_tampered_with_is_refused(change: Change) -> None:
    held = catalogue(2000)
    key, _ = listing(7)
    row = decode(build(held, "listing", key), 8 * KIB)
    assert trie.count(row[3]) >= 2
    change(row)
    with refused(Reason.PROOF_MISMATCH):
        proof.check(encode(row), held.head(AUTHOR), "listing", key)


def test_an_empty_collection_cannot_pad_a_proof() -> None:
    held = catalogue(17)
    key, _ = listing(7)
    row = decode(build(held, "listing", key), 8 * KIB)
    row[1].append(["zzz", 0, 0, bytes(32)])
    with refused(Reason.OUT_OF_RANGE):
        proof.check(encode(row), held.head(AUTHOR), "listing", key)


@pytest.mark.parametrize(("count", "size", "good"), [(17, 99, True), (16, 99, False), (17, 1, False)])
def test_a_node_holds_more_than_a_leaf_and_no_less_than_its_child_even_if_its_author_signs_otherwise(
    count: int, size: int, good: bool
) -> None:
    key, value = listing(7)
    leaf = trie.entry(key, value)
    node, siblings = trie.summarise(leaf, 1).hash, [secret(one) for one in range(4)]
    for height, sibling in enumerate(siblings):
        pair = (sibling, node) if int(key_hex(key)[0], 16) >> height & 1 else (node, sibling)
        node = trie.pair_hash(*pair) if height < 3 else trie.top_hash(count, size, *pair)
    collections = {"listing": trie.Summary(count, size, node)}
    signed = Catalogue().head(AUTHOR, state_root=trie.state_root(collections))
    made = encode([1, [["listing", count, size, node]], [[count, size, siblings]], leaf])
    if good:
        proof.check(made, signed, "listing", key).check_value(key, value)
    else:
        with refused(Reason.PROOF_MISMATCH):
            proof.check(made, signed, "listing", key)


def test_a_leaf_of_seventeen_entries_is_no_leaf() -> None:
    held = catalogue(17)
    key, _ = listing(7)
    row = decode(build(held, "listing", key), 8 * KIB)
    row[3] = held.entries_under("listing", "")
    with refused(Reason.OUT_OF_RANGE):
        proof.check(encode(row), held.head(AUTHOR), "listing", key)


def test_summaries_that_do_not_belong_together_are_our_own_mistake() -> None:
    held = catalogue(300)
    with pytest.raises(LocalError):
        proof.build(
            held.summaries(),
            "listing",
            b"key",
            lambda prefix: held.entries_under("listing", prefix),
            lambda prefix: held.summary("listing", prefix) if prefix != "3" else trie.Summary(20, 1, secret("wrong")),
        )


def million(depth: int, entries: int) -> tuple[bytes, bytes, bytes, Head]:
    """Return proof, key, value and head as a catalogue of 1,000,000 would have them.

    The levels are made up around one leaf of *entries* at *depth*; beside it every node is full.
    """
    key, value = listing(7)[0], encode({"title": "T" * 60, "text": "x" * 200, "price_minor": 100, "currency": "EUR"})
    prefix = key_hex(key)[:depth]
    leaf = [trie.entry(key, value)]
    leaf += [bytes.fromhex(prefix + secret(one).hex()[depth:]) + secret(one) + bytes(4) for one in range(entries - 1)]
    packed = b"".join(sorted(leaf))
    node = trie.summarise(packed, depth)
    summaries: dict[str, trie.Summary] = {prefix: node}
    for level in range(depth - 1, -1, -1):
        own, rest = int(prefix[level], 16), max(10**6 // 16**level, node.count + 16) - node.count
        shares = [rest // 15 + (one < rest % 15) for one in range(15)]
        children = [trie.Summary(share, share * 500, secret(f"{level} {n}")) for n, share in enumerate(shares)]
        children.insert(own, node)
        summaries.update({prefix[:level] + nibble: child for nibble, child in zip(trie.HEX, children, strict=True)})
        node = summaries[prefix[:level]] = trie.join(children)
    collections = {name: trie.Summary(10**6, 5 * 10**8, secret(name)) for name in ("policy", "profile", "stock")}
    collections["listing"] = node
    made = proof.build(collections, "listing", key, lambda _: packed, summaries.__getitem__)
    signed = Catalogue().head(
        AUTHOR,
        rev=1_700_000_000_000_000,
        state_root=trie.state_root(collections),
        record_count=4_000_000,
        record_bytes=2_000_000_000,
    )
    return made, key, value, signed


# 1,000,000 / 16**4 = 15.3: the usual leaf lies at depth 4 and is nearly full, or at depth 5 with one or two.
@pytest.mark.parametrize(
    ("depth", "entries", "most_bytes"), [(4, 15, 2500), (4, 16, 2500), (5, 2, 2500), (5, 16, 2700)]
)
def test_proof_record_and_head_of_a_million_records_are_small(depth: int, entries: int, most_bytes: int) -> None:
    made, key, value, signed = million(depth, entries)
    head.verify(signed, COOP, AUTHOR.identity)
    proof.check(made, signed, "listing", key).check_value(key, value)
    assert len(decode(made, 8 * KIB)[2]) == depth
    assert len(value) > 280
    assert len(made) + len(key) + len(value) + len(signed.signed.to_bytes()) <= most_bytes


def test_proof_record_and_head_of_20000_records_take_at_most_2500_bytes() -> None:
    held = catalogue(20_000)
    sizes = []
    for number in range(0, 20_000, 499):
        key, value = listing(number)
        sizes.append(
            len(build(held, "listing", key)) + len(key) + len(value) + len(held.head(AUTHOR).signed.to_bytes())
        )
    assert max(sizes) <= 2500
