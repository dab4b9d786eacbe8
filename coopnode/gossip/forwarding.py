"""Passing a buyer's question on to a node that keeps what this one does not, and checking what comes back.

Never believes an answer: each record must come with its proof, under a head that its author has signed, and counts
as old where a later head is known here. Never redirects the buyer, and asks at most a few nodes, for a bounded time
and size, with `here=1`: so nobody passes a question on a second time. It calls where `addresses` lets it, as when
it dials, at one path, with the buyer's words as parameters.
The thing to understand: the node that answers can leave records out, and nothing shows that it did.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Concatenate, ParamSpec, Protocol, TypeVar
from urllib.parse import urlencode

import aiohttp

from coopnode.core import Core
from coopnode.gossip.addresses import Lookup, NotAllowed, Source, look_up, open_client, rule_for, source_of
from coopnode.gossip.dialer import known_addresses
from coopnode.gossip.link import Link
from coopnode.ingest import head_slot
from coopnode.store import Tables
from coopnode.store.peers import Address
from protocol import head as heads
from protocol import proved, records, statements
from protocol.errors import Reason, Refused
from protocol.head import Head
from protocol.items import ItemKind
from protocol.limits import MAX_PROVED_BYTES, STREAM_PUBLIC
from protocol.proved import Row
from protocol.records import LISTING, STOCK
from protocol.scope import Replica, read_replica

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

MOST_ASKED = 3
"""Nodes that one question is put to, one after the other."""
URLS_A_NODE = 2
EACH_SECONDS = 3.0
ALL_SECONDS = 6.0
UNDER_WAY = 8
"""Questions of buyers that are passed on at a time: what strangers ask here must not become a flood elsewhere."""
MOST_WAITING = 32
FAILED_MS = 60_000
"""So long whoever gave no answer that can be used is asked last."""
SEARCH_PATH, LISTING_PATH = "/api/v1/proved/listings", "/api/v1/proved/listing"


class Home(Protocol):
    """What forwarding needs of the node."""

    @property
    def core(self) -> Core:
        """The node's rules and store."""

    def linked(self) -> Mapping[bytes, Link]:
        """Return the open links by member."""

    async def read(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on a reader thread."""

    async def write(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in the writer's transaction."""


@dataclass(frozen=True, slots=True)
class Target:
    """A node that may know, and where it is found."""

    member_id: bytes
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Proved:
    """A listing that its author has signed, with its stock. *behind*: a later head of the author is known here."""

    sku: str
    listing: Row
    stock: Row
    behind: bool


@dataclass(frozen=True, slots=True)
class Passed:
    """What another node has answered, as far as it holds. *total* is its word alone."""

    member_id: bytes
    total: int
    found: tuple[Proved, ...]
    refusals: tuple[Refused, ...] = ()
    """Why records were dropped."""

    @property
    def behind(self) -> int:
        """How many records are of an older state than the latest that is known here."""
        return sum(one.behind for one in self.found)


class NoUse(Exception):
    """A node gave no answer that can be used."""


Check = Callable[[Tables, Core, bytes, bytes], Passed]
"""(tables, core, whose node answered, the answer's bytes)"""


class Forwarder:
    """Passes questions on. *own_url* is what this node tells the members."""

    def __init__(self, home: Home, own_url: str, lookup: Lookup = look_up) -> None:
        self._home = home
        self._own_url = own_url
        self._lookup = lookup
        self._slots = asyncio.Semaphore(UNDER_WAY)
        self._waiting = 0
        self._failed_ms: dict[bytes, int] = {}
        self.counts: Counter[str] = Counter()
        """How many questions were passed on, answered, and how many answers could not be used: since the start."""

    async def search(self, text: str, limit: int, offset: int) -> Passed | None:
        """Search at a node that keeps everything; None where none gave an answer that holds."""
        path = f"{SEARCH_PATH}?{urlencode({'q': text, 'limit': limit, 'offset': offset, 'here': 1})}"
        return await self._pass_on(path, None, partial(check_search, most=limit))

    async def listing(self, member_id: bytes, sku: str) -> Passed | None:
        """Ask for one listing, its author's node first. Its absence comes proved too."""
        path = f"{LISTING_PATH}?{urlencode({'member': member_id.hex(), 'sku': sku, 'here': 1})}"
        return await self._pass_on(path, member_id, partial(check_listing, asked=(member_id, sku)))

    # ── asking ────────────────────────────────────────────────────────────────────────────────────

    async def _pass_on(self, path: str, author: bytes | None, check: Check) -> Passed | None:
        if self._waiting >= MOST_WAITING:
            self.counts["too_many"] += 1
            return None
        self.counts["passed_on"] += 1
        self._waiting += 1
        best: Passed | None = None
        try:
            async with asyncio.timeout(ALL_SECONDS), self._slots:
                targets, invited = await self._targets(author)
                for target in targets[:MOST_ASKED]:
                    try:
                        passed = await self._ask(target, path, check, invited)
                    except NoUse as error:
                        log.debug("%s could not answer: %s", target.member_id.hex()[:8], error)
                        self.counts["no_use"] += 1
                        self._failed_ms[target.member_id] = self._home.core.world.steady_ms()
                        continue
                    if best is None or _order(passed) < _order(best):
                        best = passed
                    if not passed.refusals and not passed.behind:
                        break
        except TimeoutError:
            self.counts["timed_out"] += 1
        finally:
            self._waiting -= 1
        self.counts["unanswered" if best is None else "answered"] += 1
        return best

    async def _targets(self, author: bytes | None) -> tuple[list[Target], list[str]]:
        """Return who may know: the author, then nodes that keep everything, linked ones and those last heard first.

        And the URLs that the owner has been given: where they lead says where this node may call.
        """
        core, linked = self._home.core, self._home.linked()
        known, replicas = await self._home.read(_known)
        invited = [one.url for one in known if source_of(one.source) is Source.OWNER]
        if core.membership is None:
            return [], invited
        by_member: dict[bytes, list[Address]] = {}
        for address in known:
            if address.member_id is not None:
                by_member.setdefault(address.member_id, []).append(address)
        for peer, link in linked.items():
            replicas[peer] = link.replica
        asked = [one for one in by_member if core.membership.roster.is_member(one) and one != core.member_id]
        able = [one for one in asked if one == author or replicas.get(one, Replica.FULL) is Replica.FULL]
        heard = {one: max(address.heard_ms for address in by_member[one]) for one in able}
        # By chance among the linked ones: else the same node would answer for all.
        able = core.world.shuffle(sorted(able))
        late_ms = core.world.steady_ms() - FAILED_MS
        self._failed_ms = {one: failed_ms for one, failed_ms in self._failed_ms.items() if failed_ms > late_ms}
        able.sort(
            key=lambda one: (
                one in self._failed_ms,
                one != author,
                one not in linked,
                0 if one in linked else -heard[one],
            )
        )
        return [Target(one, tuple(by_member[one][:URLS_A_NODE])) for one in able], invited

    async def _ask(self, target: Target, path: str, check: Check, invited: Sequence[str]) -> Passed:
        """Put a question to one node. Raises NoUse."""
        for address in target.addresses:
            try:
                async with asyncio.timeout(EACH_SECONDS):
                    data = await self._fetch(address, path, invited)
            except (NotAllowed, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                log.debug("nothing came from %s: %s", address.url, error)
                continue
            try:
                passed = await self._home.read(check, self._home.core, target.member_id, data)
            except Refused as refused:
                await self._home.write(_count, [refused], self._home.core.world.now_ms())
                raise NoUse(str(refused)) from refused
            if passed.refusals:
                await self._home.write(_count, passed.refusals, self._home.core.world.now_ms())
            return passed
        raise NoUse("none of its addresses answered")

    async def _fetch(self, address: Address, path: str, invited: Sequence[str]) -> bytes:
        rule = rule_for(source_of(address.source), self._own_url, invited)
        rule.check_url(address.url)
        async with (
            open_client(rule, self._lookup) as client,
            client.get(
                address.url.rstrip("/") + path, allow_redirects=False, headers={"Accept-Encoding": "identity"}
            ) as answer,
        ):
            if answer.status != 200 or "Content-Encoding" in answer.headers:
                raise ValueError(f"it answers with status {answer.status}")
            data = bytearray()
            async for part in answer.content.iter_any():
                data += part
                if len(data) > MAX_PROVED_BYTES:
                    raise ValueError("it sends more than was asked for")
            return bytes(data)


def _order(passed: Passed) -> tuple[int, int, int]:
    """Fewest false rows first, then fewest old ones, then most rows."""
    return len(passed.refusals), passed.behind, -len(passed.found)


# ── checking: in a snapshot of the store ──────────────────────────────────────────────────────────────


def check_search(tables: Tables, core: Core, answered: bytes, data: bytes, *, most: int) -> Passed:
    """Keep of an answer to a search what is proved. Refuses bytes that are no answer.

    A listing counts with the stock that belongs to it, under one head: else an old price could go with new stock,
    or a stock that the author has told be left out.
    """
    bundle = proved.read(data)
    judge = _Judge(tables, core)
    found: list[Proved] = []
    refusals: list[Refused] = []
    stocks = {(row.head.head_id, row.key): row for row in bundle.rows if row.collection == STOCK}
    for row in [one for one in bundle.rows if one.collection == LISTING and one.value is not None][:most]:
        try:
            sku = row.key.decode()
            stock = stocks.get((row.head.head_id, records.stock_key(sku)))
            if stock is None:
                raise Refused(Reason.PROOF_MISMATCH, "a listing came without what its author says of its stock")
            found.append(judge.proved(sku, row, stock))
        except UnicodeDecodeError:
            continue  # the author's fault: a record that breaks the rules counts as absent
        except Refused as refused:
            refusals.append(refused)
    return Passed(answered, bundle.total, tuple(found), tuple(refusals))


def check_listing(tables: Tables, core: Core, answered: bytes, data: bytes, *, asked: tuple[bytes, str]) -> Passed:
    """Take the answer about one listing, its absence too. Refuses what is not proved, or about another record."""
    member_id, sku = asked
    rows = {(row.head.stream.member_id, row.collection, row.key): row for row in proved.read(data).rows}
    listing = rows.get((member_id, LISTING, records.listing_key(sku)))
    stock = rows.get((member_id, STOCK, records.stock_key(sku)))
    if listing is None or stock is None or listing.head.head_id != stock.head.head_id:
        raise Refused(Reason.PROOF_MISMATCH, "the answer is not about the record that was asked for")
    return Passed(answered, 1, (_Judge(tables, core).proved(sku, listing, stock),))


class _Judge:
    """Judges rows in one snapshot; each head once."""

    def __init__(self, tables: Tables, core: Core) -> None:
        self._tables = tables
        self._core = core
        self._behind: dict[bytes, bool | Refused] = {}

    def proved(self, sku: str, listing: Row, stock: Row) -> Proved:
        """Return a listing with its stock. Refuses what its author has not signed."""
        head = listing.head
        if head.head_id not in self._behind:
            try:
                self._behind[head.head_id] = self._is_behind(head)
            except Refused as refused:
                self._behind[head.head_id] = refused
        behind = self._behind[head.head_id]
        if isinstance(behind, Refused):
            raise behind
        listing.check()
        stock.check()
        return Proved(sku, listing, stock, behind)

    def _is_behind(self, head: Head) -> bool:
        """Whether we know a later head. Refuses one that its author has not signed, or contradicts."""
        membership = self._core.need_membership()
        identity = membership.identity_of(head.stream.member_id)
        if identity is None or not membership.roster.is_member(head.stream.member_id):
            raise Refused(Reason.NOT_MEMBER, "the author of a record is not on the roster")
        if head.stream.number != STREAM_PUBLIC:
            raise Refused(Reason.PROOF_MISMATCH, "a record is not from a public catalogue")
        heads.verify(head, membership.coop_id, identity)
        heads.check_not_future(head, self._core.world.now_ms())
        known = self._tables.items.in_slot(ItemKind.HEAD, head_slot(head))
        ours = None if known is None else heads.read(known)
        if ours is not None and ours.version == head.version and ours.head_id != head.head_id:
            raise Refused(Reason.EQUIVOCATION, "the author has signed another head of this version")
        return ours is not None and head.version < ours.version


def _known(tables: Tables) -> tuple[list[Address], dict[bytes, Replica]]:
    """Return all addresses, and how much members say that their nodes keep."""
    contacts = (statements.read(item.data) for item in tables.items.on_topic(statements.CONTACT.encode()))
    return known_addresses(tables), {one.member_id: read_replica(one.fields.get("replica")) for one in contacts}


def _count(tables: Tables, refusals: Sequence[Refused], now_ms: int) -> None:
    for refused in refusals:
        tables.meta.count_refusal(refused.reason.value, refused.detail, now_ms)
