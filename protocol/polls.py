"""Proposals and ballots: who may vote, which ballot counts, and the count.

Pure. What comes out is *provisional*: the ballots that one node holds. The minute book makes counts
official. No float and no chance in a tally. Specification, section 11.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.errors import Reason, Refused
from protocol.roster import Roster
from protocol.statements import Statement

YES, NO, ABSTAIN = "yes", "no", "abstain"
CHOICES = (YES, NO, ABSTAIN)
BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class Tally:
    """Count of a yes/no poll. `carried` is what the count says now; it is provisional until a page says so."""

    entitled: int
    yes: int
    no: int
    abstain: int
    doubled: int
    """Voters with two different ballots of one (epoch, revision): neither counts."""
    quorum: int
    """Voters needed, abstentions included."""
    carried: bool

    @property
    def voters(self) -> int:
        """How many voted."""
        return self.yes + self.no + self.abstain


def check_proposal(proposal: Statement) -> None:
    """Refuse (out_of_range) a proposal that closes before it opens, or has options that its method lacks."""
    own = proposal.fields
    if own["closes_ms"] <= own["opens_ms"]:
        raise Refused(Reason.OUT_OF_RANGE, "a poll must close after it opens")
    if own["options"]:
        raise Refused(Reason.OUT_OF_RANGE, "a yes/no poll has no options of its own")


def check_ballot(ballot: Statement, proposal: Statement | None, roster_at_record: Roster | None) -> None:
    """Check a ballot against its proposal and the roster that the proposal pins. Spec 11.2.

    Refuses: unknown_proposal (park it: the proposal may be on its way), not_entitled, wrong_choice.
    """
    if proposal is None or proposal.statement_id != ballot.fields["proposal"] or roster_at_record is None:
        raise Refused(Reason.UNKNOWN_PROPOSAL, "the proposal of this ballot is not known here")
    if not roster_at_record.is_member(ballot.member_id):
        raise Refused(Reason.NOT_ENTITLED, "only those on the roster at the record date may vote")
    if ballot.fields["choice"] not in CHOICES:
        raise Refused(Reason.WRONG_CHOICE, "a ballot says yes, no or abstain")


def tally(proposal: Statement, ballots: Iterable[Statement], roster_at_record: Roster) -> Tally:
    """Count the latest ballot of each voter. Any order of *ballots* gives the same count. Spec 11.3.

    *ballots* are those that count as timely; those that `check_ballot` refuses are passed over.
    """
    latest: dict[bytes, list[Statement]] = {}
    for ballot in ballots:
        try:
            check_ballot(ballot, proposal, roster_at_record)
        except Refused:
            continue
        held = latest.get(ballot.member_id)
        if held is None or ballot.order > held[0].order:
            latest[ballot.member_id] = [ballot]
        elif ballot.order == held[0].order and all(ballot.statement_id != one.statement_id for one in held):
            held.append(ballot)
    choices = [held[0].fields["choice"] for held in latest.values() if len(held) == 1]
    doubled = sum(len(held) > 1 for held in latest.values())
    yes, no, abstain = (choices.count(choice) for choice in CHOICES)
    entitled = len(roster_at_record.tellers)
    quorum = _ceil_share(entitled, proposal.fields["quorum_bp"])
    # More than half by default: threshold_bp of yes + no must be *exceeded* when it is 5000, so that a
    # tie fails; higher thresholds are reached, not exceeded.
    threshold_bp = proposal.fields["threshold_bp"]
    decided = yes + no
    enough = yes * BASIS_POINTS > decided * threshold_bp or (
        threshold_bp > BASIS_POINTS // 2 and yes * BASIS_POINTS == decided * threshold_bp
    )
    return Tally(
        entitled=entitled,
        yes=yes,
        no=no,
        abstain=abstain,
        doubled=doubled,
        quorum=quorum,
        carried=len(choices) >= max(quorum, 1) and decided > 0 and enough,
    )


def _ceil_share(number: int, share_bp: int) -> int:
    """Return *share_bp* basis points of *number*, rounded up."""
    return -(-number * share_bp // BASIS_POINTS)
