"""Genesis and official pages as bytes."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from protocol import minutes, signing
from protocol.encoding import decode, encode
from protocol.errors import Reason, Refused
from protocol.limits import MAX_SIGNED_BYTES
from protocol.signing import NO_COOP
from tests.protocol.builders import COOP, GENESIS_MS, Scenario, coop, genesis_of, member, refused, secret

MEMBERS = [member(number) for number in (1, 2, 3)]
BUNDLE, COOP_ID = genesis_of(MEMBERS)
MIB = 1024 * 1024


@pytest.mark.parametrize("number", [1, 2, 3, 20])
def test_a_charter_signed_by_all_its_founders_is_read(number: int) -> None:
    founders = [member(one) for one in range(number)]
    bundle, coop_id = genesis_of(founders)
    genesis = minutes.read_genesis(bundle, coop_id)
    assert {one.member_id for one in genesis.founders} == {one.member_id for one in founders}
    assert (genesis.name, genesis.time_ms, genesis.coop_id) == ("Test co-op", GENESIS_MS, coop_id)
    assert genesis.policy == {"fee_bp": 100, "motto": "one member, one vote"}
    assert genesis.bundle == bundle


def test_the_coop_is_named_by_its_charter_and_not_by_the_order_of_its_founders() -> None:
    assert genesis_of(MEMBERS[::-1]) == (BUNDLE, COOP_ID)
    assert hashlib.sha256(decode(BUNDLE, MIB)[0]).digest() == COOP_ID
    assert genesis_of(MEMBERS, name="Other")[1] != COOP_ID


def test_the_charter_of_another_coop_is_refused() -> None:
    with refused(Reason.WRONG_COOP):
        minutes.read_genesis(BUNDLE, COOP)


def charter(**changes: Any) -> dict[str, Any]:
    value: dict[str, Any] = decode(decode(BUNDLE, MIB)[0], MIB)
    return {**value, **changes}


def bundle_of(value: dict[str, Any]) -> tuple[bytes, bytes]:
    body = encode(value)
    _, signatures, log = decode(BUNDLE, MIB)
    ordered = sorted(MEMBERS, key=lambda one: one.member_id)
    signatures = [minutes.sign_genesis(body, one.seed) for one in ordered]
    return minutes.genesis_bundle(body, signatures, log), hashlib.sha256(body).digest()


FOUNDERS = charter()["founders"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 2}, Reason.WRONG_VERSION),
        ({"v": 300, "extra": 1}, Reason.WRONG_VERSION),
        ({"v": "1"}, Reason.WRONG_SHAPE),
        ({"kind": "charter"}, Reason.OUT_OF_RANGE),
        ({"admission": "anybody"}, Reason.OUT_OF_RANGE),
        ({"founders": FOUNDERS[::-1]}, Reason.NOT_CANONICAL),
        ({"founders": [FOUNDERS[0], *FOUNDERS]}, Reason.NOT_CANONICAL),
        ({"founders": FOUNDERS[:2]}, Reason.BAD_SIGNATURE),
        ({"founders": []}, Reason.OUT_OF_RANGE),
        ({"founders": [*FOUNDERS[:2], b"\xff" * 20]}, Reason.UNKNOWN_AUTHOR),
        ({"policy": []}, Reason.WRONG_SHAPE),
        ({"policy": {str(one): 1 for one in range(65)}}, Reason.WRONG_SHAPE),
        ({"policy": {"": 1}}, Reason.OUT_OF_RANGE),
        ({"policy": {"fee_bp": None}}, Reason.WRONG_SHAPE),
        ({"policy": {"fee_bp": 2**54}}, Reason.OUT_OF_RANGE),
        ({"policy": {"motto": "x" * 501}}, Reason.OUT_OF_RANGE),
        ({"extra": 1}, Reason.WRONG_SHAPE),
    ],
)
def test_a_charter_that_breaks_a_rule_is_refused_even_if_all_sign_it(changes: dict[str, Any], reason: Reason) -> None:
    with refused(reason):
        minutes.read_genesis(*bundle_of(charter(**changes)))


def test_the_same_charter_without_the_fault_is_read() -> None:
    assert minutes.read_genesis(*bundle_of(charter(policy={"motto": "", "fee_bp": -1}))).policy["fee_bp"] == -1


def test_every_founder_must_have_signed() -> None:
    body, signatures, log = decode(BUNDLE, MIB)
    stranger = minutes.sign_genesis(body, member(9).seed)
    for bad in (signatures[::-1], [stranger, *signatures[1:]], signatures[:2], [*signatures, stranger]):
        with refused(Reason.BAD_SIGNATURE):
            minutes.read_genesis(minutes.genesis_bundle(body, bad, log), COOP_ID)
    assert minutes.read_genesis(minutes.genesis_bundle(body, signatures, log), COOP_ID).name == "Test co-op"


def test_a_founder_without_its_identity_is_an_unknown_author() -> None:
    body, signatures, log = decode(BUNDLE, MIB)
    with refused(Reason.UNKNOWN_AUTHOR):
        minutes.read_genesis(minutes.genesis_bundle(body, signatures, log[:2]), COOP_ID)


def test_the_order_of_the_identity_statements_does_not_matter() -> None:
    body, signatures, log = decode(BUNDLE, MIB)
    again = minutes.read_genesis(minutes.genesis_bundle(body, signatures, log[::-1]), COOP_ID)
    assert again.founders == minutes.read_genesis(BUNDLE, COOP_ID).founders


def test_identities_of_several_members_are_folded_apart() -> None:
    one, other = Scenario("A1 -> A2 -> A3"), Scenario("B1 -> B2, B1 -> B3")
    log = [each.signed.to_bytes() for each in (*other.statements.values(), *one.statements.values())]
    folded = minutes.fold_identities(log[::-1] + log)
    assert [one.shown(folded[one.fold().member_id]), other.shown(folded[other.fold().member_id])] == [
        "A1 A2 A3",
        "B1 !",
    ]


def test_an_identity_whose_beginning_is_missing_is_refused() -> None:
    one = Scenario("A1 -> A2 -> A3")
    with refused(Reason.NOT_SUCCESSOR):
        minutes.fold_identities([one.statements[name].signed.to_bytes() for name in ("A2", "A3")])


def test_a_founder_signs_with_its_first_key_whatever_its_log_says_later() -> None:
    scenario = Scenario("A1 -> A2")
    identity = scenario.fold()
    body = minutes.genesis_body(
        name="One", founders=[identity.member_id], time_ms=1, nonce=secret("nonce")[:16], policy={}
    )
    coop_id = hashlib.sha256(body).digest()
    log = [one.signed.to_bytes() for one in identity.log]

    def bundle(key: str) -> bytes:
        return minutes.genesis_bundle(body, [minutes.sign_genesis(body, scenario.seed(key))], log)

    assert minutes.read_genesis(bundle("A1"), coop_id).founders == (identity,)
    with refused(Reason.BAD_SIGNATURE):
        minutes.read_genesis(bundle("A2"), coop_id)


def test_a_page_with_its_finals_is_read_as_it_was_written() -> None:
    one = coop(3)
    page = one.page()
    data = minutes.write_official(page, [one.final(page, who) for who in one.members])
    again = minutes.read_official(data)
    assert again.page == page
    assert (page.slot, page.secretary, page.acts) == (1, one.secretary.member_id, ())
    assert [final.member_id for final in again.finals] == sorted(who.member_id for who in one.members)
    shuffled = minutes.write_official(page, [one.final(page, who) for who in one.members[::-1]])
    assert shuffled == data


def test_a_page_is_a_page_and_its_finals_are_finals() -> None:
    one = coop(2)
    page = one.page()
    final = one.final(page, one.members[0])
    whole = [page.statement.signed.to_bytes(), [final.signed.to_bytes()]]
    assert minutes.read_official(encode(whole)).finals == (final,)
    for bad in ([whole[1][0], whole[1]], [whole[0], [whole[0]]]):
        with refused(Reason.UNKNOWN_KIND):
            minutes.read_official(encode(bad))
    with refused(Reason.OUT_OF_RANGE):
        minutes.read_official(encode([whole[0], []]))
    with refused(Reason.WRONG_SHAPE):
        minutes.read_official(encode([whole[0]]))


def test_what_is_signed_may_have_a_whole_body_and_its_signature() -> None:
    body, signatures, log = decode(BUNDLE, MIB)
    one = coop(1)
    page = one.page().statement.signed.to_bytes()
    for size, reason in ((MAX_SIGNED_BYTES, Reason.TRAILING), (MAX_SIGNED_BYTES + 1, Reason.OUT_OF_RANGE)):
        with refused(reason):
            minutes.read_genesis(minutes.genesis_bundle(body, signatures, [*log, bytes(size)]), COOP_ID)
        for whole in ([bytes(size), [page]], [page, [bytes(size)]]):
            with refused(reason):
                minutes.read_official(encode(whole))


def test_a_charter_cannot_be_signed_as_something_else() -> None:
    body, signatures, log = decode(BUNDLE, MIB)
    ordered = sorted(MEMBERS, key=lambda one: one.member_id)
    moved = [signing.sign("page", COOP_ID, body, one.seed).signature for one in ordered]
    unbound = [signing.sign("genesis", NO_COOP, body, one.seed).signature for one in ordered]
    for bad in (moved, unbound):
        with pytest.raises(Refused) as caught:
            minutes.read_genesis(minutes.genesis_bundle(body, bad, log), COOP_ID)
        assert caught.value.reason is Reason.BAD_SIGNATURE
    assert minutes.read_genesis(minutes.genesis_bundle(body, signatures, log), COOP_ID)
