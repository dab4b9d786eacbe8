"""Who is a member."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import minutes, roster
from protocol.errors import Reason
from protocol.limits import MAX_AHEAD_MS, MAX_STATEMENT_BYTES
from tests.protocol.builders import DAY_MS, GENESIS_MS, QUICK, Coop, Scenario, coop, member, refused, secret

NEWCOMER = member(50)


def test_a_coop_begins_with_its_founders() -> None:
    one = coop(3)
    assert set(one.roster.members) == {who.member_id for who in one.members}
    assert one.roster.slot == 0
    assert one.roster.page_id == one.coop_id
    assert one.roster.tellers == tuple(sorted(one.roster.members))
    assert all(entry.sponsor is None for entry in one.roster.members.values())
    assert not one.roster.is_member(NEWCOMER.member_id)


def test_the_secretary_changes_with_every_slot() -> None:
    one = coop(3)
    assert {one.roster.secretary(slot) for slot in (1, 2, 3)} == set(one.roster.tellers)
    assert one.roster.secretary(4) == one.roster.secretary(1)


def test_a_page_that_all_have_signed_admits_a_newcomer() -> None:
    one = coop(3)
    invitation = one.invitation()
    one.admit(NEWCOMER, invitation)
    entry = one.roster.members[NEWCOMER.member_id]
    assert one.roster.is_member(NEWCOMER.member_id)
    assert (entry.sponsor, entry.since_slot, entry.since_ms) == (invitation.member_id, 1, GENESIS_MS + DAY_MS)
    assert entry.key == NEWCOMER.identity.current.key
    assert one.roster.invitation_uses == {invitation.statement_id: 1}


def test_members_may_be_admitted_page_after_page_by_each_others_invitations() -> None:
    one = coop(1)
    for number in range(60, 64):
        one.admit(member(number), one.invitation(number, by=one.members[-1]))
    assert (one.roster.slot, len(one.roster.tellers)) == (4, 5)


def test_somebody_who_is_not_active_is_no_member_and_no_teller() -> None:
    one = coop(3)
    gone = one.members[0].member_id
    entry = replace(one.roster.members[gone], status="gone")
    after = replace(one.roster, members={**one.roster.members, gone: entry})
    assert not after.is_member(gone)
    assert gone not in after.tellers
    assert (after.tellers, len(one.roster.tellers)) == (tuple(sorted(set(one.roster.tellers) - {gone})), 3)
    assert after.state_hash() != one.roster.state_hash()


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────────

PAGE_FAULTS: list[tuple[str, Callable[[Coop], minutes.Page], Reason]] = [
    ("a slot too late", lambda one: one.page(slot=2), Reason.WRONG_SLOT),
    ("another epoch of tellers", lambda one: one.page(teller_epoch=1), Reason.WRONG_SLOT),
    ("another parent", lambda one: one.page(parent=secret("parent")), Reason.WRONG_PARENT),
    (
        "a teller whose turn it is not",
        lambda one: one.page(by=next(who for who in one.members if who != one.secretary)),
        Reason.WRONG_SECRETARY,
    ),
    ("a stranger", lambda one: one.page(by=NEWCOMER), Reason.WRONG_SECRETARY),
    ("a time before its parent", lambda one: one.page(time_ms=GENESIS_MS - 1), Reason.WRONG_TIME),
    ("a state that does not follow", lambda one: one.page(state=secret("state")), Reason.WRONG_STATE),
    ("acts that its state does not show", lambda one: one.page(acts=[one.admission(NEWCOMER)]), Reason.WRONG_STATE),
    ("an act unknown here", lambda one: one.page(acts=[{"act": "expel"}]), Reason.BAD_ACT),
    ("an act without a name", lambda one: one.page(acts=[{}]), Reason.BAD_ACT),
    ("an act without its parts", lambda one: one.page(acts=[{"act": "admit"}]), Reason.WRONG_SHAPE),
]


@pytest.mark.parametrize(("make", "reason"), [row[1:] for row in PAGE_FAULTS], ids=[row[0] for row in PAGE_FAULTS])
def test_a_page_with_a_fault_is_refused(make: Callable[[Coop], minutes.Page], reason: Reason) -> None:
    one = coop(3)
    with refused(reason):
        roster.check_page(make(one), one.roster, one.identity_of)
    # The same page without the fault is good.
    assert roster.check_page(one.page(), one.roster, one.identity_of).slot == 1


def test_a_page_of_the_time_of_its_parent_is_good_and_an_own_draft_is_never_earlier() -> None:
    one = coop(1)
    page = one.page(one.draft(time_ms=0))
    assert page.time_ms == GENESIS_MS
    assert roster.check_page(page, one.roster, one.identity_of).time_ms == GENESIS_MS


def test_a_page_with_the_secretarys_name_and_anothers_signature_is_refused() -> None:
    one = coop(2)
    other = next(who for who in one.members if who != one.secretary)
    forged = replace(one.secretary, seed=other.seed)
    with refused(Reason.BAD_SIGNATURE):
        roster.check_page(one.page(by=forged), one.roster, one.identity_of)


def test_a_page_of_a_secretary_whose_identity_is_unknown_here_is_refused() -> None:
    one = coop(2)
    page = one.page()
    del one.known[page.secretary]
    with refused(Reason.UNKNOWN_AUTHOR):
        roster.check_page(page, one.roster, one.identity_of)


def test_a_teller_signs_pages_up_to_five_minutes_ahead() -> None:
    page = coop(1).page(time_ms=GENESIS_MS)
    roster.check_page_time(page, GENESIS_MS - MAX_AHEAD_MS)
    with refused(Reason.WRONG_TIME):
        roster.check_page_time(page, GENESIS_MS - MAX_AHEAD_MS - 1)


# ── certificates ──────────────────────────────────────────────────────────────────────────────────────


def test_a_page_is_official_with_every_final_and_not_with_one_less() -> None:
    one = coop(3)
    page = one.page()
    assert roster.check_certificate(one.official(page), one.roster, one.identity_of).slot == 1
    for missing in one.members:
        rest = [who for who in one.members if who != missing]
        with refused(Reason.NOT_ENOUGH_FINALS):
            roster.check_certificate(one.official(page, rest), one.roster, one.identity_of)


def test_a_final_counts_once() -> None:
    one = coop(3)
    page = one.page()
    twice = [one.members[0], one.members[0], one.members[1]]
    with refused(Reason.NOT_ENOUGH_FINALS):
        roster.check_certificate(one.official(page, twice), one.roster, one.identity_of)
    assert roster.check_certificate(one.official(page, [*twice, one.members[2]]), one.roster, one.identity_of)


def test_a_stranger_or_the_newcomer_of_the_page_itself_cannot_sign_it() -> None:
    one = coop(2)
    page = one.page(one.draft([one.admission(NEWCOMER)]))
    one.known[NEWCOMER.member_id] = NEWCOMER.identity
    with refused(Reason.NOT_ENTITLED):
        roster.check_certificate(one.official(page, [*one.members, NEWCOMER]), one.roster, one.identity_of)
    assert roster.check_certificate(one.official(page), one.roster, one.identity_of).is_member(NEWCOMER.member_id)


@pytest.mark.parametrize("changes", [{"slot": 2}, {"page": secret("other page")}])
def test_a_final_of_another_page_does_not_count(changes: dict[str, Any]) -> None:
    one = coop(1)
    page = one.page()
    wrong = minutes.OfficialPage(page, (one.final(page, one.members[0], **changes),))
    with refused(Reason.WRONG_SLOT):
        roster.check_certificate(wrong, one.roster, one.identity_of)


def test_a_forged_final_does_not_count() -> None:
    one = coop(2)
    page = one.page()
    forged = replace(one.members[1], seed=one.members[0].seed)
    with refused(Reason.BAD_SIGNATURE):
        roster.check_certificate(one.official(page, [one.members[0], forged]), one.roster, one.identity_of)


def test_a_page_that_is_not_valid_is_not_made_so_by_finals() -> None:
    one = coop(2)
    with refused(Reason.WRONG_STATE):
        roster.check_certificate(one.official(one.page(state=secret("state"))), one.roster, one.identity_of)


# ── admissions ────────────────────────────────────────────────────────────────────────────────────────

AdmissionOf = Callable[[Coop], dict[str, Any]]


def forged_invitation(one: Coop) -> dict[str, Any]:
    return one.admission(NEWCOMER, one.invitation(by=replace(one.members[0], seed=NEWCOMER.seed)))


def forged_application(one: Coop) -> dict[str, Any]:
    return one.admission(replace(NEWCOMER, seed=secret("thief")))


def without_identity(one: Coop) -> dict[str, Any]:
    invitation = one.invitation()
    application = one.application(NEWCOMER, invitation, log=member(51).log)
    return roster.admission(invitation.signed.to_bytes(), application.signed.to_bytes())


def for_another_invitation(one: Coop) -> dict[str, Any]:
    application = one.application(NEWCOMER, one.invitation(2))
    return roster.admission(one.invitation(1).signed.to_bytes(), application.signed.to_bytes())


FORKED = Scenario("A1 -> A2, A1 -> A3")


def forked(one: Coop, key: str = "A1", epoch: int = 0) -> dict[str, Any]:
    """An application whose log has a fork that nothing settles, signed before it or past it."""
    log = [each.signed.to_bytes() for each in FORKED.statements.values()]
    who = replace(NEWCOMER, seed=FORKED.seed(key), identity=FORKED.fold())
    application = one.application(who, one.invitation(), epoch=epoch, log=log)
    return roster.admission(one.invitation().signed.to_bytes(), application.signed.to_bytes())


def exchanged(one: Coop) -> dict[str, Any]:
    act = one.admission(NEWCOMER)
    return roster.admission(act["application"], act["invitation"])


ADMISSION_FAULTS: list[tuple[str, AdmissionOf, Reason]] = [
    ("expired", lambda one: one.admission(NEWCOMER, one.invitation(days=0)), Reason.INVITATION_VOID),
    ("of a stranger", lambda one: one.admission(NEWCOMER, one.invitation(by=member(51))), Reason.INVITATION_VOID),
    (
        "written by the newcomer",
        lambda one: one.admission(NEWCOMER, one.invitation(by=NEWCOMER)),
        Reason.INVITATION_VOID,
    ),
    ("another one than the application names", for_another_invitation, Reason.INVITATION_VOID),
    ("forged", forged_invitation, Reason.BAD_SIGNATURE),
    ("application forged", forged_application, Reason.BAD_SIGNATURE),
    ("application without the identity", without_identity, Reason.UNKNOWN_AUTHOR),
    ("application with a forked log", forked, Reason.IDENTITY_FROZEN),
    ("application signed past the fork", lambda one: forked(one, "A2", 1), Reason.IDENTITY_FROZEN),
    ("application of a member", lambda one: one.admission(one.members[1]), Reason.BAD_ACT),
    ("parts exchanged", exchanged, Reason.UNKNOWN_KIND),
    ("with a field too many", lambda one: {**one.admission(NEWCOMER), "more": 1}, Reason.WRONG_SHAPE),
]


@pytest.mark.parametrize(
    ("make", "reason"), [row[1:] for row in ADMISSION_FAULTS], ids=[row[0] for row in ADMISSION_FAULTS]
)
def test_an_invitation_that_is_void_admits_nobody(make: AdmissionOf, reason: Reason) -> None:
    one = coop(2)
    with refused(reason):
        one.draft([make(one)])
    with refused(reason):
        roster.check_page(one.page(acts=[make(one)]), one.roster, one.identity_of)
    one.admit(NEWCOMER)
    assert one.roster.is_member(NEWCOMER.member_id)


def test_an_invitation_holds_until_its_time_and_not_after() -> None:
    one = coop(1)
    act = one.admission(NEWCOMER, one.invitation(days=3))
    assert one.draft([act], GENESIS_MS + 3 * DAY_MS)["acts"] == [act]
    with refused(Reason.INVITATION_VOID):
        one.draft([act], GENESIS_MS + 3 * DAY_MS + 1)


def test_an_invitation_is_used_up_on_one_page_or_over_several() -> None:
    one = coop(1)
    twice = one.invitation(uses=2)
    acts = [one.admission(member(number), twice) for number in (60, 61, 62)]
    with refused(Reason.INVITATION_VOID):
        one.draft(acts)
    assert len(one.draft(acts[:2])["acts"]) == 2
    one.admit(member(60), twice)
    one.admit(member(61), twice)
    with refused(Reason.INVITATION_VOID):
        one.draft([one.admission(member(62), twice)])
    assert one.roster.invitation_uses == {twice.statement_id: 2}


def test_nobody_is_admitted_twice_on_one_page() -> None:
    one = coop(1)
    act = one.admission(NEWCOMER, one.invitation(uses=2))
    with refused(Reason.BAD_ACT):
        one.draft([act, act])


def test_an_admission_that_fits_no_page_can_be_drafted_and_never_written() -> None:
    one = coop(1)
    invitation = one.invitation()
    # Statements that connect to nothing wait: they fill the application and change nothing.
    chain = Scenario(" -> ".join(f"B{number}" for number in range(44))).statements.values()
    filling = [each.signed.to_bytes() for each in chain]

    def application(number: int) -> bytes:
        return one.application(NEWCOMER, invitation, log=[*NEWCOMER.log, *filling[:number]]).signed.to_bytes()

    def draft(number: int) -> dict[str, Any]:
        return one.draft([roster.admission(invitation.signed.to_bytes(), application(number))])

    room = MAX_STATEMENT_BYTES - 300 - len(invitation.signed.to_bytes())
    most = max(number for number in range(44) if len(application(number)) <= room)
    assert one.page(draft(most)).slot == 1
    too_much = draft(len(filling))
    with refused(Reason.TOO_LARGE):
        one.page(too_much)


def test_an_invitation_of_another_coop_is_void() -> None:
    one, other = coop(1), coop(2)
    foreign = one.application(NEWCOMER, other.invitation(by=one.members[0]))
    act = roster.admission(other.invitation(by=one.members[0]).signed.to_bytes(), foreign.signed.to_bytes())
    with refused(Reason.BAD_SIGNATURE):
        one.draft([act])


def test_a_newcomer_enters_with_its_latest_key() -> None:
    one = coop(1)
    scenario = Scenario("A1 -> A2")
    identity = scenario.fold()
    who = replace(NEWCOMER, seed=scenario.seed("A2"), identity=identity)
    invitation = one.invitation()
    application = who.says(
        "application",
        coop=one.coop_id,
        epoch=1,
        invitation=invitation.statement_id,
        name="Newcomer",
        log=who.log,
    )
    act = roster.admission(invitation.signed.to_bytes(), application.signed.to_bytes())
    after = roster.check_page(one.page(one.draft([act])), one.roster, one.identity_of)
    entry = after.members[identity.member_id]
    assert (entry.epoch, entry.key) == (1, identity.current.key)
    assert entry.identity_id == identity.current.statement_id


# ── the state hash ────────────────────────────────────────────────────────────────────────────────────


def grown() -> Coop:
    one = coop(3)
    one.admit(NEWCOMER)
    return one


@QUICK
@given(st.randoms(use_true_random=False))
def test_the_state_hash_depends_on_the_state_and_not_on_the_order_of_anything(chance: random.Random) -> None:
    state = grown().roster

    def mixed(table: Any) -> dict[Any, Any]:
        rows = list(table.items())
        chance.shuffle(rows)
        return dict(rows)

    again = replace(
        state,
        members=mixed(state.members),
        policy=mixed(state.policy),
        invitation_uses=mixed(state.invitation_uses),
    )
    assert again.state_hash() == state.state_hash()


def test_the_state_hash_is_the_same_for_founders_and_identities_in_any_order() -> None:
    assert grown().roster.state_hash() == grown().roster.state_hash()
    one = coop(3)
    genesis = minutes.read_genesis(one.bundle, one.coop_id)
    backwards = replace(genesis, founders=genesis.founders[::-1])
    assert roster.from_genesis(backwards).state_hash() == one.roster.state_hash()


def test_every_part_of_the_state_is_in_its_hash() -> None:
    state = grown().roster
    first = min(state.members)
    entry = state.members[first]
    entries = [
        replace(entry, status="gone"),
        replace(entry, key=secret("key")),
        replace(entry, epoch=1),
        replace(entry, identity_id=secret("identity")),
        replace(entry, sponsor=bytes(20)),
        replace(entry, since_slot=9),
        replace(entry, since_ms=9),
    ]
    others = [
        *[replace(state, members={**state.members, first: changed}) for changed in entries],
        replace(state, members={who: each for who, each in state.members.items() if who != first}),
        replace(state, teller_epoch=1),
        replace(state, policy={**state.policy, "fee_bp": 101}),
        replace(state, policy={}),
        replace(state, invitation_uses={}),
    ]
    hashes = {state.state_hash(), *(each.state_hash() for each in others)}
    assert len(hashes) == 1 + len(others)


ROOT = Path(__file__).resolve().parents[2]
STATE_HASH_SCRIPT = """
from tests.protocol.test_roster import grown
print(grown().roster.state_hash().hex(), grown().roster.page_id.hex())
"""


def test_the_state_hash_does_not_depend_on_pythons_own_hashes() -> None:
    printed = []
    for hash_seed in ("0", "12345"):
        run = subprocess.run(
            [sys.executable, "-c", STATE_HASH_SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append(run.stdout.split())
    state = grown().roster
    assert printed == [[state.state_hash().hex(), state.page_id.hex()]] * 2
