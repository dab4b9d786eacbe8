"""Members as processes behind bad lines: packets lost, far away, cut off from half of the others, never called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.proxy import Network, Wall, Weather
from tests.e2e.shops import Shop, found_quickly, same_frontiers, start_all, until

pytestmark = pytest.mark.e2e
BAD = Weather(delay_s=0.2, loss=0.05, retransmit_s=0.4)
"""5 % of packets lost, 200 ms each way; the sender notices a loss after one round trip."""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as opened:
        yield opened


Open = Callable[..., list[Shop]]


@pytest.fixture
def open_behind(network: Network, tmp_path: Path) -> Iterator[Open]:
    """Set up and start shops that the others reach through the network only; *hidden* ones nobody can call."""
    shops: list[Shop] = []

    def make(*names: str, hidden: tuple[str, ...] = ()) -> list[Shop]:
        made = [
            Shop.quick(tmp_path, name, host="0.0.0.0")  # says of itself that it has no address
            if name in hidden
            else Shop.quick(tmp_path, name)
            for name in names
        ]
        shops.extend(made)
        for shop in made:
            if shop.home.name not in hidden:
                url = network.add(shop.home.name, lambda shop=shop: where(shop))  # type: ignore[misc]
                config = shop.home / "config.toml"
                config.write_text(config.read_text().replace('public_url = ""', f'public_url = "{url}"'))
        start_all(made)
        for shop in made:
            assert shop.process is not None
            network.runs_as(shop.home.name, shop.process.pid)
        return made

    yield make
    for shop in shops:
        shop.kill()


def where(shop: Shop) -> tuple[str, int] | None:
    """Where a shop listens now."""
    if shop.process is None:
        return None
    host, _, port = shop.url.removeprefix("http://").rpartition(":")
    return host, int(port)


def add(shop: Shop, sku: str) -> None:
    """Publish one more article."""
    shop.op("stock.add", sku=sku, listing={"title": f"Article {sku} of {shop.home.name}"}, quantity_milli=1_000)


def names(shops: list[Shop]) -> list[str]:
    return [shop.home.name for shop in shops]


def hold_no_grudge(shops: list[Shop]) -> None:
    """No honest node has refused what another said, or seen it contradict itself."""
    for shop in shops:
        status = shop.op("status")
        assert (status["refused"], status["contradictions"]) == ({}, 0), shop.home.name


def count(shop: Shop, proposal: str) -> dict[str, Any]:
    """This node's count of a poll; nothing while it has not heard of it."""
    found = [one for one in shop.op("vote.list")["proposals"] if one["id"] == proposal]
    tally: dict[str, Any] = found[0]["tally"] if found else {}
    return tally


def search(shop: Shop, text: str) -> int:
    """How many articles are found here."""
    return int(shop.op("search", text=text, limit=1)["total"])


@pytest.mark.parametrize("wall", list(Wall), ids=lambda wall: wall.value)
def test_ten_nodes_agree_again_after_a_partition_in_bad_weather(
    network: Network, open_behind: Open, wall: Wall
) -> None:
    shops = open_behind(*"abcdefghij")
    found_quickly(shops)
    proposal = shops[0].op("vote.propose", title="Open on Sundays?", closes_in_ms=3_600_000)["id"]
    same_frontiers(shops)
    network.weather = BAD
    left, right = shops[:5], shops[5:]
    network.cut(names(left), names(right), wall)
    for side in (left, right):
        for shop in side:
            add(shop, "first")
            shop.op("vote.cast", proposal=proposal, choice="yes" if side is left else "no")
    # Each side goes on for itself, and hears nothing of the other.
    for shop in shops:
        own = "yes" if shop in left else "no"
        until(lambda shop=shop, own=own: count(shop, proposal)[own] == 5, "the ballots of this side")  # type: ignore[misc]
        until(lambda shop=shop: search(shop, "first") == 5, "the articles of this side")  # type: ignore[misc]
    assert [count(shop, proposal)["no"] for shop in left] + [count(shop, proposal)["yes"] for shop in right] == [0] * 10
    add(left[0], "second")
    add(right[0], "second")
    network.heal()
    same_frontiers(shops)
    for shop in shops:
        tally = count(shop, proposal)
        assert (tally["yes"], tally["no"], tally["entitled"]) == (5, 5, 10)
        until(lambda shop=shop: (search(shop, "first"), search(shop, "second")) == (10, 2), "all articles")  # type: ignore[misc]
    assert network.stalls > 0
    hold_no_grudge(shops)


def linked(shop: Shop) -> set[str]:
    """The members to which this node has a link now."""
    return {one["member"] for one in shop.op("peers")["peers"]}


def take_part(shops: list[Shop], hidden: list[Shop]) -> None:
    """Let hidden nodes publish, propose and vote like everybody else."""
    proposal = hidden[0].op("vote.propose", title="Deliver by bicycle?", closes_in_ms=3_600_000)["id"]
    for shop in shops:
        add(shop, "bicycle")
        until(lambda shop=shop: count(shop, proposal), "the proposal to arrive")  # type: ignore[misc]
        shop.op("vote.cast", proposal=proposal, choice="yes" if shop in hidden else "no")
    same_frontiers(shops)
    for shop in shops:
        tally = count(shop, proposal)
        assert (tally["yes"], tally["no"]) == (len(hidden), len(shops) - len(hidden))
        until(lambda shop=shop: search(shop, "bicycle") == len(shops), "all articles to be searchable")  # type: ignore[misc]
    hold_no_grudge(shops)


def test_two_nodes_that_nobody_can_call_meet_through_a_third(network: Network, open_behind: Open) -> None:
    shops = open_behind("ash", "birch", "cedar", hidden=("birch", "cedar"))
    found_quickly(shops)
    ash, *hidden = shops
    take_part(shops, hidden)
    middle = ash.op("status")["member"]
    assert [linked(shop) for shop in hidden] == [{middle}, {middle}]
    known = {one["member"] for one in ash.op("peers")["addresses"]}
    assert known.isdisjoint(shop.op("status")["member"] for shop in hidden)


def test_nodes_behind_a_router_are_full_members_of_a_large_coop(network: Network, open_behind: Open) -> None:
    """More than twelve members: no full mesh any more, and three of them are turned away at their doors."""
    all_names = [f"shop{number}" for number in range(14)]
    shops = open_behind(*all_names)
    hidden = shops[-3:]
    network.forbid_calls_to(names(hidden))
    found_quickly(shops)
    take_part(shops, hidden)
    ids = {shop.op("status")["member"] for shop in hidden}
    assert all(linked(shop) and not linked(shop) & ids for shop in hidden)
