"""A running node: wires the rooms together and owns their threads.

The only place that knows everybody. One writer thread runs all transactions (and with them all judging) and
feeds the search index, reader threads answer questions, the event loop only carries.
The order on receipt and on publication is fixed here: durable first, then peers are told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

import aiohttp

from coopnode.catalog.follower import Follower
from coopnode.core import Core, News
from coopnode.gossip.addresses import Source, source_of, useful_urls
from coopnode.gossip.company import Company
from coopnode.gossip.dialer import Dialer
from coopnode.gossip.discovery import Discovery
from coopnode.gossip.forgers import Forgers
from coopnode.gossip.forwarding import Forwarder
from coopnode.gossip.gossiper import Gossiper, Incoming
from coopnode.gossip.joining import keep_applying
from coopnode.gossip.keeping import lagging, trim
from coopnode.gossip.link import Link
from coopnode.gossip.puller import Puller
from coopnode.gossip.throttle import Throttle
from coopnode.gossip.walker import Pulled, Staged
from coopnode.ingest import Outcome
from coopnode.publisher import Phase
from coopnode.scope import Scope
from coopnode.store import StoreError, Tables
from protocol import head as heads
from protocol.head import Head, Stream
from protocol.items import ItemKind
from protocol.limits import FULL_MESH_MEMBERS
from protocol.scope import Replica

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
READERS = 2
LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Items that wait for the writer."""

    items: Sequence[Incoming]
    came_from: Link | None
    pushed: bool
    judged: asyncio.Future[list[Outcome]]


