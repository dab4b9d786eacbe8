"""The clock and chance of a node: the only place that asks the machine for either.

Handed down from `node`, so that tests and the simulator can hand down their own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _now_us() -> int:
    return time.time_ns() // 1_000


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _shuffle(items: Sequence[bytes]) -> list[bytes]:
    return secrets.SystemRandom().sample(items, len(items))


@dataclass(frozen=True, slots=True)
class World:
    """Where time and randomness come from."""

    now_ms: Callable[[], int] = _now_ms
    """Milliseconds since 1970, as people mean time."""
    now_us: Callable[[], int] = _now_us
    steady_ms: Callable[[], int] = _steady_ms
    """Milliseconds that never jump: for timers."""
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    shuffle: Callable[[Sequence[bytes]], list[bytes]] = _shuffle

    def between(self, low: int, high: int) -> int:
        """Return a whole number from *low* to *high*, both included, by chance."""
        return low + int.from_bytes(self.random_bytes(8), "big") % (high - low + 1)
