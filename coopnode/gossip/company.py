"""Keeping good company: asks somebody now and then whether anything was missed, gives up links that tell nothing.

Never opens a socket itself and never judges an item.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from coopnode.core import Core
from coopnode.gossip.gossiper import Gossiper
from protocol.limits import VISIT_EVERY_MS
from protocol.overlay import has_had_its_chance, is_full_mesh, to_rotate

log = logging.getLogger(__name__)
Visit = Callable[[bytes], bool]
"""Calls a member for one exchange; False where there is no way to now."""


class Company:
    """Looks after the links of one node from time to time."""

    def __init__(self, core: Core, gossiper: Gossiper, visit: Visit) -> None:
        self._core = core
        self._gossiper = gossiper
        self._visit = visit

    async def run(self) -> None:
        """Look about every 30 s. Never returns."""
        while True:
            # Not in step with others who began when we did.
            chance = int.from_bytes(self._core.world.random_bytes(2)) / 2**16
            await asyncio.sleep(VISIT_EVERY_MS / 1000 * (0.5 + chance))
            if self._core.is_member:
                self.ask_somebody()
                self.give_up_who_tells_nothing()

    def ask_somebody(self) -> None:
        """Hear out a member chosen by chance: a neighbour over its link, another by a visit."""
        linked = self._gossiper.linked()
        # Anybody: two halves of a co-op that have lost each other have only neighbours of their own half.
        for peer in self._shuffled(set(self._core.need_membership().roster.tellers) - {self._core.member_id})[:1]:
            if peer not in linked and self._visit(peer):
                return
        for peer in self._shuffled(linked)[:1]:
            self._gossiper.catch_up_soon(linked[peer])

    def give_up_who_tells_nothing(self) -> None:
        """Close a link of our own choice that tells nothing of what is heard elsewhere; another takes its place."""
        if is_full_mesh(len(self._core.need_membership().roster.tellers)):
            return
        linked, now_ms = self._gossiper.linked(), self._core.world.steady_ms()
        standings = {peer: self._gossiper.spreading.standing(link) for peer, link in linked.items()}
        known = {peer: standing for peer, standing in standings.items() if standing is not None}
        peer = to_rotate(known, self._gossiper.standings(), now_ms)
        for tried, standing in known.items():
            if tried != peer and has_had_its_chance(standing, now_ms):
                self._gossiper.spreading.count_anew(linked[tried])
        if peer is not None:
            log.info("%r has told nothing of what others tell: it is given up for another", linked[peer])
            linked[peer].close(None, "this link has told nothing; another is tried")

    def _shuffled(self, members: Iterable[bytes]) -> list[bytes]:
        return self._core.world.shuffle(sorted(members))
