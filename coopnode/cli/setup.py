"""`coopnode init` and `coopnode profile`: who this member is.

Never overwrites a node, and shows the recovery key once: it is not kept.
"""

from __future__ import annotations

import os
from typing import Any

import click

from coopnode.cli import show
from coopnode.cli.root import PASSPHRASE, State, json_option, pass_state, shows_example
from coopnode.errors import BadInput, NodeError
from coopnode.folder import Folder


@click.command()
@click.option("--name", default="A member", show_default=True, help="Name of your business, as others see it.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address on which the node listens.")
@click.option(
    "--port", default=8420, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--currency", default="EUR", show_default=True, help="Currency of prices that name none (ISO 4217).")
@click.option("--passphrase", "sealed", is_flag=True, help=f"Seal the keys; asks, or takes {PASSPHRASE}.")
@json_option
@shows_example("coopnode init --name 'Mill Street Bakery' --currency EUR")
@pass_state
def init(state: State, name: str, host: str, port: int, currency: str, *, sealed: bool, as_json: bool) -> None:
    """Set a node up: make its folder, its keys and its settings."""
    given = _new_passphrase() if sealed else None
    made = set_up(state.folder, given, name=name, host=host, port=port, currency=currency)
    if as_json:
        show.as_json(made)
        return
    show.line(f"The node of '{name}' is set up in {made['folder']}.")
    show.line(f"Member: {made['member']}")
    show.line()
    show.line("Recovery key, shown this once and kept nowhere:")
    show.line()
    show.line(f"    {made['recovery']}")
    show.line()
    show.line("Write it on paper and lock it away. It is the only way back if the keys of this node are stolen:")
    show.line("`coopnode key rotate --recovery` replaces them with it.")
    show.line("Next: `coopnode coop found NAME`, or `coopnode coop join INVITATION`.")


def set_up(folder: Folder, passphrase: str | None, **settings: Any) -> dict[str, str]:
    """Make a node in *folder*; return its id and the recovery key. Raises NodeError rather than overwrite."""
    from coopnode import config as configs
    from coopnode import keystore
    from coopnode.world import World

    if folder.exists():
        raise NodeError(f"There is a node in {folder.path} already. Name another folder with --home.")
    if folder.database.exists():
        raise NodeError(
            f"{folder.path} holds the database of a node, but not its keys. Put your backup of {folder.keys.name} "
            "back, or name another folder with --home."
        )
    config = configs.Config(**settings)
    _check(config)
    folder.create()
    world = World()
    with folder.lock():
        keys, recovery = keystore.create(world.random_bytes)
        configs.save(folder.config, config)
        # The keys come last: a folder without them counts as empty, so a failed attempt can be repeated.
        keystore.save(folder.keys, keys, passphrase, world.random_bytes)
    return {
        "folder": str(folder.path),
        "member": keys.identity.member_id.hex(),
        "recovery": keystore.recovery_text(recovery),
    }


def _check(config: Any) -> None:
    from protocol.limits import MAX_NAME_BYTES
    from protocol.shape import is_control

    size = len(config.name.encode(errors="replace"))
    if not config.name.strip() or size > MAX_NAME_BYTES or any(map(is_control, config.name)):
        raise BadInput(f"A name has 1 to {MAX_NAME_BYTES} bytes and no control characters.")
    if len(config.currency) != 3 or not config.currency.isascii() or not config.currency.isupper():
        raise BadInput(f"'{config.currency}' is not a currency: give three capital letters, such as EUR.")


def _new_passphrase() -> str:
    given = os.environ.get(PASSPHRASE)
    if given is None:
        given = str(click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True))
    if not given:
        raise BadInput("A passphrase may not be empty.")
    return given


@click.group()
@shows_example("coopnode profile set --address 'Mill Street 4, 12345 Town' --country DE")
def profile() -> None:
    """Say who this member is."""


@profile.command("set")
@click.option("--name", help="Name; without it that of the settings.")
@click.option("--text", help="A few sentences about the business.")
@click.option("--address", help="Postal address.")
@click.option("--country", help="Two letters (ISO 3166-1).")
@click.option("--email", help="Address for mail.")
@click.option("--phone", help="Telephone number.")
@click.option("--url", help="Web page; begins with https:// or http://.")
@click.option("--language", "languages", multiple=True, help="A language that is spoken; may be repeated.")
@click.option("--place", help="Latitude and longitude in degrees: 52.5163,13.3777.")
@json_option
@shows_example("coopnode profile set --address 'Mill Street 4, 12345 Town' --country DE --place 52.5163,13.3777")
@pass_state
def set_profile(state: State, /, *, place: str | None, languages: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Publish your profile; it replaces the earlier one, whole."""
    from coopnode import config as configs

    said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    said.setdefault("name", configs.load(state.folder.config).name)
    if languages:
        said["languages"] = list(languages)
    if place is not None:
        said["place"] = _place(place)
    answer = state.ask("profile.set", profile=said)
    if as_json:
        show.as_json(answer)
    else:
        show.line("The profile is set.")
        show.publication(answer)


def _place(text: str) -> dict[str, int]:
    from decimal import Decimal, InvalidOperation

    try:
        north, east = (Decimal(part.strip()) for part in text.split(","))
        return {"lat_e7": int(north.scaleb(7)), "lon_e7": int(east.scaleb(7))}
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise BadInput(
            f"'{text}' is not a place: give latitude,longitude in degrees, such as 52.5163,13.3777."
        ) from error
