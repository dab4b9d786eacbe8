"""The command line: what a member types, turned into operations of the own node.

Never opens the database while a node runs there: it asks that node over its control socket. Heavy libraries
are imported by the commands that need them, so that `coopnode --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path

import click

from coopnode import __version__
from coopnode.cli import coop, demo, importing, keys, node, running, searching, setup, simulating, stock, sync, vote
from coopnode.cli.root import Root, State, shows_example
from coopnode.folder import ENVIRONMENT, Folder, default_folder

__all__ = ["main"]


@click.group(cls=Root)
@click.version_option(__version__, prog_name="coopnode", message="%(prog)s %(version)s")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar=ENVIRONMENT,
    show_envvar=True,
    help="Data folder of the node; without it ~/.local/share/coopnode.",
)
@shows_example("coopnode init --name 'Mill Street Bakery'", "coopnode --home /srv/shop status")
@click.pass_context
def main(context: click.Context, home: Path | None) -> None:
    """Run your node of a sales co-operative: publish stock, search everybody's, vote."""
    context.obj = State(Folder(home if home is not None else default_folder()))


for command in (
    setup.init,
    coop.coop,
    running.run,
    running.stop,
    stock.stock,
    searching.search,
    vote.vote,
    node.status,
    node.peers,
    sync.sync,
    node.takeover,
    node.publish,
    setup.profile,
    keys.key,
    demo.demo,
    simulating.simulate,
):
    main.add_command(command)
stock.stock.add_command(importing.import_)
