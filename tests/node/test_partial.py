"""Running nodes that keep a part of the catalogues, or none: what is here, what follows, and what a restart changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coopnode import desk
from coopnode.core import Core, open_core
from coopnode.gossip import keeping
from coopnode.gossip.keeping import lagging
from coopnode.store import Tables
from coopnode.store.catalogue import Held
from coopnode.world import World
from protocol import chunks
from protocol import head as heads
from protocol.encoding import deflate, encode
from protocol.head import Stream
from protocol.messages import GetOps, Message, Nodes, Ops, Put, WalkTrie
from protocol.records import LISTING, PROFILE, STOCK
from tests.node.server.coops import listing, stock
from tests.node.wires import Live, Say, Town, honest, liar, town, until


def stream_of(live: Live) -> Stream:
    return Stream(live.core.member_id, 0)


def kept(live: Live, author: Live) -> dict[str, int]:
    """How many records of each of *author*'s collections are really in the store of *live*."""

    def count(tables: Tables) -> dict[str, int]:
        found = {
            name: len(list(tables.catalogue.records(stream_of(author), name))) for name in (LISTING, STOCK, PROFILE)
        }
        return {name: number for name, number in found.items() if number}

    return live.core.store.read(count)


def size(live: Live) -> int:
    """Bytes of the database, the log before it included."""
    return sum(path.stat().st_size for path in live.folder.path.glob("node.db*"))


def in_step(live: Live) -> bool:
    return not live.core.store.read(lagging, live.core.scope) and not live.node.puller.busy


async def publish(live: Live, number: int, first: int = 0) -> None:
    rows = [listing(f"A-{one:05d}", f"Article {one} of {live.name}") for one in range(first, first + number)]
    rows += [stock(f"A-{one:05d}", said_ms=1, quantity_milli=one) for one in range(first, first + number)]

    def put(tables: Tables) -> Any:
        tables.pending.add(rows)
        return None, live.core.publish(tables)

    await live.node.perform(put)


async def quiet(made: Town) -> None:
    """Wait until everybody has heard the same and holds what it keeps of it."""
    await until(lambda: len({live.frontier() for live in made.live.values()}) == 1, "for equal frontiers")
    await until(lambda: all(map(in_step, made.live.values())), "for all to be in step")


async def three(made: Town, **settings: dict[str, Any]) -> list[Live]:
    """Found a co-op of anna (full) and two others with these settings; each publishes 40 articles."""
    found = await made.found("anna", *settings, settings=settings)
    for live in found:
        await publish(live, 40)
    await quiet(made)
    return found


async def test_a_scoped_node_keeps_its_scope_and_a_light_one_heads(tmp_path: Path) -> None:
    async with town(tmp_path) as made:
        bert = {"replica": "scoped", "replica_members": ("anna",), "replica_collections": ("listing",)}
        anna, bert_, cleo = await three(made, bert=bert, cleo={"replica": "light"})
        assert kept(anna, bert_) == kept(anna, cleo) == {LISTING: 40, STOCK: 40, PROFILE: 1}
        assert kept(bert_, anna) == {LISTING: 40, PROFILE: 1}
        assert kept(bert_, cleo) == {PROFILE: 1}
        assert kept(cleo, anna) == kept(cleo, bert_) == {}
        assert kept(bert_, bert_) == kept(cleo, cleo) == {LISTING: 40, STOCK: 40, PROFILE: 1}, "the own one is whole"
        # The root of a part is the root that the author signed.
        held = bert_.held(stream_of(anna))
        assert held is not None
        assert (set(held.elsewhere), held.root) == ({STOCK}, anna.roots()[anna.core.member_id])
        shown, _ = bert_.core.store.read(desk.status, bert_.core)
        assert shown["replica"] | {"bytes": 0} == {
            "kind": "scoped",
            "members": ["anna"],
            "regions": [],
            "collections": ["listing"],
            "max_records": 0,
            "problems": [],
            "whole": 0,
            "others": 2,
            "records": 42,
            "signed_records": 162,
            "bytes": 0,
        }


