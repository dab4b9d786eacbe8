"""The records of one collection on disk: chunks as they were received, with small changes beside them.

Never checks a signature or a root: the caller compares what comes out with what the author signed.
The thing to understand: a chunk's body is immutable, whatever changes it has a new id. A single new price
is one row in `recent` and new entries for its chunk; when a quarter of a chunk has changed, its body is
written anew. So replication moves whole chunks, and a change costs its own size. Not a row a record:
that is what makes replication slow.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from coopnode.store.bodies import Bodies
from coopnode.store.spine import ChunkRow, Spine
from protocol import chunks, trie
from protocol.encoding import inflate, unpack
from protocol.limits import CHUNK_ENTRIES, KIB, LEAF_ENTRIES, MAX_CHUNK_BYTES
from protocol.trie import EMPTY, Summary

_sha256 = hashlib.sha256
T = TypeVar("T")

# A chunk is cut in sixteen above these, and sixteen are merged below those; in between nothing moves, so
# that a record that comes and goes does not make chunks split and merge every time.
SPLIT_BYTES = 512 * KIB
MERGE_ENTRIES = 256
MERGE_BYTES = 300 * KIB
# Above this many changes in one chunk, followers read the chunk instead of the list of changes.
MOST_SINGLE_CHANGES = 64
CACHED_SPINES = 256

Row = tuple[bytes, bytes, bytes]
"""(SHA-256 of the key, key, value)"""
Edit = tuple[bytes, bytes, bytes | None]
"""(SHA-256 of the key, key, new value or None where the record goes)"""


@dataclass(slots=True)
class Changed:
    """What a change did to a collection, for read models that follow it."""

    fresh_chunks: list[int] = field(default_factory=list)
    """Chunks of records none of which was here before."""
    replaced_chunks: list[int] = field(default_factory=list)
    put: dict[bytes, bytes] = field(default_factory=dict)
    removed: list[bytes] = field(default_factory=list)
    gone: bool = False
    """All that was here went at once, and is not listed."""

    def add(self, later: Changed) -> None:
        """Take over what changed after this."""
        self.fresh_chunks.extend(later.fresh_chunks)
        self.replaced_chunks.extend(later.replaced_chunks)
        for key in later.removed:
            self.put.pop(key, None)
        self.removed = [key for key in self.removed if key not in later.put] + later.removed
        self.put.update(later.put)


class _WrittenAnewError(Exception):
    """The outline in memory names a chunk that is gone: another connection has written it anew."""


class Tries:
    """All collections' chunks, on one connection."""

    def __init__(self, connection: sqlite3.Connection, bodies: Bodies | None = None) -> None:
        self._db = connection
        self._spines: OrderedDict[int, tuple[bytes, Spine]] = OrderedDict()
        self._bodies = Bodies() if bodies is None else bodies

    def forget_cached(self) -> None:
        """Drop outlines and bodies held in memory: a transaction was rolled back."""
        self._spines.clear()
        self._bodies.clear()

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    def get(self, collection_id: int, key: bytes) -> bytes | None:
        """Return the value of *key*, or None."""
        key_hash = _sha256(key).digest()
        row = self._db.execute(
            "SELECT value FROM recent WHERE collection_id = ? AND key_hash = ?", (collection_id, key_hash)
        ).fetchone()
        if row is not None:
            return None if row[0] is None else bytes(row[0])
        # Prefixes of chunks do not contain each other, so the one that a key belongs to, if any, is the
        # last that sorts at or before it.
        key_hex = key_hash.hex()
        row = self._db.execute(
            "SELECT id, prefix FROM chunk WHERE collection_id = ? AND staged = 0 AND prefix <= ?"
            " ORDER BY prefix DESC LIMIT 1",
            (collection_id, key_hex),
        ).fetchone()
        if row is None or not key_hex.startswith(row[1]):
            return None
        return self._body(row[0]).get(key)

    def records(self, collection_id: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of all records, a chunk at a time, in trie order."""
        for prefix in self.chunk_prefixes(collection_id):
            yield from self.records_under(collection_id, prefix)

    def chunk_prefixes(self, collection_id: int) -> list[str]:
        """Return the prefixes of the live chunks, in order."""
        rows = self._db.execute(
            "SELECT prefix FROM chunk WHERE collection_id = ? AND staged = 0 ORDER BY prefix", (collection_id,)
        )
        return [row[0] for row in rows]

    def records_under(self, collection_id: int, prefix: str) -> list[tuple[bytes, bytes]]:
        """Return (key, value) of the records of the live chunk at *prefix*."""
        row = self._db.execute(
            "SELECT id, recent FROM chunk WHERE collection_id = ? AND staged = 0 AND prefix = ?",
            (collection_id, prefix),
        ).fetchone()
        if row is None:
            return []
        return [(key, value) for _, key, value in self._rows(collection_id, prefix, *row)]

    def chunk_records(self, chunk_id: int) -> dict[bytes, bytes] | None:
        """Return the records of a chunk's body as it was written; None when the chunk has been replaced."""
        row = self._db.execute("SELECT 1 FROM chunk WHERE id = ?", (chunk_id,)).fetchone()
        return None if row is None else self._body(chunk_id)

    def spine(self, collection_id: int, root: bytes) -> Spine:
        """Return the outline of a collection whose root is *root* now."""
        cached = self._spines.get(collection_id)
        if cached is not None and cached[0] == root:
            self._spines.move_to_end(collection_id)
            return cached[1]
        rows = self._db.execute(
            "SELECT prefix, id, count, size, hash, recent FROM chunk WHERE collection_id = ? AND staged = 0",
            (collection_id,),
        )
        spine = Spine({row[0]: ChunkRow(row[1], Summary(row[2], row[3], row[4]), row[5]) for row in rows})
        self._remember(collection_id, spine)
        return spine

    def summary(self, collection_id: int, root: bytes, prefix: str) -> Summary:
        """Return the summary of any subtree."""
        spine = self.spine(collection_id, root)
        found = spine.summary(prefix)
        if found is not None:
            return found
        return trie.summarise(self.entries(collection_id, root, prefix), len(prefix))

    def entries(self, collection_id: int, root: bytes, prefix: str) -> bytes:
        """Return the entries under *prefix*."""
        return self._read(collection_id, root, lambda spine: self._entries_under(spine, prefix))

    def packed_chunk(self, collection_id: int, root: bytes, prefix: str) -> bytes:
        """Return the records under *prefix* as a chunk to send; as it was received, where that will do."""
        return self._read(collection_id, root, lambda spine: self._packed_under(collection_id, spine, prefix))

    def _read(self, collection_id: int, root: bytes, look: Callable[[Spine], T]) -> T:
        """Look things up by the outline in memory, and once more by a fresh one where that has grown old.

        A price that goes up and down again brings back the same root over chunks that were written anew.
        """
        try:
            return look(self.spine(collection_id, root))
        except _WrittenAnewError:
            self._spines.pop(collection_id)
            return look(self.spine(collection_id, root))

    def _entries_under(self, spine: Spine, prefix: str) -> bytes:
        inside = [spine.chunks[found].chunk_id for found in spine.under(prefix)]
        if inside:
            return b"".join(self._entries(chunk_id) for chunk_id in inside)
        above = spine.chunks.get(spine.locate(prefix))
        if above is None:
            return b""
        return trie.under(self._entries(above.chunk_id), prefix)

    def _packed_under(self, collection_id: int, spine: Spine, prefix: str) -> bytes:
        row = spine.chunks.get(prefix)
        if row is not None and not row.recent:
            body = self._db.execute("SELECT body FROM chunk_body WHERE chunk_id = ?", (row.chunk_id,)).fetchone()
            if body is None:
                raise _WrittenAnewError
            return bytes(body[0])
        inside = spine.under(prefix) or [spine.locate(prefix)]
        rows = [
            one for found in inside if found in spine.chunks for one in self._chunk_rows(collection_id, spine, found)
        ]
        return chunks.write_chunk([(key, value) for key_hash, key, value in rows if key_hash.hex().startswith(prefix)])

    # ── changing ──────────────────────────────────────────────────────────────────────────────────

    def apply(self, collection_id: int, root: bytes, changes: Mapping[bytes, bytes | None]) -> tuple[Summary, Changed]:
        """Put and remove records; return the collection's new summary and what really changed."""
        changed = Changed()
        spine = self.spine(collection_id, root)
        groups: dict[str, list[Edit]] = {}
        for key_hash, key, value in sorted((_sha256(key).digest(), key, value) for key, value in changes.items()):
            groups.setdefault(spine.locate(key_hash.hex()), []).append((key_hash, key, value))
        dirty: set[str] = set()
        for prefix, group in groups.items():
            self._change_chunk(collection_id, spine, prefix, group, dirty, changed)
        return self._settle(collection_id, spine, dirty), changed

    def stage(self, collection_id: int, prefix: str, summary: Summary, entries: bytes, body: bytes) -> int:
        """Keep a verified subtree beside the live ones until the whole state is here; return its chunk id."""
        self._delete_staged(collection_id, prefix)
        return self._insert(collection_id, prefix, summary, entries, body, staged=1)

    def staged_summary(self, collection_id: int, prefix: str) -> Summary | None:
        """Return the summary of the staged subtree at exactly *prefix*."""
        row = self._db.execute(
            "SELECT count, size, hash FROM chunk WHERE collection_id = ? AND staged = 1 AND prefix = ?",
            (collection_id, prefix),
        ).fetchone()
        return None if row is None else Summary(*row)

    def unstage(self, collection_id: int) -> None:
        """Throw staged subtrees away."""
        self._delete_staged(collection_id, "")

    def commit_staged(self, collection_id: int, root: bytes) -> tuple[Summary, Changed]:
        """Put all staged subtrees in the place of the live ones; return the new summary and what changed."""
        spine = self.spine(collection_id, root)
        staged = self._db.execute(
            "SELECT id, prefix, count, size, hash FROM chunk WHERE collection_id = ? AND staged = 1 ORDER BY prefix",
            (collection_id,),
        ).fetchall()
        changed = Changed()
        dirty: set[str] = set()
        for chunk_id, prefix, count, size, digest in staged:
            self._uncover(collection_id, spine, prefix, dirty)
            before = self._take_away(collection_id, spine, prefix, dirty)
            if before:
                now = self._body(chunk_id) if count else {}
                changed.removed.extend(key for key in before if key not in now)
            if not count:
                self._delete(chunk_id)
                continue
            (changed.replaced_chunks if before else changed.fresh_chunks).append(chunk_id)
            self._db.execute("UPDATE chunk SET staged = 0 WHERE id = ?", (chunk_id,))
            spine.chunks[prefix] = ChunkRow(chunk_id, Summary(count, size, digest), 0)
            dirty.add(prefix)
        return self._settle(collection_id, spine, dirty), changed

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _change_chunk(
        self, collection_id: int, spine: Spine, prefix: str, group: list[Edit], dirty: set[str], changed: Changed
    ) -> None:
        row = spine.chunks.get(prefix)
        before = b"" if row is None else self._entries(row.chunk_id)
        group, edits = _really_new(before, group)
        if not group:
            return
        entries = trie.apply(before, edits)
        summary = trie.summarise(entries, len(prefix))
        dirty.add(prefix)
        recent = len(group) + (0 if row is None else row.recent)
        changed.removed.extend(key for _, key, value in group if value is None)
        by_chunk = len(group) > MOST_SINGLE_CHANGES
        if not by_chunk:
            changed.put.update({key: value for _, key, value in group if value is not None})
        if row is None or by_chunk or too_large(summary) or recent * 4 >= summary.count:
            rows = {one[0]: one for one in self._chunk_rows(collection_id, spine, prefix)}
            for key_hash, key, value in group:
                if value is None:
                    rows.pop(key_hash, None)
                else:
                    rows[key_hash] = (key_hash, key, value)
            self._remove_chunk(collection_id, spine, prefix)
            made = self._write(collection_id, spine, prefix, [rows[key_hash] for key_hash in sorted(rows)], dirty)
            if by_chunk:
                (changed.replaced_chunks if before else changed.fresh_chunks).extend(made)
            return
        self._db.executemany(
            "INSERT OR REPLACE INTO recent VALUES (?, ?, ?, ?)",
            [(collection_id, key_hash, key, value) for key_hash, key, value in group],
        )
        self._db.execute("UPDATE chunk_entries SET entries = ? WHERE chunk_id = ?", (entries, row.chunk_id))
        self._db.execute(
            "UPDATE chunk SET count = ?, size = ?, hash = ?, recent = ? WHERE id = ?",
            (summary.count, summary.size, summary.hash, recent, row.chunk_id),
        )
        spine.chunks[prefix] = ChunkRow(row.chunk_id, summary, recent)

    def _write(self, collection_id: int, spine: Spine, prefix: str, rows: list[Row], dirty: set[str]) -> list[int]:
        """Write rows, sorted by key hash, as one chunk or as many as it takes; return the chunks' ids."""
        if not rows:
            return []
        entries = b"".join(
            [
                key_hash + _sha256(value).digest() + (len(key) + len(value)).to_bytes(4, "big")
                for key_hash, key, value in rows
            ]
        )
        if len(rows) > CHUNK_ENTRIES or (len(rows) > LEAF_ENTRIES and trie.size(entries) > SPLIT_BYTES):
            # Only a mark that something is below, until `_settle` computes it.
            spine.inner[prefix] = EMPTY
            made: list[int] = []
            start = 0
            for nibble, part in zip(trie.HEX, trie.split(entries, len(prefix)), strict=True):
                end = start + trie.count(part)
                made.extend(self._write(collection_id, spine, prefix + nibble, rows[start:end], dirty))
                start = end
            return made
        summary = trie.summarise(entries, len(prefix))
        body = chunks.write_chunk([(key, value) for _, key, value in rows])
        chunk_id = self._insert(collection_id, prefix, summary, entries, body, staged=0)
        spine.chunks[prefix] = ChunkRow(chunk_id, summary, 0)
        dirty.add(prefix)
        return [chunk_id]

    def _settle(self, collection_id: int, spine: Spine, dirty: set[str]) -> Summary:
        """Bring the nodes above *dirty* chunks up to date, merging what has become too small."""
        for prefix in Spine.ancestors(dirty):
            if prefix in spine.chunks:
                continue  # merged with its neighbours on the way up
            children = spine.children(prefix)
            count, size = sum(one.count for one in children), sum(one.size for one in children)
            spine.inner.pop(prefix, None)
            if count <= MERGE_ENTRIES and size <= MERGE_BYTES:
                self._merge(collection_id, spine, prefix)
            else:
                spine.inner[prefix] = trie.join(children)
        self._remember(collection_id, spine)
        return spine.root

    def _merge(self, collection_id: int, spine: Spine, prefix: str) -> None:
        rows: list[Row] = []
        for nibble in trie.HEX:
            if prefix + nibble in spine.chunks:
                rows.extend(self._chunk_rows(collection_id, spine, prefix + nibble))
                self._remove_chunk(collection_id, spine, prefix + nibble)
        self._write(collection_id, spine, prefix, rows, set())

    def _uncover(self, collection_id: int, spine: Spine, prefix: str, dirty: set[str]) -> None:
        """Cut a live chunk that begins above *prefix* until none covers it."""
        above = spine.locate(prefix)
        while len(above) < len(prefix) and above in spine.chunks:
            rows = self._chunk_rows(collection_id, spine, above)
            self._remove_chunk(collection_id, spine, above)
            dirty.add(above)
            # Only a mark that something is below, until `_settle` computes it.
            spine.inner[above] = EMPTY
            for nibble in trie.HEX:
                below = above + nibble
                self._write(collection_id, spine, below, [one for one in rows if one[0].hex().startswith(below)], dirty)
            above = prefix[: len(above) + 1]

    def _take_away(self, collection_id: int, spine: Spine, prefix: str, dirty: set[str]) -> set[bytes]:
        """Remove the live chunks at or under *prefix*; return the keys of their records."""
        keys: set[bytes] = set()
        for found in [one for one in spine.under(prefix) if one in spine.chunks]:
            keys.update(key for _, key, _ in self._chunk_rows(collection_id, spine, found))
            self._remove_chunk(collection_id, spine, found)
            dirty.add(found)
        for inner in [one for one in spine.inner if one.startswith(prefix)] if keys else []:
            del spine.inner[inner]
        return keys

    def _chunk_rows(self, collection_id: int, spine: Spine, prefix: str) -> list[Row]:
        row = spine.chunks.get(prefix)
        if row is None:
            return []
        if self._db.execute("SELECT 1 FROM chunk WHERE id = ?", (row.chunk_id,)).fetchone() is None:
            raise _WrittenAnewError  # its body may still be in memory
        return self._rows(collection_id, prefix, row.chunk_id, row.recent)

    def _rows(self, collection_id: int, prefix: str, chunk_id: int, recent: int) -> list[Row]:
        """Return the rows of a chunk with its recent changes, in trie order."""
        body = self._body(chunk_id)
        rows: dict[bytes, Row] = {}
        for key, value in body.items():
            key_hash = _sha256(key).digest()
            rows[key_hash] = (key_hash, key, value)
        if recent:
            for key_hash, key, value in self._db.execute(
                "SELECT key_hash, key, value FROM recent WHERE collection_id = ? AND key_hash BETWEEN ? AND ?",
                (collection_id, *hash_range(prefix)),
            ):
                if value is None:
                    rows.pop(key_hash, None)
                else:
                    rows[key_hash] = (key_hash, key, value)
            return [rows[key_hash] for key_hash in sorted(rows)]
        return list(rows.values())

    def _remove_chunk(self, collection_id: int, spine: Spine, prefix: str) -> None:
        row = spine.chunks.pop(prefix, None)
        if row is None:
            return
        self._delete(row.chunk_id)
        if row.recent:
            self._db.execute(
                "DELETE FROM recent WHERE collection_id = ? AND key_hash BETWEEN ? AND ?",
                (collection_id, *hash_range(prefix)),
            )

    def _insert(
        self, collection_id: int, prefix: str, summary: Summary, entries: bytes, body: bytes, *, staged: int
    ) -> int:
        cursor = self._db.execute(
            "INSERT INTO chunk (collection_id, staged, prefix, count, size, hash) VALUES (?, ?, ?, ?, ?, ?)",
            (collection_id, staged, prefix, summary.count, summary.size, summary.hash),
        )
        chunk_id = cursor.lastrowid or 0
        self._db.execute("INSERT INTO chunk_entries VALUES (?, ?)", (chunk_id, entries))
        self._db.execute("INSERT INTO chunk_body VALUES (?, ?)", (chunk_id, body))
        return chunk_id

    def _delete(self, chunk_id: int) -> None:
        self._db.execute("DELETE FROM chunk WHERE id = ?", (chunk_id,))
        self._db.execute("DELETE FROM chunk_entries WHERE chunk_id = ?", (chunk_id,))
        self._db.execute("DELETE FROM chunk_body WHERE chunk_id = ?", (chunk_id,))

    def _delete_staged(self, collection_id: int, prefix: str) -> None:
        rows = self._db.execute(
            "SELECT id FROM chunk WHERE collection_id = ? AND staged = 1 AND prefix >= ? AND prefix < ?",
            (collection_id, prefix, prefix + "g"),
        ).fetchall()
        for (chunk_id,) in rows:
            self._delete(chunk_id)

    def _entries(self, chunk_id: int) -> bytes:
        row = self._db.execute("SELECT entries FROM chunk_entries WHERE chunk_id = ?", (chunk_id,)).fetchone()
        if row is None:
            raise _WrittenAnewError
        return bytes(row[0])

    def _body(self, chunk_id: int) -> dict[bytes, bytes]:
        cached = self._bodies.get(chunk_id)
        if cached is not None:
            return cached
        row = self._db.execute("SELECT body FROM chunk_body WHERE chunk_id = ?", (chunk_id,)).fetchone()
        if row is None or not row[0]:
            return {}
        raw = inflate(row[0], 2 * MAX_CHUNK_BYTES)
        flat = unpack(raw)
        body = dict(zip(flat[::2], flat[1::2], strict=True))
        self._bodies.put(chunk_id, body, 2 * len(raw))
        return body

    def _remember(self, collection_id: int, spine: Spine) -> None:
        self._spines[collection_id] = (spine.root.hash, spine)
        self._spines.move_to_end(collection_id)
        if len(self._spines) > CACHED_SPINES:
            self._spines.popitem(last=False)


def _really_new(before: bytes, group: list[Edit]) -> tuple[list[Edit], dict[bytes, bytes | None]]:
    """Leave out what is so already; return the rest, and the same as changes of entries."""
    edits: dict[bytes, bytes | None] = {}
    kept = []
    for edit in group:
        key_hash, key, value = edit
        found = trie.find(before, key_hash)
        entry = None
        if value is not None:
            entry = key_hash + _sha256(value).digest() + (len(key) + len(value)).to_bytes(4, "big")
        if found != entry:
            kept.append(edit)
            edits[key_hash] = entry
    return kept, edits


def too_large(summary: Summary) -> bool:
    """Whether a chunk with this summary must be cut."""
    return summary.count > CHUNK_ENTRIES or (summary.count > LEAF_ENTRIES and summary.size > SPLIT_BYTES)


def hash_range(prefix: str) -> tuple[bytes, bytes]:
    """Return the lowest and the highest key hash under *prefix*."""
    return bytes.fromhex(prefix.ljust(64, "0")), bytes.fromhex(prefix.ljust(64, "f"))
