"""Two sets, one wire in memory: what differs is found, cheaply, and no peer can keep us busy for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits, messages, recon
from protocol.errors import Reason
from protocol.limits import MAX_RECON_QUESTIONS, RECON_LIST, RECON_PARTS
from protocol.message_fields import DIFFERENCE, FINGERPRINT, LISTED, SKIP
from protocol.messages import Reconcile, Reconciled
from protocol.recon import Reconciler, answer
from tests.protocol.builders import refused, secret

NONCE = b"8 bytes!"
SALT = secret("salt")[:16]
Answerer = Callable[[Reconcile], Reconciled]


def ids(name: str, number: int) -> list[bytes]:
    return [hashlib.sha256(f"{name} {one}".encode()).digest() for one in range(number)]


@dataclass
class Exchange:
    """What an exchange found and cost, in encoded messages."""

    lacking: set[bytes] = field(default_factory=set)
    spare: set[bytes] = field(default_factory=set)
    octets: int = 0
    rounds: int = 0
    questions: int = 0
    gave_up: bool = False


def honest(held: Sequence[bytes]) -> Answerer:
    return lambda question: answer(held, question, NONCE, 7)


def play(ours: Iterable[bytes], peer: Answerer, salt: bytes = SALT) -> Exchange:
    asking, found = Reconciler(ours, salt), Exchange()
    while questions := asking.questions():
        found.rounds += 1
        for question in questions:
            asked = messages.write(replace(question, request=2**32 - 1))
            heard = messages.read(asked)
            assert isinstance(heard, Reconcile)
            told = messages.write(peer(heard))
            reply = messages.read(told)
            assert isinstance(reply, Reconciled)
            difference = asking.receive(question, reply)
            found.lacking.update(difference.lacking)
            found.spare.update(difference.spare)
            found.octets += len(asked) + len(told)
            found.questions += 1
    found.gave_up = not asking.done
    return found


def check(ours: Sequence[bytes], theirs: Sequence[bytes], salt: bytes = SALT) -> Exchange:
    found = play(ours, honest(theirs), salt)
    assert not found.gave_up
    assert found.lacking == set(theirs) - set(ours)
    assert found.spare == set(ours) - set(theirs)
    return found


# ── two honest nodes ──────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 1500), st.integers(0, 1200), st.integers(0, 1200), st.integers(0, 1000))
def test_any_two_sets_become_equal(both: int, ours: int, theirs: int, salt: int) -> None:
    common = ids("both", both)
    salted = secret(f"salt {salt}")[:16]
    found = check([*common, *ids("ours", ours)], [*common, *ids("theirs", theirs)], salted)
    assert found.rounds <= 5


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.sets(st.binary(min_size=32, max_size=32)), st.sets(st.binary(min_size=32, max_size=32)))
def test_ids_need_not_be_spread_evenly(ours: set[bytes], theirs: set[bytes]) -> None:
    check(sorted(ours), sorted(theirs))


def test_equal_sets_are_done_in_one_round_trip() -> None:
    same = ids("both", 10_000)
    found = check(same, same)
    assert (found.rounds, found.questions) == (1, 1)
    assert found.octets <= 500


@pytest.mark.parametrize("replaced", [False, True], ids=["100 new items", "100 heads replaced"])
def test_ten_thousand_items_with_a_hundred_changes_cost_little(replaced: bool) -> None:
    common = ids("both", 9_900)
    found = check([*common, *(ids("old", 100) if replaced else [])], [*common, *ids("new", 100)])
    assert found.rounds <= 3
    assert found.octets <= 50_000


def test_the_first_answer_tells_store_and_cursor() -> None:
    (question,) = Reconciler([], SALT).questions()
    told = answer(ids("theirs", 3), replace(question, request=9), NONCE, 7)
    assert (told.request, told.store_nonce, told.cursor) == (9, NONCE, 7)


def test_two_ids_of_one_name_do_not_disturb_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # Names of one byte: of 1,000 ids most share theirs.
    monkeypatch.setattr(recon, "RECON_NAME_BYTES", 1)
    asking = Reconciler(ids("ours", 1_000), SALT)
    (question,) = asking.questions()
    bounds = [row[0] for row in question.ranges]
    assert bounds == [*sorted(set(bounds[:-1])), b""]


def test_a_question_that_grows_too_large_goes_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recon, "MAX_RECON_RANGES", 2 * RECON_PARTS)
    found = check(ids("ours", 3_000), ids("theirs", 3_000))
    assert found.questions > found.rounds


def test_an_answer_that_grows_too_large_is_cut_and_the_rest_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recon, "MAX_REPLY_BYTES", 1_000)
    found = check(ids("ours", 3_000), ids("theirs", 3_000))
    assert found.questions > 20


def test_what_was_cut_goes_back_behind_what_was_wanted_later() -> None:
    """Ranges of one question ascend also when those wanted do not."""
    held = ids("ours", 3_000)
    asking = Reconciler(held, SALT)
    (first,) = asking.questions()
    middle = first.ranges[7][0]
    rows = [[row[0], FINGERPRINT, bytes(16)] for row in first.ranges[4:8]]
    asking.receive(first, Reconciled(1, NONCE, 1, [[first.ranges[3][0], SKIP, None], *rows]))
    later = asking.questions()
    assert later[0].ranges[0] == [first.ranges[3][0], SKIP, None]
    assert [one.ranges[-1][0] for one in later] == [b""]
    assert middle in [row[0] for row in later[0].ranges]


def test_ranges_of_two_answers_are_not_mixed_up_in_one_question() -> None:
    held = ids("ours", 3_000)
    asking = Reconciler(held, SALT)
    (first,) = asking.questions()
    end = [first.ranges[-2][0], SKIP, None]
    asking.receive(first, Reconciled(1, NONCE, 1, [end]))  # the last of 16 parts is open
    (second,) = asking.questions()
    rows = [[row[0], FINGERPRINT, bytes(16)] for row in second.ranges[1:]]
    asking.receive(second, Reconciled(2, NONCE, 1, [end, *rows]))
    asking._wanted.append((b"", b"\x01"))
    one, other = asking.questions()
    assert other.ranges[-1][0] == b"\x01"
    assert one.ranges[-1][0] == b""


# ── liars ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_peer_without_an_end_of_differences_is_given_up() -> None:
    def differs(question: Reconcile) -> Reconciled:
        rows: list[list[Any]] = [
            [bound, SKIP, None] if mode == SKIP else [bound, FINGERPRINT, secret("lie")[:16]]
            for bound, mode, _ in question.ranges
        ]
        return Reconciled(question.request, NONCE, 7, rows)

    found = play(ids("ours", 500), differs)
    assert found.gave_up
    assert found.questions == MAX_RECON_QUESTIONS
    assert not found.lacking | found.spare


def test_a_peer_that_answers_crumb_by_crumb_is_given_up() -> None:
    def crumbs(question: Reconcile) -> Reconciled:
        lower = b"" if question.ranges[0][1] != SKIP else question.ranges[0][0]
        return Reconciled(question.request, NONCE, 7, [[lower + b"\x00", SKIP, None]])

    few: list[Answerer] = []

    def until_long(question: Reconcile) -> Reconciled:
        lower = b"" if question.ranges[0][1] != SKIP else question.ranges[0][0]
        few.append(crumbs)
        if len(lower) < limits.RECON_NAME_BYTES:
            return crumbs(question)
        number = int.from_bytes(lower, "big") + 1
        return Reconciled(question.request, NONCE, 7, [[number.to_bytes(limits.RECON_NAME_BYTES, "big"), SKIP, None]])

    found = play(ids("ours", 500), until_long)
    assert found.gave_up
    assert len(few) == MAX_RECON_QUESTIONS


def with_names(*numbers: int) -> tuple[Reconciler, Reconcile]:
    """A question that lists a few names."""
    asking = Reconciler([ids("ours", 20)[one] for one in numbers], SALT)
    (question,) = asking.questions()
    assert question.ranges[0][1] == LISTED
    return asking, question


@pytest.mark.parametrize(
    "rows",
    [
        [[b"\x00\x01", LISTED, ids("theirs", 1)[0]], [b"", SKIP, None]],
        [[b"\x00\x01", DIFFERENCE, [ids("theirs", 1)[0], b""]], [b"", SKIP, None]],
        [[b"", DIFFERENCE, [b"", bytes(8)]]],
    ],
    ids=["id out of its range", "id of a difference out of its range", "needs what was not listed"],
)
def test_what_does_not_fit_the_question_is_refused(rows: list[list[Any]]) -> None:
    asking, question = with_names(1, 2, 3)
    with refused(Reason.UNASKED):
        asking.receive(question, Reconciled(1, NONCE, 7, rows))
    assert not asking.done


def test_ranges_that_were_not_asked_for_are_refused() -> None:
    asking = Reconciler(ids("ours", 500), SALT)
    (first,) = asking.questions()
    bounds = [row[0] for row in first.ranges]
    with refused(Reason.UNASKED):
        asking.receive(first, Reconciled(1, NONCE, 7, [[b"", FINGERPRINT, bytes(16)]]))
    row = [[bounds[3], SKIP, None], [bounds[4], FINGERPRINT, bytes(16)], [b"", SKIP, None]]
    asking.receive(first, Reconciled(1, NONCE, 7, row))
    (second,) = asking.questions()
    for wrong in (
        [[bounds[2], FINGERPRINT, bytes(16)]],
        [[bounds[4], SKIP, None], [b"", LISTED, b""]],
        [[bounds[3], SKIP, None], [bounds[5], LISTED, b""]],
        [[bounds[2], SKIP, None]],
        [[bounds[3], SKIP, None]],
    ):
        with refused(Reason.UNASKED):
            asking.receive(second, Reconciled(2, NONCE, 7, wrong))
    told = asking.receive(second, Reconciled(2, NONCE, 7, [[b"", SKIP, None]]))
    assert (told.lacking, told.spare) == ([], [])
    assert asking.done


def test_an_id_that_we_hold_is_not_lacking() -> None:
    asking, question = with_names(1, 2)
    told = asking.receive(question, Reconciled(1, NONCE, 7, [[b"", DIFFERENCE, [ids("ours", 2)[1], b""]]]))
    assert (told.lacking, told.spare) == ([], [])


def test_a_question_that_skips_everything_is_answered_by_one_row() -> None:
    question = Reconcile(1, SALT, [[b"\x01", SKIP, None], [b"", SKIP, None]])
    assert answer(ids("theirs", 99), question, NONCE, 7).ranges == [[b"", SKIP, None]]


def test_answers_stay_within_their_bounds() -> None:
    rows: list[list[Any]] = [[bytes([one // 256, one % 256]), FINGERPRINT, bytes(16)] for one in range(1, 4_096)]
    told = answer(ids("theirs", 200_000), Reconcile(1, SALT, rows), NONCE, 7)
    assert messages.read(messages.write(told)) == told
    lists = [row for row in told.ranges if row[1] == LISTED]
    assert lists
    assert all(len(row[2]) <= 32 * RECON_LIST for row in lists)
