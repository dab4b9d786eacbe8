"""The dialer calls nobody whom it should not, however an address reaches it, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import pytest_asyncio
from aiohttp import web

from coopnode import node as nodes
from coopnode.gossip import dialer as dialers
from coopnode.gossip.dialer import Dialer
from coopnode.gossip.gossiper import Gossiper
from coopnode.gossip.link import Link, Socket
from protocol import statements
from protocol.items import ItemKind
from protocol.overlay import LinkOf
from protocol.session import Role
from tests.node.scenes import Net, Shop, new_folder, said
from tests.node.wires import Canary, canary, town, until

PUBLIC = "https://shop.example"
LOOPBACK = "http://127.0.0.1:8420"
EVIL = "evil.example"


@dataclass
class Quiet:
    """In place of the gossiper: notes each websocket that opens and answers who was there."""

    peer: bytes | None = None
    opened: list[str] = field(default_factory=list)
    links: set[Link] = field(default_factory=set)

    def standings(self) -> dict[bytes, LinkOf]:
        return {}

    async def run_link(self, socket: Socket, role: Role, url: str | None, *, visit: bool = False) -> Link:
        self.opened.append(("visit " if visit else "") + (url or ""))
        await socket.close()
        return cast(Link, SimpleNamespace(peer=self.peer, url=url))


@dataclass
class Desk:
    """Anna's dialer, and what bert says of himself."""

    net: Net
    quiet: Quiet = field(default_factory=Quiet)
    names: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    made: list[Dialer] = field(default_factory=list)
    revision: int = 10

    @property
    def anna(self) -> Shop:
        return self.net["anna"]

    def dialer(self, own_url: str) -> Dialer:
        made = Dialer(self.anna.core, cast(Gossiper, self.quiet), own_url, self._lookup)
        self.made.append(made)
        return made

    async def _lookup(self, name: str) -> list[str]:
        self.asked.append(name)
        return self.names[name]

    def says(self, *endpoints: str, who: str = "bert") -> None:
        """A member's contact statement arrives."""
        self.revision += 1
        data = said(
            self.net[who],
            statements.CONTACT,
            revision=self.revision,
            name=who,
            endpoints=list(endpoints),
            relays=[],
        )
        (outcome,) = self.anna.take(ItemKind.STATEMENT, data)
        assert outcome.reason is None

    def note(self, url: str, source: str) -> None:
        self.anna.core.write(lambda tables: tables.peers.add_address(url, None, source))

    async def look(self, dialer: Dialer, seconds: float = 0) -> None:
        """Move the clock, look, and wait for all that comes of it."""
        self.net.clock.now_us += int(seconds * 1_000_000)
        dialer.look()
        await until(lambda: not dialer._dialing, "for the tries to end")


@pytest_asyncio.fixture
async def desk(net: Net) -> AsyncIterator[Desk]:
    net.found("anna", "bert", "cora")
    made = Desk(net)
    yield made
    for one in made.made:
        await one.stop()


@pytest_asyncio.fixture
async def bird() -> AsyncIterator[Canary]:
    async with canary() as made:
        yield made


def looked_up(*addresses: str) -> Callable[[int], tuple[str, dict[str, list[str]]]]:
    return lambda port: (f"http://{EVIL}:{port}", {EVIL: list(addresses)})


def literal(host: str) -> Callable[[int], tuple[str, dict[str, list[str]]]]:
    return lambda port: (f"http://{host}:{port}", {})


FORGED = [
    pytest.param(literal("127.0.0.1"), True, id="address"),
    pytest.param(literal("[::ffff:127.0.0.1]"), True, id="mapped"),
    pytest.param(looked_up("127.0.0.1"), True, id="name"),
    pytest.param(looked_up("::ffff:127.0.0.1"), True, id="name, mapped"),
    pytest.param(literal("[64:ff9b::7f00:1]"), False, id="nat64"),
    pytest.param(literal("[2002:7f00:1::]"), False, id="6to4"),
    pytest.param(looked_up("64:ff9b::7f00:1", "2002:7f00:1::1"), False, id="name, nat64 and 6to4"),
]


