"""Spreading a walk over peers of all kinds, in virtual time: each does what it can, and all of it arrives."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from protocol.encoding import decode
from protocol.errors import Reason, Refused
from protocol.limits import MAX_REQUESTS_UNDER_WAY, MAX_WALK_PREFIXES
from protocol.messages import Nodes, WalkTrie
from protocol.pull import MAX_UNPACKED_BYTES, Walk
from protocol.spread import MAX_ARRIVED, SLOW_MS, TAKE_OVER_MS, Share, Spread
from tests.protocol.builders import Catalogue, listings, member, refused

AUTHOR = member(1)


@cache
def author(number: int = 40_000) -> Catalogue:
    """A stock of some forty chunks, so of about ten questions."""
    return Catalogue({"listing": {b"%d" % one: b"" for one in range(number)}})


def begun() -> tuple[Walk, Spread[str]]:
    walk = Catalogue().walk_to(author().head(AUTHOR))
    return walk, Spread(walk)


Answer = Callable[[WalkTrie, int], Nodes | None]
"""What a peer says to its n-th question; None: nothing ever."""


class Town:
    """Peers with a pace each, and one walk that asks them. Nothing here waits: time is what the heap says."""

    def __init__(self) -> None:
        self.copy = Catalogue()
        self.walk = self.copy.walk_to(author().head(AUTHOR))
        self.spread: Spread[str] = Spread(self.walk)
        self.pace: dict[str, int] = {}
        self.answer: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.gave: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.now_ms = 0
        self._coming: list[tuple[int, int, Share[str]]] = []
        self._busy_until: dict[str, int] = {}

    def add(self, name: str, pace_ms: int, answer: Answer | None = None) -> None:
        self.pace[name] = pace_ms
        self.answer[name] = answer or (lambda question, _: author().serve(question))
        self.spread.add(name)

    def run(self, until_ms: int = 600_000) -> bool:
        while not self.walk.done and self.now_ms <= until_ms:
            self.spread.look()
            for share in self.spread.ask(self.now_ms):
                self._send(share)
            for link in self.spread.links:
                under_way = sum(share.link == link for _, _, share in self._coming)
                self.most[link] = max(self.most[link], under_way)
            deadline = self.spread.next_deadline()
            if not self._coming and deadline is None:
                return False
            if self._coming and (deadline is None or self._coming[0][0] <= deadline):
                self.now_ms, _, share = heapq.heappop(self._coming)
                self._receive(share)
            else:
                assert deadline is not None
                self.now_ms = max(deadline, self.now_ms)
        return self.walk.done

    def _send(self, share: Share[str]) -> None:
        self.asked[share.link] += 1
        # One after the other, the bigger the longer; the node's own patience ends after half a minute.
        begin_ms = max(self.now_ms, self._busy_until.get(share.link, 0))
        took_ms = self.pace[share.link] * max(1, len(share.question.prefixes))
        self._busy_until[share.link] = begin_ms + took_ms
        heapq.heappush(self._coming, (min(begin_ms + took_ms, self.now_ms + 30_000), sum(self.asked.values()), share))

    def _receive(self, share: Share[str]) -> None:
        link = share.link
        answer = self.answer[link](share.question, self.asked[link])
        if answer is None or self.now_ms >= share.asked_ms + 30_000:
            self.spread.drop(link)
            return
        if not self.spread.came(share, self.now_ms):
            return
        try:
            changes = self.walk.receive(share.question, answer)
        except Refused:
            self.spread.drop(link)
            self.spread.again(share.question)
        else:
            self.gave[link] += 1
            self.copy.apply(changes)
        self.spread.kept()


def assert_all_here(town: Town) -> None:
    assert town.copy.collections == author().collections
    assert town.walk.missing_count == 0


def test_one_peer_is_asked_four_things_at_a_time() -> None:
    town = Town()
    town.add("anna", 10)
    assert town.run()
    assert_all_here(town)
    assert town.most["anna"] == MAX_REQUESTS_UNDER_WAY


def test_peers_of_one_pace_share_the_work() -> None:
    town = Town()
    for name in ("anna", "bert", "cora"):
        town.add(name, 10)
    assert town.run()
    assert_all_here(town)
    assert min(town.gave.values()) >= 2
    assert max(town.most.values()) <= MAX_REQUESTS_UNDER_WAY


def test_three_peers_are_quicker_than_one() -> None:
    took = []
    for number in (1, 3):
        town = Town()
        for one in range(number):
            town.add(f"peer {one}", 20)
        assert town.run()
        took.append(town.now_ms)
    assert took[1] < 0.6 * took[0]


def test_a_peer_ten_times_slower_costs_its_own_share_and_no_more() -> None:
    alone = Town()
    alone.add("quick", 20)
    assert alone.run()
    town = Town()
    town.add("slow", 200)
    town.add("quick", 20)
    assert town.run()
    assert_all_here(town)
    assert town.gave["quick"] > town.gave["slow"]
    assert town.now_ms <= alone.now_ms + 2 * TAKE_OVER_MS


def test_a_peer_that_never_answers_holds_up_nothing() -> None:
    town = Town()
    town.add("silent", 10**6)
    town.add("quick", 1)
    assert town.run()
    assert_all_here(town)
    assert town.now_ms < 20 * TAKE_OVER_MS


def test_without_taking_over_a_silent_peer_holds_up_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: where nobody takes over, its questions come free only when it is given up."""
    monkeypatch.setattr("protocol.spread.TAKE_OVER_MS", 10**9)
    town = Town()
    town.add("silent", 10**6)
    town.add("quick", 1)
    assert not town.run(until_ms=29_000)


