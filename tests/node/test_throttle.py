"""Over quota is throttled, never invalid: nothing is lost, nobody else is held up, and the latest word passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from coopnode import core as cores
from coopnode import desk
from coopnode.catalog.shelf import Shelf
from coopnode.core import Core, News, open_core
from coopnode.folder import Folder
from coopnode.gossip import throttle as throttles
from coopnode.gossip.link import Link
from coopnode.gossip.throttle import MAX_HELD_STATEMENTS, QUIET_MS, REST_MS, Throttle
from coopnode.ingest import Fate, Outcome
from coopnode.server import standing
from coopnode.store import Tables
from coopnode.world import World
from protocol import statements
from protocol.catchup import Heard
from protocol.encoding import encode
from protocol.head import Head, Version
from protocol.items import Item, ItemKind
from protocol.messages import Message, Ping, Pong, Put, WalkTrie
from protocol.quota import MINUTE_MS
from tests.node.scenes import BEGIN_US, MINUTE_US, Net, Shop, said, signed_head, spoilt
from tests.node.wires import Live, Stock, Town, honest, liar, town, until

HEAD, STATEMENT = ItemKind.HEAD, ItemKind.STATEMENT
START_US = BEGIN_US + 60 * MINUTE_US
SLOW = {"quota_active_heads_a_minute": 60, "quota_active_statements_a_minute": 60}
"""One a second; 10 heads or 60 statements at once."""


@dataclass(eq=False)
class Wire:
    """A link as far as the throttle looks at it."""

    peer: bytes | None = None
    is_open: bool = True


@dataclass
class Desk:
    """Anna's node without sockets: its rules and store, its throttle, and what is passed on."""

    net: Net
    passed: list[bytes] = field(default_factory=list)
    fetched: list[Head] = field(default_factory=list)
    passed_over: set[bytes] = field(default_factory=set)
    judged: int = 0

    def __post_init__(self) -> None:
        self.throttle = Throttle(self)

    @property
    def core(self) -> Core:
        return self.net["anna"].core

    async def take(
        self, items: Sequence[tuple[ItemKind, bytes]], came_from: Link | None, *, pushed: bool = True
    ) -> list[Outcome]:
        self.judged += len(items)
        outcomes, news = self.core.write(self.core.take, items)
        self.pass_on(self.throttle.sort(news, came_from, pushed=pushed), came_from, pushed=pushed)
        return outcomes

    def pass_over(self, item_id: bytes) -> None:
        self.passed_over.add(item_id)

    def pass_on(self, news: News, came_from: Link | None, *, pushed: bool) -> None:
        assert pushed is (came_from is not None)
        self.passed += [item.data for item in news.items]
        self.fetched += [head for head in news.heads if self.throttle.may_fetch(head)]

    async def hear(self, *new_heads: bytes, link: Wire) -> None:
        """A Put arrives."""
        wire = cast(Link, link)
        heard = await self.throttle.let_in(wire, Heard(heads=list(new_heads)), pushed=True)
        if heard.heads:
            await self.take([(HEAD, data) for data in heard.heads], wire)

    async def say(self, *data: bytes, link: Wire | None = None) -> list[Outcome]:
        return await self.take([(STATEMENT, one) for one in data], cast(Link, link or Wire()))

    async def wait(self, milliseconds: int = REST_MS) -> None:
        """Let time pass, and what is due."""
        self.net.clock.now_us += milliseconds * 1_000
        now_ms = self.net.clock.now_us // 1_000
        for author, lane in list(self.throttle._lanes.items()):
            await self.throttle._release(author, lane, now_ms)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The charter of every co-op that is founded sets a low quota."""
    monkeypatch.setattr(cores, "DEFAULT_POLICY", {"fee_bp": 0, **SLOW})


@pytest.fixture
def counter(net: Net, slow: None) -> Desk:
    net.found("anna", "bert", "cora")
    net.clock.now_us = START_US
    return Desk(net)


def head(author: Shop, number: int, *, epoch: int = 0, **changes: Any) -> bytes:
    return signed_head(author, Version(epoch, START_US + number), **changes).signed.to_bytes()


def proposals(author: Shop, first: int, last: int) -> list[bytes]:
    return [proposal(author, number) for number in range(first, last)]


def proposal(author: Shop, number: int) -> bytes:
    return said(
        author,
        statements.PROPOSAL,
        revision=number,
        title=f"number {number}",
        text="",
        method="yes_no",
        options=[],
        page=author.core.need_membership().roster.page_id,
        opens_ms=0,
        closes_ms=1,
        quorum_bp=0,
        threshold_bp=5_000,
    )


# ── heads ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_over_the_quota_the_latest_head_passes_once_a_second(counter: Desk) -> None:
    bert, link = counter.net["bert"], Wire()
    for number in range(10):
        await counter.hear(head(bert, number), link=link)
    assert len(counter.passed) == len(counter.fetched) == 10, "the burst"
    for number in range(10, 500):
        await counter.hear(head(bert, number), link=link)
    assert len(counter.passed) == 10
    assert counter.judged == 11, "those that wait cost no check of a signature"
    assert len(counter.passed_over) == 490, "and no other link is asked for them"
    await counter.wait()
    assert counter.passed[10:] == [head(bert, 499)]
    assert [one.signed.to_bytes() for one in counter.fetched[10:]] == [head(bert, 499)]
    for number in range(500, 990):
        await counter.hear(head(bert, number), link=link)
    assert len(counter.passed) == 11
    await counter.wait()
    assert counter.passed[11:] == [head(bert, 989)], "as long as it floods, one a second"
    await counter.wait()
    await counter.hear(head(bert, 1_000), link=link)
    assert counter.passed[12:] == [head(bert, 1_000)], "it has come to rest: it speaks freely again"
    assert counter.throttle.waiting() == []


async def test_the_twin_without_a_throttle_passes_everything(counter: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter.throttle, "sift", lambda _, new_heads: list(new_heads))
    monkeypatch.setattr(counter.throttle, "sort", lambda news, _, pushed: news)
    for number in range(500):
        await counter.hear(head(counter.net["bert"], number), link=Wire())
    assert len(counter.passed) == counter.judged == 500


async def test_truth_does_not_depend_on_a_quota(counter: Desk) -> None:
    """What comes by anti-entropy is judged and kept at once, and shown; it is only passed on later."""
    bert = counter.net["bert"]
    for number in range(30):
        [outcome] = await counter.take([(HEAD, head(bert, number))], None, pushed=False)
        assert outcome.fate is Fate.ACCEPTED
    assert len(counter.passed) == 10
    held = counter.core.store.read(lambda tables: tables.items.of_kind(HEAD, bert.member_id))
    assert [item.data for item in held] == [head(bert, 29)]
    lane = counter.throttle._lanes[bert.member_id]
    assert len(lane.held) == 1, "memory by the number of streams"
    await counter.wait()
    assert counter.passed[10:] == [head(bert, 29)]


async def test_nobody_else_is_held_up(counter: Desk) -> None:
    bert, cora, link = counter.net["bert"], counter.net["cora"], Wire()
    for number in range(200):
        await counter.hear(head(bert, number), link=link)
    await counter.hear(head(cora, 1), head(bert, 300), head(cora, 2), link=link)
    assert counter.passed[10:] == [head(cora, 2)], "of two heads of a stream in one message the latest is judged"


async def test_a_liar_neither_uses_up_a_quota_nor_takes_the_place_of_an_honest_word(counter: Desk) -> None:
    bert, honest_link, lying = counter.net["bert"], Wire(), Wire()
    for number in range(100):
        await counter.hear(spoilt(head(bert, number)), link=lying)
    assert bert.member_id not in counter.throttle._lanes, "nothing of it was verified"
    for number in range(11):
        await counter.hear(head(bert, number), link=honest_link)
    assert len(counter.passed) == 10
    await counter.hear(head(bert, 20), link=honest_link)
    await counter.hear(spoilt(head(bert, 10**6)), link=lying)
    await counter.wait()
    assert counter.passed[10:] == [head(bert, 20)]
    assert counter.core.store.read(lambda tables: tables.meta.refusals())["bad_signature"] == 101


async def test_two_heads_of_one_version_are_both_judged(counter: Desk) -> None:
    bert = counter.net["bert"]
    pair = [head(bert, 1, record_count=number) for number in (1, 2)]
    await counter.hear(head(bert, 0), *pair, head(bert, 1, record_count=3), link=Wire())
    assert sorted(counter.passed) == sorted(pair)
    assert len(counter.core.store.read(lambda tables: tables.items.evidence())) == 1


async def test_what_cannot_be_read_goes_to_the_door_and_is_counted_there(counter: Desk) -> None:
    await counter.hear(b"x" * 80, link=Wire())
    assert sum(counter.core.store.read(lambda tables: tables.meta.refusals()).values()) == 1


async def test_operations_and_whole_states_are_counted_too(
    net: Net, slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = {"quota_active_ops_a_minute": 1_000, "quota_active_bytes": 2**20, "quota_active_bytes_a_minute": 2**20}
    monkeypatch.setattr(cores, "DEFAULT_POLICY", policy)
    net.found("anna", "bert", "cora")
    net.clock.now_us = START_US
    counter = Desk(net)
    ops: dict[str, Any] = {"since_rev": 1, "ops_root": bytes([1]) * 32, "ops_count": 600, "ops_bytes": 100}
    await counter.hear(head(net["bert"], 1, **ops), link=Wire())
    await counter.hear(head(net["bert"], 2, **ops), link=Wire())
    assert len(counter.passed) == 1
    [waiting] = counter.throttle.waiting()
    assert (waiting.author, waiting.what, waiting.wait_ms) == (net["bert"].member_id, "heads", 12_000)
    await counter.wait(11_999)
    assert len(counter.passed) == 1
    await counter.wait(1)
    assert len(counter.passed) == 2
    await counter.hear(head(net["cora"], 1, record_bytes=2**20), link=Wire())
    await counter.hear(head(net["cora"], 2, record_bytes=2**20), link=Wire())
    assert len(counter.passed) == 3
    assert [one.wait_ms for one in counter.throttle.waiting()] == [60_000]


async def test_an_author_whose_heads_were_passed_over_pays_for_the_state_that_is_walked_instead(
    counter: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it could have a million records fetched anew every second, for one operation."""
    bert, link = counter.net["bert"], Wire()
    ops: dict[str, Any] = {"since_rev": 1, "ops_root": bytes([1]) * 32, "ops_count": 1, "ops_bytes": 100}
    for second in range(5):
        for number in range(100):
            await counter.hear(head(bert, 100 * second + number, record_bytes=2**30, **ops), link=link)
        await counter.wait()
    assert len(counter.passed) == 12, "10 at once, and twice a state of 1 GiB of the 2 GiB that it may hold"
    [waiting] = counter.throttle.waiting()
    assert waiting.wait_ms > 10 * MINUTE_MS


