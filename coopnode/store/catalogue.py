"""The state that we hold of each stream: its head, its collections, and operations for followers.

A node that keeps a part knows the other collections by what the author signed about them (`elsewhere`): so the
root of a state is the signed one, whether all of its records are here or not.
Never decides whether a head is right: `ingest` and `puller` do, with the roots that come from here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from coopnode.store.bodies import Bodies
from coopnode.store.tries import Changed, Tries
from protocol import trie
from protocol.chunks import Ops
from protocol.head import Stream
from protocol.limits import CHUNK_ENTRIES, MAX_CHUNK_BYTES, MIB
from protocol.pull import Replace
from protocol.trie import EMPTY, EMPTY_HASH, Summary

KEPT_OPS_BYTES = 8 * MIB
"""Operations kept of one stream; whoever is further behind walks the trie."""
KEPT_OPS = 4_096
"""Of how many heads at most."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A row of the table: where a collection's chunks hang, its summary, and whether its records are here."""

    collection_id: int
    summary: Summary
    here: bool = True

    @property
    def stored(self) -> Summary:
        """The summary of the records that are here."""
        return self.summary if self.here else EMPTY


@dataclass(frozen=True, slots=True)
class Held:
    """What we hold of a stream. *head* is the signed head that it belongs to; None before the first."""

    stream_id: int
    stream: Stream
    head: bytes | None
    collections: Mapping[str, Collection]
    desync: str | None

    @property
    def state(self) -> dict[str, Summary]:
        """Collection name -> summary, without empty ones: the whole state, wherever its records are."""
        return {name: one.summary for name, one in self.collections.items() if one.summary.count}

    @property
    def summaries(self) -> dict[str, Summary]:
        """The same of the collections whose records are here."""
        return {name: one.summary for name, one in self.collections.items() if one.here and one.summary.count}

    @property
    def elsewhere(self) -> dict[str, Summary]:
        """The same of those whose records are not kept here: as the author signed them."""
        return {name: one.summary for name, one in self.collections.items() if not one.here}

    @property
    def root(self) -> bytes:
        """The state root: of what is here, and of what was signed about the rest."""
        return trie.state_root(self.state)


