"""Bad networks on one machine: a TCP proxy before each node, and rules for who reaches whom how well.

Every node tells the others the address of its proxy, so that all gossip passes through one. What happens there is
what a program above TCP can see of a bad line: bytes that come late, in bursts or slowly, connections that break, and
peers that cannot be reached. Bytes never change places, get lost or come twice: TCP sees to that, so a lost packet is
a stall of the whole stream for as long as TCP would take to send it again. Lost packets themselves are for
`namespaces.py`.

A proxy runs in a thread with an event loop of its own; the methods of `Network` may be called from any other.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

PACKET_BYTES = 1_448
"""What a TCP packet carries over Ethernet."""
WINDOW_BYTES = 256 * 1024
"""So much may be on its way in one direction; the sender waits then, as it does for acknowledgements."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How well bytes get through, each way."""

    delay_s: float = 0.0
    loss: float = 0.0
    """Chance that a packet is lost: it and all behind it wait *retransmit_s* longer, twice that if it is lost again."""
    retransmit_s: float = 0.2
    breaks: float = 0.0
    """Chance that a packet breaks its connection (RST)."""
    bytes_per_s: float | None = None


class Wall(Enum):
    """What a partition does to a connection."""

    REFUSE = "refuse"
    """Connections break, new ones are refused: a firewall that says so, a machine without the program."""
    BLACKHOLE = "blackhole"
    """Nothing passes and nobody is told. What was sent passes after the healing, as TCP would have it. A new
    connection is taken and led nowhere: only the machine itself could leave its first packet without an answer."""


Target = Callable[[], tuple[str, int] | None]
"""Where a node listens now, None while it does not."""


