"""Keeps the search index in step with the store.

Never holds up a transaction: what changed is fed after the commit, and a crash in between is found at the
next start, where every stream that changed after the index's mark is indexed anew.
Listings that are being replicated are fed *ahead*, chunk by chunk, while the rest is still on its way: a
search looks every hit up in the store, so what never becomes part of a state is never shown.
The thing to understand: all Python work of indexing runs on the writer's thread. The engine lets go of the
interpreter lock for every document, so a second busy Python thread would wait for it a hundred thousand
times; its own Rust threads use the other core.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from coopnode.catalog.index import Found, SearchIndex
from coopnode.store import Store, Tables
from coopnode.store.tries import Changed
from protocol.chunks import Chunk
from protocol.encoding import unpack
from protocol.errors import Refused
from protocol.head import Stream
from protocol.limits import STREAM_PUBLIC
from protocol.records import LISTING

log = logging.getLogger(__name__)

COMMIT_SECONDS = 0.05
"""How long changes wait for others before they become searchable: one commit takes some 20 ms."""
COMMIT_SHARE = 0.25
"""Of its time the writer's thread commits the index for at most so much; on a slow disk more changes share a commit."""
SETTLE_SECONDS = (5.0, 30.0)
"""When, after the last commit, to look for what the engine has merged in the background: until then searches hold the
old files open, as memory and as disk. The last of these also bounds how far the mark on the disk may lie behind."""
Rows = Iterable[tuple[bytes, bytes]]
OnWriter = Callable[..., Awaitable[Any]]
"""Runs a function on the writer's thread, after what was handed to it before."""


