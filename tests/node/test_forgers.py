"""Whoever sends what no honest node sends is left alone for a while, and honest nodes never do that to each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from coopnode import desk, keystore
from coopnode.core import Core, open_core
from coopnode.folder import Folder
from coopnode.gossip import forgers
from coopnode.gossip.forgers import FIRST_REST_MS, LONGEST_REST_MS, Forgers
from coopnode.store import Tables
from coopnode.store.items import StoredItem
from coopnode.world import World
from protocol import forgery, signing, statements
from protocol import head as heads
from protocol.encoding import encode
from protocol.forgery import Verdict
from protocol.head import Version
from protocol.items import ItemKind
from protocol.messages import GetPages, Message, Pages, Ping, Pong, Put
from tests.node.scenes import Net, contact, said, signed_head, spoilt
from tests.node.wires import Liar, Live, Town, honest, liar, town, until


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Town]:
    async with town(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def lonely(place: Town) -> AsyncIterator[tuple[Live, Core]]:
    """A node, and the core of a member whose own node is off: what a liar speaks with."""
    anna, bert = await place.found("anna", "bert")
    await until(lambda: anna.frontier() == bert.frontier(), "for equal states")
    await place.stop("bert")
    with core_of(place, "bert") as core:
        yield anna, core


@contextmanager
def core_of(place: Town, name: str) -> Iterator[Core]:
    core, lock = open_core(Folder(place.path / name), World(), None)
    yield core
    core.store.close()
    lock.release()


@dataclass
class Speaker:
    """As much of a shop as signing in its name needs."""

    core: Core

    @property
    def member_id(self) -> bytes:
        return self.core.member_id

    @property
    def stream(self) -> heads.Stream:
        return self.core.publisher.stream


def shop(core: Core) -> Any:
    return Speaker(core)


def now_us() -> int:
    return time.time_ns() // 1_000


def later(live: Live, milliseconds: int) -> None:
    """Let time pass for everything in a node that asks for it from now on."""
    steady_ms = live.core.world.steady_ms
    live.core.world = replace(live.core.world, steady_ms=lambda: steady_ms() + milliseconds)


def petition(core: Core) -> bytes:
    """A statement of a kind that only a later version knows."""
    body = {"v": 1, "kind": "petition", "member": core.member_id, "epoch": 0, "revision": 1, "what": "later"}
    coop_id = core.need_membership().coop_id
    return signing.sign("petition", coop_id, encode(body), core.keys.signing_seed).to_bytes()


def stranger(core: Core) -> bytes:
    data = contact(shop(core), "Nobody")
    return data.replace(core.member_id, bytes(20))


def not_canonical(core: Core) -> bytes:
    """A contact with its first key twice as long as it must be: still one value, under another name."""
    body = contact(shop(core), "Bert", revision=2**60)[64:]
    longer = body[:1] + b"\xd9" + bytes([body[1] - 0xA0]) + body[2:]
    coop_id = core.need_membership().coop_id
    return signing.sign(statements.CONTACT, coop_id, longer, core.keys.signing_seed).to_bytes()


FORGED: dict[str, Callable[[Core], Put]] = {
    "a head with a wrong signature": lambda core: Put([spoilt(new_head(core))], [], []),
    "a head of another co-op": lambda core: Put([elsewhere(core)], [], []),
    "a head that is cut short": lambda core: Put([new_head(core)[:-1]], [], []),
    "a statement with a wrong signature": lambda core: Put([], [spoilt(contact(shop(core), "B", revision=2**60))], []),
    "a statement with something behind it": lambda core: Put([], [contact(shop(core), "B") + b"\0"], []),
    "a statement in a second encoding": lambda core: Put([], [not_canonical(core)], []),
    "an identity statement that nobody signed": lambda core: Put([], [], [spoilt(rotated(core).log[-1])]),
}


def new_head(core: Core) -> bytes:
    return signed_head(shop(core), Version(0, now_us())).signed.to_bytes()


def elsewhere(core: Core) -> bytes:
    body = signed_head(shop(core), Version(0, now_us())).signed.body
    return signing.sign(heads.WHAT, bytes(32), body, core.keys.signing_seed).to_bytes()


def items_of(tables: Tables, kind: ItemKind) -> list[StoredItem]:
    return tables.items.of_kind(kind)


async def answers(peer: Liar) -> None:
    """Everything that was sent has been looked at, and the link stands."""
    known = len(peer.asked(Pong))
    await peer.say(Ping(7))
    await until(lambda: len(peer.asked(Pong)) > known, "for an answer")
    assert peer.closed is None


# ── what proves a peer wrong ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", FORGED)
async def test_a_forged_item_ends_the_link_and_the_member_is_left_alone_for_a_while(
    lonely: tuple[Live, Core], what: str
) -> None:
    anna, core = lonely
    forged = FORGED[what](core)
    async with liar(core, anna, honest(core)) as peer:
        await peer.say(forged)
        await until(lambda: peer.closed is not None, "for the end")
        assert peer.goodbye == "forged"
    kept = [item.data for kind in ItemKind for item in anna.core.store.read(items_of, kind)]
    assert not {*forged.heads, *forged.statements, *forged.identities} & set(kept)
    async with liar(core, anna, honest(core), greets=False) as peer:
        await until(lambda: peer.closed is not None, "to be turned away")
        assert peer.goodbye == "forged"
    assert anna.node._dialer is not None
    assert list(anna.node._dialer.shunned()) == [core.member_id]
    assert not anna.node._dialer.visit(core.member_id)
    later(anna, FIRST_REST_MS)
    async with liar(core, anna, honest(core)) as peer:
        await answers(peer)


async def test_without_this_defence_the_forger_stays(
    lonely: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin of the test above: what holds there is not held by anything else."""
    anna, core = lonely
    monkeypatch.setattr(Forgers, "look", lambda *_: None)
    async with liar(core, anna, honest(core)) as peer:
        for forge in FORGED.values():
            await peer.say(forge(core))
        await answers(peer)
    assert sum(anna.refusals().values()) == len(FORGED), "each is refused alone all the same"