class Node:
    """One member's node. `start` and `stop` it; its URL is known in between."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.follower = Follower(core.folder.index, core.store)
        self.puller = Puller(self)
        self.throttle = Throttle(self)
        self.forgers = Forgers(self)
        self.gossiper = Gossiper(self)
        self.forwarder = Forwarder(self, "")
        self.url = ""
        self.failed: asyncio.Future[None] | None = None
        self._writer = ThreadPoolExecutor(1, "writer")
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._incoming: list[_Batch] = []
        self._batch_due = asyncio.Event()
        self._look_moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._notes: set[asyncio.Future[None]] = set()
        self._client: aiohttp.ClientSession | None = None
        self._dialer: Dialer | None = None
        self._discovery: Discovery | None = None

    # ── life ──────────────────────────────────────────────────────────────────────────────────────

    async def start(self, url: str) -> None:
        """Begin to gossip; the HTTP server answers at *url* already."""
        self.url = url
        self.failed = asyncio.get_running_loop().create_future()
        self._client = aiohttp.ClientSession()
        self._dialer = Dialer(self.core, self.gossiper, next(iter(self.contact_urls), url))
        self._dialer.own_urls.add(url)
        self._dialer.shunned = self.forgers.resting
        self.forwarder = Forwarder(self, next(iter(self.contact_urls), url))
        company = Company(self.core, self.gossiper, self._dialer.visit)
        await self.follower.start(self._on_writer)
        await self._trim()
        for name, work in (
            ("batches", self._take_batches()),
            ("look", self._look_now_and_then()),
            ("throttle", self.throttle.run()),
            ("tree", self.gossiper.spreading.mind_the_tree()),
            ("dial", self._dialer.run()),
            ("anti-entropy", company.run()),
            ("join", keep_applying(self, self._client)),
        ):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(self._task_ended)
            self._tasks.append(task)
        await self.begin_membership()

    async def stop(self) -> None:
        """Say goodbye, finish what is being written, close everything."""
        if self._discovery is not None:
            await self._discovery.stop()
        if self._dialer is not None:
            await self._dialer.stop()
        await self.gossiper.stop()
        await self.forgers.stop()
        await self.puller.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        await self.follower.stop()
        self._writer.shutdown()
        self._readers.shutdown()
        self.core.store.close()

    async def begin_membership(self) -> None:
        """Do what a co-op makes possible: look at the book, announce where we are. Safe to call again."""
        await self.perform(lambda tables: (None, self.core.look(tables)))
        urls = useful_urls(self.contact_urls, await self.read(_invited))
        await self.perform(lambda tables: (None, self.core.say_contact(tables, urls)))
        held = self.core.membership
        if held is None or not self.core.is_member:
            return
        for head in await self.read(_own_target, self.core):
            self.puller.want(head, None)
        if self._discovery is None and self.core.config.discovery:
            self._discovery = Discovery(held.coop_id, self.core.member_id, self.url, self._found)
            await self._discovery.start()

    @property
    def contact_urls(self) -> list[str]:
        """Where others are told to find this node; nowhere, if its settings do not say (it dials out then)."""
        if self.core.config.public_url:
            return [self.core.config.public_url]
        return [] if self.url.startswith(("http://0.0.0.0:", "http://[::]:")) else [self.url]

    # ── transactions ──────────────────────────────────────────────────────────────────────────────

    async def write(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in the writer's transaction. Raises what *function* raises, and StoreError."""
        return await self._on_writer(lambda: self.core.write(function, *args, **kwargs))

    async def read(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on a reader thread, in one snapshot."""
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._readers, lambda: self.core.store.read(function, *args, **kwargs))

    async def perform(self, action: Callable[[Tables], tuple[T, News]]) -> T:
        """Run an action of this member and follow up on it: durable first, then peers are told."""
        result, news = await self.write(action)
        await self.follow(news, None)
        return result

    async def follow(self, news: News, came_from: Link | None, *, pushed: bool = False) -> None:
        """Send, pull and index what a transaction has left to be done."""
        if news.published:
            # The mark must be on the disk before any head leaves.
            await self._on_writer(self.core.announced, news)
        if self.core.publish_due_ms is not None:
            self._look_moved.set()
        self.pass_on(self.throttle.sort(news, came_from, pushed=pushed), came_from, pushed=pushed)
        for published in news.published:
            self.follower.feed(published.head.stream, published.changed, published.change_seq)
        if any(item.kind is ItemKind.STATEMENT for item in news.items):
            await self._settle_scope()
        if news.roster_changed:
            log.info("the minute book is at page %d now", self.core.need_membership().roster.slot)
            await self.begin_membership()
            await self.gossiper.tell_status()
            if self._dialer is not None:
                self._dialer.wake()

    def pass_on(self, news: News, came_from: Link | None, *, pushed: bool) -> None:
        """Tell the links of items, and fetch what is behind heads."""
        self.gossiper.spreading.spread(news, came_from, pushed=pushed)
        for head in news.heads:
            self.puller.want(head, came_from)

    def pass_over(self, item_id: bytes) -> None:
        """Note that an item came and is not passed on, or not soon: the tree need not wait for it."""
        self.gossiper.spreading.pass_over(item_id)

    async def take(self, items: Sequence[Incoming], came_from: Link | None, *, pushed: bool = False) -> list[Outcome]:
        """Judge and keep items together with whatever else comes in now: one commit a batch."""
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._incoming.append(_Batch(items, came_from, pushed, future))
        self._batch_due.set()
        outcomes = await future
        if came_from is not None:
            self.forgers.look(came_from, items, outcomes)
        return outcomes

    async def _take_batches(self) -> None:
        while True:
            await self._batch_due.wait()
            self._batch_due.clear()
            batch, self._incoming = self._incoming, []
            if not batch:
                continue
            try:
                results = await self.write(_take_all, self.core, [one.items for one in batch])
            except Exception as error:
                for one in batch:
                    if not one.judged.done():
                        one.judged.set_exception(error)
                if isinstance(error, StoreError):
                    raise
                continue
            for one, (outcomes, news) in zip(batch, results, strict=True):
                if not one.judged.done():
                    one.judged.set_result(outcomes)
                await self.follow(news, one.came_from, pushed=one.pushed)

    # ── what gossiper and puller need ─────────────────────────────────────────────────────────────

    async def adopt_pages(self, pages: Sequence[bytes], identity_log: Sequence[bytes]) -> None:
        """Take official pages; those before a wrong one stay. Refuses the wrong one."""
        news, refused = await self.write(self.core.adopt_pages, pages, identity_log)
        await self.follow(news, None)
        if refused is not None:
            raise refused

    async def answered(self, member_id: bytes) -> None:
        """Note that a peer has told us what it knows of our own stream; maybe we may publish now."""

        def note(tables: Tables) -> tuple[None, News]:
            self.core.publisher.answered(tables, member_id, self.core.membership)
            return None, self.core.look(tables)

        before = self.core.publisher.phase
        await self.perform(note)
        if before is not Phase.READY and self.core.publisher.phase is Phase.READY:
            log.info("enough members have answered: publishing")
            await self.begin_membership()

    async def halt(self, why: str) -> None:
        """Stop publishing: there is a twin."""
        if self.core.publisher.phase is not Phase.HALTED:
            log.warning("publishing has stopped: %s", why)
            await self.write(self.core.publisher.halt, why)

    async def hear(self, data: bytes, link: Link) -> Head | None:
        """Take a head that came as part of an answer; return it when it is (still) the latest word."""
        head = heads.read(data)
        await self.take([(ItemKind.HEAD, data)], link)
        known = await self.read(lambda tables: tables.items.has(head.head_id))
        return head if known and self.throttle.may_fetch(head) else None

    def may_fetch(self, head: Head) -> bool:
        """Whether the body of *head* may be fetched now."""
        return self.throttle.may_fetch(head)

    @property
    def scope(self) -> Scope:
        """What is kept here."""
        return self.core.scope

    def linked(self) -> dict[bytes, Link]:
        """Return the open links by member."""
        return self.gossiper.linked()

    def links_to_ask(self, author: bytes, offering: list[Link]) -> list[Link]:
        """Return open links in the order in which they should be asked for a stream.

        In a small co-op the author's own first: it has it for sure. In a larger one those that offer, then the
        others by chance, the author last, or all would ask it at once for every word that it says. Those that keep
        everything come before those that keep a part; who keeps nothing is asked for its own alone. A peer that has
        fallen silent comes after all others.
        """
        linked = self.gossiper.linked()
        own = [linked[author]] if author in linked else []
        others = [linked[peer] for peer in self.core.world.shuffle(sorted(linked))]
        rest = [link for link in dict.fromkeys([*offering, *others]) if link.replica is not Replica.LIGHT]
        rest = [one for one in sorted(rest, key=lambda link: link.replica is not Replica.FULL) if one not in own]
        small = len(self.core.need_membership().roster.members) <= FULL_MESH_MEMBERS
        order = [*own, *rest] if small else [*rest, *own]
        return sorted(order, key=lambda link: link.session.is_silent)

    def begin_ahead(self, stream: Stream) -> None:
        """A walk of a stream of which nothing is here begins."""
        self.follower.begin_ahead(stream)

    async def stage(self, stream: Stream, function: Callable[[Tables], list[Staged]]) -> None:
        """Keep verified chunks, and index the listings among them ahead, in one visit to the writer's thread."""

        def stage_and_index() -> None:
            staged = self.core.write(function)
            self.follower.put_ahead(stream, ((one.chunk_id, one.chunk) for one in staged))

        await self._on_writer(stage_and_index)

    async def _on_writer(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on the writer's thread, outside of a transaction."""
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._writer, lambda: function(*args, **kwargs))

    async def pulled(self, result: Pulled) -> None:
        """A state has become ours: index it; if it was our own, go on publishing."""
        self.follower.feed(result.stream, result.changed, result.change_seq)
        if result.stream == self.core.publisher.stream:

            def go_on(tables: Tables) -> tuple[None, News]:
                self.core.publisher.caught_up(tables, self.core.membership)
                return None, self.core.look(tables)

            await self.perform(go_on)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    async def _look_now_and_then(self) -> None:
        """Judge parked heads again as time passes, and note addresses that have proved themselves or are refused."""
        while True:
            self._look_moved.clear()
            try:
                async with asyncio.timeout(self._until_look_seconds()):
                    await self._look_moved.wait()
                continue
            except TimeoutError:
                pass
            if self.core.membership is None:
                continue
            await self.perform(lambda tables: (None, self.core.look(tables)))
            await self._settle_scope()
            proved, self.gossiper.on_proved = self.gossiper.on_proved, []
            for url, member_id in proved:
                await self.write(_note_heard, url, member_id, self.core.world.now_ms())
            if self._dialer is not None and self._dialer.refusals:
                refusals, self._dialer.refusals = self._dialer.refusals, Counter()
                await self.write(_count_refusals, refusals, self.core.world.now_ms())

    def _until_look_seconds(self) -> float:
        due_ms = self.core.publish_due_ms
        if due_ms is None:
            return LOOK_SECONDS
        return min(LOOK_SECONDS, max(0.01, (due_ms - self.core.world.steady_ms()) / 1000))

    async def _settle_scope(self) -> None:
        """A member whom the settings name may have come, or have changed its name: keep and drop accordingly."""
        if not self.core.config.replica_members:
            return
        changed = await self.write(self.core.settle_scope)
        if changed:
            await self._trim()
            for head in await self.read(lagging, self.core.scope):
                self.puller.want(head, None)

    async def _trim(self) -> None:
        """Drop what is wanted no more, also from the index, and give its space back to the machine."""
        dropped = await self.write(trim, self.core.scope)
        for one in dropped:
            self.follower.feed(one.stream, one.changed, one.change_seq)
        if dropped:
            try:
                await self._on_writer(self.core.store.shrink)
            except StoreError as error:
                # It takes as much room again for a moment; what is free in the file is used again in any case.
                log.warning("the space of what was dropped could not be given back: %s", error)

    def _found(self, url: str, member_id: bytes) -> None:
        """Zeroconf has an address."""
        if self.failed is not None and not self.failed.done() and member_id != self.core.member_id:
            task = asyncio.ensure_future(self._note_address(url, member_id))
            self._notes.add(task)
            task.add_done_callback(self._notes.discard)

    async def _note_address(self, url: str, member_id: bytes) -> None:
        await self.write(_add_address, url, member_id, "zeroconf")
        if self._dialer is not None:
            self._dialer.wake()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.failed is None or self.failed.done():
            return
        error = task.exception() or RuntimeError(f"the task '{task.get_name()}' ended")
        log.error("the node cannot go on: %s", error)
        self.failed.set_exception(error)


def _invited(tables: Tables) -> list[str]:
    return [one.url for one in tables.peers.addresses() if source_of(one.source) is Source.OWNER]


def _take_all(tables: Tables, core: Core, batches: list[Sequence[Incoming]]) -> list[tuple[list[Outcome], News]]:
    return [core.take(tables, items) for items in batches]


def _own_target(tables: Tables, core: Core) -> list[Head]:
    target = core.publisher.target
    return [] if target is None else [target]


def _note_heard(tables: Tables, url: str, member_id: bytes, now_ms: int) -> None:
    tables.peers.add_address(url, member_id, "handshake")
    tables.peers.note_heard(url, member_id, now_ms)


def _count_refusals(tables: Tables, refusals: Counter[str], now_ms: int) -> None:
    for why in refusals.elements():
        tables.meta.count_refusal("address", why, now_ms)


def _add_address(tables: Tables, url: str, member_id: bytes | None, source: str) -> None:
    tables.peers.add_address(url, member_id, source)
