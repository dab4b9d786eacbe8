"""The one door through which outside bytes enter: every head, statement and identity statement.

Never opens a socket and never answers anybody: it is given bytes, says what became of them, and keeps
what is right. Runs in the writer's transaction, so an item is either judged and durable or not there.
The thing to understand: an item whose author, page or proposal is not known *yet* is parked in memory
(bounded) and judged again when that changes; it is never held against the peer that brought it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from coopnode import membership as memberships
from coopnode.membership import Membership
from coopnode.store import Tables
from protocol import head as heads
from protocol import identity as identities
from protocol import minutes, polls, roster, signing, statements
from protocol.errors import Reason, Refused
from protocol.head import Head
from protocol.identity import Identity, IdentityStatement
from protocol.items import Item, ItemKind
from protocol.limits import MAX_IDENTITY_STATEMENTS
from protocol.statements import Statement

MAX_PARKED = 2_000
PARKED_LOOK_MS = 3_000
"""How often parked items are judged again when nothing but time has passed."""
PARKED = "parked"
"""Name in `meta` that says: something was parked since cursors were last forgotten."""
PARKING = frozenset(
    {Reason.FUTURE, Reason.UNKNOWN_AUTHOR, Reason.UNKNOWN_PROPOSAL, Reason.NOT_MEMBER, Reason.IDENTITY_FROZEN}
)


class Fate(Enum):
    """What became of an item."""

    ACCEPTED = "accepted"
    KNOWN = "known"
    PARKED = "parked"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of the door."""

    fate: Fate
    item: Item | None = None
    """What to pass on to others, when accepted."""
    head: Head | None = None
    statement: Statement | None = None
    identity_changed: bytes | None = None
    """Member whose identity log has grown."""
    reason: Reason | None = None
    detail: str = ""
    newer: bytes | None = None
    """Our later word of the same slot, for whoever brought an older one."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What heads are read and verified with: the rules' own functions, or the same functions with a memory.

    Whoever runs thousands of nodes in one process (the simulator) need not verify one head a thousand times.
    """

    read_head: Callable[[bytes], Head] = heads.read
    verify_head: Callable[[Head, bytes, Identity], None] = heads.verify


