"""Run the measurements: `python -m benchmarks [--only NAME] [--listings N] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import small
from benchmarks.live import live, overquota
from benchmarks.reconnect import reconnect
from benchmarks.replication import measure
from benchmarks.table import Figure, save, show


def replication(count: int) -> Iterator[Figure]:
    """Publishing and cold replication of *count* generated listings."""
    report = measure(count)
    published, replicated, served = report["published"], report["replicated"], report["served"]
    params = {"listings": count, "listing_bytes": round(published["listing_bytes"])}
    yield Figure("publish, durable", count / published["published_seconds"], "listings/s", None, "", params)
    yield Figure("publish, searchable", count / published["searchable_seconds"], "listings/s", None, "", params)
    floor = small.bare_replica(count)
    what = "bare SQLite rows + bare tantivy, one process"
    yield Figure("cold replication", count / replicated["seconds"], "listings/s", floor, what, params)
    yield Figure("  verified and durable after", replicated["stored_seconds"], "s", None, "", params)
    yield Figure("  searchable after", replicated["seconds"], "s", None, "", params)
    yield Figure("  on the wire", replicated["wire_bytes"] / count, "bytes/listing", None, "", params)
    yield Figure("  on disk", replicated["disk_bytes"] / count, "bytes/listing", None, "", params)
    yield Figure("  receiver's peak memory", replicated["memory_mb"], "MB", None, "", params)
    yield Figure("  sender's peak memory", served["memory_mb"], "MB", None, "", params)
    yield Figure("  receiver's processor time", replicated["cpu_seconds"] / count * 1e6, "us/listing", None, "", params)


def growth(counts: Sequence[int]) -> Iterator[Figure]:
    """How cold replication's cost a listing grows with their number: each beside the smallest."""
    first: float | None = None
    for count in counts:
        report = measure(count)
        replicated, served = report["replicated"], report["served"]
        cost = replicated["seconds"] / count * 1e6
        params = {"listings": count, "listings/s": round(count / replicated["seconds"])}
        yield Figure("cold replication", cost, "us/listing", first, f"at {counts[0]:,}" if first else "", params)
        yield Figure("  on the wire", replicated["wire_bytes"] / count, "bytes/listing", None, "", params)
        yield Figure("  receiver's peak memory", replicated["memory_mb"], "MB", None, "", params)
        yield Figure("  sender's memory while serving", served["serving_mb"], "MB", None, "", params)
        yield Figure("  sender's peak memory, its import included", served["memory_mb"], "MB", None, "", params)
        first = first or cost


def slow(count: int) -> Iterator[Figure]:
    """A receiver that runs for a tenth of the time: it gets everything, and its sender hoards nothing for it."""
    fast, slowed = measure(count), measure(count, slowed=True)
    params = {"listings": count, "load": round(os.getloadavg()[0], 1)}
    seconds, floor = slowed["replicated"]["seconds"], fast["replicated"]["seconds"]
    yield Figure("replication to a slow receiver", seconds, "s", floor, "s to one that is not held up", params)
    yield Figure("  listings found there", slowed["replicated"]["found"], "listings", float(count), "sent", params)
    rise = [one["served"]["serving_mb"] - one["served"]["resting_mb"] for one in (slowed, fast)]
    yield Figure("  sender's memory rises by", rise[0], "MB", None, "", {**params, "with a quick one": round(rise[1])})


def suites(count: int, large: int, heads: int) -> dict[str, Callable[[], Iterator[Figure]]]:
    """Return the measurements by name."""

    def tries() -> Iterator[Figure]:
        yield from small.tries(100_000)
        yield from small.tries(large)

    return {
        "replication": lambda: replication(count),
        "growth": lambda: growth([10_000, 100_000, large]),
        "slow": lambda: slow(count),
        "reconnect": lambda: reconnect(heads),
        "live": live,
        "overquota": overquota,
        "verification": small.verification,
        "reading": small.reading,
        "tries": tries,
        "reads": lambda: small.reads_and_searches(min(count, 100_000)),
        "http": lambda: iter([Figure("bare aiohttp JSON", small.bare_json(), "requests/s", None, "", {})]),
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="a measurement by name; may be given more than once")
    parser.add_argument("--listings", type=int, default=100_000)
    parser.add_argument(
        "--large", type=int, default=1_000_000, help="records in the large trie, and in the last step of `growth`"
    )
    parser.add_argument("--heads", type=int, default=10_000, help="heads in the frontier of `reconnect`")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    arguments = parser.parse_args()
    found = suites(arguments.listings, arguments.large, arguments.heads)
    unknown = set(arguments.only or ()) - set(found)
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}; there are: {', '.join(found)}")
    everything: list[Figure] = []
    for name, run in found.items():
        if arguments.only and name not in arguments.only:
            continue
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        figures = list(run())
        save(figures, arguments.out / f"{name}.json")
        everything.extend(figures)
    print(f"Python {platform.python_version()}, {platform.machine()}")
    print(show(everything))


if __name__ == "__main__":
    main()