async def test_own_heads_are_held_up_at_the_source_alone(counter: Desk) -> None:
    """One that comes back from others is not throttled: it may be what a restored node waits for."""
    for number in range(30):
        await counter.hear(head(counter.net["anna"], number), link=Wire())
    assert len(counter.passed) == 30


# ── what is too large ─────────────────────────────────────────────────────────────────────────────────


async def test_a_catalogue_beyond_what_a_stream_may_hold_is_told_of_and_not_fetched(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "DEFAULT_POLICY", {"quota_active_records": 1_000})
    net.found("anna", "bert")
    net.clock.now_us = START_US
    counter, bert = Desk(net), net["bert"]
    large, small = head(bert, 1, record_count=1_001), head(bert, 2, record_count=1_000)
    await counter.hear(large, link=Wire())
    assert counter.passed == [large]
    assert counter.fetched == []
    assert list(counter.throttle.too_large) == [bert.stream]
    await counter.hear(small, link=Wire())
    assert [one.signed.to_bytes() for one in counter.fetched] == [small]
    assert not counter.throttle.too_large


# ── statements ────────────────────────────────────────────────────────────────────────────────────────


async def test_statements_over_the_quota_are_kept_at_once_and_passed_on_later_in_order(counter: Desk) -> None:
    bert = counter.net["bert"]
    said_ = proposals(bert, 1, 101)
    outcomes = await counter.say(*said_)
    assert {outcome.fate for outcome in outcomes} == {Fate.ACCEPTED}
    assert counter.passed == said_[:60]
    [waiting] = counter.throttle.waiting()
    assert (waiting.what, waiting.count, waiting.wait_ms) == ("statements", 40, 40_000)
    await counter.wait(1_000)
    assert counter.passed == said_[:61]
    await counter.say(proposal(counter.net["cora"], 1))
    assert len(counter.passed) == 62, "others are not held up"
    for _ in range(39):
        await counter.wait(1_000)
    assert [one for one in counter.passed if one in said_] == said_, "none is lost"
    assert counter.throttle.waiting() == []


