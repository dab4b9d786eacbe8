"""Publishing and cold replication between two real nodes, each a process, over the loopback."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

SLICE_SECONDS = 0.02
SETTLE_SECONDS = 6.0
"""Longer than an index rests before it lets go of merged files."""


def measure(count: int, seed: int = 7, *, slowed: bool = False) -> dict[str, Any]:
    """Publish *count* listings on one node, bring them to an empty one; return both reports.

    *slowed* lets the receiving process run for a tenth of the time only.
    """
    base = Path(tempfile.mkdtemp(prefix="coopnode-bench-"))
    try:
        return _measure(base, count, seed, slowed)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _measure(base: Path, count: int, seed: int, slowed: bool) -> dict[str, Any]:
    for name in ("author", "follower"):
        subprocess.run(_command("make", base / name, name), check=True)
    with subprocess.Popen(
        _command("author", base / "author", str(count), str(seed)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as author:
        assert author.stdin is not None
        assert author.stdout is not None
        try:
            invitation = _line(author.stdout)["invitation"]
            subprocess.run(_command("join", base / "follower", invitation), check=True, stdout=subprocess.DEVNULL)
            _go_on(author.stdin)
            published = _line(author.stdout)
            resting_mb = settled_mb(author.pid)
            with subprocess.Popen(
                _command("follower", base / "follower", str(count)), stdout=subprocess.PIPE
            ) as follower:
                assert follower.stdout is not None
                serving_mb = watch(follower, author.pid, slowed)
                replicated = _line(follower.stdout)
            _go_on(author.stdin)
            served = _line(author.stdout)
        finally:
            author.stdin.close()
            author.kill()
    served.update(resting_mb=resting_mb, serving_mb=serving_mb)
    return {"published": published, "replicated": replicated, "served": served}


def watch(follower: subprocess.Popen[bytes], author: int, slowed: bool) -> float:
    """Wait until *follower* ends, maybe holding it up; return the most memory that *author* had meanwhile, in MB."""
    most = 0.0
    while follower.poll() is None:
        most = max(most, memory_mb(author))
        if slowed:
            follower.send_signal(signal.SIGSTOP)
            time.sleep(9 * SLICE_SECONDS)
            follower.send_signal(signal.SIGCONT)
        time.sleep(SLICE_SECONDS)
    return most


def settled_mb(pid: int) -> float:
    """Wait until a process's memory no longer changes (its index is being merged), and return it."""
    before = -1.0
    while abs((now := memory_mb(pid)) - before) > 1.0:
        before = now
        time.sleep(SETTLE_SECONDS)
    return now


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process now."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _command(role: str, folder: Path, *rest: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.worker", role, str(folder), *rest]


def _line(stream: IO[bytes]) -> dict[str, Any]:
    line = stream.readline()
    if not line:
        raise RuntimeError("a benchmark process ended early")
    value: dict[str, Any] = json.loads(line)
    return value


def _go_on(stream: IO[bytes]) -> None:
    stream.write(b"\n")
    stream.flush()
