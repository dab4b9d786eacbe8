"""Walking one state from several peers at once: asks, hands what comes to the store, and says how far it is.

Never judges: `protocol.pull` traces every chunk to the signed root, `protocol.spread` says who is asked what.
What has been kept stays when peers go; the next walk goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from coopnode.gossip.keeping import wants_of
from coopnode.gossip.link import Link, NoAnswer, PeerBusy
from coopnode.gossip.progress import Fetching, Pace
from coopnode.scope import Scope
from coopnode.store import Tables
from coopnode.store.tries import Changed
from coopnode.world import World
from protocol.chunks import Chunk
from protocol.errors import Reason, Refused
from protocol.head import Head, Stream
from protocol.messages import Nodes, WalkTrie
from protocol.pull import Walk
from protocol.records import LISTING
from protocol.spread import Share, Spread
from protocol.trie import Summary

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
PEERS_AT_ONCE = 4
BUSY_TRIES = 4
"""How often a peer may say in one walk that it is busy, before it has given something again."""
SHORT_MS = 1_000
"""So long a walk keeps its turn while it waits for the last peers, which are busy."""
TURN_MS = 30_000
"""A walk that has crawled for so long lets others go first: whoever trickles must not hold up everybody's streams."""
LOOK_SECONDS = 5.0