class Ingest:
    """Judges and keeps. One a node; used by the writer thread only."""

    def __init__(self, member_id: bytes, now_ms: Callable[[], int], tools: Tools | None = None) -> None:
        self._me = member_id
        self._tools = Tools() if tools is None else tools
        self._now_ms = now_ms
        self._parked: OrderedDict[tuple[ItemKind, bytes], bytes] = OrderedDict()
        self.membership: Membership | None = None
        self._looked_ms = 0
        self._looked_with: Membership | None = None
        self._explained = False
        """Whether a proposal or an invitation has come that parked items may have waited for."""

    def take(self, tables: Tables, kind: ItemKind, data: bytes) -> Outcome:
        """Judge one item and keep it if it is right."""
        try:
            return self._judge(tables, kind, data)
        except Refused as refused:
            if refused.reason in PARKING:
                self._park(tables, kind, data, refused.reason)
                return Outcome(Fate.PARKED, reason=refused.reason, detail=refused.detail)
            if refused.reason in (Reason.STALE, Reason.SUPERSEDED):
                return Outcome(
                    Fate.KNOWN, reason=refused.reason, detail=refused.detail, newer=self._newer(tables, kind, data)
                )
            tables.meta.count_refusal(refused.reason.value, refused.detail, self._now_ms())
            return Outcome(Fate.REFUSED, reason=refused.reason, detail=refused.detail)

    def take_parked(self, tables: Tables) -> list[Outcome]:
        """Judge again what was parked, if pages, identities, proposals or time have come since the last look.

        Not at every look: whoever fills the parking would make every other item as dear as all that is parked.
        """
        now_ms = self._now_ms()
        rested = abs(now_ms - self._looked_ms) >= PARKED_LOOK_MS
        if not self._parked or not (rested or self._explained or self.membership is not self._looked_with):
            return []
        self._looked_ms, self._looked_with, self._explained = now_ms, self.membership, False
        waiting = list(self._parked.items())
        self._parked.clear()
        return [self.take(tables, kind, data) for (kind, _), data in waiting]

    def remembered(self) -> tuple[Membership | None, OrderedDict[tuple[ItemKind, bytes], bytes]]:
        """Return a copy of what is held in memory, for `put_back` when a transaction fails."""
        return self.membership, self._parked.copy()

    def put_back(self, before: tuple[Membership | None, OrderedDict[tuple[ItemKind, bytes], bytes]]) -> None:
        """Forget what a failed transaction has taught us."""
        self.membership, self._parked = before
        self._explained = True  # whatever was judged again in it must be judged once more

    @property
    def parked(self) -> int:
        """How many items wait in memory."""
        return len(self._parked)

    def judge_again(self, tables: Tables, member_id: bytes) -> list[bytes]:
        """Verify again what is stored of a member whose identity has changed; drop what falls.

        Returns the slots of what was dropped. A signed state that falls is no longer served.
        """
        membership = self._need_membership()
        identity = membership.identity_of(member_id)
        dropped = []
        for kind in (ItemKind.HEAD, ItemKind.STATEMENT):
            for item in tables.items.of_kind(kind, member_id):
                try:
                    if identity is None:
                        raise Refused(Reason.UNKNOWN_AUTHOR, "the identity is gone")
                    if kind is ItemKind.HEAD:
                        self._tools.verify_head(self._tools.read_head(item.data), membership.coop_id, identity)
                    else:
                        statements.verify(statements.read(item.data), membership.coop_id, identity)
                except Refused:
                    tables.items.remove(item.item_id)
                    dropped.append(item.item_id)
                    if kind is ItemKind.HEAD:
                        tables.catalogue.drop_head(self._tools.read_head(item.data).stream)
        return dropped

    def keep_identity(self, tables: Tables, identity: Identity) -> None:
        """Keep the statements of an identity that a charter or an official page has brought and shown right."""
        for one in identity.log:
            if not tables.items.has(one.statement_id):
                data = one.signed.to_bytes()
                self._keep(tables, ItemKind.IDENTITY, one.statement_id, one.statement_id, identity.member_id, data)

    # ── one judge a kind ──────────────────────────────────────────────────────────────────────────

    def _judge(self, tables: Tables, kind: ItemKind, data: bytes) -> Outcome:
        match kind:
            case ItemKind.HEAD:
                return self._judge_head(tables, data)
            case ItemKind.STATEMENT:
                return self._judge_statement(tables, data)
            case ItemKind.IDENTITY:
                return self._judge_identity(tables, data)

    def _judge_head(self, tables: Tables, data: bytes) -> Outcome:
        head = self._tools.read_head(data)
        if tables.items.has(head.head_id):
            return Outcome(Fate.KNOWN, head=head)
        membership = self._need_membership()
        identity = membership.identity_of(head.stream.member_id)
        if identity is None:
            raise Refused(Reason.UNKNOWN_AUTHOR, "the author of the head is not known here yet")
        self._tools.verify_head(head, membership.coop_id, identity)
        if not membership.roster.is_member(head.stream.member_id):
            raise Refused(Reason.NOT_MEMBER, "the author of the head is not on the roster")
        heads.check_not_future(head, self._now_ms())
        slot = head_slot(head)
        current_data = tables.items.in_slot(ItemKind.HEAD, slot)
        current = None if current_data is None else self._tools.read_head(current_data)
        try:
            heads.check_replaces(head, current)
        except Refused as refused:
            if refused.reason is not Reason.EQUIVOCATION or current is None:
                raise
            self._keep_pair(tables, ItemKind.HEAD, slot, current.signed.to_bytes(), data, head.stream.member_id)
            return Outcome(
                Fate.ACCEPTED,
                Item(ItemKind.HEAD, evidence_slot(slot), data, head.stream.member_id),
                head=head,
                reason=refused.reason,
            )
        self._keep(tables, ItemKind.HEAD, slot, head.head_id, head.stream.member_id, data)
        self._forget_pair(tables, ItemKind.HEAD, slot)
        return Outcome(Fate.ACCEPTED, Item(ItemKind.HEAD, slot, data, head.stream.member_id), head=head)

    def _judge_statement(self, tables: Tables, data: bytes) -> Outcome:
        statement = statements.read(data)
        if tables.items.has(statement.statement_id):
            return Outcome(Fate.KNOWN, statement=statement)
        membership = self._need_membership()
        if statement.kind == statements.APPLICATION:
            self._check_application(tables, statement, membership)
        else:
            identity = membership.identity_of(statement.member_id)
            if identity is None:
                raise Refused(Reason.UNKNOWN_AUTHOR, f"the author of the {statement.kind} is not known here yet")
            statements.verify(statement, membership.coop_id, identity)
            if not membership.roster.is_member(statement.member_id):
                raise Refused(Reason.NOT_MEMBER, f"the author of the {statement.kind} is not on the roster")
        topic = self._check_kind(tables, statement, membership)
        current_data = tables.items.in_slot(ItemKind.STATEMENT, statement.slot)
        current = None if current_data is None else statements.read(current_data)
        try:
            statements.check_replaces(statement, current)
        except Refused as refused:
            if refused.reason is not Reason.EQUIVOCATION or current is None:
                raise
            self._keep_pair(
                tables, ItemKind.STATEMENT, statement.slot, current.signed.to_bytes(), data, statement.member_id, topic
            )
            item = Item(ItemKind.STATEMENT, evidence_slot(statement.slot), data, statement.member_id)
            return Outcome(Fate.ACCEPTED, item, statement=statement, reason=refused.reason)
        self._keep(tables, ItemKind.STATEMENT, statement.slot, statement.statement_id, statement.member_id, data, topic)
        self._forget_pair(tables, ItemKind.STATEMENT, statement.slot)
        self._explained = self._explained or statement.kind in (statements.PROPOSAL, statements.INVITATION)
        return Outcome(
            Fate.ACCEPTED, Item(ItemKind.STATEMENT, statement.slot, data, statement.member_id), statement=statement
        )

    def _check_kind(self, tables: Tables, statement: Statement, membership: Membership) -> bytes:
        """Check what one kind demands; return the topic that it is kept under."""
        match statement.kind:
            case statements.PROPOSAL:
                polls.check_proposal(statement)
                if statement.fields["page"] not in membership.rosters:
                    raise Refused(Reason.UNKNOWN_PROPOSAL, "the page that the proposal names is not known here yet")
            case statements.BALLOT:
                proposal = self._proposal(tables, statement.fields["proposal"])
                record = None if proposal is None else membership.rosters.get(proposal.fields["page"])
                polls.check_ballot(statement, proposal, record)
                return bytes(statement.fields["proposal"])
            case statements.PAGE:
                page = minutes.page_of(statement)
                self._check_slot(page.slot, membership)
                roster.check_page(page, membership.roster, membership.identity_of)
            case statements.FINAL:
                self._check_slot(statement.fields["slot"], membership)
                return bytes(statement.fields["page"])
        return statement.kind.encode()

    def _proposal(self, tables: Tables, proposal_id: bytes) -> Statement | None:
        """Return a proposal by id; None where the id is not known, or names something else."""
        found = tables.items.by_id(proposal_id)
        if found is None or found.kind is not ItemKind.STATEMENT:
            return None
        statement = statements.read(found.data)
        return statement if statement.kind == statements.PROPOSAL else None

    def _check_slot(self, slot: int, membership: Membership) -> None:
        if slot <= membership.roster.slot:
            raise Refused(Reason.SUPERSEDED, "this slot of the minute book is official already")
        if slot > membership.roster.slot + 1:
            raise Refused(Reason.UNKNOWN_PROPOSAL, "the pages before this one are not known here yet")

    def _check_application(self, tables: Tables, statement: Statement, membership: Membership) -> None:
        if membership.roster.is_member(statement.member_id):
            raise Refused(Reason.SUPERSEDED, "the applicant is a member already")
        found = tables.items.by_id(statement.fields["invitation"])
        if found is None:
            raise Refused(Reason.UNKNOWN_PROPOSAL, "the invitation of this application is not known here yet")
        act = roster.admission(found.data, statement.signed.to_bytes())
        roster.check_admission(act, membership.roster, membership.identity_of)

    def _judge_identity(self, tables: Tables, data: bytes) -> Outcome:
        statement = identities.read(data)
        if tables.items.has(statement.statement_id):
            return Outcome(Fate.KNOWN)
        membership = self._need_membership()
        member_id = self._member_of(tables, statement)
        if member_id is None or membership.identity_of(member_id) is None:
            raise Refused(Reason.UNKNOWN_AUTHOR, "the member of this identity statement is not known here yet")
        if len(tables.items.of_kind(ItemKind.IDENTITY, member_id)) >= MAX_IDENTITY_STATEMENTS:
            raise Refused(Reason.QUOTA, f"an identity has at most {MAX_IDENTITY_STATEMENTS} statements")
        if statement.prev is not None:
            before = tables.items.by_id(statement.prev)
            assert before is not None
            identities.priority(statement, identities.read(before.data))
        self._keep(tables, ItemKind.IDENTITY, statement.statement_id, statement.statement_id, member_id, data)
        self.membership = membership.with_identities(
            {**membership.identities, **memberships.stored_identities(tables, membership)}
        )
        if self.membership.identity_of(member_id) != membership.identity_of(member_id):
            self.judge_again(tables, member_id)
        item = Item(ItemKind.IDENTITY, statement.statement_id, data, member_id)
        return Outcome(Fate.ACCEPTED, item, identity_changed=member_id)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _member_of(self, tables: Tables, statement: IdentityStatement) -> bytes | None:
        if statement.prev is None:
            return statement.member_id
        member_id: bytes | None = tables.items.member_of(statement.prev)
        return member_id

    def _need_membership(self) -> Membership:
        if self.membership is None:
            raise Refused(Reason.UNKNOWN_AUTHOR, "this node belongs to no co-op yet")
        return self.membership

    def _keep(
        self,
        tables: Tables,
        kind: ItemKind,
        slot: bytes,
        item_id: bytes,
        member_id: bytes,
        data: bytes,
        topic: bytes | None = None,
    ) -> None:
        tables.items.put(kind, slot, item_id, member_id, data, self._now_ms(), topic)

    def _keep_pair(
        self,
        tables: Tables,
        kind: ItemKind,
        slot: bytes,
        held: bytes,
        other: bytes,
        member_id: bytes,
        topic: bytes | None = None,
    ) -> None:
        """Keep two contradicting words: the one with the lower id holds, the next is evidence beside it.

        Of three or more the two with the lowest ids stay: every node ends with the same two, and passing
        them on comes to an end.
        """
        beside = tables.items.in_slot(kind, evidence_slot(slot))
        words = sorted({held, other, *([beside] if beside is not None else [])}, key=object_id)
        if other not in words[:2]:
            raise Refused(Reason.STALE, "two contradicting words of this author are kept already")
        tables.items.keep_evidence(slot, (held, other), self._now_ms())
        for word in (held, beside):
            if word is not None:
                tables.items.remove(object_id(word))
        self._keep(tables, kind, slot, object_id(words[0]), member_id, words[0], topic)
        self._keep(tables, kind, evidence_slot(slot), object_id(words[1]), member_id, words[1], topic)

    def _forget_pair(self, tables: Tables, kind: ItemKind, slot: bytes) -> None:
        """A later word has healed the contradiction; the evidence stays in its own table."""
        other = tables.items.in_slot(kind, evidence_slot(slot))
        if other is not None:
            tables.items.remove(object_id(other))

    def _park(self, tables: Tables, kind: ItemKind, data: bytes, reason: Reason) -> None:
        place = object_id(data)
        if kind is ItemKind.HEAD and reason is not Reason.UNKNOWN_AUTHOR:
            # One a stream, the latest: its signature is right. One that nobody has verified must not push
            # out another.
            head = self._tools.read_head(data)
            place = head_slot(head)
            waiting = self._parked.get((kind, place))
            if waiting is not None and self._tools.read_head(waiting).version > head.version:
                return
        self._parked[kind, place] = data
        if len(self._parked) > MAX_PARKED:
            self._parked.popitem(last=False)
        # Memory goes with the process, while our cursors say that we have heard it: see Core._start.
        tables.meta.set_int(PARKED, 1)

    def _newer(self, tables: Tables, kind: ItemKind, data: bytes) -> bytes | None:
        if kind is not ItemKind.HEAD:
            return None
        return tables.items.in_slot(kind, head_slot(self._tools.read_head(data)))


def head_slot(head: Head) -> bytes:
    """Return the name of a stream as a slot: member id and number."""
    return head.stream.member_id + bytes([head.stream.number])


def evidence_slot(slot: bytes) -> bytes:
    """Return the place beside *slot* where the second of two contradicting words is kept."""
    return b"evidence/" + slot


def object_id(data: bytes) -> bytes:
    """Return the id of a signed object."""
    return signing.split(data, len(data)).object_id
