"""The door and the writer of a simulated node: what comes in is judged, committed, and only then told on.

Everything that waits goes into one transaction, as in `coopnode.node`; it ends `commit_us` later, and a node that
crashes before has kept nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coopnode.ingest import Fate, Outcome, object_id
from coopnode.simulator.link import NEVER_US, Link
from coopnode.simulator.scheduler import SECOND
from protocol import forgery
from protocol.errors import Reason
from protocol.forgery import Verdict
from protocol.head import WHAT, Stream, Version
from protocol.items import Item, ItemKind
from protocol.limits import MAX_SEEN_ITEMS
from protocol.messages import GetPages, Put

if TYPE_CHECKING:
    from coopnode.simulator.node import SimulatedNode

PARKED_LOOK_US = 5 * SECOND
Incoming = tuple[ItemKind, bytes]


@dataclass(slots=True)
class Batch:
    """Items that wait for the writer. *came_from* is None for our own."""

    items: list[Incoming]
    came_from: Link | None
    pushed: bool
    then: Callable[[], None] | None = None


class Writer:
    """Judges, keeps and tells on, for one life of one node."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self._seen: dict[bytes, None] = {}
        self._incoming: list[Batch] = []
        self._committing = False
        self._versions: dict[Stream, Version] = {}
        self.parked_us = NEVER_US
        """When to look again at what is parked."""

    def take(
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
                else:
                    self._node.recorder.needless += 1
        if incoming:
            link.blocked = link.blocked or pushed
            self.give(Batch(incoming, link, pushed, then))
        elif then is not None:
            then()

    def _came_twice(self, item_id: bytes, data: bytes, link: Link) -> None:
        self._node.recorder.duplicate(data, self._node.number, link.peer_number)
        self._node.wake(self._node.broadcast.known(item_id, link, self._node.steady_ms()))

    def give(self, batch: Batch) -> None:
        """Put a batch in line for the writer, who takes all that waits into one transaction."""
        self._incoming.append(batch)
        if not self._committing:
            self._begin_commit()

    def _begin_commit(self) -> None:
        self._committing = True
        batches, self._incoming = self._incoming, []
        self._node.scheduler.after(self._node.stage.commit_us, self._commit, (self._node.life, batches))

    def _commit(self, work: tuple[int, list[Batch]]) -> None:
        """The transaction ends: what it kept is durable from now on, and is told."""
        life, batches = work
        if not self._node.up or life != self._node.life:
            return
        tables = self._node.tables.as_tables()
        judged = []
        for batch in batches:
            outcomes = [self._judge(kind, data) for kind, data in batch.items]
            judged.append((batch, outcomes, self._node.ingest.take_parked(tables)))
        self._committing = False
        for batch, outcomes, parked in judged:
            self._follow(batch, outcomes, parked)
        for batch, _, _ in judged:
            if batch.came_from is not None and batch.pushed:
                batch.came_from.blocked = False
                self._node.read(batch.came_from)
            if batch.then is not None:
                batch.then()
        if self._incoming and not self._committing:
            self._begin_commit()
        if self._node.ingest.parked and self.parked_us == NEVER_US:
            self.parked_us = self._node.scheduler.now_us + PARKED_LOOK_US
        self._node.finish()

    def _judge(self, kind: ItemKind, data: bytes) -> Outcome:
        """Ask the door, and look over its shoulder: no accepted head may be older than the one before it."""
        node = self._node
        outcome = node.ingest.take(node.tables.as_tables(), kind, data)
        if outcome.fate is Fate.ACCEPTED and outcome.head is not None and outcome.reason is None:
            version = outcome.head.version
            before = self._versions.get(outcome.head.stream)
            if before is not None and version <= before:
                node.recorder.older_accepted += 1
            self._versions[outcome.head.stream] = version
        return outcome

    def _follow(self, batch: Batch, outcomes: list[Outcome], parked: list[Outcome]) -> None:
        """Tell others what is new, the tree what was not, and an author what we know better."""
        link = batch.came_from
        for outcome in (*outcomes, *parked):
            if outcome.fate is Fate.ACCEPTED and outcome.item is not None:
                self.spread(outcome.item, link, pushed=batch.pushed)
        for (kind, data), outcome in zip(batch.items, outcomes, strict=True):
            if link is None:
                continue
            if outcome.fate is Fate.REFUSED and outcome.reason is not None:
                self._node.recorder.refused[outcome.reason.value] += 1
                if self._is_forged(kind, data, outcome.reason):
                    self._node.talk.drop(link)
            if outcome.fate in (Fate.ACCEPTED, Fate.KNOWN):
                self._judged(object_id(data), data, outcome, link, pushed=batch.pushed)
            if outcome.newer is not None and kind is ItemKind.HEAD:
                newer = self._node.stage.coop.memory.read_head(outcome.newer)
                if newer.stream.member_id == link.peer:
                    self._node.say(link, Put([outcome.newer], [], []))
            if outcome.fate is Fate.PARKED and outcome.reason in (Reason.UNKNOWN_AUTHOR, Reason.NOT_MEMBER):
                self._ask_for_pages(link)

    def _judged(self, item_id: bytes, data: bytes, outcome: Outcome, link: Link, *, pushed: bool) -> None:
        """Note what the door has said of an item that is right."""
        if outcome.reason is None:
            self._remember(item_id)
            if pushed and outcome.fate is Fate.KNOWN:
                self._came_twice(item_id, data, link)
        elif outcome.fate is Fate.KNOWN:
            self._node.broadcast.pass_over(item_id)

    def _is_forged(self, kind: ItemKind, data: bytes, reason: Reason) -> bool:
        """Whether no honest node can have sent this. Only guests change keys here, so no peer is asked for its log."""
        if reason in forgery.BYTES_PROVE:
            return True
        if reason is not Reason.BAD_SIGNATURE or kind is not ItemKind.HEAD:
            return False
        coop = self._node.stage.coop
        head = coop.memory.read_head(data)
        identity = coop.membership.identity_of(head.stream.member_id)
        log = () if identity is None else identity.log
        said = forgery.judge_signature(head.signed, WHAT, coop.coop_id, head.version.epoch, log, told=False)
        return said is Verdict.PROVED

    def _ask_for_pages(self, link: Link) -> None:
        if link.is_open:
            link.session.ask(GetPages(0, self._node.stage.coop.membership.roster.slot), self._node.steady_ms())
            self._node.dirty[link] = None

    def spread(self, item: Item, came_from: Link | None, *, pushed: bool) -> None:
        """Tell the links of something that is new and durable here."""
        node = self._node
        self._remember(item.item_id)
        now_us = node.scheduler.now_us
        own = came_from is None and item.author == node.member.member_id
        if own:
            node.recorder.tell(item.data, node.number, now_us)
        else:
            sender = None if came_from is None else came_from.peer_number
            node.recorder.deliver(item.data, node.number, sender, now_us, pushed=pushed, honest=node.honest)
        if not node.stage.broadcast:
            return
        node.wake(node.broadcast.offer(item, came_from, node.steady_ms(), pushed=pushed))
        if own and not all(node.broadcast.waiting(link) for link in node.links if link in node.broadcast):
            node.recorder.own_untold += 1

    def tick(self, now_us: int) -> None:
        """Look again at what is parked, when it is time."""
        if self.parked_us <= now_us:
            self.parked_us = NEVER_US
            self.give(Batch([], None, pushed=False))

    def _remember(self, item_id: bytes) -> None:
        self._seen[item_id] = None
        if len(self._seen) > MAX_SEEN_ITEMS:
            del self._seen[next(iter(self._seen))]
