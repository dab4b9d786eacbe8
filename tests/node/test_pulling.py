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

from coopnode import desk
from coopnode.core import Core, open_core
from coopnode.folder import Folder
from coopnode.gossip import walker
from coopnode.publisher import Phase
from coopnode.world import World
from protocol import chunks
from protocol.encoding import deflate, encode
from protocol.head import Head
from protocol.limits import MAX_REQUESTS_UNDER_WAY
from protocol.messages import Busy, GetOps, GetPages, Message, News, Nodes, Ops, Pages, Put, Since, WalkTrie
from protocol.scope import Replica
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
    speaker = _speaker(cores["bert"])
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
    older = old.head(_speaker(scene.author), scene.head.version.rev - 1, coop_id=_coop_id(scene)).signed.to_bytes()
    empty = await scene.peer("bert", lambda message, _: Nodes(message.request, None, b"", []))
    behind = await scene.peer("cora", lambda message, _: Nodes(message.request, older, b"", []))
    holds = await scene.peer("dora", scene.serve)
    await scene.tell(empty, behind, holds)
    await until(lambda: scene.is_here, "for the catalogue")
    assert empty.closed is behind.closed is None
    assert scene.asked["bert"] <= MAX_REQUESTS_UNDER_WAY
    assert scene.asked["cora"] <= MAX_REQUESTS_UNDER_WAY


async def test_silent_peers_do_not_keep_the_others_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would, for the half minute after which each is given up."""
    monkeypatch.setattr(walker, "PEERS_AT_ONCE", 1)
    holds = await scene.peer("dora", scene.serve)
    silent = [await scene.peer(name, lambda message, _: None) for name in ("bert", "cora")]
    await scene.tell(*silent)
    await until(lambda: scene.is_here, "for the catalogue")
    assert scene.asked["bert"] == 1
    assert holds.closed is None


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


# ── whom to ask ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mesh", [12, 3])
async def test_in_a_large_coop_the_author_is_asked_last(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, mesh: int
) -> None:
    """Else all members would ask it at once, for every word that it says."""
    monkeypatch.setattr("coopnode.node.FULL_MESH_MEMBERS", mesh)
    for name in ("bert", "cora", "dora"):
        await scene.peer(name, scene.serve)
    node = scene.anna.node
    await until(lambda: len(node.gossiper.linked()) == 3, "for the links")
    by_name = {name: node.gossiper.linked()[core.member_id] for name, core in scene.cores.items()}
    for offering in (["dora"], ["dora", "bert"]):
        order = node.links_to_ask(scene.author.member_id, [by_name[name] for name in offering])
        expected = ["bert", "dora", "cora"] if mesh == 12 else ["dora", "cora", "bert"]
        assert order == [by_name[name] for name in expected]
    by_name["dora"].session.is_silent = True
    assert node.links_to_ask(scene.author.member_id, [by_name["dora"]])[-1] is by_name["dora"], "it has fallen silent"


async def test_whole_replicas_are_asked_before_parts_and_light_ones_for_their_own_alone(scene: Scene) -> None:
    for name in ("bert", "cora", "dora"):
        await scene.peer(name, scene.serve)
    node = scene.anna.node
    await until(lambda: len(node.gossiper.linked()) == 3, "for the links")
    bert, cora, dora = (node.gossiper.linked()[scene.cores[name].member_id] for name in ("bert", "cora", "dora"))
    bert.replica, cora.replica = Replica.LIGHT, Replica.SCOPED
    assert node.links_to_ask(bert.peer or b"", [cora]) == [bert, dora, cora]
    assert node.links_to_ask(cora.peer or b"", [bert]) == [cora, dora]


async def test_the_author_is_spared_while_others_hold_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coopnode.node.FULL_MESH_MEMBERS", 3)
    monkeypatch.setattr(walker, "PEERS_AT_ONCE", 2)
    peers = [await scene.peer(name, scene.serve) for name in ("bert", "cora", "dora")]
    await scene.tell(*peers[1:])
    await until(lambda: scene.is_here, "for the catalogue")
    assert scene.asked["bert"] == 0


# ── what does not fit, and what is not true ───────────────────────────────────────────────────────────


async def test_a_head_whose_numbers_its_state_contradicts_is_shown_as_its_authors_fault(scene: Scene) -> None:
    rev = time.time_ns() // 1_000
    scene.head = scene.catalogue.head(_speaker(scene.author), rev, coop_id=_coop_id(scene), record_count=RECORDS + 1)
    peer = await scene.peer("bert", scene.serve)
    await scene.tell(peer)
    await until(lambda: scene.is_here, "for the catalogue, which is kept all the same")
    status = (await scene.anna.node.read(desk.status, scene.anna.core))[0]
    (fault,) = status["faults"]
    assert fault["member"] == scene.author.member_id.hex()
    assert f"says {RECORDS + 1} records" in fault["why"]
    assert peer.closed is None


def zeros(collection: str, number: int) -> list[object]:
    """Operations that are far bigger unpacked than on the wire."""
    changes: dict[bytes, bytes | None] = {b"%s %d" % (collection.encode(), one): bytes(16_000) for one in range(number)}
    return [collection, deflate(chunks.write_ops({collection: changes})[collection])]


@pytest.mark.parametrize("how", ["many segments", "one segment"])
async def test_operations_that_unpack_to_too_much_fill_no_memory(scene: Scene, how: str) -> None:
    """In a message of some kilobytes could be gigabytes. Many segments may be honest, and walking is better then."""
    first = Stock(scene.author, {b"k": encode({"title": "first"})})
    rev = time.time_ns() // 1_000
    old = first.head(rev)
    if how == "one segment":
        segments = [[rev + 1, [zeros("listing", 60), zeros("stock", 60)]]]
    else:
        segments = [[rev + one, [zeros("listing", 60)]] for one in range(1, 41)]
    scene.head = scene.catalogue.head(_speaker(scene.author), rev + 40, coop_id=_coop_id(scene))

    def reply(message: Message) -> Message | None:
        if isinstance(message, GetOps):
            if message.from_rev == rev:
                return Ops(message.request, scene.head.signed.to_bytes(), segments)
            return no_ops(message, old)
        if isinstance(message, WalkTrie):
            return first.nodes(message) if message.state_root == first.root else scene.catalogue.serve(message)
        return honest(scene.author)(message)

    bert = await scene.peers.enter_async_context(liar(scene.author, scene.anna, reply))
    await bert.say(Put([old.signed.to_bytes()], [], []))
    await until(lambda: scene.anna.roots()[scene.author.member_id] == first.root, "for the first state")
    await scene.tell(bert)
    if how == "one segment":
        await until(lambda: bert.closed is not None, "for the end")
        assert bert.goodbye == "too_large"
    else:
        await until(lambda: scene.is_here, "for the walk")
        assert bert.closed is None


def _speaker(core: Core) -> Any:
    return SimpleNamespace(member_id=core.member_id, seed=core.keys.signing_seed)


def _coop_id(scene: Scene) -> bytes:
    return scene.anna.core.need_membership().coop_id
