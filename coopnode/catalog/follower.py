"""Keeps the search index in step with the store, on a thread of its own.

Never holds up a transaction: what changed is fed after the commit, and a crash in between is found at the
next start, where every stream that changed after the index's mark is indexed anew.
Listings that are being replicated may be fed *ahead*, chunk by chunk, while the rest is still on its way:
a search looks every hit up in the store, so what never becomes part of a state is never shown.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from coopnode.catalog.index import Found, SearchIndex
from coopnode.store import Store, Tables
from coopnode.store.tries import Changed
from protocol import records
from protocol.errors import Refused
from protocol.head import Stream
from protocol.limits import STREAM_PUBLIC
from protocol.records import LISTING

log = logging.getLogger(__name__)

MAX_QUEUED = 64
"""Jobs that may wait; whoever feeds ahead waits then, so that memory stays flat."""
COMMIT_SECONDS = 1.0
"""How long changes may wait for a commit while more keep coming."""
REBUILD_RECORDS = 2_000


@dataclass(frozen=True, slots=True)
class _Ahead:
    stream: Stream
    chunk_ids: tuple[int, ...]
    fresh: bool


@dataclass(frozen=True, slots=True)
class _Change:
    stream: Stream
    changed: Changed
    seq: int


class Follower:
    """The index and the thread that feeds it."""

    def __init__(self, path: Path, store: Store) -> None:
        self._store = store
        self._path = path
        self.index = SearchIndex(path)
        self.refused = 0
        """Listings that break a rule of their author's making: not shown."""
        self._jobs: queue.Queue[_Ahead | _Change | None] = queue.Queue()
        self._fed: dict[Stream, set[int]] = {}
        self._walks: dict[Stream, int] = {}
        self._thread: threading.Thread | None = None
        self._room = threading.Condition()
        self._done_seq = 0

    # ── from the event loop ───────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Catch up with what changed while nobody followed, in the background."""
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Finish what waits and close the index."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
        self.index.close()

    def feed(self, stream: Stream, changed: Mapping[str, Changed], seq: int) -> None:
        """Follow a committed change of a stream's state."""
        self._jobs.put(_Change(stream, changed.get(LISTING, Changed()), seq))

    def begin_ahead(self, stream: Stream) -> None:
        """A walk of *stream*, of which nothing was here before, begins."""
        self._walks[stream] = self._walks.get(stream, 0) + 1

    async def feed_ahead(self, stream: Stream, chunk_ids: Iterable[int]) -> None:
        """Index listings that have been verified but are not yet part of a state; waits when too much waits."""
        if stream.number != STREAM_PUBLIC or stream not in self._walks:
            return
        ids = tuple(chunk_ids)
        if ids:
            # A second walk may bring again what the first has fed: then the old ones are replaced.
            self._jobs.put(_Ahead(stream, ids, fresh=self._walks[stream] == 1))
        if self._jobs.qsize() > MAX_QUEUED:
            await asyncio.to_thread(self._wait_for_room)

    def _wait_for_room(self) -> None:
        with self._room:
            self._room.wait_for(lambda: self._jobs.qsize() <= MAX_QUEUED // 2, timeout=60)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._jobs.qsize()

    @property
    def done_seq(self) -> int:
        """Return the number of the latest change that can be searched."""
        return self._done_seq

    def search(self, text: str, limit: int, offset: int) -> Found:
        """Search; callable from any thread."""
        return self.index.search(text, limit, offset)

    # ── on the indexer's thread ───────────────────────────────────────────────────────────────────

    def catch_up(self) -> None:
        """Index anew every stream that has changed since the index's mark."""
        behind = self._store.read(lambda tables: tables.catalogue.changed_since(self.index.mark))
        for stream in behind:
            self._rebuild(stream)
        last = self._store.read(lambda tables: tables.catalogue.last_change())
        if behind:
            self.index.commit(last)
        self._done_seq = last

    def _run(self) -> None:
        try:
            self.catch_up()
            last_commit, seq = time.monotonic(), self._done_seq
            dirty = False
            while True:
                job = self._jobs.get()
                with self._room:
                    self._room.notify_all()
                if job is None:
                    break
                if isinstance(job, _Ahead):
                    self._put_chunks(job.stream, job.chunk_ids, fresh=job.fresh)
                    self._fed.setdefault(job.stream, set()).update(job.chunk_ids)
                else:
                    self._change(job)
                    seq, dirty = max(seq, job.seq), True
                now = time.monotonic()
                if dirty and (self._jobs.empty() or now - last_commit > COMMIT_SECONDS):
                    self.index.commit(seq)
                    self._done_seq, last_commit, dirty = seq, time.monotonic(), False
            if dirty:
                self.index.commit(seq)
        except Exception:
            log.exception("the search index stopped; it will be brought up to date at the next start")

    def _change(self, job: _Change) -> None:
        stream, changed = job.stream, job.changed
        if stream.number != STREAM_PUBLIC:
            return
        fed = self._fed.pop(stream, set())
        self._walks.pop(stream, None)
        if changed.removed:
            self.index.remove(stream.member_id, changed.removed)
        unfed = [one for one in (*changed.fresh_chunks, *changed.replaced_chunks) if one not in fed]
        if not self._put_chunks(stream, unfed, fresh=not fed and not changed.replaced_chunks):
            self._rebuild(stream)
            return
        self._put(stream, changed.put.items(), fresh=False)

    def _put_chunks(self, stream: Stream, chunk_ids: Iterable[int], *, fresh: bool) -> bool:
        """Index the records of chunks; whether all of them were still there."""
        for chunk_id in chunk_ids:
            rows = self._store.read(_chunk_records, chunk_id)
            if rows is None:
                return False
            self._put(stream, rows.items(), fresh=fresh)
        return True

    def _put(self, stream: Stream, rows: Iterable[tuple[bytes, bytes]], *, fresh: bool) -> None:
        listings = []
        for key, value in rows:
            try:
                listings.append((key, records.read(LISTING, key, value)))
            except Refused:
                self.refused += 1
        if listings:
            self.index.put(stream.member_id, listings, fresh=fresh)

    def _rebuild(self, stream: Stream) -> None:
        """Index all listings of a stream anew."""
        if stream.number != STREAM_PUBLIC:
            return
        self.index.remove_member(stream.member_id)
        self._store.read(self._put_all, stream)

    def _put_all(self, tables: Tables, stream: Stream) -> None:
        held = tables.catalogue.held(stream)
        if held is None or held.head is None:
            return
        batch: list[tuple[bytes, bytes]] = []
        for row in tables.catalogue.records(stream, LISTING):
            batch.append(row)
            if len(batch) >= REBUILD_RECORDS:
                self._put(stream, batch, fresh=True)
                batch = []
        self._put(stream, batch, fresh=True)


def _chunk_records(tables: Tables, chunk_id: int) -> dict[bytes, bytes] | None:
    return tables.catalogue.chunk_records(chunk_id)
