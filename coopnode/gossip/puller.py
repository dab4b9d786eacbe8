"""Fetching the bodies behind heads: one task a stream, a few at a time, from whichever peers offer them.

Never judges: `protocol.pull` traces every chunk to the signed root, the store keeps it. What has been
fetched stays when a link breaks; the next peers go on from there. A peer that has nothing, is busy or does not
answer costs its own turn: others are asked at once, and it is left alone for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from coopnode.core import Core
from coopnode.gossip import bridge, parts, walker
from coopnode.gossip.bridge import Segments, TooMuch
from coopnode.gossip.keeping import in_step, wants_of
from coopnode.gossip.link import Link, NoAnswer
from coopnode.gossip.progress import Fetching
from coopnode.gossip.walker import Pulled, Walking
from coopnode.scope import Scope
from coopnode.store import Tables
from coopnode.store.catalogue import Held
from protocol import head as heads
from protocol import pull
from protocol.errors import Reason, Refused
from protocol.head import Head, Stream
from protocol.messages import Answer, Nodes, Ops, Question
from protocol.pull import Walk
from protocol.scope import Replica, everything

P = ParamSpec("P")
T = TypeVar("T")
AnswerT = TypeVar("AnswerT", bound=Answer)
log = logging.getLogger(__name__)
STREAMS_AT_ONCE = 4
ROUNDS = 8
WALKS = 3
"""To one head: the profile that the first brings may make more of the same state wanted."""
FIRST_WAIT_MS = 250
LONGEST_WAIT_MS = 60_000
OTHER_SECONDS = 1.0
"""Who has not given the operations by then is not waited for alone: the next peer is asked too."""
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
        """Somebody has *head*: bring here what is kept of its state, if its author's quota allows that now."""
        if not self._home.may_fetch(head) or not self._home.scope.pulls(head.stream.member_id):
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
        waiting = []
        for head, (here, elsewhere) in zip(others, counts, strict=True):
            records = max(0, head.record_count - elsewhere)
            waiting.append(Fetching(head.stream, records, max(0, records - here), 0, 0, 0, 0.0, under_way=False))
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
            held, done, whole = await self._home.write(_look, target, self._home.scope)
            if held.head is not None and held.desync is None:
                current = heads.read(held.head)
                if current.version > target.version or done:
                    return True, 0, False
                if _may_bridge(current, target):
                    way, links = await (self._by_ops if whole else self._by_part)(target, current, links)
                    if way is Way.THERE and (whole or await self._home.write(in_step, self._home.scope, target)):
                        return True, 0, False
            return await self._by_walks(target, links)
        finally:
            self._slots.release()

    async def _rest(self, wanted: Wanted, rounds: int, retry_ms: int) -> None:
        """Wait before the next round: whoever passed a head on may still be fetching its body, or be busy."""
        wait_ms = FIRST_WAIT_MS * 2**rounds
        wait_ms = max(self._home.core.world.between(wait_ms // 2, wait_ms), retry_ms)
        try:
            async with asyncio.timeout(min(wait_ms, LONGEST_WAIT_MS) / 1000):
                await wanted.fresh.wait()
        except TimeoutError:
            return

    async def _ask_around(
        self,
        links: Sequence[Link],
        question: Question,
        kind: type[AnswerT],
        use: Callable[[Link, AnswerT], Awaitable[Way]],
    ) -> tuple[Way, list[Link]]:
        """Put a question to one after the other until *use* can go on with an answer; a slow one is not waited for.

        Return where that has led, and who is left that may hold the state.
        """
        now_ms = self._home.core.world.steady_ms()
        rest = deque(one for one in links if one.is_open and one.busy_until_ms <= now_ms)
        left = [one for one in links if one.is_open]
        asked: dict[asyncio.Task[AnswerT], Link] = {}
        try:
            while rest or asked:
                if rest:
                    link = rest.popleft()
                    asked[asyncio.create_task(link.ask(question, kind))] = link
                seconds = OTHER_SECONDS if rest else None
                done, _ = await asyncio.wait(asked, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    link = asked.pop(task)
                    way = await _used(link, task, use)
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

    async def _by_ops(self, head: Head, current: Head, links: Sequence[Link]) -> tuple[Way, list[Link]]:
        """Bring a whole state from *current* to *head* by its operations."""

        async def use(link: Link, answer: Ops) -> Way:
            return await self._apply(head, current, link, answer)

        return await self._ask_around(links, pull.get_ops(head, current.version.rev), Ops, use)

    async def _by_part(self, head: Head, current: Head, links: Sequence[Link]) -> tuple[Way, list[Link]]:
        """Bring what is kept of a state from *current* to *head*: by its state body, then by operations if need be."""
        walk, question = await self._home.write(parts.begin, head, self._home.scope)

        async def use_state(link: Link, answer: Nodes) -> Way:
            if answer.state:
                walk.receive(question, answer)
                return await self._advance(walk, current, [])  # often nothing has changed of what is kept
            if answer.head is None:
                return Way.NOTHING
            await self._home.hear(answer.head, link)
            return Way.BEHIND

        async def use_ops(link: Link, answer: Ops) -> Way:
            theirs = await self._standing(head, link, answer)
            if isinstance(theirs, Way):
                return theirs
            segments: Segments = [(rev, bodies) for rev, bodies in answer.segments if rev <= head.version.rev]
            return await self._advance(walk, current, segments)

        way, links = await self._ask_around(links, question, Nodes, use_state)
        if way is Way.THERE or walk.collections is None:
            return way, links
        return await self._ask_around(links, pull.get_ops(head, current.version.rev), Ops, use_ops)

    async def _advance(self, walk: Walk, current: Head, segments: Segments) -> Way:
        """Apply the operations of a part, and keep the state body for the rest."""
        try:
            changed, change_seq = await self._home.write(parts.advance, walk, current, segments)
        except Refused as refused:
            if refused.reason is not Reason.ROOT_MISMATCH:
                raise
            return Way.WALK
        await self._follow_up(Pulled(walk.head.stream, changed, change_seq), segments)
        return Way.THERE

    async def _standing(self, head: Head, link: Link, answer: Ops) -> Head | Way:
        """Return the head to which the operations of an answer should lead; if they cannot, where to go from here."""
        if answer.head is None:
            # Who keeps a part gives no operations, and may yet have what is wanted.
            return Way.BEHIND if link.replica is Replica.SCOPED else Way.NOTHING
        theirs = await self._home.hear(answer.head, link)
        if theirs is None or theirs.stream != head.stream or theirs.version < head.version:
            return Way.BEHIND
        return theirs if answer.segments else Way.WALK

    async def _apply(self, head: Head, current: Head, link: Link, answer: Ops) -> Way:
        theirs = await self._standing(head, link, answer)
        if isinstance(theirs, Way):
            return theirs
        segments: Segments = [(rev, bodies) for rev, bodies in answer.segments]
        try:
            changed, change_seq = await self._home.write(bridge.advance, theirs, current, segments)
        except TooMuch:
            return Way.WALK
        except Refused as refused:
            if refused.reason is not Reason.ROOT_MISMATCH:
                raise
            if bridge.is_signed(theirs, current, segments):
                # The author's own operations do not lead to its own root: its fault, not the peer's.
                await self._home.write(bridge.set_desync, theirs.stream)
            log.warning("operations did not lead to the signed root: walking the trie")
            return Way.WALK
        await self._follow_up(Pulled(theirs.stream, changed, change_seq), segments)
        return Way.THERE

    async def _follow_up(self, result: Pulled, segments: Segments) -> None:
        await self._home.pulled(result)
        self.records_in += sum(len(one.put) + len(one.removed) for one in result.changed.values())
        self.bytes_in += sum(len(body) for _, bodies in segments for _, body in bodies if isinstance(body, bytes))

    async def _by_walks(self, head: Head, links: Sequence[Link]) -> tuple[bool, int, bool]:
        """Walk until what is kept of the state of *head* is here; return what `_bring_in_turn` does."""
        some_came = False
        for _ in range(WALKS):
            there, retry_ms, came = await self._by_walk(head, links)
            some_came |= came
            if not there:
                return False, retry_ms, some_came
            # The profile may only now say where its member lies.
            if await self._home.write(in_step, self._home.scope, head):
                return True, 0, some_came
        return False, 0, some_came

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


async def _used(link: Link, task: asyncio.Task[AnswerT], use: Callable[[Link, AnswerT], Awaitable[Way]]) -> Way:
    try:
        return await use(link, task.result())
    except NoAnswer as error:
        log.debug("%r could not help to bring a catalogue forward: %s", link, error)
    except Refused as refused:
        log.warning("%r gave an answer that was refused: %s", link, refused)
        link.close(refused.reason, refused.detail)
    return Way.NOTHING


# ── in a reader's snapshot ────────────────────────────────────────────────────────────────────────


def _counts(tables: Tables, streams: Sequence[Stream]) -> list[tuple[int, int]]:
    """Return of each stream how many records we hold, and how many of it are not kept here."""
    counts = []
    for held in map(tables.catalogue.held, streams):
        both = ({}, {}) if held is None else (held.summaries, held.elsewhere)
        here, elsewhere = (sum(one.count for one in summaries.values()) for summaries in both)
        counts.append((here, elsewhere))
    return counts


# ── in the writer's transaction ───────────────────────────────────────────────────────────────────


def _look(tables: Tables, head: Head, scope: Scope) -> tuple[Held, bool, bool]:
    """Return what we hold of a stream, whether that is all we want of *head*, and whether both are whole."""
    held = tables.catalogue.open_stream(head.stream)
    whole = not held.elsewhere and wants_of(tables, scope, head) is everything
    return held, in_step(tables, scope, head), whole


def _may_bridge(current: Head, head: Head) -> bool:
    """Whether operations may lead from one to the other."""
    return current.version < head.version and current.version.epoch == head.version.epoch
