"""A few short scenarios in some seconds: whoever changes a rule on purpose sees whether anybody notices.

`python -m tests.node.simulator.quick` prints what was not as it must be, and exits with 1 if anything was. Run it from
a copy of the tree in which one line is wrong. With names of scenarios these are played first; `--seed N` plays with
another chance; `--json` prints a line of JSON for each sentence and for the end, which `tests.mutants` reads.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from coopnode.simulator import run
from coopnode.simulator.parameters import with_overrides
from coopnode.simulator.scheduler import StandstillError
from coopnode.world import World

SHORT: tuple[tuple[str, dict[str, object]], ...] = (
    ("random", {"nodes": 30, "items": 20, "warm": 30}),
    ("rude", {}),
    ("reconnect", {"nodes": 1_202, "held": 1_200}),
    ("liars", {"nodes": 40, "items": 10, "warm": 20}),
    ("crash", {"nodes": 60, "items": 20, "warm": 60}),
    ("burst", {"nodes": 30, "items": 120, "warm": 30, "bandwidth_mbit": 0.05}),
    ("nat", {"nodes": 90, "items": 10, "warm": 20, "share": 0.93}),
    ("anti-entropy", {"nodes": 30, "items": 10}),
    ("churn", {"nodes": 30, "items": 30, "warm": 20}),
    ("single", {"nodes": 8, "items": 10, "warm": 10}),
    ("partition", {"nodes": 30, "items": 10, "warm": 20, "minutes": 2.0}),
)
NODE = frozenset({"node.py", "talk.py", "writer.py", "caller.py"})
"""What is raised below a frame of these modules is raised inside a simulated node."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be. *raised*: an exception inside a simulated node, not a broken promise."""

    scenario: str
    sentence: str
    raised: bool = False
    inside: bool = True


def findings(first: Sequence[str] = (), seed: int | None = None) -> Iterator[Finding]:
    """Play the short scenarios one after the other, those of *first* before the others; yield what is wrong."""
    for name, given in sorted(SHORT, key=lambda one: first.index(one[0]) if one[0] in first else len(first)):
        try:
            asked = with_overrides(run.usual(name), {**given, "seed": seed})
            result, _ = run.simulate(asked, World().steady_ms)
        except StandstillError as error:
            yield Finding(name, str(error))
            continue
        except Exception as error:
            yield _raised(name, error)
            continue
        for sentence in result["verdict"]:
            yield Finding(name, sentence)


def _raised(name: str, error: Exception) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    inside = any(Path(frame.filename).name in NODE for frame in frames)
    last = frames[-1]
    return Finding(name, f"{type(error).__name__} in {Path(last.filename).name}, {last.name}: {error}", True, inside)


def main(words: Sequence[str] | None = None) -> int:
    """Play, print, and return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="Play the short scenarios.")
    parser.add_argument("first", nargs="*", help="scenarios to play before the others")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(words)
    wrong = 0
    for one in findings(asked.first, asked.seed):
        print(json.dumps(asdict(one)) if asked.json else f"{one.scenario}: {one.sentence}", flush=True)
        wrong = 1
    if asked.json:
        print(json.dumps({"played": [name for name, _ in SHORT]}), flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
