"""Holding members to their quota: what is over it is passed on and fetched later, the latest word first of all.

Never refuses anything: an item is judged, kept and shown as before. An author is charged for what has been
verified, so nobody can use up another's quota with forgeries; the link that brings something pays for
everything. The thing to understand: an author that is over its quota **rests**. While it does, its heads wait
unjudged, one place a stream and link, newer for older; at the end of a rest the latest of each stream passes.
It goes on resting as long as more comes in than its quota allows. Specification, section 5.5.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from coopnode.core import Core, News
from coopnode.gossip.link import Link
from coopnode.ingest import Fate, Outcome
from coopnode.store import StoreError
from protocol import head as heads
from protocol.catchup import Heard
from protocol.errors import Refused
from protocol.head import Head, Stream
from protocol.items import Item, ItemKind
from protocol.quota import MINUTE_MS, Account, Bucket, Cost, head_cost, link_bucket, statement_cost

log = logging.getLogger(__name__)
REST_MS = 1_000
"""So long at least an author rests that is over its quota: so often its latest word passes."""
MAX_HELD_STATEMENTS = 2_000
"""Of one author. They are stored; what is pushed out here reaches the others by anti-entropy."""
ASKED_SHARE = 8
"""What we have asked for costs the link that brings it so much less: a newcomer asks for everything."""
LONGEST_PAUSE_MS = 10_000
"""A link that is not read for longer would be taken for dead."""
QUIET_MS = 10 * MINUTE_MS
"""An author that has said nothing for so long is forgotten: its buckets are full."""


class Home(Protocol):
    """What is needed of the node."""

    @property
    def core(self) -> Core:
        """The node's rules and store."""

    async def take(
        self, items: Sequence[tuple[ItemKind, bytes]], came_from: Link | None, *, pushed: bool
    ) -> list[Outcome]:
        """Judge and keep items."""

    def pass_on(self, news: News, came_from: Link | None, *, pushed: bool) -> None:
        """Tell the links of items, and fetch what is behind heads."""

    def pass_over(self, item_id: bytes) -> None:
        """Note that an item came and is not passed on, or not soon."""


