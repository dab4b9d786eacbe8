"""Every reason is provoked by one cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import protocol
from protocol import (
    chunks,
    encoding,
    head,
    identity,
    keys,
    messages,
    minutes,
    polls,
    proof,
    records,
    roster,
    session,
    shape,
    signing,
    statements,
)
from protocol.errors import LocalError, Reason, Refused
from protocol.messages import GetPages, Nodes, Pages, Ping
from tests.protocol.builders import (
    COOP,
    GENESIS_MS,
    OTHER_COOP,
    Catalogue,
    Scenario,
    coop,
    genesis_of,
    listing,
    listings,
    me,
    member,
    refused,
    secret,
    sessions,
)

ONE = member(1)


def check_page(**changes: Any) -> None:
    one = coop(2)
    roster.check_page(one.page(**changes), one.roster, one.identity_of)


def raise_closing(events: list[session.Event]) -> None:
    """Raise the reason for which a session was closed."""
    closed = events[-1]
    assert isinstance(closed, session.Closed)
    assert closed.reason is not None
    raise Refused(closed.reason, closed.detail)


def heard(message: messages.Message, *, opened: bool = True) -> None:
    dialer, listener = sessions()
    hello = dialer.data_to_send()[0]
    if opened:
        listener.receive(hello, 0)
        for data in listener.data_to_send():
            dialer.receive(data, 0)
        listener.receive(dialer.data_to_send()[0], 0)
        listener.ask(GetPages(0, 0), 0)
    raise_closing(listener.receive(messages.write(message), 0))


def same_node() -> None:
    dialer, listener = sessions(me(ONE), me(ONE))
    raise_closing(listener.receive(dialer.data_to_send()[0], 0))


def handshake_timeout() -> None:
    dialer, _ = sessions()
    raise_closing(dialer.tick(10_000))


def unknown_author() -> None:
    one = coop(2)
    page = one.page()
    roster.check_page(page, one.roster, lambda _: None)


def frozen() -> None:
    scenario = Scenario("A1 -> A2, A1 -> A3")
    signed = signing.sign("head", COOP, b"body", scenario.seed("A2"))
    scenario.fold().verify(signed, "head", COOP, 1)


def not_fenced() -> None:
    Scenario("A1(e5)").fold().key_for_epoch(4)


def not_successor() -> None:
    Scenario("A1 -> A2").fold(order=["A2"])


def ballot(choice: str = "yes") -> statements.Statement:
    return ONE.says("ballot", proposal=secret("proposal"), choice=choice)


def superseded() -> None:
    statements.check_replaces(ballot(), ballot())


def equivocation() -> None:
    statements.check_replaces(ballot("no"), ballot())


def head_of(rev: int) -> head.Head:
    return Catalogue().head(ONE, rev=rev)


def proof_mismatch() -> None:
    proof.Finding(None).check_value(*listing(1))


def root_mismatch() -> None:
    walk = Catalogue().walk_to(Catalogue({"listing": listings(1)}).head(ONE))
    (question,) = walk.questions()
    walk.receive(question, Nodes(0, None, encoding.encode([]), []))


def chunk_mismatch() -> None:
    chunks.read_chunk(chunks.write_chunk([(b"key", b"")]), "0" * 64)


def not_enough_finals() -> None:
    one = coop(2)
    roster.check_certificate(one.official(one.page(), one.members[:1]), one.roster, one.identity_of)


def not_entitled() -> None:
    one = coop(1)
    page = one.page()
    roster.check_final(one.final(page, member(9)), page, one.roster, one.identity_of)


def void_invitation() -> None:
    one = coop(1)
    one.draft([one.admission(member(9), one.invitation(days=0))])


def motion(choice: str = "yes") -> tuple[statements.Statement, statements.Statement]:
    own: dict[str, Any] = {
        "title": "T",
        "text": "",
        "method": "yes_no",
        "options": [],
        "page": bytes(32),
        "opens_ms": 1,
        "closes_ms": 2,
        "quorum_bp": 0,
        "threshold_bp": 5000,
    }
    on = ONE.says("proposal", **own)
    return ONE.says("ballot", proposal=on.statement_id, choice=choice), on


def wrong_choice() -> None:
    cast, on = motion("perhaps")
    polls.check_ballot(cast, on, coop(1).roster)


def wrong_secretary() -> None:
    one = coop(2)
    other = next(who for who in one.members if who != one.secretary)
    roster.check_page(one.page(by=other), one.roster, one.identity_of)


def decode(data: bytes) -> object:
    return encoding.decode(data, 100)


PROVOKED: dict[Reason, Callable[[], object]] = {
    Reason.TOO_LARGE: lambda: encoding.decode(bytes(2), 1),
    Reason.TOO_DEEP: lambda: decode(b"\x91" * 9 + b"\x01"),
    Reason.TRUNCATED: lambda: decode(b"\x92\x01"),
    Reason.TRAILING: lambda: decode(b"\x01\x01"),
    Reason.MALFORMED: lambda: decode(b"\xc1"),
    Reason.FORBIDDEN_TYPE: lambda: decode(b"\xca\x00\x00\x00\x00"),
    Reason.NOT_CANONICAL: lambda: decode(b"\xcc\x01"),
    Reason.WRONG_SHAPE: lambda: shape.boolean(1, "field"),
    Reason.OUT_OF_RANGE: lambda: shape.integer(0, 1)(2, "field"),
    Reason.WRONG_VERSION: lambda: head.read(bytes(64) + encoding.encode([2])),
    Reason.UNKNOWN_KIND: lambda: messages.read(b"\x91\x63"),
    Reason.BAD_KEY: lambda: keys.check_point(bytes(32)),
    Reason.BAD_SIGNATURE: lambda: keys.verify(keys.public_key(secret(1)), keys.sign(secret(2), b""), b""),
    Reason.WRONG_COOP: lambda: minutes.read_genesis(genesis_of([ONE])[0], OTHER_COOP),
    Reason.UNKNOWN_AUTHOR: unknown_author,
    Reason.NOT_SUCCESSOR: not_successor,
    Reason.EPOCH_NOT_FENCED: not_fenced,
    Reason.IDENTITY_FROZEN: frozen,
    Reason.SUPERSEDED: superseded,
    Reason.RECORD_KEY: lambda: records.check_collection(""),
    Reason.RECORD_VALUE: lambda: records.check_value("listing", {}),
    Reason.CHUNK_MISMATCH: chunk_mismatch,
    Reason.ROOT_MISMATCH: root_mismatch,
    Reason.PROOF_MISMATCH: proof_mismatch,
    Reason.STALE: lambda: head.check_replaces(head_of(1), head_of(2)),
    Reason.FUTURE: lambda: head.check_not_future(head_of(10**12), 0),
    Reason.EQUIVOCATION: equivocation,
    Reason.OUT_OF_TURN: lambda: heard(Ping(1), opened=False),
    Reason.UNASKED: lambda: heard(Pages(9, False, [], [])),
    Reason.TIMED_OUT: handshake_timeout,
    Reason.SAME_NODE: same_node,
    Reason.WRONG_PARENT: lambda: check_page(parent=bytes(32)),
    Reason.WRONG_SLOT: lambda: check_page(slot=2),
    Reason.WRONG_SECRETARY: wrong_secretary,
    Reason.WRONG_STATE: lambda: check_page(state=bytes(32)),
    Reason.WRONG_TIME: lambda: check_page(time_ms=GENESIS_MS - 1),
    Reason.BAD_ACT: lambda: check_page(acts=[{"act": "expel"}]),
    Reason.NOT_ENOUGH_FINALS: not_enough_finals,
    Reason.INVITATION_VOID: void_invitation,
    Reason.UNKNOWN_PROPOSAL: lambda: polls.check_ballot(ballot(), None, coop(1).roster),
    Reason.NOT_ENTITLED: not_entitled,
    Reason.WRONG_CHOICE: wrong_choice,
}

OF_THE_NODE = {Reason.NOT_MEMBER, Reason.QUOTA, Reason.OPS_MISMATCH, Reason.TOO_MANY, Reason.FORGED}
"""These are decided where records are kept and links counted: nothing in protocol/ can know them."""


def test_every_reason_is_provoked_or_belongs_to_the_node() -> None:
    assert PROVOKED.keys() | OF_THE_NODE == set(Reason)
    assert not PROVOKED.keys() & OF_THE_NODE


def test_the_reasons_of_the_node_are_named_nowhere_in_protocol() -> None:
    room = Path(protocol.__file__).parent
    sources = {path.name: path.read_text() for path in room.glob("*.py") if path.name != "errors.py"}
    assert sources
    for reason in Reason:
        named = [name for name, text in sources.items() if f"Reason.{reason.name}," in text]
        assert bool(named) is (reason not in OF_THE_NODE), (reason, named)


@pytest.mark.parametrize("reason", PROVOKED)
def test_a_reason_is_provoked(reason: Reason) -> None:
    with refused(reason):
        PROVOKED[reason]()


@pytest.mark.parametrize("reason", sorted(OF_THE_NODE))
def test_a_reason_of_the_node_can_end_a_session(reason: Reason) -> None:
    dialer, _ = sessions()
    events = dialer.close(reason, "the node says so")
    with refused(reason):
        raise_closing(events)


def test_a_reason_is_one_word_that_reads_the_same_everywhere() -> None:
    for reason in Reason:
        assert reason.value == reason.name.lower() == str(reason)


def test_a_refusal_is_a_sentence_and_our_own_mistake_is_no_refusal() -> None:
    assert str(Refused(Reason.STALE, "a later head is known")) == "a later head is known (stale)"
    assert not issubclass(LocalError, Refused)


def test_the_good_cases_beside_the_provoked_ones_pass() -> None:
    check_page()
    cast, on = motion()
    polls.check_ballot(cast, on, coop(1).roster)
    identity.check_first(ONE.identity.current)
    statements.check_replaces(ballot(), None)
    head.check_replaces(head_of(2), head_of(1))
    head.check_not_future(head_of(1), 0)
    proof.Finding(None)
    keys.verify(keys.public_key(secret(1)), keys.sign(secret(1), b""), b"")
    assert minutes.read_genesis(*genesis_of([ONE])).name == "Test co-op"
