"""All nodes of one run, their wires and their clock: what scenarios play with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from coopnode.ingest import head_slot
from coopnode.simulator.coop import Coop, Member
from coopnode.simulator.memory import Base, MemoryTables, make_tables
from coopnode.simulator.network import Network
from coopnode.simulator.node import SimulatedNode, Stage
from coopnode.simulator.parameters import Parameters
from coopnode.simulator.record import NOT_YET, Recorder, Sent
from coopnode.simulator.scheduler import MS, SECOND, Scheduler
from protocol.items import ItemKind

START_US = 5 * SECOND
"""Nodes are switched on within so long."""
OPEN_US = 15 * SECOND
"""So long after that links have found their place."""
MakeNode = Callable[[Stage, Member, MemoryTables, int], SimulatedNode]


class Town:
    """The nodes of a run. *make* makes a node of another kind, for liars."""

    def __init__(
        self, asked: Parameters, make: Callable[[int], MakeNode] | None = None, *, broadcast: bool = True
    ) -> None:
        self.asked = asked
        self.random = Random(asked.seed)  # noqa: S311 (a seeded run, no secret)
        self.scheduler = Scheduler()
        self.coop = Coop(asked.nodes, asked.seed)
        self.recorder = Recorder(asked.nodes)
        self.network = Network(
            self.scheduler,
            self.random,
            nodes=asked.nodes,
            latency_ms=asked.latency_ms,
            loss=asked.loss,
            bandwidth_bps=int(asked.bandwidth_mbit * 1_000_000),
        )
        self.network.on_send = self._on_send
        self.stage = Stage(
            self.scheduler,
            self.network,
            self.coop,
            self.recorder,
            self.random,
            int(asked.commit_ms * MS),
            broadcast=broadcast,
            lazy=asked.lazy,
        )
        self.base = Base(self.coop.identity_items)
        seq = len(self.base.items)
        nonces = [self.coop.secret("store", one.number)[:8] for one in self.coop.members]
        # Everybody has heard everybody out before: the co-op is not founded at this moment.
        self.known = {one.member_id: (nonces[one.number], seq) for one in self.coop.members}
        self.nodes = [
            (SimulatedNode if make is None else make(one.number))(
                self.stage,
                one,
                make_tables(self.base, nonces[one.number], self.known),
                self.random.randint(-asked.skew_ms, asked.skew_ms),
            )
            for one in self.coop.members
        ]
        self.network.hosts = list(self.nodes)
        numbers = self.random.sample(range(asked.nodes), min(asked.nodes, asked.streams))
        self.authors = [self.nodes[number] for number in numbers if self.nodes[number].honest]
        self._content = 0

    def _on_send(self, _number: int, data: bytes) -> None:
        self.recorder.on_send(self.scheduler.now_us, data)

    # ── time ──────────────────────────────────────────────────────────────────────────────────────

    def run_s(self, seconds: float) -> None:
        """Let *seconds* go by."""
        self.scheduler.run_until(self.scheduler.now_us + int(seconds * SECOND))

    def run_until(self, reached: Callable[[], bool], most_s: float) -> bool:
        """Let time go by until *reached()*, looking every half second; return whether it was within *most_s*."""
        end_us = self.scheduler.now_us + int(most_s * SECOND)
        self.scheduler.run_while(lambda: not reached(), end_us, SECOND // 2)
        return reached()

    def open(self, nodes: Iterable[SimulatedNode] | None = None) -> None:
        """Switch nodes on, and wait until their links have found their place."""
        for node in self.nodes if nodes is None else nodes:
            self.scheduler.after(int(self.random.random() * START_US), lambda one: one.start(), node)
        self.scheduler.run_until(self.scheduler.now_us + START_US + OPEN_US)

    def stage_without_visits(self) -> Stage:
        """Return the same stage for nodes that call nobody by themselves."""
        return replace(self.stage, anti_entropy=False, dials=False)

    # ── words ─────────────────────────────────────────────────────────────────────────────────────

    def publish(self, node: SimulatedNode) -> None:
        """Have a node publish its next head now."""
        self._content += 1
        if node.up:
            node.publish(b"content %d" % self._content)

    def publish_in(self, delay_s: float, node: SimulatedNode) -> None:
        """Have a node publish its next head later."""
        self.scheduler.after(int(delay_s * SECOND), self.publish, node)

    def publish_all(self, nodes: Iterable[SimulatedNode], interval_ms: float) -> list[Sent]:
        """Have nodes publish one after the other at irregular times; return the words when the last has left."""
        before = len(self.recorder.words)
        delay_s = 0.0
        for node in nodes:
            self.publish_in(delay_s, node)
            delay_s += self.random.expovariate(1.0) * interval_ms / 1_000
        self.run_s(delay_s + 0.1 + 2 * self.asked.commit_ms / 1_000)
        return list(self.recorder.words.values())[before:]

    # ── what has become of them ───────────────────────────────────────────────────────────────────

    def living(self) -> list[SimulatedNode]:
        """Return the honest nodes that are up."""
        return [node for node in self.nodes if node.up and node.honest]

    def lacks(self, node: SimulatedNode, word: Sent) -> bool:
        """Whether a node has neither this word nor a later one of its author."""
        if word.hops[node.number] != NOT_YET:
            return False
        head = self.coop.memory.read_head(word.data)
        held = node.tables.items.in_slot(ItemKind.HEAD, head_slot(head))
        return held is None or self.coop.memory.read_head(held).version < head.version

    def missed(self, words: Iterable[Sent], nodes: Iterable[SimulatedNode] | None = None) -> int:
        """Count what nodes lack of *words*."""
        among = self.living() if nodes is None else list(nodes)
        return sum(self.lacks(node, word) for word in words for node in among)

    def all_have(self, words: Iterable[Sent]) -> bool:
        """Whether every living honest node has all of *words*."""
        among = self.living()
        return not any(self.lacks(node, word) for word in words for node in among)

    def frontiers(self, nodes: Iterable[SimulatedNode] | None = None) -> int:
        """Count how many different frontiers there are."""
        among = self.living() if nodes is None else nodes
        return len({node.tables.items.frontier() for node in among})
