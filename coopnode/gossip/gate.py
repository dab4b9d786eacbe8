"""How many answers are made at once, and who waits for whom: a crowd of askers must not stop a node.

Never looks at a question. The thing to understand: the line is one line a link, and the links take turns, so that
one which asks much waits for itself. Beyond the bound the longest line gives way, and whoever is put off is told
when to come back: the later the more there are, and spread by chance, so that they do not return in step.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

from coopnode.world import World
from protocol.limits import MAX_RETRY_MS

AT_ONCE = 2
"""As many as there are reader threads: an answer beyond would only wait there, out of sight."""
MAX_WAITING = 64
LEAST_RETRY_MS = 100
FIRST_MEAN_MS = 20.0
"""How long an answer is thought to take before one has been seen."""


class Full(Exception):
    """There is no room: the asker should come back after *retry_ms*."""

    def __init__(self, retry_ms: int) -> None:
        super().__init__(f"too much is asked at once; room may be in {retry_ms} ms")
        self.retry_ms = retry_ms


class Receiver(Hashable, Protocol):
    """Who an answer is for: a link."""

    @property
    def is_full(self) -> bool:
        """Whether it takes too slowly what it has been given."""

    async def drained(self) -> None:
        """Wait until it is not full."""


ReceiverT = TypeVar("ReceiverT", bound=Receiver)


class Gate(Generic[ReceiverT]):
    """The turns of one node. *waiting* is how many may wait, all links together."""

    def __init__(self, world: World, at_once: int = AT_ONCE, waiting: int = MAX_WAITING) -> None:
        self._world = world
        self._at_once = at_once
        self._most = waiting
        self._inside = 0
        self._lines: OrderedDict[ReceiverT, deque[asyncio.Future[None]]] = OrderedDict()
        self._away: dict[ReceiverT, int] = {}
        self._mean_ms = FIRST_MEAN_MS

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(map(len, self._lines.values()))

    @asynccontextmanager
    async def turn(self, link: ReceiverT) -> AsyncIterator[None]:
        """Wait for a turn and take it. Raises Full.

        A link that is slow to take its answers waits outside, where it keeps nobody from a turn.
        """
        while True:
            await link.drained()
            await self._enter(link)
            if not link.is_full:
                break
            self._leave()  # answers of other turns have filled it while this one waited
        began_ms = self._world.steady_ms()
        try:
            yield
        finally:
            self._mean_ms += (self._world.steady_ms() - began_ms - self._mean_ms) / 16
            self._leave()

    async def _enter(self, link: ReceiverT) -> None:
        if self._inside < self._at_once:
            self._inside += 1
            return
        if self.waiting >= self._most:
            self._make_room(link)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(link, deque()).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._drop(link, future)
            elif future.exception() is None:
                self._leave()  # the turn had come already
            raise

    def _make_room(self, link: ReceiverT) -> None:
        """Put off the last of the longest line, or whoever has come now, if its own line is as long."""
        longest = max(self._lines, key=lambda one: len(self._lines[one]), default=link)
        if len(self._lines.get(longest, ())) <= len(self._lines.get(link, ())) + 1:
            raise Full(self._retry_ms(link))
        future = self._lines[longest].pop()
        if not future.done():
            future.set_exception(Full(self._retry_ms(longest)))

    def _leave(self) -> None:
        self._inside -= 1
        while self._lines and self._inside < self._at_once:
            link, line = self._lines.popitem(last=False)
            future = line.popleft()
            if line:
                self._lines[link] = line  # behind the others
            if not future.done():  # else it has just been cancelled
                self._inside += 1
                future.set_result(None)

    def _drop(self, link: ReceiverT, future: asyncio.Future[None]) -> None:
        line = self._lines.get(link, deque())
        if future in line:
            line.remove(future)
            if not line:
                del self._lines[link]

    def _retry_ms(self, link: ReceiverT) -> int:
        """Return when there may be room for *link*: as if all who have been put off stood in line as well.

        A link counts once, however often it asks, so that it cannot drive the others away.
        """
        now_ms = self._world.steady_ms()
        self._away = {one: until_ms for one, until_ms in self._away.items() if until_ms > now_ms}
        before = self.waiting + len(self._away) + 1
        line_ms = int(before * max(1.0, self._mean_ms) / self._at_once)
        line_ms = min(max(line_ms, LEAST_RETRY_MS), MAX_RETRY_MS // 2)
        retry_ms = self._world.between(line_ms, 2 * line_ms)
        self._away[link] = now_ms + retry_ms
        return retry_ms
