"""Where peers were found, and how far we have heard each of them out."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """A place where a member's node may answer. Only the handshake proves who is there."""

    url: str
    member_id: bytes | None
    source: str
    heard_ms: int
    failures: int


class Peers:
    """Addresses and cursors."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add_address(self, url: str, member_id: bytes | None, source: str) -> None:
        """Remember a hint; what is known of the address stays, and the source that is trusted most."""
        self._connection.execute(
            "INSERT INTO address (url, member_id, source) VALUES (?, ?, ?) ON CONFLICT (url) DO UPDATE SET"
            " member_id = coalesce(excluded.member_id, member_id), source = CASE"
            " WHEN source = 'invitation' OR excluded.source NOT IN ('invitation', 'zeroconf') THEN source"
            " ELSE excluded.source END",
            (url, member_id, source),
        )

    def note_heard(self, url: str, member_id: bytes, now_ms: int) -> None:
        """Note that *member_id* has proved itself at *url*."""
        self._connection.execute(
            "UPDATE address SET member_id = ?, heard_ms = ?, failures = 0 WHERE url = ?", (member_id, now_ms, url)
        )

    def note_failure(self, url: str) -> None:
        """Note that nobody answered at *url*, or not the one expected."""
        self._connection.execute("UPDATE address SET failures = failures + 1 WHERE url = ?", (url,))

    def addresses(self) -> list[Address]:
        """Return all addresses, the last heard first."""
        rows = self._connection.execute(
            "SELECT url, member_id, source, heard_ms, failures FROM address ORDER BY heard_ms DESC, url"
        )
        return [Address(*row) for row in rows]

    def cursor(self, member_id: bytes) -> tuple[bytes, int] | None:
        """Return (store nonce, cursor) up to which we have heard this peer out, or None."""
        row = self._connection.execute(
            "SELECT store_nonce, cursor FROM cursor WHERE member_id = ?", (member_id,)
        ).fetchone()
        return None if row is None else (bytes(row[0]), int(row[1]))

    def set_cursor(self, member_id: bytes, store_nonce: bytes, cursor: int) -> None:
        """Note how far we have heard a peer out."""
        self._connection.execute(
            "INSERT OR REPLACE INTO cursor (member_id, store_nonce, cursor, own_seq) VALUES"
            " (?, ?, ?, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'item'), 0))",
            (member_id, store_nonce, cursor),
        )

    def arrived_since(self, member_id: bytes) -> int:
        """Return how many items have arrived here since we noted how far we have heard a peer out; 0 if never."""
        row = self._connection.execute(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'item'), 0) - own_seq FROM cursor"
            " WHERE member_id = ?",
            (member_id,),
        ).fetchone()
        return 0 if row is None else int(row[0])

    def forget_cursors(self) -> None:
        """Forget all cursors: this store was restored, so what it had heard may be missing."""
        self._connection.execute("DELETE FROM cursor")
