"""The list of planted bugs does not rot: each still applies, names a rule, and leaves a module that compiles."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from coopnode.simulator import run
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
