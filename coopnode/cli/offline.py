"""The data folder used by a command itself, because no node runs there.

Never talks to other members, except to use an invitation. The same operations as a running node, from
`coopnode.desk`; what they publish is announced by the node when it starts.
"""

from __future__ import annotations

import asyncio
from typing import Any

from coopnode import desk
from coopnode.catalog.follower import Follower
from coopnode.catalog.shelf import Json, Shelf
from coopnode.core import Core, open_core
from coopnode.errors import NodeError
from coopnode.folder import Folder
from coopnode.gossip.joining import join
from coopnode.store import Tables
from coopnode.world import World

_NEEDS_NODE = "No node is running in {folder}. Start it with `coopnode run`."


class Offline:
    """An opened data folder."""

    runs = False

    def __init__(self, folder: Folder, passphrase: str | None) -> None:
        self._core, self._lock = open_core(folder, World(), passphrase)
        try:
            # What a node does first: where no other member must be heard, what waits is published now.
            self._core.announced(self._core.write(self._core.look))
        except BaseException:
            self.close()
            raise

    @property
    def core(self) -> Core:
        """The opened node, for a command that goes on to run it."""
        return self._core

    def call(self, name: str, /, **arguments: Any) -> Json:
        """Run one operation in one transaction."""
        if name == "search":
            return self._search(**arguments)
        if name == "coop.join":
            return asyncio.run(join(self._core, arguments["invitation"]))
        if name in ("peers", "stop", "sync.begin", "sync.show"):
            raise NodeError(_NEEDS_NODE.format(folder=self._core.folder.path))
        named = desk.check_known(name)
        if named.reads:
            return self._core.store.read(named.run, self._core, **arguments)[0]
        result, news = self._core.write(named.run, self._core, **arguments)
        # The mark goes with every head that the store keeps, or the next start would take it for a restored backup.
        self._core.announced(news)
        return result

    def close(self) -> None:
        """Close the store and give the folder back."""
        self._core.store.close()
        self._lock.release()

    def _search(self, text: str, limit: int = 20, offset: int = 0) -> Json:
        follower = Follower(self._core.folder.index, self._core.store)
        try:
            follower.catch_up_now()
            found = follower.search(text, limit, offset)
        finally:
            follower.index.close()

        def look_up(tables: Tables) -> Json:
            return Shelf(tables, self._core).results(found, limit, offset)

        return self._core.store.read(look_up)
