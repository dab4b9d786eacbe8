"""Fetching the bodies behind heads: one task a stream, a few at a time, from whichever peer offers them.

Never judges: `protocol.pull` traces every chunk to the signed root, the store keeps it. What has been
fetched stays when a link breaks; the next peer goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from coopnode.gossip import parts
from coopnode.gossip.keeping import in_step, wants_of
from coopnode.gossip.link import Link, NoAnswer
from coopnode.scope import Scope
from coopnode.store import Tables
from coopnode.store.catalogue import Held
from coopnode.store.tries import Changed
from protocol import chunks, pull
from protocol import head as heads
from protocol.chunks import Chunk, OpsSummary
from protocol.encoding import decode, encode, inflate
from protocol.errors import Reason, Refused
from protocol.head import Head, Stream
from protocol.limits import MAX_OPS_BYTES
from protocol.messages import Nodes, Ops, WalkTrie
from protocol.pull import Walk
from protocol.records import LISTING
from protocol.scope import everything
from protocol.trie import Summary

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
STREAMS_AT_ONCE = 4
TRIES = 12
MOVES = 5
RETRY_SECONDS = 0.25


class Home(Protocol):
    """What the puller needs of the node that it belongs to."""

    @property
    def scope(self) -> Scope:
        """What is kept here."""

    async def write(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in the writer's transaction."""

    async def pulled(self, result: Pulled) -> None:
        """Follow up on a state that has become ours."""

    def begin_ahead(self, stream: Stream) -> None:
        """A walk of a stream of which nothing is here begins."""

    async def stage(self, stream: Stream, function: Callable[[Tables], list[Staged]]) -> None:
        """Run in the writer's transaction; listings among what comes out may be indexed ahead."""

    async def hear(self, data: bytes, link: Link) -> Head | None:
        """Take a head that came as part of an answer; return it when it holds."""

    def links_to_ask(self, author: bytes, offering: list[Link]) -> list[Link]:
        """Return open links: the author's own, then those that offer, then the others."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A state that has become ours."""

    stream: Stream
    changed: dict[str, Changed]
    change_seq: int


@dataclass(frozen=True, slots=True)
class Staged:
    """A verified chunk of listings that waits for the rest of its state."""

    chunk_id: int
    chunk: Chunk


@dataclass(slots=True)
class Wanted:
    """A stream that somebody offers more of."""

    head: Head
    links: list[Link] = field(default_factory=list)


class NotThere(Exception):
    """The peer does not hold this stream (yet)."""


class Moved(Exception):
    """The peer's state has moved on while we walked it."""

    def __init__(self, head: bytes) -> None:
        super().__init__("the peer holds a later state now")
        self.head = head


