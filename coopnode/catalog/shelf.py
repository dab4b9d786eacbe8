"""What buyers are shown: listings with price, stock and age, members, proposals.

Read only. The search index says *which* listings, the store says *what* they say: a hit that the store
does not know (any more) is left out. Everything is plain dicts ready for JSON; the shapes are in docs/api.md.
The thing to understand: what a record says cannot pass for what this node says. Of a record only the fields
named here are shown, and a stock is never younger than the head that carries it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from coopnode.catalog.index import Found
from coopnode.connectors.money import format_milli, format_minor
from coopnode.core import Core
from coopnode.gossip.dialer import contact_names
from coopnode.store import Tables
from protocol import head as heads
from protocol import records, statements
from protocol.errors import Refused
from protocol.head import Head, Stream
from protocol.items import ItemKind
from protocol.limits import STREAM_PUBLIC
from protocol.records import LISTING, PROFILE, PROFILE_KEY, STOCK
from protocol.statements import Statement

Json = dict[str, Any]
LISTING_FIELDS = (
    "title",
    "brand",
    "category",
    "text",
    "attributes",
    "gtin",
    "mpn",
    "variant_of",
    "unit",
    "pack_milli",
    "minimum",
    "weight_g",
    "language",
    "tags",
    "tax_bp",
    "tax_included",
    "url",
    "picture_urls",
    "pictures",
)
"""Fields of a listing that are shown as they are; price and currency are shown as a price."""
PROFILE_FIELDS = ("name", "text", "address", "country", "place", "phone", "email", "url", "languages")
DAY_MS = 86_400_000
KEPT_RECORDS = 2_000

_read_head = lru_cache(maxsize=1_024)(heads.read)  # heads are asked for far more often than they change


@dataclass(frozen=True, slots=True)
class Mark:
    """Which state of the store an answer was made from: two equal marks, one and the same state."""

    change: int
    item: int
    page: int

    def __str__(self) -> str:
        return f"{self.change}.{self.item}.{self.page}"


@dataclass(frozen=True, slots=True)
class _Card:
    """What is said of a member, but for its age."""

    shown: Json
    as_of_ms: int | None
    complete: bool
    elsewhere: bool
    """Whether its listings, or their stock, are not kept here."""


@dataclass(slots=True)
class _Facts:
    """What has been worked out about one state of the store. Threads may fill it at the same time."""

    mark: Mark
    names: dict[bytes, str] | None = None
    dates_ms: list[int] | None = None
    """When each member whose catalogue is complete here has said so, the oldest first."""
    elsewhere: int = 0
    """Members whose listings are not kept here; known with `dates_ms`."""
    heads: dict[bytes, Head | None] = field(default_factory=dict)
    cards: dict[bytes, _Card] = field(default_factory=dict)
    listings: dict[tuple[bytes, str], Json] = field(default_factory=dict)


class Memory:
    """Facts about the latest state of one store, for whoever makes many shelves."""

    def __init__(self) -> None:
        self._facts: _Facts | None = None

    def at(self, mark: Mark) -> _Facts:
        """Return what is known of the state at *mark*; nothing at first."""
        facts = self._facts
        if facts is None or facts.mark != mark:
            facts = self._facts = _Facts(mark)
        return facts


class Shelf:
    """Reads for pages, API and command line; made anew for each answer, bound to one snapshot."""

    def __init__(self, tables: Tables, core: Core, memory: Memory | None = None) -> None:
        self._tables = tables
        self._core = core
        self._now_ms = core.world.now_ms()
        held = core.membership
        page = -1 if held is None else held.roster.slot
        self.mark = Mark(tables.catalogue.last_change(), tables.items.last_seq(), page)
        self._facts = (memory or Memory()).at(self.mark)

    def results(self, found: Found, limit: int, offset: int) -> Json:
        """Return one page of search results."""
        shown = [one for hit in found.hits if (one := self.listing(hit.member_id, hit.sku)) is not None]
        return {"total": found.total, "limit": limit, "offset": offset, "listings": shown, "coverage": self.coverage()}

    def listing(self, member_id: bytes, sku: str) -> Json | None:
        """Return one listing with its stock, or None where there is none (or none that keeps the rules)."""
        place = (member_id, sku)
        shown = self._facts.listings.get(place)
        if shown is None:
            shown = self._listing(member_id, sku)
            if shown is None:
                return None
            if len(self._facts.listings) >= KEPT_RECORDS:
                self._facts.listings.clear()
            self._facts.listings[place] = shown
        return self._aged(shown)

    def of_elsewhere(self, head: Head, sku: str, listing: bytes, stock: bytes | None) -> Json | None:
        """Return a listing that another node has sent, in the same form; None where it breaks the rules.

        That the records are those of *head* has been checked.
        """
        said = _read_record(LISTING, records.listing_key(sku), listing)
        if said is None:
            return None
        counted = None if stock is None else _read_record(STOCK, records.stock_key(sku), stock)
        return self._aged(self._listing_of(head, sku, said, counted))

    def _aged(self, shown: Json) -> Json:
        stock = [one | {"age_s": self._age_s(one["said_ms"])} for one in shown["stock"]]
        return shown | {"stock": stock, "age_s": self._age_s(shown["as_of_ms"])}

    def members(self, limit: int | None = None, offset: int = 0) -> list[Json]:
        """Return members with what is held here of their catalogues, in the order of their names."""
        held = self._core.membership
        if held is None:
            return []
        ids = sorted(held.roster.members, key=lambda one: (self.name(one).casefold(), one))
        return [self.member(member_id) for member_id in ids[offset : None if limit is None else offset + limit]]

    def member(self, member_id: bytes) -> Json:
        """Return one member: name, profile, catalogue here and its age."""
        card = self._card(member_id)
        return card.shown | {"age_s": None if card.as_of_ms is None else self._age_s(card.as_of_ms)}

    def name(self, member_id: bytes) -> str:
        """Return a member's name, or the beginning of its id."""
        if self._facts.names is None:
            self._facts.names = contact_names(self._tables)
        known = self._facts.names.get(member_id)
        if known is None and member_id == self._core.member_id:
            known = self._core.config.name
        return known or member_id.hex()[:12]

    def coverage(self) -> Json:
        """Say how much of the co-op's catalogue is complete here: a search can only show what is here."""
        held = self._core.membership
        ids = () if held is None else tuple(held.roster.members)
        if self._facts.dates_ms is None:
            cards = [self._card(member_id) for member_id in ids]
            self._facts.elsewhere = sum(one.elsewhere for one in cards)
            self._facts.dates_ms = sorted(one.as_of_ms for one in cards if one.complete and one.as_of_ms is not None)
        return {
            "members": len(ids),
            "complete": len(self._facts.dates_ms),
            "older_than_a_day": bisect_left(self._facts.dates_ms, self._now_ms - DAY_MS),
            "replica": self._core.scope.replica.value,
            "not_kept": self._facts.elsewhere,
        }

    def lacks(self, member_id: bytes) -> bool:
        """Whether this member's listings, or their stock, are not kept here."""
        return self._card(member_id).elsewhere

    def turns(self) -> tuple[int, int]:
        """How many polls have opened and how many have closed by now: what is shown of them changes with it."""
        own = [one.fields for one in self._proposals()]
        return (
            sum(one["opens_ms"] <= self._now_ms for one in own),
            sum(one["closes_ms"] <= self._now_ms for one in own),
        )

    def proposal_count(self) -> int:
        """Return how many proposals are known here."""
        return len(self._proposals())

    def proposals(self, limit: int | None = None, offset: int = 0) -> list[Json]:
        """Return proposals, the latest first."""
        found = sorted(self._proposals(), key=lambda one: (-one.fields["opens_ms"], one.statement_id))
        return [self.proposal(one) for one in found[offset : None if limit is None else offset + limit]]

    def proposal(self, proposal: Statement) -> Json:
        """Return one proposal with this node's provisional count."""
        own = proposal.fields
        tally = self._core.tally(self._tables, proposal)
        return {
            "id": proposal.statement_id.hex(),
            "title": own["title"],
            "text": own["text"],
            "proposer": proposal.member_id.hex(),
            "proposer_name": self.name(proposal.member_id),
            "method": own["method"],
            "opens_ms": own["opens_ms"],
            "closes_ms": own["closes_ms"],
            "quorum_bp": own["quorum_bp"],
            "threshold_bp": own["threshold_bp"],
            "open": own["opens_ms"] <= self._now_ms < own["closes_ms"],
            "provisional": True,
            "tally": {
                "entitled": tally.entitled,
                "yes": tally.yes,
                "no": tally.no,
                "abstain": tally.abstain,
                "doubled": tally.doubled,
                "quorum": tally.quorum,
                "carried": tally.carried,
            },
            "ballots": self._ballots(proposal),
        }

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _proposals(self) -> list[Statement]:
        return [_read_statement(item.data) for item in self._tables.items.on_topic(statements.PROPOSAL.encode())]

    def _ballots(self, proposal: Statement) -> list[Json]:
        ballots = []
        for item in self._tables.items.on_topic(proposal.statement_id):
            ballot = _read_statement(item.data)
            ballots.append(
                {
                    "member": ballot.member_id.hex(),
                    "member_name": self.name(ballot.member_id),
                    "choice": ballot.fields["choice"],
                    "why": ballot.fields.get("why", ""),
                    "late": item.received_ms > proposal.fields["closes_ms"],
                }
            )
        return sorted(ballots, key=lambda one: (one["member_name"], one["member"]))

    def _card(self, member_id: bytes) -> _Card:
        card = self._facts.cards.get(member_id)
        if card is None:
            card = self._facts.cards[member_id] = self._make_card(member_id)
        return card

    def _make_card(self, member_id: bytes) -> _Card:
        stream = Stream(member_id, STREAM_PUBLIC)
        held = self._tables.catalogue.held(stream)
        head = None if held is None or held.head is None else _read_head(held.head)
        summaries = {} if held is None or held.head is None else held.summaries
        latest = self._tables.items.in_slot(ItemKind.HEAD, stream.member_id + bytes([stream.number]))
        signed = None if latest is None else _read_head(latest)
        kept = {} if held is None or held.head is None else held.elsewhere
        complete = latest is not None and held is not None and held.head == latest and not kept
        as_of_ms = None if head is None else head.said_ms
        shown: Json = {
            "member": member_id.hex(),
            "name": self.name(member_id),
            "listings": summaries[LISTING].count if LISTING in summaries else 0,
            "records": sum(one.count for one in summaries.values()),
            "signed_records": None if signed is None else signed.record_count,
            "elsewhere": sorted(kept),
            "state_root": None if head is None else head.state_root.hex(),
            "as_of_ms": as_of_ms,
            "complete": complete,
            "profile": {} if head is None else self._profile(stream),
        }
        # What is still on its way is not elsewhere, but for nodes that will never fetch it.
        never = (
            head is None and signed is not None and signed.record_count > 0 and not self._core.scope.pulls(member_id)
        )
        return _Card(shown, as_of_ms, complete, never or not {LISTING, STOCK}.isdisjoint(kept))

    def _head(self, member_id: bytes) -> Head | None:
        """Return the head of the state that is held here."""
        if member_id not in self._facts.heads:
            held = self._tables.catalogue.held(Stream(member_id, STREAM_PUBLIC))
            self._facts.heads[member_id] = None if held is None or held.head is None else _read_head(held.head)
        return self._facts.heads[member_id]

    def _listing(self, member_id: bytes, sku: str) -> Json | None:
        """Read a listing, all but its ages."""
        head = self._head(member_id)
        try:
            key = records.listing_key(sku)
        except Refused:
            return None
        stream = Stream(member_id, STREAM_PUBLIC)
        listing = None if head is None else self._record(stream, LISTING, key)
        if head is None or listing is None:
            return None
        return self._listing_of(head, sku, listing, self._record(stream, STOCK, records.stock_key(sku)))

    def _listing_of(self, head: Head, sku: str, listing: Json, stock: Json | None) -> Json:
        """Return what a listing and its stock at the member's main place say, all but their ages."""
        return {
            "member": head.stream.member_id.hex(),
            "member_name": self.name(head.stream.member_id),
            "sku": sku,
            **_shown(listing, LISTING_FIELDS),
            "price": _price(listing),
            "stock": [] if stock is None else [_stock(stock, head)],
            "as_of_ms": head.said_ms,
            "state_root": head.state_root.hex(),
        }

    def _profile(self, stream: Stream) -> Json:
        return _shown(self._record(stream, PROFILE, PROFILE_KEY) or {}, PROFILE_FIELDS)

    def _record(self, stream: Stream, collection: str, key: bytes) -> Json | None:
        """Return a record that keeps the rules, or None."""
        value = self._tables.catalogue.get(stream, collection, key)
        return None if value is None else _read_record(collection, key, value)

    def _age_s(self, said_ms: int) -> int:
        return max(0, (self._now_ms - said_ms) // 1000)


_read_statement = lru_cache(maxsize=4_096)(statements.read)


def _shown(record: Mapping[str, Any], names: Iterable[str]) -> Json:
    """Return the named fields for JSON: bytes as hex."""
    shown = {name: record[name] for name in names if name in record}
    if "pictures" in shown:
        shown["pictures"] = [one.hex() for one in shown["pictures"]]
    return shown


def _read_record(collection: str, key: bytes, value: bytes) -> Json | None:
    try:
        return records.read(collection, key, value)
    except Refused:
        return None


def _stock(stock: Json, head: Head) -> Json:
    quantity = stock.get("quantity_milli")
    return {
        "location": "",
        "quantity_milli": quantity,
        "quantity": None if quantity is None else format_milli(quantity),
        "available": stock["available"] if quantity is None else quantity > 0,
        # A date after its own head's would stay young for ever.
        "said_ms": min(stock["said_ms"], head.said_ms),
    }


def _price(listing: Json) -> Json | None:
    if "price_minor" not in listing:
        return None
    return {
        "minor": listing["price_minor"],
        "currency": listing["currency"],
        "text": format_minor(listing["price_minor"], listing["currency"]),
    }
