"""Co-ops that are too large for everybody to be linked with everybody: trees, visits, and links that are given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from coopnode.core import Core, open_core
from coopnode.folder import Folder
from coopnode.gossip import company
from coopnode.gossip.company import Company
from coopnode.gossip.link import Link
from coopnode.world import World
from protocol import overlay, session
from protocol.items import ItemKind
from protocol.messages import Graft, Have, Message, Ping, Prune, Put, Since
from tests.node.wires import Live, Town, honest, liar, town, until

NAMES = ("anna", "bert", "cora", "dora", "emil", "fred", "gina", "hugo")


@pytest_asyncio.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Town]:
    """A town that is large with four nodes; nobody visits anybody by chance."""
    monkeypatch.setattr(overlay, "FULL_MESH_MEMBERS", 3)
    monkeypatch.setattr(overlay, "SAMPLED_LINKS", 3)
    monkeypatch.setattr(overlay, "OWN_LINKS", 1)
    monkeypatch.setattr(company, "VISIT_EVERY_MS", 10**9)
    async with town(tmp_path) as made:
        yield made


async def converge(*nodes: Live) -> None:
    def equal() -> bool:
        return len({tuple(sorted(one.roots().items())) for one in nodes}) == 1 == len({one.frontier() for one in nodes})

    await until(equal, "for equal states")


def link_to(one: Live, other: Live) -> Link | None:
    return one.node.gossiper.linked().get(other.core.member_id)


async def test_news_reach_everybody_over_few_links(place: Town) -> None:
    nodes = await place.found(*NAMES)
    await until(lambda: all(len(one.node.gossiper.standings()) >= 3 for one in nodes), "for links")
    for number in range(5):
        for one in nodes:
            await one.add(f"article-{number}", f"of {one.name}")
    await converge(*nodes)
    assert all(len(one.roots()) == len(NAMES) for one in nodes)
    links = sum(len(one.node.gossiper.linked()) for one in nodes)
    assert links < len(NAMES) * (len(NAMES) - 1), "a full mesh"
    lazy = [link for one in nodes for link in one.open_links() if not eager(one, link)]
    assert lazy, "nobody has asked for names only"
    assert not any(one.refusals() for one in nodes)


def eager(one: Live, link: Link) -> bool:
    standing = one.node.gossiper.spreading.standing(link)
    return standing is not None and standing.eager


async def test_two_who_are_not_linked_hear_each_other_out_by_a_visit(place: Town) -> None:
    anna, bert = (await place.found("anna", "bert", "cora", "dora"))[:2]
    await converge(*place.live.values())
    for one, other in ((anna, bert), (bert, anna)):
        link = link_to(one, other)
        if link is not None:
            link.close(None, "apart")
    for one in (anna, bert):
        assert one.node._dialer is not None
        one.node._dialer.look = lambda: None  # type: ignore[method-assign]  # no new links
    await until(lambda: link_to(anna, bert) is None and link_to(bert, anna) is None, "for the link to end")
    for one in list(place.live.values())[2:]:
        await place.stop(one.name)
    await anna.add("flour", "while nobody is linked")
    await bert.add("rye", "while nobody is linked")
    assert anna.frontier() != bert.frontier()
    dialer = anna.node._dialer
    assert dialer is not None
    await until(lambda: dialer.visit(bert.core.member_id), "for an address that may be called now")
    await until(lambda: link_to(anna, bert) is not None, "for the visit")
    visit = link_to(anna, bert)
    assert visit is not None
    await converge(anna, bert)
    assert visit not in anna.node.gossiper.spreading
    assert anna.node.gossiper.standings() == {}
    await until(lambda: not visit.is_open, "for the visitor to leave")
    assert not anna.refusals()
    assert not bert.refusals()


async def test_somebody_is_asked_now_and_then(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = (await place.found("anna", "bert", "cora", "dora"))[0]
    called: list[bytes] = []
    heard: list[Link] = []
    monkeypatch.setattr(anna.node.gossiper, "catch_up_soon", heard.append)

    def visit(member_id: bytes) -> bool:
        called.append(member_id)
        return True

    looks = Company(anna.core, anna.node.gossiper, visit)
    linked = set(anna.node.gossiper.linked())
    others = {one.core.member_id for one in place.live.values()} - {anna.core.member_id}
    for _ in range(60):
        looks.ask_somebody()
    assert set(called) == others - linked
    assert {link.peer for link in heard} == linked
    without_way = Company(anna.core, anna.node.gossiper, lambda _: False)
    heard.clear()
    for _ in range(10):
        without_way.ask_somebody()
    assert len(heard) == 10, "a neighbour where there is no way to another"


@pytest.mark.parametrize("mute", [True, False])
async def test_a_peer_of_our_choice_that_tells_nothing_is_given_up(
    place: Town, monkeypatch: pytest.MonkeyPatch, mute: bool
) -> None:
    nodes = await place.found("anna", "bert", "cora", "dora")
    await converge(*nodes)
    anna, ours = next((one, link) for one in nodes for link in one.open_links() if link.url is not None)
    other = next(one for one in nodes if one.core.member_id == ours.peer)
    if mute:
        for link in other.open_links():
            monkeypatch.setattr(link, "_next_message", lambda _link: None)
    monkeypatch.setattr(overlay, "ROTATE_AFTER_ITEMS", 2)
    monkeypatch.setattr(overlay, "ROTATE_AFTER_MS", 0)
    anna.node.gossiper.spreading.count_anew(ours)
    teller = next(one for one in nodes if one not in (anna, other))
    for number in range(6):
        await teller.add(f"article-{number}", "news")
        await until(lambda: anna.roots()[teller.core.member_id] == teller.roots()[teller.core.member_id], "for news")
    spreading = anna.node.gossiper.spreading

    def told() -> int:
        standing = spreading.standing(ours)
        return 0 if standing is None else standing.told

    if not mute:
        # Chance may have it that the peer hears everything from us: let it say something, be it old.
        back = link_to(other, anna)
        assert back is not None
        heads = other.core.store.read(lambda tables: tables.items.of_kind(ItemKind.HEAD, teller.core.member_id))
        back.send(Put([heads[0].data], [], []))
        await until(told, "for the peer to tell what it has")
    looks = Company(anna.core, anna.node.gossiper, lambda _: False)
    looks.give_up_who_tells_nothing()
    assert ours.is_open is not mute
    if not mute:
        assert told() == 0, "a new time of trial begins"


@pytest_asyncio.fixture
async def lonely(place: Town) -> AsyncIterator[tuple[Live, Core]]:
    """A node, and the core of a member whose own node is off."""
    anna, bert = await place.found("anna", "bert")
    await converge(anna, bert)
    await place.stop("bert")
    core, lock = open_core(Folder(place.path / "bert"), World(), None)
    yield anna, core
    core.store.close()
    lock.release()


async def test_a_node_with_links_enough_lets_no_more_callers_in(
    lonely: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, core = lonely
    monkeypatch.setattr(overlay, "MAX_LINKS", 0)
    async with liar(core, anna, honest(core)) as peer:
        await until(lambda: anna.node.gossiper.linked() != {}, "for the link")
        await peer.say(Ping(1))
        assert peer.session.state is session.State.OPEN, "a full mesh takes everybody"
    monkeypatch.setattr(overlay, "FULL_MESH_MEMBERS", 0)
    async with liar(core, anna, honest(core)) as peer:
        await until(lambda: peer.goodbye, "for the goodbye")
        assert peer.goodbye == "leaving"
    assert not anna.refusals()


async def test_a_peer_that_falls_silent_is_suspect_until_it_speaks(
    lonely: tuple[Live, Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, core = lonely
    monkeypatch.setattr(session, "PING_EVERY_MS", 100)
    monkeypatch.setattr(session, "SUSPECT_MS", 50)
    async with liar(core, anna, honest(core)) as peer:
        me = core.member_id
        await until(lambda: me in anna.node.gossiper.standings(), "for the link")
        monkeypatch.setattr(peer.session, "data_to_send", list)  # no pong leaves any more
        await until(lambda: anna.node.gossiper.standings()[me].silent, "for the suspicion")
        assert anna.node.gossiper.linked(), "it may only be slow"
        monkeypatch.undo()
        await peer.say(Ping(7))
        await until(lambda: not anna.node.gossiper.standings()[me].silent, "for it to be heard")


async def test_a_peer_is_told_names_after_a_prune_and_items_after_a_graft(lonely: tuple[Live, Core]) -> None:
    anna, core = lonely
    heard: list[Message] = []

    def reply(message: Message) -> Message | None:
        heard.append(message)
        return honest(core)(message)

    async with liar(core, anna, reply) as peer:
        await until(lambda: any(isinstance(one, Since) for one in heard), "for the link")
        await peer.say(Prune())
        await peer.say(Ping(1))
        await asyncio.sleep(0)
        await anna.add("flour", "an own word goes whole to all")
        await until(lambda: any(isinstance(one, Put) for one in heard), "for a head")
        assert not any(isinstance(one, Have) for one in heard)
        await peer.say(Have(bytes(8)))
        await until(lambda: Graft(bytes(8)) in heard, "for what was named to be asked for")
