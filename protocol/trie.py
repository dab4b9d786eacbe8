"""The shape and hash of a catalogue: one root for any set of records.

Never holds records or touches storage: it works on *entries*, the sorted 68-byte summaries of records.
The thing to understand: a subtree is a leaf if and only if it holds at most 16 entries, so the shape,
and with it the root, depends on the content alone, not on the order of changes. Specification, section 7.

    entry = SHA-256(key) 32 B || SHA-256(value) 32 B || len(key) + len(value), 4 B big-endian
    leaf  = SHA-256(0x01 || entries)
    node  = SHA-256(0x02 || count 8 B || size 8 B || left || right)     over 16 children, by a
    pair  = SHA-256(0x03 || left || right)                              binary tree of depth 4
    empty = 32 zero bytes
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol.encoding import encode
from protocol.errors import LocalError
from protocol.limits import LEAF_ENTRIES

ENTRY_BYTES = 68
HASH_BYTES = 32
EMPTY_HASH = bytes(HASH_BYTES)
HEX = "0123456789abcdef"

_sha256 = hashlib.sha256


@dataclass(frozen=True, slots=True)
class Summary:
    """What one subtree amounts to: number of records, their bytes (keys and values), and its hash."""

    count: int
    size: int
    hash: bytes


EMPTY = Summary(0, 0, EMPTY_HASH)


def entry(key: bytes, value: bytes) -> bytes:
    """Summarise one record in 68 bytes."""
    return _sha256(key).digest() + _sha256(value).digest() + (len(key) + len(value)).to_bytes(4, "big")


def entries(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the sorted entries of (key, value) pairs with distinct keys."""
    return b"".join(sorted([entry(key, value) for key, value in records]))


def count(packed: bytes) -> int:
    """Return the number of entries in *packed*."""
    return len(packed) // ENTRY_BYTES


def size(packed: bytes) -> int:
    """Return the sum of the sizes in *packed* entries: bytes of keys and values."""
    # Column sums over strided slices: four C loops instead of one Python step an entry.
    return (
        (sum(packed[64::ENTRY_BYTES]) << 24)
        + (sum(packed[65::ENTRY_BYTES]) << 16)
        + (sum(packed[66::ENTRY_BYTES]) << 8)
        + sum(packed[67::ENTRY_BYTES])
    )


