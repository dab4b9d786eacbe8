"""Telling the links what is new, along the tree: `protocol.gossip.Broadcast` with a clock and a memory of what came.

Never judges an item and never waits for a peer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterable

from coopnode.core import News
from coopnode.gossip.link import Link
from coopnode.ingest import Fate, Outcome, object_id
from coopnode.world import World
from protocol.gossip import Broadcast, Standing
from protocol.limits import MAX_SEEN_ITEMS
from protocol.messages import Graft, Have, Message, Prune


class Spreading:
    """What the links of one node are told unasked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._broadcast: Broadcast[Link] = Broadcast()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._due = asyncio.Event()
        self._until_ms: int | None = None

    # ── links ─────────────────────────────────────────────────────────────────────────────────────

    def add(self, link: Link) -> None:
        """From now on *link*, whose peer has been found to be a member, hears of what is new."""
        assert link.peer is not None
        self._broadcast.add(link, link.peer, self._world.steady_ms())

    def drop(self, link: Link) -> None:
        """Forget a link."""
        self._broadcast.drop(link, self._world.steady_ms())
        self._look()

    def suspect(self, link: Link) -> None:
        """Do not wait for a link that has fallen silent."""
        self._broadcast.suspect(link, self._world.steady_ms())
        self._look()

    def __contains__(self, link: Link) -> bool:
        """Whether *link* hears of what is new."""
        return link in self._broadcast

    def waiting(self, link: Link) -> int:
        """Return how many items wait for *link*."""
        return self._broadcast.waiting(link)

    def standing(self, link: Link) -> Standing | None:
        """Return how useful a link has been."""
        return self._broadcast.standing(link)

    def count_anew(self, link: Link) -> None:
        """Begin a new time of trial for a link."""
        self._broadcast.count_anew(link, self._world.steady_ms())

    def next_message(self, link: Link) -> Message | None:
        """Return what to tell *link* now, if anything."""
        return self._broadcast.take(link, self._world.steady_ms())

    # ── news ──────────────────────────────────────────────────────────────────────────────────────

    def spread(self, news: News, came_from: Link | None, *, pushed: bool) -> None:
        """Queue what is new and durable for the links that should hear it."""
        now_ms = self._world.steady_ms()
        for items, source in ((news.items, came_from), (news.said, None)):
            for item in items:
                self.remember(item.item_id)
                _wake(self._broadcast.offer(item, source, now_ms, pushed=pushed))
        self._look()

    def has_seen(self, data: bytes, pushed_by: Link | None) -> bool:
        """Whether this item came lately; if it was pushed, the tree learns that it came twice."""
        item_id = object_id(data)
        if item_id not in self._seen:
            return False
        if pushed_by is not None:
            self.came_twice(item_id, pushed_by)
        return True

    def judged(self, item_id: bytes, outcome: Outcome, pushed_by: Link | None) -> None:
        """Note what the door has said of an item that is right."""
        if outcome.reason is None:
            self.remember(item_id)
            if pushed_by is not None and outcome.fate is Fate.KNOWN:
                self.came_twice(item_id, pushed_by)
        elif outcome.fate is Fate.KNOWN:
            self.pass_over(item_id)  # a later word is here: nobody need send this one

    def came_twice(self, item_id: bytes, link: Link) -> None:
        """A link has pushed what was here already."""
        _wake(self._broadcast.known(item_id, link, self._world.steady_ms()))

    def pass_over(self, item_id: bytes) -> None:
        """Do not wait for an item that has come and is not passed on, or not soon."""
        self._broadcast.pass_over(item_id)

    def remember(self, item_id: bytes) -> None:
        """Do not judge this item again when it comes once more."""
        self._seen[item_id] = None
        if len(self._seen) > MAX_SEEN_ITEMS:
            self._seen.popitem(last=False)

    def hear(self, link: Link, message: Have | Graft | Prune) -> None:
        """Take what a peer says about the tree."""
        _wake(self._broadcast.receive(link, message, self._world.steady_ms()))
        self._look()

    async def mind_the_tree(self) -> None:
        """Name and fetch what is due. Never returns."""
        while True:
            self._due.clear()
            self._until_ms = self._broadcast.next_deadline()
            now_ms = self._world.steady_ms()
            if self._until_ms is not None and self._until_ms <= now_ms:
                _wake(self._broadcast.tick(now_ms))
                continue
            wait_seconds = None if self._until_ms is None else (self._until_ms - now_ms) / 1000
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._due.wait()

    def _look(self) -> None:
        """Wake the timer if something is due earlier than it thinks."""
        deadline_ms = self._broadcast.next_deadline()
        if deadline_ms is not None and (self._until_ms is None or deadline_ms < self._until_ms):
            self._due.set()


def _wake(links: Iterable[Link]) -> None:
    for link in links:
        link.wake()
