"""Proof that a record is, or is not, in a signed catalogue: about 1 kB, checked without trusting anybody.

Never fetches anything: `build` is given the entries that the prover holds, `check` only the proof.
What it cannot show: that a search result is complete, or that no later head exists. The age of the head
is part of the answer for that reason. Specification, section 7.6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from protocol import shape, trie
from protocol.encoding import decode, encode
from protocol.errors import LocalError, Reason, Refused
from protocol.head import Head
from protocol.limits import (
    LEAF_ENTRIES,
    MAX_COLLECTION_BYTES,
    MAX_COLLECTIONS,
    MAX_INT,
    MAX_PROOF_BYTES,
    MAX_TRIE_DEPTH,
)

_sha256 = hashlib.sha256
_COUNT = shape.integer(0, MAX_INT)
_LEVEL = shape.rows(("count", _COUNT), ("size", _COUNT), ("siblings", shape.array(shape.binary(32), 4, 4)))
_COLLECTION = shape.rows(
    ("collection", shape.text(1, MAX_COLLECTION_BYTES)),
    ("count", shape.integer(1, MAX_INT)),  # empty collections have no row, or a proof could be padded
    ("size", _COUNT),
    ("root", shape.binary(32)),
)
_ROW: tuple[tuple[str, shape.Check], ...] = (
    ("v", shape.integer(1, 1)),
    ("collections", shape.array(_COLLECTION, 0, MAX_COLLECTIONS)),
    ("levels", shape.array(_LEVEL, 0, MAX_TRIE_DEPTH)),
    ("leaf", shape.blob(0, LEAF_ENTRIES * trie.ENTRY_BYTES)),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a proof shows about a key: the entry of its record, or None where the catalogue has none."""

    entry: bytes | None

    def check_value(self, key: bytes, value: bytes) -> None:
        """Refuse (proof_mismatch) a value that is not the one in the signed catalogue."""
        if self.entry != trie.entry(key, value):
            raise Refused(Reason.PROOF_MISMATCH, "the record is not the one that the author signed")


def build(
    collections: Mapping[str, trie.Summary],
    collection: str,
    key: bytes,
    entries_under: Callable[[str], bytes],
    summary_of: Callable[[str], trie.Summary],
) -> bytes:
    """Return the proof for *key*; the callables answer for a prefix of the collection's trie.

    *entries_under* is asked once, for the leaf; *summary_of* for the nodes beside and on the path.
    """
    key_hex = _sha256(key).hexdigest()
    levels: list[list[Any]] = []
    depth = 0
    node = summary_of("")
    while node.count > LEAF_ENTRIES:
        children = [summary_of(key_hex[:depth] + nibble) for nibble in trie.HEX]
        if trie.join(children) != node:
            raise LocalError("the summaries of the trie do not belong together")
        position = int(key_hex[depth], 16)
        levels.append([node.count, node.size, _siblings([child.hash for child in children], position)])
        node = children[position]
        depth += 1
    rows = [[name, one.count, one.size, one.hash] for name, one in sorted(collections.items()) if one.count]
    return encode([1, rows, levels, entries_under(key_hex[:depth])])


def check(proof: bytes, head: Head, collection: str, key: bytes) -> Finding:
    """Verify *proof* against the signed *head* and return what it shows about *key*.

    Refuses: proof_mismatch, and what section 2 refuses. The caller has verified the head's signature.
    """
    value = shape.row(decode(proof, MAX_PROOF_BYTES), _ROW)
    rows, levels, leaf = value[1], value[2], value[3]
    collections = {name: trie.Summary(count, size, root) for name, count, size, root in rows}
    names = [row[0] for row in rows]
    if names != sorted(set(names)) or trie.state_root(collections) != head.state_root:
        raise Refused(Reason.PROOF_MISMATCH, "the collections are not those that the author signed")
    expected = collections.get(collection, trie.EMPTY)
    found = _climb(leaf, levels, _sha256(key).hexdigest())
    if found != expected:
        raise Refused(Reason.PROOF_MISMATCH, "the path does not lead to the signed root")
    return Finding(trie.find(leaf, _sha256(key).digest()))


def _climb(leaf: bytes, levels: list[list[Any]], key_hex: str) -> trie.Summary:
    """Compute the root's summary from the leaf and the levels above it, root first."""
    depth = len(levels)
    number = trie.count(leaf)
    if len(leaf) % trie.ENTRY_BYTES or number > LEAF_ENTRIES:
        raise Refused(Reason.PROOF_MISMATCH, f"a leaf holds at most {LEAF_ENTRIES} entries of 68 bytes")
    hashes = [leaf[i : i + 32] for i in range(0, len(leaf), trie.ENTRY_BYTES)]
    if any(low >= high for low, high in pairwise(hashes)):
        raise Refused(Reason.PROOF_MISMATCH, "the entries of the leaf are not in order")
    if any(not key_hash.hex().startswith(key_hex[:depth]) for key_hash in hashes):
        raise Refused(Reason.PROOF_MISMATCH, "the leaf is not where the key belongs")
    node = trie.Summary(number, trie.size(leaf), trie.EMPTY_HASH if not number else _sha256(b"\x01" + leaf).digest())
    for level in range(depth - 1, -1, -1):
        count, size, siblings = levels[level]
        if count <= LEAF_ENTRIES or count < node.count or size < node.size:
            raise Refused(Reason.PROOF_MISMATCH, "the counts on the path contradict each other")
        node = trie.Summary(count, size, _join_path(node.hash, siblings, int(key_hex[level], 16), count, size))
    return node


def _siblings(children: list[bytes], position: int) -> list[bytes]:
    """Return the four hashes beside the path from child *position* up to the node."""
    siblings = []
    level = children
    while len(level) > 1:
        siblings.append(level[position ^ 1])
        level = [trie.pair_hash(level[i], level[i + 1]) for i in range(0, len(level), 2)]
        position //= 2
    return siblings


def _join_path(child: bytes, siblings: list[bytes], position: int, count: int, size: int) -> bytes:
    node = child
    for height, sibling in enumerate(siblings):
        left, right = (sibling, node) if position >> height & 1 else (node, sibling)
        node = trie.top_hash(count, size, left, right) if height == 3 else trie.pair_hash(left, right)
    return node
