"""Fetching the bodies behind heads: one task a stream, a few at a time, from whichever peers offer them.

Never judges: `protocol.pull` traces every chunk to the signed root, the store keeps it. What has been
fetched stays when a link breaks; the next peers go on from there. A peer that has nothing, is busy or does not
answer costs its own turn: others are asked at once, and it is left alone for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from coopnode.core import Core
from coopnode.gossip import walker
from coopnode.gossip.link import Link, NoAnswer
from coopnode.gossip.progress import Fetching
from coopnode.gossip.walker import Pulled, Walking
from coopnode.ingest import head_slot
from coopnode.store import Tables
from coopnode.store.catalogue import Held
from coopnode.store.tries import Changed
from protocol import chunks, pull
from protocol import head as heads
from protocol.chunks import OpsSummary
from protocol.encoding import decode, encode, inflate
from protocol.errors import Reason, Refused
from protocol.head import Head, Stream
from protocol.items import ItemKind
from protocol.limits import MAX_OPS_BYTES, MIB
from protocol.messages import Ops

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
STREAMS_AT_ONCE = 4
ROUNDS = 8
FIRST_WAIT_MS = 250
LONGEST_WAIT_MS = 60_000
OTHER_SECONDS = 1.0
"""Who has not given the operations by then is not waited for alone: the next peer is asked too."""
MAX_OPS_UNPACKED = 16 * MIB
"""What is unpacked of one answer of operations; beyond, walking is cheaper, and nobody fills the memory."""
BIG_RECORDS = 1_000
"""A catalogue of so many records is worth a line in the log."""


class Home(walker.Home, Protocol):
    """What the puller needs of the node that it belongs to."""

    @property
    def core(self) -> Core:
        """The node's rules and store, with its clock and chance."""

    async def read(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on a reader thread."""

    def may_fetch(self, head: Head) -> bool:
        """Whether the body of *head* may be fetched now: its author's quota allows it."""

    def links_to_ask(self, author: bytes, offering: list[Link]) -> list[Link]:
        """Return open links in the order in which they should be asked."""


@dataclass(slots=True)
class Wanted:
    """A stream that somebody offers more of."""

    head: Head
    links: list[Link] = field(default_factory=list)
    fresh: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is a later head, or somebody else offers it: no need to wait any longer."""


class TooMuch(Exception):
    """The operations of one answer unpack to more than is taken at once."""


class Way(Enum):
    """What an answer to the question for operations leads to."""

    THERE = auto()
    WALK = auto()
    BEHIND = auto()
    """The peer seems not to hold this state yet: others are asked first."""
    NOTHING = auto()


class Puller:
    """All pulling of one node."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._wanted: dict[Stream, Wanted] = {}
        self._tasks: dict[Stream, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(STREAMS_AT_ONCE)
        self._in_line = 0
        self.walks: dict[Stream, Walking] = {}
        """Walks under way."""
        self.records_in = 0
        self.bytes_in = 0
        """What the walks that have ended have brought, since the start of the node."""

    def want(self, head: Head, link: Link | None) -> None:
        """Somebody has *head*: bring its state here, if its author's quota allows that now."""
        if not self._home.may_fetch(head):
            return
        wanted = self._wanted.setdefault(head.stream, Wanted(head))
        if head.version > wanted.head.version:
            wanted.head = head
            wanted.fresh.set()
        if link is not None and link not in wanted.links:
            wanted.links = [*(one for one in wanted.links if one.is_open), link]
            wanted.fresh.set()
        if head.stream not in self._tasks:
            self._begin(head.stream)

    @property
    def busy(self) -> int:
        """How many streams are being fetched or wait for it."""
        return len(self._tasks)

    async def progress(self) -> list[Fetching]:
        """Say how far each wanted stream is, the walks under way first; of the others, what they seem to lack."""
        walking = {stream: one for stream, walk in self.walks.items() if (one := walk.progress) is not None}
        others = [wanted.head for stream, wanted in self._wanted.items() if stream not in walking]
        counts = await self._home.read(_counts, [head.stream for head in others])
        waiting = [
            Fetching(head.stream, head.record_count, max(0, head.record_count - count), 0, 0, 0, 0.0, under_way=False)
            for head, count in zip(others, counts, strict=True)
        ]
        return [*walking.values(), *waiting]

    @property
    def brought(self) -> tuple[int, int]:
        """How many records and bytes have been fetched since the start of the node."""
        walks = self.walks.values()
        return (
            self.records_in + sum(one.records_in for one in walks),
            self.bytes_in + sum(one.bytes_in for one in walks),
        )

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
        if done.cancelled():
            return
        if done.exception() is not None:
            log.error("a catalogue could not be fetched: %r", done.exception())
            self._wanted.pop(stream, None)
        elif stream in self._wanted:
            self._begin(stream)  # wanted again in the moment between its end and this

    async def _bring(self, stream: Stream) -> None:
        """Try in rounds, each with all peers that can be asked, and wait ever longer between them."""
        wanted = self._wanted[stream]
        rounds = 0
        while rounds < ROUNDS:
            wanted.fresh.clear()
            links = self._home.links_to_ask(stream.member_id, [one for one in wanted.links if one.is_open])
            if not links:
                break
            target = wanted.head
            there, retry_ms, some_came = await self._bring_in_turn(target, links)
            if wanted.head is not target:
                continue  # a later head has come meanwhile
            if there:
                break
            rounds = 0 if some_came else rounds + 1
            await self._rest(wanted, rounds, retry_ms)
        self._wanted.pop(stream, None)

    async def _bring_in_turn(self, target: Head, links: list[Link]) -> tuple[bool, int, bool]:
        """Bring a stream to *target* when it is its turn.

        Return whether it is here, how long busy peers want to be left alone, and whether any chunk has come.
        """
        self._in_line += 1
        try:
            await self._slots.acquire()
        finally:
            self._in_line -= 1
        try:
            held = await self._home.write(_open_stream, target.stream)
            if held.head is not None and held.desync is None:
                current = heads.read(held.head)
                if current.version > target.version or current.head_id == target.head_id:
                    return True, 0, False
                if current.version < target.version and current.version.epoch == target.version.epoch:
                    way, links = await self._by_ops(target, current, links)
                    if way is Way.THERE:
                        return True, 0, False
            return await self._by_walk(target, links)
        finally:
            self._slots.release()

    async def _rest(self, wanted: Wanted, rounds: int, retry_ms: int) -> None:
        """Wait before the next round: whoever passed a head on may still be fetching its body, or be busy."""
        wait_ms = FIRST_WAIT_MS * 2**rounds
        wait_ms = max(self._home.core.world.between(wait_ms // 2, wait_ms), retry_ms)
        try:
            await asyncio.wait_for(wanted.fresh.wait(), min(wait_ms, LONGEST_WAIT_MS) / 1000)
        except TimeoutError:
            return

    async def _by_ops(self, head: Head, current: Head, links: Sequence[Link]) -> tuple[Way, list[Link]]:
        """Ask one after the other for the operations to *head*; a slow one is not waited for alone.

        Return where that has led, and who is left that may hold the state.
        """
        now_ms = self._home.core.world.steady_ms()
        rest = deque(one for one in links if one.is_open and one.busy_until_ms <= now_ms)
        left = [one for one in links if one.is_open]
        asked: dict[asyncio.Task[Ops], Link] = {}
        try:
            while rest or asked:
                if rest:
                    link = rest.popleft()
                    asked[asyncio.create_task(link.ask(pull.get_ops(head, current.version.rev), Ops))] = link
                seconds = OTHER_SECONDS if rest else None
                done, _ = await asyncio.wait(asked, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    link = asked.pop(task)
                    way = await self._use_ops(head, current, link, task)
                    if way in (Way.THERE, Way.WALK):
                        return way, left
                    left.remove(link)
                    if way is Way.BEHIND or link.busy_until_ms > self._home.core.world.steady_ms():
                        left.append(link)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return Way.WALK, left

    async def _use_ops(self, head: Head, current: Head, link: Link, task: asyncio.Task[Ops]) -> Way:
        try:
            return await self._apply(head, current, link, task.result())
        except NoAnswer as error:
            log.debug("%r could not give operations: %s", link, error)
        except Refused as refused:
            log.warning("%r gave operations that were refused: %s", link, refused)
            link.close(refused.reason, refused.detail)
        return Way.NOTHING

    async def _apply(self, head: Head, current: Head, link: Link, answer: Ops) -> Way:
        if answer.head is None:
            return Way.NOTHING
        theirs = await self._home.hear(answer.head, link)
        if theirs is None or theirs.stream != head.stream or theirs.version < head.version:
            return Way.BEHIND
        if not answer.segments:
            return Way.WALK
        segments: Segments = [(rev, bodies) for rev, bodies in answer.segments]
        try:
            result = await self._home.write(_apply_ops, theirs, current, segments)
        except TooMuch:
            return Way.WALK
        except Refused as refused:
            if refused.reason is not Reason.ROOT_MISMATCH:
                raise
            if _is_signed(theirs, current, segments):
                # The author's own operations do not lead to its own root: its fault, not the peer's.
                await self._home.write(_set_desync, theirs.stream)
            log.warning("operations did not lead to the signed root: walking the trie")
            return Way.WALK
        await self._home.pulled(result)
        self.records_in += sum(len(one.put) + len(one.removed) for one in result.changed.values())
        self.bytes_in += sum(len(bytes_of) for _, bodies in answer.segments for _, bytes_of in bodies)
        return Way.THERE

    async def _by_walk(self, head: Head, links: Sequence[Link]) -> tuple[bool, int, bool]:
        """Walk to *head*; return what `_bring_in_turn` does."""
        if not links:
            return False, 0, False
        walking = await walker.begin(self._home, self._home.core.world, head, lambda: self._in_line > 0)
        self.walks[head.stream] = walking
        try:
            there = await walking.run(links) and await walker.finish(self._home, walking)
        finally:
            del self.walks[head.stream]
            self.records_in += walking.records_in
            self.bytes_in += walking.bytes_in
        if there and head.record_count >= BIG_RECORDS:
            log.info("fetched a catalogue of %d records from %d peers", head.record_count, len(walking.brought))
        return there, walking.retry_ms, walking.bytes_in > 0


# ── in a reader's snapshot ────────────────────────────────────────────────────────────────────────


def lagging(tables: Tables, me: bytes) -> list[Head]:
    """Return the heads of others whose state we do not hold."""
    found = []
    for item in tables.items.of_kind(ItemKind.HEAD):
        head = heads.read(item.data)
        if head.stream.member_id == me or tables.items.in_slot(ItemKind.HEAD, head_slot(head)) != item.data:
            continue  # our own, or kept as evidence beside the one that holds
        held = tables.catalogue.held(head.stream)
        if held is None or held.head != item.data:
            found.append(head)
    return found


def _counts(tables: Tables, streams: Sequence[Stream]) -> list[int]:
    """Return how many records we hold of each stream."""
    held = [tables.catalogue.held(stream) for stream in streams]
    return [0 if one is None else sum(summary.count for summary in one.summaries.values()) for one in held]


# ── in the writer's transaction ───────────────────────────────────────────────────────────────────


Segments = list[tuple[int, list[list[object]]]]
"""[(rev, [[collection, deflated body], ...]), ...]"""


def _open_stream(tables: Tables, stream: Stream) -> Held:
    return tables.catalogue.open_stream(stream)


def _set_desync(tables: Tables, stream: Stream) -> None:
    held = tables.catalogue.open_stream(stream)
    tables.catalogue.set_desync(held, "the author's operations do not lead to its signed root")


def _apply_ops(tables: Tables, head: Head, current: Head, segments: Segments) -> Pulled:
    held = tables.catalogue.open_stream(head.stream)
    if held.head != current.signed.to_bytes():
        raise Refused(Reason.ROOT_MISMATCH, "the state has changed meanwhile")
    changed: dict[str, Changed] = {}
    since_rev = current.version.rev
    unpacked = 0
    for rev, packed in segments:
        bodies = _inflated(packed)
        unpacked += sum(map(len, bodies.values()))
        if unpacked > MAX_OPS_UNPACKED:
            raise TooMuch
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
    """Unpack the bodies of one segment, all within one bound; their shape has been checked with the message."""
    bodies: dict[str, bytes] = {}
    left = MAX_OPS_BYTES
    for name, body in packed:
        assert isinstance(body, bytes)
        bodies[str(name)] = inflate(body, left)
        left -= len(bodies[str(name)])
    return bodies


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
