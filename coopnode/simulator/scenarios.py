"""The scenarios of broadcast: one sender, many, all at once, by chance. `run` knows all scenarios by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coopnode.simulator import figures
from coopnode.simulator.figures import Figures, Meter
from coopnode.simulator.node import SimulatedNode
from coopnode.simulator.parameters import Parameters
from coopnode.simulator.record import Sent
from coopnode.simulator.town import Town
from protocol.limits import OWN_LINKS, SAMPLED_LINKS
from protocol.overlay import is_full_mesh

PATIENCE_S = 180.0
"""So long a run goes on for what has not come yet."""
Bounds = dict[str, float]


def finish(town: Town, words: list[Sent], meter: Meter, bounds: Bounds) -> Figures:
    """Wait until everybody has everything, and return the figures."""
    traffic_until_all: Figures | None = None
    if town.run_until(lambda: town.all_have(words), PATIENCE_S):
        traffic_until_all = meter.read()
    town.run_until(lambda: town.frontiers() == 1, PATIENCE_S)
    return {
        "broadcast": figures.of_words(town, words),
        "traffic": traffic_until_all or meter.read(),
        "links": figures.of_links(town),
        "health": figures.of_health(town),
        "bounds": bounds,
    }


def _broadcast(
    asked: Parameters, sources: Callable[[Town, int], Iterable[SimulatedNode]], interval_ms: float
) -> tuple[Town, Figures]:
    town = Town(asked)
    town.open()
    warm = list(sources(town, asked.warm))
    # One word alone first: from all that is eager it makes the tree, which the others then share.
    town.publish_all(warm[:1], 0)
    town.run_until(lambda: town.all_have(town.recorder.words.values()), PATIENCE_S)
    town.publish_all(warm[1:], asked.interval_ms)
    town.run_until(lambda: town.all_have(town.recorder.words.values()), PATIENCE_S)
    town.run_s(2)
    meter = Meter(town)
    words = town.publish_all(sources(town, asked.items), interval_ms)
    bounds = calm_bounds(town)
    bounds["longest_queue"] = len(town.authors)  # nobody contradicts itself here
    if 0 < asked.bandwidth_mbit < 1:
        del bounds["suspected"]  # an echo may well wait behind all else
    if interval_ms < 1:
        bounds["redundancy"] += 1  # all at once: the tree cannot learn between two words
    return town, finish(town, words, meter, bounds)


def calm_bounds(town: Town) -> Bounds:
    """Return what a co-op without trouble is held to."""
    nodes = len(town.nodes)
    links = figures.of_links(town)["mean"]
    return {
        # An author tells all its links in full, which weighs where there are few nodes.
        "redundancy": 0.3 + links / nodes,
        "last_hop": 40,
        "brought": 0.02,
        "to_all_ms": 15_000,
        "suspected": 0,
        # Of the own ones one may just have been given up for another.
        "own_fewest": 0 if is_full_mesh(nodes) else OWN_LINKS - 1,
        "links_fewest": nodes - 1 if is_full_mesh(nodes) else SAMPLED_LINKS - 1,
    }


def single(asked: Parameters) -> tuple[Town, Figures]:
    """One sender, word after word."""
    return _broadcast(asked, lambda town, count: [town.authors[0]] * count, asked.interval_ms)


def many(asked: Parameters) -> tuple[Town, Figures]:
    """Many senders, taking turns."""

    def sources(town: Town, count: int) -> list[SimulatedNode]:
        return [town.authors[number % len(town.authors)] for number in range(count)]

    return _broadcast(asked, sources, asked.interval_ms)


def burst(asked: Parameters) -> tuple[Town, Figures]:
    """All words at once."""

    def sources(town: Town, count: int) -> list[SimulatedNode]:
        return [town.authors[number % len(town.authors)] for number in range(count)]

    return _broadcast(asked, sources, 0.001)


def by_chance(asked: Parameters) -> tuple[Town, Figures]:
    """Random senders at random times."""

    def sources(town: Town, count: int) -> list[SimulatedNode]:
        return [town.random.choice(town.authors) for _ in range(count)]

    return _broadcast(asked, sources, asked.interval_ms)
