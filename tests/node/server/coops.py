"""Co-ops of real cores, and a running node to ask: what the tests of this folder stand on.

What members tell each other is carried over by hand, so that nothing here waits for a network.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from coopnode import config as configs
from coopnode import desk, keystore
from coopnode.config import Config
from coopnode.core import Core, News, open_core
from coopnode.folder import Folder, Lock
from coopnode.node import Node
from coopnode.server.app import make_runner
from coopnode.store import Tables
from coopnode.world import World
from protocol import head as heads
from protocol import invitation, records
from protocol.encoding import encode
from protocol.head import Stream
from protocol.items import ItemKind
from protocol.limits import STREAM_PUBLIC
from protocol.records import LISTING, STOCK

Record = tuple[str, bytes, bytes]


@dataclass
class Clock:
    """A world whose time a test can move."""

    ahead_ms: int = 0

    def world(self) -> World:
        return World(now_ms=self.now_ms, now_us=lambda: time.time_ns() // 1000 + self.ahead_ms * 1000)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


@dataclass
class Shop:
    """One member: its core, and the lock to give back."""

    core: Core
    lock: Lock

    def do(self, operation: Callable[..., tuple[Any, News]], **arguments: Any) -> Any:
        """Run a desk operation as the command line would."""
        result, _ = self.core.write(operation, self.core, **arguments)
        return result

    def put(self, rows: Iterable[Record]) -> None:
        """Publish encoded records, whatever they say."""

        def put(tables: Tables) -> None:
            tables.pending.add(list(rows))
            self.core.publish(tables)

        self.core.write(put)

    def close(self) -> None:
        self.core.store.close()
        self.lock.release()


def listing(sku: str, title: str, **fields: Any) -> Record:
    key = records.listing_key(sku)
    return LISTING, key, records.write(LISTING, key, {"title": title, **fields})


def raw_listing(sku: str, value: dict[str, Any]) -> Record:
    """A listing that no check of ours has seen."""
    return LISTING, sku.encode(), encode(value)


def stock(sku: str, **fields: Any) -> Record:
    key = records.stock_key(sku)
    return STOCK, key, records.write(STOCK, key, fields)


@dataclass
class Coop:
    """Members that hear each other when `meet` is called."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    shops: list[Shop] = field(default_factory=list)

    def shop(self, name: str, *, port: int = 8420) -> Shop:
        """Set up one more node."""
        folder = Folder(self.path / f"shop{len(self.shops)}")
        folder.create()
        world = self.clock.world()
        keys, _ = keystore.create(world.random_bytes)
        keystore.save(folder.keys, keys, None, world.random_bytes)
        configs.save(folder.config, Config(name=name, discovery=False, port=port))
        shop = Shop(*open_core(folder, world, None))
        self.shops.append(shop)
        return shop

    def found(self, *names: str, coop: str = "North") -> list[Shop]:
        """Found a co-op of these members, all of them admitted and named to each other."""
        first = self.shop(names[0])
        first.do(desk.coop_found, name=coop)
        text = first.do(desk.coop_invite, uses=100)["invitation"]
        for name in names[1:]:
            self._join(self.shop(name), first, text)
        for shop in self.shops:
            shop.core.write(shop.core.say_contact, [f"http://{len(self.shops)}.example"])
        self.meet()
        return self.shops

    def _join(self, shop: Shop, first: Shop, text: str) -> None:
        invited = invitation.from_text(text)
        bundle = first.core.store.read(lambda tables: tables.book.genesis())
        assert bundle is not None
        shop.core.write(shop.core.adopt_genesis, bundle, invited.coop_id)
        self._tell_pages(first, shop)
        application = shop.core.write(shop.core.application, invited)
        both = [invited.statement.signed.to_bytes(), application]
        first.core.write(first.core.take, [(ItemKind.STATEMENT, data) for data in both])
        for _ in range(10):
            if shop.core.is_member:
                break
            self.meet()
        assert shop.core.is_member
        shop.core.write(_override, shop.core)

    def meet(self) -> None:
        """Let everybody hear everything: pages, items, bodies."""
        for _ in range(2):
            for teller in self.shops:
                for hearer in self.shops:
                    if teller is not hearer and teller.core.membership and hearer.core.membership:
                        self._tell_pages(teller, hearer)
                        items = teller.core.store.read(lambda tables: tables.items.since(0, 100_000))
                        hearer.core.write(hearer.core.take, [(item.kind, item.data) for item in items])
        for teller in self.shops:
            for hearer in self.shops:
                if teller is not hearer:
                    hand_over(teller.core, hearer.core)

    @staticmethod
    def _tell_pages(teller: Shop, hearer: Shop) -> None:
        slot = hearer.core.need_membership().roster.slot
        pages = teller.core.store.read(lambda tables: tables.book.after(slot, 1000))
        log = teller.core.store.read(lambda tables: tables.items.of_kind(ItemKind.IDENTITY))
        _, refused = hearer.core.write(hearer.core.adopt_pages, pages, [item.data for item in log])
        assert refused is None

    def close(self) -> None:
        for shop in self.shops:
            shop.close()


