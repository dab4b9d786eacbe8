"""The gate before answers: a bound, fairness between links, and when to come back."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest

from coopnode.gossip.gate import LEAST_RETRY_MS, Full, Gate
from protocol.limits import MAX_RETRY_MS
from tests.node.scenes import Clock, world_of


@dataclass(eq=False)
class Peer:
    """As much of a link as the gate sees."""

    name: str
    room: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.room.set()

    @property
    def is_full(self) -> bool:
        return not self.room.is_set()

    async def drained(self) -> None:
        await self.room.wait()


class Hall:
    """Askers at a gate whose turns last until the test lets them end."""

    def __init__(self, at_once: int = 2, waiting: int = 8) -> None:
        self.clock = Clock()
        self.gate: Gate[Peer] = Gate(world_of(self.clock, "gate"), at_once, waiting)
        self.inside: list[str] = []
        self.served: list[str] = []
        self.put_off: list[tuple[str, int]] = []
        self.most = 0
        self.go = asyncio.Semaphore(0)
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, peer: Peer) -> None:
        try:
            async with self.gate.turn(peer):
                self.inside.append(peer.name)
                self.most = max(self.most, len(self.inside))
                await self.go.acquire()
                self.inside.remove(peer.name)
                self.served.append(peer.name)
        except Full as full:
            self.put_off.append((peer.name, full.retry_ms))

    def come(self, peer: Peer, number: int = 1) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.ask(peer)) for _ in range(number)]
        self.tasks += tasks
        return tasks

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def serve(self, number: int) -> None:
        for _ in range(number):
            self.go.release()
            await self.settle()

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_no_more_than_the_bound_are_answered_at_once_and_all_come_in_turn() -> None:
    hall = Hall(at_once=2)
    hall.come(Peer("anna"), 6)
    await hall.settle()
    assert len(hall.inside) == 2
    assert hall.gate.waiting == 4
    await hall.serve(6)
    assert (len(hall.served), hall.most, hall.put_off) == (6, 2, [])
    assert hall.gate.waiting == 0


async def test_links_take_turns_however_much_one_of_them_asks() -> None:
    hall = Hall(at_once=1, waiting=20)
    hall.come(Peer("greedy"), 8)
    await hall.settle()
    hall.come(Peer("bert"), 2)
    hall.come(Peer("cora"), 1)
    await hall.settle()
    await hall.serve(5)
    # One of the greedy ones had its turn before anybody else came, then each has one after the other.
    assert hall.served[:5] == ["greedy", "greedy", "bert", "cora", "greedy"]
    await hall.serve(6)
    assert Counter(hall.served) == {"greedy": 8, "bert": 2, "cora": 1}


async def test_where_the_line_is_full_the_longest_gives_way_to_who_asks_little() -> None:
    hall = Hall(at_once=1, waiting=8)
    hall.come(Peer("greedy"), 9)
    await hall.settle()
    bert = Peer("bert")
    hall.come(bert, 2)
    await hall.settle()
    assert [name for name, _ in hall.put_off] == ["greedy", "greedy"]
    hall.come(bert, 10)
    await hall.settle()
    # Nobody gets more than the other: four and four wait.
    assert Counter(name for name, _ in hall.put_off) == {"greedy": 4, "bert": 8}
    await hall.serve(9)
    assert Counter(hall.served) == {"greedy": 5, "bert": 4}


async def test_without_a_bound_one_link_makes_all_others_wait_for_it() -> None:
    """The twin: a line of no bound and one link after the other is what the gate is against."""
    hall = Hall(at_once=1, waiting=10**6)
    hall.gate._lines.popitem = lambda last=True: _in_order(hall.gate)  # type: ignore[method-assign]
    hall.come(Peer("greedy"), 200)
    await hall.settle()
    hall.come(Peer("bert"))
    await hall.settle()
    assert hall.put_off == []
    await hall.serve(200)
    assert "bert" not in hall.served
    await hall.serve(1)
    assert hall.served[-1] == "bert"


def _in_order(gate: Gate[Peer]) -> tuple[Peer, deque[asyncio.Future[None]]]:
    """Take from the oldest line for as long as there is anything in it."""
    link = next(iter(gate._lines))
    line = gate._lines[link]
    del gate._lines[link]
    if len(line) > 1:
        gate._lines[link] = line
        gate._lines.move_to_end(link, last=False)
    return link, line


async def test_the_more_wait_the_later_one_may_come_back_and_not_all_at_once() -> None:
    hall = Hall(at_once=1, waiting=0)
    hall.come(Peer("inside"))
    await hall.settle()
    hall.come(Peer("first"))
    await hall.settle()
    assert LEAST_RETRY_MS <= hall.put_off[0][1] <= 2 * LEAST_RETRY_MS
    for number in range(3_000):
        hall.come(Peer(f"number {number}"))
    await hall.settle()
    late = [retry_ms for _, retry_ms in hall.put_off]
    assert len(late) == 3_001
    assert max(late) <= MAX_RETRY_MS
    assert sum(late[1500:1600]) > 4 * sum(late[100:200])
    assert len(set(late[-500:])) > 300, "they come back at different times"
    await hall.end()


async def test_a_link_that_asks_again_and_again_does_not_drive_the_others_away() -> None:
    hall = Hall(at_once=1, waiting=0)
    hall.come(Peer("inside"))
    await hall.settle()
    hall.come(Peer("greedy"), 3_000)
    await hall.settle()
    hall.come(Peer("bert"))
    await hall.settle()
    name, retry_ms = hall.put_off[-1]
    assert (name, retry_ms <= 4 * LEAST_RETRY_MS) == ("bert", True)
    await hall.end()


async def test_those_who_were_put_off_are_forgotten_when_their_time_has_passed() -> None:
    hall = Hall(at_once=1, waiting=0)
    hall.come(Peer("inside"))
    await hall.settle()
    for number in range(2_000):
        hall.come(Peer(f"number {number}"))
    await hall.settle()
    hall.clock.tick(minutes=2)
    hall.come(Peer("later"))
    await hall.settle()
    assert hall.put_off[-1][1] <= 2 * LEAST_RETRY_MS
    await hall.end()


async def test_a_link_that_is_slow_to_take_its_answers_holds_no_turn() -> None:
    hall = Hall(at_once=1)
    slow, quick = Peer("slow"), Peer("quick")
    hall.come(slow, 2)
    await hall.settle()
    slow.room.clear()  # the first answer has filled the link while the second waits
    hall.come(quick, 3)
    await hall.settle()
    await hall.serve(4)
    assert hall.served == ["slow", "quick", "quick", "quick"]
    assert hall.inside == []
    slow.room.set()
    await hall.settle()
    await hall.serve(1)
    assert hall.served[-1] == "slow"


@pytest.mark.parametrize("when", ["waiting", "just let in"])
async def test_whoever_goes_away_leaves_no_gap(when: str) -> None:
    hall = Hall(at_once=1)
    hall.come(Peer("anna"))
    await hall.settle()
    (gone,) = hall.come(Peer("bert"))
    hall.come(Peer("cora"))
    await hall.settle()
    if when == "just let in":
        hall.gate._leave()  # as if anna's turn ended in the very moment in which bert goes
    gone.cancel()
    await hall.settle()
    if when == "just let in":
        assert hall.inside == ["anna", "cora"]
    else:
        await hall.serve(2)
        assert hall.served == ["anna", "cora"]
    await hall.end()
    assert hall.gate.waiting == 0
