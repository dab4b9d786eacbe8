"""What a simulated node says on a link: where it stands, answers, and hearing a peer out.

The order is that of `coopnode.gossip.gossiper` and `coopnode.gossip.catchup`; the decisions are the protocol's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from coopnode.gossip.answers import answer
from coopnode.simulator.link import NEVER_US, Exchange, Link
from coopnode.simulator.scheduler import SECOND
from protocol.catchup import CatchUp, Heard, must_compare
from protocol.errors import Reason, Refused
from protocol.items import ItemKind
from protocol.limits import MAX_ITEMS, MAX_REPLY_BYTES, MAX_REQUESTS_UNDER_WAY
from protocol.messages import Answer, GetPages, Ping, Prune, Put, Question, Status, Twin
from protocol.overlay import has_room
from protocol.session import Opened

if TYPE_CHECKING:
    from coopnode.simulator.node import SimulatedNode

PROBE_US = 5 * SECOND
VISIT_US = SECOND
REST_US = 3_600 * SECOND


class Talk:
    """What one node says on its links, apart from news."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self._resting_us: dict[bytes, int] = {}
        """Members that have sent forged items: no link with them until then."""

    def drop(self, link: Link) -> None:
        """End a link because of what came over it, and have none with this member for a while."""
        if link.peer is not None:
            self._resting_us[link.peer] = self._node.scheduler.now_us + REST_US
        self._node.recorder.dropped += 1
        self._node.close(link, Reason.FORGED, "it sent a head with a forged signature")

    def on_opened(self, link: Link, opened: Opened) -> None:
        if self._node.scheduler.now_us < self._resting_us.get(opened.identity.member_id, 0):
            self._node.close(link, Reason.FORGED, "this node has sent forged items not long ago; try again later")
            return
        link.peer, link.instance = opened.identity.member_id, opened.instance
        link.opened_us = self._node.scheduler.now_us
        own = [item.data for item in self._node.tables.items.of_kind(ItemKind.HEAD, link.peer)]
        roster = self._node.stage.coop.membership.roster
        nonce = self._node.tables.meta.get("store_nonce") or bytes(8)
        self._node.say(link, Status(roster.slot, roster.page_id, nonce, own[:16]))

    def on_status(self, link: Link, status: Status) -> None:
        link.store_nonce = status.store_nonce
        if link.judged or link.peer is None:
            return
        if not self._node.stage.coop.membership.roster.is_member(link.peer):
            self._node.close(link, Reason.NOT_MEMBER, "this member is not on the roster here")
            return
        for other in list(self._node.links):
            if other is link or other.peer != link.peer or not other.is_open or other not in self._node.broadcast:
                continue
            if other.instance == link.instance:
                we_dialed_lower = self._node.member.member_id < link.peer
                loser = link if link.dialed != we_dialed_lower else other
                self._node.close(loser, None, "there is a link already")
                if loser is link:
                    return
            else:
                self._probe(other, link, status)
                return
        self._welcome(link, status)

    def _probe(self, other: Link, link: Link, status: Status) -> None:
        """Another run of the peer has come: see whether the older one is still alive."""

        def decide(alive: bool) -> None:
            if other.probe is not decide:
                return
            other.probe = None
            if alive:
                self._node.say(link, Twin(other.instance or bytes(8)))
                self._node.say(other, Twin(link.instance or bytes(8)))
            else:
                self._node.close(
                    other, Reason.TIMED_OUT if other.is_open else None, "another run of this node has come"
                )
            if link.is_open and not link.judged:
                self._welcome(link, status)

        other.probe = decide
        self._node.say(other, Ping(0))
        self._node.scheduler.after(PROBE_US, self._probe_over, (self._node.life, decide))

    def _probe_over(self, asked: tuple[int, Callable[[bool], None]]) -> None:
        life, decide = asked
        if self._node.up and life == self._node.life:
            decide(False)
            self._node.finish()

    def _welcome(self, link: Link, status: Status) -> None:
        if not link.dialed and not self._has_room():
            self._node.close(link, None, "this node has links enough; call another member")
            return
        if link.visit:
            self._node.say(link, Prune())
        else:
            assert link.peer is not None
            self._node.broadcast.add(link, link.peer, self._node.steady_ms())
        link.judged = True
        for question in link.unanswered:
            self._answer(link, question)
        link.unanswered.clear()
        self._node.writer.take(link, [], [], status.your_heads, pushed=False, then=lambda: self.catch_up(link))

    def _has_room(self) -> bool:
        members = len(self._node.stage.coop.members)
        return has_room(members, sum(link in self._node.broadcast for link in self._node.links))

    def on_question(self, link: Link, question: Question) -> None:
        link.asked_us = self._node.scheduler.now_us
        if link.visit and link.leave_us < NEVER_US:
            link.leave_us = link.asked_us + VISIT_US
        if not link.judged and not isinstance(question, GetPages):
            if len(link.unanswered) >= 2 * MAX_REQUESTS_UNDER_WAY:
                self._node.close(link, Reason.TOO_MANY, "more questions are under way than allowed")
                return
            link.unanswered.append(question)
            return
        self._answer(link, question)

    def _answer(self, link: Link, question: Question) -> None:
        self._node.say(link, answer(self._node.tables.as_tables(), question))

    # ── hearing a peer out ────────────────────────────────────────────────────────────────────────

    def catch_up(self, link: Link) -> None:
        if not link.is_open or link.peer is None:
            return
        tables = self._node.tables
        mark = tables.peers.cursor(link.peer)
        arrived = tables.peers.arrived_since(link.peer)
        ids = tables.items.ids() if must_compare(mark, link.store_nonce, tables.items.number(), arrived) else None
        salt = self._node.stage.random.randbytes(16)
        exchange = Exchange(CatchUp(mark, tables.items.frontier(), ids, salt), mark, lambda: self._heard_out(link))
        self._node.recorder.exchanges += 1
        self._go_on(link, exchange)

    def _go_on(self, link: Link, exchange: Exchange) -> None:
        """Ask the next question, or end."""
        if not link.is_open or link.peer is None:
            return
        catch_up = exchange.catch_up
        if not exchange.waiting:
            if catch_up.mark is not None and catch_up.mark != exchange.kept:
                exchange.kept = catch_up.mark
                self._node.tables.peers.set_cursor(link.peer, *catch_up.mark)
            exchange.waiting.extend(catch_up.questions())
        if exchange.waiting:
            request = link.session.ask(exchange.waiting.popleft(), self._node.steady_ms())
            link.exchanges[request] = exchange
            self._node.dirty[link] = None
            return
        for put in self._puts(catch_up.spare):
            self._node.say(link, put)
        if catch_up.mark is not None and catch_up.mark != exchange.kept:
            self._node.tables.peers.set_cursor(link.peer, *catch_up.mark)
        self._node.recorder.rounds += catch_up.rounds
        exchange.then()

    def on_answer(self, link: Link, question: Question, answered: Answer) -> None:
        exchange = link.exchanges.pop(question.request, None)
        if exchange is None:
            return
        try:
            heard: Heard = exchange.catch_up.receive(question, answered)
        except Refused as refused:
            self._node.close(link, refused.reason, refused.detail)
            return
        self._node.writer.take(
            link,
            heard.identities,
            heard.statements,
            heard.heads,
            pushed=False,
            then=lambda: self._go_on(link, exchange),
        )

    def _puts(self, ids: Sequence[bytes]) -> list[Put]:
        puts: list[Put] = []
        number = size = 0
        for item in map(self._node.tables.items.by_id, ids):
            if item is None:
                continue
            if not puts or number == MAX_ITEMS or size > MAX_REPLY_BYTES:
                puts.append(Put([], [], []))
                number = size = 0
            getattr(puts[-1], item.kind.value).append(item.data)
            number += 1
            size += len(item.data)
        return puts

    def _heard_out(self, link: Link) -> None:
        if link.visit and link.is_open:
            link.leave_us = max(link.asked_us, self._node.scheduler.now_us) + VISIT_US
            self._node.arm(link.leave_us)
