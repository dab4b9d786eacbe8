"""The list of planted bugs does not rot: each still applies, names a rule, and leaves a module that compiles."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from coopnode.simulator import run
from tests.mutants.__main__ import judge
from tests.mutants.planted import MUTANTS, Mutant
from tests.node.simulator.quick import SHORT

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?) ", (ROOT / "protocol" / "README.md").read_text("utf-8"), re.M))


def by_name(mutant: Mutant) -> str:
    return mutant.name.replace(" ", "-")


@pytest.mark.parametrize("mutant", MUTANTS, ids=by_name)
def test_each_planted_bug_still_applies(mutant: Mutant) -> None:
    source = (ROOT / mutant.path).read_text("utf-8")
    assert source.count(mutant.text) == 1, "the line has changed: plant the bug anew"
    mutated = source.replace(mutant.text, mutant.wrong)
    assert mutated != source
    compile(mutated, mutant.path, "exec")
    assert mutant.section in SECTIONS
    assert set(mutant.first) <= {name for name, _ in SHORT}


def test_there_are_many_and_no_two_are_one() -> None:
    assert len(MUTANTS) >= 45
    assert max(Counter(one.name for one in MUTANTS).values()) == 1
    assert max(Counter((one.path, one.text, one.wrong) for one in MUTANTS).values()) == 1


def test_the_short_scenarios_are_scenarios() -> None:
    assert {name for name, _ in SHORT} <= run.SCENARIOS.keys()


# ── the judge ────────────────────────────────────────────────────────────────────────────────────────


def planted(name: str, text: str, wrong: str, first: str) -> Mutant:
    return Mutant(name, "protocol/head.py", text, wrong, "8.4", True, (first,))


def test_a_bug_that_breaks_a_promise_is_caught() -> None:
    (bug,) = (one for one in MUTANTS if one.name == "accept an older head")
    result = judge(bug)
    assert (result.fate, result.scenario) == ("caught", "rude")
    assert "older head" in result.sentence


def test_what_is_raised_inside_a_node_counts_as_caught() -> None:
    result = judge(planted("raise", 'WHAT = "head"\n', "WHAT = 3\n", "reconnect"))
    assert result.fate == "crashed", "no head could be signed before the nodes began to live"
    result = judge(planted("raise later", "    ahead_ms = head.version.rev // 1000 - now_ms\n", "", "single"))
    assert (result.fate, result.scenario) == ("caught", "single")
    assert result.sentence.startswith("NameError in head.py")


def test_what_does_not_even_start_has_crashed() -> None:
    result = judge(planted("no module", "def verify(", "def verify (((", "single"))
    assert (result.fate, result.scenario) == ("crashed", "")
    assert "SyntaxError" in result.sentence