async def test_of_a_ballot_that_is_changed_while_it_waits_the_latest_passes(counter: Desk) -> None:
    bert, cora = counter.net["bert"], counter.net["cora"]
    asked = proposal(cora, 1)
    await counter.say(asked, *proposals(bert, 1, 61))
    ballots = [
        said(bert, statements.BALLOT, revision=number, proposal=statements.read(asked).statement_id, choice="yes")
        for number in (100, 101)
    ]
    await counter.say(*ballots)
    await counter.wait(5_000)
    assert counter.passed[61:] == ballots[1:]


async def test_the_memory_of_statements_is_bounded_and_the_store_has_them_all(
    counter: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttles, "MAX_HELD_STATEMENTS", 5)
    bert = counter.net["bert"]
    said_ = proposals(bert, 1, 81)
    await counter.say(*said_)
    await counter.wait(MINUTE_MS)
    assert counter.passed == [*said_[:60], *said_[-5:]]
    kept = counter.core.store.read(lambda tables: tables.items.of_kind(STATEMENT, bert.member_id))
    assert {item.data for item in kept} >= set(said_), "anti-entropy brings the others the rest"
    assert MAX_HELD_STATEMENTS > 1_000


async def test_all_applicants_share_one_quota(counter: Desk) -> None:
    net = counter.net
    net.away.update({"anna", "bert", "cora"})
    text = net.invite("anna", uses=10)
    for number in range(3):
        name = f"newcomer {number}"
        net.set_up(name)
        net.away.add(name)
        net.join(name, text, via="anna")
    held = counter.core.store.read(lambda tables: tables.items.on_topic(statements.APPLICATION.encode()))
    assert len(held) == 3
    news = News(items=[])
    for item in held:
        statement = statements.read(item.data)
        news.items.append(Item(STATEMENT, statement.slot, item.data, statement.member_id))
    counter.throttle.sort(news, None, pushed=False)
    assert list(counter.throttle._lanes) == [b""]


