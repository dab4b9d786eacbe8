"""The figures of a run for people: a table, and what it costs in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Result = dict[str, Any]


def rows(result: Result) -> list[tuple[str, str]]:
    """Return names and values for a table."""
    return [(name, value) for name, value in _rows(result) if value != ""]


def _rows(result: Result) -> Iterator[tuple[str, str]]:
    yield "scenario", result["scenario"]
    yield "nodes", f"{result['nodes']:,}"
    yield "seed", str(result["seed"])
    yield "virtual time", f"{result['virtual_seconds']:,.0f} s"
    told = result.get("broadcast")
    if told is not None:
        yield "words", f"{told['words']:,}"
        yield "missed", f"{told['missed']:,}"
        yield "last hop, worst and mean", f"{told['last_hop']}, {told['last_hop_mean']}"
        yield "payload redundancy, mean and worst", f"{told['redundancy']:.3f}, {told['redundancy_worst']:.3f}"
        yield "a node has a word after, p50 p99 max", _ms(told["delay_ms"])
        yield "all have a word after, p50 p99 max", _ms(told["to_all_ms"])
        yield "brought by anti-entropy instead", f"{told['brought_by_anti_entropy']:,}"
    traffic = result.get("traffic")
    if traffic is not None:
        for name, size in traffic["groups"].items():
            yield f"bytes: {name}", f"{size:,}"
        yield "control and duplicates over payload", f"{traffic['overhead']:.3f}"
        yield "a node a day at this pace, on the wire", f"{traffic['node_wire_bytes_per_day'] / 1e6:,.1f} MB"
    links = result["links"]
    yield "links of a node, fewest mean most", f"{links['fewest']}, {links['mean']}, {links['most']}"
    for name, value in result.get("scenario_figures", {}).items():
        if isinstance(value, dict) and "kinds" in value:
            yield f"{name.replace('_', ' ')}: bytes after the handshake", _plain(value["bytes_after_handshake"])
            yield f"{name.replace('_', ' ')}: rounds of both sides", _plain(value["rounds_both_sides"])
        else:
            yield name.replace("_", " "), _plain(value)
    yield "trace", result["trace"][:16]
    machine = result["machine"]
    yield "events a second, with the rules", f"{machine['events_per_second']:,}"
    yield "events a second, scheduler alone", f"{machine['scheduler_events_per_second']:,}"
    if machine.get("processor_seconds"):
        yield "seconds of the processor", f"{machine['processor_seconds']:,.1f}"
    if machine.get("peak_memory_mb") is not None:
        yield "memory", f"{machine['peak_memory_mb']:,.0f} MB"


def _ms(spread: dict[str, int]) -> str:
    return ", ".join(f"{spread[name]:,}" for name in ("p50", "p99", "max")) + " ms"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(one)}" for name, one in value.items())
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "never"}[value]
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def paragraphs(result: Result) -> list[str]:
    """Return what it costs, and whether all is as it must be."""
    found = []
    cost = result.get("cost")
    if cost is not None:
        found.append(
            f"What it costs: with {cost['members']:,} members and {cost['heads_per_day']:g} new heads a day from each,"
            f" {cost['heads_per_second']:.2f} heads a second reach everybody. A member's node sends"
            f" {_size(cost['sent_per_hour'])} and receives about as much an hour, {_size(cost['sent_per_day'])} a day"
            f" ({_size(cost['payload_per_day'])} would be the heads alone), catalogues not counted."
            f" Without the heads of packets, a day has {_groups(cost['by_group_per_day'])}."
            f" Of a metered line of 10 GB a month both ways take {cost['sent_per_day'] * 60 / 1e10:.0%}."
        )
    if result["verdict"]:
        found.append(f"{len(result['verdict'])} of the things that must hold do not.")
    else:
        found.append("Everything that must hold does.")
    return found


def _groups(sizes: dict[str, int]) -> str:
    return ", ".join(f"{_size(size)} of {name}" for name, size in sizes.items())


def _size(size: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:.0f} B"