async def test_what_an_honest_node_may_send_is_refused_alone(lonely: tuple[Live, Core]) -> None:
    anna, core = lonely
    ahead = signed_head(shop(core), Version(0, now_us() + 10**12)).signed.to_bytes()
    void = said(shop(core), statements.BALLOT, proposal=bytes(32), choice="yes")
    word = contact(shop(core), "Bert again", revision=2**60)
    async with liar(core, anna, honest(core)) as peer:
        await peer.say(Put([ahead], [petition(core), stranger(core), void, word], []))
        await answers(peer)
    kept = [item.data for item in anna.core.store.read(lambda tables: tables.items.on_topic(b"contact"))]
    assert word in kept
    assert set(anna.refusals()) == {"unknown_kind"}
    assert not anna.node.forgers.resting()


async def test_two_nodes_find_back_to_each_other(place: Town) -> None:
    """A full mesh of two: whoever was dropped for whatever reason is called again when the time is over."""
    anna, bert = await place.found("anna", "bert")
    (link,) = anna.open_links()
    anna.node.forgers.drop(link, "it sent a head with a forged signature")
    await until(lambda: not anna.open_links() and not bert.open_links(), "for the end")
    await asyncio.sleep(0)
    assert list(anna.node.forgers.resting()) == [bert.core.member_id]
    later(anna, FIRST_REST_MS)
    later(bert, FIRST_REST_MS)  # its patience with an address that hangs up
    await until(lambda: anna.open_links() and bert.open_links(), "for a link")
    await bert.add("flour", "after all")
    await until(lambda: anna.roots() == bert.roots(), "for equal states")


