"""The store of a simulated node: the tables of `coopnode.store` that gossip needs, in memory.

The same methods with the same meaning; a test drives both alike. What all nodes hold from the beginning (the identity
statements of all members) lies here once and is shared. Nothing is lost when a simulated node crashes: only what was
committed is put in here.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

from coopnode.ingest import evidence_slot
from coopnode.store import Tables
from coopnode.store.items import StoredItem
from protocol.head import Stream
from protocol.items import ItemKind
from protocol.limits import STREAM_PUBLIC

Row = tuple[ItemKind, bytes, bytes, bytes]
"""Kind, slot (here also the id), data, member."""


class Base:
    """Items that every node holds from the beginning and nobody replaces: identity statements, in order of arrival."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.items = [StoredItem(seq, kind, slot, data, 0) for seq, (kind, slot, data, _) in enumerate(rows, 1)]
        self.by_id = {one.item_id: one for one in self.items}
        self.member_of = {row[1]: row[3] for row in rows}
        self.of_member = {row[3]: self.by_id[row[1]] for row in rows}
        self.sorted_ids = sorted(self.by_id)
        self.frontiers: dict[bytes, bytes] = {}
        """Hash over the ids beyond the base -> frontier: nodes that hold the same compute it once."""


class MemoryItems:
    """As `store.items.Items`."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._seq = len(base.items)
        self._by_id: dict[bytes, tuple[StoredItem, bytes, bytes, bytes | None]] = {}
        """Item id -> (item, slot, member, topic), in order of arrival."""
        self._by_slot: dict[tuple[ItemKind, bytes], bytes] = {}
        self._sorted: list[bytes] = []
        self._evidence: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self._frontier: bytes | None = None

    def put(
        self,
        kind: ItemKind,
        slot: bytes,
        item_id: bytes,
        member_id: bytes,
        data: bytes,
        received_ms: int,
        topic: bytes | None = None,
    ) -> int:
        """Keep an item in place of the one in its slot; return its seq."""
        older = self._by_slot.get((kind, slot))
        if older is not None:
            self.remove(older)
        self._seq += 1
        self._by_id[item_id] = (StoredItem(self._seq, kind, item_id, data, received_ms), slot, member_id, topic)
        self._by_slot[kind, slot] = item_id
        insort(self._sorted, item_id)
        self._frontier = None
        return self._seq

    def remove(self, item_id: bytes) -> None:
        """Drop an item that no longer holds."""
        row = self._by_id.pop(item_id, None)
        if row is not None:
            del self._by_slot[row[0].kind, row[1]]
            del self._sorted[bisect_left(self._sorted, item_id)]
            self._frontier = None

    def in_slot(self, kind: ItemKind, slot: bytes) -> bytes | None:
        """Return the item in a slot, or None."""
        item_id = self._by_slot.get((kind, slot))
        if item_id is not None:
            return self._by_id[item_id][0].data
        found = self._base.by_id.get(slot) if kind is ItemKind.IDENTITY else None
        return None if found is None else found.data

    def by_id(self, item_id: bytes) -> StoredItem | None:
        """Return the item with this id, or None."""
        row = self._by_id.get(item_id)
        return self._base.by_id.get(item_id) if row is None else row[0]

    def member_of(self, item_id: bytes) -> bytes | None:
        """Return the member that an item is kept under, or None when it is not here."""
        row = self._by_id.get(item_id)
        return self._base.member_of.get(item_id) if row is None else row[2]

    def has(self, item_id: bytes) -> bool:
        """Whether this very item is here."""
        return item_id in self._by_id or item_id in self._base.by_id

    def since(self, seq: int, limit: int) -> list[StoredItem]:
        """Return up to *limit* items that arrived after *seq*, in order."""
        found = self._base.items[seq : seq + limit]
        if len(found) < limit:
            newer: list[StoredItem] = []
            for row in reversed(self._by_id.values()):
                if row[0].seq <= seq:
                    break
                newer.append(row[0])
            found.extend(islice(reversed(newer), limit - len(found)))
        return found

    def of_kind(self, kind: ItemKind, member_id: bytes | None = None) -> list[StoredItem]:
        """Return all items of a kind, of one member or of all."""
        if member_id is not None:
            found = (
                [self._base.of_member[member_id]]
                if kind is ItemKind.IDENTITY and member_id in self._base.of_member
                else []
            )
            if kind is ItemKind.HEAD:  # of few streams: looked up, not searched
                return sorted(self._of_stream(member_id), key=lambda one: one.seq)
            return found + [row[0] for row in self._by_id.values() if row[0].kind is kind and row[2] == member_id]
        found = list(self._base.items) if kind is ItemKind.IDENTITY else []
        return found + [row[0] for row in self._by_id.values() if row[0].kind is kind]

    def on_topic(self, topic: bytes) -> list[StoredItem]:
        """Return the statements grouped under *topic*."""
        return [row[0] for row in self._by_id.values() if row[3] == topic]

    def last_seq(self) -> int:
        """Return the seq of the latest arrival ever, 0 for none."""
        return self._seq

    def number(self) -> int:
        """Return how many items there are."""
        return len(self._base.items) + len(self._by_id)

    def frontier(self) -> bytes:
        """Hash of the sorted ids of all items."""
        if self._frontier is None:
            key = hashlib.sha256(b"".join(self._sorted)).digest()
            found = self._base.frontiers.get(key)
            if found is None:
                found = self._base.frontiers[key] = hashlib.sha256(b"".join(self.ids())).digest()
            self._frontier = found
        return self._frontier

    def ids(self) -> list[bytes]:
        """Return the ids of all items, sorted."""
        return sorted(self._base.sorted_ids + self._sorted) if self._sorted else list(self._base.sorted_ids)

    def own_ids(self) -> list[bytes]:
        """Return the ids beyond the base, sorted."""
        return list(self._sorted)

    def keep_evidence(self, slot: bytes, pair: Iterable[bytes], received_ms: int) -> None:
        """Keep two signed things that contradict each other."""
        first, second = sorted(pair)
        kept = self._evidence.setdefault(slot, [])
        if (first, second) not in kept:
            kept.append((first, second))

    def evidence(self) -> list[tuple[bytes, bytes]]:
        """Return all pairs of contradicting objects."""
        return [pair for pairs in self._evidence.values() for pair in pairs]

    def _of_stream(self, member_id: bytes) -> Iterator[StoredItem]:
        """Yield the head of a member's public catalogue, and the second where it has said two things."""
        slot = member_id + bytes([STREAM_PUBLIC])
        for place in (slot, evidence_slot(slot)):
            item_id = self._by_slot.get((ItemKind.HEAD, place))
            if item_id is not None:
                yield self._by_id[item_id][0]


