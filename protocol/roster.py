"""Who is a member: a fold over genesis and official pages, in page order, never by time or merge.

Pure. The thing to understand: the state after a page is committed to in the page itself (a trie root), so
two nodes that hold the same page hold the same roster, and one entry can be proved alone.
Specification, section 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from protocol import shape, statements, trie
from protocol.encoding import encode
from protocol.errors import Reason, Refused
from protocol.identity import Identity
from protocol.limits import MAX_AHEAD_MS, MAX_SIGNED_BYTES
from protocol.minutes import Genesis, OfficialPage, Page, fold_identities
from protocol.statements import APPLICATION, INVITATION, IdentityOf, Statement

ADMIT = "admit"
ACTIVE = "active"
_ADMIT: dict[str, shape.Check] = {
    "act": shape.one_of(ADMIT),
    "invitation": shape.blob(65, MAX_SIGNED_BYTES),
    "application": shape.blob(65, MAX_SIGNED_BYTES),
}


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """One line of the roster."""

    member_id: bytes
    status: str
    identity_id: bytes
    """The last identity statement that a page has recorded: it settles forks before it."""
    key: bytes
    epoch: int
    sponsor: bytes | None
    since_slot: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class Roster:
    """The state of the co-op after its latest official page (slot 0 is genesis)."""

    coop_id: bytes
    name: str
    slot: int
    page_id: bytes
    time_ms: int
    teller_epoch: int
    members: Mapping[bytes, MemberEntry]
    policy: Mapping[str, int | str]
    invitation_uses: Mapping[bytes, int] = field(default_factory=dict)
    tellers: tuple[bytes, ...] = field(init=False, compare=False, repr=False)
    """Member ids of the tellers in their order: all active members, until tellers are elected."""

    def __post_init__(self) -> None:
        # Here and not in a property: every final of a page asks for them. `replace` computes them anew.
        tellers = tuple(sorted(one.member_id for one in self.members.values() if one.status == ACTIVE))
        object.__setattr__(self, "tellers", tellers)

    def is_member(self, member_id: bytes) -> bool:
        """Whether *member_id* is an active member."""
        entry = self.members.get(member_id)
        return entry is not None and entry.status == ACTIVE

    def secretary(self, slot: int) -> bytes:
        """Return the member whose turn it is to draft the page of *slot*."""
        return self.tellers[slot % len(self.tellers)]

    def state_hash(self) -> bytes:
        """Root over members, tellers, policy and used invitations. Spec 10.3."""
        rows: list[tuple[bytes, bytes]] = [
            (
                b"member/" + one.member_id,
                encode([one.status, one.key, one.epoch, one.identity_id, one.sponsor, one.since_slot, one.since_ms]),
            )
            for one in self.members.values()
        ]
        rows.append((b"tellers", encode([self.teller_epoch, list(self.tellers)])))
        rows.extend((b"policy/" + name.encode(), encode(value)) for name, value in self.policy.items())
        rows.extend((b"invitation/" + one, encode(uses)) for one, uses in self.invitation_uses.items())
        return trie.subtree_hash(trie.entries(rows), 0)


def from_genesis(genesis: Genesis) -> Roster:
    """Return the roster with which a co-op begins: its founders."""
    members = {
        identity.member_id: MemberEntry(
            identity.member_id,
            ACTIVE,
            identity.log[0].statement_id,
            identity.log[0].key,
            identity.log[0].epoch,
            None,
            0,
            genesis.time_ms,
        )
        for identity in genesis.founders
    }
    return Roster(genesis.coop_id, genesis.name, 0, genesis.coop_id, genesis.time_ms, 0, members, dict(genesis.policy))


def check_page(page: Page, before: Roster, identity_of: IdentityOf) -> Roster:
    """Check a page against the roster before it and return the roster after it. Spec 10.2.

    Refuses: wrong_slot, wrong_parent, wrong_secretary, wrong_time, bad_act, invitation_void, wrong_state,
    and what the signature and the acts' own statements refuse.
    """
    if page.slot != before.slot + 1 or page.teller_epoch != before.teller_epoch:
        raise Refused(Reason.WRONG_SLOT, f"slot {before.slot + 1} comes next, not {page.slot}")
    if page.parent != before.page_id:
        raise Refused(Reason.WRONG_PARENT, "the page does not follow the latest official page")
    if page.secretary != before.secretary(page.slot):
        raise Refused(Reason.WRONG_SECRETARY, "another member is the secretary of this slot")
    if page.time_ms < before.time_ms:
        raise Refused(Reason.WRONG_TIME, "the page is dated before its parent")
    _verify(page.statement, before.coop_id, identity_of)
    after = replace(before, slot=page.slot, page_id=page.page_id, time_ms=page.time_ms)
    after = apply_acts(after, page.acts, identity_of)
    if after.state_hash() != page.state:
        raise Refused(Reason.WRONG_STATE, "the acts of the page do not lead to the state that it states")
    return after


def check_page_time(page: Page, now_ms: int) -> None:
    """Refuse (wrong_time) to sign a page dated more than 5 minutes ahead of our clock. Spec 10.2."""
    if page.time_ms > now_ms + MAX_AHEAD_MS:
        raise Refused(Reason.WRONG_TIME, "the page is dated ahead of this node's clock")


def check_certificate(official: OfficialPage, before: Roster, identity_of: IdentityOf) -> Roster:
    """Check a page and that every member before it has signed it as final; return the roster after it.

    Refuses: not_enough_finals, not_entitled (a final of somebody who is no teller), and what `check_page`
    refuses.
    """
    after = check_page(official.page, before, identity_of)
    signers = set()
    for final in official.finals:
        check_final(final, official.page, before, identity_of)
        signers.add(final.member_id)
    missing = len(before.tellers) - len(signers)
    if missing:
        raise Refused(Reason.NOT_ENOUGH_FINALS, f"{missing} of {len(before.tellers)} tellers have not signed the page")
    return after


def check_final(final: Statement, page: Page, before: Roster, identity_of: IdentityOf) -> None:
    """Check one final for *page*. Refuses: wrong_slot, wrong_parent, not_entitled, bad_signature."""
    if final.fields["slot"] != page.slot or final.fields["page"] != page.page_id:
        raise Refused(Reason.WRONG_SLOT, "the final belongs to another page")
    if final.member_id not in before.tellers:
        raise Refused(Reason.NOT_ENTITLED, "a final counts only from a teller")
    _verify(final, before.coop_id, identity_of)


def admission(invitation: bytes, application: bytes) -> dict[str, Any]:
    """Return the act that admits the author of *application*."""
    return {"act": ADMIT, "invitation": invitation, "application": application}


def check_admission(
    act: dict[str, Any], before: Roster, identity_of: IdentityOf
) -> tuple[Identity, Statement, Statement]:
    """Check an act of admission; return the newcomer's identity, the invitation and the application.

    Refuses: bad_act, invitation_void (expired, used up, of a non-member, or another one), unknown_author
    and identity_frozen (of the applicant), and what the statements inside refuse.
    """
    shape.fields(act, _ADMIT)
    invitation = statements.read_kind(act["invitation"], INVITATION)
    application = statements.read_kind(act["application"], APPLICATION)
    if not before.is_member(invitation.member_id):
        raise Refused(Reason.INVITATION_VOID, "the invitation was not written by a member")
    _verify(invitation, before.coop_id, identity_of)
    if application.fields["invitation"] != invitation.statement_id:
        raise Refused(Reason.INVITATION_VOID, "the application names another invitation")
    if before.time_ms > invitation.fields["until_ms"]:
        raise Refused(Reason.INVITATION_VOID, "the invitation has expired")
    if before.invitation_uses.get(invitation.statement_id, 0) >= invitation.fields["uses"]:
        raise Refused(Reason.INVITATION_VOID, "the invitation has been used up")
    identity = fold_identities(application.fields["log"]).get(application.member_id)
    if identity is None:
        raise Refused(Reason.UNKNOWN_AUTHOR, "the application does not hold the applicant's identity")
    if identity.frozen:
        # No page could ever settle the fork of somebody who has no line on the roster.
        raise Refused(Reason.IDENTITY_FROZEN, "two key changes of the applicant contradict each other")
    statements.verify(application, before.coop_id, identity)
    if application.member_id in before.members:
        raise Refused(Reason.BAD_ACT, "the applicant is on the roster already")
    return identity, invitation, application


def apply_acts(before: Roster, acts: Iterable[dict[str, Any]], identity_of: IdentityOf) -> Roster:
    """Return the roster after *acts*, in their order. *before* has the page's slot and time already.

    Refuses: bad_act, invitation_void, and what the acts' own statements refuse.
    """
    for act in acts:
        before = _apply(act, before, identity_of)
    return before


def _apply(act: dict[str, Any], before: Roster, identity_of: IdentityOf) -> Roster:
    if act.get("act") != ADMIT:
        raise Refused(Reason.BAD_ACT, f"the act {str(act.get('act'))[:40]!a} is not known here")
    identity, invitation, application = check_admission(act, before, identity_of)
    entry = MemberEntry(
        member_id=identity.member_id,
        status=ACTIVE,
        identity_id=identity.current.statement_id,
        key=identity.current.key,
        epoch=identity.current.epoch,
        sponsor=invitation.member_id,
        since_slot=before.slot,
        since_ms=before.time_ms,
    )
    uses = dict(before.invitation_uses)
    uses[invitation.statement_id] = uses.get(invitation.statement_id, 0) + 1
    return replace(before, members={**before.members, application.member_id: entry}, invitation_uses=uses)


def _verify(statement: Statement, coop_id: bytes, identity_of: IdentityOf) -> None:
    identity = identity_of(statement.member_id)
    if identity is None:
        raise Refused(Reason.UNKNOWN_AUTHOR, "the author's identity is not known here")
    statements.verify(statement, coop_id, identity)


def draft(before: Roster, acts: list[dict[str, Any]], time_ms: int, identity_of: IdentityOf) -> dict[str, Any]:
    """Return the fields of the next page with *acts*; the secretary signs them as a statement of kind `page`.

    The page is dated at its parent's time at the earliest. Refuses what the acts refuse.
    """
    time_ms = max(time_ms, before.time_ms)
    after = apply_acts(replace(before, slot=before.slot + 1, time_ms=time_ms), acts, identity_of)
    return {
        "teller_epoch": before.teller_epoch,
        "slot": after.slot,
        "parent": before.page_id,
        "time_ms": time_ms,
        "acts": acts,
        "state": after.state_hash(),
    }