async def test_the_rest_grows_and_is_forgotten_after_a_day(lonely: tuple[Live, Core]) -> None:
    anna, core = lonely
    rests = []
    for _ in range(7):
        async with liar(core, anna, honest(core)) as peer:
            await peer.say(Put([spoilt(new_head(core))], [], []))
            await until(lambda: peer.closed is not None, "for the end")
        (dropped,) = anna.node.forgers.resting().values()
        rests.append(dropped.rest_ms // FIRST_REST_MS)
        later(anna, dropped.rest_ms)
        assert not anna.node.forgers.resting()
    assert rests == [1, 2, 4, 8, 16, 24, 24]
    later(anna, LONGEST_REST_MS)
    assert not anna.node.forgers.resting()
    async with liar(core, anna, honest(core)) as peer:
        await peer.say(Put([spoilt(new_head(core))], [], []))
        await until(lambda: peer.closed is not None, "for the end")
    (dropped,) = anna.node.forgers.resting().values()
    assert dropped.rest_ms == FIRST_REST_MS


async def test_the_memory_of_forgers_is_bounded(lonely: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch) -> None:
    anna, _ = lonely
    monkeypatch.setattr(forgers, "MAX_FORGERS", 3)

    class Gone:
        def __init__(self, peer: bytes) -> None:
            self.peer = peer

        def close(self, *_: object) -> None:
            """Nothing is there to be closed."""

    for number in range(5):
        anna.node.forgers.drop(Gone(bytes([number]) * 20), "it lied")  # type: ignore[arg-type]
    assert [one[0] for one in anna.node.forgers.resting()] == [2, 3, 4]


# ── change of keys ────────────────────────────────────────────────────────────────────────────────────


def rotated(core: Core) -> keystore.Keys:
    return keystore.rotated(core.keys, 1, core.world.random_bytes)


def signed_by(keys: keystore.Keys, core: Core, epoch: int) -> bytes:
    return signed_head(shop(core), Version(epoch, now_us()), seed=keys.signing_seed).signed.to_bytes()


@pytest.mark.parametrize("tells", [True, False])
async def test_a_new_key_that_we_have_not_heard_of_is_asked_about(lonely: tuple[Live, Core], tells: bool) -> None:
    """A head may overtake the change of key that explains it. Without the question its bearer would be dropped."""
    anna, core = lonely
    new = rotated(core)
    head = signed_by(new, core, 1)

    def reply(message: Message) -> Message | None:
        if isinstance(message, GetPages):
            return Pages(message.request, False, [], [*core.keys.log, *([new.log[-1]] if tells else [])])
        return honest(core)(message)

    async with liar(core, anna, reply) as peer:
        await peer.say(Put([head], [], []))
        if tells:
            kept = heads.read(head).head_id
            await until(lambda: anna.core.store.read(lambda tables: tables.items.has(kept)), "for the head")
            await answers(peer)
            assert not anna.node.forgers.resting()
        else:
            await until(lambda: peer.closed is not None, "for the end")
            assert peer.goodbye == "forged"


async def test_a_peer_that_has_not_heard_of_the_new_key_is_excused(place: Town) -> None:
    """Somebody has the old key of cora and uses it; bert does not know of the new one and passes it on."""
    anna, _, cora = await place.found("anna", "bert", "cora")
    old = cora.core.keys
    await place.stop("bert")
    await cora.do(desk.key_rotate)
    log = cora.core.keys.log[-1]
    cora_id = cora.core.member_id
    await until(lambda: len(identities_of(anna, cora_id)) == 2, "for the new key")
    assert identities_of(anna, cora_id)[-1] == log
    stolen = signed_by(old, cora.core, 1)
    with core_of(place, "bert") as core:
        async with liar(core, anna, honest(core)) as peer:
            await peer.say(Put([stolen], [], []))
            await answers(peer)
            await until(lambda: not anna.node.forgers._tasks, "for the verdict")
            await answers(peer)
    assert anna.refusals()["bad_signature"] == 1
    assert not anna.node.forgers.resting()


def identities_of(live: Live, member_id: bytes) -> list[bytes]:
    found = live.core.store.read(lambda tables: tables.items.of_kind(ItemKind.IDENTITY, member_id))
    return [item.data for item in found]


async def test_honest_nodes_drop_nobody_through_changes_of_keys_under_traffic(place: Town) -> None:
    nodes = await place.found("anna", "bert", "cora")
    anna, bert, cora = nodes

    async def trade(live: Live, number: int) -> None:
        for one in range(number):
            await live.add(f"sku-{one}", f"edition {one} of {live.name}")

    async def change(live: Live) -> None:
        for _ in range(4):
            await live.do(desk.key_rotate)
            await live.add("key", "signed with a new key")

    await asyncio.gather(*(trade(live, 25) for live in nodes), change(anna), change(bert))

    def equal() -> bool:
        return len({tuple(sorted(one.roots().items())) for one in nodes}) == 1 == len({one.frontier() for one in nodes})

    await until(equal, "for equal states")
    assert [live.node.forgers.resting() for live in nodes] == [{}, {}, {}]
    assert ["forged" in live.refusals() for live in nodes] == [False] * 3
    assert all(len(live.open_links()) == 2 for live in nodes)
    for live in nodes:
        held = live.core.store.read(lambda tables: tables.items.of_kind(ItemKind.HEAD))
        epochs = {heads.read(item.data).stream.member_id: heads.read(item.data).version.epoch for item in held}
        assert epochs == {anna.core.member_id: 4, bert.core.member_id: 4, cora.core.member_id: 0}


async def test_a_peer_that_does_not_explain_itself_is_hung_up_on_and_nothing_more(
    lonely: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, core = lonely
    asked: list[GetPages] = []

    def reply(message: Message) -> Message | None:
        if isinstance(message, GetPages):
            asked.append(message)
            return None
        return honest(core)(message)

    async with liar(core, anna, reply) as peer:
        await peer.say(Put([signed_by(rotated(core), core, 1)], [], []))
        await until(lambda: asked, "for the question")
        (link,) = anna.open_links()
        await link._handle(link.session.tick(anna.core.world.steady_ms() + 31_000))
        await until(lambda: peer.closed is not None, "for the end")
        assert peer.goodbye == "timed_out"
    assert not anna.node.forgers.resting()


async def test_without_the_question_a_change_of_key_looks_like_a_forgery(
    lonely: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin of the question: judged by our own log alone, an honest peer is dropped."""
    anna, core = lonely
    judge = forgery.judge_signature
    monkeypatch.setattr(forgery, "judge_signature", lambda *row, told: judge(*row, told=True))
    async with liar(core, anna, honest(core)) as peer:
        await peer.say(Put([signed_by(rotated(core), core, 1)], [], []))
        await until(lambda: peer.closed is not None, "for the end")
        assert peer.goodbye == "forged"


def test_an_application_proves_nothing_of_who_brings_it(net: Net) -> None:
    """Which of the three signatures in it is wrong may depend on the log of the member that invited."""
    net.found("anna")
    cora = net.set_up("cora")
    data = said(
        net["anna"],
        statements.APPLICATION,
        invitation=bytes(32),
        name="Cora",
        log=[cora.core.keys.log[0]],
    )
    judged = net["anna"].core.store.read(forgers._judge, net["anna"].core, ItemKind.STATEMENT, data, told=True)
    assert judged is Verdict.EXCUSED
