from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import pytest

import coopnode
from coopnode import desk
from coopnode.catalog import shelf
from coopnode.catalog.shelf import LISTING_FIELDS, PROFILE_FIELDS
from coopnode.gossip.link import Link
from coopnode.server import api, app
from coopnode.server import coop as coop_files
from coopnode.server.control import Control, peers
from protocol import records
from protocol.encoding import encode
from protocol.head import Stream
from protocol.items import ItemKind
from protocol.limits import MAX_QUANTITY_MILLI, STREAM_PUBLIC
from protocol.records import PROFILE, PROFILE_KEY, STOCK
from tests.node.server.coops import Coop, Running, listing, raw_listing, running, stock, until

DAY_MS = 24 * 3600 * 1000
READS = (
    "/api/v1/listings",
    "/api/v1/members",
    "/api/v1/proposals",
    "/api/v1/status",
)


@pytest.fixture
def coop(tmp_path: Path) -> Iterator[Coop]:
    made = Coop(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def alone(coop: Coop) -> AsyncIterator[Running]:
    """A co-op of one member, its node running."""
    (shop,) = coop.found("Anna's Tools")
    async with running(shop) as node:
        yield node


def me(node: Running) -> str:
    return node.node.core.member_id.hex()


def check_problem(answer: Any, status: int, kind: str) -> None:
    assert answer.status == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert (body["type"], body["status"]) == (f"urn:coopnode:problem:{kind}", status)
    assert body["detail"].endswith(".")


# listings


async def test_a_listing_says_what_it_costs_how_many_there_are_and_how_old_that_is(coop: Coop) -> None:
    (shop,) = coop.found("Anna's Tools")
    said_ms = coop.clock.now_ms()
    shop.put(
        [
            listing("H-1", "Hammer", price_minor=1250, currency="EUR", brand="Forge", pictures=[b"\x07" * 32]),
            stock("H-1", said_ms=said_ms, quantity_milli=12_500),
        ]
    )
    coop.clock.ahead_ms += 240_000
    async with running(shop) as node:
        one = await node.json(f"/api/v1/listings/{me(node)}/H-1")
        found = await node.json("/api/v1/listings?q=hammer")
        member = await node.json(f"/api/v1/members/{me(node)}")
    assert (one["title"], one["brand"], one["pictures"]) == ("Hammer", "Forge", ["07" * 32])
    assert (one["member"], one["member_name"], one["sku"]) == (shop.core.member_id.hex(), "Anna's Tools", "H-1")
    assert one["price"] == {"minor": 1250, "currency": "EUR", "text": "12.50 EUR"}
    (stocked,) = one["stock"]
    assert 240 <= stocked.pop("age_s") < 300
    assert stocked == {
        "location": "",
        "quantity_milli": 12_500,
        "quantity": "12.5",
        "available": True,
        "said_ms": said_ms,
    }
    assert 240 <= one["age_s"] < 300
    assert said_ms <= one["as_of_ms"] < said_ms + 60_000
    assert one["state_root"] == member["state_root"]
    assert len(one["state_root"]) == 64
    assert [(hit["sku"], hit["state_root"]) for hit in found["listings"]] == [("H-1", one["state_root"])]
    assert found["coverage"] == {"members": 1, "complete": 1, "older_than_a_day": 0, "replica": "full", "not_kept": 0}
    assert (found["total"], found["limit"], found["offset"]) == (1, 20, 0)


async def test_what_others_sell_is_found_with_the_age_of_their_word(coop: Coop) -> None:
    anna, bert, carl = coop.found("Anna", "Bert", "Carl")
    bert.put([listing("n", "Copper nail")])
    coop.meet()
    coop.clock.ahead_ms += 2 * DAY_MS
    carl.put([listing("c", "Copper wire")])  # heard of by nobody yet
    async with running(anna) as node:
        found = await node.json("/api/v1/listings?q=copper")
        members = await node.json("/api/v1/members")
    (hit,) = found["listings"]
    assert (hit["member_name"], hit["sku"], hit["stock"], hit["price"]) == ("Bert", "n", [], None)
    assert 2 * 86_400 <= hit["age_s"] < 2 * 86_400 + 60
    assert found["coverage"] == {"members": 3, "complete": 3, "older_than_a_day": 3, "replica": "full", "not_kept": 0}
    assert [(one["name"], one["listings"], one["complete"]) for one in members["members"]] == [
        ("Anna", 0, True),  # the name that every member publishes when it is admitted
        ("Bert", 1, True),
        ("Carl", 0, True),
    ]


async def test_a_member_of_whom_nothing_has_come_is_counted_as_missing(coop: Coop) -> None:
    anna, bert = coop.found("Anna", "Bert")
    head = Stream(bert.core.member_id, STREAM_PUBLIC)
    anna.core.write(lambda tables: tables.catalogue.drop_head(head))
    async with running(anna) as node:
        found = await node.json("/api/v1/listings")
        members = await node.json("/api/v1/members")
    assert found["coverage"] == {"members": 2, "complete": 1, "older_than_a_day": 0, "replica": "full", "not_kept": 0}
    assert [(one["name"], one["complete"], one["as_of_ms"], one["age_s"]) for one in members["members"]][1] == (
        "Bert",
        False,
        None,
        None,
    )


SKUS = (
    "plain",
    "a/b",
    "/",
    "//x/../y",
    ".",
    "..",
    "50 %",
    "%2F",
    "%252F",
    "a+b",
    "a?b#c",
    "ünïcödé",
    "قلم",
    "🔨",
    "a;b=c&d",
    "'\"<>\\",
    "{}|^`~",
)


async def test_any_sku_is_found_by_its_address_and_by_its_page(alone: Running) -> None:
    await alone.publish(*(listing(sku, f"Article {number}") for number, sku in enumerate(SKUS)))
    for number, sku in enumerate(SKUS):
        rest = f"?sku={sku}" if sku in (".", "..") else quote(sku, safe="")
        for base in ("/api/v1/listings/", "/listing/"):
            answer = await alone.get(f"{base}{me(alone)}/{rest}")
            assert answer.status == 200, (sku, answer.text)
            assert f"Article {number}" in answer.text
    # Proxies that decode %2F on the way do no harm.
    assert (await alone.json(f"/api/v1/listings/{me(alone)}/a/b"))["sku"] == "a/b"


async def test_paging_goes_through_everything_once(alone: Running) -> None:
    await alone.publish(*(listing(f"s{number}", f"Nail {number} mm") for number in range(45)))
    seen: list[str] = []
    for offset in range(0, 60, 20):
        page = await alone.json(f"/api/v1/listings?q=nail&limit=20&offset={offset}")
        assert page["total"] == 45
        seen.extend(one["sku"] for one in page["listings"])
    assert len(seen) == len(set(seen)) == 45


async def test_a_record_cannot_pass_for_the_word_of_the_node(alone: Running) -> None:
    own = {"member": "00", "member_name": "Bank", "state_root": "11", "age_s": 0, "verified": True, "sku": "other"}
    await alone.publish(raw_listing("s", {"title": "Gold", **own}))
    one = await alone.json(f"/api/v1/listings/{me(alone)}/s")
    assert (one["member"], one["member_name"], one["sku"]) == (me(alone), "Anna's Tools", "s")
    assert one["state_root"] != "11"
    assert "verified" not in one


async def test_a_stock_dated_ahead_does_not_stay_young(coop: Coop) -> None:
    (shop,) = coop.found("Anna")
    shop.put([listing("s", "Saw"), stock("s", said_ms=2**53, available=True)])
    coop.clock.ahead_ms += DAY_MS
    async with running(shop) as node:
        one = await node.json(f"/api/v1/listings/{me(node)}/s")
    (stocked,) = one["stock"]
    assert stocked["age_s"] >= 86_400
    assert (stocked["quantity"], stocked["available"]) == (None, True)


async def test_records_that_break_a_rule_are_not_shown(alone: Running) -> None:
    await alone.publish(
        listing("good", "Good saw"),
        (STOCK, records.stock_key("good"), encode({"said_ms": 1, "quantity_milli": -5})),
        raw_listing("bad", {"title": "Bad saw", "price_minor": -1, "currency": "EUR"}),
        (PROFILE, PROFILE_KEY, encode({"name": "x", "secret": b"\xff"})),
    )
    found = await alone.json("/api/v1/listings?q=saw")
    assert [(one["sku"], one["stock"]) for one in found["listings"]] == [("good", [])]
    check_problem(await alone.get(f"/api/v1/listings/{me(alone)}/bad"), 404, "not_found")
    assert (await alone.json(f"/api/v1/members/{me(alone)}"))["profile"] == {"name": "x"}


async def test_money_and_quantities_of_every_size(alone: Running) -> None:
    await alone.publish(
        listing("jpy", "Yen", price_minor=1000, currency="JPY"),
        listing("kwd", "Dinar", price_minor=1250, currency="KWD"),
        listing("free", "Free", price_minor=0, currency="EUR"),
        listing("dear", "Dear", price_minor=10**15, currency="EUR"),
        stock("dear", said_ms=0, quantity_milli=MAX_QUANTITY_MILLI),
    )
    shown = {one["sku"]: one for one in (await alone.json("/api/v1/listings"))["listings"]}
    assert {sku: one["price"]["text"] for sku, one in shown.items()} == {
        "jpy": "1000 JPY",
        "kwd": "1.250 KWD",
        "free": "0.00 EUR",
        "dear": "10000000000000.00 EUR",
    }
    assert shown["dear"]["stock"][0]["quantity"] == "1000000000000"


async def test_every_field_of_the_rules_is_shown() -> None:
    required, optional = records._RULES["listing"]
    assert {*required, *optional} == {*LISTING_FIELDS, "price_minor", "currency"}
    required, optional = records._RULES["profile"]
    assert {*required, *optional} == set(PROFILE_FIELDS)


# members, proposals, status


async def test_members_and_one_member(alone: Running) -> None:
    await alone.perform(desk.profile_set, profile={"name": "Anna Ltd", "place": {"lat_e7": 1, "lon_e7": -2}})
    all_of_them = await alone.json("/api/v1/members")
    (one,) = all_of_them["members"]
    assert (all_of_them["coop"], all_of_them["total"]) == ("North", 1)
    assert all_of_them["coop_id"] == alone.node.core.need_membership().coop_id.hex()
    assert one["profile"] == {"name": "Anna Ltd", "place": {"lat_e7": 1, "lon_e7": -2}}
    assert (one["listings"], one["records"], one["complete"]) == (0, 1, True)
    assert await alone.json(f"/api/v1/members/{me(alone)}") == one
    assert (await alone.json("/api/v1/members?offset=1"))["members"] == []


async def test_a_poll_is_counted_and_shown_as_provisional(coop: Coop) -> None:
    anna, bert, _carl = coop.found("Anna", "Bert", "Carl")
    first = anna.do(desk.vote_propose, title="Fee", text="Lower it.", closes_in_ms=60_000, quorum_bp=5000)
    coop.meet()
    anna.do(desk.vote_cast, proposal=first["id"], choice="yes", why="Cheap.")
    bert.do(desk.vote_cast, proposal=first["id"], choice="no")
    coop.meet()
    coop.clock.ahead_ms += 1000
    second = anna.do(desk.vote_propose, title="Name", closes_in_ms=600_000)
    async with running(anna) as node:
        one = await node.json(f"/api/v1/proposals/{first['id'].upper()}")
        listed = await node.json("/api/v1/proposals")
        before = await node.get(f"/api/v1/proposals/{first['id']}")
        coop.clock.ahead_ms += 60_000
        tag = {"If-None-Match": before.headers["ETag"]}
        after = await node.get(f"/api/v1/proposals/{first['id']}", headers=tag)
    assert one["tally"] == {
        "entitled": 3,
        "yes": 1,
        "no": 1,
        "abstain": 0,
        "doubled": 0,
        "quorum": 2,
        "carried": False,
    }
    assert (one["title"], one["proposer_name"], one["provisional"], one["open"]) == ("Fee", "Anna", True, True)
    assert [(ballot["member_name"], ballot["choice"], ballot["why"]) for ballot in one["ballots"]] == [
        ("Anna", "yes", "Cheap."),
        ("Bert", "no", ""),
    ]
    assert [found["id"] for found in listed["proposals"]] == [second["id"], first["id"]]
    assert listed["total"] == 2
    # Nothing was stored meanwhile, yet the poll has closed: that is another answer.
    assert after.status == 200
    assert after.json()["open"] is False


async def test_status_says_what_this_node_is_and_nothing_of_its_machine(alone: Running) -> None:
    status = await alone.json("/api/v1/status")
    core = alone.node.core
    assert status == {
        "version": coopnode.__version__,
        "name": "Anna's Tools",
        "member": core.member_id.hex(),
        "is_member": True,
        "coop": "North",
        "coop_id": core.need_membership().coop_id.hex(),
        "page": 0,
        "frontier": (await alone.node.read(lambda tables: tables.items.frontier())).hex(),
        "coverage": {"members": 1, "complete": 1, "older_than_a_day": 0, "replica": "full", "not_kept": 0},
        "replica": "full",
        "searchable": True,
        "throttled": [],
        "dropped": [],
    }
    assert str(core.folder.path) not in json.dumps(status)


async def test_the_status_says_who_is_left_alone_and_is_another_answer_then(alone: Running) -> None:
    before = await alone.get("/api/v1/status")
    tag = {"If-None-Match": before.headers["ETag"]}
    assert (await alone.get("/api/v1/status", headers=tag)).status == 304
    gone = SimpleNamespace(peer=bytes(20), close=lambda *_: None)
    alone.node.forgers.drop(cast(Link, gone), "it sent a head with a forged signature")
    after = await alone.get("/api/v1/status", headers=tag)
    assert after.status == 200
    [dropped] = after.json()["dropped"]
    assert (dropped["member"], dropped["why"]) == ("00" * 20, "it sent a head with a forged signature")
    assert dropped["text"].endswith("is not linked to for another 60 min: it sent a head with a forged signature.")


async def test_without_a_coop_every_route_has_an_answer(coop: Coop) -> None:
    async with running(coop.shop("Solo")) as node:
        found = await node.json("/api/v1/listings?q=x")
        assert (found["total"], found["listings"]) == (0, [])
        assert found["coverage"] == {
            "members": 0,
            "complete": 0,
            "older_than_a_day": 0,
            "replica": "full",
            "not_kept": 0,
        }
        status = await node.json("/api/v1/status")
        assert (status["coop"], status["coop_id"], status["page"], status["is_member"]) == (None, None, None, False)
        check_problem(await node.get("/api/v1/members"), 409, "no_coop")
        check_problem(await node.get(f"/api/v1/members/{me(node)}"), 409, "no_coop")
        check_problem(await node.get("/api/v1/proposals"), 409, "no_coop")
        check_problem(await node.get("/api/v1/proposals/" + "0" * 64), 409, "no_coop")
        check_problem(await node.get(f"/api/v1/listings/{me(node)}/x"), 404, "not_found")
        check_problem(await node.get("/coop/v1/genesis"), 404, "not_found")
        check_problem(await node.get("/gossip/v1"), 409, "conflict")


# strange input


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/api/v1/nothing", 404, "not_found"),
        ("/api/v1/", 404, "not_found"),
        ("/api/v1/listings?limit=0", 400, "bad_input"),
        ("/api/v1/listings?limit=-1", 400, "bad_input"),
        ("/api/v1/listings?limit=101", 400, "bad_input"),
        ("/api/v1/listings?limit=1e1", 400, "bad_input"),
        ("/api/v1/listings?limit=", 400, "bad_input"),
        ("/api/v1/listings?limit=%D9%A1", 400, "bad_input"),
        ("/api/v1/listings?offset=9901", 400, "bad_input"),
        ("/api/v1/listings?offset=-1", 400, "bad_input"),
        ("/api/v1/listings?offset=" + "9" * 5000, 400, "bad_input"),
        ("/api/v1/listings?q=" + "a" * 501, 400, "bad_input"),
        ("/api/v1/listings?q=" + "a" * 100_000, 400, "bad_input"),
        ("/api/v1/members?limit=1001", 400, "bad_input"),
        ("/api/v1/proposals?offset=x", 400, "bad_input"),
        ("/api/v1/listings?q=%", 400, "bad_encoding"),
        ("/api/v1/listings?q=%zz", 400, "bad_encoding"),
        ("/api/v1/listings?q=%ff", 400, "bad_encoding"),
        ("/api/v1/listings?q=%ED%A0%80", 400, "bad_encoding"),  # half a surrogate pair
        ("/api/v1/listings?q=%C0%80", 400, "bad_encoding"),  # an overlong zero
        ("/api/v1/listings/%ff/x", 400, "bad_encoding"),
        ("/api/v1/listings/zz/x", 404, "not_found"),
        ("/api/v1/listings/" + "00" * 20 + "/x", 404, "not_found"),
        ("/api/v1/listings/" + "00" * 20 + "/", 404, "not_found"),
        ("/api/v1/members/" + "00" * 20, 404, "not_found"),
        ("/api/v1/members/" + "00" * 21, 404, "not_found"),
        ("/api/v1/members/%00", 404, "not_found"),
        ("/api/v1/proposals/" + "00" * 32, 404, "not_found"),
        ("/api/v1/proposals/ff", 404, "not_found"),
        ("/api/v1/proposals/" + "0%20" * 32, 404, "not_found"),
        ("/coop/v1/pages?after=-1", 400, "bad_input"),
        ("/coop/v1/nothing", 404, "not_found"),
        ("/gossip/v1", 400, "bad_request"),
    ],
)
async def test_one_clear_answer_to(alone: Running, path: str, status: int, kind: str) -> None:
    check_problem(await alone.get(path), status, kind)


