"""A member at the keyboard: runs commands in this process, or as a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from coopnode.cli import main

HEADER = "sku,title,price,currency,quantity\n"
GOOD = HEADER + "A1,Bread,4.20,EUR,12\nB2,Flour,1.10,EUR,2.5\n"
BROKEN = HEADER + "A1,Bread,4.20,EUR,12\nB2,,1.10,EUR,3\nC3,Salt,minus one,EUR,3\nD4,Oil,9.90,EUR,4\n"


class Member:
    """Types commands for the node in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.home = folder / "home"
        self.folder = folder

    def types(self, *words: str, stdin: str | None = None, **environment: str) -> Result:
        """Run one command in this process."""
        before = {name: None for name in os.environ if name.startswith("COOPNODE_")}
        runner = CliRunner(env={**before, **environment})
        result = runner.invoke(main, ["--home", str(self.home), *words], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def gets(self, *words: str, **environment: str) -> Any:
        """Run one command with --json and return what it prints."""
        result = self.types(*words, "--json", **environment)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def fails(self, *words: str, stdin: str | None = None, **environment: str) -> str:
        """Run a command that must fail with one sentence; return that."""
        result = self.types(*words, stdin=stdin, **environment)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        sentence = result.stderr.strip().splitlines()[-1]
        assert sentence.startswith("Error: ")
        assert len(sentence) < 500
        return sentence

    def file(self, content: str, name: str = "stock.csv") -> str:
        """Write a stock file and return its path."""
        path = self.folder / name
        path.write_text(content, "utf-8")
        return str(path)

    def sets_up(self, *, coop: bool = True) -> Member:
        """Make the node, and a co-op of its own."""
        assert self.types("init", "--name", "Mill", "--port", "0").exit_code == 0
        if coop:
            assert self.types("coop", "found", "Valley").exit_code == 0
        return self

    def skus(self) -> list[str]:
        """List the skus in stock."""
        return [one["sku"] for one in self.gets("stock", "list")["articles"]]

    def begins(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start one command as a process."""
        command = [sys.executable, "-m", "coopnode", "--home", str(self.home), *words]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COOPNODE_")}
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        given: dict[str, Any] = {"env": environment, **streams, **options}
        return subprocess.Popen(command, text=True, **given)

    @contextmanager
    def runs(self) -> Iterator[subprocess.Popen[str]]:
        """Run the node as a process, from the moment it answers until the end of the block."""
        process = self.begins("run", "--with-stdin")
        assert process.stdout is not None
        try:
            assert "is running: http://" in process.stdout.readline(), ended(process)
            yield process
        finally:
            ended(process)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Close the input of a process, wait for its end, and return exit code and what it has printed."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
