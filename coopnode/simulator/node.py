"""One simulated node: what `coopnode.gossip.gossiper` does between the rules' own classes, driven by events.

Sessions, broadcast, catch-up, door, answers and store speak for themselves; here is only the order between them, and
it is the daemon's: shape and turn, then the door, then a durable commit, then others are told. The thing to
understand: every entry (a message, a timer, a commit) ends in `_finish`, which writes what there is to say on every
link that was touched and sets the one timer of the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from coopnode.gossip.answers import answer
from coopnode.ingest import Fate, Ingest, Outcome, object_id
from coopnode.simulator.coop import BEGINNING_MS, Coop, Member
from coopnode.simulator.link import NEVER_US, Exchange, Link
from coopnode.simulator.memory import MemoryTables
from coopnode.simulator.network import End, Network
from coopnode.simulator.record import Recorder
from coopnode.simulator.scheduler import MS, SECOND, Scheduler
from protocol.catchup import CatchUp, Heard, must_compare
from protocol.errors import Reason, Refused
from protocol.gossip import Broadcast
from protocol.head import Version, next_version
from protocol.items import Item, ItemKind
from protocol.limits import MAX_ITEMS, MAX_REPLY_BYTES, MAX_REQUESTS_UNDER_WAY, VISIT_EVERY_MS
from protocol.messages import (
    Answer,
    GetPages,
    Graft,
    Have,
    Message,
    Ping,
    Pong,
    Prune,
    Put,
    Question,
    Status,
    Twin,
)
from protocol.overlay import LinkOf, has_room, is_full_mesh, to_rotate, wanted_links
from protocol.session import (
    Answered,
    Closed,
    Event,
    Me,
    Opened,
    Received,
    Role,
    Session,
    Silent,
    State,
    Unanswered,
)

JUDGED_US = 60 * SECOND
PROBE_US = 5 * SECOND
VISIT_US = SECOND
LOOK_US = SECOND
PARKED_LOOK_US = 5 * SECOND
FIRST_WAIT_US = SECOND // 2
LONGEST_WAIT_US = 60 * SECOND
SHUFFLED = 16
"""So many members are drawn where the daemon shuffles all: no more are ever used."""
Incoming = tuple[ItemKind, bytes]


@dataclass(slots=True)
class Batch:
    """Items that wait for the writer. *came_from* is None for our own."""

    items: list[Incoming]
    came_from: Link | None
    pushed: bool
    then: Callable[[], None] | None


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
    broadcast: bool = True
    dials: bool = True


class SimulatedNode:
    """One member's node. `start` and `crash` it."""

    def __init__(self, stage: Stage, member: Member, tables: MemoryTables, skew_ms: int) -> None:
        self.stage = stage
        self.member = member
        self.number = member.number
        self.tables = tables
        self.honest = True
        self.up = False
        self.life = 0
        self.skew_ms = skew_ms
        self.links: dict[Link, None] = {}
        self.rev: Version | None = None
        self._scheduler = stage.scheduler
        self._network = stage.network
        self._recorder = stage.recorder
        self._begin_life()

    def _begin_life(self) -> None:
        """What lies in memory only."""
        stage = self.stage
        self.broadcast: Broadcast[Link] = Broadcast()
        self.ingest = Ingest(self.member.member_id, self.now_ms, stage.coop.memory.tools_of_ingest())
        self.ingest.membership = stage.coop.membership
        instance = stage.coop.secret("instance", self.number, self.life)[:8]
        self._me = Me(stage.coop.coop_id, self.member.identity, self.member.seed, instance)
        self.links.clear()
        self._seen: dict[bytes, None] = {}
        self._dirty: dict[Link, None] = {}
        self._incoming: list[Batch] = []
        self._committing = False
        self._timer_us = NEVER_US
        self._look_us = NEVER_US
        self._visit_us = NEVER_US
        self._parked_us = NEVER_US
        self._calling: dict[int, bool] = {}
        self._patience: dict[int, tuple[int, int]] = {}
        """By node: not to be called before, how long to wait after that."""

    # ── life ──────────────────────────────────────────────────────────────────────────────────────

    def now_ms(self) -> int:
        """What this node's clock shows."""
        return BEGINNING_MS + self._scheduler.now_us // MS + self.skew_ms

    def start(self) -> None:
        """Begin a life: memory is empty, the store is as it was."""
        self.life += 1
        self.up = True
        self._begin_life()
        if self.stage.dials:
            self._look_us = self._scheduler.now_us
        if self.stage.anti_entropy:
            self._visit_us = self._next_visit_us()
        self._finish()

    def crash(self, *, resets: bool) -> None:
        """End this life in the middle of what it does."""
        self.up = False
        self._network.crash(self, resets=resets)
        self._begin_life()

    def publish(self, content: bytes) -> None:
        """Sign the next head of the own catalogue; it goes out when it is durable."""
        self.rev = next_version(self.rev, 1, self.now_ms() * 1_000)
        data = self.stage.coop.head(self.member, self.rev.rev, content)
        self._give(Batch([(ItemKind.HEAD, data)], None, pushed=False, then=None))
        self._finish()

    # ── what the network tells ────────────────────────────────────────────────────────────────────

    def connected(self, end: End) -> None:
        """A connection stands: begin a session on it."""
        visit = end.dialed and self._calling.pop(end.other.host.number, False)
        role = Role.DIALER if end.dialed else Role.LISTENER
        nonce = self.stage.random.randbytes(32)
        session = Session(self._me, role, nonce, self._now_ms(), self.stage.coop.memory.tools_of_sessions())
        link = end.link = Link(end, session, self._scheduler.now_us, visit=visit)
        self.links[link] = None
        self._dirty[link] = None
        self._finish()

    def receive(self, end: End, batch: list[bytes]) -> None:
        """Messages have arrived."""
        link = end.link
        assert isinstance(link, Link)
        link.inbox.extend(batch)
        self._read(link)
        self._finish()

    def disconnected(self, end: End) -> None:
        """The peer has hung up, or the connection broke."""
        link = end.link
        assert isinstance(link, Link)
        while link.inbox and not link.blocked:
            self._read(link)
        self._handle(link, link.session.lost())
        self._finish()

    def room(self, end: End) -> None:
        """More can be sent."""
        if isinstance(end.link, Link):
            self._dirty[end.link] = None
            self._finish()

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

    def _now_ms(self) -> int:
        return self._scheduler.now_us // MS

    def _read(self, link: Link) -> None:
        while link.inbox and not link.blocked and link.session.state is not State.CLOSED:
            self._handle(link, link.session.receive(link.inbox.popleft(), self._now_ms()))
            self._dirty[link] = None

    def _say(self, link: Link, message: Message) -> None:
        if link.is_open:
            link.session.send(message)
            self._dirty[link] = None

    def close(self, link: Link, reason: Reason | None = None, detail: str = "") -> None:
        """End a session from our side."""
        self._dirty[link] = None
        self._handle(link, link.session.close(reason, detail))

    def _handle(self, link: Link, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Received():
                    self._on_message(link, event.message)
                case Answered():
                    self._on_answer(link, event.question, event.answer)
                case Unanswered():
                    link.exchanges.pop(event.question.request, None)
                case Opened():
                    self._on_opened(link, event)
                case Silent():
                    self._suspect(link)
                case Closed():
                    self._on_closed(link, event)

    def _on_opened(self, link: Link, opened: Opened) -> None:
        link.peer, link.instance = opened.identity.member_id, opened.instance
        link.opened_us = self._scheduler.now_us
        own = [item.data for item in self.tables.items.of_kind(ItemKind.HEAD, link.peer)]
        roster = self.stage.coop.membership.roster
        nonce = self.tables.meta.get("store_nonce") or bytes(8)
        self._say(link, Status(roster.slot, roster.page_id, nonce, own[:16]))

    def _on_closed(self, link: Link, closed: Closed) -> None:
        peer = self._network.hosts[link.peer_number]
        honest = self.honest and getattr(peer, "honest", True)
        if closed.reason is not None:
            (self._recorder.faults if honest else self._recorder.closings)[closed.reason.value] += 1
        self.links.pop(link, None)
        self.broadcast.drop(link, self._now_ms())
        link.exchanges.clear()
        if link.probe is not None:
            link.probe(False)
        lasted_us = self._scheduler.now_us - link.opened_us
        if link.dialed and lasted_us > LONGEST_WAIT_US:
            self._patience.pop(link.peer_number, None)
        self._look_soon()

    def _suspect(self, link: Link) -> None:
        """A peer has fallen silent. Where one has gone, others may have: ask all the others at once."""
        self.broadcast.suspect(link, self._now_ms())
        for other in self.links:
            if other is not link:
                other.session.probe(self._now_ms())
                self._dirty[other] = None
        self._look_soon()

    # ── messages ──────────────────────────────────────────────────────────────────────────────────

    def _on_message(self, link: Link, message: Message) -> None:
        match message:
            case Put():
                self._take(link, message.identities, message.statements, message.heads, pushed=True)
            case Have() | Graft() | Prune():
                self._wake(self.broadcast.receive(link, message, self._now_ms()))
            case Status():
                self._on_status(link, message)
            case Pong():
                if link.probe is not None:
                    link.probe(True)
            case Twin():
                self._recorder.twins += 1
            case _ if isinstance(message, Question):
                self._on_question(link, message)

    def _on_status(self, link: Link, status: Status) -> None:
        link.store_nonce = status.store_nonce
        if link.judged or link.peer is None:
            return
        if not self.stage.coop.membership.roster.is_member(link.peer):
            self.close(link, Reason.NOT_MEMBER, "this member is not on the roster here")
            return
        for other in list(self.links):
            if other is link or other.peer != link.peer or not other.is_open or other not in self.broadcast:
                continue
            if other.instance == link.instance:
                we_dialed_lower = self.member.member_id < link.peer
                loser = link if link.dialed != we_dialed_lower else other
                self.close(loser, None, "there is a link already")
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
                self._say(link, Twin(other.instance or bytes(8)))
                self._say(other, Twin(link.instance or bytes(8)))
            else:
                self.close(other, Reason.TIMED_OUT if other.is_open else None, "another run of this node has come")
            if link.is_open and not link.judged:
                self._welcome(link, status)

        other.probe = decide
        self._say(other, Ping(0))
        self._scheduler.after(PROBE_US, self._probe_over, (self.life, decide))

    def _probe_over(self, asked: tuple[int, Callable[[bool], None]]) -> None:
        life, decide = asked
        if self.up and life == self.life:
            decide(False)
            self._finish()

    def _welcome(self, link: Link, status: Status) -> None:
        if not link.dialed and not self._has_room():
            self.close(link, None, "this node has links enough; call another member")
            return
        if link.visit:
            self._say(link, Prune())
        else:
            assert link.peer is not None
            self.broadcast.add(link, link.peer, self._now_ms())
        link.judged = True
        for question in link.unanswered:
            self._answer(link, question)
        link.unanswered.clear()
        self._take(link, [], [], status.your_heads, pushed=False, then=lambda: self._catch_up(link))

    def _has_room(self) -> bool:
        members = len(self.stage.coop.members)
        return has_room(members, sum(link in self.broadcast for link in self.links))

    def _on_question(self, link: Link, question: Question) -> None:
        link.asked_us = self._scheduler.now_us
        if link.visit and link.leave_us < NEVER_US:
            link.leave_us = link.asked_us + VISIT_US
        if not link.judged and not isinstance(question, GetPages):
            if len(link.unanswered) >= 2 * MAX_REQUESTS_UNDER_WAY:
                self.close(link, Reason.TOO_MANY, "more questions are under way than allowed")
                return
            link.unanswered.append(question)
            return
        self._answer(link, question)

    def _answer(self, link: Link, question: Question) -> None:
        self._say(link, answer(self.tables.as_tables(), question))

    # ── hearing a peer out ────────────────────────────────────────────────────────────────────────

    def _catch_up(self, link: Link) -> None:
        if not link.is_open or link.peer is None:
            return
        tables = self.tables
        mark = tables.peers.cursor(link.peer)
        ids = tables.items.ids() if must_compare(mark, link.store_nonce, tables.items.number()) else None
        salt = self.stage.random.randbytes(16)
        exchange = Exchange(CatchUp(mark, tables.items.frontier(), ids, salt), mark, lambda: self._heard_out(link))
        self._recorder.exchanges += 1
        self._go_on(link, exchange)

    def _go_on(self, link: Link, exchange: Exchange) -> None:
        """Ask the next question, or end."""
        if not link.is_open or link.peer is None:
            return
        catch_up = exchange.catch_up
        if not exchange.waiting:
            if catch_up.mark is not None and catch_up.mark != exchange.kept:
                exchange.kept = catch_up.mark
                self.tables.peers.set_cursor(link.peer, *catch_up.mark)
            exchange.waiting.extend(catch_up.questions())
        if exchange.waiting:
            request = link.session.ask(exchange.waiting.popleft(), self._now_ms())
            link.exchanges[request] = exchange
            self._dirty[link] = None
            return
        for put in self._puts(catch_up.spare):
            self._say(link, put)
        if catch_up.mark is not None and catch_up.mark != exchange.kept:
            self.tables.peers.set_cursor(link.peer, *catch_up.mark)
        self._recorder.rounds += catch_up.rounds
        exchange.then()

    def _on_answer(self, link: Link, question: Question, answered: Answer) -> None:
        exchange = link.exchanges.pop(question.request, None)
        if exchange is None:
            return
        try:
            heard: Heard = exchange.catch_up.receive(question, answered)
        except Refused as refused:
            self.close(link, refused.reason, refused.detail)
            return
        self._take(
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
        for item in map(self.tables.items.by_id, ids):
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
            link.leave_us = max(link.asked_us, self._scheduler.now_us) + VISIT_US
            self._arm(link.leave_us)

    # ── items ─────────────────────────────────────────────────────────────────────────────────────

    def _take(
        self,
        link: Link,
        identity_log: Sequence[bytes],
        said: Sequence[bytes],
        new_heads: Sequence[bytes],
        *,
        pushed: bool,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Hand new items to the door, in the order in which they explain each other."""
        incoming: list[Incoming] = []
        for kind, batch in (
            (ItemKind.IDENTITY, identity_log),
            (ItemKind.STATEMENT, said),
            (ItemKind.HEAD, new_heads),
        ):
            for data in batch:
                item_id = object_id(data)
                if item_id not in self._seen:
                    incoming.append((kind, data))
                elif pushed:
                    self._came_twice(item_id, data, link)
        if incoming:
            link.blocked = link.blocked or pushed
            self._give(Batch(incoming, link, pushed, then))
        elif then is not None:
            then()

    def _came_twice(self, item_id: bytes, data: bytes, link: Link) -> None:
        self._recorder.duplicate(data)
        self._wake(self.broadcast.known(item_id, link, self._now_ms()))

    def _give(self, batch: Batch) -> None:
        """Put a batch in line for the writer, who takes all that waits into one transaction."""
        self._incoming.append(batch)
        if not self._committing:
            self._begin_commit()

    def _begin_commit(self) -> None:
        self._committing = True
        batches, self._incoming = self._incoming, []
        self._scheduler.after(self.stage.commit_us, self._commit, (self.life, batches))

    def _commit(self, work: tuple[int, list[Batch]]) -> None:
        """The transaction ends: what it kept is durable from now on, and is told."""
        life, batches = work
        if not self.up or life != self.life:
            return
        tables = self.tables.as_tables()
        judged = []
        for batch in batches:
            outcomes = [self.ingest.take(tables, kind, data) for kind, data in batch.items]
            judged.append((batch, outcomes, self.ingest.take_parked(tables)))
        self._committing = False
        for batch, outcomes, parked in judged:
            self._follow(batch, outcomes, parked)
        for batch, _, _ in judged:
            if batch.came_from is not None and batch.pushed:
                batch.came_from.blocked = False
                self._read(batch.came_from)
            if batch.then is not None:
                batch.then()
        if self._incoming and not self._committing:
            self._begin_commit()
        if self.ingest.parked and self._parked_us == NEVER_US:
            self._parked_us = self._scheduler.now_us + PARKED_LOOK_US
        self._finish()

    def _follow(self, batch: Batch, outcomes: list[Outcome], parked: list[Outcome]) -> None:
        """Tell others what is new, the tree what was not, and an author what we know better."""
        link = batch.came_from
        for outcome in (*outcomes, *parked):
            if outcome.fate is Fate.ACCEPTED and outcome.item is not None:
                self._spread(outcome.item, link, pushed=batch.pushed)
        for (kind, data), outcome in zip(batch.items, outcomes, strict=True):
            if link is None:
                continue
            if outcome.fate is Fate.REFUSED and outcome.reason is not None:
                self._recorder.refused[outcome.reason.value] += 1
            if outcome.fate in (Fate.ACCEPTED, Fate.KNOWN) and outcome.reason is None:
                item_id = object_id(data)
                self._seen[item_id] = None
                if batch.pushed and outcome.fate is Fate.KNOWN:
                    self._came_twice(item_id, data, link)
            if outcome.newer is not None and kind is ItemKind.HEAD:
                newer = self.stage.coop.memory.read_head(outcome.newer)
                if newer.stream.member_id == link.peer:
                    self._say(link, Put([outcome.newer], [], []))
            if outcome.fate is Fate.PARKED and outcome.reason in (Reason.UNKNOWN_AUTHOR, Reason.NOT_MEMBER):
                self._ask_for_pages(link)

    def _ask_for_pages(self, link: Link) -> None:
        if link.is_open:
            link.session.ask(GetPages(0, self.stage.coop.membership.roster.slot), self._now_ms())
            self._dirty[link] = None

    def _spread(self, item: Item, came_from: Link | None, *, pushed: bool) -> None:
        self._seen[item.item_id] = None
        now_us = self._scheduler.now_us
        if came_from is None:
            self._recorder.tell(item.data, self.number, now_us)
        else:
            self._recorder.deliver(item.data, self.number, came_from.peer_number, now_us, pushed=pushed)
        if self.stage.broadcast:
            self._wake(self.broadcast.offer(item, came_from, self._now_ms(), pushed=pushed))

    # ── whom to be linked with ────────────────────────────────────────────────────────────────────

    def _look_soon(self) -> None:
        if self.stage.dials:
            self._look_us = min(self._look_us, self._scheduler.now_us + int(LOOK_US * self.stage.random.random()))

    def _shuffle(self, members: Sequence[bytes]) -> list[bytes]:
        return self.stage.random.sample(members, min(len(members), SHUFFLED))

    def _look(self) -> None:
        """Begin the calls that are due now."""
        now_us = self._scheduler.now_us
        tellers = self.stage.coop.membership.roster.tellers
        wanted = wanted_links(self.member.member_id, tellers, self.standings(), self._shuffle)
        for member_id in wanted:
            self._call(self.stage.coop.number_of[member_id], visit=False)
        self._look_us = now_us + LOOK_US if wanted else NEVER_US

    def _call(self, number: int, *, visit: bool) -> bool:
        """Call a member unless it is being called, has no address, or must be left alone for a while."""
        now_us = self._scheduler.now_us
        if number in self._calling or not self._network.reachable[number]:
            return False
        if any(link.dialed and link.peer_number == number for link in self.links):
            return False
        next_us, wait_us = self._patience.get(number, (0, FIRST_WAIT_US))
        if now_us < next_us:
            return False
        self._patience[number] = (now_us + wait_us, min(2 * wait_us, LONGEST_WAIT_US))
        self._calling[number] = visit
        self._network.dial(self, number, self._call_failed)
        return True

    def _call_failed(self, number: int) -> None:
        self._calling.pop(number, None)
        self._look_soon()
        self._finish()

    def _next_visit_us(self) -> int:
        return self._scheduler.now_us + int(VISIT_EVERY_MS * MS * (0.5 + self.stage.random.random()))

    def _keep_company(self) -> None:
        """Hear somebody out, chosen by chance; give up a link that tells nothing of what others tell."""
        linked = self.linked()
        members = self.stage.coop.members
        number = self.stage.random.randrange(len(members))
        visited = number != self.number and members[number].member_id not in linked and self._call(number, visit=True)
        if not visited and linked:
            self._catch_up(linked[self.stage.random.choice(sorted(linked))])
        if not is_full_mesh(len(members)):
            known = {peer: self.broadcast.standing(link) for peer, link in linked.items()}
            there = {peer: standing for peer, standing in known.items() if standing is not None}
            peer = to_rotate(there, self.standings(), self._now_ms())
            if peer is not None:
                self.close(linked[peer], None, "this link has told nothing; another is tried")

    # ── writing and time ──────────────────────────────────────────────────────────────────────────

    def _wake(self, links: Sequence[Link]) -> None:
        for link in links:
            self._dirty[link] = None

    def _finish(self) -> None:
        """Write what there is to say, and set the timer."""
        if not self.up:
            return
        now_ms = self._now_ms()
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for link in dirty:
                self._flush(link, now_ms)
        deadline_ms = self.broadcast.next_deadline()
        if deadline_ms is not None:
            self._arm(deadline_ms * MS)
        self._arm(min(self._look_us, self._visit_us, self._parked_us))

    def _flush(self, link: Link, now_ms: int) -> None:
        end, session = link.end, link.session
        batch = session.data_to_send()
        if session.state is State.OPEN and not self._network.is_full(end):
            while (news := self.broadcast.take(link, now_ms)) is not None:
                self._recorder.longest_queue = max(self._recorder.longest_queue, self.broadcast.waiting(link))
                session.send(news)
                batch.extend(session.data_to_send())
        if batch and not end.closed:
            self._network.send(end, batch)
        if session.state is State.CLOSED:
            self._network.close(end)
            return
        deadline_ms = session.next_deadline()
        link.deadline_us = NEVER_US if deadline_ms is None else deadline_ms * MS
        self._arm(min(link.deadline_us, link.leave_us))

    def _arm(self, time_us: int) -> None:
        if time_us < self._timer_us:
            self._timer_us = max(time_us, self._scheduler.now_us)
            self._scheduler.at(time_us, self._on_timer, (self.life, self._timer_us))

    def _on_timer(self, set_for: tuple[int, int]) -> None:
        life, time_us = set_for
        if not self.up or life != self.life or time_us != self._timer_us:
            return
        now_us = self._scheduler.now_us
        self._timer_us = NEVER_US
        for link in list(self.links):
            self._tick(link, now_us)
        deadline_ms = self.broadcast.next_deadline()
        if deadline_ms is not None and deadline_ms * MS <= now_us:
            self._wake(self.broadcast.tick(self._now_ms()))
        if self._visit_us <= now_us:
            self._visit_us = self._next_visit_us()
            self._keep_company()
        if self._look_us <= now_us:
            self._look()
        if self._parked_us <= now_us:
            self._parked_us = NEVER_US
            self._give(Batch([], None, pushed=False, then=None))
        self._finish()
        for link in self.links:
            self._arm(min(link.deadline_us, link.leave_us))

    def _tick(self, link: Link, now_us: int) -> None:
        if link.deadline_us <= now_us:
            self._handle(link, link.session.tick(self._now_ms()))
            self._dirty[link] = None
        if link.leave_us <= now_us:
            self.close(link, None, "it was a visit")
        elif not link.judged and now_us >= link.opened_us + JUDGED_US:
            self.close(link, Reason.TIMED_OUT, "the peer did not say where it stands")
