"""`coopnode demo`: a co-op of five shops on this machine."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import click

from coopnode.cli import show
from coopnode.cli.root import shows_example


@click.command()
@click.option("--once", is_flag=True, help="Check everything that is shown, then end: exit code 0 if all of it held.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where the demo keeps its data.")
@shows_example("coopnode demo", "coopnode demo --once")
def demo(folder: Path | None, *, once: bool) -> None:
    """Found a co-op of five shops on this machine, and watch it work.

    Five nodes, each its own process, are started, joined by an invitation, given stock, searched, and vote.
    Without --once they stay up until Ctrl-C. An earlier demo is stopped and replaced.
    """
    from coopnode.demo import place
    from coopnode.demo.play import Play
    from coopnode.demo.processes import DemoFailed

    # Also where a shell that started us in the background has switched Ctrl-C off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    where = folder if folder is not None else place.default_folder()
    with place.take(where.absolute()):
        play = Play(where.absolute())
        try:
            show.line(f"Five shops in {play.path}:")
            play.run()
            show.table((">seconds", "step"), [(f"{took:.2f}", name) for name, took in play.timings])
            if once:
                show.line("All of it held.")
                return
            _stay(play.check_alive)
        except DemoFailed as error:
            raise click.ClickException(show.clean(str(error))) from error
        finally:
            play.stop()


def _stay(check_alive: Callable[[], None]) -> None:
    """Wait for Ctrl-C, or until a node has ended."""
    try:
        show.line("Open one of the URLs above in a browser. Ctrl-C stops all five nodes.")
        while True:
            check_alive()
            time.sleep(0.2)
    except KeyboardInterrupt:
        show.line("Stopping the five nodes.")


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