@dataclass(eq=False)
class _Connection:
    caller: str | None
    callee: str
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def reset(self) -> None:
        """Break both ends at once, so that nobody takes it for a goodbye."""
        for writer in self.writers:
            opened: Any = writer.get_extra_info("socket")
            if opened is not None:
                with suppress(OSError):
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Network:
    """All proxies of one test. Use as a context manager."""

    def __init__(self, seed: int = 1) -> None:
        self.weather = Weather()
        self.stalls = 0
        """Packets that were lost, and had to be waited for."""
        self.broken = 0
        """Connections that a packet broke."""
        self.held = 0
        """Pieces that have met a wall which swallows them."""
        self._chance = random.Random(seed)
        self._walls: list[tuple[frozenset[str], frozenset[str], Wall]] = []
        self._who: dict[int, str] = {}
        self._ports: dict[str, int] = {}
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._changed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)

    def __enter__(self) -> Network:
        """Begin to carry."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Break every connection and listen no more."""
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # ── nodes ─────────────────────────────────────────────────────────────────────────────────────

    def add(self, name: str, target: Target) -> str:
        """Put a proxy before the node *name*; return the URL that it should tell the others."""
        return f"http://127.0.0.1:{self._run(self._listen(name, target))}"

    def runs_as(self, name: str, pid: int) -> None:
        """Say which process the node *name* is now: by it a proxy knows who calls."""
        self._who = {known: other for known, other in self._who.items() if other != name} | {pid: name}

    # ── walls ─────────────────────────────────────────────────────────────────────────────────────

    def cut(self, one: Iterable[str], other: Iterable[str], wall: Wall) -> None:
        """Let nothing pass between two groups of nodes, either way."""
        self._run(self._cut(frozenset(one), frozenset(other), wall))

    def forbid_calls_to(self, names: Iterable[str]) -> None:
        """Refuse whoever calls these nodes, as a router does to callers from outside; they may call others."""
        self._run(self._cut(frozenset(), frozenset(names), Wall.REFUSE))

    def heal(self) -> None:
        """Take all walls away."""
        self._run(self._cut(None, frozenset(), Wall.REFUSE))

    def connections(self) -> list[tuple[str | None, str]]:
        """Return (caller, callee) of the connections that stand now."""
        return [(one.caller, one.callee) for one in list(self._connections)]

    # ── in the loop ───────────────────────────────────────────────────────────────────────────────

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self, name: str, target: Target) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._serve(name, target, reader, writer)
            except asyncio.CancelledError:
                return  # the streams of asyncio report a cancelled server as an error
            finally:
                self._tasks.discard(task)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self, one: frozenset[str] | None, other: frozenset[str], wall: Wall) -> None:
        if one is None:
            self._walls.clear()
        else:
            self._walls.append((one, other, wall))
        for connection in list(self._connections):
            if self._between(connection.caller, connection.callee) is Wall.REFUSE:
                connection.reset()
        self._changed.set()
        self._changed = asyncio.Event()

    def _between(self, caller: str | None, callee: str) -> Wall | None:
        """Return the wall between two nodes. No group at all on its first side means: everybody."""
        if caller is None and self._walls:
            return Wall.REFUSE  # whoever has gone before it could be seen
        for one, other, wall in self._walls:
            if (callee in other and (not one or caller in one)) or (callee in one and caller in other):
                return wall
        return None

    async def _serve(
        self, name: str, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        ends = writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")[1]
        caller = self._who.get(process_behind(*ends, self._who) or 0)
        connection = _Connection(caller, name, [writer])
        self._connections.add(connection)
        try:
            if self._between(caller, name) is Wall.REFUSE:
                return
            await self._pass_wall(connection)
            where = target()
            if where is None:
                return
            try:
                there, back = await asyncio.open_connection(*where)
            except OSError:
                return
            connection.writers.append(back)
            ways = [asyncio.ensure_future(self._carry(connection, *way)) for way in ((reader, back), (there, writer))]
            try:
                await asyncio.gather(*ways)
            except OSError:
                pass
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _carry(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction; what has been taken in leaves in order, each piece at its time."""
        loop = asyncio.get_running_loop()
        sent: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=WINDOW_BYTES // (16 * PACKET_BYTES))

        async def deliver() -> None:
            while True:
                due, data = await sent.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._pass_wall(connection)
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        delivery = asyncio.ensure_future(deliver())
        try:
            last = line_free = loop.time()
            while data := await reader.read(16 * PACKET_BYTES):
                weather = self.weather
                if self._breaks(weather, data):
                    self.broken += 1
                    connection.reset()
                    return
                line_free = max(line_free, loop.time()) + (
                    len(data) / weather.bytes_per_s if weather.bytes_per_s else 0.0
                )
                # Never before what was sent earlier: TCP keeps the order.
                last = max(last, line_free + weather.delay_s) + self._stall(weather, data)
                await sent.put((last, data))
            await sent.put((last, b""))
            await delivery
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)

    def _breaks(self, weather: Weather, data: bytes) -> bool:
        return weather.breaks > 0 and any(self._chance.random() < weather.breaks for _ in _packets(data))

    def _stall(self, weather: Weather, data: bytes) -> float:
        """Return for how long a piece waits for packets that are lost, maybe again and again."""
        seconds = 0.0
        for _ in _packets(data) if weather.loss else ():
            again = weather.retransmit_s
            while self._chance.random() < weather.loss:
                self.stalls += 1
                seconds += again
                again *= 2
        return seconds

    async def _pass_wall(self, connection: _Connection) -> None:
        while self._between(connection.caller, connection.callee) is Wall.BLACKHOLE:
            self.held += 1
            await self._changed.wait()


def _packets(data: bytes) -> range:
    return range(0, len(data), PACKET_BYTES)


# ── who calls ────────────────────────────────────────────────────────────────────────────────────────


def process_behind(port: int, to_port: int, pids: Iterable[int]) -> int | None:
    """Return which of the processes has the TCP connection from *port* to *to_port* (Linux: reads /proc).

    Both ports: the system gives one port to several connections if they lead to different places.
    """
    inode = None
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        fields = line.split()
        ends = tuple(int(field.rpartition(":")[2], 16) for field in fields[1:3])
        if ends == (port, to_port) and fields[9] != "0":
            inode = fields[9]
            break
    if inode is None:
        return None
    for pid in pids:
        with suppress(OSError):  # it has ended, or a descriptor has just been closed
            for entry in list(Path(f"/proc/{pid}/fd").iterdir()):
                with suppress(OSError):
                    if str(entry.readlink()) == f"socket:[{inode}]":
                        return pid
    return None
