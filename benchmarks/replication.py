"""Publishing and cold replication between two real nodes, each a process, over the loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any


def measure(count: int, seed: int = 7) -> dict[str, Any]:
    """Publish *count* listings on one node, bring them to an empty one; return both reports."""
    base = Path(tempfile.mkdtemp(prefix="coopnode-bench-"))
    try:
        return _measure(base, count, seed)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _measure(base: Path, count: int, seed: int) -> dict[str, Any]:
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
            done = subprocess.run(
                _command("follower", base / "follower", str(count)), check=True, stdout=subprocess.PIPE
            )
            replicated = json.loads(done.stdout.splitlines()[-1])
            _go_on(author.stdin)
            served = _line(author.stdout)
        finally:
            author.stdin.close()
            author.kill()
    return {"published": published, "replicated": replicated, "served": served}


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