class Puller:
    """All pulling of one node."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._wanted: dict[Stream, Wanted] = {}
        self._tasks: dict[Stream, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(STREAMS_AT_ONCE)
        self.walks: dict[Stream, Walk] = {}
        """Walks under way, for progress."""

    def want(self, head: Head, link: Link | None) -> None:
        """Somebody has *head*: bring here what is kept of its state."""
        if not self._home.scope.pulls(head.stream.member_id):
            return
        wanted = self._wanted.setdefault(head.stream, Wanted(head))
        if head.version >= wanted.head.version:
            wanted.head = head
        if link is not None and link not in wanted.links:
            wanted.links.append(link)
        if head.stream not in self._tasks:
            self._begin(head.stream)

    @property
    def busy(self) -> int:
        """How many streams are being fetched or wait for it."""
        return len(self._tasks)

    async def stop(self) -> None:
        """End all tasks; what has been staged stays."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ── one stream ────────────────────────────────────────────────────────────────────────────────

    def _begin(self, stream: Stream) -> None:
        task = asyncio.create_task(self._bring(stream), name=f"pull {stream.member_id.hex()[:8]}")
        self._tasks[stream] = task
        task.add_done_callback(lambda done: self._finished(stream, done))

    def _finished(self, stream: Stream, done: asyncio.Task[None]) -> None:
        self._tasks.pop(stream, None)
        self.walks.pop(stream, None)
        if stream in self._wanted and not done.cancelled():
            self._begin(stream)  # wanted again in the moment between its end and this

    async def _bring(self, stream: Stream) -> None:
        async with self._slots:
            failures = 0
            while failures < TRIES:
                wanted = self._wanted[stream]
                links = self._home.links_to_ask(stream.member_id, [one for one in wanted.links if one.is_open])
                if not links:
                    break
                link, target = links[failures % len(links)], wanted.head
                try:
                    if await self._bring_from(target, link):
                        if wanted.head is target:
                            break
                        continue  # a later head came meanwhile
                except (NoAnswer, NotThere) as error:
                    log.debug("%r could not give a catalogue: %s", link, error)
                except Refused as refused:
                    log.warning("%r gave an answer that was refused: %s", link, refused)
                    link.close(refused.reason, refused.detail)
                failures += 1
                # Whoever passed a head on may still be fetching its body: ask the next, then wait a little.
                await asyncio.sleep(RETRY_SECONDS * (failures // len(links)))
            self._wanted.pop(stream, None)

    async def _bring_from(self, head: Head, link: Link) -> bool:
        """Bring a stream to *head*, or to the later one that the peer has; whether that was reached."""
        held, done, whole = await self._home.write(_look, head, self._home.scope)
        current = None if held.head is None or held.desync is not None else heads.read(held.head)
        if current is not None:
            if current.version > head.version or done:
                return True
            if _may_bridge(current, head):
                by_ops = self._by_ops if whole else self._by_ops_of_a_part
                if await by_ops(head, current, link):
                    return True
        for _ in range(MOVES):
            try:
                if not await self._by_walk(head, link):
                    return False
                # The profile may only now say where its member lies.
                if await self._home.write(in_step, self._home.scope, head):
                    return True
            except Moved as moved:
                later = await self._home.hear(moved.head, link)
                if later is None or later.version <= head.version:
                    return False
                head = later
        return False

    async def _by_ops(self, head: Head, current: Head, link: Link) -> bool:
        answer = await link.ask(pull.get_ops(head, current.version.rev), Ops)
        if answer.head is None:
            raise NotThere("nothing is there of this stream")
        if not answer.segments:
            return False
        theirs = await self._home.hear(answer.head, link)
        if theirs is None or theirs.stream != head.stream or theirs.version < head.version:
            return False
        segments: Segments = [(rev, bodies) for rev, bodies in answer.segments]
        try:
            await self._home.pulled(await self._home.write(_apply_ops, theirs, current, segments))
        except Refused as refused:
            if refused.reason is not Reason.ROOT_MISMATCH:
                raise
            if _is_signed(theirs, current, segments):
                # The author's own operations do not lead to its own root: its fault, not the peer's.
                await self._home.write(_set_desync, theirs.stream)
            log.warning("operations did not lead to the signed root: walking the trie")
            return False
        return True

    async def _by_ops_of_a_part(self, head: Head, current: Head, link: Link) -> bool:
        advanced = await parts.advance(self._home, current, head, link)
        if advanced is None:
            return False
        await self._home.pulled(Pulled(head.stream, *advanced))
        return await self._home.write(in_step, self._home.scope, head)

    async def _by_walk(self, head: Head, link: Link) -> bool:
        walk, cold = await self._home.write(_begin_walk, head, self._home.scope)
        if cold:
            self._home.begin_ahead(head.stream)
        self.walks[head.stream] = walk
        under_way: set[asyncio.Task[tuple[WalkTrie, Nodes]]] = set()
        try:
            while not walk.done:
                for question in walk.questions():
                    under_way.add(asyncio.create_task(_ask(link, question)))
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    question, answer = task.result()
                    if answer.head is not None:
                        raise Moved(answer.head)
                    if not answer.items and not answer.state:
                        raise NotThere("nothing is there of this stream")
                    await self._home.stage(head.stream, partial(_stage, walk=walk, question=question, answer=answer))
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        try:
            await self._home.pulled(await self._home.write(_commit_walk, walk))
        except Refused:
            # Leftovers of an older walk were in the way: the next one begins clean.
            await self._home.write(_unstage, head.stream)
            return False
        return True


async def _ask(link: Link, question: WalkTrie) -> tuple[WalkTrie, Nodes]:
    return question, await link.ask(question, Nodes)


# ── in the writer's transaction ───────────────────────────────────────────────────────────────────


Segments = list[tuple[int, list[list[object]]]]
"""[(rev, [[collection, deflated body], ...]), ...]"""


def _unstage(tables: Tables, stream: Stream) -> None:
    tables.catalogue.unstage(tables.catalogue.open_stream(stream))


def _set_desync(tables: Tables, stream: Stream) -> None:
    held = tables.catalogue.open_stream(stream)
    tables.catalogue.set_desync(held, "the author's operations do not lead to its signed root")


def _look(tables: Tables, head: Head, scope: Scope) -> tuple[Held, bool, bool]:
    """Return what we hold of a stream, whether that is all we want of *head*, and whether both are whole."""
    held = tables.catalogue.open_stream(head.stream)
    whole = not held.elsewhere and wants_of(tables, scope, head) is everything
    return held, in_step(tables, scope, head), whole


def _may_bridge(current: Head, head: Head) -> bool:
    """Whether operations may lead from one to the other."""
    return current.version < head.version and current.version.epoch == head.version.epoch


def _begin_walk(tables: Tables, head: Head, scope: Scope) -> tuple[Walk, bool]:
    """Begin a walk from what we hold of the stream now; say whether there are no listings among it."""
    held = tables.catalogue.open_stream(head.stream)

    def summary_of(collection: str, prefix: str) -> Summary:
        return tables.catalogue.staged_or_held(held, collection, prefix)

    walk = Walk(head, held.summaries, summary_of, wants_of(tables, scope, head))
    return walk, LISTING not in held.summaries


def _stage(tables: Tables, walk: Walk, question: WalkTrie, answer: Nodes) -> list[Staged]:
    changes = walk.receive(question, answer)
    held = tables.catalogue.open_stream(walk.head.stream)
    staged = []
    for change in changes:
        chunk_id = tables.catalogue.stage(held, change)
        if change.collection == LISTING and change.chunk is not None:
            staged.append(Staged(chunk_id, change.chunk))
    return staged


def _commit_walk(tables: Tables, walk: Walk) -> Pulled:
    held = tables.catalogue.open_stream(walk.head.stream)
    held, changed = tables.catalogue.commit_staged(held, walk.elsewhere)
    if walk.elsewhere:
        tables.catalogue.drop_ops(held)
    if held.root != walk.head.state_root:
        raise Refused(Reason.ROOT_MISMATCH, "what was fetched does not add up to the signed root")
    return Pulled(held.stream, changed, tables.catalogue.set_head(held, walk.head.signed.to_bytes()))


def _apply_ops(tables: Tables, head: Head, current: Head, segments: Segments) -> Pulled:
    held = tables.catalogue.open_stream(head.stream)
    if held.head != current.signed.to_bytes():
        raise Refused(Reason.ROOT_MISMATCH, "the state has changed meanwhile")
    changed: dict[str, Changed] = {}
    since_rev = current.version.rev
    for rev, packed in segments:
        bodies = _inflated(packed)
        ops = chunks.read_ops(bodies)
        if (since_rev, rev) == (head.since_rev, head.version.rev) and chunks.summarise_ops(bodies) != _promised(head):
            raise Refused(Reason.OPS_MISMATCH, "the operations are not those that the author signed")
        held, now_changed = tables.catalogue.apply(held, ops)
        for name, one in now_changed.items():
            changed.setdefault(name, Changed()).add(one)
        tables.catalogue.keep_ops(held, head.version.epoch, since_rev, rev, encode([list(pair) for pair in packed]))
        since_rev = rev
    if held.root != head.state_root:
        raise Refused(Reason.ROOT_MISMATCH, "the operations do not lead to the signed root")
    return Pulled(head.stream, changed, tables.catalogue.set_head(held, head.signed.to_bytes()))


def _inflated(packed: list[list[object]]) -> dict[str, bytes]:
    """Unpack the bodies of one segment; their shape has been checked with the message."""
    return {str(name): inflate(bytes(body), MAX_OPS_BYTES) for name, body in packed if isinstance(body, bytes)}


def _promised(head: Head) -> OpsSummary:
    return OpsSummary(head.ops_root, head.ops_count, head.ops_bytes)


def _is_signed(head: Head, current: Head, segments: Segments) -> bool:
    """Whether the operations that failed are exactly those that the author signed to follow *current*."""
    if len(segments) != 1 or head.since_rev != current.version.rev:
        return False
    return chunks.summarise_ops(_inflated(segments[0][1])) == _promised(head)


def stored_segment(rev: int, bodies: bytes) -> list[object]:
    """Return kept operations in the form in which they travel."""
    return [rev, decode(bodies, 2 * MAX_OPS_BYTES)]
