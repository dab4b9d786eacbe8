"""Proposals, ballots and the count."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import polls
from protocol.errors import Reason
from protocol.polls import Tally
from protocol.statements import Statement
from tests.protocol.builders import QUICK, Member, coop, member, refused, secret

COOP_OF_7 = coop(7)
VOTERS = COOP_OF_7.members
ROSTER = COOP_OF_7.roster
STRANGER = member(99)


def proposal(quorum_bp: int = 0, threshold_bp: int = 5000, **changes: Any) -> Statement:
    own: dict[str, Any] = {
        "title": "A new scale",
        "text": "",
        "method": "yes_no",
        "options": [],
        "page": ROSTER.page_id,
        "opens_ms": 1,
        "closes_ms": 2,
        "quorum_bp": quorum_bp,
        "threshold_bp": threshold_bp,
        **changes,
    }
    return VOTERS[0].says("proposal", coop=COOP_OF_7.coop_id, **own)


PROPOSAL = proposal()


def ballot(
    by: Member, choice: str, on: Statement = PROPOSAL, revision: int = 1, epoch: int = 0, **own: Any
) -> Statement:
    own = {"proposal": on.statement_id, "choice": choice, **own}
    return by.says("ballot", coop=COOP_OF_7.coop_id, revision=revision, epoch=epoch, **own)


WORDS = {"y": "yes", "n": "no", "a": "abstain"}


def count(votes: str, quorum_bp: int = 0, threshold_bp: int = 5000) -> Tally:
    """Count *votes*, a letter a voter in order: y, n, a, or - for none."""
    on = proposal(quorum_bp, threshold_bp)
    cast = [ballot(who, WORDS[vote], on) for who, vote in zip(VOTERS, votes, strict=False) if vote != "-"]
    return polls.tally(on, cast, ROSTER)


def test_each_choice_is_counted() -> None:
    result = count("yynaa")
    assert (result.yes, result.no, result.abstain, result.voters, result.entitled) == (2, 1, 2, 5, 7)
    assert result.carried
    assert result.doubled == 0


@pytest.mark.parametrize(
    ("votes", "quorum_bp", "threshold_bp", "carried"),
    [
        ("", 0, 5000, False),
        ("y", 0, 5000, True),
        ("n", 0, 5000, False),
        ("a", 0, 5000, False),
        ("aaaaaaa", 0, 5000, False),
        # a tie fails
        ("yn", 0, 5000, False),
        ("yynn", 0, 5000, False),
        ("yyn", 0, 5000, True),
        # abstentions count for the quorum and for nothing else
        ("yaaa", 5000, 5000, True),
        ("yyna", 5000, 5000, True),
        # half of seven is four, rounded up
        ("yyy", 5000, 5000, False),
        ("yyyy", 5000, 5000, True),
        ("yyya", 5000, 5000, True),
        # a seventh is 1428.57 basis points: 1428 needs one voter, 1429 two
        ("y", 1428, 5000, True),
        ("y", 1429, 5000, False),
        ("ya", 1429, 5000, True),
        ("yyyyyy", 10_000, 5000, False),
        ("yyyyyyn", 10_000, 5000, True),
        # above a half the threshold is to be reached
        ("yynaaaa", 0, 6666, True),
        ("yyn", 0, 6667, False),
        ("yyyn", 0, 7500, True),
        ("yyynn", 0, 6000, True),
        ("yyynn", 0, 6001, False),
        ("yyyyyyy", 0, 10_000, True),
        ("yyyyyyn", 0, 10_000, False),
    ],
)
def test_a_motion_is_carried(votes: str, quorum_bp: int, threshold_bp: int, carried: bool) -> None:
    assert count(votes, quorum_bp, threshold_bp).carried is carried


@pytest.mark.parametrize(("quorum_bp", "voters"), [(0, 0), (1, 1), (1428, 1), (1429, 2), (5000, 4), (10_000, 7)])
def test_the_quorum_rounds_up(quorum_bp: int, voters: int) -> None:
    assert count("", quorum_bp).quorum == voters


def test_the_latest_ballot_of_a_voter_counts() -> None:
    who = VOTERS[0]
    first, second, third = ballot(who, "yes"), ballot(who, "no", revision=2), ballot(who, "abstain", epoch=1)
    assert polls.tally(PROPOSAL, [first], ROSTER).yes == 1
    assert polls.tally(PROPOSAL, [second, first], ROSTER).no == 1
    result = polls.tally(PROPOSAL, [first, third, second], ROSTER)
    assert (result.abstain, result.voters) == (1, 1)


def test_the_same_ballot_twice_counts_once() -> None:
    one = ballot(VOTERS[0], "yes")
    result = polls.tally(PROPOSAL, [one, one, one], ROSTER)
    assert (result.yes, result.doubled) == (1, 0)


def test_two_ballots_of_one_revision_do_not_count_until_a_later_one_does() -> None:
    who = VOTERS[0]
    yes, no = ballot(who, "yes"), ballot(who, "no")
    for pair in ([yes, no], [no, yes], [yes, no, yes]):
        result = polls.tally(PROPOSAL, pair, ROSTER)
        assert (result.voters, result.doubled, result.carried) == (0, 1, False)
    healed = polls.tally(PROPOSAL, [yes, ballot(who, "yes", revision=2), no], ROSTER)
    assert (healed.yes, healed.doubled) == (1, 0)


def test_a_doubled_voter_does_not_help_the_quorum() -> None:
    on = proposal(quorum_bp=1429)
    doubled = [ballot(VOTERS[1], "yes", on), ballot(VOTERS[1], "no", on)]
    assert not polls.tally(on, [ballot(VOTERS[0], "yes", on), *doubled], ROSTER).carried
    assert polls.tally(on, [ballot(VOTERS[0], "yes", on), doubled[0]], ROSTER).carried


def test_ballots_without_a_right_are_passed_over() -> None:
    good = ballot(VOTERS[0], "yes")
    bad = [ballot(STRANGER, "no"), ballot(VOTERS[1], "perhaps"), ballot(VOTERS[2], "no", proposal(quorum_bp=1))]
    assert polls.tally(PROPOSAL, [*bad, good], ROSTER) == polls.tally(PROPOSAL, [good], ROSTER)


CAST = [
    *[ballot(who, choice) for who, choice in zip(VOTERS, ("yes", "no", "abstain", "yes", "no"), strict=False)],
    ballot(VOTERS[0], "no", revision=2),
    ballot(VOTERS[1], "yes"),
    ballot(VOTERS[2], "yes", revision=3),
    ballot(VOTERS[2], "no", revision=3),
    ballot(VOTERS[2], "yes", epoch=1),
    ballot(STRANGER, "yes"),
    ballot(VOTERS[3], "yes", why="because"),
]


@QUICK
@given(st.permutations(CAST))
def test_any_order_of_arrival_gives_the_same_count(order: list[Statement]) -> None:
    result = polls.tally(PROPOSAL, order, ROSTER)
    assert result == polls.tally(PROPOSAL, CAST, ROSTER)
    assert (result.yes, result.no, result.abstain, result.doubled) == (1, 2, 0, 2)


@QUICK
@given(st.text(alphabet="yna-", max_size=7), st.integers(0, 10_000), st.integers(5000, 10_000))
def test_more_yes_instead_of_no_never_loses_a_motion(votes: str, quorum_bp: int, threshold_bp: int) -> None:
    before = count(votes, quorum_bp, threshold_bp)
    after = count(votes.replace("n", "y", 1), quorum_bp, threshold_bp)
    assert after.carried or not before.carried
    assert before.voters == after.voters == len(votes.replace("-", ""))


def test_a_ballot_is_entitled_by_the_roster_at_the_record_date() -> None:
    polls.check_ballot(ballot(VOTERS[0], "yes"), PROPOSAL, ROSTER)
    with refused(Reason.NOT_ENTITLED):
        polls.check_ballot(ballot(STRANGER, "yes"), PROPOSAL, ROSTER)


def test_a_ballot_about_an_unknown_proposal_is_parked() -> None:
    one = ballot(VOTERS[0], "yes")
    for on, at in ((None, ROSTER), (proposal(quorum_bp=1), ROSTER), (PROPOSAL, None)):
        with refused(Reason.UNKNOWN_PROPOSAL):
            polls.check_ballot(one, on, at)


@pytest.mark.parametrize("choice", ["Yes", "maybe", "yes "])
def test_a_ballot_says_yes_no_or_abstain(choice: str) -> None:
    with refused(Reason.WRONG_CHOICE):
        polls.check_ballot(ballot(VOTERS[0], choice), PROPOSAL, ROSTER)


def test_a_poll_closes_after_it_opens_and_has_no_options() -> None:
    polls.check_proposal(PROPOSAL)
    for changes in ({"closes_ms": 1}, {"closes_ms": 0}, {"options": ["red"]}):
        with refused(Reason.OUT_OF_RANGE):
            polls.check_proposal(proposal(**changes))


@pytest.mark.parametrize("threshold_bp", [-1, 0, 4999, 10_001])
def test_no_motion_is_carried_by_a_minority(threshold_bp: int) -> None:
    with refused(Reason.OUT_OF_RANGE):
        proposal(threshold_bp=threshold_bp)
    assert [proposal(threshold_bp=one).fields["threshold_bp"] for one in (5000, 10_000)] == [5000, 10_000]


@QUICK
@given(st.text(alphabet="yna-", max_size=7), st.integers(5000, 10_000))
def test_whatever_is_carried_has_more_yes_than_no(votes: str, threshold_bp: int) -> None:
    result = count(votes, 0, threshold_bp)
    assert result.yes > result.no or not result.carried


def test_a_proposal_pins_its_page() -> None:
    assert proposal(page=secret("other")).statement_id != PROPOSAL.statement_id
