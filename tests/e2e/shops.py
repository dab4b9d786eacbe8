"""Real nodes as processes on 127.0.0.1, driven by the real command line. No sleeps: conditions are waited for."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from coopnode import config as configs
from coopnode import keystore
from coopnode.cli.client import Running
from coopnode.folder import Folder

PATIENCE_SECONDS = 60.0


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until *condition* gives something true, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for: {what}")
        time.sleep(0.05)


class Shop:
    """One member: a data folder and, while it runs, a process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None
        self.enter: list[str] = []
        """Words before the command that starts the node: to run it somewhere else, such as in a network namespace."""

    @classmethod
    def new(cls, base: Path, name: str) -> Shop:
        """Set up a member that is not running."""
        shop = cls(base / name)
        shop.cli("init", "--name", name, "--port", "0")
        config = shop.home / "config.toml"
        config.write_text(config.read_text().replace("discovery = true", "discovery = false"))
        return shop

    @classmethod
    def quick(cls, base: Path, name: str, **settings: Any) -> Shop:
        """Set up a member without starting a process for it: what `init` does, with settings of the test's own."""
        folder = Folder(base / name)
        folder.create()
        keys, _ = keystore.create(os.urandom)
        keystore.save(folder.keys, keys, None, os.urandom)
        configs.save(folder.config, configs.Config(**{"name": name, "port": 0, "discovery": False, **settings}))
        return cls(base / name)

    # ── commands ──────────────────────────────────────────────────────────────────────────────────

    def try_cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command and return what came of it."""
        command = [sys.executable, "-m", "coopnode", "--home", str(self.home), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def cli(self, *words: str) -> str:
        """Run one command that must succeed, and return what it prints."""
        done = self.try_cli(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *words: str) -> Any:
        """Run one command with --json and return its answer."""
        return json.loads(self.cli(*words, "--json"))

    def sets(self, **settings: str) -> None:
        """Write settings as TOML; they hold from the next start on."""
        config = self.home / "config.toml"
        lines = [line for line in config.read_text().splitlines() if line.split(" = ")[0] not in settings]
        config.write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items()), ""]))

    def op(self, operation: str, **arguments: Any) -> Any:
        """Ask the running node as a command does, without starting one: a process costs more than its question."""
        node = Running.find(Folder(self.home))
        assert node is not None, f"{self.home.name} does not run"
        return node.call(operation, **arguments)

    # ── the process ───────────────────────────────────────────────────────────────────────────────

    def start(self) -> Shop:
        """Start the node and wait until it answers."""
        self.launch()
        until(self._answers, f"{self.home.name} to answer")
        return self

    def launch(self) -> None:
        """Start the node."""
        log = (self.home / "log.txt").open("ab")
        command = [*self.enter, sys.executable, "-m", "coopnode", "--home", str(self.home), "run", "--verbose"]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.home / "log.txt").read_text()[-3000:]
        try:
            note = json.loads((self.home / "control.json").read_text())
        except (OSError, ValueError):
            return False
        return bool(note["pid"] == self.process.pid)

    def stop(self) -> None:
        """Stop the node as a service manager does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(30) == 0, (self.home / "log.txt").read_text()[-3000:]
            self.process = None

    def kill(self) -> None:
        """Kill the node at once."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    # ── looking ───────────────────────────────────────────────────────────────────────────────────

    @property
    def url(self) -> str:
        """Where the node answers now."""
        return str(json.loads((self.home / "control.json").read_text())["url"])

    def get(self, path: str) -> Any:
        """Ask the HTTP API as a buyer does."""
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return json.load(answer)

    def roots(self) -> dict[str, str]:
        """State root of every member's catalogue that is complete here."""
        members = self.get("/api/v1/members")["members"]
        return {one["member"]: one["state_root"] for one in members if one["complete"]}

    def status(self) -> Any:
        """The node's own status."""
        return self.ask("status")

    def count(self, sql: str) -> int:
        """Count in the database, reading only: to know how far a process has got."""
        connection = sqlite3.connect(f"file:{self.home / 'node.db'}?mode=ro", uri=True, timeout=5)
        try:
            return int(connection.execute(sql).fetchone()[0])
        except sqlite3.OperationalError:
            return 0
        finally:
            connection.close()


def found_coop(shops: list[Shop]) -> None:
    """Let the first running shop found a co-op and the others join it by invitation."""
    first, *others = shops
    first.cli("coop", "found", "Test co-op")
    invitation = first.ask("coop", "invite", "--uses", str(max(1, len(others))))["invitation"]
    for shop in others:
        shop.cli("coop", "join", invitation)
    for shop in shops:
        until(lambda shop=shop: shop.status()["is_member"], f"{shop.home.name} to be admitted")  # type: ignore[misc]
    for shop in shops:
        until(lambda shop=shop: shop.status()["publishing"] == "ready", f"{shop.home.name} to be ready")  # type: ignore[misc]


def start_all(shops: list[Shop]) -> None:
    """Start many nodes at once."""
    for shop in shops:
        shop.launch()
    for shop in shops:
        until(shop._answers, f"{shop.home.name} to answer")


def found_quickly(shops: list[Shop]) -> None:
    """Do what `found_coop` does over the control sockets, all joining at the same time."""
    first, *others = shops
    first.op("coop.found", name="Test co-op")
    invitation = first.op("coop.invite", uses=len(others))["invitation"]
    with ThreadPoolExecutor(max(1, len(others))) as pool:
        list(pool.map(lambda shop: shop.op("coop.join", invitation=invitation), others))
    for shop in shops:
        until(lambda shop=shop: shop.op("status")["publishing"] == "ready", f"{shop.home.name} to be ready")  # type: ignore[misc]


def same_frontiers(shops: list[Shop]) -> None:
    """Wait until all shops hold the same heads and statements, and every body behind the heads."""

    def agree() -> bool:
        found = [shop.op("status") for shop in shops]
        whole = all(one["coverage"]["complete"] == one["coverage"]["members"] for one in found)
        return whole and len({one["frontier"] for one in found}) == 1

    until(agree, "all nodes to hold the same")


def same_roots(shops: list[Shop], members: int) -> dict[str, str]:
    """Wait until all shops hold the same complete state of *members* catalogues; return the roots."""

    def agree() -> dict[str, str] | None:
        found = [shop.roots() for shop in shops]
        return found[0] if len(found[0]) == members and all(one == found[0] for one in found) else None

    roots: dict[str, str] = until(agree, "all nodes to hold the same")
    return roots


def write_stock(path: Path, count: int, price: str = "1.50") -> Path:
    """Write a stock file with *count* articles."""
    lines = ["sku,title,text,price,currency,quantity"]
    lines += [f"S{number:06d},Article {number} of oak,A thing number {number},{price},EUR,5" for number in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path
