"""Keeping the minute book: drafting pages when it is our turn, signing `final`, making pages official.

Never decides what a page may say: `protocol.roster` does. Runs in the writer's transaction; what it signs
is durable before the caller sends it. One final a slot, ever: it is kept in the store, and a node that was
restored signs nothing until it knows what it had said (the publisher's phase).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from coopnode.ingest import Ingest, evidence_slot, object_id
from coopnode.membership import Membership
from coopnode.publisher import Phase, Publisher
from coopnode.store import Tables
from coopnode.world import World
from protocol import minutes, roster, statements
from protocol.errors import Reason, Refused
from protocol.items import Item, ItemKind
from protocol.limits import MAX_ACTS, MAX_STATEMENT_BYTES
from protocol.minutes import OfficialPage, Page
from protocol.statements import Statement


@dataclass(slots=True)
class Minutes:
    """What came of one look at the book."""

    say: list[Item] = field(default_factory=list)
    """Own statements to broadcast."""
    pages: int = 0
    """How many pages became official."""


class Clerk:
    """Acts for this member in the minute book."""

    def __init__(self, ingest: Ingest, publisher: Publisher, world: World) -> None:
        self._ingest = ingest
        self._publisher = publisher
        self._world = world

    def look(self, tables: Tables) -> Minutes:
        """Do whatever can be done for the book now: draft, sign, make official. Call after any news."""
        done = Minutes()
        while self._step(tables, done):
            pass
        return done

    def adopt(self, tables: Tables, data: bytes) -> bool:
        """Take an official page with its certificate from elsewhere; whether it was the next one.

        Refuses what is not right; a page that we have already is passed over.
        """
        membership = self._membership()
        official = minutes.read_official(data)
        if official.page.slot <= membership.roster.slot:
            return False
        self._make_official(tables, official, data)
        return True

    def say(self, tables: Tables, kind: str, fields: dict[str, Any]) -> Item:
        """Sign a statement of our own, keep it, and return it for broadcasting."""
        identity = self._publisher.keys.identity
        statement = statements.write(
            kind,
            member_id=identity.member_id,
            epoch=self._publisher.epoch(tables),
            revision=self._next_revision(tables),
            coop_id=self._membership().coop_id,
            seed=self._publisher.keys.signing_seed,
            fields=fields,
        )
        outcome = self._ingest.take(tables, ItemKind.STATEMENT, statement.signed.to_bytes())
        if outcome.item is None:
            raise Refused(outcome.reason or Reason.SUPERSEDED, outcome.detail)
        return outcome.item

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _step(self, tables: Tables, done: Minutes) -> bool:
        """Take one step; whether there may be another."""
        membership = self._ingest.membership
        me = self._publisher.stream.member_id
        if membership is None or not membership.roster.is_member(me):
            return False
        page = self._pending_page(tables, membership)
        if page is None:
            if membership.roster.secretary(membership.roster.slot + 1) != me or not self._may_sign():
                return False
            acts = self._pending_acts(tables, membership)
            if not acts:
                return False
            fields = roster.draft(membership.roster, acts, self._world.now_ms(), membership.identity_of)
            done.say.append(self.say(tables, statements.PAGE, fields))
            return True
        finals = self._finals(tables, membership, page)
        if me not in finals:
            if not self._may_sign() or self._has_signed(tables, me, page.slot):
                return False
            try:
                roster.check_page_time(page, self._world.now_ms())
            except Refused:
                return False
            tables.meta.set_int("signed_slot", page.slot)
            done.say.append(self.say(tables, statements.FINAL, {"slot": page.slot, "page": page.page_id}))
            return True
        if len(finals) < len(membership.roster.tellers):
            return False
        data = minutes.write_official(page, finals.values())
        self._make_official(tables, minutes.read_official(data), data)
        done.pages += 1
        return True

    def _may_sign(self) -> bool:
        return self._publisher.phase is Phase.READY

    def _has_signed(self, tables: Tables, me: bytes, slot: int) -> bool:
        # Peers may know of a final that a restored store does not: it has come back as an item of our own.
        if tables.meta.get_int("signed_slot") >= slot:
            return True
        own = [statements.read(item.data) for item in tables.items.of_kind(ItemKind.STATEMENT, me)]
        return any(one.kind == statements.FINAL and one.fields["slot"] == slot for one in own)

    def _pending_page(self, tables: Tables, membership: Membership) -> Page | None:
        """Return the draft of the next slot, if it is right by what we know now."""
        for item in tables.items.on_topic(statements.PAGE.encode()):
            page = minutes.page_of(statements.read(item.data))
            try:
                roster.check_page(page, membership.roster, membership.identity_of)
            except Refused:
                continue
            return page
        return None

    def _finals(self, tables: Tables, membership: Membership, page: Page) -> dict[bytes, Statement]:
        """Return the valid finals for *page* by member."""
        found = {}
        for item in tables.items.on_topic(page.page_id):
            final = statements.read(item.data)
            try:
                roster.check_final(final, page, membership.roster, membership.identity_of)
            except Refused:
                continue
            found[final.member_id] = final
        return found

    def _pending_acts(self, tables: Tables, membership: Membership) -> list[dict[str, Any]]:
        """Return the admissions that can be written on the next page, in order of arrival."""
        acts: list[dict[str, Any]] = []
        size = 0
        now = max(self._world.now_ms(), membership.roster.time_ms)
        for item in tables.items.on_topic(statements.APPLICATION.encode()):
            application = statements.read(item.data)
            invitation = tables.items.by_id(application.fields["invitation"])
            if invitation is None:
                continue
            act = roster.admission(invitation.data, item.data)
            act_size = len(invitation.data) + len(item.data) + 64
            if len(acts) == MAX_ACTS or size + act_size > MAX_STATEMENT_BYTES - 1024:
                continue  # for the next page; one that is too large for any page holds up nobody
            try:
                roster.draft(membership.roster, [*acts, act], now, membership.identity_of)
            except Refused:
                continue
            acts.append(act)
            size += act_size
        return acts

    def _make_official(self, tables: Tables, official: OfficialPage, data: bytes) -> None:
        before = self._membership()
        after = before.after_page(official)
        tables.book.append(official.page.slot, official.page.page_id, data)
        for newcomer in before.newcomers(official):
            self._ingest.keep_identity(tables, newcomer)
        self._ingest.membership = after
        self._forget_done(tables, official, after)

    def _forget_done(self, tables: Tables, official: OfficialPage, membership: Membership) -> None:
        """Drop what a page has settled: it is fetched by page from now on, not by gossip.

        All of it, also what whoever comes later would refuse: else our frontiers would never be equal.
        """
        for item in tables.items.on_topic(statements.PAGE.encode()):
            if minutes.page_of(statements.read(item.data)).slot <= official.page.slot:
                tables.items.remove(item.item_id)
        for final in official.finals:  # by slot: they may be known here without the draft, or be of a rival one
            for slot in (final.slot, evidence_slot(final.slot)):
                held = tables.items.in_slot(ItemKind.STATEMENT, slot)
                if held is not None:
                    tables.items.remove(object_id(held))
        for item in tables.items.on_topic(statements.APPLICATION.encode()):
            application = statements.read(item.data)
            invitation = tables.items.by_id(application.fields["invitation"])
            try:
                if invitation is not None:
                    act = roster.admission(invitation.data, item.data)
                    roster.check_admission(act, membership.roster, membership.identity_of)
            except Refused:
                tables.items.remove(item.item_id)

    def _membership(self) -> Membership:
        assert self._ingest.membership is not None
        return self._ingest.membership

    def _next_revision(self, tables: Tables) -> int:
        """Return a revision above all that this node has used: a clock that never goes back."""
        revision = max(self._world.now_us(), tables.meta.get_int("last_revision") + 1)
        tables.meta.set_int("last_revision", revision)
        return revision
