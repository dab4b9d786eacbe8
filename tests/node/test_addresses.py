"""Which addresses are called: what each is, whatever it is wrapped in, and what the client connects to."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from coopnode.gossip.addresses import (
    METADATA,
    Judge,
    Kind,
    NotAllowed,
    Rule,
    Source,
    kind_of,
    look_up,
    open_client,
    place_of,
    read_url,
    rule_for,
    source_of,
    useful_urls,
)
from tests.node.scenes import QUICK
from tests.node.wires import Canary, canary

PUBLIC = "https://shop.example"
LOOPBACK = "http://127.0.0.1:8420"
HOME = "http://192.168.1.20:8420"


@pytest_asyncio.fixture
async def bird() -> AsyncIterator[Canary]:
    async with canary() as made:
        yield made


# ── what an address is ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", Kind.PUBLIC),
        ("172.15.255.255", Kind.PUBLIC),
        ("172.32.0.0", Kind.PUBLIC),
        ("100.63.255.255", Kind.PUBLIC),
        ("100.128.0.0", Kind.PUBLIC),
        ("2606:4700::1111", Kind.PUBLIC),
        ("127.0.0.1", Kind.LOOPBACK),
        ("127.255.255.254", Kind.LOOPBACK),
        ("::1", Kind.LOOPBACK),
        ("10.0.0.1", Kind.PRIVATE),
        ("172.16.0.1", Kind.PRIVATE),
        ("172.31.255.255", Kind.PRIVATE),
        ("192.168.255.255", Kind.PRIVATE),
        ("fd12:3456::1", Kind.UNIQUE_LOCAL),
        ("fc00::1", Kind.UNIQUE_LOCAL),
        ("169.254.1.1", Kind.LINK_LOCAL),
        ("fe80::1", Kind.LINK_LOCAL),
        ("fe80::1%eth0", Kind.LINK_LOCAL),
        ("100.64.0.1", Kind.CARRIER),
        ("100.127.255.255", Kind.CARRIER),
        ("224.0.0.251", Kind.MULTICAST),
        ("ff02::fb", Kind.MULTICAST),
        ("0.0.0.0", Kind.UNSPECIFIED),
        ("0.1.2.3", Kind.UNSPECIFIED),
        ("::", Kind.UNSPECIFIED),
        ("255.255.255.255", Kind.RESERVED),
        ("240.0.0.1", Kind.RESERVED),
        ("192.0.2.1", Kind.RESERVED),
        ("198.18.0.1", Kind.RESERVED),
        ("fec0::1", Kind.RESERVED),
        ("2001:db8::1", Kind.RESERVED),
        ("::127.0.0.1", Kind.RESERVED),
        ("64:ff9b:1::7f00:1", Kind.RESERVED),
        *((one, Kind.METADATA) for one in sorted(map(str, METADATA))),
        # wrapped
        ("::ffff:127.0.0.1", Kind.LOOPBACK),
        ("::ffff:8.8.8.8", Kind.PUBLIC),
        ("::ffff:169.254.169.254", Kind.METADATA),
        ("64:ff9b::127.0.0.1", Kind.LOOPBACK),
        ("64:ff9b::10.1.2.3", Kind.PRIVATE),
        ("64:ff9b::8.8.8.8", Kind.PUBLIC),
        ("2002:7f00:1::", Kind.LOOPBACK),
        ("2002:a9fe:a9fe::1", Kind.METADATA),
        ("2002:808:808::1", Kind.PUBLIC),
        ("2001:0:808:808:0:0:80ff:fffe", Kind.LOOPBACK),  # Teredo: the client's address is written inverted
        ("2001:0:7f00:1:0:0:f7f7:f7f7", Kind.LOOPBACK),  # and its server
        ("2001:0:808:808:0:0:f7f7:f7f7", Kind.PUBLIC),
    ],
)
def test_each_address_is_what_it_leads_to(address: str, kind: Kind) -> None:
    assert kind_of(ipaddress.ip_address(address)) is kind


def wrapped(inner: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    number, good = int(inner), int(ipaddress.IPv4Address("8.8.8.8"))
    return [
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(0x64FF9B << 96 | number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80 | 1),
        ipaddress.IPv6Address(0x20010000 << 96 | good << 64 | number ^ 0xFFFFFFFF),
        ipaddress.IPv6Address(0x20010000 << 96 | number << 64 | good ^ 0xFFFFFFFF),
    ]


NEAR = st.sampled_from(
    [
        "0.0.0.0/7",
        "9.255.255.0/20",
        "10.0.0.0/8",
        "100.64.0.0/9",
        "127.0.0.0/8",
        "169.254.0.0/15",
        "172.0.0.0/8",
        "192.0.0.0/8",
        "198.0.0.0/8",
        "203.0.113.0/23",
        "224.0.0.0/3",
        "0.0.0.0/0",
    ]
).flatmap(lambda text: st.ip_addresses(network=ipaddress.ip_network(text, strict=False)))


@QUICK
@given(NEAR)
def test_no_wrapping_changes_the_verdict(inner: ipaddress.IPv4Address) -> None:
    assert {kind_of(outer) for outer in wrapped(inner)} == {kind_of(inner)}


@QUICK
@given(NEAR | st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_is_called_public_is_global_in_the_eyes_of_python(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if kind_of(ip) is Kind.PUBLIC and not isinstance(ip, ipaddress.IPv6Address):
        assert ip.is_global
        assert not ip.is_multicast


# ── what a URL is ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://shop.example", ("shop.example", 80)),
        ("https://shop.example/", ("shop.example", 443)),
        ("http://8.8.8.8:8420", ("8.8.8.8", 8420)),
        ("http://[2606:4700::1111]:65535/", ("2606:4700::1111", 65535)),
        ("http://xn--bcher-kva.example:1024", ("xn--bcher-kva.example", 1024)),
    ],
)
def test_a_plain_url_is_read(url: str, read: tuple[str, int]) -> None:
    assert read_url(url) == read


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example",
        "file:///etc/passwd",
        "HTTP://shop.example",
        "http://",
        "http://user@shop.example",
        "http://user:word@shop.example",
        "http://shop.example@127.0.0.1",
        "http://shop.example#there",
        "http://shop.example?a=b",
        "http://shop.example/path",
        "http://shop.example//",
        "http://shop.example\\@127.0.0.1",
        "http://shop.example:",
        "http://shop.example:0",
        "http://shop.example:22",
        "http://shop.example:1023",
        "http://shop.example:65536",
        "http://shop.example:+80",
        "http://shop.example:８０",
        "http://shop.example\n",
        "http://shop.example\r\nHost: other",
        "http://bücher.example",
        "http://[fe80::1%25eth0]:8420",
        "http://[::1",
        "http://[1:2]",
        "http://127.1:8420",
        "http://2130706433",
        "http://0x7f000001",
        "http://0177.0.0.1",
        "http://127.0.0.0x1",
        "http://127.0.0.1.",
        "http://" + "a" * 260,
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(NotAllowed):
        read_url(url)
    with pytest.raises(NotAllowed):
        rule_for(Source.MEMBER, LOOPBACK).check_url(url)


@QUICK
@given(st.text(max_size=40).map("http://{}".format) | st.text(max_size=40))
def test_no_text_breaks_the_reader(url: str) -> None:
    try:
        host, port = read_url(url)
    except NotAllowed:
        return
    assert host.isascii()
    assert 1 <= port <= 65535


# ── the rule ─────────────────────────────────────────────────────────────────────────────────────────

SAMPLES = {
    Kind.PUBLIC: "8.8.8.8",
    Kind.LOOPBACK: "127.0.0.1",
    Kind.PRIVATE: "10.1.2.3",
    Kind.UNIQUE_LOCAL: "fd12::1",
    Kind.LINK_LOCAL: "169.254.3.4",
    Kind.CARRIER: "100.64.0.1",
    Kind.METADATA: "169.254.169.254",
    Kind.MULTICAST: "224.0.0.1",
    Kind.UNSPECIFIED: "0.0.0.0",
    Kind.RESERVED: "240.0.0.1",
}
LAN = {Kind.PRIVATE, Kind.UNIQUE_LOCAL, Kind.LINK_LOCAL}


@pytest.mark.parametrize(
    ("source", "own", "allowed"),
    [
        (Source.MEMBER, PUBLIC, {Kind.PUBLIC}),
        (Source.MEMBER, "http://8.8.4.4:8420", {Kind.PUBLIC}),
        (Source.MEMBER, "http://0.0.0.0:8420", {Kind.PUBLIC}),
        (Source.MEMBER, "http://169.254.9.9:8420", {Kind.PUBLIC}),
        (Source.MEMBER, "http://100.64.0.9:8420", {Kind.PUBLIC}),
        (Source.MEMBER, "", {Kind.PUBLIC}),
        (Source.MEMBER, LOOPBACK, {Kind.PUBLIC, Kind.LOOPBACK}),
        (Source.MEMBER, "http://[::1]:8420", {Kind.PUBLIC, Kind.LOOPBACK}),
        (Source.MEMBER, "http://localhost:8420", {Kind.PUBLIC, Kind.LOOPBACK}),
        (Source.MEMBER, HOME, {Kind.PUBLIC, Kind.PRIVATE}),
        (Source.MEMBER, "http://[fd00::2]:8420", {Kind.PUBLIC, Kind.UNIQUE_LOCAL}),
        (Source.LAN, PUBLIC, LAN),
        (Source.LAN, HOME, LAN),
        (Source.LAN, LOOPBACK, LAN | {Kind.LOOPBACK}),
        (Source.OWNER, PUBLIC, set(Kind)),
    ],
)
def test_each_source_leads_where_the_table_says(source: Source, own: str, allowed: set[Kind]) -> None:
    rule = rule_for(source, own)
    assert set(SAMPLES) == set(Kind)
    for kind, address in SAMPLES.items():
        url = f"http://[{address}]:8420" if ":" in address else f"http://{address}:8420"
        if kind in allowed:
            rule.check_url(url)
            rule.check_ip(address)
        else:
            with pytest.raises(NotAllowed):
                rule.check_url(url)
            with pytest.raises(NotAllowed):
                rule.check_ip(address)


def test_a_node_behind_a_router_is_no_coop_on_one_machine() -> None:
    assert Kind.LOOPBACK in rule_for(Source.MEMBER, LOOPBACK, ["http://127.0.0.1:9000", "http://localhost:9001"]).kinds
    for elsewhere in (PUBLIC, HOME, "http://8.8.8.8:8420"):
        for source in (Source.MEMBER, Source.LAN):
            assert Kind.LOOPBACK not in rule_for(source, LOOPBACK, ["http://127.0.0.1:9000", elsewhere]).kinds


def test_what_is_not_known_is_trusted_least() -> None:
    assert [source_of(word) for word in ("invitation", "zeroconf", "handshake", "contact", "")] == [
        Source.OWNER,
        Source.LAN,
        *[Source.MEMBER] * 3,
    ]


def test_a_name_says_nothing_about_its_place() -> None:
    assert [place_of(url) for url in ("http://node.lan:8420", "nonsense", "http://a.localhost")] == [
        Kind.PUBLIC,
        Kind.PUBLIC,
        Kind.LOOPBACK,
    ]


# ── the client ───────────────────────────────────────────────────────────────────────────────────────


async def test_the_judge_gives_out_only_what_may_be_called() -> None:
    async def lookup(name: str) -> list[str]:
        return ["127.0.0.1", "8.8.8.8", "64:ff9b::7f00:1", "2606:4700::1111"]

    found = await Judge(rule_for(Source.MEMBER, PUBLIC), lookup).resolve("mixed.example", 8420)
    assert [one["host"] for one in found] == ["8.8.8.8", "2606:4700::1111"]


async def test_the_judge_refuses_a_name_that_leads_home_alone() -> None:
    async def lookup(name: str) -> list[str]:
        return ["127.0.0.1", "::1"]

    with pytest.raises(NotAllowed):
        await Judge(rule_for(Source.MEMBER, PUBLIC), lookup).resolve("evil.example", 8420)


async def test_a_name_without_an_address_is_an_error_of_the_network() -> None:
    async def lookup(name: str) -> list[str]:
        return []

    with pytest.raises(OSError, match="no address"):
        await Judge(rule_for(Source.MEMBER, PUBLIC), lookup).resolve("none.example")


async def test_the_machine_knows_localhost() -> None:
    assert set(await look_up("localhost")) & {"127.0.0.1", "::1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example", "[::ffff:127.0.0.1]"])
async def test_the_client_calls_the_loopback_only_with_the_rule_off(bird: Canary, host: str) -> None:
    async def lookup(name: str) -> list[str]:
        return ["127.0.0.1"]

    url = f"http://{host}:{bird.port}/"
    async with open_client(rule_for(Source.MEMBER, PUBLIC), lookup) as client:
        with pytest.raises(NotAllowed):
            await client.get(url)
    assert bird.calls == 0
    async with open_client(rule_for(Source.MEMBER, LOOPBACK), lookup) as client, client.get(url) as answer:
        assert answer.status == 200
    assert bird.calls == 1


async def test_a_name_that_changes_between_two_looks_is_looked_at_once(bird: Canary) -> None:
    """DNS rebinding: what was judged is what is connected to, so a second answer helps nobody."""
    answers = [["8.8.8.8"], ["127.0.0.1"]]
    asked = 0

    async def lookup(name: str) -> list[str]:
        nonlocal asked
        asked += 1
        return answers[min(asked, 2) - 1]

    judge = Judge(rule_for(Source.MEMBER, PUBLIC), lookup)
    assert [one["host"] for one in await judge.resolve("rebinding.example", bird.port)] == ["8.8.8.8"]
    async with open_client(rule_for(Source.MEMBER, PUBLIC), lookup) as client:
        with pytest.raises(NotAllowed):
            await client.get(f"http://rebinding.example:{bird.port}/")
    assert (asked, bird.calls) == (2, 0)


async def test_no_redirect_is_followed_not_even_for_the_owner(bird: Canary) -> None:
    async def away(_: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.1:{bird.port}/gossip/v1")

    async with canary(away) as first:
        async with open_client(Rule(frozenset(Kind), strict=False)) as client:
            with pytest.raises(NotAllowed, match="elsewhere"):
                await client.ws_connect(f"http://127.0.0.1:{first.port}/gossip/v1")
        assert (first.calls, bird.calls) == (1, 0)
        async with aiohttp.ClientSession() as client:  # the twin: a client without the defence follows
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await client.ws_connect(f"http://127.0.0.1:{first.port}/gossip/v1")
        assert (first.calls, bird.calls) == (2, 1)


@pytest.mark.parametrize(
    ("url", "invited", "told"),
    [
        ("http://127.0.0.1:8420", [], True),  # the first of a co-op, or one on this machine alone
        ("http://127.0.0.1:8420", ["http://127.0.0.1:8421"], True),
        ("http://127.0.0.1:8420", ["http://127.0.0.1:8421", "https://shop.example"], False),
        ("http://localhost:8420", ["http://192.168.1.20:8420"], False),
        ("http://192.168.1.21:8420", ["https://shop.example"], True),
        ("https://own.example", ["https://shop.example"], True),
    ],
)
def test_an_address_on_this_machine_is_told_only_where_it_leads_somewhere(
    url: str, invited: list[str], told: bool
) -> None:
    assert useful_urls([url], invited) == ([url] if told else [])
