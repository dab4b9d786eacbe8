"""How far fetching has come: what a person is shown while catalogues are on their way.

Pure. Counts of what is still missing come from peers, so they are near the truth while a walk is under way and
exact at its end; nothing but what is shown hangs on them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from protocol.head import Stream

WINDOW_MS = 10_000
"""A rate is that of the last seconds: what was long ago says nothing about when it will be done."""


@dataclass(slots=True)
class Pace:
    """How quickly something comes."""

    _marks: deque[tuple[int, int]] = field(default_factory=deque)
    _total: int = 0

    def note(self, count: int, now_ms: int) -> None:
        """*count* more have come."""
        self._total += count
        self._marks.append((now_ms, self._total))
        while len(self._marks) > 2 and self._marks[1][0] <= now_ms - WINDOW_MS:
            self._marks.popleft()

    def rate(self, now_ms: int) -> float:
        """Return how many come in a second; 0 before that can be known, and when nothing comes any more."""
        if not self._marks or now_ms <= self._marks[0][0] or self._marks[-1][0] <= now_ms - WINDOW_MS:
            return 0.0
        began_ms, before = self._marks[0]
        return (self._total - before) * 1000 / (now_ms - began_ms)


@dataclass(frozen=True, slots=True)
class Fetching:
    """One stream on its way here. *records* is how many it has, *missing* how many of them are not here yet."""

    stream: Stream
    records: int
    missing: int
    records_in: int
    bytes_in: int
    peers: int
    rate: float
    """Records a second."""
    under_way: bool
    """Whether it is being walked now, rather than waiting for its turn or for a peer."""

    @property
    def done(self) -> int:
        """How many of its records are here."""
        return max(0, self.records - self.missing)

    @property
    def remaining_s(self) -> int | None:
        """How long it will take at this rate; None when that cannot be told."""
        return remaining_s(self.missing, self.rate)


def remaining_s(missing: int, rate: float) -> int | None:
    """Return how many seconds *missing* records take at *rate* a second, rounded up."""
    return None if rate <= 0 else -(-missing // max(1, int(rate)))


@dataclass(frozen=True, slots=True)
class Totals:
    """All streams together."""

    streams: int
    under_way: int
    records: int
    missing: int
    bytes_in: int
    rate: float

    @property
    def remaining_s(self) -> int | None:
        """How long all of it will take at this rate."""
        return remaining_s(self.missing, self.rate)


def totals(every: Iterable[Fetching]) -> Totals:
    """Add up."""
    rows = list(every)
    return Totals(
        streams=len(rows),
        under_way=sum(one.under_way for one in rows),
        records=sum(one.records for one in rows),
        missing=sum(one.missing for one in rows),
        bytes_in=sum(one.bytes_in for one in rows),
        rate=sum(one.rate for one in rows),
    )