def _override(tables: Tables, core: Core) -> None:
    core.publisher.override(tables, core.membership)
    core.look(tables)


def hand_over(author: Core, reader: Core) -> None:
    """Bring the author's state to the reader, as if it had been pulled."""
    stream = Stream(author.member_id, STREAM_PUBLIC)
    theirs = author.store.read(lambda tables: tables.catalogue.held(stream))
    if theirs is None or theirs.head is None:
        return
    head = theirs.head

    def put(tables: Tables) -> None:
        held = tables.catalogue.open_stream(stream)
        if held.head == head:
            return
        ops: dict[str, dict[bytes, bytes | None]] = {}
        for name in theirs.collections:
            here = dict(tables.catalogue.records(stream, name))
            there = author.store.read(_records, stream, name)
            ops[name] = {key: None for key in here if key not in there} | dict(there)
        held, _ = tables.catalogue.apply(held, ops)
        assert held.root == heads.read(head).state_root
        tables.catalogue.set_head(held, head)

    reader.store.write(put)


def _records(tables: Tables, stream: Stream, collection: str) -> dict[bytes, bytes]:
    return dict(tables.catalogue.records(stream, collection))


@dataclass
class Running:
    """A node that answers on 127.0.0.1, and a client to ask it."""

    node: Node
    url: str
    client: aiohttp.ClientSession

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", path, **options)

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """Ask for a path exactly as it is written: nothing of it is encoded or normalised."""
        url = URL(self.url + path, encoded=True)
        async with self.client.request(method, url, allow_redirects=False, **options) as answer:
            return Answer(answer.status, answer.headers.copy(), await answer.text())

    async def json(self, path: str) -> Any:
        answer = await self.get(path)
        assert answer.status == 200, answer.text
        return answer.json()

    async def perform(self, operation: Callable[..., tuple[Any, News]], **arguments: Any) -> Any:
        """Run a desk operation in the running node."""
        return await self.node.perform(lambda tables: operation(tables, self.node.core, **arguments))

    async def publish(self, *rows: Record) -> None:
        """Publish encoded records, and wait until they can be searched."""

        def put(tables: Tables) -> tuple[None, News]:
            tables.pending.add(list(rows))
            return None, self.node.core.publish(tables)

        await self.node.perform(put)
        await self.indexed()

    async def indexed(self) -> None:
        """Wait until everything that is stored can be searched."""
        last = await self.node.read(lambda tables: tables.catalogue.last_change())
        await until(lambda: self.node.follower.done_seq >= last)


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll until *holds*, or fail."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "this did not come true in time"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def running(shop: Shop) -> AsyncIterator[Running]:
    """Run the node of a shop on a free port; its store is closed when it ends."""
    node = Node(shop.core)
    runner = make_runner(node)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as client:
        try:
            await node.start(url)
            found = Running(node, url, client)
            await found.indexed()
            yield found
        finally:
            await node.stop()
            await runner.cleanup()
