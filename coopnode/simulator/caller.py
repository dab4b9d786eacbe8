"""Whom a simulated node calls, how soon again, and whose company it gives up: as the dialer and `company` do.

All members' addresses are known; nodes that nobody can call have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coopnode.simulator.link import NEVER_US, Link
from coopnode.simulator.scheduler import MS, SECOND
from protocol.limits import VISIT_EVERY_MS
from protocol.overlay import has_had_its_chance, is_full_mesh, to_rotate, wanted_links

if TYPE_CHECKING:
    from coopnode.simulator.node import SimulatedNode

LOOK_US = SECOND
FIRST_WAIT_US = SECOND // 2
LONGEST_WAIT_US = 60 * SECOND
SHUFFLED = 16
"""So many members are drawn where the daemon shuffles all: no more are ever used."""


class Caller:
    """Calls and visits of one life of one node."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self.look_us = NEVER_US
        self.visit_us = NEVER_US
        self._calling: dict[int, bool] = {}
        """Calls under way, by node; True: for a visit."""
        self._patience: dict[int, tuple[int, int]] = {}
        """By node: not to be called before, how long to wait after that."""

    def begin(self, *, visits: bool) -> None:
        """Look at once; *visits*: and hear somebody out from time to time."""
        self.look_us = self._node.scheduler.now_us
        if visits:
            self.visit_us = self._next_visit_us()

    def rest(self) -> None:
        """Call nobody until something changes."""
        self.look_us = self.visit_us = NEVER_US

    def look_soon(self) -> None:
        """Look within a second: something about the links has changed."""
        if not self._node.stage.dials:
            return
        delay_us = int(LOOK_US * self._node.stage.random.random())
        self.look_us = min(self.look_us, self._node.scheduler.now_us + delay_us)

    def answered(self, number: int) -> bool:
        """Note that a call has led to a connection; return whether it is for a visit."""
        return self._calling.pop(number, False)

    def ended(self, link: Link) -> None:
        """Note that a link is over; after a long one the next call need not wait."""
        if link.dialed and self._node.scheduler.now_us - link.opened_us > LONGEST_WAIT_US:
            self._patience.pop(link.peer_number, None)
        self.look_soon()

    def tick(self, now_us: int) -> None:
        """Do what is due."""
        if self.visit_us <= now_us:
            self.visit_us = self._next_visit_us()
            self.keep_company()
        if self.look_us <= now_us:
            self.look()

    def _shuffle(self, members: Sequence[bytes]) -> list[bytes]:
        return self._node.stage.random.sample(members, min(len(members), SHUFFLED))

    def look(self) -> None:
        """Begin the calls that are due now."""
        now_us = self._node.scheduler.now_us
        tellers = self._node.stage.coop.membership.roster.tellers
        wanted = wanted_links(self._node.member.member_id, tellers, self._node.standings(), self._shuffle)
        for member_id in wanted:
            self._call(self._node.stage.coop.number_of[member_id], visit=False)
        self.look_us = now_us + LOOK_US if wanted else NEVER_US

    def _call(self, number: int, *, visit: bool) -> bool:
        """Call a member unless it is being called, has no address, or must be left alone for a while."""
        now_us = self._node.scheduler.now_us
        if number in self._calling or not self._node.network.reachable[number]:
            return False
        if any(link.dialed and link.peer_number == number for link in self._node.links):
            return False
        next_us, wait_us = self._patience.get(number, (0, FIRST_WAIT_US))
        if now_us < next_us:
            return False
        self._patience[number] = (now_us + wait_us, min(2 * wait_us, LONGEST_WAIT_US))
        self._calling[number] = visit
        self._node.network.dial(self._node, number, self._call_failed)
        return True

    def _call_failed(self, number: int) -> None:
        self._calling.pop(number, None)
        self.look_soon()
        self._node.finish()

    def _next_visit_us(self) -> int:
        return self._node.scheduler.now_us + int(VISIT_EVERY_MS * MS * (0.5 + self._node.stage.random.random()))

    def keep_company(self) -> None:
        """Hear somebody out, chosen by chance; give up a link that tells nothing of what others tell."""
        linked = self._node.linked()
        members = self._node.stage.coop.members
        number = self._node.stage.random.randrange(len(members))
        visited = (
            number != self._node.number and members[number].member_id not in linked and self._call(number, visit=True)
        )
        if not visited and linked:
            self._node.talk.catch_up(linked[self._node.stage.random.choice(sorted(linked))])
        if not is_full_mesh(len(members)):
            known = {peer: self._node.broadcast.standing(link) for peer, link in linked.items()}
            there = {peer: standing for peer, standing in known.items() if standing is not None}
            peer = to_rotate(there, self._node.standings(), self._node.steady_ms())
            for tried, standing in there.items():
                if tried != peer and has_had_its_chance(standing, self._node.steady_ms()):
                    self._node.broadcast.count_anew(linked[tried], self._node.steady_ms())
            if peer is not None:
                self._node.close(linked[peer], None, "this link has told nothing; another is tried")
