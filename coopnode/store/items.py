"""What is broadcast: heads, statements and identity statements, each the latest word about its slot.

Never judges an item: ingest has done so. The order of arrival (`seq`) is this store's own; peers keep a
cursor into it together with the store's nonce.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from protocol.items import ItemKind


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One item as it lies here."""

    seq: int
    kind: ItemKind
    item_id: bytes
    data: bytes
    received_ms: int


class Items:
    """The table of items, with the hash of all ids that two nodes compare."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._frontier: tuple[tuple[int, int], bytes] | None = None

    def forget_cached(self) -> None:
        """Drop what was remembered: a transaction was rolled back."""
        self._frontier = None

    def put(
        self,
        kind: ItemKind,
        slot: bytes,
        item_id: bytes,
        member_id: bytes,
        data: bytes,
        received_ms: int,
        topic: bytes | None = None,
    ) -> int:
        """Keep an item in place of the one in its slot; return its seq. *topic* groups ballots by proposal."""
        self._connection.execute("DELETE FROM item WHERE kind = ? AND slot = ?", (kind.value, slot))
        cursor = self._connection.execute(
            "INSERT INTO item (kind, slot, item_id, member_id, topic, data, received_ms) VALUES (?,?,?,?,?,?,?)",
            (kind.value, slot, item_id, member_id, topic, data, received_ms),
        )
        return cursor.lastrowid or 0

    def remove(self, item_id: bytes) -> None:
        """Drop an item that no longer holds."""
        self._connection.execute("DELETE FROM item WHERE item_id = ?", (item_id,))
        self._frontier = None

    def in_slot(self, kind: ItemKind, slot: bytes) -> bytes | None:
        """Return the item in a slot, or None."""
        row = self._connection.execute(
            "SELECT data FROM item WHERE kind = ? AND slot = ?", (kind.value, slot)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def by_id(self, item_id: bytes) -> StoredItem | None:
        """Return the item with this id, or None."""
        return next(self._select("WHERE item_id = ?", (item_id,)), None)

    def member_of(self, item_id: bytes) -> bytes | None:
        """Return the member that an item is kept under, or None when it is not here."""
        row = self._connection.execute("SELECT member_id FROM item WHERE item_id = ?", (item_id,)).fetchone()
        return None if row is None else bytes(row[0])

    def has(self, item_id: bytes) -> bool:
        """Whether this very item is here."""
        return self._connection.execute("SELECT 1 FROM item WHERE item_id = ?", (item_id,)).fetchone() is not None

    def since(self, seq: int, limit: int) -> list[StoredItem]:
        """Return up to *limit* items that arrived after *seq*, in order."""
        return list(self._select("WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)))

    def of_kind(self, kind: ItemKind, member_id: bytes | None = None) -> list[StoredItem]:
        """Return all items of a kind, of one member or of all."""
        if member_id is None:
            return list(self._select("WHERE kind = ? ORDER BY seq", (kind.value,)))
        return list(self._select("WHERE kind = ? AND member_id = ? ORDER BY seq", (kind.value, member_id)))

    def on_topic(self, topic: bytes) -> list[StoredItem]:
        """Return the statements grouped under *topic*: `kind` name or proposal id."""
        return list(self._select("WHERE kind = ? AND topic = ? ORDER BY seq", (ItemKind.STATEMENT.value, topic)))

    def last_on_topic(self, topic: bytes) -> int:
        """Return the seq of the latest arrival under *topic*, 0 for none."""
        row = self._connection.execute(
            "SELECT coalesce(max(seq), 0) FROM item WHERE kind = ? AND topic = ?", (ItemKind.STATEMENT.value, topic)
        ).fetchone()
        return int(row[0])

    def last_seq(self) -> int:
        """Return the seq of the latest arrival ever, 0 for none."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'item'").fetchone()
        return 0 if row is None else int(row[0])

    def number(self) -> int:
        """Return how many items there are."""
        return int(self._connection.execute("SELECT count(*) FROM item").fetchone()[0])

    def frontier(self) -> bytes:
        """Hash of the sorted ids of all items: equal on two nodes if and only if they hold the same."""
        # Every arrival takes a new seq and every removal lowers the number, also when another connection did it.
        state = (self.last_seq(), self.number())
        if self._frontier is None or self._frontier[0] != state:
            rows = self._connection.execute("SELECT item_id FROM item ORDER BY item_id")
            self._frontier = (state, hashlib.sha256(b"".join(row[0] for row in rows)).digest())
        return self._frontier[1]

    def ids(self) -> list[bytes]:
        """Return the ids of all items: what the frontier is the hash of."""
        return [row[0] for row in self._connection.execute("SELECT item_id FROM item ORDER BY item_id")]

    def keep_evidence(self, slot: bytes, pair: Iterable[bytes], received_ms: int) -> None:
        """Keep two signed things that contradict each other."""
        first, second = sorted(pair)
        self._connection.execute(
            "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?)", (slot, first, second, received_ms)
        )

    def evidence(self) -> list[tuple[bytes, bytes]]:
        """Return all pairs of contradicting objects."""
        return [(bytes(a), bytes(b)) for a, b in self._connection.execute("SELECT first, second FROM evidence")]

    def _select(self, where: str, values: tuple[object, ...]) -> Iterator[StoredItem]:
        for seq, kind, item_id, data, received_ms in self._connection.execute(
            f"SELECT seq, kind, item_id, data, received_ms FROM item {where}", values
        ).fetchall():
            yield StoredItem(seq, ItemKind(kind), item_id, data, received_ms)
