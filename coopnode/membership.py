"""The co-op as this node knows it: charter, roster after each official page, identities of all members.

A `Membership` never changes: a new page or identity statement makes a new one. So any thread may look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from coopnode.store import Tables
from protocol import identity as identities
from protocol import minutes, roster
from protocol.identity import Identity, IdentityStatement
from protocol.items import ItemKind
from protocol.minutes import Genesis, OfficialPage
from protocol.roster import Roster


@dataclass(frozen=True, slots=True)
class Membership:
    """Everything that judging an object needs besides the object."""

    genesis: Genesis
    roster: Roster
    rosters: Mapping[bytes, Roster]
    """Page id -> the roster after that page; the co-op id stands for genesis."""
    identities: Mapping[bytes, Identity]

    @property
    def coop_id(self) -> bytes:
        """The co-op id."""
        return self.genesis.coop_id

    def identity_of(self, member_id: bytes) -> Identity | None:
        """Return the identity of a member that we know."""
        return self.identities.get(member_id)

    def after_page(self, official: OfficialPage) -> Membership:
        """Check the next official page and return the membership after it. Refuses what the spec says in 10."""
        after = roster.check_certificate(official, self.roster, self.identity_of)
        known = dict(self.identities)
        for newcomer in self.newcomers(official):
            known.setdefault(newcomer.member_id, newcomer)
        return replace(self, roster=after, rosters={**self.rosters, after.page_id: after}, identities=known)

    def newcomers(self, official: OfficialPage) -> list[Identity]:
        """Return the identities that a page's admissions bring along."""
        found = []
        for act in official.page.acts:
            if act.get("act") == roster.ADMIT:
                identity, _, _ = roster.check_admission(act, self.roster, self.identity_of)
                found.append(identity)
        return found

    def with_identities(self, known: Mapping[bytes, Identity]) -> Membership:
        """Return the same membership with other identities."""
        return replace(self, identities=known)


def begin(genesis: Genesis) -> Membership:
    """Return the membership of a co-op that has only its charter."""
    first = roster.from_genesis(genesis)
    return Membership(genesis, first, {genesis.coop_id: first}, {one.member_id: one for one in genesis.founders})


def load(tables: Tables) -> Membership | None:
    """Read the membership from the store; None in a node without a co-op. Everything is checked again."""
    bundle = tables.book.genesis()
    if bundle is None:
        return None
    coop_id = tables.meta.get("coop_id")
    assert coop_id is not None
    membership = begin(minutes.read_genesis(bundle, coop_id))
    membership = membership.with_identities({**membership.identities, **stored_identities(tables, membership)})
    for data in tables.book.after(0, 1_000_000):
        membership = membership.after_page(minutes.read_official(data))
        membership = membership.with_identities({**membership.identities, **stored_identities(tables, membership)})
    return membership


def stored_identities(tables: Tables, membership: Membership) -> dict[bytes, Identity]:
    """Fold the stored identity statements of all members that the roster names or the charter founds."""
    logs: dict[bytes, list[IdentityStatement]] = {}
    member_of: dict[bytes, bytes] = {}
    statements = [identities.read(item.data) for item in tables.items.of_kind(ItemKind.IDENTITY)]
    for statement in sorted(statements, key=lambda one: one.seq):
        member_id = statement.member_id if statement.prev is None else member_of.get(statement.prev)
        if member_id is not None:
            member_of[statement.statement_id] = member_id
            logs.setdefault(member_id, []).append(statement)
    return {
        member_id: identities.fold(log, member_id, settled_id(membership.roster, member_id))
        for member_id, log in logs.items()
        if member_id in membership.identities or membership.roster.is_member(member_id)
    }


def settled_id(of: Roster, member_id: bytes) -> bytes | None:
    """Return the identity statement that an official page has recorded for a member."""
    entry = of.members.get(member_id)
    return None if entry is None else entry.identity_id
