"""A few short scenarios in some seconds: whoever changes a rule on purpose sees whether anybody notices.

`python -m tests.node.simulator.quick` prints what was not as it must be, and exits with 1 if anything was. Run it from
a copy of the tree in which one line is wrong.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator

from coopnode.simulator import run
from coopnode.simulator.parameters import with_overrides
from coopnode.world import World

SHORT: tuple[tuple[str, dict[str, object]], ...] = (
    ("random", {"nodes": 30, "items": 20, "warm": 30}),
    ("reconnect", {"nodes": 1_202, "held": 1_200}),
    ("crash", {"nodes": 60, "items": 20, "warm": 60}),
    ("liars", {"nodes": 40, "items": 10, "warm": 20}),
    ("burst", {"nodes": 30, "items": 60, "warm": 30, "bandwidth_mbit": 0.05}),
    ("partition", {"nodes": 30, "items": 10, "warm": 20, "minutes": 2.0}),
    ("nat", {"nodes": 60, "items": 10, "warm": 20, "share": 0.9}),
    ("anti-entropy", {"nodes": 30, "items": 10}),
    ("churn", {"nodes": 30, "items": 30, "warm": 20}),
)


def sentences() -> Iterator[str]:
    """Play the short scenarios one after the other; yield what is wrong with each."""
    for name, given in SHORT:
        try:
            result, _ = run.simulate(with_overrides(run.usual(name), given), World().steady_ms)
        except Exception:
            yield f"{name}: {traceback.format_exc(limit=-1).splitlines()[-1]}"
            continue
        for sentence in result["verdict"]:
            yield f"{name}: {sentence}"


if __name__ == "__main__":
    wrong = False
    for one in sentences():
        print(one, flush=True)
        wrong = True
    sys.exit(wrong)
