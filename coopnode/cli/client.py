"""How a command reaches the own node: the running one over its control socket, else the data folder itself.

Never both: the folder is opened only when nothing answers at the socket, and its lock makes that sure.
A note that a crash has left behind is recognised because nobody accepts a connection there.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from coopnode.errors import NodeError
from coopnode.folder import Folder

Json = dict[str, Any]
PATIENCE_SECONDS = 3.0
"""How long to wait for a folder that another process has: a node that starts or stops, another command."""
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_UNBOUNDED = frozenset({"import.rows", "import.finish", "coop.join"})
"""Operations that may take long for good reasons."""


class Client(Protocol):
    """Runs operations of the own node by name."""

    @property
    def runs(self) -> bool:
        """Whether a node answers, rather than its folder."""

    def call(self, name: str, /, **arguments: Any) -> Json:
        """Run one operation and return its answer. Raises NodeError or StoreError with a sentence."""

    def close(self) -> None:
        """Let go of the node or the folder."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a running node has left in its folder."""

    socket: Path
    url: str
    pid: int


def connect(folder: Folder, passphrase: Callable[[], str | None]) -> Client:
    """Reach the node of *folder*. *passphrase* is asked only when the folder itself must be opened."""
    folder.check_exists()
    found = Running.find(folder)
    if found is not None:
        return found
    found = _wait_for_folder(folder)
    if found is not None:
        return found
    from coopnode.cli.offline import Offline

    return Offline(folder, passphrase())


def _wait_for_folder(folder: Folder) -> Running | None:
    """Wait until the folder is free or its node answers. Raises NodeError when neither happens soon."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            folder.lock().release()
        except NodeError as error:
            if not isinstance(error.__cause__, BlockingIOError) or time.monotonic() > deadline:
                raise
        else:
            return None
        time.sleep(0.05)
        found = Running.find(folder)
        if found is not None:
            return found


def read_note(folder: Folder) -> Note | None:
    """Read where the running node of *folder* listens; None when it has left no note."""
    try:
        content = json.loads(folder.control.read_bytes())
        return Note(Path(content["socket"]), str(content["url"]), int(content["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Running:
    """A node that answers."""

    runs = True

    def __init__(self, note: Note) -> None:
        self.note = note

    @classmethod
    def find(cls, folder: Folder) -> Running | None:
        """Return the running node of *folder*, or None when there is none."""
        note = read_note(folder)
        if note is None:
            return None
        try:
            _open(note.socket, _CONNECT_SECONDS).close()
        except PermissionError as error:
            raise NodeError(f"The node in {folder.path} belongs to another user of this machine.") from error
        except OSError:
            return None
        return cls(note)

    def call(self, name: str, /, **arguments: Any) -> Json:
        """Send one operation over the socket."""
        import msgpack

        seconds = None if name in _UNBOUNDED else _ANSWER_SECONDS
        status, data = self._post(name, msgpack.packb(arguments, use_bin_type=True), seconds)
        try:
            answer: Json = msgpack.unpackb(data, raw=False)
        except ValueError as error:
            raise NodeError("The node made a mistake. Its log says more.") from error
        if status != 200:
            raise NodeError(str(answer.get("error", "The node refused.")), problem=str(answer.get("problem", "error")))
        return answer

    def close(self) -> None:
        """Nothing is held between operations."""

    def _post(self, name: str, body: bytes, seconds: float | None) -> tuple[int, bytes]:
        from http.client import HTTPConnection, HTTPException

        connection = HTTPConnection("localhost")
        try:
            connection.sock = _open(self.note.socket, seconds)
            connection.request("POST", f"/op/{name}", body, {"Content-Type": "application/msgpack"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except TimeoutError as error:
            raise NodeError("The node does not answer. It may be very busy: try again, or see its log.") from error
        except (OSError, HTTPException) as error:
            raise NodeError("The node stopped before it answered. Start it again: `coopnode run`.") from error
        finally:
            connection.close()


def _open(path: Path, seconds: float | None) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.settimeout(seconds)
    try:
        opened.connect(str(path))
    except BaseException:
        opened.close()
        raise
    return opened
