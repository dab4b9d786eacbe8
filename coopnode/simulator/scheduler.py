"""Virtual time: what happens next, and when.

Never asks the machine for the time. The thing to understand: events of one moment happen in the order in which they
were asked for, so a run depends on nothing but the seed. Times are whole microseconds since the beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Action = Callable[[Any], None]
MS = 1_000
SECOND = 1_000_000
STANDSTILL_EVENTS = 200_000
"""So many events never fall into one microsecond, unless each brings the next."""


class StandstillError(RuntimeError):
    """Time does not go on: something wants to be woken at once, again and again."""


class Scheduler:
    """The queue of everything that is still to happen."""

    def __init__(self) -> None:
        self.now_us = 0
        self.done = 0
        """How many events have happened."""
        self._number = 0
        self._queue: list[tuple[int, int, Action, Any]] = []

    @property
    def now_ms(self) -> int:
        """Virtual time in milliseconds."""
        return self.now_us // MS

    def at(self, time_us: int, action: Action, argument: Any = None) -> None:
        """Do *action(argument)* at *time_us*, or now if that has passed."""
        self._number += 1
        heappush(self._queue, (max(time_us, self.now_us), self._number, action, argument))

    def after(self, delay_us: int, action: Action, argument: Any = None) -> None:
        """Do *action(argument)* in *delay_us*."""
        self._number += 1
        heappush(self._queue, (self.now_us + delay_us, self._number, action, argument))

    def run_until(self, time_us: int) -> None:
        """Let everything happen that is due up to *time_us*, and set the time to that. Raises StandstillError."""
        queue = self._queue
        done = 0
        looked_us = -1
        while queue and queue[0][0] <= time_us:
            self.now_us, _, action, argument = heappop(queue)
            done += 1
            action(argument)
            if done % STANDSTILL_EVENTS == 0:
                if self.now_us == looked_us:
                    raise StandstillError(f"Time stands still at {self.now_us / SECOND:.3f} s: a node is always due.")
                looked_us = self.now_us
        self.done += done
        self.now_us = max(self.now_us, time_us)

    def run_while(self, waiting: Callable[[], bool], until_us: int, step_us: int) -> None:
        """Go on in steps of *step_us* while *waiting()*, at most to *until_us*."""
        while self.now_us < until_us and waiting():
            self.run_until(min(until_us, self.now_us + step_us))

    def waiting(self) -> int:
        """Return how many events are still to happen."""
        return len(self._queue)
