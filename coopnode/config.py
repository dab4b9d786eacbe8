"""The node's settings: one TOML file in the data folder, each with a default, overridden by the environment.

Never guesses: an unknown key or a wrong type is an error that names the line of thought to follow.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from coopnode.errors import NodeError
from coopnode.folder import write_durably
from coopnode.scope import read_region
from protocol import records, shape
from protocol.errors import Refused
from protocol.limits import MAX_INT, MAX_NAME_BYTES
from protocol.scope import Replica

ENVIRONMENT_PREFIX = "COOPNODE_"
BETWEEN = ";"
"""Stands between the texts of a list in the environment: names and regions have commas in them."""


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. docs/configuration.md has a row for each; a test compares."""

    name: str = "A member"
    """Name of the business, as other members and buyers see it."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8420
    """Port to listen on; 0 takes a free one."""
    public_url: str = ""
    """Where others reach this node, if that differs from host and port (behind a proxy)."""
    discovery: bool = True
    """Look for other members on the local network (zeroconf)."""
    currency: str = "EUR"
    """Currency of prices that do not name one."""
    replica: str = "full"
    """How much to keep of others' catalogues: "full", "scoped" (what the settings below choose), "light" (nothing)."""
    replica_members: tuple[str, ...] = ()
    """Whose catalogues: names, or the beginnings of member ids."""
    replica_regions: tuple[str, ...] = ()
    """Whose catalogues: members that lie in these countries, or around these points."""
    replica_collections: tuple[str, ...] = ()
    """Which collections of these catalogues."""
    replica_max_records: int = 0
    """No catalogue with more records than this; 0: of any size."""


def load(path: Path) -> Config:
    """Read the settings. Raises NodeError that names the key and what to do."""
    values: dict[str, Any] = {}
    if path.exists():
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise NodeError(f"The settings in {path} cannot be read: {error}.") from error
    kinds = {one.name: type(getattr(Config(), one.name)) for one in fields(Config)}
    for name, kind in kinds.items():
        text = os.environ.get(ENVIRONMENT_PREFIX + name.upper())
        if text is not None:
            values[name] = _parse(name, kind, text)
    for name, value in values.items():
        if name not in kinds:
            raise NodeError(f"'{name}' in {path} is not a setting. The settings are: {', '.join(kinds)}.")
        if kinds[name] is tuple and type(value) is list and all(type(one) is str for one in value):
            values[name] = tuple(value)
        elif type(value) is not kinds[name]:
            raise NodeError(f"'{name}' in {path} must be {_KIND_WORDS[kinds[name]]}, not {value!r}.")
    config = replace(Config(), **values)
    try:
        shape.text(1, MAX_NAME_BYTES)(config.name, "name")
    except Refused as refused:
        raise NodeError(f"The settings in {path} cannot be used: {refused.detail}.") from refused
    if not 0 <= config.port <= 65535:
        raise NodeError(f"'port' in {path} must be from 0 to 65535, not {config.port}.")
    _check_replica(path, config)
    return config


def save(path: Path, config: Config) -> None:
    """Write all settings, with what each is for."""
    lines = ["# Settings of this coopnode. See docs/configuration.md.", ""]
    for one in fields(Config):
        value = getattr(config, one.name)
        lines.append(f"{one.name} = {written(value)}")
    write_durably(path, ("\n".join(lines) + "\n").encode(), mode=0o644)


def written(value: Any) -> str:
    """Write a setting's value as TOML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_quote, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int) else _quote(value)


_KIND_WORDS = {
    str: "a text in quotes",
    int: "a whole number",
    bool: "true or false",
    tuple: 'a list of texts in quotes, such as ["one", "two"]',
}
_CHOOSE = ("replica_members", "replica_regions", "replica_collections", "replica_max_records")


def _check_replica(path: Path, config: Config) -> None:
    """Raise NodeError where what is to be kept cannot be meant so. Whether members exist shows later."""
    if config.replica not in set(Replica):
        raise NodeError(f'\'replica\' in {path} must be "full", "scoped" or "light", not {config.replica!r}.')
    chosen = [name for name in _CHOOSE if getattr(config, name)]
    if chosen and config.replica != Replica.SCOPED:
        raise NodeError(
            f"'{chosen[0]}' in {path} has no effect while 'replica' is \"{config.replica}\": "
            'set replica = "scoped", or empty it.'
        )
    if not 0 <= config.replica_max_records <= MAX_INT:
        raise NodeError(f"'replica_max_records' in {path} must be 0 or more, not {config.replica_max_records}.")
    try:
        for name in config.replica_collections:
            records.check_collection(name)
        for text in config.replica_regions:
            read_region(text)
    except Refused as refused:
        raise NodeError(f"'replica_collections' in {path} cannot be used: {refused.detail}.") from refused
    except ValueError as error:
        raise NodeError(f"'replica_regions' in {path} cannot be used: {error}.") from error


def _parse(name: str, kind: type, text: str) -> Any:
    if kind is str:
        return text
    if kind is tuple:
        return [one.strip() for one in text.split(BETWEEN) if one.strip()]
    if kind is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    if kind is int and text.isascii() and text.isdigit():
        return int(text)
    raise NodeError(f"{ENVIRONMENT_PREFIX}{name.upper()} must be {_KIND_WORDS[kind]}, not {text!r}.")


def _quote(text: str) -> str:
    escaped = "".join(
        f"\\u{ord(char):04x}" if ord(char) < 32 or ord(char) == 127 else "\\" + char if char in '"\\' else char
        for char in text
    )
    return f'"{escaped}"'
