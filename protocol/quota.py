"""How much a member may say: the voted quota of its tier, and the buckets that hold it to it.

Never makes anything invalid: limits may differ in time between nodes, truth may not. What is over a quota is
as right as the rest; it is only passed on and fetched later. The thing to understand: a bucket says how long
to wait, and whoever asks decides what waits. Time is handed in as milliseconds of any steady clock.
Specification, section 5.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import NamedTuple

from protocol.head import Head
from protocol.limits import MAX_OPS, MAX_OPS_BYTES, MIB
from protocol.roster import ACTIVE, MemberEntry

MINUTE_MS = 60_000
HEADS_BURST_MS = 10_000
"""A member that was quiet may publish the heads of so long at once. Not a minute's: each costs every node a check."""
LEAST_LINK_A_MINUTE = 30_000
MOST_LINK_A_MINUTE = 120_000
LINK_BURST_MS = 10_000


class Tier(StrEnum):
    """Whose quota it is."""

    ACTIVE = "active"
    APPLICANT = "applicant"
    """All who are not on the roster share one quota."""


def tier_of(entry: MemberEntry | None) -> Tier:
    """Return the tier of a line of the roster; None is somebody who has none.

    The only place that knows: a tier for the first thirty days, for example, begins here and in `DEFAULTS`.
    """
    return Tier.ACTIVE if entry is not None and entry.status == ACTIVE else Tier.APPLICANT


@dataclass(frozen=True, slots=True)
class Quota:
    """What one author may say. The policy's names are `quota_`, the tier, `_` and a field's name."""

    heads_a_minute: int
    statements_a_minute: int
    ops_a_minute: int
    """Changed records, of heads that carry their operations."""
    bytes_a_minute: int
    """Operations, statements, and the whole state of heads that carry no operations: those are walked."""
    records: int
    """What one stream may hold: beyond it its body is not fetched."""
    bytes: int

    def fits(self, head: Head) -> bool:
        """Whether the state behind *head* is within what a stream may hold: known before it is fetched."""
        return head.record_count <= self.records and head.record_bytes <= self.bytes


DEFAULTS: dict[Tier, Quota] = {
    Tier.ACTIVE: Quota(3_000, 600, 60_000, 64 * MIB, 5_000_000, 2_048 * MIB),
    Tier.APPLICANT: Quota(6, 60, MAX_OPS, 1 * MIB, 1_000, 1 * MIB),
}
BOUNDS: dict[str, tuple[int, int]] = {
    "heads_a_minute": (6, 60_000),
    "statements_a_minute": (6, 60_000),
    "ops_a_minute": (MAX_OPS, 10**8),
    "bytes_a_minute": (MAX_OPS_BYTES, 10**12),
    "records": (1_000, 10**9),
    "bytes": (MAX_OPS_BYTES, 10**13),
}
"""A vote may set each within these: none silences a member, and a single head of any kind always passes."""


def policy_name(tier: Tier, field: str) -> str:
    """Return the name of a standing value: `quota_active_heads_a_minute`."""
    return f"quota_{tier}_{field}"


def quota_of(policy: Mapping[str, int | str], tier: Tier) -> Quota:
    """Return the standing quota of a tier. What the policy does not name, or names as a text, has its default."""
    values = {}
    for one in fields(Quota):
        low, high = BOUNDS[one.name]
        voted = policy.get(policy_name(tier, one.name))
        values[one.name] = min(max(voted, low), high) if isinstance(voted, int) else getattr(DEFAULTS[tier], one.name)
    return Quota(**values)


