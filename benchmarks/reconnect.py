"""What it costs two nodes to find out what they have missed, at many heads: bytes and round trips after the handshake.

Two real nodes over a real websocket, both in this process so that every message can be counted by its kind. The heads
are of so many members, signed and in both stores; the nodes themselves are two of these. A charter has at most 100
founders and admissions take a vote each, so the roster is widened in memory after the store has been opened.
Bodies behind changed heads are fetched too, and counted apart.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web

from benchmarks.crowd import WORLD, charter, free_ports, make
from benchmarks.table import Figure
from coopnode import keystore
from coopnode.core import open_core
from coopnode.folder import Folder, Lock
from coopnode.gossip.link import AnswerT, Link
from coopnode.ingest import head_slot
from coopnode.membership import begin
from coopnode.node import Node
from coopnode.server.app import make_runner
from coopnode.store import Tables
from protocol import head as heads
from protocol import messages, signing, trie
from protocol.head import Head, Stream, Version
from protocol.items import ItemKind
from protocol.minutes import Genesis

CHANGES = 100
PATIENCE_SECONDS = 60.0
QUIET_SECONDS = 0.5
"""When nothing has been said for so long, everything has been said."""
HANDSHAKE = (messages.Hello, messages.Proof)
BODIES = (messages.GetOps, messages.Ops, messages.WalkTrie, messages.Nodes)
EMPTY_STATE = trie.state_root({})


@dataclass
class Heard:
    """Messages of one link, by kind."""

    number: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)
    questions: int = 0
    """Asked by the node that came back, bodies aside."""
    last: float = 0.0

    @property
    def bytes(self) -> int:
        """All that was said after the handshake, bodies aside."""
        aside = {kind.__name__ for kind in (*HANDSHAKE, *BODIES)}
        return sum(size for kind, size in self.size.items() if kind not in aside)

    @property
    def body_bytes(self) -> int:
        """What fetching bodies took."""
        return sum(self.size[kind.__name__] for kind in BODIES)


@dataclass
class Running:
    """A node that runs."""

    node: Node
    runner: web.AppRunner
    lock: Lock

    async def stop(self) -> None:
        """End it."""
        await self.node.stop()
        await self.runner.cleanup()
        self.lock.release()


class Pair:
    """Two members of a co-op of many, on disk."""

    def __init__(self, base: Path, members: int) -> None:
        made = [make(base / name, name) for name in ("stays", "comes")]
        others = [keystore.create(WORLD.random_bytes)[0] for _ in range(members - 2)]
        self.paths = [base / name for name in ("stays", "comes")]
        self.ports = free_ports(2)  # the same all the time: a node that has moved would say so
        self.urls = [f"http://127.0.0.1:{port}" for port in self.ports]
        self.keys = [*made, *others]
        self.coop_id, bundle = charter(made)
        self.rev = WORLD.now_us()
        signed = [self.head(keys) for keys in self.keys[2:]]
        for path in self.paths:
            core, lock = open_core(Folder(path), WORLD, None)
            core.write(core.adopt_genesis, bundle, self.coop_id)
            core.write(_keep, signed)
            core.store.close()
            lock.release()

    def head(self, keys: keystore.Keys) -> Head:
        """Sign the next head of a member whose catalogue is empty."""
        self.rev += 1
        body = heads.body(
            stream=Stream(keys.identity.member_id, 0),
            version=Version(0, self.rev),
            instance=bytes(8),
            prev=bytes(32),
            state_root=EMPTY_STATE,
            record_count=0,
            record_bytes=0,
        )
        return heads.read(signing.sign(heads.WHAT, self.coop_id, body, keys.signing_seed).to_bytes())

    async def start(self, which: int, *, calls: bool = False) -> Running:
        """Start one of the two; *calls* says that it calls the other."""
        core, lock = open_core(Folder(self.paths[which]), WORLD, None)
        held = core.need_membership()
        everybody = tuple(keys.identity for keys in self.keys)
        genesis: Genesis = replace(held.genesis, founders=everybody)
        core.ingest.membership = begin(genesis)
        if calls:
            core.write(_note_address, self.urls[0])
        node = Node(core)
        runner = make_runner(node)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.ports[which])
        await site.start()
        await node.start(self.urls[which])
        return Running(node, runner, lock)


def _keep(tables: Tables, signed: list[Head]) -> None:
    """Hold heads and the (empty) states behind them."""
    for head in signed:
        data = head.signed.to_bytes()
        tables.items.put(ItemKind.HEAD, head_slot(head), head.head_id, head.stream.member_id, data, WORLD.now_ms())
        tables.catalogue.set_head(tables.catalogue.open_stream(head.stream), data)


def _note_address(tables: Tables, url: str) -> None:
    tables.peers.add_address(url, None, "invitation")  # of nobody in particular: called whoever is wanted


@contextmanager
def listening() -> Iterator[Heard]:
    """Count every message that any session of this process sends."""
    heard = Heard()
    write, ask = messages.write, Link.ask

    def count(message: messages.Message) -> bytes:
        data: bytes = write(message)
        heard.number[type(message).__name__] += 1
        heard.size[type(message).__name__] += len(data)
        heard.last = asyncio.get_running_loop().time()
        return data

    async def count_question(link: Link, question: messages.Question, kind: type[AnswerT]) -> AnswerT:
        # Only the node that comes back has called.
        if link.url is not None and not isinstance(question, BODIES):
            heard.questions += 1
        return await ask(link, question, kind)

    messages.write, Link.ask = count, count_question  # type: ignore[assignment]
    try:
        yield heard
    finally:
        messages.write, Link.ask = write, ask  # type: ignore[method-assign]


async def come_back(pair: Pair, stays: Running) -> Heard:
    """Start the node that comes, and wait until both hold the same and nobody says anything any more."""
    with listening() as heard:
        comes = await pair.start(1, calls=True)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not _is_over(heard, stays.node, comes.node):
                    await asyncio.sleep(0.05)
            return heard
        finally:
            await comes.stop()


def _is_over(heard: Heard, one: Node, other: Node) -> bool:
    if not other.gossiper.linked() or other.puller.busy:
        return False
    if asyncio.get_running_loop().time() - heard.last < QUIET_SECONDS:
        return False
    return one.core.store.read(_frontier) == other.core.store.read(_frontier)


def _frontier(tables: Tables) -> bytes:
    return tables.items.frontier()


async def measure(members: int) -> dict[str, tuple[Heard, int]]:
    """Return what was said in each case, and how many bytes of new heads there were to say."""
    found: dict[str, tuple[Heard, int]] = {}
    with tempfile.TemporaryDirectory(prefix="coopnode-bench-") as base:
        pair = await asyncio.to_thread(Pair, Path(base), members)
        stays = await pair.start(0)

        async def change() -> int:
            new = [pair.head(keys) for keys in pair.keys[2 :: (members - 2) // CHANGES][:CHANGES]]
            await stays.node.write(_keep, new)
            return sum(len(head.signed.to_bytes()) for head in new)

        try:
            found["first meeting, the same heads"] = await come_back(pair, stays), 0
            found["no change"] = await come_back(pair, stays), 0
            size = await change()
            found[f"{CHANGES} changes"] = await come_back(pair, stays), size
            size = await change()
            core, lock = open_core(Folder(pair.paths[1]), WORLD, None)
            core.write(lambda tables: tables.peers.forget_cursors())
            core.store.close()
            lock.release()
            found[f"cursor lost, {CHANGES} changes"] = await come_back(pair, stays), size
        finally:
            await stays.stop()
    return found


def reconnect(members: int = 10_000) -> Iterator[Figure]:
    """Bytes and round trips of coming back, at one head a member."""
    for case, (heard, size) in asyncio.run(measure(members)).items():
        aside = {kind.__name__ for kind in (*HANDSHAKE, *BODIES)}
        params = {"heads": members, **{kind: heard.size[kind] for kind in sorted(heard.size) if kind not in aside}}
        floor = float(size) if size else None
        yield Figure(f"coming back, {case}", heard.bytes, "bytes", floor, "the new heads" if size else "", params)
        yield Figure("  round trips", heard.questions, "questions", None, "", {})
        if heard.body_bytes:
            yield Figure("  and for the bodies", heard.body_bytes, "bytes", None, "", {})