class Follower:
    """The index and its mark. Jobs run on the writer's thread in the order in which they are handed over."""

    def __init__(self, path: Path, store: Store) -> None:
        self._store = store
        self.index = SearchIndex(path)
        self.refused = 0
        """Listings that are no listings at all: not indexed."""
        self._fed: dict[Stream, set[int]] = {}
        self._walks: dict[Stream, int] = {}
        self._seq = self._done = self.index.mark
        self._commit_seconds = 0.0
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._jobs: set[asyncio.Future[None]] = set()
        self._on_writer: OnWriter | None = None

    # ── from the event loop ───────────────────────────────────────────────────────────────────────

    async def start(self, on_writer: OnWriter) -> None:
        """Catch up with what changed while nobody followed, then follow, in the background."""
        self._on_writer = on_writer
        self._task = asyncio.create_task(self._run(), name="index")

    async def stop(self) -> None:
        """Finish what waits and close the index."""
        await asyncio.gather(*self._jobs, return_exceptions=True)
        if self._task is not None and self._on_writer is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._on_writer(self._commit)
            # On the writer's thread too: a commit that was under way when its task ended still holds the engine.
            await self._on_writer(self.index.close)
        else:
            self.index.close()

    def feed(self, stream: Stream, changed: Mapping[str, Changed], seq: int) -> None:
        """Follow a committed change of a stream's state."""
        self._later(self._change, stream, changed.get(LISTING, Changed()), seq)

    def begin_ahead(self, stream: Stream) -> None:
        """A walk of *stream*, of which nothing was here before, begins."""
        self._walks[stream] = self._walks.get(stream, 0) + 1

    @property
    def done_seq(self) -> int:
        """Return the number of the latest change that can be searched."""
        return self._done

    def search(self, text: str, limit: int, offset: int) -> Found:
        """Search; callable from any thread."""
        return self.index.search(text, limit, offset)

    async def _run(self) -> None:
        assert self._on_writer is not None
        try:
            await self.catch_up()
            while True:
                await self._rest()
                await asyncio.sleep(min(max(COMMIT_SECONDS, self._commit_seconds * (1 / COMMIT_SHARE - 1)), 2.0))
                began = asyncio.get_running_loop().time()
                await self._on_writer(self._commit)
                self._commit_seconds = asyncio.get_running_loop().time() - began
        except Exception:
            log.exception("the search index stopped; it will be brought up to date at the next start")

    async def _rest(self) -> None:
        """Wait for changes of listings; refresh the index, or write down its mark, while there are none."""
        assert self._on_writer is not None
        for seconds in chain(SETTLE_SECONDS, repeat(SETTLE_SECONDS[-1])):
            try:
                # Not wait_for: before Python 3.12 that swallows a cancellation which comes together with a change.
                async with asyncio.timeout(seconds):
                    await self._dirty.wait()
                return
            except TimeoutError:
                await self._on_writer(self._settle)

    def _later(self, job: Callable[..., None], *args: object) -> None:
        assert self._on_writer is not None
        future: asyncio.Future[None] = asyncio.ensure_future(self._on_writer(job, *args))
        self._jobs.add(future)
        future.add_done_callback(self._job_done)

    def _job_done(self, future: asyncio.Future[None]) -> None:
        self._jobs.discard(future)
        if not future.cancelled() and future.exception() is not None:
            log.error("a change could not be indexed: %r", future.exception())

    async def catch_up(self) -> None:
        """Index anew every stream that has changed since the index's mark, a chunk at a time."""
        assert self._on_writer is not None
        behind = await self._on_writer(self._store.read, _changed_since, self.index.mark)
        for stream, seq in behind:
            for job in self.rebuilding(stream):
                await self._on_writer(job)
            self._seq = max(self._seq, seq)
        if behind:
            await self._on_writer(self._commit)

    # ── on the writer's thread ────────────────────────────────────────────────────────────────────

    def catch_up_now(self) -> None:
        """Do the same at once: for commands that work on the data folder without a node."""
        for stream, seq in self._store.read(_changed_since, self.index.mark):
            for job in self.rebuilding(stream):
                job()
            self._seq = max(self._seq, seq)
        self._commit()

    def put_ahead(self, stream: Stream, chunks: Iterable[tuple[int, Chunk]]) -> None:
        """Index listings that have been verified but are not yet part of a state: (chunk id, chunk)."""
        if stream.number != STREAM_PUBLIC or stream not in self._walks:
            return
        for chunk_id, chunk in chunks:
            # A second walk may bring again what the first has fed: then the old ones are replaced.
            self._put(stream, zip(chunk.keys, chunk.values, strict=True), fresh=self._walks[stream] == 1)
            self._fed.setdefault(stream, set()).add(chunk_id)

    def rebuilding(self, stream: Stream) -> Iterable[Callable[[], None]]:
        """Return the jobs that index all listings of a stream anew."""
        if stream.number != STREAM_PUBLIC:
            return
        yield lambda: self.index.remove_member(stream.member_id)
        for prefix in self._store.read(_prefixes, stream):
            yield lambda prefix=prefix: self._put(  # type: ignore[misc]
                stream, self._store.read(_rows_under, stream, prefix), fresh=True
            )

    def _change(self, stream: Stream, changed: Changed, seq: int) -> None:
        idle = self._done == self._seq
        fed: set[int] = set()
        if stream.number == STREAM_PUBLIC:
            fed = self._fed.pop(stream, set())
            self._walks.pop(stream, None)
            if changed.removed:
                self.index.remove(stream.member_id, changed.removed)
            unfed = [one for one in (*changed.fresh_chunks, *changed.replaced_chunks) if one not in fed]
            if not changed.gone and self._put_chunks(stream, unfed, fresh=not fed and not changed.replaced_chunks):
                self._put(stream, changed.put.items(), fresh=False)
            else:
                for job in self.rebuilding(stream):
                    job()
        self._seq = max(self._seq, seq)
        if idle and not (fed or changed.fresh_chunks or changed.replaced_chunks or changed.put or changed.removed):
            # New quantities, which nobody searches for: a commit for the mark alone would hold up the writer.
            self._done = self._seq
        else:
            self._dirty.set()

    def _put_chunks(self, stream: Stream, chunk_ids: Iterable[int], *, fresh: bool) -> bool:
        """Index the records of chunks; whether all of them were still there."""
        for chunk_id in chunk_ids:
            rows = self._store.read(_chunk_records, chunk_id)
            if rows is None:
                return False
            self._put(stream, rows.items(), fresh=fresh)
        return True

    def _put(self, stream: Stream, rows: Rows, *, fresh: bool) -> None:
        # Unpacked, not checked field by field: a listing that breaks a rule may be found, but is never
        # shown (`Shelf.listing` checks it), and a million listings are not checked twice.
        listings = []
        for key, value in rows:
            try:
                listings.append((key, unpack(value)))
            except Refused:
                self.refused += 1
        self.refused += self.index.put(stream.member_id, listings, fresh=fresh)

    def _commit(self) -> None:
        self._dirty.clear()
        if self._seq > self.index.mark:
            self.index.commit(self._seq)
        self._done = self._seq

    def _settle(self) -> None:
        if self._done == self._seq > self.index.mark:
            self._commit()
        else:
            self.index.refresh()


def _changed_since(tables: Tables, seq: int) -> list[tuple[Stream, int]]:
    return tables.catalogue.changed_since(seq)


def _prefixes(tables: Tables, stream: Stream) -> list[str]:
    held = tables.catalogue.held(stream)
    return [] if held is None or held.head is None else tables.catalogue.chunk_prefixes(stream, LISTING)


def _rows_under(tables: Tables, stream: Stream, prefix: str) -> list[tuple[bytes, bytes]]:
    return tables.catalogue.records_under(stream, LISTING, prefix)


def _chunk_records(tables: Tables, chunk_id: int) -> dict[bytes, bytes] | None:
    return tables.catalogue.chunk_records(chunk_id)
