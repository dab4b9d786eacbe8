"""The one door: every fate of heads, statements and identity statements, and what is kept of a contradiction."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from coopnode import desk, ingest, keystore
from coopnode.ingest import Fate, Outcome, evidence_slot, head_slot, object_id
from coopnode.store import Tables
from protocol import head as heads
from protocol import identity as identities
from protocol import signing, statements
from protocol.errors import Reason
from protocol.head import Head, Version
from protocol.items import ItemKind
from protocol.limits import MAX_AHEAD_MS
from tests.node.scenes import BEGIN_US, MINUTE_US, Net, Shop, contact, said, signed_head, spoilt

HEAD, STATEMENT, IDENTITY = ItemKind.HEAD, ItemKind.STATEMENT, ItemKind.IDENTITY
START_US = BEGIN_US + MINUTE_US
"""When the tests begin: founding a co-op has left heads of its own."""
NOW = Version(0, START_US)


@pytest.fixture
def pair(net: Net) -> tuple[Shop, Shop]:
    """Two members of a co-op: who speaks, and who listens."""
    net.found("anna", "bert")
    net.clock.tick(1)
    return net["anna"], net["bert"]


def head(author: Shop, ahead_us: int = 0, epoch: int = 0, **changes: Any) -> bytes:
    return signed_head(author, Version(epoch, START_US + ahead_us), **changes).signed.to_bytes()


def fate(listener: Shop, kind: ItemKind, data: bytes) -> tuple[Fate, Reason | None]:
    [outcome] = listener.take(kind, data)
    assert bool(outcome.detail) == (outcome.reason is not None)
    return outcome.fate, outcome.reason


def held_head(listener: Shop, author: Shop) -> Head | None:
    slot = head_slot(signed_head(author, NOW))
    data = listener.core.store.read(lambda tables: tables.items.in_slot(HEAD, slot))
    return None if data is None else heads.read(data)


# ── heads ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_head_is_accepted_once_then_known_and_an_older_one_is_answered_with_it(pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    new = head(anna, 5)
    assert fate(bert, HEAD, new) == (Fate.ACCEPTED, None)
    assert fate(bert, HEAD, new) == (Fate.KNOWN, None)
    [outcome] = bert.take(HEAD, head(anna, 4))
    assert (outcome.fate, outcome.reason, outcome.newer) == (Fate.KNOWN, Reason.STALE, new)
    assert fate(bert, HEAD, head(anna, 6)) == (Fate.ACCEPTED, None)
    assert fate(bert, HEAD, head(anna, 0, epoch=1)) == (Fate.ACCEPTED, None)
    assert bert.refusals() == {}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda data: spoilt(data), Reason.BAD_SIGNATURE),
        (lambda data: data[:60], Reason.TRUNCATED),
        (lambda data: data[:-1], Reason.TRUNCATED),
        (lambda data: data + b"\0", Reason.TRAILING),
        (lambda data: data[:64] + b"\xc1" * 90, Reason.MALFORMED),
        (lambda data: data[:64] + b"\x80", Reason.WRONG_SHAPE),
        (lambda data: data + bytes(1_000), Reason.TOO_LARGE),
    ],
)
def test_a_broken_head_is_refused_with_one_reason_counted_and_not_kept(
    pair: tuple[Shop, Shop], broken: object, reason: Reason
) -> None:
    anna, bert = pair
    before = bert.frontier
    assert callable(broken)
    assert fate(bert, HEAD, broken(head(anna))) == (Fate.REFUSED, reason)
    assert bert.refusals() == {reason.value: 1}
    assert (bert.frontier, bert.core.ingest.parked) == (before, 0)
    assert fate(bert, HEAD, head(anna)) == (Fate.ACCEPTED, None)


def test_the_head_of_another_coop_and_of_another_member_do_not_verify(pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    before = held_head(bert, anna)
    body = signed_head(anna, NOW).signed.body
    elsewhere = signing.sign(heads.WHAT, bytes(32), body, anna.core.keys.signing_seed).to_bytes()
    assert fate(bert, HEAD, elsewhere) == (Fate.REFUSED, Reason.BAD_SIGNATURE)
    forged = head(anna, seed=bert.core.keys.signing_seed)
    assert fate(bert, HEAD, forged) == (Fate.REFUSED, Reason.BAD_SIGNATURE)
    assert held_head(bert, anna) == before


def test_a_head_from_the_future_waits_until_its_time_has_come(net: Net, pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    limit_us = MAX_AHEAD_MS * 1_000
    assert fate(bert, HEAD, head(anna, limit_us)) == (Fate.ACCEPTED, None)
    later, earlier = head(anna, limit_us + 2 * MINUTE_US), head(anna, limit_us + MINUTE_US)
    assert fate(bert, HEAD, later) == (Fate.PARKED, Reason.FUTURE)
    assert fate(bert, HEAD, earlier) == (Fate.PARKED, Reason.FUTURE)
    assert bert.core.ingest.parked == 1, "one a stream"
    assert bert.core.write(bert.core.look).items == []
    net.clock.tick(1.5)
    assert bert.core.write(bert.core.look).items == []
    net.clock.tick(0.5)
    [item] = bert.core.write(bert.core.look).items
    assert item.data == later, "of two the later one has waited"
    assert bert.core.ingest.parked == 0


def test_what_was_parked_before_a_crash_is_heard_again(net: Net, pair: tuple[Shop, Shop]) -> None:
    """Our cursors say that we have heard it: they must not outlive the memory in which it waited."""
    net.stop("anna")
    ahead = net.start("anna", type(net.clock)(net.clock.now_us + 10 * MINUTE_US))
    net.meet("anna")
    net.put("anna", {"flour": "dated ahead"})
    assert net["bert"].core.ingest.parked == 1
    net.meet("bert")
    net.stop("bert")
    bert = net.start("bert")
    net.clock.tick(10)
    net.meet("bert")
    assert bert.titles(ahead) == {"flour": "dated ahead"}


def test_an_unknown_author_waits_for_the_page_that_admits_it(net: Net, pair: tuple[Shop, Shop]) -> None:
    _, bert = pair
    net.away.add("bert")
    text = net.invite("anna")
    cora = net.set_up("cora")
    net.join("cora", text)
    known = bert.frontier
    new, word = head(cora), contact(cora, "Cora")
    for kind, data in ((HEAD, new), (STATEMENT, word), (IDENTITY, cora.core.keys.log[0])):
        assert fate(bert, kind, data) == (Fate.PARKED, Reason.UNKNOWN_AUTHOR)
    assert fate(bert, HEAD, spoilt(head(cora, 1))) == (Fate.PARKED, Reason.UNKNOWN_AUTHOR), "nobody can tell yet"
    assert (bert.frontier, bert.core.ingest.parked) == (known, 4)
    net.away.clear()
    net.meet("bert")
    net.settle()
    assert bert.core.need_membership().roster.is_member(cora.member_id)
    found = held_head(bert, cora)
    assert found is not None
    assert found.signed.to_bytes() == new, "a forged head has not pushed the real one out"
    assert bert.core.store.read(lambda tables: tables.items.has(object_id(word)))
    assert bert.core.ingest.parked == 0
    assert bert.refusals() == {"bad_signature": 1}


def test_parking_is_bounded_and_the_oldest_goes(
    net: Net, pair: tuple[Shop, Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MAX_PARKED", 3)
    _, bert = pair
    stranger = net.set_up("stranger")
    stranger.core.ingest.membership = bert.core.membership
    words = [contact(stranger, f"name {number}", revision=number) for number in range(5)]
    for word in words:
        assert fate(bert, STATEMENT, word)[0] is Fate.PARKED
    assert bert.core.ingest.parked == 3
    assert list(bert.core.ingest.remembered()[1].values()) == words[2:]
    assert fate(bert, STATEMENT, words[4])[0] is Fate.PARKED
    assert bert.core.ingest.parked == 3, "the same again takes no room"


def test_parked_items_are_not_judged_at_every_look(net: Net, pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    fate(bert, HEAD, head(anna, MAX_AHEAD_MS * 1_000 + MINUTE_US))
    judged: list[ItemKind] = []
    take = bert.core.ingest.take

    def counted(tables: Tables, kind: ItemKind, data: bytes) -> Outcome:
        judged.append(kind)
        return take(tables, kind, data)

    bert.core.ingest.take = counted  # type: ignore[method-assign]
    bert.core.write(bert.core.look)
    first = len(judged)
    for _ in range(20):
        bert.core.write(bert.core.look)
    assert len(judged) == first
    net.clock.tick(1)  # time has passed: that may be what it waits for
    bert.core.write(bert.core.look)
    assert len(judged) == first + 1


def test_what_a_failed_transaction_took_from_the_parked_is_put_back(net: Net, pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    fate(bert, HEAD, head(anna, MAX_AHEAD_MS * 1_000 + MINUTE_US))
    net.clock.tick(2)

    def look_and_fail(tables: object) -> None:
        assert bert.core.look(tables).items  # type: ignore[arg-type]
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        bert.core.write(look_and_fail)
    assert bert.core.ingest.parked == 1
    assert len(bert.core.write(bert.core.look).items) == 1


# ── contradictions ────────────────────────────────────────────────────────────────────────────────────


def three_heads(author: Shop) -> list[bytes]:
    made = [head(author, 7, state_root=bytes([number]) * 32) for number in range(3)]
    return sorted(made, key=object_id)


def kept_heads(listener: Shop, author: Shop) -> list[bytes]:
    slot = head_slot(signed_head(author, NOW))

    def both(tables: object) -> list[bytes]:
        items = tables.items  # type: ignore[attr-defined]
        return [data for one in (slot, evidence_slot(slot)) if (data := items.in_slot(HEAD, one)) is not None]

    return listener.core.store.read(both)


@pytest.mark.parametrize("order", [*itertools.permutations(range(2)), *itertools.permutations(range(3))])
def test_of_contradicting_heads_every_order_keeps_the_two_lowest(
    pair: tuple[Shop, Shop], order: tuple[int, ...]
) -> None:
    anna, bert = pair
    words = three_heads(anna)
    for number in order:
        bert.take(HEAD, words[number])
    assert kept_heads(bert, anna) == words[:2]
    found = held_head(bert, anna)
    assert found is not None
    assert found.signed.to_bytes() == words[0], "the lower id holds"
    pairs = bert.core.store.read(lambda tables: tables.items.evidence())
    assert pairs
    assert all({*one} <= {*words} for one in pairs)
    for word in words:
        assert bert.take(HEAD, word)[0].fate is Fate.KNOWN
    assert kept_heads(bert, anna) == words[:2]


def test_a_contradiction_is_passed_on_and_a_later_head_heals_it(pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    words = three_heads(anna)
    assert fate(bert, HEAD, words[0]) == (Fate.ACCEPTED, None)
    [outcome] = bert.take(HEAD, words[1])
    assert (outcome.fate, outcome.reason) == (Fate.ACCEPTED, Reason.EQUIVOCATION)
    assert outcome.item is not None
    assert outcome.item.data == words[1], "peers get the second word too"
    later = head(anna, 8)
    assert fate(bert, HEAD, later) == (Fate.ACCEPTED, None)
    assert kept_heads(bert, anna) == [later]
    assert len(bert.core.store.read(lambda tables: tables.items.evidence())) == 1
    for word in words:
        assert bert.take(HEAD, word)[0].reason is Reason.STALE
    assert kept_heads(bert, anna) == [later]


def test_nodes_that_heard_a_contradiction_in_other_orders_have_equal_frontiers(net: Net) -> None:
    net.found("anna", "bert", "cora")
    words = three_heads(net["anna"])
    for name, order in (("bert", (2, 1, 0)), ("cora", (0, 2, 1))):
        for number in order:
            net[name].take(HEAD, words[number])
    assert net["bert"].frontier == net["cora"].frontier


# ── statements ────────────────────────────────────────────────────────────────────────────────────────


def test_a_statement_is_accepted_known_and_superseded(pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    word = contact(anna, "Anna", revision=2**60)
    assert fate(bert, STATEMENT, word) == (Fate.ACCEPTED, None)
    assert fate(bert, STATEMENT, word) == (Fate.KNOWN, None)
    assert fate(bert, STATEMENT, contact(anna, "Old", revision=2**60 - 1)) == (Fate.KNOWN, Reason.SUPERSEDED)
    assert fate(bert, STATEMENT, contact(anna, "New", revision=2**60 + 1)) == (Fate.ACCEPTED, None)
    assert fate(bert, STATEMENT, contact(anna, "Newest", epoch=1)) == (Fate.ACCEPTED, None)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_contradicting_statements_every_order_keeps_the_two_lowest(
    pair: tuple[Shop, Shop], order: tuple[int, ...]
) -> None:
    anna, bert = pair
    words = sorted((contact(anna, f"Anna {number}", revision=2**60) for number in range(3)), key=object_id)
    for number in order:
        bert.take(STATEMENT, words[number])
    topic = statements.CONTACT.encode()
    kept = bert.core.store.read(lambda tables: [item.data for item in tables.items.on_topic(topic)])
    assert sorted(one for one in kept if one in words) == sorted(words[:2])
    slot = statements.read(words[0]).slot
    assert bert.core.store.read(lambda tables: tables.items.in_slot(STATEMENT, slot)) == words[0]
    later = contact(anna, "healed", revision=2**60 + 1)
    assert fate(bert, STATEMENT, later) == (Fate.ACCEPTED, None)
    kept = bert.core.store.read(lambda tables: [item.data for item in tables.items.on_topic(topic)])
    assert not set(kept) & set(words)
    assert later in kept


def test_refused_statements_are_counted_by_their_one_reason(pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    proposal: dict[str, Any] = {
        "title": "T",
        "text": "",
        "method": "yes_no",
        "options": [],
        "page": bert.core.need_membership().roster.page_id,
        "opens_ms": 5,
        "closes_ms": 6,
        "quorum_bp": 0,
        "threshold_bp": 5_000,
    }
    good = said(anna, statements.PROPOSAL, **proposal)
    unknown = {**proposal, "page": bytes(32)}
    cases = [
        (spoilt(contact(anna, "A")), Fate.REFUSED, Reason.BAD_SIGNATURE),
        (said(anna, statements.CONTACT, coop=bytes(32), name="A", endpoints=[], relays=[]), Fate.REFUSED, None),
        (said(anna, statements.PROPOSAL, **{**proposal, "closes_ms": 5}), Fate.REFUSED, Reason.OUT_OF_RANGE),
        (said(anna, statements.PROPOSAL, **unknown), Fate.PARKED, Reason.UNKNOWN_PROPOSAL),
        (ballot(anna, bytes(32)), Fate.PARKED, Reason.UNKNOWN_PROPOSAL),
        (good, Fate.ACCEPTED, None),
        (ballot(anna, object_id(good), "maybe"), Fate.REFUSED, Reason.WRONG_CHOICE),
        (ballot(anna, object_id(good)), Fate.ACCEPTED, None),
        (said(anna, statements.FINAL, slot=1, page=bytes(32)), Fate.KNOWN, Reason.SUPERSEDED),
        (said(anna, statements.FINAL, slot=3, page=bytes(32)), Fate.PARKED, Reason.UNKNOWN_PROPOSAL),
    ]
    for data, want, reason in cases:
        found = fate(bert, STATEMENT, data)
        assert found == (want, reason or found[1]), statements.read(data)
    assert bert.refusals() == {"bad_signature": 2, "out_of_range": 1, "wrong_choice": 1}


def ballot(author: Shop, proposal: bytes, choice: str = "yes", revision: int = 1) -> bytes:
    return said(author, statements.BALLOT, revision=revision, proposal=proposal, choice=choice)


def test_a_ballot_waits_for_its_proposal(net: Net, pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    net.away.add("bert")
    shown = net.do("anna", desk.vote_propose, title="T", closes_in_ms=60_000)
    early = ballot(anna, bytes.fromhex(shown["id"]))
    assert fate(bert, STATEMENT, early) == (Fate.PARKED, Reason.UNKNOWN_PROPOSAL)
    net.away.clear()
    net.meet("bert")
    assert bert.core.store.read(lambda tables: tables.items.has(object_id(early)))


def test_a_ballot_for_something_that_is_no_proposal_is_no_ballot(pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    own = head(anna)
    assert fate(bert, HEAD, own)[0] is Fate.ACCEPTED
    word = contact(anna, "Anna")
    assert fate(bert, STATEMENT, word)[0] is Fate.ACCEPTED
    for other in (object_id(own), object_id(anna.core.keys.log[0]), object_id(word)):
        assert fate(bert, STATEMENT, ballot(anna, other)) == (Fate.PARKED, Reason.UNKNOWN_PROPOSAL)


# ── identities ────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_change_lets_what_the_wrong_key_signed_fall(net: Net, pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    old = anna.core.keys
    new = keystore.rotated(old, 3, net.clock_chance)
    good, ahead = head(anna, 1), head(anna, 2, epoch=3)
    assert fate(bert, HEAD, good)[0] is Fate.ACCEPTED
    assert fate(bert, STATEMENT, contact(anna, "of epoch 3", epoch=3))[0] is Fate.ACCEPTED
    assert fate(bert, HEAD, ahead)[0] is Fate.ACCEPTED, "until the new key is known the old one passes"
    [outcome] = bert.take(IDENTITY, new.log[-1])
    assert (outcome.fate, outcome.identity_changed) == (Fate.ACCEPTED, anna.member_id)
    assert held_head(bert, anna) is None, "a stolen old key cannot pass the epoch of its successor"
    named = bert.core.store.read(lambda tables: [item.data for item in tables.items.of_kind(STATEMENT, anna.member_id)])
    assert all(statements.read(one).epoch < 3 for one in named)
    for data, kind in ((ahead, HEAD), (contact(anna, "again", epoch=3, revision=2), STATEMENT)):
        assert fate(bert, kind, data) == (Fate.REFUSED, Reason.BAD_SIGNATURE)
    early = head(anna, 9, epoch=2, seed=new.signing_seed)
    assert fate(bert, HEAD, early) == (Fate.REFUSED, Reason.BAD_SIGNATURE), "nor can the new one rewrite the past"
    assert fate(bert, HEAD, head(anna, 1, epoch=2)) == (Fate.ACCEPTED, None)
    assert fate(bert, HEAD, head(anna, 1, epoch=3, seed=new.signing_seed)) == (Fate.ACCEPTED, None)


def test_the_state_behind_a_head_that_falls_is_no_longer_served(net: Net, pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    net.put("anna", {"flour": "good"})
    assert bert.titles(anna) == {"flour": "good"}
    net.away.add("anna")
    new = keystore.rotated(anna.core.keys, 0 + 1, net.clock_chance)
    assert bert.take(IDENTITY, new.log[-1])[0].fate is Fate.ACCEPTED
    held = bert.core.store.read(lambda tables: tables.catalogue.held(anna.stream))
    assert held is not None
    assert held.head is not None, "epoch 0 is still the old key's"
    stolen = head(anna, 60, epoch=1)
    assert fate(bert, HEAD, stolen) == (Fate.REFUSED, Reason.BAD_SIGNATURE)


def test_identity_statements_are_judged_too(net: Net, pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    first, second = anna.core.keys, keystore.rotated(anna.core.keys, 1, net.clock_chance)
    third = keystore.rotated(second, 2, net.clock_chance)
    stranger, _ = keystore.create(net.clock_chance)
    forged = keystore.rotated(keystore.Keys(first.signing_seed, first.rotation_seed, first.log), 1, net.clock_chance)
    body = identities.read(forged.log[-1]).signed.body
    thief = signing.sign(identities.WHAT, signing.NO_COOP, body, stranger.rotation_seed).to_bytes()
    assert fate(bert, IDENTITY, first.log[0]) == (Fate.KNOWN, None)
    assert fate(bert, IDENTITY, third.log[-1]) == (Fate.PARKED, Reason.UNKNOWN_AUTHOR)
    assert fate(bert, IDENTITY, thief) == (Fate.REFUSED, Reason.BAD_SIGNATURE)
    assert fate(bert, IDENTITY, stranger.log[0]) == (Fate.PARKED, Reason.UNKNOWN_AUTHOR)
    assert fate(bert, IDENTITY, second.log[-1]) == (Fate.ACCEPTED, None)
    bert.core.write(bert.core.look)
    held = bert.core.need_membership().identity_of(anna.member_id)
    assert held is not None
    assert held.current.statement_id == object_id(third.log[-1]), "what waited has followed"


def test_two_rivals_of_equal_right_freeze_the_identity(net: Net, pair: tuple[Shop, Shop]) -> None:
    anna, bert = pair
    rivals = [keystore.rotated(anna.core.keys, 1, net.clock_chance) for _ in range(2)]
    for one in rivals:
        assert fate(bert, IDENTITY, one.log[-1])[0] is Fate.ACCEPTED
    held = bert.core.need_membership().identity_of(anna.member_id)
    assert held is not None
    assert held.frozen
    late = head(anna, 1, epoch=1, seed=rivals[0].signing_seed)
    assert fate(bert, HEAD, late) == (Fate.PARKED, Reason.IDENTITY_FROZEN)
    assert fate(bert, HEAD, head(anna, 1)) == (Fate.ACCEPTED, None)
