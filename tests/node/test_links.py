"""Nodes over real sockets: they converge, and no peer that lies, dawdles or talks nonsense stops them."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from coopnode import desk
from coopnode.core import Core, open_core
from coopnode.folder import Folder
from coopnode.gossip.answers import answer
from coopnode.gossip.link import dial
from coopnode.publisher import Phase
from coopnode.store import Tables
from coopnode.world import World
from protocol.encoding import encode
from protocol.head import Version
from protocol.limits import MAX_RECON_QUESTIONS
from protocol.messages import (
    Answer,
    GetItems,
    GetOps,
    Message,
    Nodes,
    Ping,
    Pong,
    Put,
    Question,
    Reconcile,
    Reconciled,
    Since,
    WalkTrie,
)
from protocol.session import Role
from tests.node.wires import Live, Stock, Town, honest, liar, no_ops, ops_answer, same, town, until


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Town]:
    async with town(tmp_path) as made:
        yield made


async def converge(*nodes: Live) -> None:
    def equal() -> bool:
        return len({tuple(sorted(one.roots().items())) for one in nodes}) == 1 and (
            len({one.frontier() for one in nodes}) == 1
        )

    await until(equal, "for equal states")


# ── good peers ────────────────────────────────────────────────────────────────────────────────────────


async def test_three_nodes_converge_and_one_that_was_away_catches_up(place: Town) -> None:
    anna, bert, cora = await place.found("anna", "bert", "cora")
    for live in (anna, bert, cora):
        await live.add("flour", f"flour of {live.name}")
    await until(lambda: all(len(live.roots()) == 3 for live in (anna, bert, cora)), "for all catalogues")
    await converge(anna, bert, cora)
    await place.stop("cora")
    await anna.add("rye", "new while cora is away")
    await place.start("cora")
    await until(lambda: place["cora"].phase is Phase.READY, "for answers")
    await converge(anna, bert, place["cora"])
    stream = anna.core.publisher.stream
    title = place["cora"].core.store.read(lambda tables: tables.catalogue.get(stream, "listing", b"rye"))
    assert title is not None
    await until(lambda: place["cora"].node.follower.search("rye", 5, 0).total == 1, "for the index")


async def test_nodes_that_dial_each_other_at_once_end_with_one_link(place: Town) -> None:
    anna, bert = await place.found("anna", "bert")
    client = anna.node._client
    assert client is not None

    async def call(one: Live, other: Live) -> None:
        await one.node.gossiper.run_link(await dial(client, other.node.url), Role.DIALER, other.node.url)

    calls = [asyncio.create_task(call(one, other)) for one, other in ((anna, bert), (bert, anna)) for _ in range(2)]

    def settled() -> bool:
        return all(len(live.node.gossiper.links) == 1 and len(live.open_links()) == 1 for live in (anna, bert))

    await until(lambda: sum(task.done() for task in calls) >= 3 and settled(), "for one link")
    assert [live.phase for live in (anna, bert)] == [Phase.READY] * 2, "nobody was taken for a twin"
    await anna.add("flour", "after the collision")
    await converge(anna, bert)
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


# ── bad peers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest_asyncio.fixture
async def lonely(place: Town) -> AsyncIterator[tuple[Live, Core]]:
    """A node, and the core of a member whose own node is off: what a liar speaks with."""
    anna, bert = await place.found("anna", "bert")
    await anna.add("flour", "of anna")
    await converge(anna, bert)
    await place.stop("bert")
    core, lock = open_core(Folder(place.path / "bert"), World(), None)
    yield anna, core
    core.store.close()
    lock.release()


async def still_well(anna: Live, core: Core) -> None:
    """The node takes news of an honest session, as before."""
    titles = {"honest": encode({"title": "honest"})}
    stock = Stock(core, {key.encode(): value for key, value in titles.items()})
    new = stock.head(time.time_ns() // 1_000)

    def reply(message: Message) -> Message | None:
        return stock.nodes(message) if isinstance(message, WalkTrie) else honest(core)(message)

    async with liar(core, anna, reply) as peer:
        await peer.say(Put([new.signed.to_bytes()], [], []))
        await until(lambda: held_root(anna, core) == stock.root, "for an honest catalogue")


def held_root(anna: Live, core: Core) -> bytes | None:
    held = anna.held(core.publisher.stream)
    return None if held is None or held.head is None else held.root


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [(b"", "truncated"), (b"\xc1", "malformed"), (b"\x91\x63", "unknown_kind"), (b"\x92\x14\xff", "out_of_range")],
)
async def test_garbage_ends_the_session_and_is_counted(lonely: tuple[Live, Core], garbage: bytes, reason: str) -> None:
    anna, core = lonely
    async with liar(core, anna, honest(core)) as peer:
        await peer.raw(garbage)
        await until(lambda: peer.closed is not None, "for the end")
        assert peer.goodbye == reason
    await until(lambda: anna.refusals().get(reason) == 1, "for the count")
    await still_well(anna, core)


async def test_a_text_frame_ends_the_session(lonely: tuple[Live, Core]) -> None:
    anna, core = lonely
    async with liar(core, anna, honest(core)) as peer:
        await peer.text("hello")
        await until(lambda: peer.closed is not None, "for the end")
    await until(lambda: anna.refusals().get("malformed") == 1, "for the count")
    await still_well(anna, core)


async def test_wrong_records_end_the_session_and_nothing_of_them_is_kept(lonely: tuple[Live, Core]) -> None:
    anna, core = lonely
    good, bad = Stock(core, {b"k": encode({"title": "good"})}), Stock(core, {b"k": encode({"title": "evil"})})
    new = good.head(time.time_ns() // 1_000)

    def lie(message: Message) -> Message | None:
        if isinstance(message, WalkTrie):
            return bad.nodes(message) if message.collection else good.nodes(message)
        return honest(core)(message)

    before = held_root(anna, core)
    async with liar(core, anna, lie) as peer:
        await peer.say(Put([new.signed.to_bytes()], [], []))
        await until(lambda: peer.closed is not None, "for the end")
        assert peer.goodbye == "chunk_mismatch"
    assert held_root(anna, core) == before
    await still_well(anna, core)


async def test_an_answer_of_another_kind_ends_the_session(lonely: tuple[Live, Core]) -> None:
    anna, core = lonely

    def lie(message: Message) -> Message | None:
        return Nodes(message.request, None, b"", []) if isinstance(message, Since) else None

    async with liar(core, anna, lie) as peer:
        await until(lambda: peer.closed is not None, "for the end")
        assert peer.goodbye == "unasked"
    await still_well(anna, core)


async def test_a_peer_that_is_slow_to_answer_holds_up_nobody_else(place: Town) -> None:
    anna, bert, cora = await place.found("anna", "bert", "cora")
    await converge(anna, bert, cora)
    await place.stop("bert")
    core, lock = open_core(Folder(place.path / "bert"), World(), None)
    stock = Stock(core, {b"k": encode({"title": "slow"})})
    late: list[WalkTrie] = []

    def dawdle(message: Message) -> Message | None:
        if isinstance(message, WalkTrie):
            late.append(message)
            return None
        return honest(core)(message)

    async with liar(core, anna, dawdle) as peer:
        await peer.say(Put([stock.head(time.time_ns() // 1_000).signed.to_bytes()], [], []))
        await until(lambda: late, "for a question")
        await cora.add("rye", "meanwhile")
        await until(lambda: anna.roots().get(cora.core.member_id) == cora.roots()[cora.core.member_id], "for cora")
        peer.answers = lambda message: stock.nodes(message) if isinstance(message, WalkTrie) else None
        await peer.say(stock.nodes(late[0]))
        await until(lambda: held_root(anna, core) == stock.root, "for the slow one")
    core.store.close()
    lock.release()


@pytest.mark.parametrize("number", [8, 9])
async def test_questions_before_the_peer_is_judged_are_few(lonely: tuple[Live, Core], number: int) -> None:
    anna, core = lonely
    async with liar(core, anna, honest(core), greets=False) as peer:
        await peer.say(*(Since(1 + one, bytes(8), 0, bytes(32)) for one in range(number)), Ping(1))
        await until(lambda: peer.closed is not None or peer.asked(Pong), "for a word")
        if number > 8:
            await until(lambda: peer.closed is not None, "for the end")
            assert peer.goodbye == "too_many"
        else:
            assert peer.goodbye == ""
    await still_well(anna, core)


async def test_operations_that_do_not_lead_to_the_signed_root_mark_the_stream_and_walking_repairs_it(
    lonely: tuple[Live, Core],
) -> None:
    """The author signs both, so the fault is its own: the last good state is served until the walk is done."""
    anna, core = lonely
    first, second = Stock(core, {b"k": encode({"title": "first"})}), Stock(core, {b"k": encode({"title": "second"})})
    rev = time.time_ns() // 1_000
    wrong: dict[bytes, bytes | None] = {b"k": encode({"title": "third"})}
    old, new = first.head(rev), second.head(rev + 1, wrong, rev)
    waiting: list[WalkTrie] = []

    def reply(message: Message) -> Message | None:
        if isinstance(message, GetOps):
            return ops_answer(message.request, new, wrong) if message.from_rev == rev else no_ops(message, old)
        if isinstance(message, WalkTrie):
            if message.state_root == first.root:
                return first.nodes(message)
            waiting.append(message)
            return None
        return honest(core)(message)

    async with liar(core, anna, reply) as peer:
        await peer.say(Put([old.signed.to_bytes()], [], []))
        await until(lambda: held_root(anna, core) == first.root, "for the first state")
        await peer.say(Put([new.signed.to_bytes()], [], []))
        await until(lambda: waiting, "for the walk")
        held = anna.held(core.publisher.stream)
        assert held is not None
        assert held.desync
        assert (held.root, held.head) == (first.root, old.signed.to_bytes()), "the last good state is served"
        peer.answers = lambda message: second.nodes(message) if isinstance(message, WalkTrie) else None
        await peer.say(second.nodes(waiting[0]))
        await until(lambda: held_root(anna, core) == second.root, "for the repair")
        held = anna.held(core.publisher.stream)
        assert held is not None
        assert held.desync is None
        assert peer.closed is None


async def test_operations_that_lead_to_the_signed_root_need_no_walk(lonely: tuple[Live, Core]) -> None:
    anna, core = lonely
    first, second = Stock(core, {b"k": encode({"title": "first"})}), Stock(core, {b"k": encode({"title": "second"})})
    rev = time.time_ns() // 1_000
    ops: dict[bytes, bytes | None] = dict(second.records)
    old, new = first.head(rev), second.head(rev + 1, ops, rev)

    def reply(message: Message) -> Message | None:
        if isinstance(message, GetOps):
            return ops_answer(message.request, new, ops) if message.from_rev == rev else no_ops(message, old)
        if isinstance(message, WalkTrie):
            return first.nodes(message)
        return honest(core)(message)

    async with liar(core, anna, reply) as peer:
        await peer.say(Put([old.signed.to_bytes()], [], []))
        await until(lambda: held_root(anna, core) == first.root, "for the first state")
        await peer.say(Put([new.signed.to_bytes()], [], []))
        await until(lambda: held_root(anna, core) == second.root, "for the second state")
        assert {one.state_root for one in peer.heard if isinstance(one, WalkTrie)} == {first.root}


async def test_forged_operations_are_the_peers_fault(lonely: tuple[Live, Core]) -> None:
    anna, core = lonely
    first, second = Stock(core, {b"k": encode({"title": "first"})}), Stock(core, {b"k": encode({"title": "second"})})
    rev = time.time_ns() // 1_000
    old, new = first.head(rev), second.head(rev + 1, dict(second.records), rev)

    def lie(message: Message) -> Message | None:
        if isinstance(message, GetOps):
            forged: dict[bytes, bytes | None] = {b"k": encode({"title": "forged"})}
            return ops_answer(message.request, new, forged) if message.from_rev == rev else no_ops(message, old)
        if isinstance(message, WalkTrie):
            return first.nodes(message)
        return honest(core)(message)

    async with liar(core, anna, lie) as peer:
        await peer.say(Put([old.signed.to_bytes()], [], []))
        await until(lambda: held_root(anna, core) == first.root, "for the first state")
        await peer.say(Put([new.signed.to_bytes()], [], []))
        await until(lambda: peer.closed is not None, "for the end")
        assert peer.goodbye == "ops_mismatch"
    held = anna.held(core.publisher.stream)
    assert held is not None
    assert (held.root, held.desync) == (first.root, None)


# ── restored and copied folders ───────────────────────────────────────────────────────────────────────


async def test_a_node_is_ready_only_when_it_has_heard_the_others_out(place: Town, lonely: tuple[Live, Core]) -> None:
    """Else a restored teller would sign again what it has forgotten."""
    _, core = lonely
    await place.stop("anna")
    anna = await place.start("anna")
    waiting: list[Since] = []

    def dawdle(message: Message) -> Message | None:
        if isinstance(message, Since):
            waiting.append(message)
        return None

    async with liar(core, anna, dawdle) as peer:
        await until(lambda: waiting, "for the question")
        await anna.node.perform(lambda tables: (None, anna.core.look(tables)))
        assert anna.phase is Phase.WAITING
        await peer.say(same(waiting[0]))
        await until(lambda: anna.phase is Phase.READY, "for the phase")


async def test_a_restored_old_folder_publishes_again_at_the_next_epoch(place: Town, tmp_path: Path) -> None:
    anna, bert = await place.found("anna", "bert")
    await bert.add("flour", "old")
    await converge(anna, bert)
    await place.stop("bert")
    shutil.copytree(tmp_path / "bert", tmp_path / "backup")
    bert = await place.start("bert")
    await until(lambda: bert.phase is Phase.READY, "for answers")
    await bert.add("rye", "said after the backup")
    await converge(anna, bert)
    await place.stop("bert")
    shutil.rmtree(tmp_path / "bert")
    shutil.copytree(tmp_path / "backup", tmp_path / "bert")
    bert = await place.start("bert")
    await bert.add("salt", "edited after the restore")

    def is_back() -> bool:
        version = bert.version()
        return bert.phase is Phase.READY and version is not None and version.epoch == 1

    await until(is_back, "for the way back")
    await converge(anna, bert)
    stream = bert.core.publisher.stream
    skus = anna.core.store.read(lambda tables: sorted(key for key, _ in tables.catalogue.records(stream, "listing")))
    assert skus == [b"flour", b"rye", b"salt"]


async def test_twins_are_found_both_halt_and_one_takes_over(place: Town, tmp_path: Path) -> None:
    anna, bert = await place.found("anna", "bert")
    await bert.add("flour", "before")
    await converge(anna, bert)
    await place.stop("bert")
    shutil.copytree(tmp_path / "bert", tmp_path / "copy")
    bert, copy = await place.start("bert"), await place.start("copy")
    await until(lambda: bert.phase is copy.phase is Phase.HALTED, "for both to halt")
    assert anna.phase is Phase.READY
    await copy.add("rye", "waits")
    assert copy.version() == bert.version()
    await place.stop("bert")
    shown = await copy.do(desk.takeover)
    assert shown["publishing"] in ("ready", "behind")
    await until(lambda: copy.phase is Phase.READY, "for the takeover")
    await converge(anna, copy)
    assert copy.version() is not None
    assert copy.version() > Version(1, 0)  # type: ignore[operator]
    stream = copy.core.publisher.stream
    rye = anna.core.store.read(lambda tables: tables.catalogue.get(stream, "listing", b"rye"))
    assert rye is not None


# ── a lost cursor ─────────────────────────────────────────────────────────────────────────────────────


async def propose(live: Live, number: int) -> None:
    for one in range(number):
        await live.do(desk.vote_propose, title=f"{live.name} {one}", closes_in_ms=3_600_000)


def listen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Message, Message]]:
    """Return a list that fills with every question that any node answers, and its answer."""
    heard: list[tuple[Message, Message]] = []

    def hear(tables: Tables, question: Question) -> Answer:
        told = answer(tables, question)
        heard.append((question, told))
        return told

    monkeypatch.setattr("coopnode.gossip.gossiper.answer", hear)
    return heard


async def test_a_node_that_lost_its_cursors_converges_without_hearing_everything_again(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bert = await place.found("anna", "bert")
    await propose(anna, 120)
    await converge(anna, bert)
    await place.stop("bert")
    await anna.add("flour", "new while bert is away")
    await propose(anna, 3)
    core, lock = open_core(Folder(place.path / "bert"), World(), None)
    core.store.write(lambda tables: tables.peers.forget_cursors())
    both = set(core.store.read(lambda tables: tables.items.ids()))
    both &= set(anna.core.store.read(lambda tables: tables.items.ids()))
    core.store.close()
    lock.release()
    heard = listen(monkeypatch)
    bert = await place.start("bert")
    await until(lambda: bert.phase is Phase.READY, "for answers")
    await converge(anna, bert)
    asked = [question for question, _ in heard]
    assert not [one for one in asked if isinstance(one, Since) and one.cursor == 0]
    assert [one for one in asked if isinstance(one, Reconcile)]
    fetched = [one for question in asked if isinstance(question, GetItems) for one in question.ids]
    assert 4 <= len(fetched) <= 10
    assert len(both) > 100
    assert len(set(fetched) & both) <= 2, "a word of bert's own that it has just replaced, at most"
    nonce = anna.core.store.read(lambda tables: tables.meta.get("store_nonce"))
    known = bert.core.store.read(lambda tables: tables.peers.cursor(anna.core.member_id))
    assert known is not None
    assert known[0] == nonce
    assert known[1] <= anna.core.store.read(lambda tables: tables.items.last_seq())


async def test_what_only_the_asker_holds_is_sent_to_the_peer(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, bert = await place.found("anna", "bert")
    await propose(anna, 100)
    await converge(anna, bert)
    before = anna.frontier()
    monkeypatch.setattr(
        bert.node.gossiper.spreading, "spread", lambda *_args, **_how: None
    )  # what bert says now is lost
    await propose(bert, 2)
    assert bert.frontier() != before == anna.frontier()
    bert.core.store.write(lambda tables: tables.peers.forget_cursors())
    (link,) = bert.open_links()
    await bert.node.gossiper._catch_up(link)
    await converge(anna, bert)


@pytest.mark.parametrize("lie", ["equal", "unasked", "endless"])
async def test_a_peer_that_lies_about_differences_does_no_harm(
    place: Town, lonely: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    anna, core = lonely
    await propose(anna, 80)
    anna.core.store.write(lambda tables: tables.peers.forget_cursors())
    asked: list[Message] = []

    def reply(message: Message) -> Message | None:
        asked.append(message)
        if isinstance(message, Reconcile):
            rows: list[list[Any]] = [[b"", 2, bytes(32)]]  # one row for all ranges
            if lie == "equal":
                rows = [[bound, 0, None] for bound, _, _ in message.ranges]
            if lie == "endless":
                rows = [[bound, *([1, bytes(16)] if mode else [0, None])] for bound, mode, _ in message.ranges]
            return Reconciled(message.request, b"a lie...", 7, rows)
        return honest(core)(message)

    async with liar(core, anna, reply) as peer:
        if lie == "unasked":
            await until(lambda: peer.closed is not None, "for the end")
            assert peer.goodbye == "unasked"
        elif lie == "endless":
            await until(lambda: [one for one in asked if isinstance(one, Since)], "for the other way")
            assert sum(isinstance(one, Reconcile) for one in asked) == MAX_RECON_QUESTIONS
        else:
            await until(lambda: [one for one in asked if isinstance(one, Reconcile)], "for the question")
            await peer.say(Ping(1))
            await until(lambda: peer.asked(Pong), "for an answer")
            assert peer.closed is None
    await still_well(anna, core)
