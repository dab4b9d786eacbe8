"""Every scenario, small: what must hold does, and with a part of the rules switched off it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from coopnode.simulator import run
from coopnode.simulator.liars import KINDS
from coopnode.simulator.parameters import ImpossibleError, with_overrides
from coopnode.simulator.town import Town
from coopnode.world import World
from protocol import head as heads

Result = dict[str, Any]


@cache
def played(scenario: str, **given: object) -> tuple[Result, Town]:
    return run.simulate(with_overrides(run.usual(scenario), given), World().steady_ms)


def figures(scenario: str, **given: object) -> Result:
    result = played(scenario, **given)[0]
    assert result["verdict"] == []
    return result


SMALL: dict[str, dict[str, object]] = {
    "single": {"nodes": 30, "items": 10},
    "many": {"nodes": 30, "items": 20, "warm": 30},
    "burst": {"nodes": 30, "items": 20, "warm": 30},
    "random": {"nodes": 30, "items": 20, "warm": 30},
    "crash": {"nodes": 40, "items": 10, "warm": 30},
    "partition": {"nodes": 30, "items": 10, "warm": 20, "minutes": 2.0},
    "churn": {"nodes": 30, "items": 30, "warm": 20},
    "nat": {"nodes": 30, "items": 10, "warm": 30},
    "liars": {"nodes": 40, "items": 10, "warm": 20},
    "rude": {},
    "anti-entropy": {"nodes": 30, "items": 10},
    "reconnect": {"nodes": 202, "held": 200},
    "cost": {"nodes": 30, "members": 500, "minutes": 2.0, "warm": 30},
}


def test_all_scenarios_are_played_here() -> None:
    assert SMALL.keys() == run.SCENARIOS.keys()


@pytest.mark.parametrize("scenario", SMALL)
def test_what_must_hold_does(scenario: str) -> None:
    result = figures(scenario, **SMALL[scenario])
    json.dumps(result)
    if "broadcast" in result:
        assert result["broadcast"]["missed"] == 0
    assert result["health"]["frontiers"] == 1


# ── the same again ───────────────────────────────────────────────────────────────────────────────


def printed(hash_seed: str, *words: str) -> Result:
    """Run the command in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "coopnode", "simulate", *words, "--json"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    result: Result = json.loads(ran.stdout)
    assert result.pop("machine")["events_per_second"] > 0
    return result


@pytest.mark.parametrize("scenario", ["random", "liars", "churn"])
def test_equal_seeds_make_equal_runs_whatever_python_hashes(scenario: str) -> None:
    words = ("--scenario", scenario, "--nodes", "25", "--items", "8", "--warm", "8", "--seed", "5")
    assert printed("1", *words) == printed("2", *words)


def test_another_seed_makes_another_run() -> None:
    traces = {played("random", nodes=20, items=5, warm=5, seed=seed)[0]["trace"] for seed in (1, 2)}
    assert len(traces) == 2


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────


def test_without_names_a_torn_tree_stays_torn() -> None:
    """The twin of the scenario above: whoever lies behind the fallen hears of nothing until anti-entropy comes."""
    given = {**SMALL["crash"], "nodes": 60, "warm": 60}
    whole, torn = figures("crash", **given), played("crash", **given, lazy=False)[0]
    assert torn["verdict"]
    late = torn["broadcast"]["delay_ms"]["p99"]
    assert late > 3 * whole["broadcast"]["delay_ms"]["p99"]


def test_heavy_loss_costs_time_and_nothing_else() -> None:
    calm = figures("random", **SMALL["random"])
    rough = played("random", **SMALL["random"], loss=0.1)[0]
    assert rough["network"]["lost_packets"] > 100
    assert rough["broadcast"]["missed"] == 0
    assert rough["health"]["frontiers"] == 1
    assert rough["broadcast"]["to_all_ms"]["p50"] > calm["broadcast"]["to_all_ms"]["p50"]


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_survivors_of_a_crash_are_soon_current(share: float) -> None:
    result = figures("crash", **SMALL["crash"], share=share)
    own = result["scenario_figures"]
    assert own["crashed"] == int(40 * share)
    assert own["recovered_ms"] <= 15_000


def test_a_healed_cut_brings_each_side_what_it_lacked() -> None:
    own = figures("partition", **SMALL["partition"])["scenario_figures"]
    assert own["words_that_one_side_had_alone"] == 10, "nothing got through the cut"
    assert own["lacked_bytes_all_nodes"] == 15 * own["lacked_bytes_once"]
    assert own["crossed_bytes"] >= own["lacked_bytes_once"]
    assert 0 < own["equal_after_s"] <= 180