async def test_a_change_reaches_a_part_by_its_operations(tmp_path: Path) -> None:
    async with town(tmp_path) as made:
        anna, bert = (await three(made, bert={"replica": "scoped", "replica_collections": ("listing",)}))[:2]
        before = bert.held(stream_of(anna))
        asked = anna.open_links()[0].bytes_out
        await anna.do(desk.stock_add, sku="A-00007", listing={"title": "Another title"}, quantity_milli=9)
        await quiet(made)
        after = bert.held(stream_of(anna))
        assert before is not None
        assert after is not None
        assert (after.head, after.root) != (before.head, before.root)
        value = bert.core.store.read(lambda tables: tables.catalogue.get(stream_of(anna), LISTING, b"A-00007"))
        assert b"Another title" in (value or b"")
        assert anna.open_links()[0].bytes_out - asked < 3000, "one record and the state body, not its chunk"


async def test_a_restart_with_another_scope_fetches_and_drops(tmp_path: Path) -> None:
    async with town(tmp_path) as made:
        anna, bert, cleo = await three(made, bert={"replica": "light"}, cleo={})
        small = size(bert)
        wider = {"replica": "scoped", "replica_members": (anna.core.member_id.hex()[:8],)}
        bert = await made.restart("bert", **wider)
        await until(lambda: kept(bert, anna) == {LISTING: 40, STOCK: 40, PROFILE: 1}, "for what is wanted now")
        await quiet(made)
        assert kept(bert, cleo) == {PROFILE: 1}
        await until(
            lambda: found(bert, "article") == {bert.core.member_id: 40, anna.core.member_id: 40}, "for the index"
        )
        bert = await made.restart("bert", replica="full")
        await until(lambda: kept(bert, cleo) == {LISTING: 40, STOCK: 40, PROFILE: 1}, "for everything")
        await quiet(made)
        bert = await made.restart("bert", replica="scoped", replica_collections=("stock",))
        await quiet(made)
        assert kept(bert, anna) == {STOCK: 40, PROFILE: 1}
        await until(lambda: found(bert, "article") == {bert.core.member_id: 40}, "for the index to follow")
        bert = await made.restart("bert", replica="light")
        assert kept(bert, anna) == kept(bert, cleo) == {}
        await quiet(made)
        assert size(bert) <= 2 * small


def found(live: Live, text: str) -> dict[bytes, int]:
    """How many listings a search finds here, by member."""
    counts: dict[bytes, int] = {}
    for hit in live.node.follower.search(text, 1000, 0).hits:
        counts[hit.member_id] = counts.get(hit.member_id, 0) + 1
    return counts


async def test_narrowing_gives_the_space_back(tmp_path: Path) -> None:
    async with town(tmp_path) as made:
        anna, bert = await made.found("anna", "bert")
        await publish(anna, 8_000)
        await quiet(made)
        large = size(bert)
        bert = await made.restart("bert", replica="light")
        await quiet(made)
        assert size(bert) < large / 4


async def test_too_large_a_catalogue_is_left_where_it_is(tmp_path: Path) -> None:
    async with town(tmp_path) as made:
        anna, bert = (await three(made, bert={"replica": "scoped", "replica_max_records": 81}))[:2]
        assert kept(bert, anna) == {LISTING: 40, STOCK: 40, PROFILE: 1}
        await publish(anna, 1, first=90)
        await quiet(made)
        assert kept(bert, anna) == {PROFILE: 1}, "it has grown beyond the bound"


@pytest.mark.parametrize(
    ("region", "there"), [("DE", True), ("FR", False), ("52.5,13.4,25", True), ("48.1,11.6,25", False)]
)
async def test_a_region_is_told_by_the_profile(tmp_path: Path, region: str, there: bool) -> None:
    async with town(tmp_path) as made:
        anna, bert = (await three(made, bert={"replica": "scoped", "replica_regions": (region,)}))[:2]
        assert kept(bert, anna) == {PROFILE: 1}
        profile = {"name": "Anna", "country": "DE", "place": {"lat_e7": 525_200_000, "lon_e7": 134_050_000}}
        await anna.do(desk.profile_set, profile=profile)
        await quiet(made)
        assert (LISTING in kept(bert, anna)) is there