async def test_quiet_authors_are_forgotten(counter: Desk) -> None:
    await counter.hear(head(counter.net["bert"], 1), link=Wire())
    assert len(counter.throttle._lanes) == 1
    await counter.wait(QUIET_MS)
    assert len(counter.throttle._lanes) == 1
    await counter.wait(1)
    assert not counter.throttle._lanes


# ── links ─────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def naps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Return a list that fills with how long the throttle would have slept."""
    slept: list[float] = []

    async def nap(seconds: float) -> None:
        slept.append(seconds)

    with monkeypatch.context() as patch:
        patch.setattr("coopnode.gossip.throttle.asyncio.sleep", nap)
        yield slept


async def test_a_link_that_brings_too_much_is_read_later_and_not_closed(
    counter: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    flooder, other = Wire(), Wire()
    with naps(monkeypatch) as slept:
        await counter.throttle.pace(cast(Link, flooder), 5_000)
        assert slept == []
        await counter.throttle.pace(cast(Link, flooder), 500)
        assert slept == [1.0], "500 a second are allowed to three members"
        await counter.throttle.pace(cast(Link, flooder), 10**6)
        assert slept == [1.0, 10.0], "a link that is not read for longer would be taken for dead"
        await counter.throttle.pace(cast(Link, other), 1)
        assert len(slept) == 2


async def test_what_we_have_asked_for_costs_a_link_less(counter: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    link = cast(Link, Wire())
    heard = Heard(heads=[b"a"] * 1_000, statements=[b"b"] * 1_000, identities=[b"c"] * 1_000)
    with naps(monkeypatch) as slept:
        for _ in range(13):
            assert await counter.throttle.let_in(link, heard, pushed=False) is heard
        assert slept == []
        await counter.throttle.let_in(link, Heard(statements=[b"b"] * 625), pushed=True)
        assert slept == [1.0]


async def test_a_member_whose_own_statements_wait_here_is_read_later(
    counter: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bert = counter.net["bert"]
    await counter.say(*proposals(bert, 1, 63))
    with naps(monkeypatch) as slept:
        await counter.throttle.pace(cast(Link, Wire(bert.member_id)))
        await counter.throttle.pace(cast(Link, Wire(counter.net["cora"].member_id)))
    assert slept == [2.0]


async def test_closed_links_are_forgotten_and_a_new_page_counts_anew(counter: Desk) -> None:
    gone, stays = Wire(), Wire()
    await counter.throttle.pace(cast(Link, gone))
    gone.is_open = False
    await counter.throttle.pace(cast(Link, stays))
    assert list(counter.throttle._links) == [cast(Link, stays)]
    counter.throttle.sort(News(roster_changed=True), None, pushed=False)
    assert not counter.throttle._links


# ── at the source ─────────────────────────────────────────────────────────────────────────────────────


def test_own_edits_over_the_quota_wait_and_leave_together_in_one_head(net: Net, slow: None) -> None:
    net.found("anna", "bert")
    net.clock.now_us = START_US
    anna, bert = net["anna"], net["bert"]
    net.sent.clear()
    for number in range(40):
        net.put("anna", {f"sku-{number}": "new"})
    assert len({item.data for item in net.sent}) == 10
    assert len(bert.titles(anna)) == 10
    shown, _ = anna.core.store.read(desk.status, anna.core)
    assert shown["waiting"] == 30
    assert shown["why"] == "your co-op's rule allows 60 publications a minute; the rest follows in 1 s"
    net.clock.tick(1 / 60)
    net.look("anna")
    assert len({item.data for item in net.sent}) == 11
    assert len(bert.titles(anna)) == 40, "one head covers them all"
    shown, _ = anna.core.store.read(desk.status, anna.core)
    assert (shown["waiting"], shown["why"]) == (0, "")


def test_edits_beyond_the_operations_of_a_minute_wait_with_a_sentence(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "DEFAULT_POLICY", {"quota_active_ops_a_minute": 1_000})
    net.found("anna")
    net.clock.now_us = START_US
    for batch in range(2):
        net.put("anna", {f"sku-{batch}-{number}": "new" for number in range(600)})
    shown, _ = net["anna"].core.store.read(desk.status, net["anna"].core)
    assert shown["waiting"] == 600
    assert shown["why"] == "your co-op's rule allows 1,000 changed records a minute; the rest follows in 12 s"


def test_a_catalogue_that_nobody_fetches_is_told_to_its_owner(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "DEFAULT_POLICY", {"quota_active_records": 1_000})
    net.found("anna")
    shown, _ = net["anna"].core.store.read(desk.status, net["anna"].core)
    assert shown["notes"] == []
    net.put("anna", {f"sku-{number}": "new" for number in range(1_001)})
    shown, _ = net["anna"].core.store.read(desk.status, net["anna"].core)
    [note] = shown["notes"]
    assert note.startswith("Your catalogue has 1,002 records")
    assert note.endswith("your co-op's rule allows: the other members do not fetch it.")


# ── over real links ───────────────────────────────────────────────────────────────────────────────────


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Town]:
    async with town(tmp_path) as made:
        yield made


def spread_of(live: Live, author: bytes, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that fills with the heads of *author* that a node passes on."""
    told: list[bytes] = []
    spread = live.node.gossiper.spreading.spread

    def listen(news: News, came_from: Link | None, *, pushed: bool) -> None:
        told.extend(one.data for one in news.items if one.kind is HEAD and one.slot[:20] == author)
        spread(news, came_from, pushed=pushed)

    monkeypatch.setattr(live.node.gossiper.spreading, "spread", listen)
    return told


@pytest.mark.parametrize("throttled", [True, False])
async def test_a_flood_reaches_the_others_as_its_latest_word(
    place: Town, slow: None, monkeypatch: pytest.MonkeyPatch, throttled: bool
) -> None:
    """And without the throttle all of it does."""
    anna, bert, cora = await place.found("anna", "bert", "cora")
    author = bert.core.member_id
    await until(lambda: len({live.frontier() for live in (anna, bert, cora)}) == 1, "for equal states")
    await place.stop("bert")
    told = spread_of(anna, author, monkeypatch)
    if not throttled:
        monkeypatch.setattr(anna.node.throttle, "sift", lambda _, new_heads: list(new_heads))
        monkeypatch.setattr(anna.node.throttle, "sort", lambda news, _, pushed: news)
    core, lock = open_core(Folder(place.path / "bert"), World(), None)
    stocks = [Stock(core, {b"k": encode({"title": f"edition {number}"})}) for number in range(150)]
    by_root = {stock.root: stock for stock in stocks}
    begin = World().now_us()

    def reply(message: Message) -> Message | None:
        return by_root[message.state_root].nodes(message) if isinstance(message, WalkTrie) else honest(core)(message)

    async with liar(core, anna, reply) as peer:
        for number, stock in enumerate(stocks):
            await peer.say(Put([stock.head(begin + number).signed.to_bytes()], [], []))
        await peer.say(Ping(1))
        await until(lambda: peer.asked(Pong), "for the end of the flood")
        last = stocks[-1].root
        await until(lambda: cora.roots().get(author) == last == anna.roots().get(author), "for the latest word")
        assert peer.closed is None, "slowed, not hung up on"
    if throttled:
        assert len(told) < 30
    else:
        assert len(told) == 150
    core.store.close()
    lock.release()


async def test_what_is_too_large_is_not_asked_for_and_the_status_says_so(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "DEFAULT_POLICY", {"quota_active_records": 1_000})
    anna, bert = await place.found("anna", "bert")
    await until(lambda: anna.frontier() == bert.frontier(), "for equal states")
    await until(lambda: anna.roots() == bert.roots(), "for catalogues")
    author, before = bert.core.member_id, anna.roots()[bert.core.member_id]
    await place.stop("bert")
    core, lock = open_core(Folder(place.path / "bert"), World(), None)
    large = Stock(core, {b"%d" % number: encode({"title": "x"}) for number in range(1_001)})
    async with liar(core, anna, honest(core)) as peer:
        await peer.say(Put([large.head(World().now_us()).signed.to_bytes()], [], []), Ping(1))
        await until(lambda: peer.asked(Pong) and anna.node.throttle.too_large, "for the head")
        (link,) = anna.open_links()
        await anna.node.gossiper._pull_what_lags(link)
        assert not peer.asked(WalkTrie)
        assert anna.roots()[author] == before, "the last good state stays"
    told = await told_by(anna)
    [entry] = told["throttled"]
    assert entry["member"] == author.hex()
    assert entry["text"].startswith("The catalogue of bert has 1,001 records and ")
    assert entry["text"].endswith("it is not fetched, and the last one that was fetched is shown.")
    core.store.close()
    lock.release()


async def told_by(live: Live) -> dict[str, Any]:
    taken = standing.picture(live.node)

    def tell(tables: Tables) -> dict[str, Any]:
        return standing.tell(taken, live.node, Shelf(tables, live.core))

    return await live.node.read(tell)


async def test_the_status_names_who_is_slowed_and_who_is_left_alone(place: Town, slow: None) -> None:
    anna, bert, cora = await place.found("anna", "bert", "cora")
    assert await told_by(anna) == {"throttled": [], "dropped": []}
    quiet = standing.picture(anna.node).mark
    bert_id = bert.core.member_id
    lane = anna.node.throttle._lane(bert_id, anna.core.world.steady_ms())
    lane.rest(anna.core.world.steady_ms(), 90_000)
    link = next(one for one in anna.open_links() if one.peer == cora.core.member_id)
    anna.node.forgers.drop(link, "it sent a head with a forged signature")
    told = await told_by(anna)
    [slowed], [dropped] = told["throttled"], told["dropped"]
    assert (slowed["name"], slowed["what"]) == ("bert", "heads")
    assert "more than your co-op's rule allows (60 publications a minute" in slowed["text"]
    assert (
        dropped["text"]
        == "The node of cora is not linked to for another 60 min: it sent a head with a forged signature."
    )
    assert dropped["until_ms"] > anna.core.world.now_ms()
    assert standing.picture(anna.node).mark != quiet


async def test_a_flood_at_the_source_is_published_whole_by_a_running_node(place: Town, slow: None) -> None:
    anna, bert = await place.found("anna", "bert")
    await asyncio.gather(*(anna.add(f"sku-{number}", "new") for number in range(40)))
    stream = anna.core.publisher.stream

    def all_there() -> bool:
        return len(bert.core.store.read(lambda tables: list(tables.catalogue.records(stream, "listing")))) == 40

    await until(all_there, "for all of it")
    assert anna.core.store.read(lambda tables: tables.pending.count()) == 0
