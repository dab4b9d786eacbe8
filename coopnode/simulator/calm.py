"""The scenarios of everyday life: broadcast off, two nodes that meet again, and what a member pays for it all."""

from __future__ import annotations

from coopnode.simulator import figures
from coopnode.simulator.figures import DAY_S, Figures, Meter
from coopnode.simulator.node import SimulatedNode
from coopnode.simulator.parameters import ImpossibleError, Parameters
from coopnode.simulator.scenarios import PATIENCE_S, calm_bounds, finish
from coopnode.simulator.scheduler import SECOND
from coopnode.simulator.town import Town
from coopnode.simulator.trouble import opened
from protocol.items import ItemKind
from protocol.limits import VISIT_EVERY_MS


def anti_entropy(asked: Parameters) -> tuple[Town, Figures]:
    """Nothing is told at once: nodes hear each other out by chance, until all have all."""
    town = Town(asked, broadcast=False)
    town.open()
    meter = Meter(town)
    words = town.publish_all([town.random.choice(town.authors) for _ in range(asked.items)], asked.interval_ms)
    began_us = town.scheduler.now_us
    equal = town.run_until(lambda: town.frontiers() == 1, 40 * VISIT_EVERY_MS / 1_000)
    seconds = (town.scheduler.now_us - began_us) / SECOND
    made = finish(town, words, meter, {"brought": 1.0, "suspected": 0.0})
    made["scenario_figures"] = {
        "equal_after_s": seconds if equal else None,
        "rounds_of_30_s": round(seconds / (VISIT_EVERY_MS / 1_000), 1) if equal else None,
        "exchanges": made["traffic"]["exchanges"],
    }
    made["bounds"]["equal_after_s"] = 12 * VISIT_EVERY_MS / 1_000
    return town, made


