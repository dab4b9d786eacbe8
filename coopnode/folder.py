"""A node's data folder: where things lie, who may use it now.

Never reads what is inside: store, keystore and config do. One process at a time holds the lock; it goes
with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from types import TracebackType

from coopnode.errors import NodeError

ENVIRONMENT = "COOPNODE_HOME"


def default_folder() -> Path:
    """Return the folder used when none is named: $COOPNODE_HOME, else ~/.local/share/coopnode."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "coopnode"


class Folder:
    """Paths inside one data folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "node.db"
        self.keys = path / "keys.json"
        self.config = path / "config.toml"
        self.high_water = path / "high-water.json"
        self.index = path / "index"
        self.control = path / "control.json"
        self._lock_path = path / "lock"

    def exists(self) -> bool:
        """Whether a node has been set up here."""
        return self.keys.exists()

    def check_exists(self) -> None:
        """Raise NodeError when no node has been set up here."""
        if not self.exists():
            raise NodeError(
                f"There is no node in {self.path}. Set one up with: coopnode init --name 'Your shop' "
                "(or name its folder with --home)."
            )

    def create(self) -> None:
        """Make the folder, readable by its owner only."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise NodeError(f"The folder {self.path} cannot be made: {error.strerror}.") from error

    def lock(self) -> Lock:
        """Take the folder for this process. Raises NodeError when another one has it."""
        return Lock(self._lock_path)

    def control_socket(self) -> Path:
        """Return a path for the control socket: in the folder, or elsewhere where that path is too long."""
        path = self.path / "control.sock"
        if len(os.fsencode(path)) < 100:  # sockaddr_un holds 107 bytes
            return path
        return Path(tempfile.mkdtemp(prefix="coopnode-")) / "control.sock"


class Lock:
    """Holds a folder; use as a context manager or `release` it."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NodeError(f"The data folder {path.parent} cannot be used: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise NodeError(
                f"Another process is using the data folder {path.parent}. If a node runs there, commands reach it "
                "by themselves; otherwise wait for the other command to end."
            ) from error

    def release(self) -> None:
        """Give the folder back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Lock:
        """Return the lock itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the folder back."""
        self.release()


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a small file so that after a crash either the old or the new content is there, whole."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
