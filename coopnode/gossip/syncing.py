"""Getting in step now: asks every linked peer for what was missed, and says how far all of it is.

For a person who waits, and for programs that go on only with everything here. What it sets going goes on by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from coopnode.gossip import progress
from coopnode.gossip.gossiper import Gossiper
from coopnode.gossip.keeping import lagging
from coopnode.gossip.link import Link
from coopnode.gossip.progress import Fetching, Totals
from coopnode.gossip.puller import Home, Puller
from coopnode.publisher import Phase
from protocol.head import Head


@dataclass(frozen=True, slots=True)
class Standing:
    """How far it is. *lacking* are heads whose state is not here and is not being fetched either."""

    asked: int
    answered: int
    failed: int
    records_in: int
    bytes_in: int
    fetching: list[Fetching]
    lacking: list[Head]

    @property
    def totals(self) -> Totals:
        """All streams on their way."""
        return progress.totals(self.fetching)

    @property
    def is_heard_out(self) -> bool:
        """Whether nobody is left who could still tell something."""
        return self.answered + self.failed == self.asked

    @property
    def in_step(self) -> bool:
        """Whether somebody has told all, and everything of which is known is here."""
        return self.is_heard_out and self.answered > 0 and not self.fetching and not self.lacking


@dataclass(slots=True)
class Syncing:
    """One time of asking all. Make it anew for the next."""

    home: Home
    gossiper: Gossiper
    puller: Puller
    _asked: dict[Link, asyncio.Task[bool]] = field(default_factory=dict)
    _before: tuple[int, int] = (0, 0)

    def begin(self) -> int:
        """Ask every linked peer; return how many there are."""
        self._before = self.puller.brought
        links = [link for link in self.gossiper.linked().values() if link in self.gossiper.spreading]
        self._asked = {link: asyncio.create_task(self.gossiper.hear_out(link)) for link in links}
        return len(links)

    async def standing(self) -> Standing:
        """Say how far it is."""
        ended = [task for task in self._asked.values() if task.done()]
        good = sum(not task.cancelled() and task.exception() is None and task.result() for task in ended)
        fetching = await self.puller.progress()
        records_in, bytes_in = self.puller.brought
        return Standing(
            asked=len(self._asked),
            answered=good,
            failed=len(ended) - good,
            records_in=records_in - self._before[0],
            bytes_in=bytes_in - self._before[1],
            fetching=fetching,
            # Only at the end: with thousands of members it is no small question.
            lacking=[] if fetching or len(ended) < len(self._asked) else await self._lacking(),
        )

    def stop(self) -> None:
        """Wait for nobody any more."""
        for task in self._asked.values():
            task.cancel()

    async def _lacking(self) -> list[Head]:
        core = self.home.core
        behind = await self.home.read(lagging, core.scope)
        if core.publisher.phase is Phase.BEHIND and core.publisher.target is not None:
            behind.append(core.publisher.target)
        return behind
