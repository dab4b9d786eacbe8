"""Opening links: which members to dial, at which of their addresses, and how soon again.

Never believes an address: `addresses` says where this node may call at all, the handshake shows who is there.
Addresses come from the invitation, from members' contact statements, from zeroconf and from links that others
have opened. What one member says of itself costs at most one try at a time and four failing ones a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import aiohttp

from coopnode.core import Core
from coopnode.gossip.addresses import Lookup, NotAllowed, Rule, Source, look_up, open_client, rule_for, source_of
from coopnode.gossip.gossiper import Gossiper
from coopnode.gossip.link import dial
from coopnode.store import Tables
from coopnode.store.peers import Address
from protocol import statements
from protocol.overlay import wanted_links
from protocol.session import Role

log = logging.getLogger(__name__)

FIRST_WAIT_MS = 500
LONGEST_WAIT_MS = 60_000
LOOK_SECONDS = 1.0
DIAL_SECONDS = 5.0
REFUSED_MS = 3_600_000
"""So long an address that may not be called is not looked at again."""
MAX_REFUSED = 10_000
MAX_FAILURES = 4
FAILURES_MS = 60_000
"""At most MAX_FAILURES failing tries in so long are made because of one member's contact statement."""


@dataclass(slots=True)
class Patience:
    """How long an address must wait for the next try."""

    next_ms: int = 0
    wait_ms: int = FIRST_WAIT_MS


@dataclass(frozen=True, slots=True)
class Try:
    """A try under way, or the link that it has led to."""

    address: Address
    task: asyncio.Task[None]


