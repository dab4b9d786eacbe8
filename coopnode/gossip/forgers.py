"""Peers that sent what no honest node sends: their link ends, and for a while there is none.

Never judges an item (`ingest` has refused it) and bans nobody: it is this node's own memory, it ends with the
process, and the rest lasts an hour the first time, twice as long each time, a day at most. The thing to
understand: what proves a peer wrong is in `protocol.forgery`; where a change of key that only the peer knows
would explain an item, the peer is asked for its identities first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from coopnode.core import Core
from coopnode.gossip.link import Link, NoAnswer
from coopnode.ingest import Fate, Outcome
from coopnode.store import Tables
from protocol import forgery, statements
from protocol import head as heads
from protocol import identity as identities
from protocol.errors import Reason, Refused
from protocol.forgery import Verdict
from protocol.identity import IdentityStatement
from protocol.items import ItemKind
from protocol.limits import MAX_ITEMS
from protocol.messages import GetPages, Pages
from protocol.signing import Signed

P = ParamSpec("P")
T = TypeVar("T")
Incoming = tuple[ItemKind, bytes]
log = logging.getLogger(__name__)
FIRST_REST_MS = 3_600_000
LONGEST_REST_MS = 24 * FIRST_REST_MS
MAX_FORGERS = 1_000


class Home(Protocol):
    """What is needed of the node."""

    @property
    def core(self) -> Core:
        """The node's rules and store."""

    async def read(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on a reader thread."""

    async def take(self, items: Sequence[Incoming], came_from: Link | None) -> list[Outcome]:
        """Judge and keep items."""

    async def adopt_pages(self, pages: Sequence[bytes], identity_log: Sequence[bytes]) -> None:
        """Take official pages and identity statements."""


@dataclass(slots=True)
class Dropped:
    """A member whose node is not linked to for a while."""

    until_ms: int
    """By the steady clock."""
    rest_ms: int
    why: str


class Forgers:
    """Who has sent forged items to this node."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._dropped: dict[bytes, Dropped] = {}
        self._asking: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, link: Link, items: Sequence[Incoming], outcomes: Sequence[Outcome]) -> None:
        """Look through what became of items that a peer has sent."""
        for (kind, data), outcome in zip(items, outcomes, strict=True):
            if outcome.fate is not Fate.REFUSED or outcome.reason is None:
                continue
            proof = forgery.IDENTITY_PROVES if kind is ItemKind.IDENTITY else forgery.BYTES_PROVE
            if outcome.reason in proof:
                self.drop(link, f"it sent {_WORDS[kind]} that no honest node sends: {outcome.detail}")
                return
            if outcome.reason is Reason.BAD_SIGNATURE and link not in self._asking:
                self._asking.add(link)  # one at a time: the others are refused all the same
                task = asyncio.create_task(self._examine(link, kind, data), name="examine")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def drop(self, link: Link, why: str) -> None:
        """End a link because of what came over it, and remember the member."""
        link.close(Reason.FORGED, why)
        if link.peer is None:
            return
        now_ms = self._home.core.world.steady_ms()
        before = self._dropped.pop(link.peer, None)
        if before is not None and before.until_ms > now_ms:
            self._dropped[link.peer] = before  # a second link of the same moment
            return
        rest_ms = FIRST_REST_MS if before is None else min(2 * before.rest_ms, LONGEST_REST_MS)
        self._dropped[link.peer] = Dropped(now_ms + rest_ms, rest_ms, why)
        while len(self._dropped) > MAX_FORGERS:
            del self._dropped[next(iter(self._dropped))]
        log.warning("%s is not linked to for %d minutes: %s", link.peer.hex(), rest_ms // 60_000, why)

    def resting(self) -> dict[bytes, Dropped]:
        """Return the members that are not linked to now."""
        now_ms = self._home.core.world.steady_ms()
        for member_id, one in list(self._dropped.items()):
            if one.until_ms + LONGEST_REST_MS <= now_ms:
                del self._dropped[member_id]  # a day of good conduct, or of none
        return {member_id: one for member_id, one in self._dropped.items() if one.until_ms > now_ms}

    def check(self, member_id: bytes) -> None:
        """Refuse (forged) a member that is not linked to now."""
        if member_id in self.resting():
            raise Refused(Reason.FORGED, "this node has sent forged items not long ago; try again later")

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ── a signature that is wrong by the keys that we know ────────────────────────────────────────

    async def _examine(self, link: Link, kind: ItemKind, data: bytes) -> None:
        try:
            verdict = await self._home.read(_judge, self._home.core, kind, data, told=False)
            if verdict is Verdict.SUSPECT and await self._ask_for_identities(link):
                [outcome] = await self._home.take([(kind, data)], None)
                if outcome.fate is Fate.REFUSED:
                    verdict = await self._home.read(_judge, self._home.core, kind, data, told=True)
            if verdict is Verdict.PROVED:
                self.drop(link, f"it sent {_WORDS[kind]} with a forged signature")
        except NoAnswer:
            link.close(Reason.TIMED_OUT, "the peer did not say by which key an item is signed")
        except Refused as refused:
            link.close(refused.reason, refused.detail)
        finally:
            self._asking.discard(link)

    async def _ask_for_identities(self, link: Link) -> bool:
        """Take the peer's identity statements; whether these were all."""
        slot = self._home.core.need_membership().roster.slot
        pages = await link.ask(GetPages(0, slot), Pages)
        await self._home.adopt_pages(pages.pages, pages.identities)
        return len(pages.identities) < MAX_ITEMS


_WORDS = {ItemKind.HEAD: "a head", ItemKind.STATEMENT: "a statement", ItemKind.IDENTITY: "an identity statement"}


def _judge(tables: Tables, core: Core, kind: ItemKind, data: bytes, *, told: bool) -> Verdict:
    coop_id = core.need_membership().coop_id
    signed: Signed
    if kind is ItemKind.HEAD:
        head = heads.read(data)
        signed, what, author, epoch = head.signed, heads.WHAT, head.stream.member_id, head.version.epoch
    else:
        statement = statements.read(data)
        if statement.kind == statements.APPLICATION:
            return Verdict.EXCUSED  # it brings an invitation and an identity of its own: which of them was wrong?
        signed, what, author, epoch = statement.signed, statement.kind, statement.member_id, statement.epoch
    return forgery.judge_signature(signed, what, coop_id, epoch, _log(tables, author), told=told)


def _log(tables: Tables, member_id: bytes) -> Iterable[IdentityStatement]:
    """Return every identity statement of a member that is here."""
    return [identities.read(item.data) for item in tables.items.of_kind(ItemKind.IDENTITY, member_id)]