def test_a_peer_that_goes_midway_leaves_its_questions_to_the_others() -> None:
    town = Town()
    town.add("goes", 10, lambda question, number: author().serve(question) if number < 5 else None)
    town.add("stays", 30)
    assert town.run()
    assert_all_here(town)
    assert town.spread.links == ["stays"]
    assert town.gave["goes"] >= 1


def lying(question: WalkTrie, number: int) -> Nodes:
    answer = author().serve(question)
    if number == 3 and answer.items:
        answer = replace(answer, items=[*answer.items[:-1], [answer.items[-1][0], 1, b"junk"]])
    return answer


def test_a_peer_that_lies_once_is_out_and_what_it_was_asked_is_asked_again() -> None:
    town = Town()
    town.add("liar", 10, lying)
    town.add("honest", 10)
    assert town.run()
    assert_all_here(town)
    assert town.spread.links == ["honest"]
    assert town.gave["liar"] >= 1


def test_where_the_last_peer_goes_the_walk_stands_still_until_another_comes() -> None:
    town = Town()
    town.add("goes", 10, lambda question, number: author().serve(question) if number < 5 else None)
    assert not town.run()
    assert town.spread.links == []
    assert town.spread.under_way == 0
    town.add("comes", 10)
    assert town.run()
    assert_all_here(town)


# ── pace ──────────────────────────────────────────────────────────────────────────────────────────────


def chunk_questions(spread: Spread[str], walk: Walk) -> None:
    """Walk down until only chunks are left to be asked for."""
    while True:
        spread.look()
        shares = spread.ask(0)
        for share in shares:
            answer = author().serve(share.question)
            if answer.items and answer.items[0][1] == 1:
                for one in shares:
                    spread.drop(one.link)
                return
            assert spread.came(share, 1)
            walk.receive(share.question, answer)
            spread.kept()


