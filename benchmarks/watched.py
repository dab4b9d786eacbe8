"""A real node that notes when it accepts heads and when their listings can be searched: `python -m benchmarks.watched`.

Nothing of the product is changed for it: the notes are taken where the node itself goes on after a commit. Times are
of the machine's clock, in seconds; they are comparable between processes of one machine only.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.crowd import WORLD
from benchmarks.worker import memory_mb, run, say
from coopnode.catalog.index import SearchIndex
from coopnode.core import News, open_core
from coopnode.folder import Folder
from coopnode.node import Node
from coopnode.store.catalogue import Catalogue, Held
from protocol import head as heads

Note = tuple[str, int, float]
"""Member, rev, when."""


class Notes:
    """What one node has seen so far."""

    def __init__(self) -> None:
        self.published: list[Note] = []
        """Own heads, durable."""
        self.accepted: list[Note] = []
        """Heads of others, verified and durable."""
        self.states: dict[int, tuple[str, int]] = {}
        """Number of a change in the store -> member and rev of the state that has become ours with it."""
        self.commits: list[tuple[int, float]] = []
        """Up to which change everything can be searched, since when."""

    def watch(self) -> None:
        """Take notes of all nodes of this process, from now on."""
        follow, set_head, commit = Node.follow, Catalogue.set_head, SearchIndex.commit

        async def noted_follow(node: Node, news: News, *rest: Any, **named: Any) -> None:
            now = time.time()
            self.published += [(one.head.stream.member_id.hex(), one.head.version.rev, now) for one in news.published]
            self.accepted += [(one.stream.member_id.hex(), one.version.rev, now) for one in news.heads]
            await follow(node, news, *rest, **named)

        def noted_set_head(catalogue: Catalogue, held: Held, data: bytes) -> int:
            seq = set_head(catalogue, held, data)
            self.states[seq] = (held.stream.member_id.hex(), heads.read(data).version.rev)
            return seq

        def noted_commit(index: SearchIndex, mark: int) -> None:
            commit(index, mark)
            self.commits.append((mark, time.time()))

        Node.follow = noted_follow  # type: ignore[assignment]
        Catalogue.set_head = noted_set_head  # type: ignore[assignment]
        SearchIndex.commit = noted_commit  # type: ignore[assignment]

    def searchable(self) -> list[Note]:
        """Return since when each state could be searched here."""
        found: list[Note] = []
        changes = sorted(self.states.items())
        place = 0
        for mark, when in self.commits:
            while place < len(changes) and changes[place][0] <= mark:
                member, rev = changes[place][1]
                found.append((member, rev, when))
                place += 1
        return found


def main() -> None:
    """Run the node of a folder; say that it is up, and when the input says so what it has seen."""
    core, lock = open_core(Folder(Path(sys.argv[1])), WORLD, None)
    notes = Notes()
    notes.watch()

    async def work(_: Node) -> None:
        say(member=core.member_id.hex())
        await asyncio.to_thread(sys.stdin.readline)
        say(
            published=notes.published,
            accepted=notes.accepted,
            searchable=notes.searchable(),
            memory_mb=memory_mb(),
            cpu_seconds=time.process_time(),
        )
        raise asyncio.CancelledError

    asyncio.run(run(core, work))
    lock.release()


if __name__ == "__main__":
    main()
