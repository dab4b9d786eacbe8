"""Running a scenario by name: `simulate` returns its figures, `verdict` says what must not be and is.

Everything under `machine` is about the computer that ran it; all else depends on the parameters alone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from coopnode import __version__
from coopnode.simulator import calm, liars, manners, rude, scenarios, trouble, words
from coopnode.simulator.figures import Figures
from coopnode.simulator.parameters import ImpossibleError, Parameters, check
from coopnode.simulator.scheduler import Scheduler
from coopnode.simulator.town import Town
from coopnode.simulator.verdict import verdict

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario, and the parameters that it has unless others are given."""

    what: str
    play: Callable[[Parameters], tuple[Town, Figures]]
    usual: Parameters


def _scenario(name: str, what: str, play: Callable[[Parameters], tuple[Town, Figures]], **usual: Any) -> Scenario:
    return Scenario(what, play, Parameters(name, **usual))


def _rude(asked: Parameters) -> tuple[Town, Figures]:
    """Guests break all rules that there are."""
    return rude.play(asked, manners.RULES + words.RULES)


SCENARIOS: dict[str, Scenario] = {
    one.usual.scenario: one
    for one in (
        _scenario("single", "one member publishes again and again", scenarios.single, warm=10, interval_ms=1_000),
        _scenario("many", "many members take turns", scenarios.many),
        _scenario("burst", "many members publish in one moment", scenarios.burst),
        _scenario("random", "members publish at random", scenarios.by_chance),
        _scenario("crash", "a share of the nodes is gone at once", trouble.crash, share=0.5, items=40, interval_ms=500),
        _scenario("partition", "nothing passes between two halves for a while", trouble.partition, minutes=60.0),
        _scenario("churn", "nodes come and go all the time", trouble.churn, share=0.3, items=100, interval_ms=1_000),
        _scenario("nat", "a share of the nodes cannot be called", trouble.nat, share=0.5),
        _scenario("liars", "a share of the nodes lies", liars.liars, share=0.2),
        _scenario("rude", "guests break one rule after the other", _rude, nodes=rude.HONEST + rude.SEATS, loss=0.0),
        _scenario("anti-entropy", "nothing is told at once, only when asked", calm.anti_entropy, warm=0),
        _scenario("reconnect", "two nodes meet again", calm.reconnect, nodes=1_002, loss=0.0),
        _scenario("cost", "everyday traffic, and what it costs a member", calm.cost, minutes=10.0, members=1_000),
    )
}


def usual(name: str) -> Parameters:
    """Return the parameters of a scenario. Raises ImpossibleError for an unknown name."""
    if name not in SCENARIOS:
        raise ImpossibleError(f"There is no scenario '{name}'. There are: {', '.join(SCENARIOS)}.")
    return SCENARIOS[name].usual


def simulate(asked: Parameters, steady_ms: Callable[[], int]) -> tuple[Result, Town]:
    """Run a scenario. *steady_ms* is the machine's clock: it measures the speed and nothing else.

    Raises ImpossibleError.
    """
    usual(asked.scenario)
    check(asked)
    began_ms = steady_ms()
    # Millions of small things live long here: looking through them for garbage all the time takes a sixth of the time.
    usually = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    try:
        town, figures = SCENARIOS[asked.scenario].play(asked)
    finally:
        gc.set_threshold(*usually)
    took_ms = max(1, steady_ms() - began_ms)
    result: Result = {
        "scenario": asked.scenario,
        "version": __version__,
        "seed": asked.seed,
        "nodes": asked.nodes,
        "parameters": asdict(asked),
        "virtual_seconds": round(town.scheduler.now_us / 1e6, 3),
        "events": town.scheduler.done,
        "trace": town.network.trace,
        "network": asdict(town.network.traffic),
        **figures,
    }
    result["verdict"] = verdict(result)
    result["machine"] = {
        "seconds": took_ms / 1_000,
        "events_per_second": round(town.scheduler.done * 1_000 / took_ms),
        "scheduler_events_per_second": scheduler_speed(steady_ms),
    }
    return result, town


def scheduler_speed(steady_ms: Callable[[], int], events: int = 100_000) -> int:
    """Return how many empty events a second the scheduler does, with 10,000 waiting."""
    scheduler = Scheduler()

    def again(left: int) -> None:
        if left:
            scheduler.after(1 + left * 7_919 % 10_007, again, left - 1)

    for _ in range(10_000):
        scheduler.after(_ + 1, again, events // 10_000 - 1)
    began_ms = steady_ms()
    scheduler.run_until(1 << 60)
    return round(scheduler.done * 1_000 / max(1, steady_ms() - began_ms))
