"""The store in memory answers every question as the store on disk does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random
from typing import Any

import pytest

from coopnode.simulator.memory import Base, MemoryTables, make_tables
from coopnode.store import Store, Tables, open_store
from protocol.items import ItemKind

NONCE = b"8 bytes."


def name(number: int) -> bytes:
    return hashlib.sha256(b"item %d" % number).digest()


def member(number: int) -> bytes:
    return name(number)[:20]


def asks(tables: Any, number: int) -> list[Any]:
    """Return everything that the store can be asked about item *number*."""
    items = tables.items
    head_slot = member(number % 7) + b"\0"
    return [
        items.in_slot(ItemKind.HEAD, head_slot),
        items.in_slot(ItemKind.IDENTITY, name(number)),
        items.by_id(name(number)),
        items.member_of(name(number)),
        items.has(name(number)),
        items.since(number // 3, 5),
        items.since(0, 1_000),
        items.of_kind(ItemKind.IDENTITY),
        items.of_kind(ItemKind.HEAD),
        items.of_kind(ItemKind.STATEMENT, member(number % 7)),
        items.of_kind(ItemKind.HEAD, member(number % 7)),
        items.of_kind(ItemKind.IDENTITY, member(number % 7)),
        items.on_topic(b"topic"),
        items.last_seq(),
        items.number(),
        items.frontier(),
        items.ids(),
        sorted(items.evidence()),
        tables.peers.cursor(member(number)),
        tables.peers.arrived_since(member(number)),
        tables.meta.get("store_nonce"),
        tables.meta.get_int("parked"),
        tables.meta.refusals(),
        tables.book.after(0, 10),
    ]


def does(tables: Any, random: Random) -> None:
    """Do something to the store, the same for the same chance."""
    number = random.randrange(10, 60)
    slot = member(number % 7) + b"\0"
    data = b"data %d" % number
    match random.randrange(8):
        case 0 | 1 | 2:
            tables.items.put(ItemKind.HEAD, slot, name(number), member(number % 7), data, 5)
        case 3:
            topic = random.choice((None, b"topic"))
            tables.items.put(ItemKind.STATEMENT, slot, name(100 + number), member(number % 7), data, 5, topic)
        case 4:
            tables.items.remove(name(number))
        case 5:
            tables.items.keep_evidence(slot, (data, b"other"), 5)
            evidence = b"evidence/" + slot
            tables.items.put(ItemKind.HEAD, evidence, name(200 + number), member(number % 7), b"other", 5)
        case 6:
            tables.peers.set_cursor(member(number), NONCE, number)
        case 7:
            tables.meta.set_int("parked", number)
            tables.meta.count_refusal("stale", "said", 5)


@pytest.fixture
def disk(tmp_path: Path) -> Store:
    return open_store(tmp_path / "node.db")


@pytest.mark.parametrize("seed", range(5))
def test_memory_and_disk_agree(disk: Store, seed: int) -> None:
    rows = [(ItemKind.IDENTITY, name(number), b"identity %d" % number, member(number)) for number in range(5)]
    memory: MemoryTables = make_tables(Base(rows), NONCE, {})

    def fill(tables: Tables) -> None:
        tables.meta.set("store_nonce", NONCE)
        for kind, slot, data, author in rows:
            tables.items.put(kind, slot, slot, author, data, 0)

    disk.write(fill)
    random = Random(seed)
    for _ in range(120):
        state = random.getstate()
        disk.write(lambda tables: does(tables, random))
        random.setstate(state)
        does(memory, random)
        number = random.randrange(60)
        assert asks(memory, number) == disk.read(asks, number)
    disk.close()


def test_the_frontier_is_computed_once_for_equal_stores_and_anew_for_others() -> None:
    base = Base([(ItemKind.IDENTITY, name(1), b"identity", member(1))])
    one, other = make_tables(base, NONCE, {}), make_tables(base, NONCE, {})
    before = one.items.frontier()
    assert other.items.frontier() == before
    one.items.put(ItemKind.HEAD, b"slot", name(9), member(9), b"data", 0)
    assert one.items.frontier() == hashlib.sha256(b"".join(sorted([name(1), name(9)]))).digest()
    assert other.items.frontier() == before
    one.items.remove(name(9))
    assert one.items.frontier() == before


def test_cursors_from_before_the_run_can_be_forgotten() -> None:
    tables = make_tables(Base([]), NONCE, {member(1): (NONCE, 3)})
    assert tables.peers.cursor(member(1)) == (NONCE, 3)
    tables.peers.forget_cursors()
    assert tables.peers.cursor(member(1)) is None
