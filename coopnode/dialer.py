"""Opening links: which members to dial, at which of their addresses, and how soon again.

Never believes an address: the handshake shows who is there. Addresses come from the invitation, from
members' contact statements, from zeroconf and from links that others have opened.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import aiohttp

from coopnode.core import Core
from coopnode.gossiper import Gossiper
from coopnode.link import dial
from coopnode.store import Tables
from coopnode.store.peers import Address
from protocol import statements
from protocol.gossip import wanted_links
from protocol.session import Role

log = logging.getLogger(__name__)

FIRST_WAIT_MS = 500
LONGEST_WAIT_MS = 60_000
LOOK_SECONDS = 1.0
DIAL_SECONDS = 5.0


@dataclass(slots=True)
class Patience:
    """How long an address must wait for the next try."""

    next_ms: int = 0
    wait_ms: int = FIRST_WAIT_MS


class Dialer:
    """Keeps up the links that this node wants to have."""

    def __init__(self, core: Core, gossiper: Gossiper, client: aiohttp.ClientSession) -> None:
        self._core = core
        self._gossiper = gossiper
        self._client = client
        self._patience: dict[str, Patience] = {}
        self._dialing: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self.own_urls: set[str] = set()

    def wake(self) -> None:
        """Look at once: there is a new address or member."""
        self._wake.set()

    async def run(self) -> None:
        """Dial whenever a wanted link is missing. Never returns."""
        while True:
            if self._core.is_member:
                self._look(self._core.store.read(_addresses))
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End all tries under way."""
        tasks = list(self._dialing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self, addresses: list[Address]) -> None:
        membership = self._core.need_membership()
        linked = self._gossiper.linked()
        wanted = set(wanted_links(self._core.member_id, membership.roster.tellers, linked, self._core.world.shuffle))
        busy_urls = {link.url for link in self._gossiper.links} | set(self._dialing) | self.own_urls
        for address in addresses:
            if address.url in busy_urls or address.member_id == self._core.member_id:
                continue
            if address.member_id is not None and address.member_id not in wanted:
                continue
            patience = self._patience.setdefault(address.url, Patience())
            now_ms = self._core.world.steady_ms()
            if now_ms < patience.next_ms:
                continue
            # An address that has answered as somebody else is tried again, but ever more rarely.
            patience.next_ms = now_ms + patience.wait_ms
            patience.wait_ms = min(2 * patience.wait_ms, LONGEST_WAIT_MS)
            self._start(address.url)
            if address.member_id is not None:
                wanted.discard(address.member_id)

    def _start(self, url: str) -> None:
        task = asyncio.create_task(self._dial(url), name=f"dial {url}")
        self._dialing[url] = task
        task.add_done_callback(lambda _: self._dialing.pop(url, None))

    async def _dial(self, url: str) -> None:
        try:
            socket = await asyncio.wait_for(dial(self._client, url), DIAL_SECONDS)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.debug("nobody answers at %s: %s", url, error)
            return
        started_ms = self._core.world.steady_ms()
        link = await self._gossiper.run_link(socket, Role.DIALER, url)
        if link.peer is not None and self._core.world.steady_ms() - started_ms > LONGEST_WAIT_MS:
            self._patience.pop(url, None)  # it was a good link: try soon


def _addresses(tables: Tables) -> list[Address]:
    """Return all known addresses: those noted, and those in members' contact statements."""
    found = {address.url: address for address in tables.peers.addresses()}
    for item in tables.items.on_topic(statements.CONTACT.encode()):
        contact = statements.read(item.data)
        for url in contact.fields["endpoints"]:
            known = found.get(url)
            heard_ms = 0 if known is None else known.heard_ms
            found[url] = Address(url, contact.member_id, "contact", heard_ms, 0)
    return sorted(found.values(), key=lambda one: (-one.heard_ms, one.url))


def contact_names(tables: Tables) -> dict[bytes, str]:
    """Return the names that members have given themselves in their contact statements."""
    contacts = (statements.read(item.data) for item in tables.items.on_topic(statements.CONTACT.encode()))
    return {contact.member_id: contact.fields["name"] for contact in contacts}
