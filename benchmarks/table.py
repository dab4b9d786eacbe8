"""A figure, a table for people and JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value beside its floor. *ratio* is value / floor."""

    name: str
    value: float
    unit: str
    floor: float | None
    floor_name: str
    params: dict[str, Any]

    @property
    def ratio(self) -> float | None:
        """Return value / floor, or None where there is no floor."""
        return self.value / self.floor if self.floor else None


def show(figures: list[Figure]) -> str:
    """Return the figures as a table."""
    rows = [("what", "value", "unit", "floor", "ratio", "with"), *map(_cells, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _cells(one: Figure) -> tuple[str, str, str, str, str, str]:
    floor = f"{one.floor:,.0f} {one.floor_name}" if one.floor else "-"
    ratio = f"{one.ratio:.2f}" if one.ratio is not None else "-"
    params = ", ".join(f"{name} {value:,}" for name, value in one.params.items())
    value = f"{one.value:,.0f}" if one.value >= 100 else f"{one.value:,.2f}"
    return one.name, value, one.unit, floor, ratio, params


def save(figures: list[Figure], path: Path) -> None:
    """Write the figures as a JSON list of {name, value, unit, floor, ratio, params}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(one), "ratio": one.ratio} for one in figures]
    path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
