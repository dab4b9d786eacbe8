"""Wires like TCP: whole and in order within a connection, whatever is lost; and all the ways in which they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from coopnode.simulator.network import SOCKET_BUFFER, End, Network
from coopnode.simulator.scheduler import SECOND, Scheduler


@dataclass
class Host:
    """Notes down what the network tells it."""

    number: int
    up: bool = True
    refuses: bool = False
    life: int = 1
    honest: bool = True
    ends: list[End] = field(default_factory=list)
    heard: list[tuple[int, bytes]] = field(default_factory=list)
    gone: int = 0
    rooms: int = 0
    network: Network | None = None

    def connected(self, end: End) -> None:
        self.ends.append(end)

    def receive(self, end: End, batch: list[bytes]) -> None:
        assert self.network is not None
        self.heard.extend((self.network.scheduler.now_us, data) for data in batch)

    def disconnected(self, end: End) -> None:
        self.gone += 1

    def room(self, end: End) -> None:
        self.rooms += 1

    @property
    def words(self) -> list[bytes]:
        return [data for _, data in self.heard]


def network(count: int = 3, loss: float = 0.0, bandwidth_bps: int = 0, seed: int = 1) -> tuple[Network, list[Host]]:
    made = Network(Scheduler(), Random(seed), nodes=count, latency_ms=50, loss=loss, bandwidth_bps=bandwidth_bps)
    hosts = [Host(number, network=made) for number in range(count)]
    made.hosts = list(hosts)
    return made, hosts


def linked(made: Network, one: Host, other: Host) -> End:
    """Let *one* call *other*; return its end."""
    failed: list[int] = []
    made.dial(one, other.number, failed.append)
    made.scheduler.run_until(made.scheduler.now_us + 20 * SECOND)
    assert not failed
    return one.ends[-1]


def numbered(count: int) -> list[bytes]:
    return [b"%04d" % number for number in range(count)]


def test_messages_arrive_in_order_after_a_delay() -> None:
    made, (one, other, _) = network()
    end = linked(made, one, other)
    began_us = made.scheduler.now_us
    for word in numbered(200):
        made.send(end, [word])
    made.scheduler.run_until(began_us + 10 * SECOND)
    assert other.words == numbered(200)
    assert all(time_us - began_us > 5_000 for time_us, _ in other.heard)


def test_loss_delays_and_never_reorders() -> None:
    calm, (one, other, _) = network(seed=3)
    rough, (one_there, other_there, _) = network(loss=0.2, seed=3)
    for made, sender in ((calm, linked(calm, one, other)), (rough, linked(rough, one_there, other_there))):
        for word in numbered(300):
            made.send(sender, [word])
        made.scheduler.run_until(made.scheduler.now_us + 200 * SECOND)
    assert rough.traffic.lost_packets > 30
    assert other.words == other_there.words == numbered(300)
    assert other_there.heard[-1][0] > other.heard[-1][0]


def test_a_connection_that_loses_too_much_breaks_for_both() -> None:
    made, (one, other, _) = network(loss=0.5, seed=2)
    end = linked(made, one, other)
    for word in numbered(3_000):
        if end.closed:
            break
        made.send(end, [word])
        made.scheduler.run_until(made.scheduler.now_us + SECOND // 100)
    made.scheduler.run_until(made.scheduler.now_us + 60 * SECOND)
    assert made.traffic.broken >= 1
    assert (one.gone, other.gone) == (1, 1)
    assert other.words == numbered(len(other.words)), "what came before came in order"


def test_a_narrow_line_takes_its_time_and_tells_when_there_is_room() -> None:
    made, (one, other, _) = network(bandwidth_bps=1_000_000)
    end = linked(made, one, other)
    began_us = made.scheduler.now_us
    made.send(end, [bytes(125_000)])
    assert made.is_full(end)
    made.scheduler.run_until(began_us + SECOND)
    assert not other.words, "a megabit takes a second"
    made.scheduler.run_until(began_us + 2 * SECOND)
    assert len(other.words) == 1
    assert one.rooms == 1
    assert not made.is_full(end)


def test_a_peer_that_reads_nothing_fills_the_buffer() -> None:
    made, (one, other, _) = network()
    end = linked(made, one, other)
    other.up = False
    made.send(end, [bytes(SOCKET_BUFFER + 1)])
    assert made.is_full(end)
    made.scheduler.run_until(made.scheduler.now_us + SECOND)
    assert not other.words


def test_hanging_up_comes_after_what_was_said() -> None:
    made, (one, other, _) = network()
    end = linked(made, one, other)
    made.send(end, [b"last word"])
    made.close(end)
    made.scheduler.run_until(made.scheduler.now_us + SECOND)
    assert other.words == [b"last word"]
    assert (other.gone, one.gone) == (1, 0)


def test_a_killed_process_hangs_up_and_a_lost_machine_does_not() -> None:
    for resets in (True, False):
        made, (one, other, _) = network()
        linked(made, one, other)
        other.up = False
        made.crash(other, resets=resets)
        made.scheduler.run_until(made.scheduler.now_us + 10 * SECOND)
        assert one.gone == int(resets)


def test_a_machine_that_has_come_back_hangs_up_on_what_it_does_not_know() -> None:
    made, (one, other, _) = network()
    end = linked(made, one, other)
    other.up = False
    made.crash(other, resets=False)
    other.up, other.life = True, 2
    made.send(end, [b"still there?"])
    made.scheduler.run_until(made.scheduler.now_us + SECOND)
    assert one.gone == 1
    assert not other.words


def test_a_cut_holds_back_what_is_sent_and_lets_it_through_in_order_afterwards() -> None:
    made, (one, other, third) = network()
    end, inside = linked(made, one, other), linked(made, one, third)
    made.cut([0, 1, 0])
    for word in numbered(5):
        made.send(end, [word])
    made.send(inside, [b"same side"])
    made.scheduler.run_until(made.scheduler.now_us + 30 * SECOND)
    assert not other.words
    assert third.words == [b"same side"]
    assert made.crossed == 20
    made.heal()
    made.send(end, [b"0005"])
    made.scheduler.run_until(made.scheduler.now_us + 30 * SECOND)
    assert other.words == numbered(6)


def test_calls_fail_to_the_hidden_the_cut_off_and_those_that_are_away() -> None:
    for trouble in ("hidden", "cut", "away", "refused"):
        made, (one, other, _) = network()
        failed: list[tuple[int, int]] = []
        match trouble:
            case "hidden":
                made.reachable[1] = False
            case "cut":
                made.cut([0, 1, 0])
            case "away" | "refused":
                other.up, other.refuses = False, trouble == "refused"
        made.dial(one, 1, lambda number: failed.append((number, made.scheduler.now_us)))  # noqa: B023 (called here)
        made.scheduler.run_until(20 * SECOND)
        assert [number for number, _ in failed] == [1], trouble
        assert (failed[0][1] < SECOND) == (trouble == "refused"), "only a machine that is there can say no"
        assert not one.ends
        assert made.calls_to_hidden == int(trouble == "hidden")


def test_the_trace_tells_runs_apart() -> None:
    traces = []
    for word in (b"a", b"a", b"b"):
        made, (one, other, _) = network()
        made.send(linked(made, one, other), [word])
        made.scheduler.run_until(made.scheduler.now_us + SECOND)
        traces.append(made.trace)
    assert traces[0] == traces[1] != traces[2]