@pytest.mark.parametrize(("forge", "arrives"), FORGED)
async def test_a_contact_does_not_lead_to_our_own_machine(
    desk: Desk,
    bird: Canary,
    monkeypatch: pytest.MonkeyPatch,
    forge: Callable[[int], tuple[str, dict[str, list[str]]]],
    arrives: bool,
) -> None:
    monkeypatch.setattr(dialers, "DIAL_SECONDS", 0.5)
    url, names = forge(bird.port)
    desk.names.update(names)
    desk.says(url)
    guarded = desk.dialer(PUBLIC)
    await desk.look(guarded)
    assert bird.calls == 0
    assert [why.split(":")[0] for why in guarded.refusals.elements()] == ["contact"]
    # The twin: a node that is itself on the loopback does call, so the canary would have sung.
    open_ = desk.dialer(LOOPBACK)
    await desk.look(open_)
    assert not open_.refusals
    assert bird.calls == (1 if arrives else 0)  # no network of this machine carries the others there


async def test_old_spellings_of_the_loopback_are_no_addresses(desk: Desk, bird: Canary) -> None:
    hosts = ("127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.")
    desk.says(*(f"http://{host}:{bird.port}" for host in hosts))
    dialer = desk.dialer(LOOPBACK)
    await desk.look(dialer)
    assert (dialer.refusals.total(), bird.calls, desk.asked) == (5, 0, [])


