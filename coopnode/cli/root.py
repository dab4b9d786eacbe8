"""What all commands share: the data folder, the `--json` switch, examples in the help, errors as one sentence.

Never prints a traceback for what a person can mend; a bug of ours still shows one.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from coopnode.cli import show
from coopnode.cli.client import Client, connect
from coopnode.errors import NodeError
from coopnode.folder import Folder

PASSPHRASE = "COOPNODE_PASSPHRASE"  # noqa: S105 (the name of a variable, not a secret)
F = TypeVar("F", bound=Callable[..., Any])
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class State:
    """What `--home` has chosen; handed to every command."""

    folder: Folder

    @contextmanager
    def client(self, given: str | None = None) -> Iterator[Client]:
        """Reach the node: the running one, or its data folder, opened with the passphrase *given* or asked for.

        Raises NodeError when there is none.
        """
        client = connect(self.folder, lambda: passphrase(self.folder) if given is None else given)
        try:
            yield client
        finally:
            client.close()

    def ask(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Run one operation and return its answer."""
        with self.client() as client:
            return client.call(name, **arguments)


pass_state = click.make_pass_decorator(State)


def json_option(function: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(function)


def shows_example(*lines: str) -> Callable[[F], F]:
    """Add examples to a command's help. Goes directly above the function, or above its options."""

    def add(function: F) -> F:
        text = "\n".join(f"  {line}" for line in lines)
        function.__doc__ = f"{function.__doc__}\n\n\b\nExample:\n{text}\n"
        return function

    return add


def passphrase(folder: Folder) -> str | None:
    """Return the passphrase of sealed keys, from the environment or from a person; None where none is needed."""
    from coopnode import keystore

    if not keystore.is_sealed(folder.keys):
        return None
    given = os.environ.get(PASSPHRASE)
    if given is None and sys.stdin is not None and sys.stdin.isatty():
        given = str(click.prompt("Passphrase", hide_input=True, err=True))
    return given


class Root(click.Group):
    """The group of all commands: turns what a person can mend into one sentence and exit code 1."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Begin; a terminal that cannot show a character gets a question mark, not an error."""
        for stream in (sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="replace")
        return super().main(*args, **kwargs)

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except Exception as error:
            text = sentence(error)
            if text is None:
                raise
            raise click.ClickException(show.clean(text)) from error


def sentence(error: Exception) -> str | None:
    """Say what a person should know of *error*; None for a bug of ours, and for what click itself shows."""
    if isinstance(error, (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError)):
        return None
    if isinstance(error, NodeError) or _is_kind(error, "coopnode.store.database", "StoreError"):
        return str(error)
    if _is_kind(error, "coopnode.connectors.tables", "UnreadableFile"):
        return str(error)
    if _is_kind(error, "coopnode.catalog.index", "DamagedIndexError"):
        return str(error)
    if _is_kind(error, "protocol.errors", "Refused"):
        return f"This was refused: {error}."
    if isinstance(error, OSError):
        return _system_sentence(error)
    return None


def _is_kind(error: Exception, module: str, name: str) -> bool:
    # Whoever raised it has imported it; importing the store here would slow every command down.
    found = sys.modules.get(module)
    return found is not None and isinstance(error, getattr(found, name))


def _system_sentence(error: OSError) -> str | None:
    if error.errno in _FULL:
        return "The disk is full: free some space and try again. Nothing was lost."
    if error.errno == errno.EPIPE or error.strerror is None:
        return None
    where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, (str, bytes)) else ""
    return f"The system refused: {error.strerror}{where}."
