"""`coopnode simulate`: play a co-op of many nodes in this process, and say what it costs.

Needs no node and no data folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from coopnode.cli import show
from coopnode.cli.root import json_option, shows_example

SEPARATE = ("scenario", "kinds", "lazy")


@click.command()
@click.option("--scenario", default="random", show_default=True, metavar="NAME", help="What is played; see --list.")
@click.option("--list", "as_list", is_flag=True, help="List the scenarios and exit.")
@click.option("--nodes", type=int, metavar="NUMBER", help="How many nodes.")
@click.option("--seed", type=int, metavar="NUMBER", help="Where chance begins: equal seed, equal run.")
@click.option("--items", type=int, metavar="NUMBER", help="How many words are published and measured.")
@click.option("--warm", type=int, metavar="NUMBER", help="How many words are published before these.")
@click.option("--interval-ms", type=int, metavar="NUMBER", help="Milliseconds from one word to the next, on average.")
@click.option("--streams", type=int, metavar="NUMBER", help="How many members publish at all, at most.")
@click.option("--latency-ms", type=float, metavar="NUMBER", help="One-way delay between two regions.")
@click.option("--loss", type=float, metavar="SHARE", help="Share of packets that are lost.")
@click.option("--bandwidth-mbit", type=float, metavar="NUMBER", help="Upstream of a node; 0 for no limit.")
@click.option("--commit-ms", type=float, metavar="NUMBER", help="How long a durable commit takes.")
@click.option("--skew-ms", type=int, metavar="NUMBER", help="By how much clocks are wrong, at most.")
@click.option("--share", type=float, metavar="SHARE", help="Share of the nodes that crash, lie, or cannot be called.")
@click.option("--minutes", type=float, metavar="NUMBER", help="How long trouble or measuring lasts.")
@click.option("--held", type=int, metavar="NUMBER", help="Heads that both sides hold before they meet again.")
@click.option("--heads-per-day", type=float, metavar="NUMBER", help="New heads of each member a day.")
@click.option("--members", type=int, metavar="NUMBER", help="For how many members the cost is asked.")
@click.option("--kinds", metavar="NAMES", help="Which liars there are, with commas between.")
@click.option(
    "--no-lazy", is_flag=True, help="Neither tell names nor fetch what was named; shows what that is good for."
)
@click.option("--chart", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw an SVG chart.")
@json_option
@shows_example(
    "coopnode simulate --scenario random --nodes 1000 --seed 7",
    "coopnode simulate --scenario cost --nodes 200 --members 5000 --heads-per-day 24 --chart cost.svg",
)
def simulate(scenario: str, chart: Path | None, *, as_list: bool, no_lazy: bool, as_json: bool, **given: Any) -> None:
    """Simulate a co-op over virtual time, with the node's own rules. Exits with 1 if something is not as it must be."""
    from coopnode.simulator import run
    from coopnode.simulator.parameters import ImpossibleError, with_overrides
    from coopnode.world import World

    if as_list:
        show.table(("scenario", "what is played"), [(name, one.what) for name, one in run.SCENARIOS.items()])
        return
    try:
        asked = with_overrides(run.usual(scenario), {**given, "lazy": False if no_lazy else None})
        result, town = run.simulate(asked, World().steady_ms)
    except ImpossibleError as error:
        raise click.UsageError(str(error)) from error
    result["machine"]["processor_seconds"] = round(os.times().user, 2)
    result["machine"]["peak_memory_mb"] = peak_memory_mb()
    if chart is not None:
        from coopnode.simulator.chart import draw

        chart.write_text(draw(result, town), "utf-8")
    if as_json:
        show.as_json(result)
    else:
        from coopnode.simulator.report import paragraphs, rows

        show.table(("figure", ">value"), rows(result))
        for paragraph in paragraphs(result):
            show.line()
            show.line(paragraph)
    if result["verdict"]:
        for sentence in result["verdict"]:
            show.note(f"Not as it must be: {sentence}")
        raise click.exceptions.Exit(1)


def peak_memory_mb() -> float | None:
    """Return the most memory that this process has used, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / (1_000_000 if sys.platform == "darwin" else 1_000), 1)
