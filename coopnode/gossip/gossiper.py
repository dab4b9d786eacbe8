"""Carrying news between nodes: keeps links, answers their questions, spreads what is new.

Never judges an item (`ingest` does) and never writes SQL. The thing to understand: a link becomes useful
in steps. Both prove their keys; both compare their minute books, and the lower side catches up; only then
is membership judged; then each asks the other what it has missed, and from there on hears news as it comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from coopnode.core import Core
from coopnode.gossip.answers import answer, status_for
from coopnode.gossip.catchup import hear_out
from coopnode.gossip.forgers import Forgers
from coopnode.gossip.gate import Full, Gate
from coopnode.gossip.keeping import lagging
from coopnode.gossip.link import Link, NoAnswer, Socket, open_session
from coopnode.gossip.puller import Puller
from coopnode.gossip.spreading import Spreading
from coopnode.gossip.throttle import Throttle
from coopnode.ingest import Fate, Outcome, object_id
from coopnode.membership import settled_id
from coopnode.publisher import Phase
from coopnode.store import Tables
from protocol import head as heads
from protocol import identity as identities
from protocol import messages
from protocol.catchup import Heard
from protocol.errors import LocalError, Reason, Refused
from protocol.identity import Identity
from protocol.items import ItemKind
from protocol.limits import MAX_REQUESTS_UNDER_WAY, REQUEST_MS
from protocol.messages import Busy, GetPages, Graft, Have, Pages, Ping, Pong, Prune, Put, Status, Twin
from protocol.overlay import LinkOf, has_room
from protocol.scope import read_replica
from protocol.session import Closed, Me, Opened, Received, Role, Silent

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

VISIT_SECONDS = 1.0
"""A visit ends when the host has asked nothing for so long."""
JUDGED_SECONDS = 60.0
"""How long a link may stand on which the peer has not been found to be a member."""
PROBE_SECONDS = 5.0
"""How long an older link of the same member may take to show that it is alive."""
Incoming = tuple[ItemKind, bytes]


class Home(Protocol):
    """What the gossiper needs of the node."""

    @property
    def core(self) -> Core:
        """The node's rules and store."""

    @property
    def puller(self) -> Puller:
        """What fetches bodies."""

    @property
    def throttle(self) -> Throttle:
        """What holds members to their quota."""

    @property
    def forgers(self) -> Forgers:
        """Who has sent forged items."""

    async def take(self, items: Sequence[Incoming], came_from: Link | None, *, pushed: bool = False) -> list[Outcome]:
        """Judge and keep items, durably, together with whatever else comes in now; pass on what is new."""

    async def adopt_pages(self, pages: Sequence[bytes], identity_log: Sequence[bytes]) -> None:
        """Take official pages. Refuses a page that is not right."""

    async def read(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on a reader thread."""

    async def write(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in the writer's transaction."""

    async def answered(self, member_id: bytes) -> None:
        """Note that a peer has told us what it knows of our own stream."""

    async def halt(self, why: str) -> None:
        """Stop publishing: there is a twin."""


class Gossiper:
    """All links of one node."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._core = home.core
        self.gate: Gate[Link] = Gate(home.core.world)
        self.spreading = Spreading(self._core.world)
        self.links: set[Link] = set()
        self._pongs: dict[Link, asyncio.Event] = {}
        self._answering: Counter[Link] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.on_proved: list[tuple[str, bytes]] = []

    # ── links ─────────────────────────────────────────────────────────────────────────────────────

    async def run_link(self, socket: Socket, role: Role, url: str | None, *, visit: bool = False) -> Link:
        """Carry one link until it ends. A *visit* ends when both sides have heard each other out."""
        held = self._core.need_membership()
        me = Me(held.coop_id, self._core.keys.identity, self._core.keys.signing_seed, self._core.publisher.instance)
        link = Link(
            socket,
            open_session(me, role, self._core.world),
            self._core.world,
            url=url,
            visit=visit,
            on_event=self._on_event,
            next_message=self.spreading.next_message,
            pace=self._home.throttle.pace,
        )
        self.links.add(link)
        try:
            await link.run()
        finally:
            self.links.discard(link)
            self.spreading.drop(link)
            self._pongs.pop(link, None)
            self._answering.pop(link, None)
            link.judged.set()  # whoever waits to answer need not wait any longer
        return link

    def linked(self) -> dict[bytes, Link]:
        """Return the open links by member."""
        return {link.peer: link for link in self.links if link.peer is not None and link.is_open}

    async def hear_out(self, link: Link) -> bool:
        """Ask a peer for all that was missed; return whether it has told all."""
        try:
            await self._catch_up(link)
        except (NoAnswer, LocalError) as error:
            log.debug("%r could not be heard out: %s", link, error)
            return False
        if link.is_open and link.peer is not None:
            await self._home.answered(link.peer)
        return link.is_open

    async def tell_status(self) -> None:
        """Tell all peers how far our minute book goes: it has a new page."""
        for peer, link in self.linked().items():
            if link in self.spreading:
                link.send(await self._home.read(status_for, self._core, peer))

    async def stop(self) -> None:
        """Say goodbye on all links."""
        for link in list(self.links):
            link.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def standings(self) -> dict[bytes, LinkOf]:
        """Return what counts of the links, by member; visits do not count."""
        return {
            peer: LinkOf(ours=link.url is not None, silent=link.session.is_silent)
            for peer, link in self.linked().items()
            if not link.visit
        }

    def catch_up_soon(self, link: Link) -> None:
        """Ask a peer whether anything was missed."""
        self._spawn(self.hear_out(link), "anti-entropy")

    # ── events of a link ──────────────────────────────────────────────────────────────────────────

    async def _on_event(self, link: Link, event: Opened | Received | Silent | Closed) -> None:
        match event:
            case Opened():
                self._spawn(self._on_opened(link, event), "open")
            case Received():
                await self._on_message(link, event.message)
            case Silent():
                self._suspect(link)
            case Closed():
                if event.reason is not None:
                    log.info("%r closed: %s", link, event.detail)
                    await self._home.write(_count_refusal, event.reason, event.detail, self._core.world.now_ms())

    def _suspect(self, link: Link) -> None:
        """A peer has fallen silent. Where one has gone, others may have: ask all the others at once."""
        self.spreading.suspect(link)
        for other in self.links:
            if other is not link:
                other.probe()

    async def _on_opened(self, link: Link, opened: Opened) -> None:
        """The peer has proved its key: tell it where we stand."""
        try:
            self._check_identity(opened.identity)
            self._home.forgers.check(opened.identity.member_id)
        except Refused as refused:
            link.close(refused.reason, refused.detail)
            return
        link.peer, link.instance = opened.identity.member_id, opened.instance
        link.opened_ms = self._core.world.now_ms()
        if link.peer == self._core.member_id:
            link.send(Twin(self._core.publisher.instance))
            await self._home.halt("another node of this member answered a call of this one")
            return
        if link.url is not None:
            self.on_proved.append((link.url, link.peer))
        link.send(await self._home.read(status_for, self._core, link.peer))
        try:
            async with asyncio.timeout(JUDGED_SECONDS):
                await link.judged.wait()
        except TimeoutError:
            link.close(Reason.TIMED_OUT, "the peer did not say where it stands")

    async def _on_message(self, link: Link, message: messages.Message) -> None:
        match message:
            case Status():
                self._spawn(self._on_status(link, message), "status")
            case Put():
                await self._take(link, Heard(message.identities, message.statements, message.heads), pushed=True)
            case Have() | Graft() | Prune():
                self.spreading.hear(link, message)
            case _ if isinstance(message, messages.Question):
                self._begin_answer(link, message)
            case Pong():
                if link in self._pongs:
                    self._pongs[link].set()
            case Twin():
                await self._home.halt("another node of this member is connected to the others")
            case _:
                log.debug("%r: nothing to do for %s", link, type(message).__name__)

    async def _on_status(self, link: Link, status: Status) -> None:
        """The peer has said where it stands: catch up with its book, then judge it, then go on."""
        try:
            assert link.peer is not None
            link.store_nonce, link.replica = status.store_nonce, read_replica(status.replica)
            if status.slot > self._core.need_membership().roster.slot:
                await self._fetch_pages(link)
            if link.judged.is_set():
                return  # not the first word of this link, but news of a page
            if not self._core.need_membership().roster.is_member(link.peer):
                if self._core.need_membership().roster.slot < status.slot:
                    link.close(None, "the minute book could not be followed")
                else:
                    link.close(Reason.NOT_MEMBER, "this member is not on the roster here")
                return
            if not await self._is_the_only_one(link):
                return
            if link.url is None and not self._has_room():
                link.close(None, "this node has links enough; call another member")
                return
            if link.visit:
                link.send(Prune())
            else:
                self.spreading.add(link)
            link.judged.set()
            await self._take(link, Heard(heads=status.your_heads))
            # What the peer has heard from us comes back with the rest: a restored teller must know it before
            # it signs anything again.
            await self._catch_up(link)
            await self._home.answered(link.peer)
            if link.visit:
                await self._take_leave(link)
        except NoAnswer:
            log.debug("%r ended while it was opening", link)
        except Refused as refused:
            link.close(refused.reason, refused.detail)

    def _has_room(self) -> bool:
        members = len(self._core.need_membership().roster.tellers)
        return has_room(members, sum(link in self.spreading for link in self.links))

    async def _take_leave(self, link: Link) -> None:
        """End a visit when the host has heard us out as well."""
        quiet_seconds = 0.0
        while link.is_open and quiet_seconds < VISIT_SECONDS:
            await asyncio.sleep(VISIT_SECONDS - quiet_seconds)
            quiet_seconds = 0.0 if self._answering[link] else link.idle_seconds()
        link.close(None, "it was a visit")

    async def _fetch_pages(self, link: Link) -> None:
        while True:
            slot = self._core.need_membership().roster.slot
            pages = await link.ask_patiently(GetPages(0, slot), Pages)
            await self._home.adopt_pages(pages.pages, pages.identities)
            if not pages.more or self._core.need_membership().roster.slot == slot:
                return

    async def _is_the_only_one(self, link: Link) -> bool:
        """Keep one link a member; tell apart a second link, a run that has died, and a twin."""
        for other in list(self.links):
            if other is link or other.peer != link.peer or not other.is_open or other not in self.spreading:
                continue
            if other.instance == link.instance:
                # Both sides dialed: the link that the lower member id has dialed stays.
                we_dialed_lower = self._core.member_id < (link.peer or b"")
                loser = link if (link.url is not None) != we_dialed_lower else other
                loser.close(None, "there is a link already")
                return loser is not link
            if await self._is_alive(other):
                log.warning("two live nodes speak for member %s", (link.peer or b"").hex())
                for twin, its_other in ((link, other), (other, link)):
                    twin.send(Twin(its_other.instance or bytes(8)))
                return True
            other.close(Reason.TIMED_OUT, "another run of this node has come")
        return True

    async def _is_alive(self, link: Link) -> bool:
        heard = self._pongs[link] = asyncio.Event()
        link.send(Ping(0))
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await heard.wait()
        except TimeoutError:
            return False
        return True

    async def _catch_up(self, link: Link) -> None:
        """Ask a peer for all that has arrived there since we last heard it out."""
        try:
            await hear_out(self._home, link, self._core.world.random_bytes(16), partial(self._take, link))
        except Refused as refused:
            link.close(refused.reason, refused.detail)
            return
        await self._pull_what_lags(link)

    async def _pull_what_lags(self, link: Link) -> None:
        """Fetch the bodies of all heads that are ahead of the states that we hold."""
        behind = await self._home.read(lagging, self._core.scope)
        if self._core.publisher.phase is Phase.BEHIND and self._core.publisher.target is not None:
            behind.append(self._core.publisher.target)
        for head in behind:
            self._home.puller.want(head, link)

    def _begin_answer(self, link: Link, question: messages.Question) -> None:
        """Answer in a task of its own, a few at a time: whoever asks more than it may is hung up on."""
        if self._answering[link] >= 2 * MAX_REQUESTS_UNDER_WAY:
            link.close(Reason.TOO_MANY, "more questions are under way than allowed")
            return
        self._answering[link] += 1
        link.asked_ms = self._core.world.steady_ms()
        self._spawn(self._answer(link, question), "answer")

    async def _answer(self, link: Link, question: messages.Question) -> None:
        try:
            # Whoever has asked has given it up by then, and must not find more waiting than it may ask.
            async with asyncio.timeout(REQUEST_MS / 1000):
                await self._answer_now(link, question)
        except TimeoutError:
            log.debug("%r: a question was forgotten", link)
        finally:
            if link in self._answering:
                self._answering[link] -= 1

    async def _answer_now(self, link: Link, question: messages.Question) -> None:
        if not isinstance(question, GetPages):
            # Not before the peer has been judged, and not before it hears of news as it comes: what happens
            # between an answer and the first news would be missed. A peer that fails is hung up on.
            await link.judged.wait()
        await link.drained()
        if not link.is_open:
            return
        if isinstance(question, GetPages):  # of everybody and always: who is a member must be known first
            link.send(await self._home.read(answer, question))
            return
        try:
            async with self.gate.turn(link):
                link.send(await self._home.read(answer, question))
        except Full as full:
            link.send(Busy(question.request, full.retry_ms))

    # ── items ─────────────────────────────────────────────────────────────────────────────────────

    async def _take(self, link: Link, heard: Heard, *, pushed: bool = False) -> None:
        """Hand new items to the door, in the order in which they explain each other."""
        heard = await self._home.throttle.let_in(link, heard, pushed=pushed)
        incoming: list[Incoming] = []
        for kind, batch in (
            (ItemKind.IDENTITY, heard.identities),
            (ItemKind.STATEMENT, heard.statements),
            (ItemKind.HEAD, heard.heads),
        ):
            by = link if pushed else None
            incoming.extend((kind, data) for data in batch if not self.spreading.has_seen(data, by))
        if not incoming:
            return
        outcomes = await self._home.take(incoming, link, pushed=pushed)
        for (kind, data), outcome in zip(incoming, outcomes, strict=True):
            if outcome.fate in (Fate.ACCEPTED, Fate.KNOWN):
                self.spreading.judged(object_id(data), outcome, link if pushed else None)
            if outcome.newer is not None and kind is ItemKind.HEAD:
                self._set_right(link, outcome.newer)
        unknown = {Reason.UNKNOWN_AUTHOR, Reason.NOT_MEMBER}
        if any(outcome.fate is Fate.PARKED and outcome.reason in unknown for outcome in outcomes):
            self._spawn(self._ask_for_pages(link), "pages")

    def _set_right(self, link: Link, newer: bytes) -> None:
        """A head older than ours from its own author is answered with ours: this saves restored nodes."""
        if heads.read(newer).stream.member_id == link.peer:
            link.send(Put([newer], [], []))

    async def _ask_for_pages(self, link: Link) -> None:
        try:
            await self._fetch_pages(link)
        except (NoAnswer, Refused) as error:
            log.debug("%r could not tell who an author is: %s", link, error)

    def _check_identity(self, theirs: Identity) -> None:
        """Refuse a peer whose log ends where ours goes on: somebody shows an old, perhaps stolen, key."""
        ours = self._core.need_membership().identity_of(theirs.member_id)
        if ours is None:
            return
        settled = settled_id(self._core.need_membership().roster, theirs.member_id)
        if identities.fold({*ours.log, *theirs.log}, theirs.member_id, settled).current.key != theirs.current.key:
            raise Refused(Reason.BAD_SIGNATURE, "the key of this session is not the member's latest one")

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        task = asyncio.create_task(_guarded(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _guarded(work: Coroutine[Any, Any, Any]) -> None:
    """Run a task of a link; what goes wrong there must not end the node."""
    try:
        await work
    except (NoAnswer, LocalError) as error:
        log.debug("a link ended meanwhile: %s", error)
    except Exception:
        log.exception("a task of a link failed")


# ── in a transaction ──────────────────────────────────────────────────────────────────────────────


def _count_refusal(tables: Tables, reason: Reason, detail: str, now_ms: int) -> None:
    tables.meta.count_refusal(reason.value, detail, now_ms)
