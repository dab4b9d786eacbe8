"""What is said of a run: from what was recorded to numbers under plain names.

All bytes are of encoded messages unless their name says `wire`: then with websocket, TCP and IP around them, but
without TLS and without the calls before a connection stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coopnode.simulator.record import KIND_NAMES, Sent
from coopnode.simulator.town import Town

Figures = dict[str, Any]
DAY_S = 86_400


def share_of(values: Sequence[int], share: float) -> int:
    """Return the value below which *share* of the sorted *values* lie; 0 of none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0


def spread_of(values: Sequence[int]) -> Figures:
    """Return median, 99th percentile and greatest of *values*."""
    ordered = sorted(values)
    return {"p50": share_of(ordered, 0.5), "p99": share_of(ordered, 0.99), "max": ordered[-1] if ordered else 0}


def of_words(town: Town, words: Sequence[Sent]) -> Figures:
    """Return how words got around: hops, redundancy, delays."""
    living = len(town.living())
    redundancies = [word.pushes / (word.reached - 1) - 1 if word.reached > 1 else 0.0 for word in words]
    return {
        "words": len(words),
        "missed": town.missed(words),
        "reached_least": min((word.reached for word in words), default=0),
        "living": living,
        "redundancy": round(sum(redundancies) / max(1, len(words)), 4),
        "redundancy_worst": round(max(redundancies, default=0.0), 4),
        "last_hop": max((word.last_hop for word in words), default=0),
        "last_hop_mean": round(sum(word.last_hop for word in words) / max(1, len(words)), 2),
        "delay_ms": spread_of([delay for word in words for delay in word.delays_ms]),
        "to_all_ms": spread_of([(word.last_us - word.told_us) // 1_000 for word in words]),
        "brought_by_anti_entropy": sum(word.brought for word in words),
        "cut_short": len(words) and round(sum(word.last_hop == 0 for word in words) / len(words), 4),
    }


class Meter:
    """Traffic between two moments."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._groups = town.recorder.group_bytes()
        self._kinds = dict(town.recorder.bytes_by_number)
        self._numbers = dict(town.recorder.messages_by_number)
        self._wire = sum(town.network.sent)
        self._begin_us = town.scheduler.now_us
        self._exchanges = town.recorder.exchanges
        self._rounds = town.recorder.rounds

    @staticmethod
    def difference(before: dict[int, int], after: dict[int, int]) -> dict[str, int]:
        """Return by how many bytes each kind of message has grown."""
        grown = {KIND_NAMES[number]: size - before.get(number, 0) for number, size in sorted(after.items())}
        return {name: size for name, size in grown.items() if size}

    def read(self) -> Figures:
        """Return the traffic since the meter was made."""
        recorder = self._town.recorder
        groups = {name: size - self._groups[name] for name, size in recorder.group_bytes().items()}
        seconds = max(1e-6, (self._town.scheduler.now_us - self._begin_us) / 1e6)
        wire = sum(self._town.network.sent) - self._wire
        nodes = len(self._town.nodes)
        kinds = {
            KIND_NAMES.get(number, str(number)): {
                "messages": recorder.messages_by_number[number] - self._numbers.get(number, 0),
                "bytes": size - self._kinds.get(number, 0),
            }
            for number, size in sorted(recorder.bytes_by_number.items())
        }
        total = sum(groups.values())
        return {
            "seconds": round(seconds, 3),
            "bytes": total,
            "wire_bytes": wire,
            "groups": groups,
            "kinds": {name: one for name, one in kinds.items() if one["messages"]},
            "overhead": round((groups["control"] + groups["duplicates"]) / max(1, groups["payload"]), 4),
            "node_bytes_per_second": round(total / nodes / seconds, 1),
            "node_wire_bytes_per_day": round(wire / nodes / seconds * DAY_S),
            "exchanges": recorder.exchanges - self._exchanges,
            "rounds": recorder.rounds - self._rounds,
        }


def of_links(town: Town) -> Figures:
    """Return how many links nodes keep, and how many of them they have dialed themselves."""
    living = town.living()
    counts = [sum(not link.visit and link.judged for link in node.links) for node in living]
    own = [sum(not link.visit and link.judged and link.dialed for link in node.links) for node in living]
    return {
        "mean": round(sum(counts) / max(1, len(counts)), 2),
        "fewest": min(counts, default=0),
        "most": max(counts, default=0),
        "own_fewest": min(own, default=0),
    }


def of_health(town: Town) -> Figures:
    """Return what must be so at the end of any run."""
    recorder = town.recorder
    living = town.living()
    return {
        "frontiers": town.frontiers(),
        "forged_accepted": recorder.forged_accepted,
        "older_accepted": recorder.older_accepted,
        "own_untold": recorder.own_untold,
        "faults": dict(sorted(recorder.faults.items())),
        "faults_of_liars": dict(sorted(recorder.closings.items())),
        "refused": dict(sorted(recorder.refused.items())),
        "twins": recorder.twins,
        "suspected": recorder.suspected,
        "needless": recorder.needless,
        "told_twice": recorder.told_twice,
        "longest_queue": recorder.longest_queue,
        "most_parked": max((node.ingest.parked for node in living), default=0),
        "signatures_verified": town.coop.memory.verified,
    }