def test_a_slow_peer_is_asked_less_at_a_time_and_more_again_when_it_is_quick() -> None:
    walk, spread = begun()
    spread.add("anna")
    chunk_questions(spread, walk)
    spread.add("anna")
    counts, sizes = [], []
    for took_ms in (SLOW_MS + 1, SLOW_MS + 1, SLOW_MS + 1, SLOW_MS // 2, *[10] * 10):
        shares = spread.ask(0)
        counts.append(len(shares))
        sizes.append(max(len(one.question.prefixes) for one in shares))
        # Only the first answer comes; the others are put back, as if a new round began.
        assert spread.came(shares[0], took_ms)
        spread.kept()
        left = [one.question for one in shares]
        spread._peers["anna"].under_way.clear()
        for question in reversed(left):
            spread.again(question)
    assert counts[:4] == [4, 2, 1, 1]
    assert sizes[3] < sizes[2]
    assert counts[4] == 1, "neither slow nor quick: nothing changes"
    assert counts[-1] == 4
    assert spread._peers["anna"].prefixes == MAX_WALK_PREFIXES


def test_nobody_is_asked_while_too_much_waits_to_be_kept() -> None:
    walk, spread = begun()
    names = ["anna", "bert", "cora"]
    for name in names:
        spread.add(name)
    chunk_questions(spread, walk)
    for name in names:
        spread.add(name)
    shares = spread.ask(0)
    assert len(shares) > MAX_ARRIVED
    for share in shares[:MAX_ARRIVED]:
        assert spread.came(share, 1)
    assert spread.ask(1) == []
    spread.again(shares[0].question)
    assert spread.ask(1) == []
    spread.kept()
    assert [one.question for one in spread.ask(1)] == [shares[0].question]


# ── taking over ───────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_question_is_taken_over_once_and_the_first_answer_counts() -> None:
    walk, spread = begun()
    spread.add("slow")
    spread.look()
    (slow,) = spread.ask(0)
    assert spread.next_deadline() is None, "nobody has time"
    spread.add("other")
    assert spread.next_deadline() == TAKE_OVER_MS
    assert spread.ask(TAKE_OVER_MS - 1) == []
    (taken,) = spread.ask(TAKE_OVER_MS)
    assert (taken.link, taken.question) == ("other", slow.question)
    spread.add("third")
    assert spread.next_deadline() == 2 * TAKE_OVER_MS, "the first of the two is not taken over again"
    assert spread.came(taken, 1_500)
    walk.receive(taken.question, author().serve(taken.question))
    spread.kept()
    assert not spread.came(slow, 2_000), "somebody was quicker"
    assert walk.receive(slow.question, author().serve(slow.question)) == []


@pytest.mark.parametrize("first", ["slow", "other"])
def test_whichever_of_two_goes_the_other_is_still_asked(first: str) -> None:
    walk, spread = begun()
    spread.add("slow")
    spread.look()
    spread.ask(0)
    spread.add("other")
    spread.ask(TAKE_OVER_MS)
    spread.drop(first)
    assert spread.under_way == 1
    assert spread.ask(TAKE_OVER_MS) == []
    spread.add("third")
    (share,) = spread.ask(5 * TAKE_OVER_MS)
    assert share.link == "third"
    spread.drop(first)  # once more: nothing happens
    assert walk.needs(share.question)


def test_a_peer_that_owes_an_answer_for_long_gets_nothing_new_while_there_are_others() -> None:
    for names in (["silent", "other"], ["silent"]):
        walk, spread = begun()
        spread.add("silent")
        chunk_questions(spread, walk)
        spread.add("silent")
        first = spread.ask(0)
        assert spread.came(first[0], 10)
        for name in names:
            spread.add(name)
        spread.kept()
        assert {share.link for share in spread.ask(TAKE_OVER_MS)} == {names[-1]}


def test_a_peer_that_owes_an_answer_for_long_is_counted() -> None:
    _, spread = begun()
    assert (spread.stalled(0), spread.next_stall(0)) == (0, None)
    spread.add("silent")
    spread.add("idle")
    spread.look()
    (share,) = spread.ask(5)
    assert (spread.stalled(5), spread.next_stall(5)) == (0, 5 + TAKE_OVER_MS)
    assert (spread.stalled(5 + TAKE_OVER_MS), spread.next_stall(5 + TAKE_OVER_MS)) == (1, None)
    spread.came(share, 2 * TAKE_OVER_MS)
    assert spread.stalled(2 * TAKE_OVER_MS) == 0


def test_an_answer_of_a_peer_that_was_dropped_meanwhile_still_counts() -> None:
    walk, spread = begun()
    spread.add("anna")
    spread.look()
    (share,) = spread.ask(0)
    spread.drop("anna")
    assert spread.came(share, 5)
    walk.receive(share.question, author().serve(share.question))
    spread.kept()
    spread.add("bert")
    spread.look()
    assert [one.question.collection for one in spread.ask(5)] == ["listing"], "what was put back is not asked again"
    spread.again(share.question)
    assert spread.ask(5) == []


# ── the walk itself ───────────────────────────────────────────────────────────────────────────────────


def test_what_another_peer_has_brought_is_passed_over_in_a_later_answer() -> None:
    small = Catalogue({"listing": listings(3000)})
    copy = Catalogue()
    walk = copy.walk_to(small.head(AUTHOR))
    (state,) = walk.questions()
    assert walk.needs(state)
    walk.receive(state, small.serve(state))
    assert not walk.needs(state)
    (root,) = walk.questions()
    walk.receive(root, small.serve(root))
    (question,) = walk.questions()
    half = small.serve(question, most=8)
    copy.apply(walk.receive(question, half))
    assert len(walk.receive(question, small.serve(question))) == len(question.prefixes) - 8
    assert walk.questions() == []
    assert walk.done


def test_no_more_is_unpacked_of_one_answer_than_fits_into_memory() -> None:
    """Chunks of much that is alike: a message of two megabytes could hold hundreds."""
    value = bytes(12_000)
    big = Catalogue({"listing": {b"%d" % one: value for one in range(4_000)}})
    walk = Catalogue().walk_to(big.head(AUTHOR))
    answers: list[tuple[WalkTrie, Nodes]] = []
    while not answers or answers[0][1].items[:1] == [] or answers[0][1].items[0][1] == 0:
        for question, answer in answers:
            walk.receive(question, answer)
        answers = [(question, big.serve(question, nodes_above=80)) for question in walk.questions()]
    ((question, answer),) = answers
    changes = walk.receive(question, answer)
    unpacked = sum(change.summary.size for change in changes)
    assert MAX_UNPACKED_BYTES < unpacked < MAX_UNPACKED_BYTES + 2 * 2**20
    assert len(changes) < len(answer.items)
    left = {prefix for one in walk.questions() for prefix in one.prefixes}
    assert {item[0] for item in answer.items[len(changes) :]} <= left


def test_the_bound_does_not_hide_what_was_not_asked_for() -> None:
    small = Catalogue({"listing": listings(3000)})
    walk = Catalogue().walk_to(small.head(AUTHOR))
    (state,) = walk.questions()
    walk.receive(state, small.serve(state))
    (root,) = walk.questions()
    with refused(Reason.CHUNK_MISMATCH):
        walk.receive(root, Nodes(0, None, b"", [["0", 1, b""]]))
    assert len(decode(small.serve(state).state, 4096)) == 1