class Bucket:
    """Fills with *a_minute* a minute up to *burst*; what is taken must be in it.

    In any time at most rate x time + burst is taken, or the greatest single cost in place of the burst: what
    costs more than a full bucket waits until it is full and leaves a debt, so that nothing waits for ever.
    """

    def __init__(self, a_minute: int, burst: int, now_ms: int) -> None:
        self._a_minute = a_minute
        self._burst = burst
        # In sixty-thousandths: what one millisecond brings is a whole number then, whatever the rate.
        self._level = burst * MINUTE_MS
        self._at_ms = now_ms

    def change(self, a_minute: int, burst: int, now_ms: int) -> None:
        """Go on with another rate from now on; what was taken stays taken."""
        self._fill(now_ms)
        self._a_minute, self._burst = a_minute, burst
        self._level = min(self._level, burst * MINUTE_MS)

    def wait_ms(self, now_ms: int, cost: int) -> int:
        """Return how long it takes until *cost* can be taken; 0 is now."""
        self._fill(now_ms)
        return max(0, -((self._level - min(cost, self._burst) * MINUTE_MS) // self._a_minute))

    def take(self, now_ms: int, cost: int) -> int:
        """Take *cost* and return 0, or take nothing and return how long to wait."""
        wait_ms = self.wait_ms(now_ms, cost)
        if wait_ms == 0:
            self._level -= cost * MINUTE_MS
        return wait_ms

    def spend(self, now_ms: int, cost: int) -> int:
        """Take *cost*, whatever is there: it has happened. Return how long it takes until the debt is paid."""
        self._fill(now_ms)
        self._level -= cost * MINUTE_MS
        return self.wait_ms(now_ms, 0)

    def _fill(self, now_ms: int) -> None:
        passed_ms = max(0, now_ms - self._at_ms)
        self._at_ms = max(now_ms, self._at_ms)
        self._level = min(self._level + passed_ms * self._a_minute, self._burst * MINUTE_MS)


class Cost(NamedTuple):
    """What an item takes out of each bucket."""

    heads: int = 0
    statements: int = 0
    ops: int = 0
    bytes: int = 0


def head_cost(head: Head) -> Cost:
    """Return what a head costs, by its own numbers alone: every node knows them before it fetches anything.

    Without operations a follower walks the trie, and what it will fetch is not known: the whole state is charged.
    """
    if head.ops_count:
        return Cost(heads=1, ops=head.ops_count, bytes=head.ops_bytes)
    return Cost(heads=1, bytes=head.record_bytes)


def statement_cost(data: bytes) -> Cost:
    """Return what a statement costs, of which *data* is what travels."""
    return Cost(statements=1, bytes=len(data))


class Account:
    """The buckets of one author."""

    def __init__(self, quota: Quota, now_ms: int) -> None:
        self.quota = quota
        self._buckets = tuple(Bucket(a_minute, burst, now_ms) for a_minute, burst in _shapes(quota))

    def change(self, quota: Quota, now_ms: int) -> None:
        """Go on with another quota: a page has changed the policy, or the author's tier."""
        if quota == self.quota:
            return
        self.quota = quota
        for bucket, (a_minute, burst) in zip(self._buckets, _shapes(quota), strict=True):
            bucket.change(a_minute, burst, now_ms)

    def wait_ms(self, now_ms: int, cost: Cost) -> int:
        """Return how long it takes until all of *cost* can be taken; 0 is now."""
        waits = [bucket.wait_ms(now_ms, one) for bucket, one in zip(self._buckets, cost, strict=True) if one]
        return max(waits, default=0)

    def take(self, now_ms: int, cost: Cost) -> int:
        """Take *cost* out of all buckets and return 0, or take nothing and return how long to wait."""
        wait_ms = self.wait_ms(now_ms, cost)
        if wait_ms == 0:
            self.spend(now_ms, cost)
        return wait_ms

    def tightest(self, now_ms: int, cost: Cost) -> str:
        """Return the name of the bucket, a field of `Cost`, that makes *cost* wait longest."""
        waits = zip(Cost._fields, self._buckets, cost, strict=True)
        return max(waits, key=lambda each: each[1].wait_ms(now_ms, each[2]) if each[2] else -1)[0]

    def spend(self, now_ms: int, cost: Cost) -> None:
        """Take *cost*, whatever is there: it has happened."""
        for bucket, one in zip(self._buckets, cost, strict=True):
            bucket.spend(now_ms, one)


def link_bucket(members: int, quota: Quota, now_ms: int) -> Bucket:
    """Return a bucket for one link, of which every message takes one and every item in it another.

    What all *members* may say together can come over it, each item in a message of its own, and no more. The rate
    is not below what catching up needs, nor above what a node can judge.
    """
    a_minute = 2 * members * (quota.heads_a_minute + quota.statements_a_minute)
    a_minute = min(max(a_minute, LEAST_LINK_A_MINUTE), MOST_LINK_A_MINUTE)
    return Bucket(a_minute, a_minute * LINK_BURST_MS // MINUTE_MS, now_ms)


def _shapes(quota: Quota) -> list[tuple[int, int]]:
    """Return rate and burst of each bucket, in the order of a cost's fields."""
    return [
        (quota.heads_a_minute, max(1, quota.heads_a_minute * HEADS_BURST_MS // MINUTE_MS)),
        (quota.statements_a_minute, quota.statements_a_minute),
        (quota.ops_a_minute, quota.ops_a_minute),
        # A whole catalogue may be said anew in one breath.
        (quota.bytes_a_minute, max(quota.bytes, quota.bytes_a_minute)),
    ]
