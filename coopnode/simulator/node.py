"""One simulated node: what `coopnode.gossip.gossiper` does between the rules' own classes, driven by events.

Sessions, broadcast, catch-up, door, answers and store speak for themselves; here is only the order between them, and
it is the daemon's: shape and turn, then the door, then a durable commit, then others are told. The thing to
understand: every entry (a message, a timer, a commit) ends in `finish`, which writes what there is to say on every
link that was touched and sets the one timer of the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from coopnode.ingest import Ingest
from coopnode.simulator.caller import Caller
from coopnode.simulator.coop import BEGINNING_MS, Coop, Member
from coopnode.simulator.link import NEVER_US, Link
from coopnode.simulator.memory import MemoryTables
from coopnode.simulator.network import End, Network
from coopnode.simulator.record import Recorder
from coopnode.simulator.scheduler import MS, SECOND, Scheduler
from coopnode.simulator.talk import Talk
from coopnode.simulator.writer import Batch, Writer
from protocol.errors import Reason
from protocol.gossip import Broadcast
from protocol.head import Version, next_version
from protocol.items import ItemKind
from protocol.messages import Graft, Have, Message, Pong, Prune, Put, Question, Status, Twin
from protocol.overlay import LinkOf
from protocol.session import Answered, Closed, Event, Me, Opened, Received, Role, Session, Silent, State, Unanswered

JUDGED_US = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Stage:
    """What all nodes of a run share."""

    scheduler: Scheduler
    network: Network
    coop: Coop
    recorder: Recorder
    random: Random
    commit_us: int
    anti_entropy: bool = True
    """Whether nodes hear each other out from time to time, not only on opening a link."""
    dials: bool = True
    """Whether nodes look for links by themselves."""
    broadcast: bool = True
    """Whether what is new is told on at once."""
    lazy: bool = True
    """Whether names are told and fetched; without, a torn tree stays torn. For showing what they are good for."""


class SimulatedNode:
    """One member's node. `start` and `crash` it."""

    honest = True

    def __init__(self, stage: Stage, member: Member, tables: MemoryTables, skew_ms: int) -> None:
        self.stage = stage
        self.member = member
        self.number = member.number
        self.tables = tables
        self.up = False
        self.refuses = False
        """While it is down: whether its machine says at once that nobody is there."""
        self.life = 0
        self.skew_ms = skew_ms
        self.links: dict[Link, None] = {}
        self.scheduler = stage.scheduler
        self.network = stage.network
        self.recorder = stage.recorder
        self._version: Version | None = None
        self._begin_life()

    def _begin_life(self) -> None:
        """Begin with what lies in memory only."""
        stage = self.stage
        self.broadcast: Broadcast[Link] = Broadcast()
        self.ingest = Ingest(self.member.member_id, self.now_ms, stage.coop.memory.tools_of_ingest())
        self.ingest.membership = stage.coop.membership
        self.writer = self._make_writer()
        self.caller = Caller(self)
        self.talk = self._make_talk()
        instance = stage.coop.secret("instance", self.number, self.life)[:8]
        self._me = Me(stage.coop.coop_id, self.member.identity, self.member.seed, instance)
        self.links.clear()
        self.dirty: dict[Link, None] = {}
        """Links on which there may be something to say."""
        self._timer_us = NEVER_US

    def _make_writer(self) -> Writer:
        return Writer(self)

    def _make_talk(self) -> Talk:
        return Talk(self)

    # ── life ──────────────────────────────────────────────────────────────────────────────────────

    def now_ms(self) -> int:
        """What this node's clock shows to people."""
        return BEGINNING_MS + self.scheduler.now_us // MS + self.skew_ms

    def steady_ms(self) -> int:
        """What its timers go by."""
        return self.scheduler.now_us // MS

    def start(self) -> None:
        """Begin a life: memory is empty, the store is as it was."""
        self.life += 1
        self.up = True
        self._begin_life()
        self.caller.begin(visits=self.stage.anti_entropy)
        self.finish()

    def crash(self, *, resets: bool) -> None:
        """End this life in the middle of what it does; *resets*: its machine runs on and hangs up on all peers."""
        self.up, self.refuses = False, resets
        self.network.crash(self, resets=resets)
        self._begin_life()

    def publish(self, content: bytes) -> bytes:
        """Sign the next head of the own catalogue and return it; it goes out when it is durable."""
        self._version = next_version(self._version, 1, self.now_ms() * 1_000)
        data = self.stage.coop.head(self.member, self._version.rev, content)
        self.writer.give(Batch([(ItemKind.HEAD, data)], None, pushed=False))
        self.finish()
        return data

    # ── what the network tells ────────────────────────────────────────────────────────────────────

    def connected(self, end: End) -> None:
        """A connection stands: begin a session on it."""
        visit = end.dialed and self.caller.answered(end.other.host.number)
        role = Role.DIALER if end.dialed else Role.LISTENER
        nonce = self.stage.random.randbytes(32)
        session = Session(self._me, role, nonce, self.steady_ms(), self.stage.coop.memory.tools_of_sessions())
        link = end.link = Link(end, session, self.scheduler.now_us, visit=visit)
        self.links[link] = None
        self.dirty[link] = None
        self.finish()

    def receive(self, end: End, batch: list[bytes]) -> None:
        """Take messages that have arrived."""
        link = end.link
        assert isinstance(link, Link)
        link.inbox.extend(batch)
        self.read(link)
        self.finish()

    def disconnected(self, end: End) -> None:
        """Note that the peer has hung up, or that the connection broke."""
        link = end.link
        assert isinstance(link, Link)
        if link.blocked and link.inbox:
            link.ended = True  # what it has said before is still read
            return
        self.handle(link, link.session.lost())
        self.finish()

    def room(self, end: End) -> None:
        """Note that more can be sent."""
        if isinstance(end.link, Link):
            self.dirty[end.link] = None
            self.finish()

    # ── links ─────────────────────────────────────────────────────────────────────────────────────

    def linked(self) -> dict[bytes, Link]:
        """Return the open links by member."""
        return {link.peer: link for link in self.links if link.peer is not None and link.is_open}

    def standings(self) -> dict[bytes, LinkOf]:
        """Return what counts of the links, by member; visits do not count."""
        return {
            peer: LinkOf(ours=link.dialed, silent=link.session.is_silent)
            for peer, link in self.linked().items()
            if not link.visit
        }

    def read(self, link: Link) -> None:
        """Read what a link has brought, as far as it is not blocked by a commit."""
        while link.inbox and not link.blocked and link.session.state is not State.CLOSED:
            self.handle(link, link.session.receive(link.inbox.popleft(), self.steady_ms()))
            self.dirty[link] = None
        if link.ended and not link.blocked:
            self.handle(link, link.session.lost())

    def say(self, link: Link, message: Message) -> None:
        """Send a message if the link still stands."""
        if link.is_open:
            link.session.send(message)
            self.dirty[link] = None

    def close(self, link: Link, reason: Reason | None = None, detail: str = "") -> None:
        """End a session from our side."""
        self.dirty[link] = None
        self.handle(link, link.session.close(reason, detail))

    def handle(self, link: Link, events: Sequence[Event]) -> None:
        """Do what events of a session demand."""
        for event in events:
            match event:
                case Received():
                    self._on_message(link, event.message)
                case Answered():
                    self.talk.on_answer(link, event.question, event.answer)
                case Unanswered():
                    link.exchanges.pop(event.question.request, None)
                case Opened():
                    self.talk.on_opened(link, event)
                case Silent():
                    self._suspect(link)
                case Closed():
                    self._on_closed(link, event)

    def _on_message(self, link: Link, message: Message) -> None:
        match message:
            case Put():
                self.writer.take(link, message.identities, message.statements, message.heads, pushed=True)
            case Have() | Graft() | Prune():
                self.hear(link, message)
            case Status():
                self.talk.on_status(link, message)
            case Pong():
                if link.probe is not None:
                    link.probe(True)
            case Twin():
                self.recorder.twins += 1
            case _ if isinstance(message, Question):
                self.talk.on_question(link, message)

    def hear(self, link: Link, message: Have | Graft | Prune) -> None:
        """Take what a peer says about the tree."""
        if self.stage.lazy:
            self.wake(self.broadcast.receive(link, message, self.steady_ms()))

    def _on_closed(self, link: Link, closed: Closed) -> None:
        honest = self.honest and self.network.hosts[link.peer_number].honest
        if closed.reason is not None:
            (self.recorder.faults if honest else self.recorder.closings)[closed.reason.value] += 1
        self.links.pop(link, None)
        self.broadcast.drop(link, self.steady_ms())
        link.exchanges.clear()
        if link.probe is not None:
            link.probe(False)
        self.dirty[link] = None
        self.caller.ended(link)

    def _suspect(self, link: Link) -> None:
        """A peer has fallen silent. Where one has gone, others may have: ask all the others at once."""
        self.recorder.suspected += 1
        self.broadcast.suspect(link, self.steady_ms())
        for other in self.links:
            if other is not link:
                other.session.probe(self.steady_ms())
                self.dirty[other] = None
        self.caller.look_soon()

    # ── writing and time ──────────────────────────────────────────────────────────────────────────

    def wake(self, links: Sequence[Link]) -> None:
        """There is something to say on these links."""
        for link in links:
            self.dirty[link] = None

    def finish(self) -> None:
        """Write what there is to say, and set the timer."""
        if not self.up:
            return
        while self.dirty:
            dirty, self.dirty = self.dirty, {}
            for link in dirty:
                self._flush(link)
        deadline_ms = self.broadcast.next_deadline()
        if deadline_ms is not None:
            self.arm(deadline_ms * MS)
        caller = self.caller
        earliest_us = min(caller.look_us, caller.visit_us, self.writer.parked_us)
        if earliest_us < self._timer_us:
            self.arm(earliest_us)

    def _flush(self, link: Link) -> None:
        end, session = link.end, link.session
        batch = session.data_to_send()
        if session.state is State.OPEN and link in self.broadcast:
            if self.network.is_full(end):
                self.recorder.longest_queue = max(self.recorder.longest_queue, self.broadcast.waiting(link))
            else:
                now_ms = self.steady_ms()
                while (news := self.broadcast.take(link, now_ms)) is not None:
                    if self.stage.lazy or isinstance(news, Put | Prune):
                        session.send(news)
                        batch.extend(session.data_to_send())
        if batch and not end.closed:
            self.network.send(end, batch)
        if session.state is State.CLOSED:
            self.network.close(end)
            return
        deadline_ms = session.next_deadline()
        if deadline_ms is not None:
            link.deadline_us = deadline_ms * MS
            if link.deadline_us < self._timer_us:
                self.arm(link.deadline_us)

    def arm(self, time_us: int) -> None:
        """See to it that the timer goes off at *time_us* at the latest."""
        if time_us < self._timer_us:
            self._timer_us = max(time_us, self.scheduler.now_us)
            self.scheduler.at(time_us, self._on_timer, (self.life, self._timer_us))

    def _on_timer(self, set_for: tuple[int, int]) -> None:
        life, time_us = set_for
        if not self.up or life != self.life or time_us != self._timer_us:
            return
        now_us = self.scheduler.now_us
        self._timer_us = NEVER_US
        # Whoever has not been judged yet is looked at each time: it has a minute.
        for link in [
            one for one in self.links if one.deadline_us <= now_us or one.leave_us <= now_us or not one.judged
        ]:
            self._tick(link, now_us)
        deadline_ms = self.broadcast.next_deadline()
        if deadline_ms is not None and deadline_ms * MS <= now_us:
            self.wake(self.broadcast.tick(self.steady_ms()))
        self.caller.tick(now_us)
        self.writer.tick(now_us)
        self.tick(now_us)
        self.finish()
        self.arm(min((min(link.deadline_us, link.leave_us) for link in self.links), default=NEVER_US))

    def tick(self, now_us: int) -> None:
        """Do what only some kinds of nodes do."""

    def _tick(self, link: Link, now_us: int) -> None:
        if link.deadline_us <= now_us:
            self.handle(link, link.session.tick(self.steady_ms()))
            self.dirty[link] = None
        if link.leave_us <= now_us:
            self.close(link, None, "it was a visit")
        elif not link.judged and now_us >= link.opened_us + JUDGED_US:
            self.close(link, Reason.TIMED_OUT, "the peer did not say where it stands")