class Home(Protocol):
    """What walking needs of the node that it belongs to."""

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
class Walking:
    """One walk under way, and what it has brought so far."""

    home: Home
    world: World
    walk: Walk
    others_wait: Callable[[], bool]
    """Whether other streams wait for a turn."""
    began_ms: int = 0
    records_in: int = 0
    bytes_in: int = 0
    answers: int = 0
    brought: Counter[bytes] = field(default_factory=Counter)
    """How many answers each peer has brought, by member."""
    retry_ms: int = 0
    """When it is over without success: how long until the first peer that was busy may be asked again."""
    _pace: Pace = field(default_factory=Pace)
    _spread: Spread[Link] = field(init=False)
    _under_way: dict[asyncio.Task[Nodes], Share[Link]] = field(default_factory=dict)
    _arrived: deque[tuple[Share[Link], Nodes]] = field(default_factory=deque)
    _staging: asyncio.Task[None] | None = None
    _outside: list[Link] = field(default_factory=list)
    _busy: Counter[Link] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._spread = Spread(self.walk)
        self.began_ms = self.world.steady_ms()
        self._pace.note(0, self.began_ms)

    @property
    def progress(self) -> Fetching | None:
        """How far it is; None before that is known."""
        if self.walk.collections is None:
            return None
        return Fetching(
            self.walk.head.stream,
            records=sum(one.count for name, one in self.walk.collections.items() if name not in self.walk.elsewhere),
            missing=self.walk.missing_count,
            records_in=self.records_in,
            bytes_in=self.bytes_in,
            peers=len(self._spread.links),
            rate=self._pace.rate(self.world.steady_ms()),
            under_way=True,
        )

    async def run(self, links: Sequence[Link]) -> bool:
        """Walk until everything is kept or no peer is left that could be asked; return whether it is all here."""
        self._outside = list(links)
        try:
            while not self.walk.done:
                self._let_in()
                if self._staging is None:
                    self._spread.look()
                self._ask()
                if not self._under_way and not self._arrived and self._staging is None:
                    self.retry_ms = self._until_free_ms()
                    if not 0 < self.retry_ms <= SHORT_MS:
                        return False
                    await asyncio.sleep(self.retry_ms / 1000)
                    continue
                await self._wait()
                if self._crawls() and self.others_wait():
                    return False
            return True
        finally:
            tasks = [*self._under_way, *([self._staging] if self._staging is not None else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _let_in(self) -> None:
        """Fill up with peers that can be asked, in the order in which they were given."""
        now_ms = self.world.steady_ms()
        for link in list(self._outside):
            # Those that owe an answer for long do not count: silent peers must not keep the others out.
            if len(self._spread.links) - self._spread.stalled(now_ms) >= PEERS_AT_ONCE:
                return
            if not link.is_open or self._busy[link] >= BUSY_TRIES:
                self._outside.remove(link)
            elif link.busy_until_ms <= now_ms:
                self._outside.remove(link)
                self._spread.add(link)

    def _ask(self) -> None:
        for share in self._spread.ask(self.world.steady_ms()):
            self._under_way[asyncio.create_task(share.link.ask(share.question, Nodes))] = share

    async def _wait(self) -> None:
        """Wait until something has happened, and take it in."""
        if self._staging is None and self._arrived:
            self._staging = asyncio.create_task(self._stage(*self._arrived.popleft()))
        tasks = {*self._under_way, *([self._staging] if self._staging is not None else [])}
        now_ms = self.world.steady_ms()
        marks = [one.busy_until_ms for one in self._outside if one.busy_until_ms > now_ms]
        stall = self._spread.next_stall(now_ms) if self._outside else None
        marks += [mark for mark in (self._spread.next_deadline(), stall) if mark is not None]
        seconds = min([LOOK_SECONDS, *(max(1, mark - now_ms) / 1000 for mark in marks)])
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._staging is not None and self._staging in done:
            staging, self._staging = self._staging, None
            staging.result()
        for task in done & self._under_way.keys():
            await self._take_in(task, self._under_way.pop(task))  # type: ignore[arg-type]

    async def _take_in(self, task: asyncio.Task[Nodes], share: Share[Link]) -> None:
        """Sort out one answer, or the lack of one."""
        link = share.link
        try:
            answer = task.result()
        except PeerBusy as busy:
            log.debug("%r: %s", link, busy)
            if link in self._spread.links:  # several questions may end at once, for one reason
                self._busy[link] += 1
                self._spread.drop(link)
                self._outside.append(link)
            return
        except NoAnswer as error:
            log.debug("%r could not give a catalogue: %s", link, error)
            self._spread.drop(link)
            return
        if answer.items or answer.state:
            if self._spread.came(share, self.world.steady_ms()):
                self._arrived.append((share, answer))
            return
        # It does not hold this state (yet, or any more): nobody is to blame.
        self._spread.drop(link)
        if answer.head is not None:
            try:
                await self.home.hear(answer.head, link)
            except Refused as refused:
                link.close(refused.reason, refused.detail)

    async def _stage(self, share: Share[Link], answer: Nodes) -> None:
        """Have one answer checked and kept; whoever has sent a wrong one is hung up on."""
        count = 0

        def work(tables: Tables) -> list[Staged]:
            nonlocal count
            staged, count = _stage(tables, self.walk, share.question, answer)
            return staged

        try:
            await self.home.stage(self.walk.head.stream, work)
        except Refused as refused:
            log.warning("%r gave an answer that was refused: %s", share.link, refused)
            share.link.close(refused.reason, refused.detail)
            self._spread.drop(share.link)
            self._spread.again(share.question)
        else:
            self.answers += 1
            self.records_in += count
            self._pace.note(count, self.world.steady_ms())
            self._busy.pop(share.link, None)
            self.bytes_in += sum(len(body) for _, form, body in answer.items if form == 1)
            if share.link.peer is not None:
                self.brought[share.link.peer] += 1
        finally:
            self._spread.kept()

    def _until_free_ms(self) -> int:
        """Return how long until the first busy peer may be asked again; 0 when there is none."""
        now_ms = self.world.steady_ms()
        waits = [one.busy_until_ms - now_ms for one in self._outside if one.is_open and self._busy[one] < BUSY_TRIES]
        return max(1, min(waits)) if waits else 0

    def _crawls(self) -> bool:
        """Whether it has had its time and brought less than an answer a second."""
        took_ms = self.world.steady_ms() - self.began_ms
        return took_ms > TURN_MS and self.answers * 1000 < took_ms


async def begin(home: Home, world: World, head: Head, others_wait: Callable[[], bool]) -> Walking:
    """Begin a walk to *head*, as far as it is kept here, from what we hold of its stream."""
    walk, cold = await home.write(_begin_walk, head, home.scope)
    if cold:
        home.begin_ahead(head.stream)
    return Walking(home, world, walk, others_wait)


async def finish(home: Home, walking: Walking) -> bool:
    """Make what has been walked the state that we hold; return whether that worked."""
    try:
        await home.pulled(await home.write(_commit_walk, walking.walk))
    except Refused:
        # Leftovers of an older walk were in the way: the next one begins clean.
        await home.write(_unstage, walking.walk.head.stream)
        return False
    return True


# ── in the writer's transaction ───────────────────────────────────────────────────────────────────


def _unstage(tables: Tables, stream: Stream) -> None:
    tables.catalogue.unstage(tables.catalogue.open_stream(stream))


def _begin_walk(tables: Tables, head: Head, scope: Scope) -> tuple[Walk, bool]:
    """Begin a walk from what we hold of the stream now; say whether there are no listings among it."""
    held = tables.catalogue.open_stream(head.stream)

    def summary_of(collection: str, prefix: str) -> Summary:
        return tables.catalogue.staged_or_held(held, collection, prefix)

    walk = Walk(head, held.summaries, summary_of, wants_of(tables, scope, head))
    return walk, LISTING not in held.summaries


def _stage(tables: Tables, walk: Walk, question: WalkTrie, answer: Nodes) -> tuple[list[Staged], int]:
    """Check and keep one answer; return the listings among it and how many records have come."""
    changes = walk.receive(question, answer)
    held = tables.catalogue.open_stream(walk.head.stream)
    staged = []
    for change in changes:
        chunk_id = tables.catalogue.stage(held, change)
        if change.collection == LISTING and change.chunk is not None:
            staged.append(Staged(chunk_id, change.chunk))
    return staged, sum(change.summary.count for change in changes)


def _commit_walk(tables: Tables, walk: Walk) -> Pulled:
    held = tables.catalogue.open_stream(walk.head.stream)
    held, changed = tables.catalogue.commit_staged(held, walk.elsewhere)
    if walk.elsewhere:
        tables.catalogue.drop_ops(held)
    if held.root != walk.head.state_root:
        raise Refused(Reason.ROOT_MISMATCH, "what was fetched does not add up to the signed root")
    return Pulled(held.stream, changed, tables.catalogue.set_head(held, walk.head.signed.to_bytes()))
