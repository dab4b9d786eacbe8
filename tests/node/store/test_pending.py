"""What waits to be published: edits of which the last one counts, and imports that come whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from coopnode.store import Store, Tables, open_store
from coopnode.store.pending import PART_ROWS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "node.db")
    yield opened
    opened.close()


def test_the_last_word_about_a_key_counts(store: Store) -> None:
    store.write(lambda tables: tables.pending.add([("listing", b"a", b"1"), ("listing", b"a", None)]))
    store.write(lambda tables: tables.pending.add([("listing", b"b", b"2"), ("stock", b"a", b"3")]))
    pending = store.read(lambda tables: tables.pending.of_collection("listing"))
    assert pending == {b"a": None, b"b": b"2"}
    assert store.read(lambda tables: tables.pending.get("listing", b"a")) == (True, None)
    assert store.read(lambda tables: tables.pending.get("listing", b"nobody")) == (False, None)
    assert store.read(lambda tables: tables.pending.count()) == 3
    store.write(lambda tables: tables.pending.clear())
    assert store.read(lambda tables: tables.pending.count()) == 0


def test_an_import_comes_whole_or_not_at_all(store: Store) -> None:
    store.write(lambda tables: tables.pending.add([("listing", b"a", b"edited by hand")]))
    store.write(lambda tables: tables.pending.add_to_draft([("listing", b"b", b"broken off")]))
    store.close()
    again = open_store(store.path)
    assert again.read(lambda tables: tables.pending.count()) == 1
    again.write(lambda tables: tables.pending.begin_draft())
    rows = [("listing", b"a", b"first row"), ("listing", b"c", b"c"), ("listing", b"a", b"last row")]
    again.write(lambda tables: tables.pending.add_to_draft(rows[:1]))
    again.write(lambda tables: tables.pending.add_to_draft(rows[1:]))
    assert again.write(lambda tables: tables.pending.finish_draft()) == 2
    assert again.read(lambda tables: tables.pending.of_collection("listing")) == {b"a": b"last row", b"c": b"c"}
    assert again.write(lambda tables: tables.pending.finish_draft()) == 2
    again.close()


def test_parts_come_in_the_order_of_key_hashes_each_row_once(store: Store) -> None:
    rows = [("listing", b"sku-%d" % number, b"v") for number in range(PART_ROWS + 10)]
    store.write(lambda tables: tables.pending.add([*rows, ("stock", b"sku-1", None)]))

    def parts(tables: Tables) -> list[tuple[str, list[bytes]]]:
        return [(name, list(changes)) for name, changes in tables.pending.parts()]

    found = store.read(parts)
    assert [(name, len(keys)) for name, keys in found] == [("listing", PART_ROWS), ("listing", 10), ("stock", 1)]
    keys = [*found[0][1], *found[1][1]]
    assert keys == sorted((key for _, key, _ in rows), key=lambda key: hashlib.sha256(key).digest())
