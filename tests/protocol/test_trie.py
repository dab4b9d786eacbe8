"""The trie, against a naive one that is written here from section 7 of the specification."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import trie
from protocol.encoding import encode
from protocol.errors import LocalError
from protocol.trie import EMPTY, EMPTY_HASH, Summary
from tests.protocol.builders import QUICK, key_hex, secret

Records = Mapping[bytes, bytes]


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def naive(records: Records, prefix: str = "") -> tuple[int, int, bytes]:
    """Count, size and hash of the subtree at *prefix*: dicts, hex and recursion, nothing shared with trie.py."""
    mine = {key: value for key, value in records.items() if key_hex(key).startswith(prefix)}
    size = sum(len(key) + len(value) for key, value in mine.items())
    if not mine:
        return 0, 0, bytes(32)
    if len(mine) <= 16:
        rows = sorted((sha(key), sha(value), len(key) + len(value)) for key, value in mine.items())
        return len(mine), size, sha(b"\x01" + b"".join(k + v + n.to_bytes(4, "big") for k, v, n in rows))
    children = {nibble: naive(mine, prefix + nibble)[2] for nibble in "0123456789abcdef"}

    def pair(low: int, high: int) -> bytes:
        if high - low == 1:
            return children[f"{low:x}"]
        middle = (low + high) // 2
        left, right = pair(low, middle), pair(middle, high)
        return bytes(32) if left == right == bytes(32) else sha(b"\x03" + left + right)

    left, right = pair(0, 8), pair(8, 16)
    return len(mine), size, sha(b"\x02" + len(mine).to_bytes(8, "big") + size.to_bytes(8, "big") + left + right)


def summary(records: Records) -> Summary:
    return trie.summarise(trie.entries(records.items()))


def numbered(numbers: range, edition: int = 0) -> dict[bytes, bytes]:
    return {b"key %d" % one: b"value %d of %d" % (edition, one) for one in numbers}


RECORDS = st.dictionaries(st.binary(min_size=1, max_size=3), st.binary(max_size=4), max_size=80)


@QUICK
@given(RECORDS)
def test_it_equals_the_naive_trie(records: dict[bytes, bytes]) -> None:
    assert summary(records) == Summary(*naive(records))


@pytest.mark.parametrize("number", [0, 1, 15, 16, 17, 18, 255, 256, 257, 1000])
def test_it_equals_the_naive_trie_around_the_size_of_a_leaf(number: int) -> None:
    records = numbered(range(number))
    assert summary(records) == Summary(*naive(records))


def crafted(prefix: str, number: int) -> dict[bytes, bytes]:
    """Search for *number* keys whose hashes begin with *prefix*."""
    found: dict[bytes, bytes] = {}
    one = 0
    while len(found) < number:
        key = b"%x" % one
        if key_hex(key).startswith(prefix):
            found[key] = b"v"
        one += 1
    return found


@pytest.mark.parametrize("prefix", ["0", "f7", "abc"])
def test_seventeen_entries_that_share_a_long_prefix_are_nodes_all_the_way_down(prefix: str) -> None:
    records = crafted(prefix, 17)
    assert summary(records) == Summary(*naive(records))
    packed = trie.entries(records.items())
    # Each of these levels is a node with one child, not a leaf: the shape depends on the number alone.
    for depth in range(len(prefix)):
        parts = trie.split(packed, depth)
        assert [len(part) for part in parts if part] == [len(packed)]
        assert parts[int(prefix[depth], 16)] == packed
    sixteen = trie.entries(list(records.items())[:16])
    assert trie.subtree_hash(sixteen, 0) == sha(b"\x01" + sixteen)
    assert trie.subtree_hash(packed, 0) != sha(b"\x01" + packed)


@QUICK
@given(RECORDS, st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(records: dict[bytes, bytes], chance: random.Random) -> None:
    mixed = list(records.items())
    chance.shuffle(mixed)
    assert trie.entries(mixed) == trie.entries(records.items())


@QUICK
@given(RECORDS, st.dictionaries(st.binary(min_size=1, max_size=3), st.none() | st.binary(max_size=4), max_size=40))
def test_applying_changes_equals_building_anew(records: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> None:
    after = {**records}
    for key, value in changes.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    entries = {sha(key): None if value is None else trie.entry(key, value) for key, value in changes.items()}
    applied = trie.apply(trie.entries(records.items()), entries)
    assert applied == trie.entries(after.items())
    assert trie.summarise(applied) == summary(after)


def test_applying_no_changes_changes_nothing() -> None:
    packed = trie.entries(numbered(range(3)).items())
    assert trie.apply(packed, {}) is packed


def test_every_change_changes_the_root() -> None:
    records = numbered(range(40))
    roots = {summary(records).hash}
    for key in records:
        roots.add(summary({**records, key: b"other"}).hash)
        roots.add(summary({other: value for other, value in records.items() if other != key}).hash)
    assert len(roots) == 1 + 2 * 40


def test_a_byte_moved_from_value_to_key_changes_the_root() -> None:
    assert summary({b"a": b"bc"}).hash != summary({b"ab": b"c"}).hash


def test_every_entry_is_found_and_nothing_else_is() -> None:
    records = numbered(range(50))
    packed = trie.entries(records.items())
    for key, value in records.items():
        assert trie.find(packed, sha(key)) == trie.entry(key, value)
    assert trie.find(packed, sha(b"absent")) is None
    assert trie.find(packed, bytes(32)) is None
    assert trie.find(packed, b"\xff" * 32) is None
    assert trie.find(b"", bytes(32)) is None


def test_count_and_size_are_those_of_keys_and_values() -> None:
    records = {b"k": bytes(300), b"key": bytes(70_000), b"kk": b""}
    packed = trie.entries(records.items())
    assert trie.count(packed) == 3
    assert trie.size(packed) == 301 + 70_003 + 2
    assert trie.size(trie.entry(b"k" * 96, b"")[:64] + b"\xff\xff\xff\xff") == 2**32 - 1


@QUICK
@given(st.integers(17, 300))
def test_a_node_is_the_join_of_its_children(number: int) -> None:
    packed = trie.entries(numbered(range(number)).items())
    children = [trie.summarise(part, 1) for part in trie.split(packed, 0)]
    assert trie.join(children) == trie.summarise(packed)
    assert b"".join(trie.split(packed, 0)) == packed


@QUICK
@given(st.integers(0, 60), st.text("0123456789abcdef", max_size=3))
def test_the_entries_under_a_prefix_are_those_whose_key_hash_begins_with_it(number: int, prefix: str) -> None:
    records = numbered(range(number))
    mine = [(key, value) for key, value in records.items() if key_hex(key).startswith(prefix)]
    assert trie.under(trie.entries(records.items()), prefix) == trie.entries(mine)


@pytest.mark.parametrize("whole", [0, 1, 40])
def test_an_entry_is_found_by_its_whole_key_hash_and_no_other_is(whole: int) -> None:
    packed = trie.entries(numbered(range(whole)).items())
    for place in range(0, len(packed), trie.ENTRY_BYTES):
        one = packed[place : place + trie.ENTRY_BYTES]
        assert trie.find(packed, one[:32]) == one
        assert trie.under(packed, one[:32].hex()) == one
    for missing in (bytes(32), b"\xff" * 32, secret("missing")):
        assert trie.find(packed, missing) is None
        assert trie.under(packed, missing.hex()) == b""


def test_splitting_nothing_gives_sixteen_times_nothing() -> None:
    assert trie.split(b"", 0) == trie.split(b"", 1) == [b""] * 16


def test_a_leaf_cannot_be_joined() -> None:
    one = Summary(1, 1, secret("leaf"))
    with pytest.raises(LocalError):
        trie.join([one] * 16)
    with pytest.raises(LocalError):
        trie.join([one] * 17)
    assert trie.join([*[one] * 15, Summary(2, 1, secret("leaf"))]).count == 17


def test_the_domains_of_leaf_pair_and_node_are_apart() -> None:
    left, right = secret("left"), secret("right")
    assert len({trie.pair_hash(left, right), trie.top_hash(1, 1, left, right), sha(left + right)}) == 3
    assert trie.pair_hash(EMPTY_HASH, EMPTY_HASH) == EMPTY_HASH
    assert trie.pair_hash(left, EMPTY_HASH) != trie.pair_hash(EMPTY_HASH, left)


def test_the_state_is_the_list_of_collections_that_are_not_empty() -> None:
    one, other = Summary(1, 2, secret("one")), Summary(3, 4, secret("other"))
    body = trie.state_body({"stock": other, "listing": one, "policy": EMPTY})
    assert body == encode([["listing", 1, 2, one.hash], ["stock", 3, 4, other.hash]])
    assert trie.state_root({"stock": other, "listing": one}) == sha(b"\x04" + body)
    assert trie.state_root({}) == sha(b"\x04\x90")
    assert trie.state_root({"listing": one}) != trie.state_root({"stock": one})
