"""The high-water mark: the last word that left this node, kept outside the database.

A database that is restored from a backup does not know what it has said since; this file does, because
it is written, and on the disk, before any head leaves. Specification, section 8.6.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from coopnode.folder import write_durably
from protocol.head import Version


@dataclass(frozen=True, slots=True)
class HighWater:
    """What the file says."""

    store_nonce: bytes
    instance: bytes
    version: Version


def load(path: Path) -> HighWater | None:
    """Read the mark; None when it is missing or damaged, which are the same to us."""
    try:
        content = json.loads(path.read_bytes())
        return HighWater(
            bytes.fromhex(content["store_nonce"]),
            bytes.fromhex(content["instance"]),
            Version(int(content["epoch"]), int(content["rev"])),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(path: Path, mark: HighWater) -> None:
    """Write the mark; when this returns it is on the disk."""
    content = {
        "store_nonce": mark.store_nonce.hex(),
        "instance": mark.instance.hex(),
        "epoch": mark.version.epoch,
        "rev": mark.version.rev,
    }
    write_durably(path, json.dumps(content).encode())
