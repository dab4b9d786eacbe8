"""Fetching one catalogue from several peers over real sockets: dying, lying, slow, busy and empty-handed ones."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from coopnode.core import Core, open_core
from coopnode.folder import Folder
from coopnode.gossip import walker
from coopnode.publisher import Phase
from coopnode.world import World
from protocol.encoding import encode
from protocol.head import Head
from protocol.limits import MAX_REQUESTS_UNDER_WAY
from protocol.messages import Busy, GetOps, GetPages, Message, News, Nodes, Ops, Pages, Put, Since, WalkTrie
from tests.node.wires import Liar, Live, Stock, Town, honest, liar, no_ops, same, town, until
from tests.protocol.builders import Catalogue

T = TypeVar("T")
RECORDS = 30_000


def big(number: int = RECORDS) -> Catalogue:
    value = encode({"title": "one of many"})
    return Catalogue({"listing": {b"%06d" % one: value for one in range(number)}})


@dataclass
class Scene:
    """A node that runs, and the keys of members whose own nodes are off: peers that tests speak for."""

    anna: Live
    cores: dict[str, Core]
    catalogue: Catalogue
    head: Head
    peers: AsyncExitStack
    gave: Counter[str] = field(default_factory=Counter)
    """How many chunks each has sent."""
    asked: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    """How many questions about the trie were under way at most."""
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    @property
    def author(self) -> Core:
        return self.cores["bert"]

    async def peer(self, name: str, walk: Callable[[WalkTrie, int], Message | None], *, after: float = 0) -> Liar:
        """Link *name*, which answers questions about the trie by *walk*, *after* so many seconds."""
        core, under_way, box = self.cores[name], 0, list[Liar]()

        def answer_later(message: WalkTrie, told: Message | None) -> None:
            nonlocal under_way
            under_way -= 1
            if told is not None and not box[0].closed:
                task = asyncio.ensure_future(box[0].say(told))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())

        def reply(message: Message) -> Message | None:
            nonlocal under_way
            if isinstance(message, GetOps):
                return Ops(message.request, self.head.signed.to_bytes(), [])
            if isinstance(message, Since):
                return same(message)
            if not isinstance(message, WalkTrie) or message.member_id != self.author.member_id:
                return honest(core)(message)
            self.asked[name] += 1
            told = walk(message, self.asked[name])
            if isinstance(told, Nodes):
                self.gave[name] += sum(form for _, form, _ in told.items)
            if not after:
                return told
            under_way += 1
            self.most[name] = max(self.most[name], under_way)
            loop = asyncio.get_running_loop()
            self.timers.append(loop.call_later(after, answer_later, message, told))
            return None

        box.append(await self.peers.enter_async_context(liar(core, self.anna, reply)))
        return box[0]

    def serve(self, message: WalkTrie, _: int) -> Nodes:
        return self.catalogue.serve(message)

    async def tell(self, *peers: Liar) -> None:
        for peer in peers:
            await peer.say(Put([self.head.signed.to_bytes()], [], []))

    @property
    def is_here(self) -> bool:
        held = self.anna.held(self.author.publisher.stream)
        return held is not None and held.root == self.catalogue.state_root and held.head == self.head.signed.to_bytes()


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with town(tmp_path) as place, AsyncExitStack() as peers:
        yield await make(place, peers)


async def make(place: Town, peers: AsyncExitStack) -> Scene:
    anna, *others = await place.found("anna", "bert", "cora", "dora")
    await until(lambda: len(anna.roots()) == 4, "for all profiles")
    names = [live.name for live in others]
    for name in names:
        await place.stop(name)
    cores: dict[str, Core] = {}
    for name in names:
        core, lock = open_core(Folder(place.path / name), World(), None)
        peers.callback(lock.release)
        peers.callback(core.store.close)
        cores[name] = core
    catalogue = big()
    speaker: Any = SimpleNamespace(member_id=cores["bert"].member_id, seed=cores["bert"].keys.signing_seed)
    coop_id = anna.core.need_membership().coop_id
    made = Scene(anna, cores, catalogue, catalogue.head(speaker, time.time_ns() // 1_000, coop_id=coop_id), peers)

    def stop_timers() -> None:
        for timer in made.timers:
            timer.cancel()

    peers.callback(stop_timers)
    return made


# ── several peers ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_catalogue_comes_from_several_peers_at_once(scene: Scene) -> None:
    peers = [await scene.peer(name, scene.serve, after=0.02) for name in ("bert", "cora", "dora")]
    await scene.tell(*peers)
    await until(lambda: scene.is_here, "for the catalogue")
    assert min(scene.gave[name] for name in ("bert", "cora", "dora")) >= 1, scene.gave
    assert max(scene.most.values()) <= MAX_REQUESTS_UNDER_WAY
    assert all(peer.closed is None for peer in peers)


async def test_one_that_dies_one_that_lies_and_one_that_is_slow_bring_it_together(scene: Scene) -> None:
    def lie(message: WalkTrie, _: int) -> Nodes:
        told = scene.serve(message, 0)
        if told.items and told.items[0][1] == 1:
            told = replace(told, items=[*told.items[:-1], [told.items[-1][0], 1, b"no chunk"]])
        return told

    dying: list[Liar] = []

    def die(message: WalkTrie, number: int) -> Nodes | None:
        if number > 4:
            task = asyncio.ensure_future(dying[0]._socket.close())
            task.add_done_callback(lambda done: done.exception())
            return None
        return scene.serve(message, 0)

    dying.append(await scene.peer("bert", die, after=0.01))
    wrong = await scene.peer("cora", lie, after=0.01)
    slow = await scene.peer("dora", scene.serve, after=0.1)
    await scene.tell(dying[0], wrong, slow)
    await until(lambda: scene.is_here, "for the catalogue")
    assert wrong.goodbye in ("chunk_mismatch", "malformed")
    assert slow.closed is None
    assert scene.gave["dora"] >= 1


async def test_peers_that_do_not_hold_it_cost_one_question(scene: Scene) -> None:
    """One has never heard of it, one holds another state: neither is to blame, and the third gives all."""
    old = Catalogue({"listing": {b"k": b"\x80"}})
    speaker: Any = SimpleNamespace(member_id=scene.author.member_id, seed=scene.author.keys.signing_seed)
    coop_id = scene.anna.core.need_membership().coop_id
    older = old.head(speaker, scene.head.version.rev - 1, coop_id=coop_id).signed.to_bytes()
    empty = await scene.peer("bert", lambda message, _: Nodes(message.request, None, b"", []))
    behind = await scene.peer("cora", lambda message, _: Nodes(message.request, older, b"", []))
    holds = await scene.peer("dora", scene.serve)
    await scene.tell(empty, behind, holds)
    await until(lambda: scene.is_here, "for the catalogue")
    assert empty.closed is behind.closed is None
    assert scene.asked["bert"] <= MAX_REQUESTS_UNDER_WAY
    assert scene.asked["cora"] <= MAX_REQUESTS_UNDER_WAY


async def test_what_half_a_peer_has_brought_stays_and_the_next_goes_on_from_there(scene: Scene) -> None:
    """A peer that has come only so far itself, and one that comes later."""
    first = await scene.peer("bert", lambda message, number: scene.serve(message, 0) if number < 6 else None)
    await scene.tell(first)
    await until(lambda: scene.asked["bert"] >= 6, "for the half")
    await first._socket.close()
    gone = scene.gave["bert"]
    assert gone >= 1
    second = await scene.peer("cora", scene.serve)
    await scene.tell(second)
    await until(lambda: scene.is_here, "for the catalogue")
    chunks = 256
    assert scene.gave["cora"] < chunks, "not all again"


# ── busy peers ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_peer_that_is_always_busy_holds_up_nothing(scene: Scene) -> None:
    liar_ = await scene.peer("bert", lambda message, _: Busy(message.request, 60_000))
    await scene.tell(liar_)
    await until(lambda: scene.asked["bert"] == 1, "for the first question")
    other = await scene.peer("cora", scene.serve)
    await scene.tell(other)
    await until(lambda: scene.is_here, "for the catalogue")
    assert scene.asked["bert"] == 1, "it was left alone, as it has asked for"
    assert liar_.closed is None


async def test_a_busy_peer_is_asked_again_when_its_time_has_come(scene: Scene) -> None:
    def busy(message: WalkTrie, number: int) -> Message:
        return Busy(message.request, 30) if number in (1, 3, 4) else scene.serve(message, 0)

    peer = await scene.peer("bert", busy)
    await scene.tell(peer)
    await until(lambda: scene.is_here, "for the catalogue")


async def test_streams_that_only_busy_peers_hold_take_nobodys_turn(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one turn here; whoever waits for a busy peer waits outside."""
    monkeypatch.setattr(scene.anna.node.puller, "_slots", asyncio.Semaphore(1))
    busy = await scene.peer("bert", lambda message, _: Busy(message.request, 60_000))
    await scene.tell(busy)
    await until(lambda: scene.asked["bert"] == 1, "for the question")
    core = scene.cores["cora"]
    stock = Stock(core, {b"k": encode({"title": "of cora"})})
    own = stock.head(time.time_ns() // 1_000)

    def reply(message: Message) -> Message | None:
        if isinstance(message, GetOps):
            return no_ops(message, own)
        return stock.nodes(message) if isinstance(message, WalkTrie) else honest(core)(message)

    cora = await scene.peers.enter_async_context(liar(core, scene.anna, reply))
    await cora.say(Put([own.signed.to_bytes()], [], []))
    await until(lambda: scene.anna.roots()[core.member_id] == stock.root, "for the other stream")


@pytest.mark.parametrize("turn_ms", [50, 10**9])
async def test_a_walk_that_crawls_lets_others_go_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, turn_ms: int
) -> None:
    monkeypatch.setattr(scene.anna.node.puller, "_slots", asyncio.Semaphore(1))
    monkeypatch.setattr(walker, "TURN_MS", turn_ms)
    monkeypatch.setattr(walker, "LOOK_SECONDS", 0.02)
    silent = await scene.peer("bert", lambda message, _: None)
    await scene.tell(silent)
    await until(lambda: scene.asked["bert"] == 1, "for the question")
    core = scene.cores["cora"]
    stock = Stock(core, {b"k": encode({"title": "of cora"})})
    own = stock.head(time.time_ns() // 1_000)

    def reply(message: Message) -> Message | None:
        if isinstance(message, GetOps):
            return no_ops(message, own)
        return stock.nodes(message) if isinstance(message, WalkTrie) else honest(core)(message)

    cora = await scene.peers.enter_async_context(liar(core, scene.anna, reply))
    await cora.say(Put([own.signed.to_bytes()], [], []))
    if turn_ms == 10**9:  # the twin: without turns it waits for as long as the silent one likes
        await until(lambda: scene.anna.node.puller._in_line == 1, "for the line")
        assert scene.anna.roots()[core.member_id] != stock.root
        await silent._socket.close()
    await until(lambda: scene.anna.roots()[core.member_id] == stock.root, "for the other stream")


async def test_catching_up_waits_for_a_busy_peer_and_asks_again(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        anna, bert = await place.found("anna", "bert")
        await until(lambda: len(anna.roots()) == len(bert.roots()) == 2, "for profiles")
        await place.stop("bert")
        await place.stop("anna")
        core, lock = open_core(Folder(tmp_path / "bert"), World(), None)
        anna = await place.start("anna")
        asked: list[Since] = []

        def reply(message: Message) -> Message | None:
            if not isinstance(message, Since):
                return honest(core)(message)
            asked.append(message)
            return Busy(message.request, 20) if len(asked) < 3 else same(message)

        async with liar(core, anna, reply):
            await until(lambda: anna.phase is Phase.READY, "for the third answer")
            assert len(asked) == 3
        core.store.close()
        lock.release()


# ── being busy ────────────────────────────────────────────────────────────────────────────────────────


class Nobody:
    """Somebody who holds a turn."""

    is_full = False

    async def drained(self) -> None:
        return


@pytest.mark.parametrize("bounded", [True, False])
async def test_a_crowd_is_told_when_to_come_back_and_pages_are_answered_always(scene: Scene, bounded: bool) -> None:
    gate: Any = scene.anna.node.gossiper.gate
    gate._most = 2 if bounded else 10**6
    names = ("bert", "cora", "dora")
    peers = [await scene.peers.enter_async_context(liar(scene.cores[name], scene.anna, _mute)) for name in names]
    await until(lambda: len(scene.anna.node.gossiper.linked()) == 3, "for the links")
    await until(lambda: gate.waiting == 0 and gate._inside == 0, "for quiet")
    async with gate.turn(Nobody()), gate.turn(Nobody()):
        for peer in peers:
            await peer.ask(*[Since(0, bytes(8), 0, bytes(32))] * 3, GetPages(0, 0))
        # Who is a member, everybody may learn at any time.
        await until(lambda: all(len(of_kind(peer, Pages)) == 1 for peer in peers), "for the pages")
        if bounded:
            await until(lambda: sum(len(of_kind(peer, Busy)) for peer in peers) == 7, "for the others")
            retry = [one.retry_ms for peer in peers for one in of_kind(peer, Busy)]
            assert all(100 <= one <= 60_000 for one in retry)
            assert len(set(retry)) > 1, "not in step"
        else:
            await until(lambda: gate.waiting == 9, "for a line of nine")
            assert not any(of_kind(peer, Busy) for peer in peers)
    answered = 2 if bounded else 9
    await until(lambda: sum(len(of_kind(peer, News)) for peer in peers) == answered, "for the line")


def _mute(message: Message) -> None:
    return None


def of_kind(peer: Liar, kind: type[T]) -> list[T]:
    return [one for one in peer.read if isinstance(one, kind)]
