"""Buckets never let more pass than they promise, and let nothing wait for ever."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import quota
from protocol.head import Head, Version
from protocol.limits import MAX_OPS, MAX_OPS_BYTES
from protocol.quota import (
    BOUNDS,
    DEFAULTS,
    HEADS_BURST_MS,
    MINUTE_MS,
    Account,
    Bucket,
    Cost,
    Quota,
    Tier,
    head_cost,
    link_bucket,
    policy_name,
    quota_of,
    statement_cost,
    tier_of,
)
from tests.protocol.builders import QUICK, Catalogue, coop, member

STANDING = DEFAULTS[Tier.ACTIVE]


def head_of(**changes: object) -> Head:
    return replace(Catalogue({"listing": {b"k": b"v"}}).head(member(1)), **changes)  # type: ignore[arg-type]


# ── a bucket ──────────────────────────────────────────────────────────────────────────────────────────

ASKED = st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 300)), min_size=1, max_size=60)


@QUICK
@given(a_minute=st.integers(1, 10_000), burst=st.integers(1, 200), asked=ASKED)
def test_never_more_than_rate_and_burst_passes(a_minute: int, burst: int, asked: list[tuple[int, int]]) -> None:
    """In no stretch of time, wherever it begins: a debt is paid before anything passes again."""
    bucket, now_ms = Bucket(a_minute, burst, 0), 0
    passed: list[tuple[int, int]] = []
    for pause_ms, cost in asked:
        now_ms += pause_ms
        if bucket.take(now_ms, cost) == 0:
            passed.append((now_ms, cost))
    most = max(burst, *(cost for _, cost in asked))
    for first, (begin_ms, _) in enumerate(passed):
        for last in range(first, len(passed)):
            total = sum(cost for _, cost in passed[first : last + 1])
            assert total * MINUTE_MS <= a_minute * (passed[last][0] - begin_ms) + most * MINUTE_MS


@QUICK
@given(a_minute=st.integers(1, 10_000), burst=st.integers(1, 200), costs=st.lists(st.integers(1, 1_000), max_size=20))
def test_whoever_waits_as_long_as_it_was_told_passes(a_minute: int, burst: int, costs: list[int]) -> None:
    bucket, now_ms = Bucket(a_minute, burst, 0), 0
    for cost in costs:
        wait_ms = bucket.take(now_ms, cost)
        if wait_ms:
            assert bucket.take(now_ms + wait_ms - 1, cost) > 0, "and not a millisecond earlier"
            now_ms += wait_ms
            assert bucket.take(now_ms, cost) == 0


def test_a_bucket_is_full_at_first_and_fills_no_further() -> None:
    bucket = Bucket(60, 5, 0)
    assert [bucket.take(3_600_000, 1) for _ in range(7)] == [0, 0, 0, 0, 0, 1_000, 1_000]
    assert bucket.take(3_601_000, 1) == 0


def test_what_costs_more_than_a_full_bucket_waits_until_it_is_full_and_leaves_a_debt() -> None:
    bucket = Bucket(60, 5, 0)
    assert bucket.take(0, 1) == 0
    assert bucket.take(0, 65) == 1_000
    assert bucket.take(1_000, 65) == 0
    assert bucket.wait_ms(1_000, 1) == 61_000


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(60, 1, 10_000)
    assert bucket.take(10_000, 1) == 0
    assert bucket.take(0, 1) == 1_000
    assert bucket.take(11_000, 1) == 0


def test_what_has_happened_is_paid_for_afterwards() -> None:
    bucket = Bucket(60, 5, 0)
    assert bucket.spend(0, 5) == 0
    assert bucket.spend(0, 2) == 2_000
    assert bucket.wait_ms(0, 0) == 2_000
    assert bucket.wait_ms(2_000, 0) == 0
    assert bucket.wait_ms(2_000, 1) == 1_000


def test_another_rate_holds_from_now_on() -> None:
    bucket = Bucket(60, 10, 0)
    bucket.change(120, 4, 0)
    assert bucket.take(0, 4) == 0
    assert bucket.wait_ms(0, 1) == 500
    bucket.change(60, 10, 0)
    assert bucket.wait_ms(0, 1) == 1_000


# ── what is voted ─────────────────────────────────────────────────────────────────────────────────────


def test_the_policy_sets_each_number_within_its_bounds() -> None:
    assert quota_of({}, Tier.ACTIVE) == STANDING
    assert policy_name(Tier.ACTIVE, "heads_a_minute") == "quota_active_heads_a_minute"
    names = [one.name for one in fields(Quota)]
    assert set(names) == set(BOUNDS)
    for name in names:
        low, high = BOUNDS[name]
        for voted, holds in ((low + 1, low + 1), (-1, low), (high + 1, high)):
            assert getattr(quota_of({policy_name(Tier.ACTIVE, name): voted}, Tier.ACTIVE), name) == holds
        assert quota_of({policy_name(Tier.ACTIVE, name): "much"}, Tier.ACTIVE) == STANDING
        assert quota_of({policy_name(Tier.ACTIVE, name): low + 1}, Tier.APPLICANT) == DEFAULTS[Tier.APPLICANT]


@pytest.mark.parametrize("tier", Tier)
def test_the_defaults_lie_within_the_bounds_and_the_names_fit_a_charter(tier: Tier) -> None:
    for name, (low, high) in BOUNDS.items():
        assert low <= getattr(DEFAULTS[tier], name) <= high
        assert len(policy_name(tier, name)) <= 64


def test_who_is_on_the_roster_is_active_and_all_others_are_applicants() -> None:
    roster = coop(1).roster
    (entry,) = roster.members.values()
    assert tier_of(entry) is Tier.ACTIVE
    assert tier_of(replace(entry, status="expelled")) is Tier.APPLICANT
    assert tier_of(None) is Tier.APPLICANT


def test_the_defaults_hold_up_nobody_who_lives_up_to_our_promises() -> None:
    """DESIGN 10: 20 members, 200 heads/s together or 50 commits/s, even if one makes them all; a million articles."""
    assert 20 * STANDING.heads_a_minute >= 200 * 60
    assert STANDING.heads_a_minute >= 50 * 60
    distributor = head_of(record_count=2_000_000, record_bytes=700_000_000, ops_count=0)
    assert STANDING.fits(distributor)
    account = Account(STANDING, 0)
    assert account.take(0, head_cost(distributor)) == 0
    assert account.take(0, head_cost(head_of(ops_count=1_000, ops_bytes=300_000))) == 0, "and goes on at once"
    assert account.take(0, head_cost(distributor)) == 0, "or says it all again"


def test_a_member_at_a_hundred_times_its_quota_is_slowed_to_it() -> None:
    account, passed = Account(STANDING, 0), 0
    asked = 100 * STANDING.heads_a_minute
    for number in range(asked):
        passed += account.take(number * MINUTE_MS // asked, Cost(heads=1)) == 0
    burst = STANDING.heads_a_minute * HEADS_BURST_MS // MINUTE_MS
    assert STANDING.heads_a_minute - 1 <= passed <= STANDING.heads_a_minute + burst


# ── what things cost ──────────────────────────────────────────────────────────────────────────────────


def test_a_head_costs_its_operations_or_the_state_that_is_walked() -> None:
    assert head_cost(head_of(ops_count=7, ops_bytes=70)) == Cost(heads=1, ops=7, bytes=70)
    assert head_cost(head_of(ops_count=0, record_bytes=5_000)) == Cost(heads=1, bytes=5_000)
    assert statement_cost(bytes(300)) == Cost(statements=1, bytes=300)


def test_a_head_of_any_kind_passes_a_full_account_under_every_policy() -> None:
    least = quota_of({policy_name(Tier.ACTIVE, name): 0 for name in BOUNDS}, Tier.ACTIVE)
    assert Account(least, 0).take(0, Cost(heads=1, ops=MAX_OPS, bytes=MAX_OPS_BYTES)) == 0
    assert Account(least, 0).take(0, head_cost(head_of(ops_count=0, record_bytes=10**12))) == 0


def test_nothing_is_taken_unless_all_of_it_can_be() -> None:
    account = Account(STANDING, 0)
    account.spend(0, Cost(ops=STANDING.ops_a_minute))
    assert account.take(0, Cost(heads=1, ops=1_000)) == 1_000
    assert account.tightest(0, Cost(heads=1, ops=1_000)) == "ops"
    burst = STANDING.heads_a_minute * HEADS_BURST_MS // MINUTE_MS
    assert [account.take(0, Cost(heads=1)) for _ in range(burst)] == [0] * burst, "none of them was lost to the other"
    assert account.take(0, Cost(heads=1)) > 0
    assert account.tightest(0, Cost(heads=1)) == "heads"
    assert account.wait_ms(0, Cost()) == 0


def test_an_account_goes_on_under_a_new_policy() -> None:
    account = Account(STANDING, 0)
    account.spend(0, Cost(statements=STANDING.statements_a_minute))
    account.change(STANDING, 0)
    slow = replace(STANDING, statements_a_minute=6)
    assert account.wait_ms(0, Cost(statements=1)) == MINUTE_MS // STANDING.statements_a_minute
    account.change(slow, 0)
    assert account.quota is slow
    assert account.wait_ms(0, Cost(statements=1)) == MINUTE_MS // 6


def test_what_a_stream_may_hold_is_known_from_its_head() -> None:
    assert STANDING.fits(head_of(record_count=STANDING.records, record_bytes=STANDING.bytes))
    assert not STANDING.fits(head_of(record_count=STANDING.records + 1))
    assert not STANDING.fits(head_of(record_bytes=STANDING.bytes + 1, version=Version(0, 9)))


@pytest.mark.parametrize(
    ("members", "a_minute"),
    [(1, quota.LEAST_LINK_A_MINUTE), (10, 2 * 10 * 3_600), (1_000, quota.MOST_LINK_A_MINUTE)],
)
def test_a_link_may_bring_what_all_members_may_say(members: int, a_minute: int) -> None:
    bucket = link_bucket(members, STANDING, 0)
    burst = a_minute * quota.LINK_BURST_MS // MINUTE_MS
    assert bucket.take(0, burst) == 0
    assert bucket.wait_ms(0, a_minute // 60) == 1_000
