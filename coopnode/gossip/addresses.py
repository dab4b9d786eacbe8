"""Which addresses this node may call, and a client that connects to no other.

Whoever writes an address must not be able to send this node to a place that only this node can reach. So it
depends on where an address comes from:

| source | may lead to | form |
|---|---|---|
| invitation, own settings (the owner) | anywhere | any http or https URL |
| zeroconf (the local network) | private, unique local, link-local; loopback if our own URL is; never public | strict |
| contact statements, and all else that members say | public, and the kind of our own URL where that is loopback,
private (RFC 1918) or unique local | strict |

"Our own URL" is the one that we tell the members. Where it is a loopback address (the default), loopback opens only
while every invitation that we have used leads to the loopback too: a node behind a router, which leaves its URL as
it is, is no co-op on one machine. Metadata addresses of clouds are for the owner alone. Strict form: http or https,
a host, a port of 80, 443 or at least 1024, nothing else. No redirect is followed, from wherever.

The thing to understand: a name is resolved here, each of its addresses is judged, and the connection goes to one
that was judged. The same judge looks again at the very address for which a socket is made.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import SimpleNamespace
from typing import NoReturn

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str], Awaitable[list[str]]]
"""From a name to its addresses. Raises OSError."""

MAX_URL = 256
MAX_LOOKED_UP = 16
"""Of the addresses of one name, so many are looked at."""


class NotAllowed(Exception):
    """An address that this node does not call, and why."""


class Kind(StrEnum):
    """What sort of place an address is."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    UNIQUE_LOCAL = "unique local"
    LINK_LOCAL = "link-local"
    CARRIER = "carrier-grade NAT"
    METADATA = "metadata"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    RESERVED = "reserved"


class Source(StrEnum):
    """Who says that somebody can be called at an address."""

    OWNER = "owner"
    LAN = "zeroconf"
    MEMBER = "contact"


def source_of(noted: str) -> Source:
    """Return the source from the word in the table of addresses; what is not known is trusted least."""
    return {"invitation": Source.OWNER, "zeroconf": Source.LAN}.get(noted, Source.MEMBER)


# ── what an address is ───────────────────────────────────────────────────────────────────────────────

METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",  # most clouds
            "169.254.170.2",  # containers at Amazon
            "169.254.170.23",
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure: looks public, is not
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # Amazon
            "fd00:ec2::23",
            "fd20:ce::254",  # Google
        ),
    )
)
# The registries of special-purpose addresses of IANA. Written out, since Python's own properties have changed
# between its versions. First match wins.
_RANGES: tuple[tuple[str, Kind], ...] = (
    ("0.0.0.0/8", Kind.UNSPECIFIED),
    ("10.0.0.0/8", Kind.PRIVATE),
    ("100.64.0.0/10", Kind.CARRIER),
    ("127.0.0.0/8", Kind.LOOPBACK),
    ("169.254.0.0/16", Kind.LINK_LOCAL),
    ("172.16.0.0/12", Kind.PRIVATE),
    ("192.0.0.0/24", Kind.RESERVED),
    ("192.0.2.0/24", Kind.RESERVED),
    ("192.88.99.0/24", Kind.RESERVED),
    ("192.168.0.0/16", Kind.PRIVATE),
    ("198.18.0.0/15", Kind.RESERVED),
    ("198.51.100.0/24", Kind.RESERVED),
    ("203.0.113.0/24", Kind.RESERVED),
    ("224.0.0.0/4", Kind.MULTICAST),
    ("240.0.0.0/4", Kind.RESERVED),
    ("0.0.0.0/0", Kind.PUBLIC),
    ("::/128", Kind.UNSPECIFIED),
    ("::1/128", Kind.LOOPBACK),
    ("fc00::/7", Kind.UNIQUE_LOCAL),
    ("fe80::/10", Kind.LINK_LOCAL),
    ("ff00::/8", Kind.MULTICAST),
    ("2001::/23", Kind.RESERVED),
    ("2001:db8::/32", Kind.RESERVED),
    ("3fff::/20", Kind.RESERVED),
    ("2000::/3", Kind.PUBLIC),
    ("::/0", Kind.RESERVED),
)
_TABLE = tuple((ipaddress.ip_network(written), kind) for written, kind in _RANGES)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def unwrap(ip: Ip) -> tuple[Ip, ...]:
    """Return the addresses that a packet to *ip* can end at: those written inside it, else itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return (ip,)
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip in _NAT64:
        return (ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF),)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    if ip.teredo is not None:
        return ip.teredo
    return (ip,)


def kind_of(ip: Ip) -> Kind:
    """Return what *ip* is, unwrapped; of a Teredo address (server, client) that which is not public."""
    kinds = [_kind(one) for one in unwrap(ip)]
    return next((kind for kind in kinds if kind is not Kind.PUBLIC), Kind.PUBLIC)


def _kind(ip: Ip) -> Kind:
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ipaddress.IPv6Address(int(ip))  # without the zone
    if ip in METADATA:
        return Kind.METADATA
    return next(kind for network, kind in _TABLE if ip.version == network.version and ip in network)


# ── what a URL is ────────────────────────────────────────────────────────────────────────────────────

# So narrow that no two readers of URLs can differ about it.
_URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_.-]{1,253}))(?::(?P<port>[0-9]{1,5}))?/?",
    re.ASCII,
)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)


def read_url(url: str) -> tuple[str, int]:
    """Return host and port of a URL of strict form. Raises NotAllowed."""
    found = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if found is None:
        raise NotAllowed("it is not http(s)://host:port and nothing else")
    port = int(found["port"] or (443 if found["scheme"] == "https" else 80))
    if port not in (80, 443) and not 1024 <= port <= 65535:
        raise NotAllowed(f"port {port} belongs to another service")
    host = found["six"] or found["name"]
    if read_ip(host) is None and (found["six"] or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2])):
        raise NotAllowed("its host is a number that is not an address")  # 127.1, 0x7f000001, 2130706433
    return host, port


def read_ip(host: str) -> Ip | None:
    """Return the address that *host* is, None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def place_of(url: str) -> Kind:
    """Return the kind of place that one of our own or our owner's URLs names. A name counts as public."""
    try:
        host, _ = read_url(url)
    except NotAllowed:
        return Kind.PUBLIC
    ip = read_ip(host)
    if ip is not None:
        return kind_of(ip)
    name = host.rstrip(".").lower()
    return Kind.LOOPBACK if name == "localhost" or name.endswith(".localhost") else Kind.PUBLIC