class Dialer:
    """Keeps up the links that this node wants to have. *own_url* is what we tell the members."""

    def __init__(self, core: Core, gossiper: Gossiper, own_url: str, lookup: Lookup = look_up) -> None:
        self._core = core
        self._gossiper = gossiper
        self._own_url = own_url
        self._lookup = lookup
        self._patience: dict[str, Patience] = {}
        self._dialing: dict[str, Try] = {}
        self._refused: dict[tuple[str, Source], int] = {}
        self._failures: dict[bytes, deque[int]] = {}
        self._wake = asyncio.Event()
        self.own_urls: set[str] = {own_url}
        self.shunned: Callable[[], Iterable[bytes]] = tuple
        """Members that are not called for now."""
        self.refusals: Counter[str] = Counter()
        """Addresses that may not be called, by why; whoever writes them down clears it."""

    def wake(self) -> None:
        """Look at once: there is a new address or member."""
        self._wake.set()

    async def run(self) -> None:
        """Dial whenever a wanted link is missing. Never returns."""
        while True:
            if self._core.is_member:
                self.look()
            self._wake.clear()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End all tries under way."""
        tasks = [one.task for one in self._dialing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def look(self) -> None:
        """Begin the tries that are due now."""
        addresses = self._core.store.read(known_addresses)
        now_ms = self._core.world.steady_ms()
        self._forget(addresses, now_ms)
        membership = self._core.need_membership()
        shunned = set(self.shunned())
        wanted = set(
            wanted_links(
                self._core.member_id,
                membership.roster.tellers,
                self._gossiper.standings(),
                self._core.world.shuffle,
                {one.member_id for one in addresses if one.member_id is not None}.difference(shunned),
            )
        )
        wanted.difference_update(shunned)
        open_urls = {link.url for link in self._gossiper.links if link.is_open}
        busy_urls = {link.url for link in self._gossiper.links} | set(self._dialing) | self.own_urls
        busy = {_claim(one.address) for url, one in self._dialing.items() if url not in open_urls}
        invited = [one.url for one in addresses if source_of(one.source) is Source.OWNER]
        rules = {source: rule_for(source, self._own_url, invited) for source in Source}
        for address in sorted(addresses, key=self._turn):
            member_id, source = address.member_id, source_of(address.source)
            if address.url in busy_urls or member_id == self._core.member_id:
                continue
            if member_id is not None and (member_id not in wanted or _claim(address) in busy):
                continue
            if (address.url, source) in self._refused or self._has_failed_enough(address):
                continue
            patience = self._patience.setdefault(address.url, Patience())
            if now_ms < patience.next_ms:
                continue
            try:
                rules[source].check_url(address.url)
            except NotAllowed as refused:
                self._refuse(address, refused)
                continue
            # An address that has answered as somebody else is tried again, but ever more rarely.
            patience.next_ms = now_ms + patience.wait_ms
            patience.wait_ms = min(2 * patience.wait_ms, LONGEST_WAIT_MS)
            self._start(address, rules[source])
            busy_urls.add(address.url)
            if member_id is not None:
                wanted.discard(member_id)

    def visit(self, member_id: bytes) -> bool:
        """Call a member once, to hear each other out; return whether an address of it may be tried now."""
        if member_id in set(self.shunned()):
            return False
        now_ms = self._core.world.steady_ms()
        busy_urls = {link.url for link in self._gossiper.links} | set(self._dialing) | self.own_urls
        addresses = self._core.store.read(known_addresses)
        invited = [one.url for one in addresses if source_of(one.source) is Source.OWNER]
        for address in sorted((one for one in addresses if one.member_id == member_id), key=self._turn):
            source = source_of(address.source)
            patience = self._patience.get(address.url)
            if address.url in busy_urls or (address.url, source) in self._refused or self._has_failed_enough(address):
                continue
            if patience is not None and now_ms < patience.next_ms:
                continue
            rule = rule_for(source, self._own_url, invited)
            try:
                rule.check_url(address.url)
            except NotAllowed as refused:
                self._refuse(address, refused)
                continue
            self._start(address, rule, visit=True)
            return True
        return False

    def _turn(self, address: Address) -> tuple[int, int]:
        """Order addresses: tried least, then tried longest ago. Else a member's first four might be its only ones."""
        patience = self._patience.get(address.url) or Patience()
        return patience.wait_ms, patience.next_ms

    def _start(self, address: Address, rule: Rule, *, visit: bool = False) -> None:
        task = asyncio.create_task(self._dial(address, rule, visit=visit), name=f"dial {address.url}")
        self._dialing[address.url] = Try(address, task)
        task.add_done_callback(lambda _: self._dialing.pop(address.url, None))

    async def _dial(self, address: Address, rule: Rule, *, visit: bool) -> None:
        url = address.url
        # A client of its own: no connection and no resolved name is shared between two rules.
        async with open_client(rule, self._lookup) as client:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    socket = await dial(client, url)
            except NotAllowed as refused:
                self._refuse(address, refused)
                self._fail(address)
                return
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                log.debug("nobody answers at %s: %s", url, error)
                self._fail(address)
                return
            started_ms = self._core.world.steady_ms()
            link = await self._gossiper.run_link(socket, Role.DIALER, url, visit=visit)
        if link.peer is None or link.peer != (address.member_id or link.peer):
            self._fail(address)
        elif self._core.world.steady_ms() - started_ms > LONGEST_WAIT_MS:
            self._patience.pop(url, None)  # it was a good link: try soon

    # ── what has gone wrong ───────────────────────────────────────────────────────────────────────

    def _refuse(self, address: Address, refused: NotAllowed) -> None:
        log.debug("%s, from %s, is not called: %s", address.url, address.source, refused)
        self.refusals[f"{address.source}: {refused}"] += 1
        self._refused[address.url, source_of(address.source)] = self._core.world.steady_ms() + REFUSED_MS
        while len(self._refused) > MAX_REFUSED:
            self._refused.pop(next(iter(self._refused)))

    def _fail(self, address: Address) -> None:
        if address.member_id is not None and source_of(address.source) is Source.MEMBER:
            failures = self._failures.setdefault(address.member_id, deque(maxlen=MAX_FAILURES))
            failures.append(self._core.world.steady_ms())

    def _has_failed_enough(self, address: Address) -> bool:
        if address.member_id is None or source_of(address.source) is not Source.MEMBER:
            return False
        return len(self._failures.get(address.member_id, ())) >= MAX_FAILURES

    def _forget(self, addresses: Sequence[Address], now_ms: int) -> None:
        """Drop what has become old, so that nobody's changing addresses fill the memory."""
        urls = {one.url for one in addresses}
        for url in [url for url, one in self._patience.items() if url not in urls and one.next_ms <= now_ms]:
            del self._patience[url]
        for key in [key for key, until_ms in self._refused.items() if until_ms <= now_ms]:
            del self._refused[key]
        for member_id, failures in list(self._failures.items()):
            while failures and failures[0] + FAILURES_MS <= now_ms:
                failures.popleft()
            if not failures:
                del self._failures[member_id]


def _claim(address: Address) -> tuple[Source, bytes | None]:
    """Return on whose word an address is tried: of these there is one try at a time."""
    return source_of(address.source), address.member_id


def known_addresses(tables: Tables) -> list[Address]:
    """Return all known addresses: those noted, and those in members' contact statements.

    Several members may claim one URL: each claim stands for itself, so that nobody can take another's away.
    """
    noted = {address.url: address for address in tables.peers.addresses()}
    found = list(noted.values())
    for item in tables.items.on_topic(statements.CONTACT.encode()):
        contact = statements.read(item.data)
        for url in contact.fields["endpoints"]:
            known = noted.get(url)
            if known is None:
                found.append(Address(url, contact.member_id, "contact", 0, 0))
            elif known.member_id != contact.member_id:
                found.append(Address(url, contact.member_id, known.source, known.heard_ms, 0))
    return sorted(found, key=lambda one: (-one.heard_ms, one.url))


def contact_names(tables: Tables) -> dict[bytes, str]:
    """Return the names that members have given themselves in their contact statements."""
    contacts = (statements.read(item.data) for item in tables.items.on_topic(statements.CONTACT.encode()))
    return {contact.member_id: contact.fields["name"] for contact in contacts}
