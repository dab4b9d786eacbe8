"""Running nodes on 127.0.0.1 in one process, and a peer that says whatever a test wants it to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from coopnode import config as configs
from coopnode import desk
from coopnode.config import Config
from coopnode.core import Core, News, open_core
from coopnode.folder import Folder, Lock
from coopnode.gossip.answers import answer
from coopnode.gossip.joining import join
from coopnode.gossip.link import Link
from coopnode.node import Node
from coopnode.publisher import Phase
from coopnode.server.app import make_runner
from coopnode.store.catalogue import Held
from coopnode.world import World
from protocol import chunks, messages, signing, trie
from protocol import head as heads
from protocol.encoding import deflate
from protocol.head import NO_HASH, Head, Stream, Version
from protocol.messages import GetOps, Message, Nodes, Ops, Since, Status, WalkTrie
from protocol.session import Closed, Event, Me, Opened, Received, Role, Session, State
from protocol.trie import Summary
from tests.node.scenes import new_folder

PATIENCE_SECONDS = 30.0
Say = Callable[[Message], Message | None]


async def until(condition: Callable[[], Any], what: str = "") -> None:
    """Wait until *condition* holds; fail when it does not within a bound."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_SECONDS
    while not condition():
        assert loop.time() < end, f"waited in vain {what}"
        await asyncio.sleep(0.01)


@dataclass
class Live:
    """A node that runs and answers on a port of its own."""

    name: str
    folder: Folder
    node: Node
    runner: web.AppRunner
    lock: Lock

    @property
    def core(self) -> Core:
        return self.node.core

    @property
    def phase(self) -> Phase:
        return self.core.publisher.phase

    async def do(self, operation: Callable[..., tuple[Any, News]], **arguments: Any) -> Any:
        return await self.node.perform(lambda tables: operation(tables, self.core, **arguments))

    async def add(self, sku: str, title: str) -> None:
        await self.do(desk.stock_add, sku=sku, listing={"title": title})

    def held(self, stream: Stream) -> Held | None:
        return self.core.store.read(lambda tables: tables.catalogue.held(stream))

    def roots(self) -> dict[bytes, bytes]:
        found = self.core.store.read(lambda tables: tables.catalogue.streams())
        return {held.stream.member_id: held.root for held in found}

    def frontier(self) -> bytes:
        return self.core.store.read(lambda tables: tables.items.frontier())

    def refusals(self) -> dict[str, int]:
        return self.core.store.read(lambda tables: tables.meta.refusals())

    def open_links(self) -> list[Link]:
        return [link for link in self.node.gossiper.links if link.is_open]

    def version(self) -> Version | None:
        head = self.core.store.read(self.core.publisher.own_head)
        return None if head is None else head.version


def _is_member(live: Live) -> bool:
    return live.core.is_member


@dataclass
class Town:
    """All nodes of a test."""

    path: Path
    live: dict[str, Live] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Live:
        return self.live[name]

    async def start(self, name: str, **settings: Any) -> Live:
        """Start the node of a folder, which is made if it is not there; *settings* replace those that it had."""
        folder = Folder(self.path / name)
        if not folder.exists():
            new_folder(folder.path, name, port=0, **settings)
        elif settings:
            configs.save(folder.config, Config(name=name, discovery=False, port=0, **settings))
        core, lock = open_core(folder, World(), None)
        node = Node(core)
        runner = make_runner(node)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        live = self.live[name] = Live(name, folder, node, runner, lock)
        await node.start(f"http://127.0.0.1:{runner.addresses[0][1]}")
        return live

    async def stop(self, name: str) -> None:
        live = self.live.pop(name)
        await live.node.stop()
        await live.runner.cleanup()
        live.lock.release()

    async def restart(self, name: str, **settings: Any) -> Live:
        await self.stop(name)
        return await self.start(name, **settings)

    async def join(self, name: str, invitation: str, **settings: Any) -> Live:
        live = await self.start(name, **settings)
        await join(live.core, invitation)
        await live.node.begin_membership()
        await until(partial(_is_member, live), f"for {name} to be admitted")
        return live

    async def found(self, *names: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> list[Live]:
        """Found a co-op of these: the first founds, the others join over HTTP."""
        own = settings or {}
        first = await self.start(names[0], **own.get(names[0], {}))
        await first.do(desk.coop_found, name="North")
        made = await first.do(desk.coop_invite, uses=50, endpoints=[first.node.url])
        for name in names[1:]:
            await self.join(name, made["invitation"], **own.get(name, {}))
        await until(lambda: all(live.phase is Phase.READY for live in self.live.values()), "for all to be ready")
        return [self.live[name] for name in names]


@asynccontextmanager
async def town(path: Path) -> AsyncIterator[Town]:
    made = Town(path)
    try:
        yield made
    finally:
        for name in list(made.live):
            await made.stop(name)


# ── what must not be called ───────────────────────────────────────────────────────────────────────────


@dataclass
class Canary:
    """Something on this machine that is none of a peer's business; it counts who calls."""

    port: int = 0
    calls: int = 0


@asynccontextmanager
async def canary(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None,
    port: int = 0,
) -> AsyncIterator[Canary]:
    """Serve HTTP on the loopback. *handler* says what is answered, else 200."""
    bird = Canary()

    async def answer_all(request: web.Request) -> web.StreamResponse:
        bird.calls += 1
        return web.Response(text="secret") if handler is None else await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer_all)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    bird.port = runner.addresses[0][1]
    try:
        yield bird
    finally:
        await runner.cleanup()


