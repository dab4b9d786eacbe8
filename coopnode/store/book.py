"""The minute book on disk: the genesis bundle in slot 0, then official pages in order."""

from __future__ import annotations

import sqlite3


class Book:
    """The table of pages."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def append(self, slot: int, page_id: bytes, data: bytes) -> None:
        """Write the next official page; *slot* 0 is genesis. The chain has been checked."""
        self._connection.execute("INSERT INTO page VALUES (?, ?, ?)", (slot, page_id, data))

    def genesis(self) -> bytes | None:
        """Return the genesis bundle, or None in a node without a co-op."""
        row = self._connection.execute("SELECT data FROM page WHERE slot = 0").fetchone()
        return None if row is None else bytes(row[0])

    def after(self, slot: int, limit: int) -> list[bytes]:
        """Return up to *limit* official pages after *slot*, in order."""
        rows = self._connection.execute(
            "SELECT data FROM page WHERE slot > ? AND slot > 0 ORDER BY slot LIMIT ?", (slot, limit)
        )
        return [bytes(row[0]) for row in rows]
