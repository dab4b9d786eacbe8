"""A chart of a run as SVG, in plain text: how words spread, and what was on the wires.

No library, no script, no outside font; a test reads it as XML. Colours come from a palette that colour-blind people
can tell apart (Okabe and Ito, 2008), and each line is named beside its end as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from coopnode.simulator.record import GROUPS, KIND_NAMES
from coopnode.simulator.town import Town

WIDTH, HEIGHT = 960, 620
LEFT, RIGHT, TOP = 70, 140, 50
PLOT_HEIGHT = 200
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
Points = list[tuple[float, float]]


def draw(result: dict[str, Any], town: Town) -> str:
    """Return the chart of a run."""
    title = f"{result['scenario']}: {result['nodes']:,} nodes, seed {result['seed']}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="28" font-size="16">{escape(title)}</text>',
    ]
    parts += _plot("share of nodes that have a word, by seconds since it was told", 0, reached(town), y_most=1.0)
    parts += _plot("kilobytes a second on all links, by seconds of the run", 1, traffic(town), y_most=None)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def reached(town: Town) -> dict[str, Points]:
    """Return how the words spread: all together, and the slowest of them."""
    words = [word for word in town.recorder.words.values() if word.delays_ms]
    if not words:
        return {}
    slowest = max(words, key=lambda word: word.last_us - word.told_us)
    living = max(1, len(town.living()))
    every = sorted(delay for word in words for delay in word.delays_ms)
    return {
        "all words": _steps(every, len(words) * max(1, living - 1)),
        "the slowest": _steps(sorted(slowest.delays_ms), max(1, living - 1)),
    }


def traffic(town: Town) -> dict[str, Points]:
    """Return kilobytes a second by what they were for."""
    group_of = {kind: name for name, kinds in GROUPS.items() for kind in kinds}
    found: dict[str, Counter[int]] = {name: Counter() for name in ("put", *GROUPS)}
    for (second, number), size in town.recorder.traffic_by_second.items():
        found[group_of.get(KIND_NAMES.get(number, ""), "put")][second] += size
    last = max((second for second, _ in town.recorder.traffic_by_second), default=0)
    step = max(1, last // 400)
    return {
        name: [
            (float(at), sum(sizes[second] for second in range(at, at + step)) / step / 1_000)
            for at in range(0, last + 1, step)
        ]
        for name, sizes in found.items()
        if sizes
    }


def _steps(values: Sequence[int], whole: int) -> Points:
    """Return the share of *whole* that lies at or below each of at most 200 of the sorted *values* (ms)."""
    step = max(1, len(values) // 200)
    at = [*range(step - 1, len(values), step), len(values) - 1]
    return [(0.0, 0.0), *((values[one] / 1_000, min(1.0, (one + 1) / whole)) for one in at)]


def _plot(name: str, row: int, lines: dict[str, Points], y_most: float | None) -> list[str]:
    top = TOP + 20 + row * (PLOT_HEIGHT + 70)
    bottom = top + PLOT_HEIGHT
    across = WIDTH - LEFT - RIGHT
    x_most = max((x for points in lines.values() for x, _ in points), default=0.0) or 1.0
    y_top = y_most or max((y for points in lines.values() for _, y in points), default=0.0) or 1.0
    parts = [
        f'<text x="{LEFT}" y="{top - 8}">{escape(name)}</text>',
        f'<path d="M{LEFT} {top}V{bottom}H{LEFT + across}" fill="none" stroke="#333333"/>',
    ]
    for part in range(5):
        x, y = LEFT + across * part / 4, bottom - PLOT_HEIGHT * part / 4
        parts.append(f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{x_most * part / 4:.4g}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{y_top * part / 4:.3g}</text>')
        parts.append(f'<path d="M{LEFT} {y:.1f}H{LEFT + across}" stroke="#dddddd"/>')
    for number, (label, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = " ".join(f"{LEFT + across * x / x_most:.1f},{bottom - PLOT_HEIGHT * y / y_top:.1f}" for x, y in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<text x="{LEFT + across + 8}" y="{top + 14 + 18 * number}" fill="{colour}">{escape(label)}</text>'
        )
    return parts
