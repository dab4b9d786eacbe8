"""How soon news is everywhere: many real node processes, driven at a fixed rate over their control sockets.

A head counts as accepted at a node when that node has it, or a later one of the same author, verified and durable; a
commit counts as searchable when the index has it. The clock starts when the request was due, not when it was sent, so
that a driver that is held up hides nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgpack

from benchmarks.crowd import found
from benchmarks.table import Figure
from coopnode.folder import Folder

NODES = 20
SECONDS = 10.0
SETTLE_SECONDS = 60.0
Note = tuple[str, int, float]


class Member:
    """One node process and its control socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with (path / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.watched", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.member = ""
        self.due: list[float] = []
        """When each of its publications was due, in order."""
        self._client: aiohttp.ClientSession | None = None

    def wait(self) -> None:
        """Wait until it runs."""
        self.member = self._line()["member"]

    async def open(self) -> None:
        """Reach its control socket."""
        folder = Folder(self.path)
        while not folder.control.exists():
            if self.process.poll() is not None:
                raise RuntimeError((self.path / "log.txt").read_text()[-2_000:])
            await asyncio.sleep(0.05)
        path = json.loads(folder.control.read_bytes())["socket"]
        self._client = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=path))

    async def op(self, name: str, **arguments: Any) -> Any:
        """Run one operation."""
        assert self._client is not None
        async with self._client.post(f"http://node/op/{name}", data=msgpack.packb(arguments)) as answer:
            result = msgpack.unpackb(await answer.read())
            if answer.status != 200:
                raise RuntimeError(f"{name}: {result}")
            return result

    async def close(self) -> None:
        """Let go of the socket."""
        if self._client is not None:
            await self._client.close()

    def tell(self) -> dict[str, Any]:
        """End the node; return what it has seen."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        seen = self._line()
        self.process.wait(30)
        return seen

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Make sure that it has ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError((self.path / "log.txt").read_text()[-2_000:])
        value: dict[str, Any] = json.loads(line)
        return value


@dataclass(frozen=True)
class Result:
    """Delays in seconds, sorted, of each publication at each node, and how many have never come."""

    accepted: list[float]
    searchable: list[float]
    lost: int
    unsearchable: int
    rate: float
    """Publications a second that really happened."""
    cpu_seconds: float
    """Processor time of all nodes from the first publication until all hold the same."""


async def publish(members: list[Member], rate: float, seconds: float, op: Any) -> None:
    """Let the members publish in turn at a fixed rate; each is asked one thing at a time."""
    loop = asyncio.get_running_loop()
    began = loop.time() + 0.2
    offset = time.time() - loop.time()
    number = int(rate * seconds)

    async def drive(place: int, member: Member) -> None:
        for turn in range(place, number, len(members)):
            due = began + turn / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            member.due.append(due + offset)
            await op(member, turn)

    await asyncio.gather(*(drive(place, member) for place, member in enumerate(members)))


async def set_stock(member: Member, turn: int) -> None:
    """Say a new quantity: a head whose body nobody needs to find."""
    await member.op("stock.set", sku="S0", quantity_milli=turn * 1_000)


async def change_listing(member: Member, turn: int) -> None:
    """Say a new title: to be found by it."""
    await member.op("stock.add", sku=f"S{turn % 10}", listing={"title": f"Article of turn {turn}"})


@dataclass
class Flood:
    """One member, the first, says more than its share: so many heads a second, beside what is measured."""

    rate: float
    lanes: int = 4
    said: int = 0

    async def run(self, member: Member) -> None:
        """Flood until cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def lane() -> None:
            while True:
                self.said += 1
                turn = self.said
                await asyncio.sleep(max(0.0, began + turn / self.rate - loop.time()))
                await member.op("stock.set", sku="S0", quantity_milli=turn * 1_000)

        await asyncio.gather(*(lane() for _ in range(self.lanes)))


async def _drive(
    members: list[Member], rate: float, seconds: float, op: Any, flood: Flood | None
) -> tuple[float, float, list[dict[str, Any]]]:
    for member in members:
        await member.open()
    try:
        for member in members:
            async with asyncio.timeout(SETTLE_SECONDS):
                while (await member.op("status"))["publishing"] != "ready":
                    await asyncio.sleep(0.1)
        await asyncio.gather(*(member.op("stock.add", sku="S0", listing={"title": "Begin"}) for member in members))
        await _settle(members)
        for member in members:
            member.due.clear()
        began, cpu_seconds = time.time(), sum(member.cpu_seconds() for member in members)
        if flood is None:
            await publish(members, rate, seconds, op)
        else:
            # The first member does not count, whether it floods or is silent.
            flooding = asyncio.ensure_future(flood.run(members[0])) if flood.rate else None
            await publish(members[1:], rate, seconds, op)
            if flooding is not None:
                flooding.cancel()
                await asyncio.gather(flooding, return_exceptions=True)
        took = time.time() - began
        await _settle(members)
        cpu_seconds = sum(member.cpu_seconds() for member in members) - cpu_seconds
    finally:
        for member in members:
            await member.close()
    loop = asyncio.get_running_loop()
    return (
        took,
        cpu_seconds,
        list(await asyncio.gather(*(loop.run_in_executor(None, member.tell) for member in members))),
    )