# ── the rule ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be called."""

    kinds: frozenset[Kind]
    strict: bool = True
    """Whether URLs must have the strict form."""

    def check_url(self, url: str) -> None:
        """Raise NotAllowed where the URL alone shows that it may not be called."""
        if not self.strict:
            return
        host, _ = read_url(url)
        if read_ip(host) is not None:
            self.check_ip(host)

    def check_ip(self, host: str) -> None:
        """Raise NotAllowed unless *host* is an address that may be called."""
        ip = read_ip(host)
        if ip is None:
            raise NotAllowed(f"{host} is no address")
        kind = kind_of(ip)
        if kind not in self.kinds:
            raise NotAllowed(f"{ip} is {kind}")


def rule_for(source: Source, own_url: str, invited: Iterable[str] = ()) -> Rule:
    """Return the rule for addresses of a source. *own_url* is what we tell the members, *invited* led us here."""
    if source is Source.OWNER:
        return Rule(frozenset(Kind), strict=False)
    own = place_of(own_url)
    if own is Kind.LOOPBACK and any(place_of(url) is not Kind.LOOPBACK for url in invited):
        own = Kind.PUBLIC
    if source is Source.LAN:
        lan = {Kind.PRIVATE, Kind.UNIQUE_LOCAL, Kind.LINK_LOCAL}
        return Rule(frozenset(lan | ({own} & {Kind.LOOPBACK})))
    return Rule(frozenset({Kind.PUBLIC} | ({own} & {Kind.LOOPBACK, Kind.PRIVATE, Kind.UNIQUE_LOCAL})))


def useful_urls(urls: Iterable[str], invited: Iterable[str]) -> list[str]:
    """Return which of our own URLs to tell the members: none on this machine, if what led us here is elsewhere."""
    elsewhere = any(place_of(url) is not Kind.LOOPBACK for url in invited)
    return [url for url in urls if not (elsewhere and place_of(url) is Kind.LOOPBACK)]


# ── the client ───────────────────────────────────────────────────────────────────────────────────────


async def look_up(name: str) -> list[str]:
    """Ask the machine for the addresses of a name."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class Judge(AbstractResolver):
    """Resolves names, and gives out only addresses that may be called."""

    def __init__(self, rule: Rule, lookup: Lookup = look_up) -> None:
        self._rule = rule
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of *host* that may be called. Raises NotAllowed if there is none, and OSError."""
        results: list[ResolveResult] = []
        refused: NotAllowed | None = None
        for written in (await self._lookup(host))[:MAX_LOOKED_UP]:
            try:
                self._rule.check_ip(written)
            except NotAllowed as error:
                refused = error
                continue
            its_family = socket.AF_INET6 if ":" in written else socket.AF_INET
            if family in (socket.AF_UNSPEC, its_family):
                results.append(
                    ResolveResult(
                        hostname=host,
                        host=written,
                        port=port,
                        family=its_family,
                        proto=0,
                        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                    )
                )
        if not results:
            raise refused or OSError(f"{host} has no address")
        return results

    async def close(self) -> None:
        """Nothing is held open."""


def open_client(rule: Rule, lookup: Lookup = look_up) -> aiohttp.ClientSession:
    """Return a client that connects only where *rule* allows. To be closed by the caller."""

    def make_socket(found: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, proto, _, sockaddr = found
        rule.check_ip(str(sockaddr[0]))
        return socket.socket(family, kind, proto)

    async def refuse(
        _: aiohttp.ClientSession, __: SimpleNamespace, seen: aiohttp.TraceRequestRedirectParams
    ) -> NoReturn:
        raise NotAllowed(f"{seen.url} sends elsewhere")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    connector = aiohttp.TCPConnector(
        resolver=Judge(rule, lookup), use_dns_cache=False, force_close=True, socket_factory=make_socket
    )
    # Cookies, proxies and passwords of the environment are not for other members' nodes.
    return aiohttp.ClientSession(
        connector=connector, trace_configs=[trace], trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
    )
