"""The bad network is as bad as it says, and no worse: whoever trusts its tests must trust it."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.proxy import Network, Wall, Weather, process_behind
from tests.e2e.shops import until


class Echo:
    """A server that sends back what it gets."""

    def __init__(self) -> None:
        self.received = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listening.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(opened,), daemon=True).start()

    def _answer(self, opened: socket.socket) -> None:
        with opened:
            try:
                while data := opened.recv(65_536):
                    self.received += len(data)
                    opened.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    opened = Echo()
    yield opened
    opened.close()


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as opened:
        opened.runs_as("client", os.getpid())
        yield opened


def call(url: str) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def receive(opened: socket.socket, number: int) -> bytes:
    parts = []
    while number:
        data = opened.recv(min(number, 65_536))
        if not data:
            raise EOFError
        parts.append(data)
        number -= len(data)
    return b"".join(parts)


def exchange(opened: socket.socket, data: bytes) -> bytes:
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(opened.sendall, data)
        came = receive(opened, len(data))
        sending.result()
    return came


@pytest.mark.parametrize(
    "weather",
    [
        Weather(),
        Weather(delay_s=0.02, loss=0.2, retransmit_s=0.002),
        Weather(bytes_per_s=4e6, loss=0.05, retransmit_s=0.001),
    ],
    ids=["fair", "lossy", "narrow"],
)
def test_all_bytes_arrive_once_and_in_order(network: Network, echo: Echo, weather: Weather) -> None:
    network.weather = weather
    data = random.Random(5).randbytes(600_000)
    with call(network.add("echo", lambda: echo.address)) as opened:
        came = exchange(opened, data)
        assert network.connections() == [("client", "echo")]
    assert hashlib.sha256(came).digest() == hashlib.sha256(data).digest()
    assert (network.stalls > 0) is (weather.loss > 0)
    until(lambda: not network.connections(), "the end of one side to end the other")


def test_nothing_comes_before_its_time(network: Network, echo: Echo) -> None:
    """Lower bounds only: how much later it comes is the machine's affair."""
    network.weather = Weather(delay_s=0.05)
    with call(network.add("echo", lambda: echo.address)) as opened:
        began = time.monotonic()
        exchange(opened, b"ping")
        assert time.monotonic() - began >= 0.1
        network.weather = Weather(bytes_per_s=1e6)
        began = time.monotonic()
        exchange(opened, bytes(200_000))
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("breaks", [0.0, 1.0])
def test_a_packet_may_break_its_connection(network: Network, echo: Echo, breaks: float) -> None:
    network.weather = Weather(breaks=breaks)
    with call(network.add("echo", lambda: echo.address)) as opened:
        if not breaks:
            assert exchange(opened, b"ping") == b"ping"
            return
        opened.sendall(b"ping")
        with pytest.raises(ConnectionResetError):
            opened.recv(10)
    assert (network.broken, echo.received) == (1, 0)


def test_a_wall_that_refuses_breaks_and_turns_away(network: Network, echo: Echo) -> None:
    url = network.add("echo", lambda: echo.address)
    with call(url) as opened:
        exchange(opened, b"ping")
        network.cut(["client"], ["echo"], Wall.REFUSE)
        with pytest.raises(ConnectionResetError):
            opened.recv(10)
    with call(url) as opened, pytest.raises(ConnectionResetError):
        opened.recv(10)
    network.heal()
    with call(url) as opened:
        assert exchange(opened, b"pong") == b"pong"


def test_a_wall_that_swallows_gives_back_at_healing(network: Network, echo: Echo) -> None:
    url = network.add("echo", lambda: echo.address)
    with call(url) as opened:
        exchange(opened, b"ping")
        network.cut(["echo"], ["client"], Wall.BLACKHOLE)
        opened.sendall(b"into the dark")
        with call(url) as late:
            until(lambda: network.held >= 2, "both to meet the wall")
            assert echo.received == 4
            network.heal()
            assert receive(opened, 13) == b"into the dark"
            assert exchange(late, b"pong") == b"pong"


def test_a_wall_is_between_the_named_ones_only(network: Network, echo: Echo) -> None:
    far, near = (network.add(name, lambda: echo.address) for name in ("far", "near"))
    network.cut(["client"], ["far"], Wall.REFUSE)
    with call(near) as opened:
        assert exchange(opened, b"ping") == b"ping"
    network.heal()
    network.forbid_calls_to(["near"])
    with call(far) as opened:
        assert exchange(opened, b"ping") == b"ping"
    with call(near) as opened, pytest.raises(ConnectionResetError):
        opened.recv(10)


def test_a_node_that_does_not_run_is_not_reached(network: Network) -> None:
    with call(network.add("nobody", lambda: None)) as opened, pytest.raises(ConnectionResetError):
        opened.recv(10)


def test_the_process_behind_a_connection_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as one:
        ends = one.getsockname()[1], listening.getsockname()[1]
        assert process_behind(*ends, [1, os.getpid()]) == os.getpid()
        assert process_behind(*ends, []) is None
        assert process_behind(ends[0], ends[0], [os.getpid()]) is None
    assert process_behind(*ends, [os.getpid()]) is None


def test_walls_turn_away_whoever_is_not_known(network: Network, echo: Echo) -> None:
    url = network.add("echo", lambda: echo.address)
    network.runs_as("client", 1)
    with call(url) as opened:
        assert exchange(opened, b"ping") == b"ping"
    network.cut(["client"], ["other"], Wall.REFUSE)
    with call(url) as opened, pytest.raises(ConnectionResetError):
        opened.recv(10)