@pytest.mark.parametrize("source", ["invitation", "contact"])
async def test_a_redirect_leads_nowhere(desk: Desk, bird: Canary, source: str) -> None:
    async def away(_: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.1:{bird.port}/gossip/v1")

    async with canary(away) as first:
        url = f"http://127.0.0.1:{first.port}"
        if source == "contact":
            desk.says(url)
        else:
            desk.note(url, source)
        dialer = desk.dialer(LOOPBACK if source == "contact" else PUBLIC)
        await desk.look(dialer)
        assert (first.calls, bird.calls, dialer.refusals.total()) == (1, 0, 1)


async def test_what_the_owner_typed_is_called_also_when_a_member_says_it(desk: Desk, bird: Canary) -> None:
    url = f"http://127.0.0.1:{bird.port}"
    desk.note(url, "invitation")
    desk.note(url, "handshake")
    desk.says(url)
    dialer = desk.dialer(PUBLIC)
    await desk.look(dialer)
    assert (bird.calls, dialer.refusals.total()) == (1, 0)


async def test_zeroconf_does_not_lead_out_of_the_network(desk: Desk) -> None:
    desk.note("http://8.8.8.8:8420", "zeroconf")
    desk.note("http://169.254.169.254:80", "zeroconf")
    dialer = desk.dialer(LOOPBACK)
    await desk.look(dialer)
    assert sorted(dialer.refusals) == ["zeroconf: 169.254.169.254 is metadata", "zeroconf: 8.8.8.8 is public"]


async def test_a_node_behind_a_router_calls_no_loopback(desk: Desk, bird: Canary) -> None:
    """Its own URL is the default, but the invitation came from elsewhere."""
    desk.note("http://192.0.2.7.example:22", "invitation")
    desk.names["192.0.2.7.example"] = []
    desk.says(f"http://127.0.0.1:{bird.port}")
    dialer = desk.dialer(LOOPBACK)
    await desk.look(dialer)
    assert (bird.calls, dialer.refusals.total()) == (0, 1)


async def test_a_public_node_leaves_loopback_contacts_alone_and_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole nodes: anna says that she is on the internet, bert that he is at 127.0.0.1. He can still call her."""
    monkeypatch.setattr(nodes, "LOOK_SECONDS", 0.1)
    new_folder(tmp_path / "anna", "anna", port=0, public_url=PUBLIC)
    async with town(tmp_path) as place:
        anna, bert = await place.found("anna", "bert")
        await place.stop("bert")  # while there is a link, nobody looks for another
        await until(lambda: anna.refusals().get("address") == 1, "for the count")
        bert = await place.start("bert")
        await until(anna.open_links, "for a link")
        assert [link.url for link in anna.open_links()] == [None], "bert has called"
        assert "address" not in bert.refusals()
        await anna.add("flour", "of anna")
        await until(lambda: bert.roots().get(anna.core.member_id), "for the catalogue")


# ── not too often ────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_refused_is_looked_at_once_an_hour(desk: Desk) -> None:
    desk.names[EVIL] = ["10.0.0.1"]
    desk.says(f"http://{EVIL}:8420")
    dialer = desk.dialer(PUBLIC)
    for _ in range(59):
        await desk.look(dialer, 60)
    assert (desk.asked, dialer.refusals.total()) == ([EVIL], 1)
    await desk.look(dialer, 60)
    await desk.look(dialer, 60)
    assert (desk.asked, dialer.refusals.total()) == ([EVIL] * 2, 2)


async def test_one_member_causes_one_try_at_a_time(desk: Desk) -> None:
    going = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await going.wait()
        return web.Response()

    async with canary(slow) as first, canary(slow) as other:
        desk.says(*(f"http://127.0.0.1:{one.port}" for one in (first, other)))
        dialer = desk.dialer(LOOPBACK)
        for _ in range(3):
            desk.net.clock.tick(1)
            dialer.look()
            await asyncio.sleep(0.05)
        assert (first.calls + other.calls, len(dialer._dialing)) == (1, 1)
        going.set()
        await until(lambda: not dialer._dialing, "for the try to end")
        dialer.look()
        await until(lambda: not dialer._dialing, "for the other")
        assert (first.calls, other.calls) == (1, 1)


async def test_four_failing_tries_a_minute_and_every_address_has_its_turn(desk: Desk, bird: Canary) -> None:
    urls = [f"http://{name}.localhost:{bird.port}" for name in "abcdefgh"]
    desk.names.update({f"{name}.localhost": ["127.0.0.1"] for name in "abcdefgh"})
    desk.says(*urls)
    dialer = desk.dialer(LOOPBACK)
    for _ in range(50):
        await desk.look(dialer, 1)
    assert (bird.calls, desk.asked) == (4, [f"{name}.localhost" for name in "abcd"])
    desk.says(*urls[::-1])  # saying it anew changes nothing
    await desk.look(dialer, 1)
    assert bird.calls == 4
    for _ in range(30):
        await desk.look(dialer, 1)
    assert sorted(desk.asked) == [f"{name}.localhost" for name in "abcdefgh"]


async def test_one_member_does_not_use_up_anothers_tries(desk: Desk, bird: Canary) -> None:
    desk.says(*(f"http://127.0.0.{number}:{bird.port}" for number in range(2, 8)))
    dialer = desk.dialer(LOOPBACK)
    for _ in range(6):
        await desk.look(dialer, 1)
    before = bird.calls
    desk.says(f"http://127.0.0.1:{bird.port}", who="cora")
    await desk.look(dialer, 1)
    assert bird.calls == before + 1


async def test_a_claim_takes_no_address_away_from_its_owner(desk: Desk) -> None:
    """Bert lists cora's address: she is tried there all the same when bert has had his tries."""

    async def socket(request: web.Request) -> web.StreamResponse:
        made = web.WebSocketResponse()
        await made.prepare(request)
        async for _ in made:
            pass
        return made

    desk.quiet.peer = desk.net["cora"].member_id
    async with canary(socket) as cora:
        url = f"http://127.0.0.1:{cora.port}"
        desk.says(url, who="cora")
        desk.says(url)
        dialer = desk.dialer(LOOPBACK)
        for _ in range(12):
            await desk.look(dialer, 70)
        assert len(desk.quiet.opened) == 12
        assert set(dialer._failures) <= {desk.net["bert"].member_id}


async def test_addresses_that_change_all_the_time_fill_no_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialers, "MAX_REFUSED", 20)
    dialer = desk.dialer(PUBLIC)
    for number in range(10):
        desk.says(*(f"http://10.0.{number}.{last}:8420" for last in range(8)))
        await desk.look(dialer, 61)
    assert len(dialer._refused) == 20
    assert len(dialer._patience) <= 8
    await desk.look(dialer, 3600)
    assert len(dialer._refused) <= 8
