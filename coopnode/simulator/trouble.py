"""The scenarios of trouble: crashes, a cut through the middle, coming and going, nodes that nobody can call."""

from __future__ import annotations

from coopnode.simulator import figures
from coopnode.simulator.figures import Figures, Meter
from coopnode.simulator.node import SimulatedNode
from coopnode.simulator.parameters import Parameters
from coopnode.simulator.record import Sent
from coopnode.simulator.scenarios import PATIENCE_S, finish
from coopnode.simulator.scheduler import MS, SECOND
from coopnode.simulator.town import Town

# What may end a session between honest nodes while some of them are away.
AWAY = {"fault timed_out": 1.0}
RECOVERED_MS = 15_000
HEALED_S = 180.0


def opened(asked: Parameters) -> Town:
    """Return a town whose nodes are linked and whose tree has grown."""
    town = Town(asked)
    town.open()
    town.publish_all([town.random.choice(town.authors) for _ in range(asked.warm)], asked.interval_ms)
    town.run_until(lambda: town.all_have(town.recorder.words.values()), PATIENCE_S)
    return town


def crash(asked: Parameters) -> tuple[Town, Figures]:
    """A share of the nodes is gone at once: half are killed, half lose their power. The others go on publishing."""
    town = opened(asked)
    victims = town.random.sample(town.nodes, int(asked.nodes * asked.share))
    fallen = {node.number for node in victims}
    survivors = [node for node in town.nodes if node.number not in fallen]
    authors = [node for node in town.authors if node.number not in fallen] or survivors[:1]
    meter = Meter(town)
    at_us = town.scheduler.now_us + SECOND // 10
    # One word is on its way at the moment of the crash, and words go on leaving all the time after it.
    town.publish_in(0.1 - 2 * asked.commit_ms / 1_000, authors[0])
    for number, node in enumerate(victims):
        town.scheduler.at(at_us, _fall, (node, number % 2 == 0))
    words = town.publish_all([town.random.choice(authors) for _ in range(asked.items)], asked.interval_ms)
    made = finish(town, words, meter, {"fault timed_out": 1.0, "last_hop": 60})
    early = [word for word in words if word.told_us <= at_us + SECOND]
    recovered_ms = max((word.last_us - at_us for word in early), default=0) // MS
    made["scenario_figures"] = {
        "crashed": len(victims),
        "survivors": len(survivors),
        "recovered_ms": max(0, recovered_ms),
        "later_words_to_all_ms": figures.spread_of(
            [(word.last_us - word.told_us) // MS for word in words if word not in early]
        ),
    }
    made["bounds"] |= {"recovered_ms": RECOVERED_MS, "later_ms": RECOVERED_MS}
    # Every other victim has fallen silent, and each had links.
    made["bounds"]["suspected_least"] = len(victims) // 2 if len(survivors) >= len(victims) else 0
    return town, made


def _fall(which: tuple[SimulatedNode, bool]) -> None:
    node, resets = which
    node.crash(resets=resets)


def partition(asked: Parameters) -> tuple[Town, Figures]:
    """Nothing passes between two halves for a while, and both go on publishing."""
    town = opened(asked)
    halves = [0] * asked.nodes
    for number in town.random.sample(range(asked.nodes), asked.nodes // 2):
        halves[number] = 1
    meter = Meter(town)
    town.network.cut(halves)
    town.run_s(0.2)  # a word that was under way would count for neither
    interval_ms = max(asked.interval_ms, asked.minutes * 60_000 / asked.items)
    words = town.publish_all([town.random.choice(town.authors) for _ in range(asked.items)], interval_ms)
    town.run_s(max(0.0, asked.minutes * 60 - (town.scheduler.now_us - words[0].told_us) / SECOND))
    lacking = [town.missed([word], [node for node in town.nodes if town.lacks(node, word)]) for word in words]
    sides = [town.nodes[word.author] for word in words]
    one_side = sum(
        count == sum(side != halves[author.number] for side in halves)
        for count, author in zip(lacking, sides, strict=True)
    )
    lacked_bytes = sum(count * len(word.data) for count, word in zip(lacking, words, strict=True))
    unique_bytes = sum(len(word.data) for count, word in zip(lacking, words, strict=True) if count)
    crossed_before = town.network.crossed
    after = Meter(town)
    healed_us = town.scheduler.now_us
    town.network.heal()
    equal = town.run_until(lambda: town.frontiers() == 1, 2 * HEALED_S)
    equal_s = (town.scheduler.now_us - healed_us) / SECOND
    traffic = after.read()
    made = finish(town, words, meter, {**AWAY, "brought": 1.0})
    made["scenario_figures"] = {
        "minutes": asked.minutes,
        "words_that_one_side_had_alone": one_side,
        "equal_after_s": equal_s if equal else None,
        "lacked_bytes_once": unique_bytes,
        "lacked_bytes_all_nodes": lacked_bytes,
        "crossed_bytes": town.network.crossed - crossed_before,
        "item_bytes_after_healing": traffic["groups"]["payload"] + traffic["groups"]["duplicates"],
        "anti_entropy_bytes_after_healing": traffic["groups"]["anti-entropy"],
        "all_bytes_over_lacked": round(traffic["bytes"] / max(1, lacked_bytes), 3),
        "exchanges_after_healing": traffic["exchanges"],
    }
    made["bounds"]["equal_after_s"] = HEALED_S
    return town, made


def churn(asked: Parameters) -> tuple[Town, Figures]:
    """Nodes come and go all the time: each stays up for `minutes` on average, and is away for half a minute."""
    town = opened(asked)
    movers = town.random.sample(town.nodes, int(asked.nodes * asked.share))
    moving = {node.number for node in movers}
    authors = [node for node in town.authors if node.number not in moving] or [
        node for node in town.nodes if node.number not in moving
    ]
    ends_us = town.scheduler.now_us + int(asked.items * asked.interval_ms * MS)
    changes = [0]

    def go(node: SimulatedNode) -> None:
        if town.scheduler.now_us < ends_us and node.up:
            changes[0] += 1
            node.crash(resets=town.random.random() < 0.5)
            town.scheduler.after(int(town.random.expovariate(1 / 30) * SECOND), come, node)

    def come(node: SimulatedNode) -> None:
        node.start()
        town.scheduler.after(int(town.random.expovariate(1 / (60 * asked.minutes)) * SECOND), go, node)

    for node in movers:
        town.scheduler.after(int(town.random.expovariate(1 / (60 * asked.minutes)) * SECOND), go, node)
    meter = Meter(town)
    words = town.publish_all([town.random.choice(authors) for _ in range(asked.items)], asked.interval_ms)
    town.run_until(lambda: all(node.up for node in town.nodes), 600)
    town.run_s(20)  # whoever has come last finds its links
    made = finish(town, words, meter, {**AWAY, "brought": 1.0})
    made["scenario_figures"] = {"movers": len(movers), "times_gone": changes[0]}
    return town, made


def nat(asked: Parameters) -> tuple[Town, Figures]:
    """A share of the nodes cannot be called: they call others, and their words travel all the same."""
    town = Town(asked)
    hidden = set(town.random.sample(range(asked.nodes), int(asked.nodes * asked.share)))
    for number in hidden:
        town.network.reachable[number] = False
    town.open()
    town.publish_all([town.random.choice(town.authors) for _ in range(asked.warm)], asked.interval_ms)
    town.run_until(lambda: town.all_have(town.recorder.words.values()), PATIENCE_S)
    behind = [node for node in town.authors if node.number in hidden]
    open_ = [node for node in town.authors if node.number not in hidden]
    meter = Meter(town)
    sources = [town.random.choice((behind or open_, open_ or behind)[number % 2]) for number in range(asked.items)]
    words = town.publish_all(sources, asked.interval_ms)
    bounds = {"brought": 0.05, "to_all_ms": 30_000.0, "suspected": 0.0}
    made = finish(town, words, meter, bounds)
    made["scenario_figures"] = {
        "hidden": len(hidden),
        "words_from_hidden": sum(word.author in hidden for word in words),
        "calls_to_hidden": town.network.calls_to_hidden,
        "delay_to_hidden_ms": figures.spread_of(_delays(words, hidden)),
    }
    return town, made


def _delays(words: list[Sent], nodes: set[int]) -> list[int]:
    return [word.delays_ms[at] for word in words for at, number in enumerate(word.order) if number in nodes]
