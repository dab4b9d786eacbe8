"""The wires between simulated nodes: delay, loss, bandwidth, cuts, refused calls, hung-up and vanished peers.

A connection is like TCP: what arrives, arrives whole and in order. A lost packet is sent again, which delays it and
all behind it; a connection that loses too much in a row breaks. The thing to understand: between *different*
connections nothing is in order, so what was said earlier may well arrive later by another way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from struct import pack
from typing import Protocol

from coopnode.simulator.scheduler import MS, SECOND, Scheduler

PACKET_BYTES = 1_400
PACKET_OVERHEAD = 66
"""Ethernet, IPv4 and TCP with time stamps, a packet."""
FRAME_OVERHEAD = 6
"""The head of a masked websocket frame of less than 126 bytes."""
SOCKET_BUFFER = 256 * 1024
"""So much a sender may have under way on one connection before it waits."""
FIRST_RETRY_US = 200 * MS
MAX_RETRIES = 7
"""After so many losses in a row a connection is given up: some 25 s with doubled waits."""
DIAL_TIMEOUT_US = 5 * SECOND
FACTORS = ((0.25, 0.7, 1.0, 1.5), (0.7, 0.25, 1.2, 1.3), (1.0, 1.2, 0.3, 1.8), (1.5, 1.3, 1.8, 0.35))
"""One-way delay between four regions, as a share of `latency_ms`."""


class Host(Protocol):
    """What the network needs of a node."""

    number: int
    up: bool
    refuses: bool
    life: int
    honest: bool

    def connected(self, end: End) -> None:
        """A connection stands."""

    def receive(self, end: End, batch: list[bytes]) -> None:
        """Messages have arrived."""

    def disconnected(self, end: End) -> None:
        """The peer has hung up, or the connection broke."""

    def room(self, end: End) -> None:
        """More can be sent."""


class End:
    """One side of a connection."""

    __slots__ = (
        "arrives_us",
        "closed",
        "delay_us",
        "dialed",
        "held",
        "host",
        "life",
        "link",
        "other",
        "unread",
        "wants_room",
    )

    def __init__(self, host: Host, *, dialed: bool, delay_us: int) -> None:
        self.host = host
        self.dialed = dialed
        self.life = host.life
        self.delay_us = delay_us
        self.other: End = self
        self.link: object = None
        self.arrives_us = 0
        """When the last message on its way to the other side arrives."""
        self.unread = 0
        self.wants_room = False
        self.closed = False
        self.held: list[list[bytes] | None] | None = None
        """What waits behind a cut; None in it is the goodbye of the connection."""


@dataclass(slots=True)
class Traffic:
    """What went over all wires."""

    messages: int = 0
    bytes: int = 0
    wire_bytes: int = 0
    packets: int = 0
    lost_packets: int = 0
    broken: int = 0
    dials: int = 0
    failed_dials: int = 0


class Network:
    """All connections. *on_delivery(to, from, message)* is told of everything that arrives."""

    def __init__(
        self,
        scheduler: Scheduler,
        random: Random,
        *,
        nodes: int,
        latency_ms: float,
        loss: float,
        bandwidth_bps: int,
    ) -> None:
        self.scheduler = scheduler
        self.hosts: list[Host] = []
        self.traffic = Traffic()
        self.sent: list[int] = [0] * nodes
        """Bytes that each node has put on the wire, with all overhead."""
        self.region = [random.randrange(len(FACTORS)) for _ in range(nodes)]
        self.side: list[int] | None = None
        """Which side of a cut each node is on; None while there is none."""
        self.calls_to_hidden = 0
        self.crossed = 0
        """Bytes of messages between nodes of different sides since the last cut began."""
        self.reachable = [True] * nodes
        """False for nodes that nobody can call."""
        self._random = random
        self._latency_us = latency_ms * 1_000
        self._loss = loss
        self._bandwidth_bps = bandwidth_bps
        self._free_us = [0] * nodes
        self._ends: list[list[End]] = [[] for _ in range(nodes)]
        self._held: list[End] = []
        self._sides: list[int] | None = None
        self._trace = hashlib.sha256()
        self.on_send: Callable[[int, bytes], None] = lambda _number, _data: None

    @property
    def trace(self) -> str:
        """Hash over everything that has arrived so far: when, from whom, to whom, what."""
        return self._trace.hexdigest()

    # ── calling ───────────────────────────────────────────────────────────────────────────────────

    def dial(self, caller: Host, number: int, failed: Callable[[int], None]) -> None:
        """Call node *number*: both hosts are told when the connection stands, or the caller that it has failed.

        The TCP and the websocket handshake take two round trips before the first message can be sent.
        """
        self.traffic.dials += 1
        delay_us = self._delay_us(caller.number, number)
        self.scheduler.after(3 * delay_us, self._arrive_call, (caller, caller.life, number, delay_us, failed))

    def _arrive_call(self, call: tuple[Host, int, int, int, Callable[[int], None]]) -> None:
        caller, life, number, delay_us, failed = call
        host = self.hosts[number]
        if not host.up or not self.reachable[number] or self._is_cut(caller.number, number):
            self.traffic.failed_dials += 1
            self.calls_to_hidden += not self.reachable[number]
            # A machine that runs without its node refuses at once; else nobody says no, and the call times out.
            says_no = (
                not host.up and host.refuses and self.reachable[number] and not self._is_cut(caller.number, number)
            )
            self.scheduler.after(
                delay_us if says_no else DIAL_TIMEOUT_US, self._fail_call, (caller, life, number, failed)
            )
        elif caller.up and caller.life == life:
            near, far = End(caller, dialed=True, delay_us=delay_us), End(host, dialed=False, delay_us=delay_us)
            near.other, far.other = far, near
            self._ends[caller.number].append(near)
            self._ends[number].append(far)
            host.connected(far)
            self.scheduler.after(delay_us, self._stand, near)

    def _stand(self, near: End) -> None:
        if not near.closed and near.host.up and near.host.life == near.life:
            near.host.connected(near)

    def _fail_call(self, call: tuple[Host, int, int, Callable[[int], None]]) -> None:
        caller, life, number, failed = call
        if caller.up and caller.life == life:
            failed(number)

    # ── messages ──────────────────────────────────────────────────────────────────────────────────

    def send(self, end: End, batch: list[bytes]) -> None:
        """Send messages to the other side, all at once."""
        size = 0
        number = end.host.number
        for data in batch:
            size += len(data)
            self.on_send(number, data)
        packets = 1 + size // PACKET_BYTES
        wire = size + FRAME_OVERHEAD * len(batch) + PACKET_OVERHEAD * packets
        traffic = self.traffic
        traffic.messages += len(batch)
        traffic.bytes += size
        traffic.wire_bytes += wire
        traffic.packets += packets
        self.sent[number] += wire
        if self._sides is not None and self._sides[number] != self._sides[end.other.host.number]:
            self.crossed += size
        end.unread += size
        self._put_on_wire(end, batch, wire, packets)

    def close(self, end: End) -> None:
        """Hang up; what was sent before still arrives."""
        if not end.closed:
            end.closed = True
            self._ends[end.host.number].remove(end)
            self._put_on_wire(end, None, PACKET_OVERHEAD, 1)

    def is_full(self, end: End) -> bool:
        """Whether this side must wait before it sends more; its host is told when there is room."""
        number = end.host.number
        if end.unread > SOCKET_BUFFER:
            end.wants_room = True
            return True
        if self._free_us[number] > self.scheduler.now_us + 100 * MS:
            if not end.wants_room:
                end.wants_room = True
                self.scheduler.at(self._free_us[number], self._tell_room, end)
            return True
        return False

    def _put_on_wire(self, end: End, batch: list[bytes] | None, wire: int, packets: int) -> None:
        now_us = self.scheduler.now_us
        number = end.host.number
        leaves_us = now_us
        if self._bandwidth_bps:
            leaves_us = self._free_us[number] = (
                max(now_us, self._free_us[number]) + wire * 8_000_000 // self._bandwidth_bps
            )
        arrives_us = leaves_us + end.delay_us + int(self._random.random() * end.delay_us * 0.1)
        if self._loss:
            arrives_us += self._retries_us(end, packets)
            if arrives_us < 0:
                self._break(end)
                return
        # In order: nothing overtakes what was sent before it.
        end.arrives_us = max(arrives_us, end.arrives_us)
        self.scheduler.at(end.arrives_us, self._arrive, (end, batch))

    def _retries_us(self, end: End, packets: int) -> int:
        """Return by how much lost packets delay the last of *packets*; far below zero if the connection breaks."""
        worst_us = 0
        for _ in range(packets):
            wait_us, delay_us, losses = max(FIRST_RETRY_US, 3 * end.delay_us), 0, 0
            while self._random.random() < self._loss:
                losses += 1
                delay_us += wait_us
                wait_us *= 2
                if losses == MAX_RETRIES:
                    return -(1 << 62)
            self.traffic.lost_packets += losses
            worst_us = max(worst_us, delay_us)
        return worst_us

    def _arrive(self, sent: tuple[End, list[bytes] | None]) -> None:
        end, batch = sent
        far = end.other
        host = far.host
        if self.side is not None and self.side[host.number] != self.side[end.host.number]:
            if end.held is None:
                end.held = []
                self._held.append(end)
            end.held.append(batch)
            return
        if end.held is not None:
            end.held.append(batch)  # behind what is still on its way after the cut
            return
        if batch is not None:
            end.unread -= sum(map(len, batch))
            if end.wants_room and end.unread <= SOCKET_BUFFER:
                self.scheduler.after(end.delay_us, self._tell_room, end)
        if not host.up:
            return  # into the void: nobody there says anything
        if far.closed or host.life != far.life:
            # Of another life of that machine, or hung up: it answers with a reset.
            if not end.closed:
                self.scheduler.after(end.delay_us, self._reset, end)
            return
        if batch is None:
            far.closed = True
            self._ends[host.number].remove(far)
            host.disconnected(far)
            return
        self._trace.update(pack("<QII", self.scheduler.now_us, end.host.number, host.number))
        self._trace.update(b"".join(batch))
        host.receive(far, batch)

    def _tell_room(self, end: End) -> None:
        if end.wants_room and not end.closed and end.host.up and end.host.life == end.life:
            end.wants_room = False
            end.host.room(end)

    def _reset(self, end: End) -> None:
        if not end.closed and end.host.up and end.host.life == end.life:
            end.closed = True
            self._ends[end.host.number].remove(end)
            end.host.disconnected(end)

    def _break(self, end: End) -> None:
        """Too much was lost in a row: both sides find out that the connection is gone."""
        self.traffic.broken += 1
        self.scheduler.after(0, self._reset, end)
        self.scheduler.after(25 * SECOND, self._reset, end.other)

    # ── what goes wrong ───────────────────────────────────────────────────────────────────────────

    def crash(self, host: Host, *, resets: bool) -> None:
        """A node is gone: with *resets* its machine hangs up on all, as after kill -9; else there is silence.

        The host must have been marked as down before.
        """
        for end in self._ends[host.number]:
            end.closed = True
            if resets:
                self.scheduler.after(end.delay_us, self._reset, end.other)
        self._ends[host.number].clear()

    def cut(self, side: list[int]) -> None:
        """From now on nothing passes between nodes of different sides."""
        self.side = self._sides = side
        self.crossed = 0

    def heal(self) -> None:
        """The cut is over: what was held back is sent again, within the wait that has grown meanwhile."""
        self.side = None
        held, self._held = self._held, []
        for end in held:
            self.scheduler.after(int(self._random.random() * 10 * SECOND) + end.delay_us, self._release, end)

    def _release(self, end: End) -> None:
        batches, end.held = end.held or [], None
        for batch in batches:
            self._arrive((end, batch))

    def _is_cut(self, one: int, other: int) -> bool:
        return self.side is not None and self.side[one] != self.side[other]

    def _delay_us(self, one: int, other: int) -> int:
        factor = FACTORS[self.region[one]][self.region[other]]
        return int(self._latency_us * factor * (0.8 + 0.4 * self._random.random())) + 500