def reconnect(asked: Parameters) -> tuple[Town, Figures]:
    """Two nodes that hold the same meet again: nothing new; 100 new heads; cursors lost; all new; nine of ten lost."""
    town = Town(asked)
    one, other = town.nodes[0], town.nodes[1]
    # Not their own: each would be told its own heads first, which is another matter.
    streams = town.coop.members[2 : 2 + asked.held]
    if len(streams) < asked.held:
        raise ImpossibleError(f"To hold {asked.held:,} heads there must be {asked.held + 2:,} nodes (--nodes).")
    for member in streams:
        data = town.coop.head(member, 1_000_000 + member.number, b"held %d" % member.number)
        for node in (one, other):
            _keep(town, node, data)
    seqs = {node: node.tables.items.last_seq() for node in (one, other)}
    changes = min(100, asked.held)
    found: Figures = {}
    cases: tuple[tuple[str, int, tuple[SimulatedNode, ...]], ...]
    cases = (
        ("no_change", 0, ()),
        ("changes", changes, ()),
        ("changes_cursor_lost", changes, (one,)),
        ("changes_both_cursors_lost", changes, (one, other)),
        ("all_changed", asked.held, ()),
        ("most_lost", 0, (one,)),
    )
    for name, fresh, lost in cases:
        for node, peer in ((one, other), (other, one)):
            nonce = bytes(8) if node in lost else peer.tables.meta.get("store_nonce") or bytes(8)
            node.tables.peers.set_cursor(peer.member.member_id, nonce, seqs[peer])
        for member in streams[:fresh]:
            rev = 2_000_000_000 + town.scheduler.now_us + member.number
            _keep(town, other, town.coop.head(member, rev, b"changed %d" % rev))
        if name == "most_lost":
            for item in one.tables.items.of_kind(ItemKind.HEAD)[: asked.held * 9 // 10]:
                one.tables.items.remove(item.item_id)
        found[name] = _meet(town, one, other)
        seqs = {node: node.tables.items.last_seq() for node in (one, other)}
    made = finish_pair(town, (one, other))
    made["scenario_figures"] = found
    ids = one.tables.items.number()
    made["bounds"] |= {
        "reconnect_no_change": 250,
        "reconnect_changes": 300 * changes,
        "reconnect_changes_cursor_lost": 65_000 * max(1.0, ids / 10_000),
        # The one where all arrived takes its cursor for old and compares: it cannot know that the other slept.
        # 551 bytes a head up to MAX_ITEMS heads, 606 beyond: then it takes a question more.
        "reconnect_all_changed": 650 * asked.held + 1_000,
        "reconnect_most_lost": 400 * asked.held + 100_000 * max(1.0, ids / 10_000),
        "reconnect_changes_both_cursors_lost": 130_000 * max(1.0, ids / 10_000),
    }
    return town, made


def _keep(town: Town, node: SimulatedNode, data: bytes) -> None:
    """Lay a head into a store as if it had come long ago."""
    node.ingest.take(node.tables.as_tables(), ItemKind.HEAD, data)


def _meet(town: Town, one: SimulatedNode, other: SimulatedNode) -> Figures:
    """Switch both on, let them talk until they are quiet, and count what was said after the handshake."""
    before = dict(town.recorder.bytes_by_number)
    rounds = town.recorder.rounds
    needless = town.recorder.needless
    quiet = town.stage_without_visits()
    for node in (one, other):
        node.stage = quiet
    other.start()
    other.caller.rest()
    one.start()
    one.caller.rest()
    town.network.dial(one, other.number, lambda _number: None)
    began_us = town.scheduler.now_us
    town.run_until(lambda: one.tables.items.frontier() == other.tables.items.frontier(), 60)
    town.run_s(2)
    after = Meter.difference(before, dict(town.recorder.bytes_by_number))
    session = sum(after.get(name, 0) for name in ("Hello", "Proof", "Ping", "Pong"))
    for node in (one, other):
        node.crash(resets=True)
    town.run_s(2)
    return {
        "bytes_after_handshake": sum(after.values()) - session - after.get("Bye", 0),
        "rounds_both_sides": town.recorder.rounds - rounds,
        "needless_items": town.recorder.needless - needless,
        # Of the one that comes after: what it has taken in since then is no news to the other.
        "cursors_kept": one.tables.peers.cursor(other.member.member_id)
        == (other.tables.meta.get("store_nonce"), other.tables.items.last_seq()),
        "equal": one.tables.items.frontier() == other.tables.items.frontier(),
        "seconds": round((town.scheduler.now_us - began_us) / SECOND - 4, 2),
        "kinds": after,
    }


def finish_pair(town: Town, nodes: tuple[SimulatedNode, SimulatedNode]) -> Figures:
    """Return the figures of a run with two nodes only."""
    health = figures.of_health(town)
    health["frontiers"] = town.frontiers(nodes)
    return {
        "links": {"mean": 1.0, "fewest": 1, "most": 1, "own_fewest": 0},
        "health": health,
        "bounds": {"suspected": 0.0},
    }


def cost(asked: Parameters) -> tuple[Town, Figures]:
    """Everyday traffic: members publish at random, as often as is said, for a while."""
    town = opened(asked)
    members = asked.members or asked.nodes
    per_second = members * asked.heads_per_day / DAY_S
    # Whatever the tree has cost to grow is not of every day; and the first visits hear everybody out.
    town.run_s(60)
    meter = Meter(town)
    count = max(1, round(per_second * asked.minutes * 60))
    began_us = town.scheduler.now_us
    words = town.publish_all([town.random.choice(town.authors) for _ in range(count)], 1_000 / per_second)
    town.run_s(max(0.0, asked.minutes * 60 - (town.scheduler.now_us - began_us) / SECOND))
    daily = meter.read()
    made = finish(town, words, meter, calm_bounds(town))
    made["traffic"] = daily
    wire_per_s = daily["node_wire_bytes_per_day"] / DAY_S
    made["cost"] = {
        "members": members,
        "heads_per_day": asked.heads_per_day,
        "heads_per_second": round(per_second, 4),
        "measured_words": len(words),
        "sent_per_hour": round(wire_per_s * 3_600),
        "sent_per_day": round(wire_per_s * DAY_S),
        "payload_per_day": round(per_second * DAY_S * sum(len(word.data) for word in words) / max(1, len(words))),
        "by_group_per_day": {
            name: round(size / asked.nodes / daily["seconds"] * DAY_S) for name, size in daily["groups"].items()
        },
    }
    town.run_until(lambda: town.frontiers() == 1, PATIENCE_S)
    return town, made
