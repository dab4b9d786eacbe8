"""Items by slot: what replaces what, the order of arrival, and the hash that two nodes compare."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopnode.store import Store, Tables, open_store
from protocol.items import ItemKind
from tests.node.scenes import QUICK

ME = b"m" * 20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "node.db")
    yield opened
    opened.close()


def name(number: int) -> bytes:
    return hashlib.sha256(b"item %d" % number).digest()


def put(store: Store, slot: bytes, number: int, kind: ItemKind = ItemKind.STATEMENT, topic: bytes | None = None) -> int:
    return store.write(lambda tables: tables.items.put(kind, slot, name(number), ME, b"data %d" % number, 7, topic))


def remove(store: Store, number: int) -> None:
    store.write(lambda tables: tables.items.remove(name(number)))


def frontier(store: Store) -> bytes:
    """On both connections: what a peer is told and what we ask with come from either."""
    on_reader = store.read(lambda tables: tables.items.frontier())
    assert store.write(lambda tables: tables.items.frontier()) == on_reader
    return on_reader


def hash_of(*numbers: int) -> bytes:
    return hashlib.sha256(b"".join(sorted(map(name, numbers)))).digest()


def test_an_empty_store_has_the_hash_of_nothing(store: Store) -> None:
    assert frontier(store) == hashlib.sha256(b"").digest()
    assert store.read(lambda tables: tables.items.last_seq()) == 0


def test_a_later_word_takes_the_slot_and_a_new_place_in_line(store: Store) -> None:
    first = put(store, b"a", 1)
    put(store, b"b", 2)
    third = put(store, b"a", 3)
    assert third > first
    assert store.read(lambda tables: tables.items.in_slot(ItemKind.STATEMENT, b"a")) == b"data 3"
    assert store.read(lambda tables: tables.items.in_slot(ItemKind.HEAD, b"a")) is None
    assert not store.read(lambda tables: tables.items.has(name(1)))
    assert [item.data for item in store.read(lambda tables: tables.items.since(first, 9))] == [b"data 2", b"data 3"]
    assert [item.seq for item in store.read(lambda tables: tables.items.since(0, 1))] == [first + 1]
    assert frontier(store) == hash_of(2, 3)


def test_a_slot_belongs_to_its_kind(store: Store) -> None:
    put(store, b"a", 1, ItemKind.HEAD)
    put(store, b"a", 2, ItemKind.STATEMENT)
    assert frontier(store) == hash_of(1, 2)
    assert [item.item_id for item in store.read(lambda tables: tables.items.of_kind(ItemKind.HEAD))] == [name(1)]
    assert [item.item_id for item in store.read(lambda tables: tables.items.of_kind(ItemKind.HEAD, b"x" * 20))] == []


def test_the_ids_are_those_of_the_frontier_in_order(store: Store) -> None:
    assert store.read(lambda tables: tables.items.ids()) == []
    put(store, b"a", 1)
    put(store, b"b", 2, ItemKind.HEAD)
    put(store, b"a", 3)
    assert store.read(lambda tables: tables.items.ids()) == sorted([name(2), name(3)])


def test_a_cursor_never_goes_back_even_when_all_is_gone(store: Store) -> None:
    last = put(store, b"a", 1)
    remove(store, 1)
    assert store.read(lambda tables: tables.items.last_seq()) == last
    assert put(store, b"a", 1) > last


def test_a_removal_shows_in_the_frontier_of_every_connection(store: Store) -> None:
    put(store, b"a", 1)
    put(store, b"b", 2)
    assert frontier(store) == hash_of(1, 2)
    remove(store, 1)
    assert frontier(store) == hash_of(2)


def test_a_rollback_takes_the_frontier_back(store: Store) -> None:
    put(store, b"a", 1)
    before = frontier(store)

    def fail(tables: Tables) -> None:
        tables.items.put(ItemKind.HEAD, b"b", name(2), ME, b"data", 7)
        assert tables.items.frontier() == hash_of(1, 2)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        store.write(fail)
    assert frontier(store) == before
    put(store, b"c", 3)  # takes the seq that the other had
    assert frontier(store) == hash_of(1, 3)


def _put_all(tables: Tables, arrivals: list[tuple[int, int]]) -> None:
    for slot, number in arrivals:
        tables.items.put(ItemKind.STATEMENT, b"slot %d" % slot, name(number), ME, b"data", 7)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=30, unique_by=lambda one: one[1]))
@QUICK
def test_equal_sets_have_equal_frontiers_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, arrivals: list[tuple[int, int]]
) -> None:
    final = dict(arrivals)
    found = []
    for order in (list(final.items()), random.Random(1).sample(sorted(final.items()), len(final)), arrivals):
        store = open_store(tmp_path_factory.mktemp("order") / "node.db")
        store.write(_put_all, list(order))
        found.append(frontier(store))
        store.close()
    assert set(found) == {hash_of(*final.values())}


def test_statements_are_grouped_by_topic(store: Store) -> None:
    put(store, b"a", 1, topic=b"poll")
    put(store, b"b", 2, topic=b"poll")
    put(store, b"c", 3, topic=b"another")
    put(store, b"d", 4, ItemKind.HEAD, topic=b"poll")
    assert [item.item_id for item in store.read(lambda tables: tables.items.on_topic(b"poll"))] == [name(1), name(2)]


def _keep_evidence(tables: Tables, pair: tuple[bytes, bytes]) -> None:
    tables.items.keep_evidence(b"slot", pair, 7)


def _count_refusal(tables: Tables, detail: str) -> None:
    tables.meta.count_refusal("too_large", detail, 5)


def test_evidence_is_a_pair_without_an_order_and_outlives_its_items(store: Store) -> None:
    for pair in ((b"two", b"one"), (b"one", b"two")):
        store.write(_keep_evidence, pair)
    store.write(lambda tables: tables.items.keep_evidence(b"slot", (b"one", b"three"), 7))
    assert sorted(store.read(lambda tables: tables.items.evidence())) == [(b"one", b"three"), (b"one", b"two")]


def test_items_are_found_by_id_and_with_their_member(store: Store) -> None:
    put(store, b"a", 1)
    found = store.read(lambda tables: tables.items.by_id(name(1)))
    assert found is not None
    assert (found.kind, found.data, found.received_ms) == (ItemKind.STATEMENT, b"data 1", 7)
    assert store.read(lambda tables: tables.items.member_of(name(1))) == ME
    assert store.read(lambda tables: tables.items.by_id(name(2))) is None
    assert store.read(lambda tables: tables.items.member_of(name(2))) is None


# ── names, counts, addresses ──────────────────────────────────────────────────────────────────────────


def test_refusals_are_counted_and_only_their_last_words_kept(store: Store) -> None:
    for detail in ("first", "x" * 400):
        store.write(_count_refusal, detail)
    store.write(lambda tables: tables.meta.count_refusal("future", "", 6))
    assert store.read(lambda tables: tables.meta.refusals()) == {"future": 1, "too_large": 2}
    rows = store.read(lambda tables: tables.connection.execute("SELECT last_detail FROM refusal").fetchall())
    assert max(len(row[0]) for row in rows) == 300


def test_named_values_can_be_set_and_removed(store: Store) -> None:
    store.write(lambda tables: tables.meta.set("name", b"value"))
    store.write(lambda tables: tables.meta.set_int("number", 2**60))
    assert store.read(lambda tables: (tables.meta.get("name"), tables.meta.get_int("number"))) == (b"value", 2**60)
    store.write(lambda tables: tables.meta.set("name", None))
    assert store.read(lambda tables: (tables.meta.get("name"), tables.meta.get_int("nobody"))) == (None, 0)


def test_an_address_keeps_what_was_proved_when_it_is_heard_of_again(store: Store) -> None:
    def steps(tables: Tables) -> None:
        tables.peers.add_address("http://a", None, "invitation")
        tables.peers.add_address("http://b", ME, "zeroconf")
        tables.peers.note_heard("http://a", ME, 50)
        tables.peers.add_address("http://a", None, "handshake")
        tables.peers.add_address("http://a", None, "zeroconf")
        tables.peers.note_failure("http://b")

    store.write(steps)
    one, other = store.read(lambda tables: tables.peers.addresses())
    assert (one.url, one.member_id, one.source, one.heard_ms) == ("http://a", ME, "invitation", 50)
    assert (other.url, other.failures) == ("http://b", 1)


def test_cursors_are_kept_by_member_and_forgotten_together(store: Store) -> None:
    store.write(lambda tables: tables.peers.set_cursor(ME, b"nonce-1 ", 5))
    store.write(lambda tables: tables.peers.set_cursor(ME, b"nonce-2 ", 3))
    assert store.read(lambda tables: tables.peers.cursor(ME)) == (b"nonce-2 ", 3)
    assert store.read(lambda tables: tables.peers.arrived_since(ME)) == 0
    store.write(lambda tables: tables.items.put(ItemKind.STATEMENT, b"1", name(1), ME, b"data", 7))
    store.write(lambda tables: tables.items.put(ItemKind.STATEMENT, b"2", name(2), ME, b"data", 7))
    assert store.read(lambda tables: tables.peers.arrived_since(ME)) == 2
    assert store.read(lambda tables: tables.peers.arrived_since(bytes(20))) == 0
    store.write(lambda tables: tables.peers.set_cursor(ME, b"nonce-2 ", 4))
    assert store.read(lambda tables: tables.peers.arrived_since(ME)) == 0
    store.write(lambda tables: tables.peers.forget_cursors())
    assert store.read(lambda tables: tables.peers.cursor(ME)) is None
