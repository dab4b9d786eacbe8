"""What a simulation is asked for: a scenario by name, and numbers that may override its own.

Every value is checked here, once, with a sentence for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

MAX_NODES = 100_000


class ImpossibleError(ValueError):
    """What was asked for cannot be simulated; the message says why."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything that a run depends on. Equal parameters, equal run."""

    scenario: str
    nodes: int = 100
    seed: int = 7
    items: int = 50
    """Words that are published and measured."""
    warm: int = 50
    """Words that are published before, so that the tree has grown."""
    interval_ms: int = 200
    """From one word to the next, on average."""
    streams: int = 200
    """Members that publish at all, at most: each costs every node the memory of a head."""
    latency_ms: float = 50.0
    """One-way delay between two regions that are neither near nor far."""
    loss: float = 0.001
    """Share of packets that are lost and sent again."""
    bandwidth_mbit: float = 20.0
    """Upstream of each node; 0 for no limit."""
    commit_ms: float = 4.0
    skew_ms: int = 1_000
    """Clocks are wrong by at most so much."""
    share: float = 0.0
    """Of the nodes: those that crash, lie, come and go, or cannot be called."""
    minutes: float = 1.0
    """How long a cut, the coming and going, or the measuring lasts."""
    held: int = 1_000
    """Heads that both hold before they meet again (reconnect)."""
    heads_per_day: float = 24.0
    """New heads of each member (cost)."""
    members: int = 0
    """For so many members the cost is asked; 0: as many as nodes."""
    kinds: str = ""
    """Which liars there are; empty: all kinds."""
    lazy: bool = True
    """False: names are neither told nor fetched. It shows what they are good for."""


_BOUNDS: dict[str, tuple[float, float]] = {
    "nodes": (2, MAX_NODES),
    "seed": (0, 2**63),
    "items": (1, 1_000_000),
    "warm": (0, 1_000_000),
    "interval_ms": (1, 3_600_000),
    "streams": (1, 10_000),
    "latency_ms": (0, 10_000),
    "loss": (0, 0.5),
    "bandwidth_mbit": (0, 100_000),
    "commit_ms": (0, 10_000),
    "skew_ms": (0, 24 * 3_600_000),
    "share": (0, 0.99),
    "minutes": (0, 7 * 24 * 60),
    "held": (1, 100_000),
    "heads_per_day": (0.01, 100_000),
    "members": (0, 1_000_000),
}


def check(asked: Parameters) -> None:
    """Refuse what cannot be. Raises ImpossibleError."""
    for one in fields(asked):
        bounds = _BOUNDS.get(one.name)
        value = getattr(asked, one.name)
        if bounds is not None and not bounds[0] <= value <= bounds[1]:
            name = one.name.replace("_", " ")
            raise ImpossibleError(
                f"The number for '{name}' must be from {bounds[0]:,} to {bounds[1]:,}, not {value:,}."
            )


def with_overrides(asked: Parameters, given: Mapping[str, object]) -> Parameters:
    """Return *asked* with what a person has *given* (None: not given), checked."""
    values = {one.name: getattr(asked, one.name) for one in fields(asked)}
    values |= {name: value for name, value in given.items() if value is not None}
    made = Parameters(**values)
    check(made)
    return made