class MemoryMeta:
    """As `store.meta.Meta`."""

    def __init__(self, store_nonce: bytes) -> None:
        self._values = {"store_nonce": store_nonce}
        self._refusals: dict[str, int] = {}

    def get(self, name: str) -> bytes | None:
        """Return the value of *name*, or None."""
        return self._values.get(name)

    def set(self, name: str, value: bytes | None) -> None:
        """Set or, with None, remove *name*."""
        if value is None:
            self._values.pop(name, None)
        else:
            self._values[name] = value

    def get_int(self, name: str) -> int:
        """Return a number set by `set_int`, 0 when there is none."""
        return int(self._values.get(name, b"0"))

    def set_int(self, name: str, value: int) -> None:
        """Set *name* to a whole number."""
        self._values[name] = str(value).encode()

    def count_refusal(self, reason: str, detail: str, now_ms: int) -> None:
        """Count one refusal."""
        self._refusals[reason] = self._refusals.get(reason, 0) + 1

    def refusals(self) -> dict[str, int]:
        """Return how often each reason was given."""
        return dict(sorted(self._refusals.items()))


class MemoryPeers:
    """As `store.peers.Peers`, cursors only. *known* are the cursors that were kept before the run began."""

    def __init__(self, known: dict[bytes, tuple[bytes, int]], items: MemoryItems) -> None:
        self._known = known
        self._known_seq = items.last_seq()
        self._items = items
        self._cursors: dict[bytes, tuple[bytes, int]] = {}
        self._own_seqs: dict[bytes, int] = {}

    def cursor(self, member_id: bytes) -> tuple[bytes, int] | None:
        """Return (store nonce, cursor) up to which we have heard this peer out, or None."""
        return self._cursors.get(member_id) or self._known.get(member_id)

    def set_cursor(self, member_id: bytes, store_nonce: bytes, cursor: int) -> None:
        """Note how far we have heard a peer out."""
        self._cursors[member_id] = (store_nonce, cursor)
        self._own_seqs[member_id] = self._items.last_seq()

    def arrived_since(self, member_id: bytes) -> int:
        """Return how many items have arrived here since we noted how far we have heard a peer out; 0 if never."""
        if self.cursor(member_id) is None:
            return 0
        return self._items.last_seq() - self._own_seqs.get(member_id, self._known_seq)

    def forget_cursors(self) -> None:
        """Forget all cursors."""
        self._known, self._cursors, self._own_seqs = {}, {}, {}


class MemoryBook:
    """As `store.book.Book`: a co-op that has only its charter."""

    def genesis(self) -> bytes | None:
        """Nobody asks for the charter here."""
        return None

    def after(self, slot: int, limit: int) -> list[bytes]:
        """Return the official pages after *slot*: there are none."""
        return []


class MemoryCatalogue:
    """As `store.catalogue.Catalogue`: no catalogue has ever been pulled."""

    def drop_head(self, stream: Stream) -> None:
        """Serve a signed state no longer: there is none."""


@dataclass(frozen=True)
class MemoryTables:
    """As `store.Tables`, as far as gossip needs it."""

    meta: MemoryMeta
    items: MemoryItems
    peers: MemoryPeers
    book: MemoryBook
    catalogue: MemoryCatalogue

    def as_tables(self) -> Tables:
        """Return itself as what the rooms above the store expect."""
        return cast(Tables, self)


def make_tables(base: Base, store_nonce: bytes, known: dict[bytes, tuple[bytes, int]]) -> MemoryTables:
    """Return the store of a node that holds the base and nothing else."""
    items = MemoryItems(base)
    peers = MemoryPeers(known, items)
    return MemoryTables(MemoryMeta(store_nonce), items, peers, MemoryBook(), MemoryCatalogue())