async def test_a_profile_alone_need_not_follow_every_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path) as made:
        anna, bert = (await three(made, bert={"replica": "scoped", "replica_members": ("nobody",)}))[:2]
        before = bert.held(stream_of(anna))
        await anna.add("rye", "Rye bread")
        await quiet(made)
        assert bert.held(stream_of(anna)) == before, "a new article is nothing to bert"
        monkeypatch.setattr(keeping, "PROFILE_REST_MS", 0)
        await anna.add("oats", "Oats")
        await quiet(made)
        after = bert.held(stream_of(anna))
        assert before is not None
        assert after is not None
        assert after.head != before.head, "but its profile is looked at again some time"
        assert kept(bert, anna) == {PROFILE: 1}


async def test_a_name_that_comes_later_is_understood_then(tmp_path: Path) -> None:
    async with town(tmp_path) as made:
        settings = {"bert": {"replica": "scoped", "replica_members": ("Cleo",)}}
        (_, bert) = await made.found("anna", "bert", settings=settings)
        assert bert.core.scoping.problems == [
            "no member is called 'Cleo', and no member id begins so, as far as is known here"
        ]
        text = (await made["anna"].do(desk.coop_invite, uses=5, endpoints=[made["anna"].node.url]))["invitation"]
        cleo = await made.join("cleo", text)
        await publish(cleo, 3)
        await until(lambda: LISTING in kept(bert, cleo), "for the settings to be read again")
        assert bert.core.scoping.problems == []


async def test_a_part_comes_from_a_part_and_a_light_peer_is_asked_for_nothing(tmp_path: Path) -> None:
    """With the author away, cleo finds anna's listings at bert, who keeps them, and not at dora, who keeps nothing."""
    async with town(tmp_path) as made:
        part: dict[str, Any] = {"replica": "scoped", "replica_collections": ("listing",)}
        await made.found(
            "anna", "bert", "cleo", "dora", settings={"bert": part, "cleo": part, "dora": {"replica": "light"}}
        )
        anna, bert, cleo = made["anna"], made["bert"], made["cleo"]
        await made.stop("cleo")
        await publish(anna, 40)
        await quiet(made)
        await made.stop("anna")
        cleo = await made.start("cleo")
        await until(lambda: kept(cleo, anna) == {LISTING: 40, PROFILE: 1}, "for bert's part of it")
        assert {link.replica.value for link in cleo.open_links()} == {"scoped", "light"}
        # A full node gets from a part what is there, and asks no further for what is not.
        cleo = await made.restart("cleo", replica="full")
        await until(lambda: len(cleo.open_links()) == 2 and not cleo.node.puller.busy, "for the puller to give up")
        assert stream_of(anna) in [one.stream for one in cleo.core.store.read(lagging, cleo.core.scope)]
        await made.start("anna")
        await until(lambda: kept(cleo, anna) == {LISTING: 40, STOCK: 40, PROFILE: 1}, "for the rest from its author")
        assert bert.refusals() == {}


async def test_a_silent_peer_does_not_hold_up_a_part(tmp_path: Path) -> None:
    """The author, who is asked first, takes the question and says nothing: cleo is asked as well."""
    async with town(tmp_path) as made:
        scope = {"replica": "scoped", "replica_collections": ("listing",)}
        anna, bert, cleo = await made.found("anna", "bert", "cleo", settings={"anna": scope})
        await publish(bert, 40)
        await quiet(made)
        for live in (bert, cleo):
            await made.stop(live.name)
        opened = [open_core(live.folder, World(), None) for live in (bert, cleo)]
        (author, _), (other, _) = opened
        head = author.write(change, author, 1)

        def silent(message: Message) -> Message | None:
            return None if isinstance(message, WalkTrie | GetOps) else honest(author)(message)

        async with liar(author, anna, silent) as mute, liar(other, anna, honest(author)):
            await until(lambda: len(anna.open_links()) == 2, "for the links")
            await mute.say(Put([head], [], []))
            await until(lambda: kept_head(anna, author) == head, "for the new state")
            assert mute.asked(WalkTrie)
            assert mute.closed is None
        for core, lock in opened:
            core.store.close()
            lock.release()


async def test_what_is_not_kept_is_not_counted_as_lacking(tmp_path: Path) -> None:
    async with town(tmp_path) as made:
        scope = {"replica": "scoped", "replica_collections": ("listing",)}
        anna, bert = await made.found("anna", "bert", settings={"anna": scope})
        await publish(bert, 40)
        await quiet(made)
        await made.stop("bert")
        core, lock = open_core(bert.folder, World(), None)
        head = core.write(change, core, 41)

        def silent(message: Message) -> Message | None:
            return None if isinstance(message, WalkTrie) else honest(core)(message)

        async with liar(core, anna, silent) as peer:
            await peer.say(Put([head], [], []))
            await until(lambda: peer.asked(WalkTrie), "for the question")
            (waiting,) = await anna.node.puller.progress()
            assert (waiting.records, waiting.missing) == (42, 1), "40 of the 82 are stock"
        core.store.close()
        lock.release()


