"""Nodes as processes: starting them, asking them, and that none of them outlives its starter.

Each node reads from a pipe whose other end is here (`run --with-stdin`): however this process ends, the
pipe closes and the node stops.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from coopnode.cli.client import Client, Running
from coopnode.demo.shops import Shop
from coopnode.errors import NodeError
from coopnode.folder import Folder

STOP_SECONDS = 10
_ANSWER_SECONDS = 10


class DemoFailed(NodeError):
    """Something that the demo shows did not hold."""


class ShopNode:
    """The node of one shop."""

    def __init__(self, shop: Shop, path: Path) -> None:
        self.shop = shop
        self.folder = Folder(path)
        self.member = ""
        self.url = ""
        self._log = path / "node.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; `find` says when it answers."""
        command = [sys.executable, "-m", "coopnode", "--home", str(self.folder.path), "run", "--with-stdin"]
        # Settings in this process's environment are not meant for five nodes at once.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COOPNODE_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own program, no shell)
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal reaches this process alone, which stops all
            )

    def find(self) -> Client | None:
        """Return the way to the running node, or None while it does not answer yet."""
        self.check_alive()
        found = Running.find(self.folder)
        if found is not None:
            self.url = found.note.url
        return found

    def check_alive(self) -> None:
        """Raise DemoFailed when the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise DemoFailed(f"The node of '{self.shop.name}' has ended; the end of {self._log}: {self._last_words()}")

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Run an operation as this shop's owner."""
        found = self.find()
        if found is None:
            raise DemoFailed(f"The node of '{self.shop.name}' does not answer.")
        return found.call(name, **arguments)

    def get(self, path: str) -> dict[str, Any] | None:
        """Ask the public API as a buyer does; None for what is not found."""
        self.check_alive()
        address = urlsplit(self.url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, HTTPException) as error:
            raise DemoFailed(f"{self.url}{path} does not answer: {error}.") from error
        finally:
            connection.close()
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise DemoFailed(f"{self.url}{path} answers {answer.status}.")
        found: dict[str, Any] = json.loads(data)
        return found

    def ask(self, path: str) -> dict[str, Any]:
        """Ask the public API for something that must be there."""
        found = self.get(path)
        if found is None:
            raise DemoFailed(f"{self.url}{path} is not found.")
        return found

    def tell_to_stop(self) -> None:
        """Begin to stop the process."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait_until_stopped(self) -> None:
        """Wait for the end of the process, and make it end when that takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return "nothing"
        return lines[-1] if lines else "nothing"
