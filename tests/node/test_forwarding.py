"""Questions that a partial node passes on: what comes back is proved, or it is not shown."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from coopnode import desk
from coopnode.catalog.proving import Prover
from coopnode.gossip import forwarding
from coopnode.gossip.forwarding import Forwarder, Passed, Proved
from coopnode.store import Tables
from protocol import head as heads
from protocol import proof, proved, records, signing, trie
from protocol.head import Version
from protocol.limits import MAX_PROVED_BYTES
from protocol.proved import Row
from protocol.records import LISTING, STOCK
from tests.node.server.coops import listing, stock
from tests.node.wires import Live, Town, canary, town, until

NAILS = "nails/50 mm"


async def get(live: Live, path: str, **parameters: Any) -> tuple[int, Any]:
    url = live.node.url + path
    async with aiohttp.ClientSession() as client, client.get(url, params=parameters) as answer:
        body = await answer.read()
        return answer.status, json.loads(body) if "json" in answer.content_type else body


async def publish(live: Live, sku: str, title: str, price: int) -> None:
    rows = [listing(sku, title, price_minor=price, currency="EUR"), stock(sku, said_ms=5, quantity_milli=7_000)]

    def put(tables: Tables) -> Any:
        tables.pending.add(rows)
        return None, live.core.publish(tables)

    await live.node.perform(put)


async def known(live: Live, author: Live) -> None:
    """Wait until *live* can search what *author* says."""
    await until(lambda: live.frontier() == author.frontier(), "for equal frontiers")
    if live.core.scope.replica == "full":
        await until(lambda: live.roots() == author.roots(), "for the states")
    for one in (live, author):  # each of them may be asked
        last = await one.node.read(lambda tables: tables.catalogue.last_change())
        await until(partial(_indexed, one, last), "for the index")


def _indexed(live: Live, last: int) -> bool:
    return live.node.follower.done_seq >= last


@asynccontextmanager
async def shops(path: Path, **settings: Any) -> AsyncIterator[tuple[Town, Live, Live, Live]]:
    """anna sells nails; bert keeps little; cleo keeps everything."""
    async with town(path) as made:
        anna, bert, cleo = await made.found("anna", "bert", "cleo", settings={"bert": settings or {"replica": "light"}})
        await publish(anna, NAILS, "Nails, 50 mm", 250)
        await publish(anna, "H-1", "Claw hammer", 4_248)
        await publish(cleo, "S-1", "Steel nails", 999)
        for live in (bert, cleo):
            await known(live, anna)
        yield made, anna, bert, cleo


async def test_a_light_node_answers_a_search_by_asking_another(tmp_path: Path) -> None:
    async with shops(tmp_path) as (_, anna, bert, _):
        status, shown = await get(bert, "/api/v1/listings", q="nails")
        assert (status, shown["total"]) == (200, 2)
        assert {one["title"] for one in shown["listings"]} == {"Nails, 50 mm", "Steel nails"}
        assert all((one["proved"], one["behind"]) == (True, False) for one in shown["listings"])
        assert shown["listings"][0]["stock"][0]["quantity"] == "7"
        assert shown["passed_on"]["name"] in ("anna", "cleo")
        assert (shown["passed_on"]["dropped"], shown["passed_on"]["behind"]) == (0, 0)
        assert "keeps no other member's catalogue" in shown["note"]
        assert "That nothing is missing cannot be proved." in shown["note"]
        assert shown["coverage"]["replica"] == "light"
        assert shown["coverage"]["not_kept"] == 2
        # The same from the full node, but for what only a passed-on answer says.
        _, whole = await get(anna, "/api/v1/listings", q="nails")
        assert whole["passed_on"] is None
        assert whole["note"] == ""
        plain = [{name: one[name] for name in whole["listings"][0] if name != "age_s"} for one in shown["listings"]]
        assert {one["sku"] for one in plain} == {one["sku"] for one in whole["listings"]}
        _, here = await get(bert, "/api/v1/listings", q="nails", here=1)
        assert (here["total"], here["passed_on"]) == (0, None)
        assert "this is what is here" in here["note"]


async def test_a_light_node_answers_for_one_listing_and_proves_absence(tmp_path: Path) -> None:
    async with shops(tmp_path) as (_, anna, bert, _):
        path = f"/api/v1/listings/{anna.core.member_id.hex()}/"
        status, shown = await get(bert, path, sku=NAILS)
        assert (status, shown["title"], shown["price"]["minor"], shown["proved"]) == (200, "Nails, 50 mm", 250, True)
        assert shown["passed_on"]["name"] == "anna", "the author is asked first"
        status, problem = await get(bert, path, sku="unheard-of")
        assert status == 404
        assert "has proved it" in problem["detail"]
        status, body = await get(bert, "/api/v1/proved/listing", member=anna.core.member_id.hex(), sku=NAILS)
        assert status == 200
        for row in proved.read(body).rows:
            row.check()
        status, body = await get(bert, "/api/v1/proved/listings", q="nails")
        assert len(proved.read(body).rows) == 4
        assert (await get(bert, "/api/v1/proved/listing", member=anna.core.member_id.hex(), sku=NAILS, here=1))[
            0
        ] == 404


async def test_the_pages_say_where_an_answer_comes_from(tmp_path: Path) -> None:
    async with shops(tmp_path) as (made, anna, bert, _):
        _, page = await get(bert, "/", q="hammer")
        assert "Claw hammer" in page.decode()
        assert "was checked here against what its seller has signed" in page.decode()
        _, page = await get(bert, f"/listing/{anna.core.member_id.hex()}/H-1")
        assert "this article comes from the node of anna" in page.decode()
        await made.stop("anna")
        await made.stop("cleo")
        status, page = await get(bert, f"/listing/{anna.core.member_id.hex()}/H-1")
        assert status == 503
        assert "No node that keeps it could be reached now" in page.decode()
        status, page = await get(bert, "/", q="hammer")
        assert (status, "this is what is here" in page.decode()) == (200, True)


async def test_a_scoped_node_passes_on_only_what_it_does_not_keep(tmp_path: Path) -> None:
    chosen = {"replica": "scoped", "replica_members": ("anna",)}
    async with shops(tmp_path, **chosen) as (_, anna, bert, cleo):
        await until(lambda: anna.core.member_id in bert.roots(), "for anna's catalogue")
        path = f"/api/v1/listings/{anna.core.member_id.hex()}/H-1"
        await until(lambda: bert.core.store.read(_has, anna), "for anna's listings")
        status, shown = await get(bert, path)
        assert (status, "proved" in shown) == (200, False), "from its own store"
        status, shown = await get(bert, f"/api/v1/listings/{cleo.core.member_id.hex()}/S-1")
        assert (status, shown["proved"], shown["passed_on"]["name"]) == (200, True, "cleo")
        _, shown = await get(bert, "/api/v1/listings", q="nails")
        assert (shown["total"], shown["passed_on"] is not None) == (2, True)


def _has(tables: Tables, author: Live) -> bool:
    return tables.catalogue.get(author.core.publisher.stream, LISTING, b"H-1") is not None


async def test_a_question_is_passed_on_once_and_to_nodes_that_keep_everything(tmp_path: Path) -> None:
    async with town(tmp_path) as made:
        light: dict[str, Any] = {"replica": "light"}
        anna, bert, cleo = await made.found("anna", "bert", "cleo", settings={"bert": light, "cleo": light})
        await publish(cleo, "S-1", "Steel nails", 999)
        await until(lambda: anna.frontier() == bert.frontier() == cleo.frontier(), "for equal frontiers")
        await made.stop("anna")
        _, shown = await get(bert, "/api/v1/listings", q="nails")
        assert (shown["total"], shown["passed_on"]) == (0, None), "cleo is light too, and is not asked"
        assert cleo.node.forwarder.counts == {}
        path = f"/api/v1/listings/{cleo.core.member_id.hex()}/S-1"
        _, shown = await get(bert, path)
        assert shown["passed_on"]["name"] == "cleo", "but everybody keeps its own"


# ── liars ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Lie:
    """What a node says instead of the truth."""

    rows: list[Row]

    def body(self) -> bytes:
        return proved.write(len(self.rows), self.rows)


def truth(live: Live, author: Live, sku: str) -> list[Row]:
    rows = live.core.store.read(lambda tables: Prover(tables).listing(author.core.member_id, sku))
    assert rows is not None
    return rows


@asynccontextmanager
async def in_place_of(
    made: Town, name: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[None]:
    """Stop a node, and let something else answer at its address."""
    port = int(made[name].node.url.rsplit(":", 1)[1])
    await made.stop(name)
    async with canary(handler, port=port):
        yield


def says(body: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/msgpack")

    return handler


def trusting(_: Tables, __: Any, answered: bytes, data: bytes, *, asked: tuple[bytes, str]) -> Passed:
    """What a node would do that checks nothing."""
    rows = proved.read(data).rows
    return Passed(answered, 1, (Proved(asked[1], rows[0], rows[1], behind=False),))


async def lies(made: Town, anna: Live, cleo: Live) -> dict[str, tuple[bytes, dict[str, Any], str]]:
    """Name -> what the liar sends, what would be shown, and the reason for which it is dropped."""
    rows = truth(cleo, anna, "H-1")
    cheap = records.write(LISTING, b"H-1", {"title": "Claw hammer", "price_minor": 1, "currency": "EUR"})
    theirs = truth(cleo, cleo, "S-1")
    # A whole catalogue of the liar's own making, under a head that anna has not signed.
    entries = trie.entries([(b"H-1", cheap)])
    state = {LISTING: trie.summarise(entries)}
    body = heads.body(
        stream=rows[0].head.stream,
        version=Version(0, rows[0].head.version.rev + 1),
        instance=b"the liar",
        prev=heads.NO_HASH,
        state_root=trie.state_root(state),
        record_count=1,
        record_bytes=state[LISTING].size,
    )
    forged = signing.sign(heads.WHAT, anna.core.need_membership().coop_id, body, cleo.core.keys.signing_seed)
    head = heads.read(forged.to_bytes())
    there = proof.build(state, LISTING, b"H-1", lambda _: entries, lambda _: state[LISTING])
    absent = proof.build(state, STOCK, b"H-1\0", lambda _: b"", lambda _: trie.EMPTY)
    made_up = [Row(head, LISTING, b"H-1", cheap, there), Row(head, STOCK, b"H-1\0", None, absent)]
    for row in made_up:
        row.check()  # nothing but the signature is wrong
    return {
        "altered price": (Lie([replace(rows[0], value=cheap), rows[1]]).body(), {"minor": 1}, "proof_mismatch"),
        "other member's record": (Lie(theirs).body(), {"minor": 999}, "proof_mismatch"),
        "forged head": (Lie(made_up).body(), {"minor": 1}, "bad_signature"),
        "other member's proof": (
            Lie([replace(row, head=rows[0].head) for row in theirs]).body(),
            {"minor": 999},
            "proof_mismatch",
        ),
    }


@pytest.mark.parametrize("checks", [True, False])
@pytest.mark.parametrize("name", ["altered price", "other member's record", "forged head", "other member's proof"])
async def test_a_lie_is_dropped_and_another_node_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, checks: bool
) -> None:
    if not checks:
        monkeypatch.setattr(forwarding, "check_listing", trusting)
    async with shops(tmp_path) as (made, anna, bert, cleo):
        body, lie, reason = (await lies(made, anna, cleo))[name]
        async with in_place_of(made, "anna", says(body)):
            status, shown = await get(bert, f"/api/v1/listings/{anna.core.member_id.hex()}/H-1")
            assert status == 200
            if checks:
                assert (shown["price"]["minor"], shown["passed_on"]["name"]) == (4_248, "cleo")
                assert bert.refusals()[reason] >= 1
                assert bert.node.forwarder.counts["no_use"] == 1
            else:
                assert shown["price"]["minor"] == lie["minor"], "without the check the lie gets through"


@pytest.mark.parametrize("checks", [True, False])
async def test_an_old_word_is_not_taken_for_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checks: bool
) -> None:
    if not checks:
        monkeypatch.setattr(forwarding, "check_listing", trusting)
    async with shops(tmp_path) as (made, anna, bert, cleo):
        old = Lie(truth(cleo, anna, "H-1")).body()
        await publish(anna, "H-1", "Claw hammer", 5_000)
        for live in (bert, cleo):
            await known(live, anna)
        await until(lambda: cleo.roots() == anna.roots(), "for the new price")
        path = f"/api/v1/listings/{anna.core.member_id.hex()}/H-1"
        async with in_place_of(made, "anna", says(old)):
            _, shown = await get(bert, path)
            assert shown["price"]["minor"] == (5_000 if checks else 4_248)
            if checks:
                assert (shown["passed_on"]["name"], shown["behind"]) == ("cleo", False)
                await made.stop("cleo")
                _, shown = await get(bert, path)
                assert (shown["price"]["minor"], shown["behind"]) == (4_248, True), "better than nothing, and said so"
                assert "older than the seller's latest word" in shown["note"]


@pytest.mark.parametrize("checks", [True, False])
async def test_a_search_shows_what_is_proved_and_leaves_out_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checks: bool
) -> None:
    if not checks:
        monkeypatch.setattr(Row, "check", lambda _: None)
    async with shops(tmp_path) as (made, anna, bert, cleo):
        nails, hammer = truth(cleo, anna, NAILS), truth(cleo, anna, "H-1")
        cheap = records.write(LISTING, b"H-1", {"title": "Claw hammer", "price_minor": 1, "currency": "EUR"})
        told = Lie([*nails, replace(hammer[0], value=cheap), hammer[1]]).body()
        await made.stop("cleo")
        async with in_place_of(made, "anna", says(told)):
            _, shown = await get(bert, "/api/v1/listings")
            prices = [one["price"]["minor"] for one in shown["listings"]]
            if checks:
                assert (prices, shown["passed_on"]["dropped"]) == ([250], 1)
                assert "1 could not be proved and is left out" in shown["note"]
                assert bert.refusals()["proof_mismatch"] == 1
            else:
                assert prices == [250, 1], "without the check the lie gets through"


async def test_a_stock_cannot_be_kept_back_or_put_beside_an_older_price(tmp_path: Path) -> None:
    async with shops(tmp_path) as (made, anna, bert, cleo):
        old = truth(cleo, anna, "H-1")
        await publish(anna, "H-1", "Claw hammer", 5_000)
        await until(lambda: cleo.roots() == anna.roots(), "for the new price")
        new, nails = truth(cleo, anna, "H-1"), truth(cleo, anna, NAILS)
        await made.stop("cleo")
        async with in_place_of(made, "anna", says(Lie([*nails, new[0], old[1]]).body())):
            _, shown = await get(bert, "/api/v1/listings")
            assert ([one["sku"] for one in shown["listings"]], shown["passed_on"]["dropped"]) == ([NAILS], 1)
            status, _ = await get(bert, f"/api/v1/listings/{anna.core.member_id.hex()}/H-1")
            assert status == 503, "an answer about nails is none about the hammer"


async def _redirects(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(f"http://127.0.0.1:1/{request.path}")


async def _hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def _packs(_: web.Request) -> web.StreamResponse:
    return web.Response(body=gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    "handler",
    [says(b"nonsense"), says(bytes(MAX_PROVED_BYTES + 1)), says(b""), _redirects, _hangs, _packs],
    ids=["nonsense", "too long", "empty", "elsewhere", "silence", "compressed"],
)
async def test_whatever_else_a_node_answers_another_is_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> None:
    monkeypatch.setattr(forwarding, "EACH_SECONDS", 0.5)
    async with shops(tmp_path) as (made, anna, bert, _), in_place_of(made, "anna", handler):
        status, shown = await get(bert, f"/api/v1/listings/{anna.core.member_id.hex()}/H-1")
        assert (status, shown["passed_on"]["name"]) == (200, "cleo")
        assert bert.node.forwarder.counts["no_use"] == 1


@pytest.mark.parametrize("own_url", ["https://bert.example", "http://127.0.0.1:8420"])
async def test_only_addresses_that_may_be_called_are_called(tmp_path: Path, own_url: str) -> None:
    """A contact statement cannot make a public node call its own machine; in a co-op on one machine it may."""
    async with shops(tmp_path) as (made, anna, bert, _), canary() as bird:
        anna_id = anna.core.member_id
        await made.stop("cleo")
        await anna.do(_moves, url=f"http://127.0.0.1:{bird.port}")
        await until(lambda: bert.frontier() == anna.frontier(), "for the new address")
        await made.stop("anna")
        await bert.node.write(lambda tables: tables.connection.execute("DELETE FROM address").rowcount)
        forwarder = Forwarder(bert.node, own_url)
        before = bird.calls
        assert await forwarder.listing(anna_id, "H-1") is None
        assert (bird.calls > before) is own_url.startswith("http:")


def _moves(tables: Tables, core: Any, *, url: str) -> Any:
    return None, core.say_contact(tables, [url])


async def test_no_more_questions_than_a_few_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "MOST_WAITING", 2)
    monkeypatch.setattr(forwarding, "ALL_SECONDS", 1.0)
    async with shops(tmp_path) as (made, anna, bert, _):
        anna_id = anna.core.member_id
        await made.stop("cleo")
        async with in_place_of(made, "anna", _hangs):
            asked = [asyncio.create_task(bert.node.forwarder.listing(anna_id, "H-1")) for _ in range(5)]
            assert await asyncio.gather(*asked) == [None] * 5
            assert bert.node.forwarder.counts == {"passed_on": 2, "too_many": 3, "timed_out": 2, "unanswered": 2}


async def test_a_full_node_passes_nothing_on(tmp_path: Path) -> None:
    async with shops(tmp_path) as (_, anna, bert, cleo):
        _, shown = await get(cleo, "/api/v1/listings", q="nails")
        assert shown["total"] == 2
        status, _ = await get(cleo, f"/api/v1/listings/{anna.core.member_id.hex()}/unheard-of")
        assert status == 404
        assert cleo.node.forwarder.counts == {}
        assert bert.node.core.is_member
        shown, _ = cleo.core.store.read(desk.status, cleo.core)
        assert (shown["replica"]["kind"], shown["replica"]["whole"], shown["replica"]["others"]) == ("full", 2, 2)