def test_hidden_nodes_hear_and_are_heard() -> None:
    result, town = played("nat", **SMALL["nat"])
    own = result["scenario_figures"]
    assert own["hidden"] == 15
    assert own["words_from_hidden"] == 5
    assert own["calls_to_hidden"] == 0
    for node in town.nodes:
        if not town.network.reachable[node.number]:
            assert all(link.dialed for link in node.links), "nobody has called it"


def test_without_broadcast_all_become_equal_by_asking() -> None:
    result = figures("anti-entropy", **SMALL["anti-entropy"])
    assert result["broadcast"]["brought_by_anti_entropy"] > 0
    assert "Have" not in result["traffic"]["kinds"]
    assert result["scenario_figures"]["rounds_of_30_s"] > 0.2


def test_meeting_again_costs_by_what_has_changed() -> None:
    own = figures("reconnect", **SMALL["reconnect"])["scenario_figures"]
    assert own["no_change"]["bytes_after_handshake"] <= 250
    assert own["changes"]["kinds"]["News"] > 100 * 200
    assert "Reconcile" not in own["changes"]["kinds"]
    assert own["changes_cursor_lost"]["kinds"]["Reconcile"] > 0


def test_what_it_costs_grows_with_the_members() -> None:
    few = figures("cost", **SMALL["cost"])["cost"]
    more = figures("cost", **{**SMALL["cost"], "members": 5_000})["cost"]
    assert (few["members"], more["members"]) == (500, 5_000)
    assert more["payload_per_day"] == pytest.approx(10 * few["payload_per_day"], rel=0.05)
    assert few["payload_per_day"] < few["sent_per_day"] < more["sent_per_day"]


def test_on_a_narrow_line_a_queue_holds_no_more_than_a_word_of_each_member() -> None:
    result = figures("burst", **{**SMALL["burst"], "items": 60}, bandwidth_mbit=0.05)
    assert 1 < result["health"]["longest_queue"] <= 30


def test_where_nearly_all_are_hidden_the_others_keep_room() -> None:
    result = figures("nat", nodes=60, share=0.9, items=10, warm=20)
    assert 30 < result["links"]["most"] <= 45


# ── guests ────────────────────────────────────────────────────────────────────────────────────────


def test_a_rule_that_is_not_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the scenario `rude` above."""
    monkeypatch.setattr(heads, "check_not_future", lambda head, now_ms: None)
    said = run.simulate(run.usual("rude"), World().steady_ms)[0]["verdict"]
    assert said == ["A head of the future must be kept back. (8.5)"]


def test_each_rule_is_tried_whatever_the_seed() -> None:
    tried = {played("rude", seed=seed)[0]["scenario_figures"]["rules_tried"] for seed in (1, 2, 3)}
    assert len(tried) == 1
    assert tried.pop() > 100
    for seed in (1, 2, 3):
        assert figures("rude", seed=seed)["scenario_figures"]["rules_broken"] == []


# ── liars ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_liar_gets_anything_forged_in_or_anything_true_out(kind: str) -> None:
    result = figures("liars", nodes=30, items=10, warm=20, kinds=kind)
    own = result["scenario_figures"]
    assert own["liars"] == {kind: 6}
    assert own["all_delivered_while_they_lied"]
    assert own["forged_accepted"] == 0
    match kind:
        case "forge":
            assert own["forged"] > 0
            assert own["links_dropped"] > 0
            assert result["health"]["refused"]["bad_signature"] > 0
        case "equivocate":
            assert own["equivocations"] == 6
            assert own["evidence_missing"] == 0
        case "flood" | "replay":
            assert result["traffic"]["groups"]["duplicates"] > 0


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scenario", "given", "said"),
    [
        ("random", {"nodes": 1}, "'nodes' must be from 2 to"),
        ("random", {"loss": 0.9}, "'loss' must be from 0 to 0.5"),
        ("random", {"latency_ms": -1.0}, "'latency ms' must be"),
        ("liars", {"kinds": "forge,gossip"}, "no liars of kind 'gossip'"),
        ("reconnect", {"nodes": 10, "held": 20}, "there must be 22 nodes"),
        ("rude", {"nodes": 20}, "a full mesh of 12 nodes"),
        ("nonsense", {}, "no scenario 'nonsense'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(scenario: str, given: dict[str, object], said: str) -> None:
    with pytest.raises(ImpossibleError, match=said):
        played(scenario, **given)