@dataclass(frozen=True, slots=True)
class Held:
    """An item that was judged and is kept, and waits to be passed on and fetched."""

    item: Item
    head: Head | None
    came_from: Link | None
    pushed: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits of one author, for people. The empty author is everybody who is not on the roster."""

    author: bytes
    what: str
    count: int
    wait_ms: int


@dataclass(slots=True)
class Lane:
    """One author that has said something not long ago."""

    account: Account
    used_ms: int
    rest_until_ms: int | None = None
    """None while it does not rest. All moments here are of the steady clock."""
    began_ms: int = 0
    """When the rest began that ends at `rest_until_ms`."""
    arrived: Counter[Link] = field(default_factory=Counter)
    """Heads that came in during this rest, by link: each link brings every head once."""
    waiting: dict[Stream, dict[Link, Head]] = field(default_factory=dict)
    """Not judged yet."""
    held: dict[bytes, Held] = field(default_factory=dict)
    """Heads, by slot."""
    said: OrderedDict[bytes, Held] = field(default_factory=OrderedDict)
    """Statements, by slot."""

    def due_ms(self, now_ms: int) -> int | None:
        """Return when something can pass, or None."""
        due = [] if self.rest_until_ms is None else [self.rest_until_ms]
        if self.said:
            first = next(iter(self.said.values()))
            due.append(now_ms + self.account.wait_ms(now_ms, statement_cost(first.item.data)))
        return min(due, default=None)

    def rest(self, now_ms: int, wait_ms: int) -> None:
        """Begin to rest, or rest again."""
        self.arrived.clear()
        self.began_ms, self.rest_until_ms = now_ms, now_ms + max(wait_ms, REST_MS)


class Throttle:
    """All authors and links of one node."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lanes: dict[bytes, Lane] = {}
        self._links: dict[Link, Bucket] = {}
        self._wake = asyncio.Event()
        self.too_large: dict[Stream, Head] = {}
        """Streams whose body is not fetched because it is more than a stream may hold."""

    # ── what comes in ─────────────────────────────────────────────────────────────────────────────

    async def let_in(self, link: Link, heard: Heard, *, pushed: bool) -> Heard:
        """Charge a link for items, and return those that are judged now: all, unless they were *pushed*."""
        number = len(heard.heads) + len(heard.statements) + len(heard.identities)
        await self.pace(link, number if pushed else number // ASKED_SHARE)
        return replace(heard, heads=self.sift(link, heard.heads)) if pushed else heard

    async def pace(self, link: Link, items: int = 1) -> None:
        """Charge a link for what it has brought, and wait where that was too much: so it is read later.

        So a node that floods us is held up by its own connection. It is held up as well while statements of its
        own wait here: these replace nothing, so there would be no end of them.
        """
        now_ms = self._now_ms()
        bucket = self._links.get(link)
        if bucket is None:
            core = self._home.core
            members = len(core.need_membership().roster.members)
            self._links = {one: old for one, old in self._links.items() if one.is_open}
            bucket = self._links[link] = link_bucket(members, core.quota(core.member_id), now_ms)
        wait_ms = bucket.spend(now_ms, items)
        lane = None if link.peer is None else self._lanes.get(link.peer)
        if lane is not None:
            wait_ms = max(wait_ms, len(lane.said) * MINUTE_MS // lane.account.quota.statements_a_minute)
        if wait_ms:
            await asyncio.sleep(min(wait_ms, LONGEST_PAUSE_MS) / 1000)

    def sift(self, link: Link, new_heads: Sequence[bytes]) -> list[bytes]:
        """Return the heads of a Put that are judged now; of several of one stream the latest, which replaces them.

        The others wait, or were superfluous: no honest node sends two heads of a stream in one message.
        """
        now: list[bytes] = []
        latest: dict[Stream, list[Head]] = {}
        for data in new_heads:
            try:
                head = heads.read(data)
            except Refused:
                now.append(data)  # to be refused and counted
                continue
            lane = self._lanes.get(head.stream.member_id)
            if lane is not None and lane.rest_until_ms is not None:
                self._let_wait(lane, link, head)
                continue
            same = latest.setdefault(head.stream, [])
            if same and head.version > same[0].version:
                same.clear()
            if not same or (head.version == same[0].version and len(same) == 1):
                same.append(head)  # two of one version are evidence
        return [*now, *(head.signed.to_bytes() for same in latest.values() for head in same)]

    def sort(self, news: News, came_from: Link | None, *, pushed: bool) -> News:
        """Return what of *news* is passed on and fetched now; the rest waits here. Charges the authors."""
        now_ms = self._now_ms()
        of_data = {head.signed.to_bytes(): head for head in news.heads}
        if news.roster_changed:
            self._links.clear()  # their rate goes by the number of members
        if not news.items:
            return news
        held = []
        items = []
        for item in news.items:
            one = Held(item, of_data.get(item.data), came_from, pushed)
            if self._passes(one, now_ms):
                items.append(item)
                continue
            self._home.pass_over(item.item_id)
            if one.head is not None:
                held.append(one.head)
        return replace(news, items=items, heads=[head for head in news.heads if head not in held])

    def may_fetch(self, head: Head) -> bool:
        """Whether the body of *head* may be fetched: it is not too large, and its head does not wait here."""
        author = head.stream.member_id
        if author == self._home.core.member_id:
            return True
        if not self._home.core.quota(author).fits(head):
            self.too_large[head.stream] = head
            return False
        self.too_large.pop(head.stream, None)
        lane = self._lanes.get(author)
        return lane is None or not any(one.head is not None and one.head == head for one in lane.held.values())

    # ── what waits ────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Let pass what is due, whenever it is. Never returns."""
        while True:
            now_ms = self._now_ms()
            for author, lane in list(self._lanes.items()):
                await self._release(author, lane, now_ms)
            due = [due_ms for lane in self._lanes.values() if (due_ms := lane.due_ms(now_ms)) is not None]
            self._wake.clear()
            pause_ms = max(10, min(due, default=now_ms + MINUTE_MS) - self._now_ms())
            try:
                async with asyncio.timeout(pause_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def waiting(self) -> list[Waiting]:
        """Return of whom something waits, and how long it does at least."""
        now_ms = self._now_ms()
        found = []
        for author, lane in self._lanes.items():
            if lane.rest_until_ms is not None:
                found.append(Waiting(author, "heads", 1, max(0, lane.rest_until_ms - now_ms)))
            if lane.said:
                drained_ms = len(lane.said) * MINUTE_MS // lane.account.quota.statements_a_minute
                found.append(Waiting(author, "statements", len(lane.said), drained_ms))
        return found

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _now_ms(self) -> int:
        return self._home.core.world.steady_ms()

    def _lane(self, author: bytes, now_ms: int) -> Lane:
        core = self._home.core
        if not core.need_membership().roster.is_member(author):
            author = b""  # all applicants together: their number has no bound
        lane = self._lanes.get(author)
        if lane is None:
            lane = self._lanes[author] = Lane(Account(core.quota(author), now_ms), now_ms)
        lane.account.change(core.quota(author), now_ms)
        lane.used_ms = now_ms
        return lane

    def _passes(self, one: Held, now_ms: int) -> bool:
        """Charge the author of an accepted item; whether it passes now. If not, it waits."""
        item = one.item
        if item.kind is ItemKind.IDENTITY or item.author == self._home.core.member_id:
            return True  # identities are few, and everything else is judged by them
        lane = self._lane(item.author, now_ms)
        if item.kind is ItemKind.STATEMENT:
            if not lane.said and lane.account.take(now_ms, statement_cost(item.data)) == 0:
                return True
            if not lane.said:
                self._wake.set()
            lane.said[item.slot] = one  # a later word keeps the place of the earlier one
            if len(lane.said) > MAX_HELD_STATEMENTS:
                lane.said.popitem(last=False)
            return False
        if lane.rest_until_ms is None:
            wait_ms = lane.account.take(now_ms, self._cost(one.head or heads.read(item.data)))
            if wait_ms == 0:
                return True
            lane.rest(now_ms, wait_ms)
            self._wake.set()
        lane.held[item.slot] = one
        return False

    def _cost(self, head: Head, *, passed_over: bool = False) -> Cost:
        if not self._home.core.quota(head.stream.member_id).fits(head):
            return Cost(heads=1)  # its body is not fetched
        cost = head_cost(head)
        # Where earlier heads were passed over, the operations of this one do not lead here from what we hold.
        return cost._replace(bytes=head.record_bytes) if passed_over else cost

    def _let_wait(self, lane: Lane, link: Link, head: Head) -> None:
        places = lane.waiting.setdefault(head.stream, {})
        waits = places.get(link)
        if waits is None or head.version > waits.version:
            places[link] = head
            lane.arrived[link] += 1
        self._home.pass_over(head.head_id)

    async def _release(self, author: bytes, lane: Lane, now_ms: int) -> None:
        while lane.said:
            slot, one = next(iter(lane.said.items()))
            if lane.account.take(now_ms, statement_cost(one.item.data)):
                break
            del lane.said[slot]
            self._home.pass_on(News([one.item]), one.came_from, pushed=one.pushed)
        if lane.rest_until_ms is not None and lane.rest_until_ms <= now_ms:
            await self._end_rest(lane, now_ms)
        if lane.due_ms(now_ms) is None and lane.used_ms + QUIET_MS < now_ms:
            del self._lanes[author]

    async def _end_rest(self, lane: Lane, now_ms: int) -> None:
        """Let the latest head of each stream pass; rest again if more came than the quota allows, or it does not."""
        waiting, lane.waiting = lane.waiting, {}
        came, rested_ms = max(lane.arrived.values(), default=0), now_ms - lane.began_ms
        passed_over = came + len(lane.held) > 1
        # Still resting: what is judged now is held like the rest, and then the latest of all passes.
        for by_link in waiting.values():
            await self._judge_latest(by_link)
        wait_ms = 0
        for slot, one in list(lane.held.items()):
            wait_ms = lane.account.take(now_ms, self._cost(one.head, passed_over=passed_over)) if one.head else 0
            if wait_ms:
                break
            del lane.held[slot]
            news = News([one.item], heads=[one.head] if one.head else [])
            self._home.pass_on(news, one.came_from, pushed=one.pushed)
        # What has come while those were judged waits as well.
        if wait_ms or lane.waiting or came * MINUTE_MS > rested_ms * lane.account.quota.heads_a_minute:
            lane.rest(now_ms, wait_ms)
        else:
            lane.rest_until_ms = None

    async def _judge_latest(self, by_link: dict[Link, Head]) -> None:
        """Hand the latest head of a stream to the door, and if that is wrong, the next: a liar stops nobody's."""
        for link, head in sorted(by_link.items(), key=lambda one: one[1].version, reverse=True):
            try:
                [outcome] = await self._home.take([(ItemKind.HEAD, head.signed.to_bytes())], link, pushed=True)
            except StoreError:
                raise
            except Exception:
                log.exception("a head that had waited could not be judged")
                continue
            if outcome.fate in (Fate.ACCEPTED, Fate.KNOWN):
                return
