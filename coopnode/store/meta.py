"""Small named values: the store's nonce, this node's co-op, clocks, marks."""

from __future__ import annotations

import sqlite3


class Meta:
    """Named byte strings."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> bytes | None:
        """Return the value of *name*, or None."""
        row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def set(self, name: str, value: bytes | None) -> None:
        """Set or, with None, remove *name*."""
        if value is None:
            self._connection.execute("DELETE FROM meta WHERE name = ?", (name,))
        else:
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def get_int(self, name: str) -> int:
        """Return a number set by `set_int`, 0 when there is none."""
        value = self.get(name)
        return 0 if value is None else int(value)

    def set_int(self, name: str, value: int) -> None:
        """Set *name* to a whole number."""
        self.set(name, str(value).encode())

    def count_refusal(self, reason: str, detail: str, now_ms: int) -> None:
        """Count one refusal; of its words only the last ones are kept."""
        self._connection.execute(
            "INSERT INTO refusal VALUES (?, 1, ?, ?) ON CONFLICT (reason) DO UPDATE SET"
            " count = count + 1, last_ms = excluded.last_ms, last_detail = excluded.last_detail",
            (reason, now_ms, detail[:300]),
        )

    def refusals(self) -> dict[str, int]:
        """Return how often each reason was given."""
        return dict(self._connection.execute("SELECT reason, count FROM refusal ORDER BY reason").fetchall())
