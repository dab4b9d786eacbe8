"""One real node in a process of its own, watched from inside: `python -m benchmarks.worker ROLE FOLDER ...`.

Roles: `author` publishes listings and serves them until its input closes; `follower` starts empty, is
admitted already, and reports when it holds, has verified, made durable and can search all of them.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import resource
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.listings import Generator
from coopnode import config as configs
from coopnode import desk, keystore
from coopnode.core import Core, open_core
from coopnode.folder import Folder
from coopnode.gossip.joining import join
from coopnode.node import Node
from coopnode.server.app import serve
from coopnode.world import World
from protocol.limits import STREAM_PUBLIC
from protocol.records import LISTING

BATCH = 2_000
WORLD = World()


def make(path: Path, name: str) -> None:
    """Set up a data folder."""
    folder = Folder(path)
    folder.create()
    keys, _ = keystore.create(WORLD.random_bytes)
    keystore.save(folder.keys, keys, None, WORLD.random_bytes)
    configs.save(folder.config, configs.Config(name=name, port=0, discovery=False))


def say(**values: Any) -> None:
    """Report one line to the parent."""
    print(json.dumps(values), flush=True)


def memory_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare(path: Path, count: int, seed: int) -> int:
    """Write generated listings to a file, a batch at a time; return their size. A list of all would be measured too."""
    size = 0
    listings = Generator(seed).listings(count)
    with path.open("wb") as file:
        while rows := [(LISTING, key, value) for key, value in islice(listings, BATCH)]:
            size += sum(len(key) + len(value) for _, key, value in rows)
            pickle.dump(rows, file)
    return size


def batches(path: Path) -> Iterator[list[tuple[str, bytes, bytes]]]:
    """Yield what `prepare` wrote."""
    with path.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except EOFError:
                return


async def author(core: Core, count: int, seed: int) -> None:
    """Found a co-op, invite, publish, and serve."""

    async def work(node: Node) -> None:
        await node.perform(lambda tables: desk.coop_found(tables, core, name="Benchmark"))
        made = await node.perform(lambda tables: desk.coop_invite(tables, core, uses=100, days=1, endpoints=[node.url]))
        say(invitation=made["invitation"])
        await asyncio.to_thread(sys.stdin.readline)  # the follower has been admitted
        prepared = core.folder.path.parent / "listings"
        size = await asyncio.to_thread(prepare, prepared, count, seed)
        started, cpu = time.perf_counter(), time.process_time()
        await node.perform(lambda tables: desk.import_begin(tables, core))
        for rows in batches(prepared):
            await node.perform(lambda tables, rows=rows: desk.import_rows(tables, core, rows=rows))  # type: ignore[misc]
        await node.perform(lambda tables: desk.import_finish(tables, core))
        durable = time.perf_counter() - started
        await searchable(node)
        say(
            published_seconds=durable,
            searchable_seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu,
            listing_bytes=size / count,
            memory_mb=memory_mb(),
        )
        await asyncio.to_thread(sys.stdin.readline)
        say(memory_mb=memory_mb(), cpu_seconds=time.process_time())
        raise asyncio.CancelledError

    await run(core, work)


async def follower(core: Core, count: int) -> None:
    """Join, then bring everything here."""

    async def work(node: Node) -> None:
        while not node.gossiper.linked():
            await asyncio.sleep(0.001)
        started, cpu = time.perf_counter(), time.process_time()
        stored = None
        while True:
            held = await node.read(_counts)
            if held >= count and stored is None:
                stored = time.perf_counter() - started
            if stored is not None and node.follower.done_seq >= node.core.store.read(_last):
                break
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - started
        links = node.gossiper.linked().values()
        found = node.follower.search("", 1, 0).total
        say(
            seconds=seconds,
            stored_seconds=stored,
            cpu_seconds=time.process_time() - cpu,
            wire_bytes=sum(link.bytes_in for link in links),
            found=found,
            memory_mb=memory_mb(),
            disk_bytes=sum(one.stat().st_size for one in core.folder.path.rglob("*") if one.is_file()),
        )
        raise asyncio.CancelledError

    await run(core, work)


async def searchable(node: Node) -> None:
    """Wait until the index has followed the store."""
    while node.follower.done_seq < await node.read(_last):
        await asyncio.sleep(0.01)


def _last(tables: Any) -> int:
    return int(tables.catalogue.last_change())


def _counts(tables: Any) -> int:
    return sum(
        held.summaries[LISTING].count
        for held in tables.catalogue.streams()
        if held.stream.number == STREAM_PUBLIC and LISTING in held.summaries
    )


async def run(core: Core, work: Any) -> None:
    """Serve and do *work* beside it; end when it ends."""
    tasks: list[asyncio.Task[None]] = []
    main = asyncio.current_task()

    def ready(node: Node) -> None:
        task = asyncio.create_task(work(node))
        tasks.append(task)

        def ended(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and done.exception() is not None:
                print(repr(done.exception()), file=sys.stderr)
            if main is not None:
                main.cancel()

        task.add_done_callback(ended)

    try:
        await serve(core, on_ready=ready)
    except asyncio.CancelledError:
        pass


async def join_and_leave(core: Core, invitation: str) -> None:
    """Join and stay until admitted."""
    await join(core, invitation)

    async def work(node: Node) -> None:
        while not core.is_member:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        raise asyncio.CancelledError

    await run(core, work)
    say(joined=True)


def main() -> None:
    """Run one role."""
    role, path, *rest = sys.argv[1:]
    if role == "make":
        make(Path(path), rest[0])
        return
    core, lock = open_core(Folder(Path(path)), WORLD, None)
    if role == "author":
        asyncio.run(author(core, int(rest[0]), int(rest[1])))
    elif role == "join":
        asyncio.run(join_and_leave(core, rest[0]))
    else:
        asyncio.run(follower(core, int(rest[0])))
    lock.release()


if __name__ == "__main__":
    main()
