"""What is counted while a simulation runs: who had what when, over how many hops, and bytes by kind of message.

Only looks on: nodes tell it what happens, and nothing that a node does depends on it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

from protocol.messages import KINDS

NOT_YET = 255
KIND_NAMES = {number: kind.__name__ for number, kind in KINDS.items()}
GROUPS = {
    "control": ("Have", "Graft", "Prune"),
    "anti-entropy": ("Status", "Since", "News", "Reconcile", "Reconciled", "GetItems", "Items", "GetPages", "Pages"),
    "ping": ("Ping", "Pong"),
    "session": ("Hello", "Proof", "Bye", "Twin"),
}
"""Kinds of messages by what they are for; Put is apart: what it brings is either new or a duplicate."""


@dataclass(slots=True)
class Sent:
    """One word that was broadcast, and how it got around."""

    data: bytes
    author: int
    told_us: int
    """When it was durable at its author."""
    hops: bytearray
    """By node: hops from the author, NOT_YET where it has not come."""
    bringers: array[int] = field(default_factory=lambda: array("i"))
    """By node: who has brought it first, -1 where nobody has."""
    reached: int = 0
    pushes: int = 0
    """How often it was delivered by broadcast, in full."""
    brought: int = 0
    """How often anti-entropy has brought it first."""
    last_hop: int = 0
    last_us: int = 0
    delays_ms: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """Nodes in the order in which they got it, as `delays_ms`."""


class Recorder:
    """The figures of one run as they grow."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.words: dict[bytes, Sent] = {}
        self.bytes_by_number: Counter[int] = Counter()
        self.messages_by_number: Counter[int] = Counter()
        self.payload_bytes = 0.0
        self.duplicate_bytes = 0.0
        self.exchanges = 0
        self.rounds = 0
        self.differing_exchanges = 0
        self.brought_bytes = 0
        """Bytes of items that anti-entropy brought first."""
        self.forged_accepted = 0
        self.older_accepted = 0
        self.faults: Counter[str] = Counter()
        """Sessions between honest nodes that ended for a reason, by reason."""
        self.closings: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.longest_queue = 0
        self.most_parked = 0
        self.own_untold = 0
        """Own words that were not offered whole to every link."""
        self.twins = 0
        self.suspected = 0
        """How often a link was taken for silent."""
        self.dropped = 0
        """Links that ended because a peer had sent forged items."""
        self.told_twice = 0
        """Words that one node has pushed to another twice."""
        self.needless = 0
        """Items that anti-entropy has brought although they were there."""
        self.forged: set[bytes] = set()
        self.equivocations: dict[bytes, tuple[bytes, bytes]] = {}
        """By member: two heads that it has signed with one version."""
        self.traffic_by_second: Counter[tuple[int, int]] = Counter()
        """Bytes by (second, number of the kind of message)."""

    def on_send(self, now_us: int, data: bytes) -> None:
        """A message goes on the wire. Its number is the second byte: rows are shorter than 16."""
        number, size = data[1], len(data)
        self.bytes_by_number[number] += size
        self.messages_by_number[number] += 1
        self.traffic_by_second[now_us // 1_000_000, number] += size

    def tell(self, data: bytes, author: int, now_us: int) -> Sent:
        """An author's word is durable and goes out."""
        word = self.words[data] = Sent(data, author, now_us, bytearray([NOT_YET]) * self.nodes)
        word.bringers = array("i", [-1]) * self.nodes
        word.hops[author] = 0
        word.reached = 1
        word.last_us = now_us
        return word

    def deliver(
        self, data: bytes, to: int, came_from: int | None, now_us: int, *, pushed: bool, honest: bool = True
    ) -> None:
        """A node has kept a word that was new to it."""
        if data in self.forged and honest:
            self.forged_accepted += 1
        word = self.words.get(data)
        if word is None:
            return
        if pushed:
            word.pushes += 1
            self.payload_bytes += len(data)
        else:
            word.brought += 1
            self.brought_bytes += len(data)
        if word.hops[to] != NOT_YET:
            return
        before = NOT_YET if came_from is None else word.hops[came_from]
        word.bringers[to] = -1 if came_from is None else came_from
        hop = word.hops[to] = min(before + 1, NOT_YET - 1)
        word.reached += 1
        if pushed:
            word.last_hop = max(word.last_hop, hop)
        word.last_us = now_us
        delay_ms = (now_us - word.told_us) // 1_000
        word.delays_ms.append(delay_ms)
        word.order.append(to)

    def duplicate(self, data: bytes, to: int, came_from: int) -> None:
        """A word was pushed to a node that has it already."""
        self.duplicate_bytes += len(data)
        word = self.words.get(data)
        if word is not None:
            word.pushes += 1
            self.told_twice += word.bringers[to] == came_from

    def group_bytes(self) -> dict[str, int]:
        """Return bytes on all wires by what they were for."""
        of = {KIND_NAMES.get(number, "unknown"): size for number, size in self.bytes_by_number.items()}
        found = {name: sum(of.get(kind, 0) for kind in kinds) for name, kinds in GROUPS.items()}
        puts = of.get("Put", 0)
        share = self.payload_bytes / max(1.0, self.payload_bytes + self.duplicate_bytes)
        return {"payload": round(puts * share), "duplicates": puts - round(puts * share), **found}
