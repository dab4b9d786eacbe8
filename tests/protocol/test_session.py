"""A conversation of two nodes over no wire and in no time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from protocol import messages
from protocol.errors import LocalError, Reason
from protocol.limits import (
    HANDSHAKE_MS,
    MAX_GIVEN_UP,
    MAX_REQUESTS_UNDER_WAY,
    PING_EVERY_MS,
    QUIET_MS,
    QUIET_PING_EVERY_MS,
    REQUEST_MS,
    SILENT_MS,
    SUSPECT_MS,
)
from protocol.messages import (
    Busy,
    Bye,
    GetOps,
    GetPages,
    Hello,
    News,
    Pages,
    Ping,
    Pong,
    Proof,
    Put,
    Question,
    Since,
    Twin,
)
from protocol.session import (
    MESSAGE_BYTES,
    TURNS,
    Answered,
    Closed,
    Event,
    Me,
    Opened,
    Received,
    Role,
    Session,
    Silent,
    State,
    Unanswered,
)
from tests.protocol.builders import COOP, OTHER_COOP, Scenario, me, member, opened, pump, secret, sessions
from tests.protocol.test_messages import EXAMPLES

ONE, TWO = member(1), member(2)


def said(session: Session) -> list[messages.Message]:
    return [messages.read(data) for data in session.data_to_send()]


def hear(session: Session, message: messages.Message, now_ms: int = 0) -> list[Event]:
    return session.receive(messages.write(message), now_ms)


def assert_ended(session: Session, events: list[Event], reason: Reason) -> None:
    """It told the caller and the peer, in this order, and says nothing more."""
    assert session.state is State.CLOSED
    assert isinstance(events[-1], Closed)
    assert events[-1].reason is reason
    last = said(session)[-1]
    assert isinstance(last, Bye)
    assert last.reason == reason.value


# ── handshake ─────────────────────────────────────────────────────────────────────────────────────────


def test_two_members_of_one_coop_open_a_session() -> None:
    dialer, listener = sessions()
    assert listener.data_to_send() == []
    first, second = pump(dialer, listener)
    assert first == [Opened(TWO.identity, TWO.member_id[:8])]
    assert second == [Opened(ONE.identity, ONE.member_id[:8])]
    assert dialer.state is listener.state is State.OPEN


def test_the_handshake_goes_back_and_forth_once() -> None:
    dialer, listener = sessions()
    hello = dialer.data_to_send()
    assert [type(messages.read(data)) for data in hello] == [Hello]
    assert listener.receive(hello[0], 0) == []
    answer = listener.data_to_send()
    assert [type(messages.read(data)) for data in answer] == [Hello, Proof]
    assert dialer.receive(answer[0], 0) == []
    assert dialer.state is State.PROOF
    assert len(dialer.receive(answer[1], 0)) == 1
    proof = dialer.data_to_send()
    assert [type(messages.read(data)) for data in proof] == [Proof]
    assert len(listener.receive(proof[0], 0)) == 1


def test_a_member_with_a_later_key_proves_that_one() -> None:
    scenario = Scenario("A1 -> A2")
    identity = scenario.fold()
    for key, opens in (("A2", True), ("A1", False)):
        dialer, listener = sessions(Me(COOP, identity, scenario.seed(key), b"instance"))
        _, events = pump(dialer, listener)
        assert any(isinstance(one, Opened) for one in events) is opens


HELLO_FAULTS: list[tuple[str, dict[str, Any], Reason]] = [
    ("another version", {"version": 2}, Reason.WRONG_VERSION),
    ("another co-op", {"coop_id": OTHER_COOP}, Reason.WRONG_COOP),
    ("our own instance", {"instance": me(TWO).instance}, Reason.SAME_NODE),
    ("our own nonce", {"nonce": secret("listener's nonce")}, Reason.SAME_NODE),
    ("another member's log", {"log": member(3).log}, Reason.NOT_SUCCESSOR),
    ("a log that is none", {"log": [bytes(65)]}, Reason.TRUNCATED),
]


@pytest.mark.parametrize(("changes", "reason"), [row[1:] for row in HELLO_FAULTS], ids=[row[0] for row in HELLO_FAULTS])
def test_a_hello_with_a_fault_ends_the_session(changes: dict[str, Any], reason: Reason) -> None:
    dialer, listener = sessions()
    hello = said(dialer)[0]
    assert isinstance(hello, Hello)
    if reason is Reason.TRUNCATED:
        # 65 bytes are a signature and one byte: the number 0, which is no map.
        reason = Reason.WRONG_SHAPE
    assert_ended(listener, hear(listener, replace(hello, **changes)), reason)
    _, fresh = sessions()
    assert hear(fresh, hello) == []
    assert fresh.state is State.PROOF


@pytest.mark.parametrize("turned", [False, True])
def test_in_a_log_with_anothers_first_statement_the_id_of_the_hello_chooses(turned: bool) -> None:
    dialer, listener = sessions()
    hello = said(dialer)[0]
    assert isinstance(hello, Hello)
    log = [*hello.log, *member(3).log]
    assert hear(listener, replace(hello, log=log[::-1] if turned else log)) == []
    for answer in said(listener):
        hear(dialer, answer)
    (event,) = hear(listener, said(dialer)[0])
    assert event == Opened(ONE.identity, ONE.member_id[:8])


def test_a_node_that_calls_itself_notices() -> None:
    dialer, listener = sessions(me(ONE), me(ONE))
    _, events = pump(dialer, listener)
    assert isinstance(events[-1], Closed)
    assert events[-1].reason is Reason.SAME_NODE
    twin, other = sessions(me(ONE), me(ONE, b"instance"))
    pump(twin, other)
    assert twin.state is State.OPEN


def test_somebody_with_anothers_log_but_not_its_key_is_not_let_in() -> None:
    thief = Me(COOP, ONE.identity, TWO.seed, b"instance")
    dialer, listener = sessions(thief)
    _, events = pump(dialer, listener)
    assert [type(one) for one in events] == [Closed]
    assert isinstance(events[0], Closed)
    assert events[0].reason is Reason.BAD_SIGNATURE


def test_a_proof_cannot_be_replayed_into_another_session() -> None:
    dialer, listener = sessions()
    hello = dialer.data_to_send()
    listener.receive(hello[0], 0)
    for data in listener.data_to_send():
        dialer.receive(data, 0)
    proof = dialer.data_to_send()[0]
    # The same hello and the same proof, heard by a listener with a fresh nonce.
    fresh = Session(me(TWO), Role.LISTENER, secret("fresh nonce"), 0)
    fresh.receive(hello[0], 0)
    fresh.data_to_send()
    assert_ended(fresh, fresh.receive(proof, 0), Reason.BAD_SIGNATURE)
    assert [type(one) for one in listener.receive(proof, 0)] == [Opened]


def test_a_proof_cannot_be_reflected() -> None:
    """A stranger calls as *two* and gives back to *one* what *one* has said itself."""
    dialer, listener = sessions()
    dialer.data_to_send()
    theirs = said(listener)
    assert theirs == []
    hello = Hello(1, COOP, ONE.member_id, b"stranger", secret("stranger"), ONE.log)
    assert hear(dialer, hello) == []
    own_proof = said(dialer)[-1]
    assert isinstance(own_proof, Proof)
    assert_ended(dialer, hear(dialer, own_proof), Reason.BAD_SIGNATURE)


def test_a_proof_made_for_one_link_does_not_open_another() -> None:
    """A man in the middle passes the challenge of *three* on to *one*, who wanted to talk to the middle."""
    middle, three = member(9), member(3)
    to_middle = Session(me(ONE), Role.DIALER, secret("one"), 0)
    at_three = Session(me(three), Role.LISTENER, secret("three"), 0)
    hello = said(to_middle)[0]
    hear(at_three, hello)
    challenge = said(at_three)[0]
    assert isinstance(challenge, Hello)
    hear(to_middle, replace(challenge, member_id=middle.member_id, log=middle.log))
    proof = next(one for one in said(to_middle) if isinstance(one, Proof))
    assert_ended(at_three, hear(at_three, proof), Reason.BAD_SIGNATURE)


@pytest.mark.parametrize("coop_id", [COOP, OTHER_COOP])
def test_a_proof_is_bound_to_the_coop(coop_id: bytes) -> None:
    dialer, listener = sessions(me(ONE), me(TWO, coop_id=coop_id))
    pump(dialer, listener)
    assert (dialer.state is State.OPEN) is (coop_id == COOP)


def test_a_handshake_that_takes_too_long_is_given_up() -> None:
    for silent in sessions(now_ms=1000):
        assert silent.next_deadline() == 1000 + HANDSHAKE_MS
        assert silent.tick(1000 + HANDSHAKE_MS - 1) == []
        assert_ended(silent, silent.tick(1000 + HANDSHAKE_MS), Reason.TIMED_OUT)


def test_hearing_something_does_not_prolong_the_handshake() -> None:
    dialer, listener = sessions()
    listener.receive(dialer.data_to_send()[0], HANDSHAKE_MS - 1)
    assert listener.next_deadline() == HANDSHAKE_MS


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────────


def in_state(state: State) -> Session:
    """Return a listener in *state*, with three questions under way where it is open."""
    dialer, listener = sessions()
    if state is State.HELLO:
        return listener
    if state is State.PROOF:
        listener.receive(dialer.data_to_send()[0], 0)
    else:
        pump(dialer, listener)
        if state is State.CLOSED:
            listener.close()
    listener.data_to_send()
    assert listener.state is state
    return listener


ANSWERS = tuple(messages.ANSWER_TO.values())


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("state", [State.HELLO, State.PROOF, State.OPEN])
def test_in_each_state_only_what_the_table_lists_may_come(state: State, message: messages.Message) -> None:
    session = in_state(state)
    events = hear(session, message)
    # This is the specification's table, written down a second time.
    allowed = {
        State.HELLO: isinstance(message, Hello | Bye),
        State.PROOF: isinstance(message, Proof | Bye),
        State.OPEN: not isinstance(message, Hello | Proof),
    }[state]
    out_of_turn = any(isinstance(one, Closed) and one.reason is Reason.OUT_OF_TURN for one in events)
    assert out_of_turn is not allowed
    assert (type(message) in TURNS[state]) is allowed


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: type(one).__name__)
def test_a_closed_session_hears_and_says_nothing(message: messages.Message) -> None:
    session = in_state(State.CLOSED)
    assert hear(session, message) == []
    assert session.data_to_send() == []


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: type(one).__name__)
def test_in_an_open_session_a_message_is_handed_to_the_caller_or_dealt_with(message: messages.Message) -> None:
    session = in_state(State.OPEN)
    events = hear(session, message)
    if isinstance(message, Hello | Proof):
        assert_ended(session, events, Reason.OUT_OF_TURN)
    elif isinstance(message, (*ANSWERS, Busy)):
        assert_ended(session, events, Reason.UNASKED)
    elif isinstance(message, Ping):
        assert events == []
        assert said(session) == [Pong(message.nonce)]
    elif isinstance(message, Bye):
        assert events == [Closed(None, "leaving: good night")]
        assert said(session) == []
    else:
        assert events == [Received(message)]
        assert session.state is State.OPEN


@pytest.mark.parametrize("state", [State.HELLO, State.PROOF, State.OPEN])
def test_bytes_that_are_no_message_end_the_session_with_the_rule_they_broke(state: State) -> None:
    session = in_state(state)
    assert_ended(session, session.receive(b"\xc1", 0), Reason.MALFORMED)


@pytest.mark.parametrize("state", [State.HELLO, State.PROOF, State.CLOSED])
def test_sending_and_asking_need_an_open_session(state: State) -> None:
    session = in_state(state)
    with pytest.raises(LocalError):
        session.send(Put([], [], []))
    with pytest.raises(LocalError):
        session.ask(GetPages(0, 0), 0)
    session = in_state(State.OPEN)
    session.send(Twin(b"instance"))
    session.ask(GetPages(0, 0), 0)
    assert [type(one) for one in said(session)] == [Twin, GetPages]


def test_what_waits_to_be_sent_is_counted_until_it_is_taken() -> None:
    session = in_state(State.OPEN)
    assert session.unsent_bytes == 0
    session.send(Put([], [bytes(1000)], []))
    session.send(Put([], [bytes(500)], []))
    before = session.unsent_bytes
    assert before == sum(len(data) + MESSAGE_BYTES for data in session.data_to_send()) > 1500
    assert session.unsent_bytes == 0


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────


QUESTIONS: list[Question] = [GetPages(0, 0), Since(0, bytes(8), 0, bytes(32)), GetOps(0, bytes(20), 0, 0, 0)] * 2


def pages(request: int) -> Pages:
    return Pages(request, False, [], [])


def test_an_answer_is_handed_out_with_its_question() -> None:
    dialer, listener = opened()
    dialer.ask(GetPages(0, 7), 0)
    question = GetPages(1, 7)
    _, events = pump(dialer, listener)
    assert events == [Received(question)]
    listener.send(pages(1))
    events, _ = pump(dialer, listener)
    assert events == [Answered(question, pages(1))]


def test_at_most_four_questions_are_under_way_and_the_rest_wait_in_order() -> None:
    session = in_state(State.OPEN)
    for slot in range(10):
        session.ask(GetPages(0, slot), 0)
    assert [one.after_slot for one in said(session) if isinstance(one, GetPages)] == [0, 1, 2, 3]
    # Answers may come in any order; each makes room for one more.
    assert len(hear(session, pages(3))) == 1
    assert [one.after_slot for one in said(session) if isinstance(one, GetPages)] == [4]
    for request in (1, 2, 4, 5):
        hear(session, pages(request))
    assert [one.after_slot for one in said(session) if isinstance(one, GetPages)] == [5, 6, 7, 8]
    assert session.state is State.OPEN


def test_every_question_gets_a_number_of_its_own() -> None:
    session = in_state(State.OPEN)
    for request in range(1, 20):
        session.ask(GetPages(0, 0), 0)
        hear(session, pages(request))
    assert [one.request for one in said(session) if isinstance(one, GetPages)] == list(range(1, 20))


@pytest.mark.parametrize("request_", [0, 2, 2**32 - 1])
def test_an_answer_that_nobody_asked_for_ends_the_session(request_: int) -> None:
    session = in_state(State.OPEN)
    session.ask(GetPages(0, 0), 0)
    question = GetPages(1, 0)
    events = hear(session, pages(request_))
    assert events[0] == Unanswered(question)
    assert_ended(session, events, Reason.UNASKED)


def test_an_answer_of_another_kind_ends_the_session_and_the_question_is_listed_as_lost() -> None:
    session = in_state(State.OPEN)
    session.ask(GetPages(0, 0), 0)
    events = hear(session, News(1, bytes(8), 0, True, False, [], [], []))
    assert events[0] == Unanswered(GetPages(1, 0))
    assert_ended(session, events, Reason.UNASKED)


def test_an_answer_counts_once() -> None:
    session = in_state(State.OPEN)
    session.ask(GetPages(0, 0), 0)
    assert [type(one) for one in hear(session, pages(1))] == [Answered]
    assert_ended(session, hear(session, pages(1)), Reason.UNASKED)


def test_a_question_without_an_answer_is_given_up_and_the_next_is_asked() -> None:
    session = in_state(State.OPEN)
    for slot in range(5):
        session.ask(GetPages(0, slot), 100)
    said(session)
    hear(session, Ping(0), REQUEST_MS)
    assert session.tick(100 + REQUEST_MS - 1) == []
    late = session.tick(100 + REQUEST_MS)
    assert late == [Unanswered(GetPages(slot + 1, slot)) for slot in range(4)]
    assert [one.after_slot for one in said(session) if isinstance(one, GetPages)] == [4]
    assert session.state is State.OPEN


def gave_up(questions: int) -> Session:
    """Return a session that has given up this many questions."""
    session = in_state(State.OPEN)
    now_ms = 0
    for start in range(0, questions, MAX_REQUESTS_UNDER_WAY):
        for slot in range(start, min(start + MAX_REQUESTS_UNDER_WAY, questions)):
            session.ask(GetPages(0, slot), now_ms)
        now_ms += REQUEST_MS
        hear(session, Pong(0), now_ms)
        assert all(isinstance(one, Unanswered) for one in session.tick(now_ms))
    said(session)
    return session


def test_a_late_answer_is_ignored_once_and_the_session_goes_on() -> None:
    session = gave_up(2)
    session.ask(GetPages(0, 0), REQUEST_MS)
    for late in (2, 1):
        assert hear(session, pages(late), REQUEST_MS) == []
    assert [type(one) for one in hear(session, pages(3), REQUEST_MS)] == [Answered]
    assert session.state is State.OPEN
    assert_ended(session, hear(session, pages(1), REQUEST_MS), Reason.UNASKED)


def test_a_late_answer_makes_no_room_that_was_not_taken() -> None:
    session = gave_up(1)
    for slot in range(5):
        session.ask(GetPages(0, slot), REQUEST_MS)
    assert [one.request for one in said(session) if isinstance(one, GetPages)] == [2, 3, 4, 5]
    hear(session, pages(1), REQUEST_MS)
    assert said(session) == []


def test_a_late_answer_of_another_kind_ends_the_session() -> None:
    session = gave_up(1)
    assert_ended(session, hear(session, News(1, bytes(8), 0, True, False, [], [], [])), Reason.UNASKED)


@pytest.mark.parametrize(("number", "known"), [(1, False), (2, False), (3, True), (MAX_GIVEN_UP + 2, True)])
def test_numbers_of_questions_given_up_are_remembered_up_to_a_bound(number: int, known: bool) -> None:
    session = gave_up(MAX_GIVEN_UP + 2)
    hear(session, pages(number))
    assert (session.state is State.OPEN) is known


# ── busy peers ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("question", QUESTIONS[:3], ids=lambda one: type(one).__name__)
def test_a_busy_peer_ends_any_question_and_says_when_to_come_back(question: Question) -> None:
    session = in_state(State.OPEN)
    session.ask(question, 0)
    assert hear(session, Busy(1, 250)) == [Unanswered(replace(question, request=1), 250)]
    assert session.state is State.OPEN
    assert session.next_deadline() == PING_EVERY_MS, "nothing is waited for any more"


def test_a_busy_peer_makes_room_for_the_next_question() -> None:
    session = in_state(State.OPEN)
    for slot in range(5):
        session.ask(GetPages(0, slot), 0)
    said(session)
    hear(session, Busy(2, 1))
    assert [one.request for one in said(session) if isinstance(one, GetPages)] == [5]


def test_a_busy_peer_that_says_so_late_is_ignored_once() -> None:
    session = gave_up(1)
    assert hear(session, Busy(1, 250)) == []
    assert_ended(session, hear(session, Busy(1, 250)), Reason.UNASKED)


def test_a_busy_peer_says_so_once_a_question() -> None:
    session = in_state(State.OPEN)
    session.ask(GetPages(0, 0), 0)
    assert len(hear(session, Busy(1, 250))) == 1
    assert_ended(session, hear(session, Busy(1, 250)), Reason.UNASKED)
    session = in_state(State.OPEN)
    session.ask(GetPages(0, 0), 0)
    hear(session, pages(1))
    assert_ended(session, hear(session, Busy(1, 250)), Reason.UNASKED)


def test_the_next_deadline_is_the_earliest_of_ping_suspicion_answer_and_silence() -> None:
    session = in_state(State.OPEN)
    assert session.next_deadline() == PING_EVERY_MS
    session.tick(PING_EVERY_MS)
    assert session.next_deadline() == PING_EVERY_MS + SUSPECT_MS
    assert session.tick(PING_EVERY_MS + SUSPECT_MS) == [Silent()]
    assert session.next_deadline() == 2 * PING_EVERY_MS
    session.tick(2 * PING_EVERY_MS)
    session.ask(GetPages(0, 0), 2 * PING_EVERY_MS - REQUEST_MS + 1)
    assert session.next_deadline() == 2 * PING_EVERY_MS + 1
    session.tick(SILENT_MS - 1)
    assert session.next_deadline() == SILENT_MS
    session.lost()
    assert session.next_deadline() is None
    assert session.tick(10**9) == []


# ── keeping and ending ────────────────────────────────────────────────────────────────────────────────


def test_a_quiet_link_is_kept_alive_by_pings() -> None:
    dialer, listener = opened()
    for now_ms in range(PING_EVERY_MS, 20 * PING_EVERY_MS, PING_EVERY_MS):
        assert dialer.tick(now_ms) == []
        assert listener.tick(now_ms) == []
        assert pump(dialer, listener, now_ms) == ([Received(Pong(now_ms))], [Received(Pong(now_ms))])
    assert dialer.state is listener.state is State.OPEN


def test_a_ping_is_sent_once_an_interval() -> None:
    session = in_state(State.OPEN)
    session.tick(PING_EVERY_MS - 1)
    assert said(session) == []
    session.tick(PING_EVERY_MS)
    session.tick(PING_EVERY_MS + 1)
    assert said(session) == [Ping(PING_EVERY_MS)]


def test_a_peer_that_is_heard_is_not_pinged() -> None:
    session = in_state(State.OPEN)
    hear(session, Put([], [], []), PING_EVERY_MS - 1)
    assert session.tick(PING_EVERY_MS) == []
    assert said(session) == []
    assert session.next_deadline() == 2 * PING_EVERY_MS - 1


def test_a_quiet_link_is_pinged_more_rarely() -> None:
    session = in_state(State.OPEN)
    for now_ms in range(PING_EVERY_MS, QUIET_MS + 1, PING_EVERY_MS):
        session.tick(now_ms)
        hear(session, Pong(now_ms), now_ms)
    assert session.next_deadline() == QUIET_MS + QUIET_PING_EVERY_MS
    hear(session, Put([], [], []), QUIET_MS + 1)
    assert session.next_deadline() == QUIET_MS + 1 + PING_EVERY_MS


def test_a_peer_whose_pong_is_late_is_suspect_until_it_is_heard() -> None:
    session = in_state(State.OPEN)
    session.tick(PING_EVERY_MS)
    assert session.tick(PING_EVERY_MS + SUSPECT_MS - 1) == []
    assert session.tick(PING_EVERY_MS + SUSPECT_MS) == [Silent()]
    assert session.tick(PING_EVERY_MS + SUSPECT_MS + 1) == []  # said once
    suspected = session.is_silent
    hear(session, Ping(0), PING_EVERY_MS + SUSPECT_MS + 2)
    assert (suspected, session.is_silent) == (True, False)


def test_a_peer_can_be_asked_at_once_whether_it_is_there() -> None:
    session = in_state(State.OPEN)
    session.probe(10)
    session.probe(11)  # it has been asked
    assert said(session) == [Ping(10)]
    assert session.next_deadline() == 10 + SUSPECT_MS
    hear(session, Pong(10), 20)
    session.probe(30)
    assert said(session) == [Ping(30)]
    session.probe(30 + PING_EVERY_MS)
    assert said(session) == [Ping(30 + PING_EVERY_MS)]
    session.lost()
    session.probe(10**6)
    assert said(session) == []


def test_a_silent_peer_is_given_up() -> None:
    session = in_state(State.OPEN)
    session.ask(GetPages(0, 0), SILENT_MS - 2)
    assert session.tick(SILENT_MS - 1) == []
    events = session.tick(SILENT_MS)
    assert events[0] == Unanswered(GetPages(1, 0))
    assert_ended(session, events, Reason.TIMED_OUT)


@pytest.mark.parametrize("how", ["close", "fault", "lost", "bye"])
def test_the_end_lists_every_question_under_way_or_waiting(how: str) -> None:
    session = in_state(State.OPEN)
    for question in QUESTIONS:
        session.ask(question, 0)
    ends: dict[str, Callable[[], list[Event]]] = {
        "close": lambda: session.close(Reason.TOO_MANY, "enough"),
        "fault": lambda: session.receive(b"", 0),
        "lost": session.lost,
        "bye": lambda: hear(session, Bye("quota", "")),
    }
    events = ends[how]()
    lost = [one.question for one in events if isinstance(one, Unanswered)]
    assert [replace(one, request=0) for one in lost] == QUESTIONS
    expected = {
        "close": Closed(Reason.TOO_MANY, "enough"),
        "fault": Closed(Reason.TRUNCATED, "the bytes end in the middle of a value"),
        "lost": Closed(None, "the connection was lost"),
        "bye": Closed(None, "quota"),
    }
    assert events[-1] == expected[how]
    assert session.close() == session.lost() == []


def test_leaving_says_so() -> None:
    dialer, listener = opened()
    assert dialer.close() == [Closed(None, "")]
    assert dialer.state is State.CLOSED
    _, events = pump(dialer, listener)
    assert events == [Closed(None, "leaving")]


@pytest.mark.parametrize("detail", ["x" * 1000, "😀" * 300, "\x1b[2J\n\x9f"])
def test_whatever_the_detail_the_peer_can_read_our_goodbye(detail: str) -> None:
    dialer, listener = opened()
    assert dialer.close(Reason.QUOTA, detail) == [Closed(Reason.QUOTA, detail)]
    _, events = pump(dialer, listener)
    assert [type(one) for one in events] == [Closed]
    assert isinstance(events[0], Closed)
    assert events[0].reason is None
    assert events[0].detail.startswith("quota: ")