@pytest.mark.parametrize(
    "text", ["%00", "a%00b", "%01%1f", "%E2%80%AE", "%F0%9F%94%A8", "AND%20OR%20(%22*:", "+++", ""]
)
async def test_any_text_may_be_searched_for(alone: Running, text: str) -> None:
    await alone.publish(listing("s", "Saw"))
    assert (await alone.json(f"/api/v1/listings?q={text}"))["total"] in (0, 1)


@pytest.mark.parametrize("sku", ["%00", "a%00", "%0A", "%20x", "x" * 65, "x" * 5000, "%7F"])
async def test_a_sku_that_cannot_be_is_not_here(alone: Running, sku: str) -> None:
    check_problem(await alone.get(f"/api/v1/listings/{me(alone)}/{sku}"), 404, "not_found")


async def test_a_proposal_is_not_any_other_statement(alone: Running) -> None:
    items = await alone.node.read(lambda tables: tables.items.of_kind(ItemKind.STATEMENT))
    check_problem(await alone.get(f"/api/v1/proposals/{items[0].item_id.hex()}"), 404, "not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_can_be_changed(alone: Running, method: str) -> None:
    for path in (*READS, f"/api/v1/members/{me(alone)}"):
        answer = await alone.ask(method, path, data=b"x")
        check_problem(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == "GET,HEAD,OPTIONS"
    assert (await alone.ask(method, "/")).status == 405


async def test_a_body_that_is_too_large(alone: Running) -> None:
    kind = {"Content-Type": "application/msgpack"}
    answer = await alone.ask("POST", "/coop/v1/applications", data=b"x" * (app.MAX_BODY_BYTES + 1), headers=kind)
    check_problem(answer, 413, "too_large")
    check_problem(await alone.ask("POST", "/coop/v1/applications", data=b"\xc1", headers=kind), 400, "malformed")


async def test_a_web_page_cannot_apply(alone: Running) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = await alone.ask("POST", "/coop/v1/applications", data=b"x", headers={"Content-Type": kind})
        check_problem(answer, 415, "unsupported_type")
    assert (await alone.ask("OPTIONS", "/coop/v1/applications")).status == 405


async def test_a_mistake_of_ours_tells_nothing(alone: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(alone.node.follower, "search", fail)
    for path in ("/api/v1/listings", "/"):
        answer = await alone.get(path)
        assert answer.status == 500
        assert "42" not in answer.text
    check_problem(await alone.get("/api/v1/listings"), 500, "internal")


# HTTP


async def test_a_second_look_costs_nothing_until_something_changes(alone: Running) -> None:
    await alone.publish(listing("s", "Saw"))
    paths = (*READS, f"/api/v1/members/{me(alone)}", f"/api/v1/listings/{me(alone)}/s")
    tags = {path: (await alone.get(path)).headers["ETag"] for path in paths}
    for path, tag in tags.items():
        assert tag.startswith('W/"')
        again = await alone.get(path, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status, again.text, again.headers["ETag"]) == (304, "", tag)
    await alone.publish(listing("t", "Table saw"))
    for path, tag in tags.items():
        again = await alone.get(path, headers={"If-None-Match": tag})
        assert again.status == 200, path
        assert again.headers["ETag"] != tag
    assert (await alone.get(READS[0], headers={"If-None-Match": "nonsense"})).status == 200


async def test_stock_that_changes_is_seen_at_once(alone: Running) -> None:
    await alone.publish(listing("s", "Saw"), stock("s", said_ms=1, quantity_milli=1000))
    for quantity in range(5):
        await alone.perform(desk.stock_set, sku="s", quantity_milli=quantity * 1000)
        one = await alone.json(f"/api/v1/listings/{me(alone)}/s")
        assert one["stock"][0]["quantity"] == str(quantity)


async def test_a_listing_that_goes_is_gone(alone: Running) -> None:
    await alone.publish(listing("s", "Saw"), listing("t", "Tin saw"))
    await alone.perform(desk.stock_remove, sku="s")
    check_problem(await alone.get(f"/api/v1/listings/{me(alone)}/s"), 404, "not_found")
    await alone.indexed()
    assert [one["sku"] for one in (await alone.json("/api/v1/listings?q=saw"))["listings"]] == ["t"]


async def test_heads_and_cross_site_reads(alone: Running) -> None:
    for path in READS:
        full = await alone.get(path)
        head = await alone.ask("HEAD", path)
        assert (head.status, head.text) == (200, "")
        assert head.headers["Content-Type"] == full.headers["Content-Type"] == "application/json; charset=utf-8"
        assert head.headers["Content-Length"] == full.headers["Content-Length"]
        for answer in (full, head, await alone.get(path + "?limit=x&offset=x")):
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert answer.headers["Server"] == "coopnode"
        asked = await alone.ask("OPTIONS", path, headers={"Access-Control-Request-Headers": "if-none-match"})
        assert asked.status == 204
        assert asked.headers["Access-Control-Allow-Headers"] == "If-None-Match"
        assert asked.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in asked.headers


async def test_many_askers_at_once_get_the_same(alone: Running) -> None:
    await alone.publish(*(listing(f"s{number}", f"Saw {number}") for number in range(50)))
    answers = await asyncio.gather(*(alone.json("/api/v1/listings?q=saw&limit=50") for _ in range(30)))
    names = [[one["sku"] for one in answer["listings"]] for answer in answers]
    assert all(one == names[0] for one in names)
    assert len(names[0]) == 50


async def test_what_is_remembered_stays_small(alone: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "KEPT_RECORDS", 3)
    await alone.publish(*(listing(f"s{number}", f"Saw {number}") for number in range(10)))
    for _ in range(2):
        found = await alone.json("/api/v1/listings?q=saw")
        assert sorted(one["sku"] for one in found["listings"]) == sorted(f"s{number}" for number in range(10))


async def test_the_websocket_asks_for_a_key_and_not_for_an_origin(alone: Running) -> None:
    for origin in ("https://elsewhere.example", "null"):
        url = alone.url.replace("http", "ws", 1) + "/gossip/v1"
        async with alone.client.ws_connect(url, headers={"Origin": origin}) as socket:
            await socket.send_bytes(b"\xc1")
            kinds = [message.type async for message in socket]
        assert set(kinds) <= {aiohttp.WSMsgType.BINARY}
        assert socket.close_code is not None
    assert alone.node.gossiper.linked() == {}


async def test_a_link_that_fails_ends_its_socket_alone(alone: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(alone.node.gossiper, "run_link", fail)
    async with alone.client.ws_connect(alone.url.replace("http", "ws", 1) + "/gossip/v1") as socket:
        assert [message async for message in socket] == []
    await alone.json("/api/v1/status")


# docs


def problems_of_node_errors() -> set[str]:
    sources = (Path(str(module.__file__)) for module in (api, app, coop_files, desk))
    return {kind for source in sources for kind in re.findall(r'problem="([a-z_]+)"', source.read_text("utf-8"))}


def documented() -> str:
    return (Path(coopnode.__file__).parents[1] / "docs" / "api.md").read_text("utf-8")


async def test_every_route_is_documented_and_every_documented_route_is_there(alone: Running) -> None:
    made = app.make_app(alone.node)
    served = {
        (route.method, re.sub(r":[^}]*", "", route.resource.canonical))
        for route in made.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    }
    told = {(method, path) for method, path in re.findall(r"^#+ `(GET|POST) ([^`?]+)", documented(), re.MULTILINE)}
    assert told == served


async def test_every_field_and_every_problem_is_documented(alone: Running) -> None:
    await alone.publish(listing("s", "Saw", price_minor=1, currency="EUR"), stock("s", said_ms=1, quantity_milli=1))
    proposal = await alone.perform(desk.vote_propose, title="Fee", closes_in_ms=60_000)
    await alone.perform(desk.vote_cast, proposal=proposal["id"], choice="yes")
    names = {*LISTING_FIELDS, *PROFILE_FIELDS}
    for path in READS:
        names |= keys(await alone.json(path))
    text = documented()
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
    kinds = problems_of_node_errors() | {kind for kind, _ in app.PROBLEMS.values()}
    kinds |= {"internal", "store", "search_index", "bad_input", "conflict", "bad_request"}
    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in text] == []


def keys(value: Any) -> set[str]:
    """All names in a JSON value."""
    if isinstance(value, dict):
        return set(value).union(*(keys(one) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(keys(one) for one in value))
    return set()


async def test_the_limits_in_the_docs_are_those_of_the_code() -> None:
    text = documented()
    for number in (api.MAX_LIMIT, api.MAX_OFFSET, api.MAX_ROWS, app.MAX_BODY_BYTES):
        assert f"{number:,}" in text, number


# the local socket


async def test_the_control_socket_answers_the_same_search(coop: Coop) -> None:
    (shop,) = coop.found("Anna")
    shop.put([listing("s", "Saw")])
    async with running(shop) as node:
        control = Control(node.node, lambda: None)
        found = await control._run("search", {"text": "saw"})
        assert [one["sku"] for one in found["listings"]] == ["s"]
        assert await peers(node.node) == []


async def test_polling_gives_up() -> None:
    with pytest.raises(AssertionError, match="in time"):
        await until(lambda: False, seconds=0.02)
