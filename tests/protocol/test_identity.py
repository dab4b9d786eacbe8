"""Who speaks for a member. Scenarios are written in the chain notation of `builders.Scenario`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import identity, keys, signing
from protocol.encoding import encode
from protocol.errors import Reason
from protocol.identity import IdentityStatement
from tests.protocol.builders import COOP, QUICK, Scenario, member, refused, secret

# what it shows, the statements, settled by a page, the log that holds ("!": frozen)
SCENARIOS: list[tuple[str, str, str | None, str]] = [
    ("a first statement stands alone", "A1", None, "A1"),
    ("a chain is followed to its end", "A1 -> A2 -> A3 -> A4", None, "A1 A2 A3 A4"),
    ("the higher rotation key wins", "A1 -> A2(r1), A1 -> A3(r0)", None, "A1 A3"),
    ("and its branch is followed", "A1 -> A2(r1) -> A4 -> A5, A1 -> A3(r0) -> A6", None, "A1 A3 A6"),
    ("the middle key beats the last", "A1 -> A2(r2), A1 -> A3(r1)", None, "A1 A3"),
    ("the key on paper beats every rotation key", "A1 -> A2(r0), A1 -> A3(paper)", None, "A1 A3"),
    ("equal priority freezes", "A1 -> A2(r0), A1 -> A3(r0)", None, "A1 !"),
    ("two sheets of paper freeze", "A1 -> A2(paper), A1 -> A3(paper)", None, "A1 !"),
    ("it freezes at the fork, not at the root", "A1 -> A2 -> A3(r1), A2 -> A4(r1)", None, "A1 A2 !"),
    (
        "a fork of two weak keys yields to a strong one",
        "A1 -> A2(r1), A1 -> A3(r1), A1 -> A4",
        None,
        "A1 A4",
    ),
    ("a longer branch does not thaw", "A1 -> A2 -> A4 -> A5, A1 -> A3", None, "A1 !"),
    ("a page settles a frozen fork", "A1 -> A2, A1 -> A3", "A2", "A1 A2"),
    ("for the other side as well", "A1 -> A2, A1 -> A3", "A3", "A1 A3"),
    ("a page deep in a branch settles the fork above it", "A1 -> A2 -> A4, A1 -> A3", "A4", "A1 A2 A4"),
    ("a page beats priority", "A1 -> A2(r1) -> A4, A1 -> A3(paper)", "A2", "A1 A2 A4"),
    (
        "after the settled one priority decides again",
        "A1 -> A2, A1 -> A3, A2 -> A4(r1), A2 -> A5",
        "A2",
        "A1 A2 A5",
    ),
    ("after the settled statement a fork freezes again", "A1 -> A2, A1 -> A3, A2 -> A4, A2 -> A5", "A2", "A1 A2 !"),
    ("a page about a statement unknown here settles nothing", "A1 -> A2, A1 -> A3", "Z9", "A1 !"),
    ("a page cannot give a stranger a right", "A1 -> A2(stranger)", "A2", "A1"),
    ("a stranger has no say", "A1 -> A2(stranger)", None, "A1"),
    ("a stranger cannot freeze", "A1 -> A2(r0), A1 -> A3(stranger)", None, "A1 A2"),
    ("a change of the same epoch does not count", "A1 -> A2(e0)", None, "A1"),
    ("a change may skip epochs", "A1 -> A2(e7) -> A3(e9)", None, "A1 A2 A3"),
    ("a change back to an earlier epoch does not count", "A1 -> A2(e7) -> A3(e6)", None, "A1 A2"),
    ("a wrong sequence number does not count", "A1 -> A2(s5)", None, "A1"),
    ("paper is good for its own predecessor only", "A1 -> A2(paper) -> A3(paper)", None, "A1 A2 A3"),
]


@pytest.mark.parametrize(
    ("notation", "settled", "holds"), [row[1:] for row in SCENARIOS], ids=[row[0] for row in SCENARIOS]
)
def test_the_log_that_holds_is(notation: str, settled: str | None, holds: str) -> None:
    scenario = Scenario(notation)
    assert scenario.shown(scenario.fold(settled)) == holds


ALL_FORKS = Scenario("A1 -> A2(r1) -> A4, A1 -> A3(r0) -> A5(r2), A3 -> A6(r2), A5 -> A7, A3 -> A8(stranger)")


@QUICK
@given(st.permutations(list(ALL_FORKS.statements)), st.sampled_from([None, "A2", "A4", "A5", "A7"]))
def test_any_order_of_arrival_gives_the_same_log(order: list[str], settled: str | None) -> None:
    assert ALL_FORKS.fold(settled, order) == ALL_FORKS.fold(settled)
    assert ALL_FORKS.fold(settled, [*order, *order]) == ALL_FORKS.fold(settled)


def test_the_scenario_of_all_forks_differs_by_what_is_settled() -> None:
    seen = {settled: ALL_FORKS.shown(ALL_FORKS.fold(settled)) for settled in (None, "A2", "A5", "A6")}
    assert seen == {None: "A1 A3 !", "A2": "A1 A2 A4", "A5": "A1 A3 A5 A7", "A6": "A1 A3 A6"}


def test_statements_that_wait_for_their_predecessor_are_passed_over() -> None:
    chain = Scenario("A1 -> A2 -> A3 -> A4")
    assert chain.shown(chain.fold(order=["A4", "A3", "A1"])) == "A1"
    assert chain.shown(chain.fold(order=["A4", "A3", "A2", "A1"])) == "A1 A2 A3 A4"


def test_a_log_without_its_first_statement_is_refused() -> None:
    with refused(Reason.NOT_SUCCESSOR):
        Scenario("A1 -> A2").fold(order=["A2"])


TWO_FIRSTS = Scenario("A1 -> A2, B1 -> B2, B1 -> B3")


@QUICK
@given(st.permutations(list(TWO_FIRSTS.statements)))
def test_of_several_first_statements_the_member_id_chooses_whatever_the_order(order: list[str]) -> None:
    given_ = [TWO_FIRSTS.statements[name] for name in order]
    for name, holds in (("A1", "A1 A2"), ("B1", "B1 !")):
        member_id = TWO_FIRSTS.statements[name].member_id
        folded = identity.fold(given_, member_id)
        assert TWO_FIRSTS.shown(folded) == holds
        assert folded.member_id == member_id
    settled = TWO_FIRSTS.statements["B3"].statement_id
    assert TWO_FIRSTS.shown(identity.fold(given_, TWO_FIRSTS.statements["B1"].member_id, settled)) == "B1 B3"
    with refused(Reason.NOT_SUCCESSOR):
        identity.fold(given_)
    with refused(Reason.NOT_SUCCESSOR):
        identity.fold(given_, member(1).member_id)


def test_a_later_statement_cannot_found_a_log_by_its_id() -> None:
    later = TWO_FIRSTS.statements["A2"]
    with refused(Reason.NOT_SUCCESSOR):
        identity.fold([later], later.member_id)


def test_a_first_statement_signed_by_a_stranger_is_refused() -> None:
    with refused(Reason.NOT_SUCCESSOR):
        Scenario("A1(stranger)").fold()
    assert Scenario("A1(r2)").fold().current.seq == 0


def test_check_first_refuses_a_later_statement() -> None:
    scenario = Scenario("A1 -> A2")
    with refused(Reason.NOT_SUCCESSOR):
        identity.check_first(scenario.statements["A2"])
    identity.check_first(scenario.statements["A1"])


def test_a_member_is_named_by_its_first_statement_for_ever() -> None:
    scenario = Scenario("A1 -> A2 -> A3")
    assert scenario.fold().member_id == scenario.statements["A1"].statement_id[:20]
    assert scenario.fold().member_id == scenario.statements["A1"].member_id


def say(scenario: Scenario, name: str) -> signing.Signed:
    return signing.sign("head", COOP, b"body", scenario.seed(name))


FENCED = Scenario("A1 -> A2(e5) -> A3(e9)")


@pytest.mark.parametrize(
    ("key", "epoch"),
    [("A1", 0), ("A1", 4), ("A2", 5), ("A2", 8), ("A3", 9), ("A3", 1000)],
)
def test_each_key_signs_in_its_own_epochs(key: str, epoch: int) -> None:
    FENCED.fold().verify(say(FENCED, key), "head", COOP, epoch)


@pytest.mark.parametrize(
    ("key", "epoch"), [("A1", 5), ("A1", 9), ("A2", 9), ("A2", 4), ("A3", 8), ("A3", 0), ("A1", 2**48)]
)
def test_a_stolen_old_key_cannot_pass_its_epoch_nor_a_new_one_rewrite_the_past(key: str, epoch: int) -> None:
    with refused(Reason.BAD_SIGNATURE):
        FENCED.fold().verify(say(FENCED, key), "head", COOP, epoch)


def test_an_epoch_before_the_identity_began_is_not_fenced() -> None:
    late = Scenario("A1(e3)")
    with refused(Reason.EPOCH_NOT_FENCED):
        late.fold().verify(say(late, "A1"), "head", COOP, 2)
    late.fold().verify(say(late, "A1"), "head", COOP, 3)


def test_a_frozen_identity_signs_up_to_the_fork_and_not_beyond_until_a_page_settles_it() -> None:
    frozen = Scenario("A1 -> A2(e2) -> A3(e4), A2 -> A4(e4)")
    frozen.fold().verify(say(frozen, "A2"), "head", COOP, 2)
    for key in ("A2", "A3", "A4"):
        with refused(Reason.IDENTITY_FROZEN):
            frozen.fold().verify(say(frozen, key), "head", COOP, 4)
    frozen.fold("A3").verify(say(frozen, "A3"), "head", COOP, 4)
    with refused(Reason.BAD_SIGNATURE):
        frozen.fold("A3").verify(say(frozen, "A4"), "head", COOP, 4)


@pytest.mark.parametrize(
    ("notation", "reason"),
    [
        ("A1 -> A2(stranger)", Reason.NOT_SUCCESSOR),
        ("A1 -> A2(s3)", Reason.NOT_SUCCESSOR),
        ("A1 -> A2(e0)", Reason.EPOCH_NOT_FENCED),
    ],
)
def test_priority_says_why_a_statement_is_no_successor(notation: str, reason: Reason) -> None:
    one = Scenario(notation).statements
    with refused(reason):
        identity.priority(one["A2"], one["A1"])


def test_priority_counts_from_paper_down_the_rotation_keys() -> None:
    one = Scenario("A1 -> A2(paper), A1 -> A3(r0), A1 -> A4(r1), A1 -> A5(r2)").statements
    assert [identity.priority(one[name], one["A1"]) for name in ("A2", "A3", "A4", "A5")] == [0, 1, 2, 3]


def test_a_statement_that_names_another_predecessor_is_no_successor() -> None:
    one = Scenario("A1 -> A2 -> A3").statements
    with refused(Reason.NOT_SUCCESSOR):
        identity.priority(one["A3"], one["A1"])


def test_without_a_pre_rotated_key_only_the_rotation_keys_have_a_right() -> None:
    founder = member(1).identity.current
    assert founder.next_hash is None
    rotation = secret("rotation 1")
    body = identity.body(
        seq=1,
        prev=founder.statement_id,
        rotation=founder.rotation,
        key=founder.key,
        epoch=1,
        next_hash=None,
        by=keys.public_key(rotation),
    )
    assert identity.priority(read(body, rotation), founder) == 1


SEED = secret("r0")


def body(**changes: Any) -> bytes:
    own: dict[str, Any] = {
        "v": 1,
        "kind": "identity",
        "seq": 0,
        "prev": None,
        "rotation": [keys.public_key(SEED)],
        "key": keys.public_key(secret("key")),
        "epoch": 0,
        "next": None,
        "by": keys.public_key(SEED),
        **changes,
    }
    return encode({name: value for name, value in own.items() if value is not ...})


def read(data: bytes, seed: bytes = SEED) -> IdentityStatement:
    return identity.read(signing.sign(identity.WHAT, signing.NO_COOP, data, seed).to_bytes())


LOW_ORDER = (1).to_bytes(32, "little")


def test_a_good_statement_is_read_whole() -> None:
    one = read(body(next=bytes(32)))
    assert (one.seq, one.prev, one.epoch, one.next_hash) == (0, None, 0, bytes(32))
    assert one.rotation == (keys.public_key(SEED),)
    assert one.by == keys.public_key(SEED)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 2}, Reason.WRONG_VERSION),
        ({"v": -1}, Reason.WRONG_VERSION),
        ({"v": 2, "extra": 1, "key": ...}, Reason.WRONG_VERSION),
        ({"v": True}, Reason.WRONG_SHAPE),
        ({"v": ...}, Reason.WRONG_SHAPE),
        ({"kind": "identities"}, Reason.OUT_OF_RANGE),
        ({"rotation": []}, Reason.OUT_OF_RANGE),
        ({"rotation": [keys.public_key(SEED)] * 9}, Reason.OUT_OF_RANGE),
        ({"rotation": [LOW_ORDER]}, Reason.BAD_KEY),
        ({"key": LOW_ORDER}, Reason.BAD_KEY),
        ({"by": LOW_ORDER}, Reason.BAD_KEY),
        ({"by": keys.public_key(secret("other"))}, Reason.BAD_SIGNATURE),
        ({"seq": 1}, Reason.NOT_SUCCESSOR),
        ({"prev": bytes(32)}, Reason.NOT_SUCCESSOR),
        ({"epoch": 2**48 + 1}, Reason.OUT_OF_RANGE),
        ({"epoch": ...}, Reason.WRONG_SHAPE),
        ({"extra": 1}, Reason.WRONG_SHAPE),
    ],
)
def test_a_statement_that_breaks_a_rule_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    with refused(reason):
        read(body(**changes))


def test_a_statement_is_a_map() -> None:
    with refused(Reason.WRONG_SHAPE):
        read(encode([2]))


def test_a_member_signed_in_one_coop_says_nothing_in_another() -> None:
    one = member(1)
    signed = signing.sign("head", COOP, b"body", one.seed)
    one.identity.verify(signed, "head", COOP, 0)
    with refused(Reason.BAD_SIGNATURE):
        one.identity.verify(signed, "head", secret("elsewhere"), 0)
