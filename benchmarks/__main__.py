"""Run the measurements: `python -m benchmarks [--only NAME] [--listings N] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
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


def suites(count: int, large: int, heads: int) -> dict[str, Callable[[], Iterator[Figure]]]:
    """Return the measurements by name."""

    def tries() -> Iterator[Figure]:
        yield from small.tries(100_000)
        yield from small.tries(large)

    return {
        "replication": lambda: replication(count),
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
    parser.add_argument("--large", type=int, default=1_000_000, help="records in the large trie")
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
