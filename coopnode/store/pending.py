"""Own records on their way to being published: imports being read, and edits that wait.

Never publishes: `publisher` does, and clears what it has laid onto the own state.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator

Row = tuple[str, bytes, bytes | None]
"""(collection, key, value or None where the record goes)"""

PART_ROWS = 16_384


class Pending:
    """The tables `draft` and `pending`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def begin_draft(self) -> None:
        """Forget an import that was broken off."""
        self._db.execute("DELETE FROM draft")

    def add_to_draft(self, rows: Iterable[Row]) -> None:
        """Add rows to the import that is being read."""
        self._db.executemany("INSERT INTO draft VALUES (?, ?, ?, ?)", map(_with_hash, rows))

    def finish_draft(self) -> int:
        """Move the import to what waits to be published; return how many records wait then."""
        # In the order of the table's key a million rows are appended, not scattered: four times as fast.
        self._db.execute(
            "INSERT OR REPLACE INTO pending"
            " SELECT collection, key_hash, key, value FROM draft ORDER BY collection, key_hash, rowid"
        )
        self._db.execute("DELETE FROM draft")
        return self.count()

    def add(self, rows: Iterable[Row]) -> None:
        """Let rows wait to be published; a later word about a key replaces the earlier one."""
        self._db.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?)", map(_with_hash, rows))

    def count(self) -> int:
        """Return how many records wait."""
        return int(self._db.execute("SELECT count(*) FROM pending").fetchone()[0])

    def get(self, collection: str, key: bytes) -> tuple[bool, bytes | None]:
        """Return (whether an edit of *key* waits, its value)."""
        row = self._db.execute(
            "SELECT value FROM pending WHERE collection = ? AND key_hash = ?", (collection, _hash(key))
        ).fetchone()
        return (False, None) if row is None else (True, row[0])

    def of_collection(self, collection: str) -> dict[bytes, bytes | None]:
        """Return all waiting edits of a collection."""
        return dict(self._db.execute("SELECT key, value FROM pending WHERE collection = ?", (collection,)))

    def parts(self) -> Iterator[tuple[str, dict[bytes, bytes | None]]]:
        """Yield (collection, changes) in the order of key hashes, at most some thousands at a time.

        So a million records are laid on chunk after chunk, each chunk once, in flat memory.
        """
        for (collection,) in self._db.execute("SELECT DISTINCT collection FROM pending ORDER BY 1").fetchall():
            after = b""
            while True:
                rows = self._db.execute(
                    "SELECT key_hash, key, value FROM pending WHERE collection = ? AND key_hash > ?"
                    " ORDER BY key_hash LIMIT ?",
                    (collection, after, PART_ROWS),
                ).fetchall()
                if not rows:
                    break
                after = rows[-1][0]
                yield collection, {key: value for _, key, value in rows}

    def clear(self) -> None:
        """Everything that waited has been published."""
        self._db.execute("DELETE FROM pending")


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _with_hash(row: Row) -> tuple[str, bytes, bytes, bytes | None]:
    collection, key, value = row
    return collection, _hash(key), key, value