def summarise(packed: bytes, depth: int = 0) -> Summary:
    """Return the summary of the subtree at *depth* that holds exactly the sorted entries *packed*."""
    return Summary(len(packed) // ENTRY_BYTES, size(packed), subtree_hash(packed, depth))


def subtree_hash(packed: bytes, depth: int) -> bytes:
    """Hash the subtree at *depth* nibbles that holds exactly the sorted entries *packed*."""
    number = len(packed) // ENTRY_BYTES
    if number == 0:
        return EMPTY_HASH
    if number <= LEAF_ENTRIES:
        return _sha256(b"\x01" + packed).digest()
    most = LEAF_ENTRIES * ENTRY_BYTES
    hashes = [
        # Most children are small leaves: hashing them here saves a call for each.
        EMPTY_HASH
        if not part
        else _sha256(b"\x01" + part).digest()
        if len(part) <= most
        else subtree_hash(part, depth + 1)
        for part in split(packed, depth)
    ]
    return node_hash(number, size(packed), hashes)


def split(packed: bytes, depth: int) -> list[bytes]:
    """Cut sorted entries that share *depth* nibbles into the 16 children's entries."""
    column = packed[depth // 2 :: ENTRY_BYTES]
    low, step = (0, 16) if depth % 2 == 0 else (column[0] & 0xF0 if column else 0, 1)
    parts = []
    start = 0
    for after in range(low + step, low + 17 * step, step):
        end = bisect_left(column, after, start)  # the sixteenth bound lies behind every byte there can be
        parts.append(packed[start * ENTRY_BYTES : end * ENTRY_BYTES])
        start = end
    return parts


def node_hash(number: int, total_size: int, children: Sequence[bytes]) -> bytes:
    """Hash an inner node from the hashes of its 16 children. Spec 7.3."""
    level = children
    while len(level) > 2:
        pairs = iter(level)
        # As pair_hash, written out: this line is half of the time that a whole catalogue's hash takes.
        level = [
            EMPTY_HASH if left == right == EMPTY_HASH else _sha256(b"\x03" + left + right).digest()
            for left, right in zip(pairs, pairs, strict=True)
        ]
    return top_hash(number, total_size, level[0], level[1])


def pair_hash(left: bytes, right: bytes) -> bytes:
    """Hash two neighbours inside a node; a pair of two empty subtrees is empty."""
    if left == EMPTY_HASH and right == EMPTY_HASH:
        return EMPTY_HASH  # most nodes near the leaves are sparse: this saves half of the hashing there
    return _sha256(b"\x03" + left + right).digest()


def top_hash(number: int, total_size: int, left: bytes, right: bytes) -> bytes:
    """Hash a node from its two halves, its number of records and their bytes."""
    return _sha256(b"\x02" + number.to_bytes(8, "big") + total_size.to_bytes(8, "big") + left + right).digest()


def join(children: Sequence[Summary]) -> Summary:
    """Summarise a node with more than 16 entries from its 16 children.

    A node of 16 entries or fewer is a leaf and needs the entries themselves: that is a LocalError here.
    """
    number = sum(child.count for child in children)
    total = sum(child.size for child in children)
    if len(children) != 16 or number <= LEAF_ENTRIES:
        raise LocalError("only a node with 16 children and more than 16 entries can be joined")
    return Summary(number, total, node_hash(number, total, [child.hash for child in children]))


def apply(packed: bytes, changes: Mapping[bytes, bytes | None]) -> bytes:
    """Return *packed* after *changes*: SHA-256(key) -> its new entry, or None where the record goes."""
    if not changes:
        return packed
    current = {packed[i : i + 32]: packed[i : i + ENTRY_BYTES] for i in range(0, len(packed), ENTRY_BYTES)}
    for key_hash, changed in changes.items():
        if changed is None:
            current.pop(key_hash, None)
        else:
            current[key_hash] = changed
    return b"".join([current[key_hash] for key_hash in sorted(current)])


def under(packed: bytes, prefix: str) -> bytes:
    """Return those of sorted entries whose key hash begins with *prefix* (hex nibbles)."""
    start = _place(packed, bytes.fromhex(prefix.ljust(64, "0")))
    end = _place(packed, bytes.fromhex(prefix.ljust(64, "f")), after=True)
    return packed[start * ENTRY_BYTES : end * ENTRY_BYTES]


def find(packed: bytes, key_hash: bytes) -> bytes | None:
    """Return the entry of *key_hash* among sorted entries, or None."""
    place = _place(packed, key_hash)
    found = packed[place * ENTRY_BYTES : (place + 1) * ENTRY_BYTES]
    return found if found[:HASH_BYTES] == key_hash else None


def _place(packed: bytes, key_hash: bytes, *, after: bool = False) -> int:
    """Return how many of sorted entries come before *key_hash*; with *after* it counts itself."""
    low, high = 0, len(packed) // ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        at_middle = packed[middle * ENTRY_BYTES : middle * ENTRY_BYTES + HASH_BYTES]
        if at_middle < key_hash or (after and at_middle == key_hash):
            low = middle + 1
        else:
            high = middle
    return low


def state_root(collections: Mapping[str, Summary]) -> bytes:
    """Hash of a whole catalogue: its non-empty collections in order of name. Spec 7.4."""
    return _sha256(b"\x04" + state_body(collections)).digest()


def state_body(collections: Mapping[str, Summary]) -> bytes:
    """Encode the list that `state_root` hashes: [[collection, count, size, root], ...]."""
    return encode(
        [[name, one.count, one.size, one.hash] for name, one in sorted(collections.items()) if one.count],
    )