class Catalogue:
    """Streams on one connection."""

    def __init__(self, connection: sqlite3.Connection, bodies: Bodies | None = None) -> None:
        self._db = connection
        self._tries = Tries(connection, bodies)

    def forget_cached(self) -> None:
        """Drop what is remembered of rows that a rollback has undone."""
        self._tries.forget_cached()

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    def held(self, stream: Stream) -> Held | None:
        """Return what we hold of *stream*, or None when we have never heard of it."""
        row = self._db.execute(
            "SELECT id, head, desync FROM stream WHERE member_id = ? AND number = ?", (stream.member_id, stream.number)
        ).fetchone()
        if row is None:
            return None
        collections = {
            name: Collection(collection_id, Summary(count, size, root), bool(here))
            for collection_id, name, count, size, root, here in self._db.execute(
                "SELECT id, name, count, size, root, here FROM collection WHERE stream_id = ?", (row[0],)
            )
        }
        return Held(row[0], stream, row[1], collections, row[2])

    def streams(self, *, begun: bool = False) -> list[Held]:
        """Return all streams of which we hold a state; with *begun* also those of which we have begun to fetch one."""
        rows = self._db.execute(
            "SELECT member_id, number FROM stream WHERE head IS NOT NULL OR ? ORDER BY id", (begun,)
        ).fetchall()
        return [held for member_id, number in rows if (held := self.held(Stream(member_id, number))) is not None]

    def sums(self) -> Iterator[tuple[Stream, bytes, int, int, str | None]]:
        """Yield (stream, head, records, bytes, desync) of every state that we hold."""
        rows = self._db.execute(
            "SELECT s.member_id, s.number, s.head, coalesce(sum(c.count), 0), coalesce(sum(c.size), 0), s.desync"
            " FROM stream s LEFT JOIN collection c ON c.stream_id = s.id WHERE s.head IS NOT NULL GROUP BY s.id"
        )
        for member_id, number, head, count, size, desync in rows:
            yield Stream(member_id, number), head, count, size, desync

    def changed_since(self, seq: int) -> list[tuple[Stream, int]]:
        """Return the streams whose state changed after change number *seq*, with the number of the change."""
        rows = self._db.execute(
            "SELECT member_id, number, changed_seq FROM stream WHERE changed_seq > ? ORDER BY changed_seq", (seq,)
        )
        return [(Stream(member_id, number), changed_seq) for member_id, number, changed_seq in rows]

    def chunk_prefixes(self, stream: Stream, collection: str) -> list[str]:
        """Return the prefixes of a collection's chunks, in order."""
        held = self.held(stream)
        if held is None or collection not in held.collections:
            return []
        return self._tries.chunk_prefixes(held.collections[collection].collection_id)

    def records_under(self, stream: Stream, collection: str, prefix: str) -> list[tuple[bytes, bytes]]:
        """Return (key, value) of the records of the chunk at *prefix*; empty when there is none (any more)."""
        held = self.held(stream)
        if held is None or collection not in held.collections:
            return []
        return self._tries.records_under(held.collections[collection].collection_id, prefix)

    def last_change(self) -> int:
        """Return the number of the latest change of any stream's state."""
        row = self._db.execute("SELECT coalesce(max(changed_seq), 0) FROM stream").fetchone()
        return int(row[0])

    def get(self, stream: Stream, collection: str, key: bytes) -> bytes | None:
        """Return the value of a record, or None."""
        row = self._db.execute(
            "SELECT c.id FROM collection c JOIN stream s ON s.id = c.stream_id"
            " WHERE s.member_id = ? AND s.number = ? AND c.name = ?",
            (stream.member_id, stream.number, collection),
        ).fetchone()
        return None if row is None else self._tries.get(row[0], key)

    def records(self, stream: Stream, collection: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of all records of a collection."""
        held = self.held(stream)
        if held is not None and collection in held.collections:
            yield from self._tries.records(held.collections[collection].collection_id)

    def chunk_records(self, chunk_id: int) -> dict[bytes, bytes] | None:
        """Return the records of one chunk's body; None when it has been replaced since."""
        return self._tries.chunk_records(chunk_id)

    def summary(self, held: Held, collection: str, prefix: str) -> Summary:
        """Return the summary of any subtree that we hold."""
        found = held.collections.get(collection)
        return EMPTY if found is None else self._tries.summary(found.collection_id, found.stored.hash, prefix)

    def entries(self, held: Held, collection: str, prefix: str) -> bytes:
        """Return the entries under *prefix*."""
        found = held.collections.get(collection)
        return b"" if found is None else self._tries.entries(found.collection_id, found.stored.hash, prefix)

    def node(self, held: Held, collection: str, prefix: str) -> bytes | list[Summary]:
        """Return a subtree to send: a chunk where it fits into one, else its sixteen children."""
        summary = self.summary(held, collection, prefix)
        found = held.collections.get(collection)
        if found is None or (summary.count <= CHUNK_ENTRIES and summary.size <= MAX_CHUNK_BYTES):
            if found is None:
                return b""
            return self._tries.packed_chunk(found.collection_id, found.stored.hash, prefix)
        return [self.summary(held, collection, prefix + nibble) for nibble in trie.HEX]

    # ── changing ──────────────────────────────────────────────────────────────────────────────────

    def open_stream(self, stream: Stream) -> Held:
        """Return what we hold of *stream*, beginning it if need be."""
        self._db.execute("INSERT OR IGNORE INTO stream (member_id, number) VALUES (?, ?)", stream)
        held = self.held(stream)
        assert held is not None
        return held

    def apply(self, held: Held, ops: Ops) -> tuple[Held, dict[str, Changed]]:
        """Put and remove records; return what we hold then and what changed. The caller compares the root."""
        changed: dict[str, Changed] = {}
        for name, changes in ops.items():
            collection = self._open_collection(held, name)
            summary, changed[name] = self._tries.apply(collection.collection_id, collection.stored.hash, changes)
            self._set_summary(collection.collection_id, summary)
        return self._again(held), changed

    def stage(self, held: Held, change: Replace) -> int:
        """Keep one verified subtree until the rest has come; return its chunk id."""
        collection = self._open_collection(held, change.collection)
        entries = b"" if change.chunk is None else change.chunk.entries
        return self._tries.stage(collection.collection_id, change.prefix, change.summary, entries, change.packed)

    def staged_or_held(self, held: Held, collection: str, prefix: str) -> Summary:
        """Return the summary of a subtree as it will be when what is staged has been committed."""
        found = held.collections.get(collection)
        if found is None:
            return EMPTY
        staged = self._tries.staged_summary(found.collection_id, prefix)
        return staged if staged is not None else self.summary(held, collection, prefix)

    def commit_staged(
        self, held: Held, elsewhere: Mapping[str, Summary] | None = None
    ) -> tuple[Held, dict[str, Changed]]:
        """Put staged subtrees in place; return what we hold then and what changed in each collection.

        Of the collections *elsewhere* nothing is kept but what the author signed.
        """
        elsewhere = elsewhere or {}
        held, changed = self.put_elsewhere(held, elsewhere)
        for name, collection in held.collections.items():
            if name not in elsewhere:
                summary, changed[name] = self._tries.commit_staged(collection.collection_id, collection.stored.hash)
                self._set_summary(collection.collection_id, summary)
        return self._again(held), changed

    def put_elsewhere(self, held: Held, elsewhere: Mapping[str, Summary]) -> tuple[Held, dict[str, Changed]]:
        """Drop the records of these collections and keep what the author signed; return what changed for readers."""
        changed: dict[str, Changed] = {}
        for name, signed in elsewhere.items():
            collection = self._open_collection(held, name)
            if collection.here:
                self._delete_records(collection.collection_id)
                changed[name] = Changed(gone=True)
            self._set_summary(collection.collection_id, signed, here=False)
        return (self._again(held) if elsewhere else held), changed

    def drop_records(self, held: Held) -> dict[str, Changed]:
        """Drop all that is here of a stream, also which head it belonged to; return what changed for readers."""
        for collection in held.collections.values():
            self._delete_records(collection.collection_id)
        for table in ("ops", "collection"):
            self._db.execute(f"DELETE FROM {table} WHERE stream_id = ?", (held.stream_id,))
        self.drop_head(held.stream)
        return {name: Changed(gone=True) for name in held.collections}

    def drop_ops(self, held: Held) -> None:
        """Drop the operations kept of a stream: a part of it bridges nothing for others."""
        self._db.execute("DELETE FROM ops WHERE stream_id = ?", (held.stream_id,))

    def unstage(self, held: Held) -> None:
        """Throw away what is staged."""
        for collection in held.collections.values():
            self._tries.unstage(collection.collection_id)

    def set_head(self, held: Held, head: bytes) -> int:
        """Note that what we hold is the state of *head*; return the number of this change."""
        seq = self.last_change() + 1
        self._db.execute(
            "UPDATE stream SET head = ?, changed_seq = ?, desync = NULL WHERE id = ?", (head, seq, held.stream_id)
        )
        return seq

    def drop_head(self, stream: Stream) -> None:
        """The head of a stream no longer holds: what is here of it is not served until a new one comes."""
        self._db.execute(
            "UPDATE stream SET head = NULL, changed_seq = ? WHERE member_id = ? AND number = ?",
            (self.last_change() + 1, stream.member_id, stream.number),
        )

    def set_desync(self, held: Held, why: str | None) -> None:
        """Note that the author's own operations do not lead to the root that it signed."""
        self._db.execute("UPDATE stream SET desync = ? WHERE id = ?", (why, held.stream_id))

    # ── operations for followers ──────────────────────────────────────────────────────────────────

    def keep_ops(self, held: Held, epoch: int, since_rev: int, rev: int, bodies: bytes) -> None:
        """Keep the operations from *since_rev* to *rev*; the oldest go when there are too many."""
        self._db.execute(
            "INSERT OR REPLACE INTO ops VALUES (?, ?, ?, ?, ?)", (held.stream_id, epoch, since_rev, rev, bodies)
        )
        total = 0
        rows = self._db.execute(
            "SELECT epoch, rev, length(bodies) FROM ops WHERE stream_id = ? ORDER BY epoch DESC, rev DESC",
            (held.stream_id,),
        ).fetchall()
        for number, (old_epoch, old_rev, size) in enumerate(rows, 1):
            total += size + 64
            if total > KEPT_OPS_BYTES or number > KEPT_OPS:
                self._db.execute(
                    "DELETE FROM ops WHERE stream_id = ? AND (epoch, rev) <= (?, ?)",
                    (held.stream_id, old_epoch, old_rev),
                )
                return

    def ops_from(self, held: Held, epoch: int, from_rev: int) -> list[tuple[int, bytes]]:
        """Return the unbroken chain of (rev, bodies) that begins at *from_rev*; empty if there is none."""
        chain: list[tuple[int, bytes]] = []
        for since_rev, rev, bodies in self._db.execute(
            "SELECT since_rev, rev, bodies FROM ops WHERE stream_id = ? AND epoch = ? AND rev > ? ORDER BY rev",
            (held.stream_id, epoch, from_rev),
        ):
            if since_rev != from_rev:
                return []
            chain.append((rev, bytes(bodies)))
            from_rev = rev
        return chain

    def _open_collection(self, held: Held, name: str) -> Collection:
        found = held.collections.get(name)
        if found is not None:
            return found
        self._db.execute(
            "INSERT OR IGNORE INTO collection (stream_id, name, root) VALUES (?, ?, ?)",
            (held.stream_id, name, EMPTY_HASH),
        )
        row = self._db.execute(
            "SELECT id, count, size, root, here FROM collection WHERE stream_id = ? AND name = ?",
            (held.stream_id, name),
        ).fetchone()
        return Collection(row[0], Summary(*row[1:4]), bool(row[4]))

    def _set_summary(self, collection_id: int, summary: Summary, *, here: bool = True) -> None:
        self._db.execute(
            "UPDATE collection SET count = ?, size = ?, root = ?, here = ? WHERE id = ?",
            (summary.count, summary.size, summary.hash, here, collection_id),
        )

    def _delete_records(self, collection_id: int) -> None:
        for table in ("chunk_entries", "chunk_body"):
            self._db.execute(
                f"DELETE FROM {table} WHERE chunk_id IN (SELECT id FROM chunk WHERE collection_id = ?)",
                (collection_id,),
            )
        for table in ("chunk", "recent"):
            self._db.execute(f"DELETE FROM {table} WHERE collection_id = ?", (collection_id,))

    def _again(self, held: Held) -> Held:
        again = self.held(held.stream)
        assert again is not None
        return again
