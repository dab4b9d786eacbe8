"""The folder of the demo: taken over from an earlier demo, whose processes are stopped first.

Never removes a folder that no demo has made.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from coopnode.cli.client import Running
from coopnode.demo.processes import DemoFailed
from coopnode.demo.shops import SHOPS
from coopnode.errors import NodeError
from coopnode.folder import Folder, Lock

MARK = "coopnode-demo"
TAKE_OVER_SECONDS = 30.0


def default_folder() -> Path:
    """Return the folder of the demo where none is named."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:
        base = Path(tempfile.gettempdir())
    return base / MARK if os.access(base, os.W_OK) else Path(tempfile.gettempdir()) / f"{MARK}-{os.getuid()}"


def take(path: Path) -> Lock:
    """Make *path* an empty folder that is this demo's alone, and return the lock that says so.

    An earlier demo there is stopped: when its nodes have ended it ends too, and gives its lock back.
    Raises NodeError for a folder that is not a demo's.
    """
    if path.exists() and not (path / MARK).exists() and (not path.is_dir() or any(path.iterdir())):
        raise NodeError(f"{path} is not a folder of the demo. Name another one with --folder.")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + TAKE_OVER_SECONDS
    lock = _lock(path, deadline)
    try:
        # Nodes whose demo was killed may still be on their way out.
        while [folder for folder in _folders(path) if not _is_free(folder)]:
            _wait(path, deadline)
        for one in path.iterdir():
            if one.name != MARK:
                shutil.rmtree(one) if one.is_dir() else one.unlink()
    except BaseException:
        lock.release()
        raise
    return lock


def _folders(path: Path) -> list[Folder]:
    return [folder for shop in SHOPS if (folder := Folder(path / shop.folder)).path.is_dir()]


def _lock(path: Path, deadline: float) -> Lock:
    """Take the mark; until then stop the nodes of whoever has it, and leave its files alone."""
    while True:
        try:
            return Lock(path / MARK)
        except NodeError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
        for folder in _folders(path):
            _tell_to_stop(folder)
        _wait(path, deadline)


def _wait(path: Path, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise DemoFailed(f"An earlier demo in {path} does not stop. End its processes, or name another --folder.")
    time.sleep(0.1)


def _is_free(folder: Folder) -> bool:
    """Whether no process has *folder*; tells one that has it to stop. For whoever holds the mark."""
    try:
        folder.lock().release()
    except NodeError:
        _tell_to_stop(folder)
        return False
    return True


def _tell_to_stop(folder: Folder) -> None:
    running = Running.find(folder)
    if running is not None:
        with suppress(NodeError):  # it is stopping already
            running.call("stop")
