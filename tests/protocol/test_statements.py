"""Statements, their slots and which of two holds."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import signing, statements
from protocol.encoding import encode
from protocol.errors import LocalError, Reason
from protocol.statements import Statement
from tests.protocol.builders import COOP, OTHER_COOP, Member, Scenario, member, refused, secret

AUTHOR, OTHER = member(1), member(2)
HASH = secret("some object")

FIELDS: dict[str, dict[str, Any]] = {
    "contact": {"name": "Orchard", "endpoints": ["https://orchard.example"], "relays": [OTHER.member_id]},
    "proposal": {
        "title": "A new scale",
        "text": "It is old.\nIt is broken.",
        "method": "yes_no",
        "options": [],
        "page": HASH,
        "opens_ms": 1,
        "closes_ms": 2,
        "quorum_bp": 5000,
        "threshold_bp": 5000,
    },
    "ballot": {"proposal": HASH, "choice": "yes", "why": "because"},
    "invitation": {"nonce": bytes(16), "until_ms": 1, "uses": 1},
    "application": {"invitation": HASH, "name": "Newcomer", "log": [AUTHOR.log[0]]},
    "page": {
        "teller_epoch": 0,
        "slot": 1,
        "parent": HASH,
        "time_ms": 1,
        "acts": [{"act": "admit"}],
        "state": HASH,
    },
    "final": {"slot": 1, "page": HASH},
}


def say(kind: str, by: Member = AUTHOR, revision: int = 1, epoch: int = 0, **changes: Any) -> Statement:
    return by.says(kind, revision=revision, epoch=epoch, **{**FIELDS[kind], **changes})


def raw(**changes: Any) -> bytes:
    own = {"v": 1, "kind": "ballot", "member": AUTHOR.member_id, "epoch": 0, "revision": 1, **FIELDS["ballot"]}
    body = encode({name: value for name, value in {**own, **changes}.items() if value is not ...})
    return signing.sign("ballot", COOP, body, AUTHOR.seed).to_bytes()


def test_every_kind_has_an_example_here() -> None:
    assert FIELDS.keys() == statements.KINDS.keys()


@pytest.mark.parametrize("kind", FIELDS)
def test_every_kind_is_written_read_and_verified(kind: str) -> None:
    one = say(kind)
    again = statements.read_kind(one.signed.to_bytes(), kind)
    assert again == one
    assert (again.kind, again.member_id, again.order, again.fields) == (kind, AUTHOR.member_id, (0, 1), FIELDS[kind])
    statements.verify(again, COOP, AUTHOR.identity)


@pytest.mark.parametrize("kind", FIELDS)
def test_no_kind_does_without_one_of_its_fields(kind: str) -> None:
    for name in statements.KINDS[kind].required:
        own = {field: value for field, value in FIELDS[kind].items() if field != name}
        body = {"v": 1, "kind": kind, "member": AUTHOR.member_id, "epoch": 0, "revision": 1, **own}
        with refused(Reason.WRONG_SHAPE):
            statements.read(signing.sign(kind, COOP, encode(body), AUTHOR.seed).to_bytes())


@pytest.mark.parametrize("kind", FIELDS)
def test_only_a_contact_may_say_more_than_we_know(kind: str) -> None:
    if kind == "contact":
        assert say(kind, later="field").fields["later"] == "field"
    else:
        with refused(Reason.WRONG_SHAPE):
            say(kind, later="field")


def test_a_ballot_need_not_say_why() -> None:
    assert "why" not in statements.read(raw(why=...)).fields


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "rumour"}, Reason.UNKNOWN_KIND),
        ({"kind": ...}, Reason.WRONG_SHAPE),
        ({"v": 2}, Reason.WRONG_VERSION),
        ({"v": 256}, Reason.OUT_OF_RANGE),
        ({"member": bytes(21)}, Reason.WRONG_SHAPE),
        ({"epoch": -1}, Reason.OUT_OF_RANGE),
        ({"revision": "1"}, Reason.WRONG_SHAPE),
        ({"choice": ""}, Reason.OUT_OF_RANGE),
        ({"why": "x" * 2001}, Reason.OUT_OF_RANGE),
        ({"why": "x" * 17_000}, Reason.TOO_LARGE),
        ({"unknown": 1}, Reason.WRONG_SHAPE),
    ],
)
def test_a_statement_that_breaks_a_rule_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    assert statements.read(raw()).kind == "ballot"
    with refused(reason):
        statements.read(raw(**changes))


def test_a_statement_is_a_map() -> None:
    with refused(Reason.WRONG_SHAPE):
        statements.read(bytes(64) + encode([1]))


@pytest.mark.parametrize("endpoint", ["ftp://x", "orchard.example", "", "https://" + "x" * 300])
def test_an_endpoint_is_a_web_address(endpoint: str) -> None:
    with refused(Reason.OUT_OF_RANGE):
        say("contact", endpoints=[endpoint])
    assert say("contact", endpoints=["http://x"]).fields["endpoints"] == ["http://x"]


def test_another_kind_than_the_one_expected_is_refused() -> None:
    with refused(Reason.UNKNOWN_KIND):
        statements.read_kind(raw(), "page")
    assert statements.read_kind(raw(), "ballot").kind == "ballot"


def test_a_signature_holds_for_its_author_coop_and_kind_only() -> None:
    one = say("ballot")
    with refused(Reason.BAD_SIGNATURE):
        statements.verify(one, COOP, OTHER.identity)
    with refused(Reason.BAD_SIGNATURE):
        statements.verify(one, OTHER_COOP, AUTHOR.identity)
    moved = signing.sign("final", COOP, one.signed.body, AUTHOR.seed).to_bytes()
    with refused(Reason.BAD_SIGNATURE):
        statements.verify(statements.read(moved), COOP, AUTHOR.identity)
    statements.verify(one, COOP, AUTHOR.identity)


def test_a_statement_of_a_new_epoch_needs_the_new_key() -> None:
    scenario = Scenario("A1 -> A2(e3)")
    identity = scenario.fold()
    old = Member(scenario.seed("A1"), b"", identity)
    new = Member(scenario.seed("A2"), b"", identity)
    statements.verify(say("ballot", old, epoch=2), COOP, identity)
    statements.verify(say("ballot", new, epoch=3), COOP, identity)
    with refused(Reason.BAD_SIGNATURE):
        statements.verify(say("ballot", old, epoch=3), COOP, identity)


ONE_SLOT: list[tuple[str, dict[str, Any]]] = [
    ("contact", {"name": "Moved"}),
    ("ballot", {"choice": "no"}),
    ("invitation", {"uses": 2}),
    ("application", {"name": "Renamed"}),
    ("page", {"state": secret("other")}),
    ("final", {"page": secret("other")}),
]
OTHER_SLOT: list[tuple[str, dict[str, Any]]] = [
    ("proposal", {"revision": 2}),
    ("proposal", {"epoch": 1}),
    ("ballot", {"proposal": secret("other")}),
    ("invitation", {"nonce": b"1" * 16}),
    ("application", {"invitation": secret("other")}),
    ("page", {"slot": 2}),
    ("final", {"slot": 2}),
]


@pytest.mark.parametrize(("kind", "changes"), ONE_SLOT)
def test_a_later_word_about_the_same_thing_has_the_same_slot(kind: str, changes: dict[str, Any]) -> None:
    assert say(kind, revision=9, **changes).slot == say(kind).slot


@pytest.mark.parametrize(("kind", "changes"), OTHER_SLOT)
def test_a_word_about_another_thing_has_another_slot(kind: str, changes: dict[str, Any]) -> None:
    assert say(kind, **changes).slot != say(kind).slot


def test_slots_of_kinds_and_authors_are_apart() -> None:
    slots = [say(kind, by).slot for kind in FIELDS for by in (AUTHOR, OTHER)]
    assert len(set(slots)) == len(slots)
    assert {len(slot) for slot in slots} == {32}


def test_a_proposal_cannot_be_corrected_but_equivocation_about_it_shows() -> None:
    one, two = say("proposal"), say("proposal", title="Another title")
    assert one.slot == two.slot
    with refused(Reason.EQUIVOCATION):
        statements.check_replaces(two, one)


def test_the_highest_epoch_and_then_revision_holds() -> None:
    old, later, newest = say("ballot"), say("ballot", revision=2), say("ballot", epoch=1)
    statements.check_replaces(old, None)
    statements.check_replaces(later, old)
    statements.check_replaces(newest, later)
    for new, current in ((old, later), (later, newest), (old, old)):
        with refused(Reason.SUPERSEDED):
            statements.check_replaces(new, current)


def test_two_statements_of_one_revision_are_equivocation() -> None:
    with refused(Reason.EQUIVOCATION):
        statements.check_replaces(say("ballot", choice="no"), say("ballot"))


def test_an_own_statement_is_refused_where_a_foreign_one_would_be() -> None:
    with refused(Reason.UNKNOWN_KIND):
        AUTHOR.says("rumour")
    with pytest.raises(LocalError):
        say("contact", later=0.5)