# ── liars ─────────────────────────────────────────────────────────────────────────────────────────────

EVIL = encode({"title": "evil"})


def change(tables: Tables, core: Core, number: int) -> bytes:
    """Publish so many new listings; return the head."""
    core.publisher.override(tables, core.membership)
    tables.pending.add([listing(f"A-{one:05d}", f"Changed {one}") for one in range(number)])
    (published,) = core.publish(tables).published
    return published.head.signed.to_bytes()


def lying(core: Core, lie: str) -> Say:
    """Answer honestly from the store of *core*, but for one thing."""

    def answers(message: Message) -> Message | None:
        said = honest(core)(message)
        if lie == "ops" and isinstance(said, Ops) and said.segments:
            body = deflate(chunks.write_ops({LISTING: {b"A-00000": EVIL}})[LISTING])
            said = replace(said, segments=[[said.segments[-1][0], [[LISTING, body]]]])
        elif isinstance(said, Nodes) and lie == "state" and said.state:
            said = replace(said, state=said.state[:-1] + bytes([said.state[-1] ^ 1]))
        elif isinstance(said, Nodes) and lie == "chunk" and said.items:
            said = replace(said, items=[[one[0], 1, chunks.write_chunk([])] for one in said.items])
        return said

    return answers


@pytest.mark.parametrize(
    ("lie", "number", "reason"),
    [("", 1, ""), ("ops", 1, ""), ("state", 1, "root_mismatch"), ("chunk", 1_500, "chunk_mismatch")],
)
async def test_a_part_is_what_its_author_signed_whoever_brings_it(
    tmp_path: Path, lie: str, number: int, reason: str
) -> None:
    async with town(tmp_path) as made:
        scope = {"replica": "scoped", "replica_collections": ("listing",)}
        anna, bert = await made.found("anna", "bert", settings={"anna": scope})
        await publish(bert, 40)
        await quiet(made)
        await made.stop("bert")
        core, lock = open_core(bert.folder, World(), None)
        before = anna.held(core.publisher.stream)
        head = core.write(change, core, number)
        async with liar(core, anna, lying(core, lie)) as peer:
            await peer.say(Put([head], [], []))
            if reason:
                await until(lambda: peer.closed is not None, "for the end")
                assert peer.goodbye == reason
                assert anna.held(core.publisher.stream) == before
            else:  # operations that lead nowhere: the walk brings it
                await until(lambda: kept_head(anna, core) == head, "for the new state")
        if reason:
            async with liar(core, anna, honest(core)) as peer:
                await peer.say(Put([head], [], []))
                await until(lambda: kept_head(anna, core) == head, "for the new state")
        value = anna.core.store.read(lambda tables: tables.catalogue.get(core.publisher.stream, LISTING, b"A-00000"))
        assert b"Changed 0" in (value or b"")
        core.store.close()
        lock.release()


async def test_without_the_comparison_the_lie_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with town(tmp_path) as made:
        scope = {"replica": "scoped", "replica_collections": ("listing",)}
        anna, bert = await made.found("anna", "bert", settings={"anna": scope})
        await publish(bert, 40)
        await quiet(made)
        await made.stop("bert")
        core, lock = open_core(bert.folder, World(), None)
        head = core.write(change, core, 1)
        monkeypatch.setattr(Held, "root", property(lambda _: heads.read(head).state_root))
        async with liar(core, anna, lying(core, "ops")) as peer:
            await peer.say(Put([head], [], []))
            await until(lambda: kept_head(anna, core) == head, "for the new state")
        value = anna.core.store.read(lambda tables: tables.catalogue.get(core.publisher.stream, LISTING, b"A-00000"))
        assert b"Changed 0" not in (value or b""), "another state passes for the author's"
        core.store.close()
        lock.release()


def kept_head(live: Live, core: Core) -> bytes | None:
    held = live.held(core.publisher.stream)
    return None if held is None else held.head