# ── a peer that may lie ───────────────────────────────────────────────────────────────────────────────


class Liar:
    """One session of a real member's key, driven by hand. *answers* says what it replies to what it is asked."""

    def __init__(self, core: Core, socket: aiohttp.ClientWebSocketResponse, answers: Say) -> None:
        held = core.need_membership()
        self.core = core
        self.answers = answers
        self.heard: list[Message] = []
        self.read: list[Message] = []
        """Everything, answers too."""
        self.reads = asyncio.Event()
        """While it is not set, the peer takes nothing from its socket."""
        self.reads.set()
        self.closed: Closed | None = None
        self.goodbye = ""
        me = Me(held.coop_id, core.keys.identity, core.keys.signing_seed, b"the liar")
        self.session = Session(me, Role.DIALER, core.world.random_bytes(32), 0)
        self._socket = socket

    async def run(self) -> None:
        await self._flush()
        async for frame in self._socket:
            if frame.type is not aiohttp.WSMsgType.BINARY:
                break
            message = messages.read(frame.data)
            self.read.append(message)
            if isinstance(message, messages.Bye):
                self.goodbye = message.reason
            await self._handle(self.session.receive(frame.data, 0))
            await self._flush()
            await self.reads.wait()
        if self.session.state is not State.CLOSED:
            await self._handle(self.session.lost())

    async def say(self, *said: Message) -> None:
        for message in said:
            self.session.send(message)
        await self._flush()

    async def ask(self, *questions: messages.Question) -> None:
        """Ask at most four things, whose answers are among what was `read` then."""
        for question in questions:
            self.session.ask(question, 0)
        await self._flush()

    async def raw(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def text(self, text: str) -> None:
        await self._socket.send_str(text)

    def status(self) -> Status:
        held = self.core.need_membership()
        return Status(held.roster.slot, held.roster.page_id, bytes(8), [])

    def asked(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.heard if isinstance(message, kind)]

    async def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Received():
                    self.heard.append(event.message)
                    reply = self.answers(event.message)
                    if reply is not None and self.session.state is State.OPEN:
                        self.session.send(reply)
                case Closed():
                    self.closed = event
                case Opened():
                    pass

    async def _flush(self) -> None:
        for data in self.session.data_to_send():
            await self._socket.send_bytes(data)


@asynccontextmanager
async def liar(core: Core, target: Live, answers: Say, *, greets: bool = True) -> AsyncIterator[Liar]:
    """Open a session to *target* in the name of *core*'s member; with *greets*, up to the exchange of Status."""
    async with aiohttp.ClientSession() as client:
        socket = await client.ws_connect(target.node.url + "/gossip/v1", max_msg_size=4_000_000)
        peer = Liar(core, socket, answers)
        task = asyncio.create_task(peer.run())
        try:
            await until(lambda: peer.session.state in (State.OPEN, State.CLOSED), "for the handshake")
            if greets:
                await peer.say(peer.status())
            yield peer
        finally:
            peer.reads.set()
            await socket.close()
            await asyncio.wait_for(task, PATIENCE_SECONDS)


def honest(core: Core) -> Say:
    """What an honest node answers from its store."""

    def reply(message: Message) -> Message | None:
        if isinstance(message, messages.Question):
            return core.store.read(answer, message)
        return None

    return reply


@dataclass
class Stock:
    """A catalogue of one chunk, with a head to sign and answers to give."""

    core: Core
    records: dict[bytes, bytes]

    @property
    def summary(self) -> Summary:
        return trie.summarise(trie.entries(self.records.items()))

    @property
    def root(self) -> bytes:
        return trie.state_root({"listing": self.summary})

    @property
    def packed(self) -> bytes:
        return chunks.write_chunk(sorted(self.records.items(), key=lambda row: trie.entry(*row)))

    def head(self, rev: int, ops: dict[bytes, bytes | None] | None = None, since_rev: int = 0) -> Head:
        summary = chunks.summarise_ops(chunks.write_ops({"listing": ops})) if ops else None
        body = heads.body(
            stream=self.core.publisher.stream,
            version=Version(0, rev),
            instance=b"the liar",
            prev=NO_HASH,
            state_root=self.root,
            record_count=self.summary.count,
            record_bytes=self.summary.size,
            since_rev=since_rev,
            ops_root=summary.root if summary else NO_HASH,
            ops_count=summary.count if summary else 0,
            ops_bytes=summary.size if summary else 0,
        )
        coop_id = self.core.need_membership().coop_id
        return heads.read(signing.sign(heads.WHAT, coop_id, body, self.core.keys.signing_seed).to_bytes())

    def nodes(self, question: WalkTrie) -> Nodes:
        if not question.collection:
            return Nodes(question.request, None, trie.state_body({"listing": self.summary}), [])
        return Nodes(question.request, None, b"", [[prefix, 1, self.packed] for prefix in question.prefixes])


def same(question: Since) -> messages.News:
    """Nothing new here."""
    return messages.News(question.request, bytes(8), 0, True, False, [], [], [])


def ops_answer(request: int, head: Head, ops: dict[bytes, bytes | None]) -> Ops:
    bodies = chunks.write_ops({"listing": ops})
    return Ops(request, head.signed.to_bytes(), [[head.version.rev, [[n, deflate(b)] for n, b in bodies.items()]]])


def no_ops(question: GetOps, head: Head) -> Ops:
    """I cannot bridge from there."""
    return Ops(question.request, head.signed.to_bytes(), [])
