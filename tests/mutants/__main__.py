"""Does the simulator find planted bugs? Each is put into a copy of the tree, and the short scenarios are played there.

`make mutants`, or `python -m tests.mutants [--only WORD] [--json FILE] [--workers 2]`. First the scenarios
are played without any bug: they must find nothing, else everything would count as found. A bug counts as *caught* when
a run breaks a promise, or when something is raised inside a simulated node; what ends otherwise has *crashed*, what has
no end is *stuck*, and both count as not caught. Exits with 1 if one that must be found is not, or fewer than 90 % are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutants.planted import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (7, 8)
"""Whatever survives the first seed is tried with the second."""
SHARE = 0.9
BOUND_S = 240
MEMORY = 3_000_000_000
PLAY = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
runpy.run_module("tests.node.simulator.quick", run_name="__main__")
"""
"""A mutant may eat all the memory that there is; the machine is not only ours."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one planted bug: caught, survived, crashed or stuck."""

    name: str
    path: str
    section: str
    must_find: bool
    fate: str
    scenario: str
    sentence: str
    seed: int
    seconds: float


@contextlib.contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """Yield a folder with what the short scenarios need."""
    with tempfile.TemporaryDirectory(prefix="coopnode-mutant-") as name:
        folder = Path(name)
        for part in ("protocol", "coopnode"):
            # With the compiled modules: all but one are as they were.
            shutil.copytree(ROOT / part, folder / part)
        quick = Path("tests", "node", "simulator", "quick.py")
        (folder / quick).parent.mkdir(parents=True)
        shutil.copy(ROOT / quick, folder / quick)
        yield folder


def play(folder: Path, first: Sequence[str], seed: int) -> tuple[str, str, str]:
    """Play the short scenarios in *folder* until something is wrong; return (fate, scenario, sentence)."""
    words = [sys.executable, "-c", PLAY, *first, "--seed", str(seed), "--json"]
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(BOUND_S, end)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        process.kill()
        said = process.stderr.read().strip().splitlines()
    if not line:
        return ("stuck", "", f"no end within {BOUND_S} s") if late.is_set() else ("crashed", "", (said or [""])[-1])
    found = json.loads(line)
    if "played" in found:
        return "survived", "", ""
    raised_outside = found["raised"] and not found["inside"]
    return ("crashed" if raised_outside else "caught"), found["scenario"], found["sentence"]


def judge(mutant: Mutant) -> Result:
    """Plant one bug and see what becomes of it."""
    began_s = time.monotonic()
    fate, scenario, sentence, seed = "survived", "", "", SEEDS[0]
    with copy_of_the_tree() as folder:
        path = folder / mutant.path
        source = path.read_text("utf-8")
        assert source.count(mutant.text) == 1, f"{mutant.name}: the line has changed, plant the bug anew"
        path.write_text(source.replace(mutant.text, mutant.wrong), "utf-8")
        for seed in SEEDS:
            fate, scenario, sentence = play(folder, mutant.first, seed)
            if fate != "survived":
                break
    seconds = round(time.monotonic() - began_s, 1)
    return Result(mutant.name, mutant.path, mutant.section, mutant.must_find, fate, scenario, sentence, seed, seconds)


def clean() -> list[str]:
    """Return what the short scenarios find wrong where no bug is planted; it must be nothing."""
    with copy_of_the_tree() as folder, ThreadPoolExecutor(len(SEEDS)) as pool:
        played = pool.map(lambda seed: play(folder, (), seed), SEEDS)
        return [
            f"seed {seed}: {fate}: {name}: {text}"
            for seed, (fate, name, text) in zip(SEEDS, played, strict=True)
            if fate != "survived"
        ]


def table(results: Sequence[Result]) -> str:
    """Return the results as a table, the survivors first."""
    rows = ["| planted bug | rule | must be found | fate | by |", "|---|---|---|---|---|"]
    for one in sorted(results, key=lambda one: one.fate == "caught"):
        by = f"`{one.scenario}`: {one.sentence}" if one.scenario else one.sentence
        must = "yes" if one.must_find else ""
        rows.append(f"| {one.name} (`{one.path}`) | {one.section} | {must} | {one.fate} | {by} |")
    return "\n".join(rows)


def main(words: Sequence[str] | None = None) -> int:
    """Plant all bugs, one after the other; print what became of them, and return 1 if that is not good enough."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="only bugs with this word in their name or path")
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args(words)
    chosen = [one for one in MUTANTS if asked.only in one.name or asked.only in one.path]
    began_s = time.monotonic()
    wrong = clean()
    if wrong:
        print("Without any bug the short scenarios must find nothing.", *wrong, sep="\n")
        return 1
    results = []
    with ThreadPoolExecutor(asked.workers) as pool:
        for number, work in enumerate(as_completed([pool.submit(judge, one) for one in chosen]), start=1):
            results.append(one := work.result())
            print(
                f"{number:3}/{len(chosen)} {one.fate:8} {one.seconds:5.1f} s  {one.name}", file=sys.stderr, flush=True
            )
    caught = sum(one.fate == "caught" for one in results)
    missed = [one.name for one in results if one.must_find and one.fate != "caught"]
    must = sum(one.must_find for one in results)
    seconds = round(time.monotonic() - began_s)
    share = caught / max(1, len(results))
    print(table(results))
    print(
        f"\nCaught: {caught} of {len(results)} ({share:.0%});"
        f" of those that must be found {must - len(missed)} of {must}; {seconds} s."
    )
    if asked.json is not None:
        whole = {
            "planted": len(results),
            "caught": caught,
            "must_find": must,
            "must_find_missed": missed,
            "seeds": SEEDS,
            "seconds": seconds,
            "results": [asdict(one) for one in results],
        }
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    return int(bool(missed) or share < SHARE)


if __name__ == "__main__":
    sys.exit(main())
