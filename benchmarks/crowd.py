"""Co-ops for measurements, set up on disk in a moment: all members sign one charter, and know where each listens."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from coopnode import config as configs
from coopnode import keystore
from coopnode.core import DEFAULT_POLICY, Core, open_core
from coopnode.folder import Folder
from coopnode.store import Tables
from coopnode.world import World
from protocol import minutes
from protocol.identity import Identity

WORLD = World()


def make(path: Path, name: str, port: int = 0) -> keystore.Keys:
    """Set up a data folder; return its keys."""
    folder = Folder(path)
    folder.create()
    keys, _ = keystore.create(WORLD.random_bytes)
    keystore.save(folder.keys, keys, None, WORLD.random_bytes)
    configs.save(folder.config, configs.Config(name=name, port=port, discovery=False))
    return keys


def found(base: Path, number: int, policy: Mapping[str, int | str] | None = None) -> list[Path]:
    """Set up a co-op of so many founders on this machine; return their folders."""
    ports = free_ports(number)
    paths = [base / f"member{one:02d}" for one in range(number)]
    keys = {path: make(path, path.name, port) for path, port in zip(paths, ports, strict=True)}
    urls = {path: f"http://127.0.0.1:{port}" for path, port in zip(paths, ports, strict=True)}
    coop_id, bundle = charter(list(keys.values()), policy)
    for path in paths:
        core, lock = open_core(Folder(path), WORLD, None)

        def adopt(tables: Tables, core: Core, path: Path) -> None:
            core.adopt_genesis(tables, bundle, coop_id)
            for other in paths:
                if other != path:
                    tables.peers.add_address(urls[other], keys[other].identity.member_id, "invitation")

        core.write(adopt, core, path)
        core.store.close()
        lock.release()
    return paths


def charter(founders: Sequence[keystore.Keys], policy: Mapping[str, int | str] | None = None) -> tuple[bytes, bytes]:
    """Return co-op id and signed charter of these founders."""
    founders = sorted(founders, key=lambda one: one.identity.member_id)
    ids: list[Identity] = [one.identity for one in founders]
    body = minutes.genesis_body(
        name="Benchmark",
        founders=[one.member_id for one in ids],
        time_ms=time.time_ns() // 1_000_000,
        nonce=WORLD.random_bytes(16),
        policy={**DEFAULT_POLICY, **(policy or {})},
    )
    signatures = [minutes.sign_genesis(body, one.signing_seed) for one in founders]
    bundle = minutes.genesis_bundle(body, signatures, [data for one in founders for data in one.log])
    return hashlib.sha256(body).digest(), bundle


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on now."""
    with ExitStack() as stack:
        return [
            int(stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]) for _ in range(number)
        ]
