"""`coopnode run` and `coopnode stop`: the life of the node's process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from coopnode.cli import show
from coopnode.cli.client import Running, connect
from coopnode.cli.root import State, json_option, pass_state, passphrase, shows_example
from coopnode.errors import NodeError
from coopnode.folder import Folder

if TYPE_CHECKING:
    from coopnode.node import Node

STOP_SECONDS = 60.0


@click.command()
@click.option("--host", help="Address on which to listen, instead of that of the settings.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port, instead of that of the settings; 0 takes a free one."
)
@click.option("--with-stdin", is_flag=True, help="Stop when standard input ends: for programs that start a node.")
@click.option("--verbose", is_flag=True, help="Log more.")
@shows_example("coopnode run --port 8420")
@pass_state
def run(state: State, host: str | None, port: int | None, *, with_stdin: bool, verbose: bool) -> None:
    """Run the node until Ctrl-C or `coopnode stop`."""
    import asyncio

    from coopnode.cli.offline import Offline
    from coopnode.server.app import serve

    _log(verbose=verbose)
    client = connect(state.folder, lambda: passphrase(state.folder))
    if not isinstance(client, Offline):
        raise NodeError(f"The node in {state.folder.path} is running already. `coopnode status` shows how it stands.")
    core = client.core
    core.config = replace(core.config, host=host or core.config.host, port=core.config.port if port is None else port)
    if with_stdin:
        threading.Thread(target=_stop_with_stdin, name="stdin", daemon=True).start()
    try:
        asyncio.run(serve(core, on_ready=_tell))
    finally:
        client.close()
    show.note("The node has stopped.")


def _tell(node: Node) -> None:
    show.line(f"The node of '{node.core.config.name}' is running: {node.url}")
    show.note("Stop it with Ctrl-C.")
    sys.stdout.flush()


def _stop_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class _CleanFormatter(logging.Formatter):
    """Log lines carry words of other members: they may not command the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return show.clean(super().format(record), lines=True)


def _log(*, verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_CleanFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("coopnode").setLevel(logging.DEBUG if verbose else logging.INFO)


@click.command()
@json_option
@shows_example("coopnode stop")
@pass_state
def stop(state: State, *, as_json: bool) -> None:
    """Stop the running node and wait until it has ended."""
    state.folder.check_exists()
    running = Running.find(state.folder)
    if running is None:
        raise NodeError(f"No node is running in {state.folder.path}.")
    running.call("stop")
    wait_until_free(state.folder)
    if as_json:
        show.as_json({"stopped": True})
    else:
        show.line("The node has stopped.")


def wait_until_free(folder: Folder) -> None:
    """Wait until no process has the folder any more. Raises NodeError when that takes too long."""
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            folder.lock().release()
        except NodeError:
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(0.05)
