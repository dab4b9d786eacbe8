"""The local control interface: how the command line reaches a running node.

A unix socket that only its owner may open; never a port, so no web page can call it. One request is
`POST /op/NAME` with a MessagePack map of arguments; the answer is MessagePack too, so that imports carry
bytes. The same operations as `coopnode.desk`, and those that need the network or the index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
from aiohttp import web

from coopnode import desk
from coopnode.catalog.shelf import Json, Memory, Shelf
from coopnode.core import Core
from coopnode.errors import NodeError
from coopnode.folder import Folder, write_durably
from coopnode.gossip import progress
from coopnode.gossip.joining import join
from coopnode.gossip.progress import Fetching, Totals
from coopnode.gossip.syncing import Syncing
from coopnode.node import Node
from coopnode.server import asking, standing
from coopnode.server.api import MAX_LIMIT
from coopnode.store import StoreError, Tables

MAX_REQUEST_BYTES = 64 * 1024 * 1024


class Control:
    """Serves one node's control socket."""

    def __init__(self, node: Node, stop: Callable[[], None]) -> None:
        self._node = node
        self._stop = stop
        self._runner: web.AppRunner | None = None
        self._path: Path | None = None
        self._memory = Memory()
        self._syncing: Syncing | None = None
        self._own: dict[str, Callable[..., Awaitable[Json]]] = {
            "search": self._search,
            "peers": self._peers,
            "status": self._status,
            "coop.join": self._join,
            "coop.invite": self._invite,
            "sync.begin": self._sync_begin,
            "sync.show": self._sync_show,
            "stop": self._end,
        }

    async def start(self, folder: Folder) -> None:
        """Begin to listen, and leave a note in the data folder where."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/op/{name}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        self._path = folder.control_socket()
        self._path.unlink(missing_ok=True)
        old = os.umask(0o177)  # the socket is born with rights for its owner alone
        try:
            await web.UnixSite(self._runner, str(self._path)).start()
        finally:
            os.umask(old)
        note = {"socket": str(self._path), "url": self._node.url, "pid": os.getpid()}
        write_durably(folder.control, json.dumps(note).encode())

    async def stop(self, folder: Folder) -> None:
        """Stop listening."""
        folder.control.unlink(missing_ok=True)
        if self._syncing is not None:
            self._syncing.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            if self._path.parent != folder.path:
                self._path.parent.rmdir()

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            arguments = msgpack.unpackb(await request.read(), raw=False, strict_map_key=True) or {}
            result = await self._run(request.match_info["name"], arguments)
        except (NodeError, StoreError) as error:
            return _packed({"error": str(error), "problem": getattr(error, "problem", "store")}, status=409)
        except (TypeError, ValueError) as error:
            return _packed(
                {"error": f"The node did not understand the command: {error}.", "problem": "bad_input"}, status=400
            )
        return _packed(result, status=200)

    async def _run(self, name: str, arguments: dict[str, Any]) -> Json:
        own = self._own.get(name)
        if own is not None:
            return await own(**arguments)
        named = desk.check_known(name)
        core = self._node.core
        if named.reads:
            result, _ = await self._node.read(named.run, core, **arguments)
            return result
        return await self._node.perform(lambda tables: named.run(tables, core, **arguments))

    # ── operations that need more than a transaction ──────────────────────────────────────────────

    async def _search(self, text: str, limit: int = 20, offset: int = 0) -> Json:
        node = self._node
        passed = await asking.search(node, self._memory, text, min(limit, MAX_LIMIT), offset)
        if passed is not None:
            return passed
        return await node.read(
            lambda tables: asking.results(node, Shelf(tables, node.core, self._memory), text, limit, offset)
        )

    async def _peers(self) -> Json:
        return {
            "peers": await peers(self._node),
            "addresses": await self._node.read(_addresses),
            **await self._standing(),
        }

    async def _status(self) -> Json:
        result, _ = await self._node.read(desk.status, self._node.core)
        linked = self._node.gossiper.linked()
        fetching = await self._node.puller.progress()
        changed = await self._node.read(lambda tables: tables.catalogue.last_change())
        return {
            **result,
            "url": self._node.url,
            "peers": len(linked),
            "fetching": await self._fetching(fetching),
            "totals": _totals(progress.totals(fetching)),
            "forwarded": dict(self._node.forwarder.counts),
            "searchable": self._node.follower.done_seq >= changed,
            **await self._standing(),
        }

    async def _standing(self) -> Json:
        node = self._node
        taken = standing.picture(node)
        return await node.read(lambda tables: standing.tell(taken, node, Shelf(tables, node.core)))

    async def _sync_begin(self) -> Json:
        """Ask all linked peers now. Needs no transaction: what comes is taken as always."""
        held = self._node.core.need_membership()
        if self._syncing is not None:
            self._syncing.stop()
        self._syncing = Syncing(self._node, self._node.gossiper, self._node.puller)
        others = sum(one != self._node.core.member_id for one in held.roster.tellers)
        return {"asked": self._syncing.begin(), "others": others}

    async def _sync_show(self) -> Json:
        if self._syncing is None:
            raise NodeError("Nobody has been asked yet. `coopnode sync` asks the other members.")
        now = await self._syncing.standing()
        names = await self._node.read(_names, self._node.core, [head.stream.member_id for head in now.lacking])
        return {
            "asked": now.asked,
            "answered": now.answered,
            "failed": now.failed,
            "records_in": now.records_in,
            "bytes_in": now.bytes_in,
            "fetching": await self._fetching(now.fetching),
            "totals": _totals(now.totals),
            "lacking": names,
            "heard_out": now.is_heard_out,
            "in_step": now.in_step,
        }

    async def _fetching(self, every: list[Fetching]) -> list[Json]:
        names = await self._node.read(_names, self._node.core, [one.stream.member_id for one in every])
        return [
            {
                "member": one.stream.member_id.hex(),
                "name": name,
                "stream": one.stream.number,
                "records": one.records,
                "done": one.done,
                "missing": one.missing,
                "bytes_in": one.bytes_in,
                "peers": one.peers,
                "rate": round(one.rate),
                "remaining_s": one.remaining_s,
                "under_way": one.under_way,
            }
            for one, name in zip(every, names, strict=True)
        ]

    async def _join(self, invitation: str) -> Json:
        # Joining writes in steps between answers from the network; it runs beside the writer's batches.
        result = await join(self._node.core, invitation)
        await self._node.begin_membership()
        return result

    async def _invite(self, **arguments: Any) -> Json:
        arguments["endpoints"] = arguments.get("endpoints") or self._node.contact_urls or None
        core = self._node.core
        return await self._node.perform(lambda tables: desk.coop_invite(tables, core, **arguments))

    async def _end(self) -> Json:
        self._stop()
        return {"stopping": True}


async def peers(node: Node) -> list[Json]:
    """Return the open links."""
    linked = sorted(node.gossiper.linked().items())
    names = await node.read(_names, node.core, [member_id for member_id, _ in linked])
    return [
        {
            "member": member_id.hex(),
            "name": name,
            "url": link.url,
            "replica": link.replica.value,
            "since_ms": link.opened_ms,
            "bytes_in": link.bytes_in,
            "bytes_out": link.bytes_out,
            "queued": node.gossiper.spreading.waiting(link),
        }
        for (member_id, link), name in zip(linked, names, strict=True)
    ]


def _totals(all_of_it: Totals) -> Json:
    return {
        "streams": all_of_it.streams,
        "under_way": all_of_it.under_way,
        "records": all_of_it.records,
        "missing": all_of_it.missing,
        "bytes_in": all_of_it.bytes_in,
        "rate": round(all_of_it.rate),
        "remaining_s": all_of_it.remaining_s,
    }


def _names(tables: Tables, core: Core, member_ids: list[bytes]) -> list[str]:
    shelf = Shelf(tables, core)
    return [shelf.name(member_id) for member_id in member_ids]


def _addresses(tables: Tables) -> list[Json]:
    return [
        {"url": one.url, "member": None if one.member_id is None else one.member_id.hex(), "source": one.source}
        for one in tables.peers.addresses()
    ]


def _packed(value: Json, *, status: int) -> web.Response:
    return web.Response(body=msgpack.packb(value, use_bin_type=True), status=status, content_type="application/msgpack")
