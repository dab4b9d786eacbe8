"""Nodes on machines of their own, as far as the network is concerned: lost packets, a cut cable, closed doors."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.e2e.namespaces import Host, Street, why_not
from tests.e2e.shops import Shop, found_quickly, same_frontiers, start_all, until
from tests.e2e.test_bad_networks import add, hold_no_grudge, linked, search, take_part

pytestmark = pytest.mark.e2e
PORT = 8420
OpenOn = Callable[..., tuple[list[Shop], list[Host]]]


@pytest.fixture
def street() -> Iterator[Street]:
    why = why_not()
    if why is not None:
        pytest.skip(why)
    opened = Street()
    yield opened
    opened.close()


@pytest.fixture
def open_on(street: Street, tmp_path: Path) -> Iterator[OpenOn]:
    """Start shops, each on a host of its own; *hidden* ones listen where others do not reach them."""
    shops: list[Shop] = []

    def make(*names: str, hidden: Mapping[str, str] = MappingProxyType({})) -> tuple[list[Shop], list[Host]]:
        hosts = [street.build() for _ in names]
        for name, host in zip(names, hosts, strict=True):
            listens_on = hidden.get(name, host.address)
            shop = Shop.quick(tmp_path, name, host=listens_on, port=PORT)
            shop.enter = host.enter
            shops.append(shop)
        start_all(shops)
        return shops, hosts

    yield make
    for shop in shops:
        shop.kill()


def test_packets_get_lost(street: Street) -> None:
    """The rules do what they say: nothing gets through a closed door, and half of it through half a door."""
    one, other = street.build(), street.build()

    def answered(number: int) -> int:
        pings = ["ping", "-q", "-c", str(number), "-i", "0.005", "-W", "1", other.address]
        words = subprocess.run([*one.enter, *pings], capture_output=True, text=True, check=False).stdout.split()
        return int(words[words.index("received,") - 1])

    if subprocess.run(["which", "ping"], capture_output=True, check=False).returncode != 0:
        pytest.skip("network namespaces are looked at with 'ping' of the package iputils-ping")
    assert answered(20) == 20
    assert other.dropped() == 0
    other.drop_one_in(2)
    came = answered(200)
    assert 0 < came < 200
    assert other.dropped() == 200 - came
    other.drop("ip", "saddr", one.address)
    assert answered(5) == 0
    other.drop_nothing()
    assert answered(20) == 20


def test_three_machines_agree_although_packets_are_lost_and_a_cable_is_cut(open_on: OpenOn) -> None:
    shops, hosts = open_on("ash", "birch", "cedar")
    for host in hosts:
        host.drop_one_in(20)
    found_quickly(shops)
    for shop in shops:
        add(shop, "before")
    same_frontiers(shops)
    # The cable of the third machine is cut: nothing passes, and nobody is told.
    lost = sum(host.dropped() for host in hosts)
    assert lost > 0
    for host in hosts[:2]:
        host.drop("ip", "saddr", hosts[2].address)
        hosts[2].drop("ip", "saddr", host.address)
    for shop in shops:
        add(shop, "meanwhile")
    until(lambda: [search(shop, "meanwhile") for shop in shops] == [2, 2, 1], "both sides to go on for themselves")
    for host in hosts:
        host.drop_nothing()
        host.drop_one_in(20)
    same_frontiers(shops)
    for shop in shops:
        until(lambda shop=shop: search(shop, "meanwhile") == 3, "all articles")  # type: ignore[misc]
    hold_no_grudge(shops)


def test_machines_behind_a_router_are_full_members(open_on: OpenOn) -> None:
    # One listens everywhere and says nowhere, one has left its settings as they are: on this machine alone.
    shops, hosts = open_on("ash", "birch", "cedar", hidden={"birch": "0.0.0.0", "cedar": "127.0.0.1"})
    for host in hosts[1:]:
        host.take_no_calls()
    found_quickly(shops)
    take_part(shops, shops[1:])
    known = {one["member"] for one in shops[0].op("peers")["addresses"]}
    assert known.isdisjoint(shop.op("status")["member"] for shop in shops[1:])
    middle = shops[0].op("status")["member"]
    assert [linked(shop) for shop in shops[1:]] == [{middle}, {middle}]