async def _settle(members: list[Member]) -> None:
    """Wait until all hold the same and can search it; give up after a while: then something is lost."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            states = [await member.op("status") for member in members]
            whole = all(one["coverage"]["complete"] == len(members) and one["searchable"] for one in states)
            if whole and len({one["frontier"] for one in states}) == 1:
                return
            await asyncio.sleep(0.2)


def measure(
    op: Any,
    rate: float,
    nodes: int = NODES,
    seconds: float = SECONDS,
    *,
    flood: Flood | None = None,
    policy: Mapping[str, int | str] | None = None,
) -> Result:
    """Run one measurement in a fresh co-op."""
    with tempfile.TemporaryDirectory(prefix="coopnode-bench-") as base, ExitStack() as stack:
        members = []
        for path in found(Path(base), nodes, policy):
            members.append(Member(path))
            stack.callback(members[-1].end)
        for member in members:
            member.wait()
        took, cpu_seconds, seen = asyncio.run(_drive(members, rate, seconds, op, flood))
        due = {member.member: member.due for member in members if member.due}
        own = {
            member.member: [rev for _, rev, _ in one["published"]] for member, one in zip(members, seen, strict=True)
        }
        accepted = [
            delay
            for member, one in zip(members, seen, strict=True)
            for delay in delays(one["accepted"], due, own, without=member.member)
        ]
        searchable = [delay for one in seen for delay in delays(one["searchable"], due, own)]
    came, found_ = sorted(x for x in accepted if x is not None), sorted(x for x in searchable if x is not None)
    return Result(
        came,
        found_,
        len(accepted) - len(came),
        len(searchable) - len(found_),
        sum(map(len, due.values())) / took,
        cpu_seconds,
    )


def overquota(nodes: int = 8, seconds: float = 20.0, quota_a_minute: int = 60, times: int = 100) -> Iterator[Figure]:
    """What the others notice of one member that says a hundred times what its quota allows."""
    policy = {"quota_active_heads_a_minute": quota_a_minute}
    rate = (nodes - 1) * quota_a_minute / 60 / 2
    without = measure(set_stock, rate, nodes, seconds, flood=Flood(0.0), policy=policy)
    flood = Flood(times * quota_a_minute / 60)
    flooded = measure(set_stock, rate, nodes, seconds, flood=flood, policy=policy)
    params = {
        "nodes": nodes,
        "asked/s": rate,
        "flood/s": round(flood.said / seconds, 1),
        "load": round(os.getloadavg()[0], 1),
    }
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        calm = quantile(without.accepted, share) * 1000
        value = quantile(flooded.accepted, share) * 1000
        yield Figure(f"heads of others during a flood, {name}", value, "ms", calm, "ms without the flood", params)
    yield Figure("  never came", flooded.lost, f"of {flooded.lost + len(flooded.accepted)}", None, "", params)


def delays(
    notes: Iterable[Note], due: dict[str, list[float]], own: dict[str, list[int]], without: str = ""
) -> Iterator[float | None]:
    """Yield, for each publication of each author, after how long this node had it or a later one."""
    seen: dict[str, list[tuple[int, float]]] = {}
    for author, rev, when in notes:
        seen.setdefault(author, []).append((rev, when))
    for author, times in due.items():
        if author == without:
            continue
        # Only the last ones of its heads are those that were asked for; earlier ones began the run.
        revs = own[author][len(own[author]) - len(times) :]
        came = sorted(seen.get(author, []))
        for rev, time_due in zip(revs, times, strict=True):
            whens = [when for other, when in came if other >= rev]
            yield min(whens) - time_due if whens else None


def quantile(sorted_values: list[float], share: float) -> float:
    """Return the value below which *share* of all lie."""
    return (
        sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))] if sorted_values else float("nan")
    )


def figures(what: str, values: list[float], lost: int, params: dict[str, Any]) -> Iterator[Figure]:
    """Show delays."""
    yield Figure(f"{what}, p50", quantile(values, 0.5) * 1000, "ms", None, "", params)
    yield Figure("  p99", quantile(values, 0.99) * 1000, "ms", None, "", params)
    yield Figure("  never came", lost, "of " + str(lost + len(values)), None, "", params)


def live(
    nodes: int = NODES, seconds: float = SECONDS, heads_a_second: float = 200, commits: float = 50
) -> Iterator[Figure]:
    """Heads accepted everywhere, and commits searchable everywhere."""
    for what, op, rate in (("live, heads", set_stock, heads_a_second), ("live, commits", change_listing, commits)):
        result = measure(op, rate, nodes, seconds)
        params = {
            "nodes": nodes,
            "asked/s": rate,
            "published/s": round(result.rate, 1),
            "cpu ms each at each node": round(
                1000 * result.cpu_seconds / nodes / max(1, len(result.accepted) // (nodes - 1)), 2
            ),
            "load": round(os.getloadavg()[0], 1),
        }
        yield from figures(f"{what} accepted everywhere", result.accepted, result.lost, params)
        if op is change_listing:
            yield from figures(f"{what} searchable everywhere", result.searchable, result.unsearchable, params)
