"""Hearing a peer out, with the answers that a node gives: what comes, what it costs, and how liars end it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol import catchup, recon, signing
from protocol.catchup import CatchUp, must_compare
from protocol.errors import Reason
from protocol.limits import MAX_ITEMS, RECON_AFTER_ITEMS, RECON_FROM_ITEMS
from protocol.messages import Answer, GetItems, Items, News, Question, Reconcile, Since
from tests.protocol.builders import refused, secret

NONCE, OTHER = b"8 bytes!", b"another!"
SALT = secret("salt")[:16]
FRONTIER = secret("frontier")


def thing(number: int) -> bytes:
    return bytes(64) + b"thing %d" % number


def name(data: bytes) -> bytes:
    return signing.split(data, len(data)).object_id


class Peer:
    """A node that holds *things* in order of arrival and answers by the specification."""

    def __init__(self, *numbers: int, at_once: int = MAX_ITEMS) -> None:
        self.things = {name(thing(one)): thing(one) for one in numbers}
        self.asked: list[Question] = []
        self._at_once = at_once

    def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        held = list(self.things.values())
        match question:
            case Since():
                begin = question.cursor if question.store_nonce == NONCE else 0
                come = held[begin : begin + self._at_once]
                more = begin + len(come) < len(held)
                return News(0, NONCE, begin + len(come), False, more, come, [], [])
            case Reconcile():
                return recon.answer(self.things, question, NONCE, len(held))
            case GetItems():
                found = [self.things[one] for one in question.ids if one in self.things]
                return Items(0, found[: self._at_once], [], [])
        raise AssertionError(question)


def play(exchange: CatchUp, answer: Callable[[Question], Answer]) -> list[bytes]:
    came: list[bytes] = []
    while questions := exchange.questions():
        assert exchange.questions() == []  # while answers are outstanding
        for question in questions:
            came += exchange.receive(question, answer(question)).heads
    return came


def test_a_cursor_brings_what_has_arrived_since() -> None:
    peer = Peer(*range(10))
    exchange = CatchUp((NONCE, 7), FRONTIER, None, SALT)
    assert play(exchange, peer.answer) == [thing(7), thing(8), thing(9)]
    assert peer.asked == [Since(0, NONCE, 7, FRONTIER)]
    assert (exchange.done, exchange.mark, exchange.rounds, exchange.spare) == (True, (NONCE, 10), 1, [])


def test_news_are_asked_for_until_there_are_no_more() -> None:
    peer = Peer(*range(10), at_once=4)
    exchange = CatchUp(None, FRONTIER, None, SALT)
    assert play(exchange, peer.answer) == [thing(one) for one in range(10)]
    assert [one.cursor for one in peer.asked if isinstance(one, Since)] == [0, 4, 8]
    assert (exchange.mark, exchange.rounds) == ((NONCE, 10), 3)


@pytest.mark.parametrize(
    ("mark", "nonce", "held", "arrived", "compares"),
    [
        ((NONCE, 5), NONCE, 10_000, 0, False),
        ((NONCE, 5), NONCE, 10_000, RECON_AFTER_ITEMS, False),
        ((NONCE, 5), NONCE, 10_000, RECON_AFTER_ITEMS + 1, True),
        ((NONCE, 5), NONCE, RECON_FROM_ITEMS, 10_000, False),
        ((NONCE, 5), OTHER, 10_000, 0, True),
        ((NONCE, 5), None, 10_000, 0, True),
        (None, NONCE, 10_000, 0, True),
        (None, NONCE, RECON_FROM_ITEMS, 0, False),
        (None, NONCE, RECON_FROM_ITEMS + 1, 0, True),
    ],
)
def test_sets_are_compared_where_no_cursor_tells(
    mark: catchup.Mark | None, nonce: bytes | None, held: int, arrived: int, compares: bool
) -> None:
    assert must_compare(mark, nonce, held, arrived) is compares


@pytest.mark.parametrize(("ours", "theirs"), [(range(500), range(500)), (range(20, 500), range(490)), ((), range(5))])
def test_comparing_finds_what_only_one_side_holds(ours: range, theirs: range) -> None:
    peer = Peer(*theirs, at_once=3)
    exchange = CatchUp((OTHER, 9), FRONTIER, [name(thing(one)) for one in ours], SALT)
    came = play(exchange, peer.answer)
    assert sorted(came) == sorted(thing(one) for one in set(theirs) - set(ours))
    assert set(exchange.spare) == {name(thing(one)) for one in set(ours) - set(theirs)}
    assert exchange.done
    assert exchange.mark == (NONCE, len(theirs))


def test_the_mark_is_of_the_first_answer_and_holds_at_the_end_only() -> None:
    peer = Peer(*range(300))
    exchange = CatchUp((OTHER, 9), FRONTIER, [name(thing(one)) for one in range(100)], SALT)

    def answer(question: Question) -> Answer:
        assert exchange.mark == (OTHER, 9)
        told = peer.answer(question)
        late = thing(1000 + len(peer.asked))
        peer.things[name(late)] = late  # something arrives there meanwhile
        return told

    play(exchange, answer)
    assert exchange.mark == (NONCE, 300)


def test_what_was_replaced_meanwhile_is_not_waited_for() -> None:
    peer = Peer(*range(100))
    exchange = CatchUp(None, FRONTIER, [name(thing(one)) for one in range(90)], SALT)

    def answer(question: Question) -> Answer:
        return Items(0, [], [], []) if isinstance(question, GetItems) else peer.answer(question)

    assert play(exchange, answer) == []
    assert exchange.done


def test_a_peer_with_no_end_of_differences_has_everything_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recon, "MAX_RECON_QUESTIONS", 1)
    peer = Peer(*range(200))
    exchange = CatchUp(None, FRONTIER, [name(thing(one)) for one in range(100)], SALT)
    assert play(exchange, peer.answer) == [thing(one) for one in range(200)]
    assert [type(one) for one in peer.asked] == [Reconcile, Since]
    assert exchange.mark == (NONCE, 200)


def test_items_that_nobody_asked_for_are_the_peers_fault() -> None:
    peer = Peer(*range(100))
    exchange = CatchUp(None, FRONTIER, [name(thing(one)) for one in range(90)], SALT)

    def answer(question: Question) -> Answer:
        return Items(0, [thing(5000)], [], []) if isinstance(question, GetItems) else peer.answer(question)

    with refused(Reason.UNASKED):
        play(exchange, answer)


def test_an_item_that_comes_twice_in_an_answer_is_one_item() -> None:
    peer = Peer(*range(100))
    exchange = CatchUp(None, FRONTIER, [name(thing(one)) for one in range(90)], SALT)

    def answer(question: Question) -> Answer:
        told = peer.answer(question)
        return Items(0, told.heads * 2, [], []) if isinstance(told, Items) else told

    assert len(play(exchange, answer)) == 20
    assert exchange.done
