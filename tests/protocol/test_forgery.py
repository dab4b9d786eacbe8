"""What proves a peer wrong, and what two honest nodes may see differently."""

from __future__ import annotations

import pytest

from protocol import forgery, signing
from protocol.errors import Reason
from protocol.forgery import BYTES_PROVE, IDENTITY_PROVES, Verdict, judge_signature
from protocol.signing import Signed
from tests.protocol.builders import COOP, OTHER_COOP, Scenario, secret

EXCUSED, SUSPECT, PROVED = Verdict.EXCUSED, Verdict.SUSPECT, Verdict.PROVED


def judged(notation: str, signer: str, epoch: int, *, told: bool = False, coop: bytes = COOP) -> Verdict:
    """Judge an object of *epoch* signed with the key of one statement, by a log that holds those of *notation*."""
    scenario = Scenario(notation)
    signed = signing.sign("head", coop, b"body", Scenario.seed(signer))
    return judge_signature(signed, "head", COOP, epoch, scenario.statements.values(), told=told)


@pytest.mark.parametrize("told", [False, True])
def test_a_peer_that_has_not_heard_of_a_change_of_key_is_excused(told: bool) -> None:
    """We know A2; the old key has signed epoch 1, and whoever knows A1 alone finds that right."""
    assert judged("A1 -> A2", "A1", 1, told=told) is EXCUSED


@pytest.mark.parametrize("told", [False, True])
def test_a_peer_that_holds_the_other_branch_of_a_fork_is_excused(told: bool) -> None:
    notation = "A1 -> A2(r1), A1 -> A3(paper)"
    scenario = Scenario(notation)
    assert scenario.shown(scenario.fold()) == "A1 A3", "the branch of A2 has lost"
    assert judged(notation, "A2", 1, told=told) is EXCUSED


def test_a_key_that_only_the_peer_may_know_makes_a_suspect_until_it_has_told_us() -> None:
    assert judged("A1", "A2", 1) is SUSPECT
    assert judged("A1 -> A2", "A2", 1, told=True) is EXCUSED
    assert judged("A1", "A2", 1, told=True) is PROVED


def test_up_to_the_first_epoch_there_is_nothing_to_know() -> None:
    assert judged("A1", "A2", 0) is PROVED
    assert judged("A1 -> A3", "A2", 0) is PROVED
    assert judged("A1 -> A3", "A2", 1) is SUSPECT


def test_another_coop_another_kind_and_no_signature_at_all_are_forged() -> None:
    assert judged("A1", "A1", 0, coop=OTHER_COOP) is PROVED
    log = Scenario("A1").statements.values()
    ballot = signing.sign("ballot", COOP, b"body", Scenario.seed("A1"))
    assert judge_signature(ballot, "head", COOP, 0, log, told=False) is PROVED
    assert judge_signature(Signed(secret("x") * 2, b"body"), "head", COOP, 0, log, told=False) is PROVED


def test_an_author_of_whom_nothing_is_known_proves_nothing() -> None:
    signed = signing.sign("head", COOP, b"body", Scenario.seed("A1"))
    assert judge_signature(signed, "head", COOP, 0, [], told=False) is SUSPECT


def test_nothing_that_depends_on_pages_clocks_or_versions_proves_anything() -> None:
    of_state = {
        *(Reason.UNKNOWN_AUTHOR, Reason.NOT_MEMBER, Reason.IDENTITY_FROZEN, Reason.UNKNOWN_PROPOSAL, Reason.FUTURE),
        *(Reason.STALE, Reason.SUPERSEDED, Reason.EQUIVOCATION, Reason.QUOTA, Reason.NOT_ENTITLED),
        *(Reason.INVITATION_VOID, Reason.WRONG_PARENT, Reason.WRONG_SLOT, Reason.WRONG_SECRETARY),
        *(Reason.WRONG_STATE, Reason.WRONG_TIME, Reason.BAD_ACT, Reason.NOT_ENOUGH_FINALS),
    }
    of_version = {
        *(Reason.UNKNOWN_KIND, Reason.WRONG_VERSION, Reason.WRONG_SHAPE, Reason.OUT_OF_RANGE, Reason.WRONG_CHOICE),
        *(Reason.TOO_LARGE, Reason.TOO_DEEP),
    }
    assert not IDENTITY_PROVES & (of_state | of_version)
    assert BYTES_PROVE < IDENTITY_PROVES
    assert Reason.BAD_SIGNATURE not in forgery.BYTES_PROVE, "that takes an identity log"
