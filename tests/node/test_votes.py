"""Polls among five members: the same count everywhere, and what does not count."""

from __future__ import annotations

import pytest

from coopnode import desk
from coopnode.errors import BadInput, NodeError, NotFound
from coopnode.ingest import Fate
from protocol import statements
from protocol.errors import Reason
from protocol.items import ItemKind
from protocol.polls import Tally
from tests.node.scenes import Net, said

FIVE = ("anna", "bert", "cora", "dora", "emil")


@pytest.fixture
def five(net: Net) -> Net:
    net.found(*FIVE)
    return net


def propose(net: Net, name: str = "anna", minutes: int = 60, **rules: int) -> str:
    shown = net.do(name, desk.vote_propose, title="Lower the fee", closes_in_ms=minutes * 60_000, **rules)
    return str(shown["id"])


def cast(net: Net, poll: str, **choices: str) -> None:
    for name, choice in choices.items():
        net.do(name, desk.vote_cast, proposal=poll[:12], choice=choice)


def counts(net: Net, poll: str) -> list[Tally]:
    """The count of each node."""

    def count(name: str) -> Tally:
        core = net[name].core
        return core.store.read(lambda tables: core.tally(tables, core.proposal(tables, bytes.fromhex(poll))))

    return [count(name) for name in net.here()]


def the_count(net: Net, poll: str) -> Tally:
    found = counts(net, poll)
    assert found == [found[0]] * len(found)
    return found[0]


def test_every_node_counts_the_same(five: Net) -> None:
    poll = propose(five)
    assert (the_count(five, poll).voters, the_count(five, poll).entitled) == (0, 5)
    cast(five, poll, anna="yes", bert="no", cora="yes", dora="abstain")
    found = the_count(five, poll)
    assert (found.yes, found.no, found.abstain, found.voters, found.carried) == (2, 1, 1, 4, True)


def test_a_voter_may_change_its_mind(five: Net) -> None:
    poll = propose(five)
    cast(five, poll, anna="yes", bert="yes")
    cast(five, poll, anna="no", bert="abstain")
    cast(five, poll, anna="yes")
    found = the_count(five, poll)
    assert (found.yes, found.no, found.abstain) == (1, 0, 1)


def test_a_proposal_that_was_followed_by_another_is_another_poll(five: Net) -> None:
    one, other = propose(five), propose(five)
    cast(five, one, anna="yes")
    assert one != other
    assert (the_count(five, one).yes, the_count(five, other).yes) == (1, 0)


def test_ballots_after_the_close_do_not_count(five: Net) -> None:
    poll = propose(five, minutes=10)
    cast(five, poll, anna="yes")
    five.clock.tick(10)
    early = said(five["bert"], statements.BALLOT, revision=5, proposal=bytes.fromhex(poll), choice="yes")
    assert five.hand_in("cora", None, ItemKind.STATEMENT, early)[0].fate is Fate.ACCEPTED
    assert the_count(five, poll).yes == 2, "the last moment is in time"
    five.clock.tick(1)
    with pytest.raises(NodeError, match="This poll is closed"):
        cast(five, poll, dora="yes")
    late = said(five["emil"], statements.BALLOT, revision=5, proposal=bytes.fromhex(poll), choice="yes")
    assert five.hand_in("cora", None, ItemKind.STATEMENT, late)[0].fate is Fate.ACCEPTED
    assert the_count(five, poll).yes == 2


@pytest.mark.parametrize("first", ["yes", "no"])
def test_two_ballots_of_one_revision_count_for_nobody_until_a_later_one_heals(five: Net, first: str) -> None:
    poll = propose(five)
    cast(five, poll, anna="yes")
    for choice in (first, "no" if first == "yes" else "yes"):
        data = said(
            five["bert"], statements.BALLOT, revision=2**60, proposal=bytes.fromhex(poll), choice=choice, why=choice
        )
        assert five.hand_in("cora", None, ItemKind.STATEMENT, data)[0].fate is Fate.ACCEPTED
    found = the_count(five, poll)
    assert (found.yes, found.no, found.doubled) == (1, 0, 1)
    assert len({shop.frontier for shop in five.shops.values()}) == 1
    healed = said(five["bert"], statements.BALLOT, revision=2**60 + 1, proposal=bytes.fromhex(poll), choice="no")
    five.hand_in("dora", None, ItemKind.STATEMENT, healed)
    found = the_count(five, poll)
    assert (found.yes, found.no, found.doubled) == (1, 1, 0)


def test_who_came_after_the_record_date_has_no_vote(five: Net) -> None:
    poll = propose(five)
    text = five.invite("anna")
    five.set_up("fine")
    five.join("fine", text)
    five.settle()
    five.meet("fine")
    assert five["fine"].core.is_member
    with pytest.raises(BadInput, match="only those on the roster at the record date may vote"):
        cast(five, poll, fine="yes")
    data = said(five["fine"], statements.BALLOT, proposal=bytes.fromhex(poll), choice="yes")
    outcome = five.hand_in("anna", None, ItemKind.STATEMENT, data)[0]
    assert (outcome.fate, outcome.reason) == (Fate.REFUSED, Reason.NOT_ENTITLED)
    assert the_count(five, poll).entitled == 5
    later = propose(five)
    cast(five, later, fine="yes")
    assert (the_count(five, later).entitled, the_count(five, later).yes) == (6, 1)


def test_who_was_away_counts_the_same_afterwards(five: Net) -> None:
    five.away.add("emil")
    poll = propose(five)
    cast(five, poll, anna="yes", bert="no", cora="no")
    five.away.clear()
    five.meet("emil")
    assert the_count(five, poll).no == 2
    cast(five, poll, emil="no")
    assert the_count(five, poll).no == 3


def test_quorum_and_threshold_are_those_of_the_proposal(five: Net) -> None:
    poll = propose(five, quorum_bp=6_000, threshold_bp=6_667)
    cast(five, poll, anna="yes", bert="yes")
    assert (the_count(five, poll).quorum, the_count(five, poll).carried) == (3, False)
    cast(five, poll, cora="no")
    assert not the_count(five, poll).carried
    cast(five, poll, cora="yes")
    assert the_count(five, poll).carried


def test_what_cannot_be_proposed_or_cast_is_told_in_words(five: Net) -> None:
    with pytest.raises(BadInput, match="This proposal cannot be made"):
        propose(five, minutes=0)
    with pytest.raises(BadInput, match="This proposal cannot be made"):
        five.do("anna", desk.vote_propose, title="", closes_in_ms=5)
    with pytest.raises(NotFound, match="No proposal begins with 'abc'"):
        cast(five, "abc", anna="yes")
    poll = propose(five)
    with pytest.raises(BadInput, match="This ballot cannot be made"):
        cast(five, poll, anna="maybe")
    cast(five, poll, anna="yes")
    assert the_count(five, poll).yes == 1


def test_a_newcomer_that_is_not_admitted_yet_is_told_so(net: Net) -> None:
    net.found("anna")
    text = net.invite("anna")
    net.set_up("bert")
    net.away.add("anna")
    bundle = net["anna"].core.store.read(lambda tables: tables.book.genesis())
    assert bundle is not None
    core = net["bert"].core
    coop_id = net["anna"].core.need_membership().coop_id
    core.write(core.adopt_genesis, bundle, coop_id)
    with pytest.raises(NodeError, match="has not been admitted yet"):
        propose(net, "bert")
    net.away.clear()
    assert text
    assert propose(net, "anna")
