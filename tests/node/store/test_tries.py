"""The chunk store against a dict: whatever is put, removed, replaced, staged or rolled back."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopnode.store import Store, Tables, open_store
from coopnode.store.catalogue import KEPT_OPS_BYTES, Held
from coopnode.store.tries import Changed
from protocol import chunks, trie
from protocol.head import Stream
from protocol.limits import CHUNK_ENTRIES, MAX_CHUNK_BYTES, MAX_VALUE_BYTES
from protocol.pull import Replace
from protocol.trie import EMPTY, Summary
from tests.node.scenes import QUICK

STREAM = Stream(b"member of twenty bye", 0)
Model = dict[bytes, bytes]
Edits = Mapping[bytes, bytes | None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "node.db")
    yield opened
    opened.close()


def key_hex(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def change(store: Store, edits: Edits, name: str = "listing") -> Changed:
    def apply(tables: Tables) -> Changed:
        held, changed = tables.catalogue.apply(tables.catalogue.open_stream(STREAM), {name: edits})
        tables.catalogue.set_head(held, b"head")
        return changed[name]

    return store.write(apply)


def lay_on(model: Model, edits: Edits) -> None:
    for key, value in edits.items():
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value


def under(model: Model, prefix: str) -> Model:
    return {key: value for key, value in model.items() if key_hex(key).startswith(prefix)}


def held_of(tables: Tables) -> Held:
    held = tables.catalogue.held(STREAM)
    assert held is not None
    return held


def assert_is(store: Store, model: Model, prefixes: list[str], name: str = "listing") -> None:
    """Everything that the store says, on the writer's connection and on a reader's, is what *model* says."""

    def check(tables: Tables) -> None:
        held, catalogue = held_of(tables), tables.catalogue
        want = trie.summarise(trie.entries(model.items()))
        assert held.summaries.get(name, EMPTY) == want
        assert held.root == trie.state_root({name: want})
        assert dict(catalogue.records(STREAM, name)) == model
        order = [key for key, _ in catalogue.records(STREAM, name)]
        assert order == sorted(order, key=key_hex)
        for key in sorted(model)[:: max(1, len(model) // 7)]:
            assert catalogue.get(STREAM, name, key) == model[key]
        assert catalogue.get(STREAM, name, b"nobody has this") is None
        for prefix in prefixes:
            part = under(model, prefix)
            entries = trie.entries(part.items())
            assert catalogue.entries(held, name, prefix) == entries
            summary = trie.summarise(entries, len(prefix))
            assert catalogue.summary(held, name, prefix) == summary
            node = catalogue.node(held, name, prefix)
            if isinstance(node, bytes):
                if summary.count == 0:
                    assert node == b"" or chunks.read_chunk(node, prefix).keys == []
                    continue
                chunk = chunks.read_chunk(node, prefix)
                assert trie.summarise(chunk.entries, len(prefix)) == summary
                assert dict(zip(chunk.keys, chunk.values, strict=True)) == part
            else:
                assert summary.count > CHUNK_ENTRIES or summary.size > MAX_CHUNK_BYTES
                assert trie.join(node) == summary

    store.write(check)
    store.read(check)


def prefixes_of(model: Model, chance: random.Random) -> list[str]:
    some = chance.sample(sorted(model), min(3, len(model)))
    return ["", "0", "f", "a3", "00000", *(key_hex(key)[: chance.randrange(1, 6)] for key in some)]


def chunk_count(store: Store) -> int:
    return int(
        store.read(lambda tables: tables.connection.execute("SELECT count(*) FROM chunk WHERE staged = 0").fetchone())[
            0
        ]
    )


def leftovers(store: Store) -> list[int]:
    """Rows that belong to no live or staged chunk, or to no change that a chunk counts."""

    def count(tables: Tables) -> list[int]:
        one = tables.connection.execute
        return [
            one("SELECT count(*) FROM chunk_body WHERE chunk_id NOT IN (SELECT id FROM chunk)").fetchone()[0],
            one("SELECT count(*) FROM chunk_entries WHERE chunk_id NOT IN (SELECT id FROM chunk)").fetchone()[0],
            int(
                bool(one("SELECT count(*) FROM recent").fetchone()[0])
                and not one("SELECT sum(recent) FROM chunk").fetchone()[0]
            ),
        ]

    return store.read(count)


# ── one collection ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(2))
def test_any_sequence_of_changes_gives_what_a_dict_gives(store: Store, seed: int) -> None:
    chance, model = random.Random(seed), Model()
    for step in range(9):
        edits: dict[bytes, bytes | None] = {}
        for _ in range(chance.choice([1, 5, 50, 1_500])):
            goes = chance.random() < (0.75 if step > 5 else 0.2)
            value = chance.randbytes(chance.choice([0, 5, 50, 400]))
            edits[b"k%d" % chance.randrange(3_000)] = None if goes else value
        lay_on(model, edits)
        change(store, edits)
        assert_is(store, model, prefixes_of(model, chance))
    assert leftovers(store) == [0, 0, 0]
    store.close()
    again = open_store(store.path)
    assert_is(again, model, prefixes_of(model, chance))
    again.close()


@given(
    st.lists(
        st.dictionaries(st.integers(0, 60), st.none() | st.binary(max_size=12), min_size=1, max_size=40),
        min_size=1,
        max_size=8,
    )
)
@QUICK
def test_small_collections_too(tmp_path_factory: pytest.TempPathFactory, steps: list[dict[int, bytes | None]]) -> None:
    store, model = open_store(tmp_path_factory.mktemp("small") / "node.db"), Model()
    for step in steps:
        edits = {b"key %d" % number: value for number, value in step.items()}
        lay_on(model, edits)
        change(store, edits)
        assert_is(store, model, ["", "4", "4e"])
    store.close()


def test_five_thousand_records_are_cut_into_chunks_and_grow_together_again(store: Store) -> None:
    model = {b"sku-%d" % number: b"value of %d" % number for number in range(5_000)}
    changed = change(store, model)
    assert chunk_count(store) == 16
    assert len(changed.fresh_chunks) == 16
    assert not changed.put
    assert not changed.replaced_chunks
    assert_is(store, model, ["", "7", "7a", "7a1"])
    change(store, dict.fromkeys(sorted(model)[100:]))
    assert chunk_count(store) == 1
    rest = {key: model[key] for key in sorted(model)[:100]}
    assert_is(store, rest, ["", "7", "7a"])
    change(store, dict.fromkeys(rest))
    assert chunk_count(store) == 0
    assert_is(store, {}, ["", "7"])
    assert leftovers(store) == [0, 0, 0]


def test_large_values_are_cut_by_their_size(store: Store) -> None:
    chance = random.Random(1)
    model = {b"large %d" % number: chance.randbytes(MAX_VALUE_BYTES) for number in range(150)}
    change(store, model)
    assert chunk_count(store) > 1
    assert_is(store, model, ["", "0", "8", "8c"])
    edits = dict.fromkeys(sorted(model)[5:], b"small")
    change(store, edits)
    assert chunk_count(store) == 1
    assert_is(store, {**model, **edits}, ["", "8"])


def test_a_chunk_is_cut_at_one_more_than_it_may_hold(store: Store) -> None:
    model = {b"%d" % number: b"v" for number in range(CHUNK_ENTRIES)}
    change(store, model)
    assert chunk_count(store) == 1
    change(store, {b"one more": b"v"})
    assert chunk_count(store) == 16
    assert_is(store, {**model, b"one more": b"v"}, ["", "0"])


def test_a_single_change_leaves_the_body_and_many_rewrite_it(store: Store) -> None:
    model = {b"sku-%d" % number: b"v" for number in range(800)}
    change(store, model)
    [body] = bodies(store)
    changed = change(store, {b"sku-1": b"new", b"sku-2": None})
    assert changed.put == {b"sku-1": b"new"}
    assert changed.removed == [b"sku-2"]
    assert bodies(store) == [body]
    change(store, {b"sku-%d" % number: b"newer" for number in range(300)})
    assert bodies(store) != [body]


def bodies(store: Store) -> list[bytes]:
    return [row[0] for row in store.read(lambda tables: tables.connection.execute("SELECT body FROM chunk_body"))]


def test_what_is_so_already_changes_nothing(store: Store) -> None:
    change(store, {b"a": b"1", b"b": b"2"})
    changed = change(store, {b"a": b"1", b"nobody": None})
    assert changed == Changed()
    assert change(store, {b"a": b"3"}).put == {b"a": b"3"}


def test_collections_are_apart(store: Store) -> None:
    change(store, {b"a": b"listing"}, "listing")
    change(store, {b"a": b"stock"}, "stock")
    assert store.read(lambda tables: tables.catalogue.get(STREAM, "listing", b"a")) == b"listing"
    assert store.read(lambda tables: tables.catalogue.get(STREAM, "stock", b"a")) == b"stock"
    both = {name: trie.summarise(trie.entries([(b"a", name.encode())])) for name in ("listing", "stock")}
    assert store.read(lambda tables: held_of(tables).root) == trie.state_root(both)
    change(store, {b"a": None}, "stock")
    assert store.read(lambda tables: held_of(tables).root) == trie.state_root({"listing": both["listing"]})


# ── caches ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rollback_leaves_nothing_behind(store: Store) -> None:
    model = {b"sku-%d" % number: b"v" for number in range(2_000)}
    change(store, model)
    assert_is(store, model, ["", "3"])

    def fail(tables: Tables) -> None:
        held = held_of(tables)
        held, _ = tables.catalogue.apply(held, {"listing": {b"sku-%d" % number: None for number in range(1_900)}})
        assert tables.catalogue.summary(held, "listing", "").count == 100
        raise RuntimeError("on purpose")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            store.write(fail)
        assert_is(store, model, ["", "3"])
    lay_on(model, {b"sku-7": b"new"})
    change(store, {b"sku-7": b"new"})
    assert_is(store, model, ["", "3"])


def test_a_reader_that_remembers_an_outline_sees_chunks_that_were_written_anew(store: Store) -> None:
    """The same root may come back with other chunks under it: a price that goes up and down again."""
    model = {b"sku-%d" % number: b"v" for number in range(3_000)}
    change(store, model)
    assert_is(store, model, ["", "3", "3b"])
    for edits in (
        {b"sku-%d" % number: b"w" for number in range(2_000)},
        {b"sku-%d" % number: b"v" for number in range(2_000)},
    ):
        change(store, edits)
    assert_is(store, model, ["", "3", "3b"])


def test_a_reader_that_remembers_single_changes_sees_the_body_that_took_them_in(store: Store) -> None:
    model = {b"sku-%d" % number: b"v" for number in range(900)}
    change(store, model)
    change(store, {b"sku-1": b"single"})
    model[b"sku-1"] = b"single"
    assert_is(store, model, ["", "3", key_hex(b"sku-1")[:2]])
    for value in (b"w", b"v"):
        change(store, {b"sku-%d" % number: value for number in range(500, 900)})
    assert_is(store, model, ["", "3", key_hex(b"sku-1")[:2]])


# ── staging ───────────────────────────────────────────────────────────────────────────────────────────


def replace(prefix: str, part: Model) -> Replace:
    """The subtree at *prefix* becomes *part*, as a walk hands it out."""
    if not part:
        return Replace("listing", prefix, EMPTY, None, b"")
    packed = chunks.write_chunk(sorted(part.items(), key=lambda row: key_hex(row[0])))
    chunk = chunks.read_chunk(packed, prefix)
    return Replace("listing", prefix, trie.summarise(chunk.entries, len(prefix)), chunk, packed)


def stage(store: Store, *changes: Replace) -> None:
    def put(tables: Tables) -> None:
        for one in changes:
            tables.catalogue.stage(tables.catalogue.open_stream(STREAM), one)

    store.write(put)


def commit(store: Store) -> Changed:
    def put(tables: Tables) -> Changed:
        held, changed = tables.catalogue.commit_staged(held_of(tables))
        tables.catalogue.set_head(held, b"head")
        return changed["listing"]

    return store.write(put)


def staged_or_held(store: Store, prefix: str) -> Summary:
    return store.read(lambda tables: tables.catalogue.staged_or_held(held_of(tables), "listing", prefix))


@pytest.mark.parametrize("seed", range(4))
def test_staged_subtrees_take_the_place_of_what_was_there(store: Store, seed: int) -> None:
    """Shorter and longer prefixes than those of the live chunks, empty ones, and new ones."""
    chance, model = random.Random(100 + seed), Model()
    for step in range(5):
        edits = {b"k%d" % chance.randrange(4_000): chance.randbytes(20) for _ in range(chance.choice([3, 60, 2_500]))}
        lay_on(model, edits)
        change(store, edits)
        prefixes: list[str] = []
        for _ in range(chance.choice([1, 4, 12])):
            prefix = key_hex(chance.randbytes(4))[: chance.choice([0, 1, 1, 2, 2, 3])]
            if not any(prefix.startswith(one) or one.startswith(prefix) for one in prefixes):
                prefixes.append(prefix)
        changes = []
        for prefix in prefixes:
            part = under(model, prefix)
            if len(part) > CHUNK_ENTRIES:
                continue
            after = {key: b"staged %d" % step for key in part if chance.random() < 0.5}
            if chance.random() < 0.3:
                after = {}
            changes.append(replace(prefix, after))
            for key in part:
                del model[key]
            model.update(after)
        stage(store, *changes)
        for one in changes:
            assert staged_or_held(store, one.prefix) == one.summary
        commit(store)
        assert_is(store, model, prefixes_of(model, chance))
    assert leftovers(store) == [0, 0, 0]


def test_a_follower_hears_what_a_commit_replaced(store: Store) -> None:
    first = {b"k%d" % number: b"v" for number in range(3_000)}
    change(store, first)
    part = under(first, "5")
    gone = sorted(part)[0]
    stage(store, replace("5", {key: b"w" for key in part if key != gone}))
    changed = commit(store)
    assert changed.removed == [gone]
    assert len(changed.replaced_chunks) == 1
    assert not changed.fresh_chunks
    stage(store, replace("5", {}))
    assert sorted(commit(store).removed) == sorted(key for key in part if key != gone)
    stage(store, replace("5", {gone: b"again"}))
    assert len(commit(store).fresh_chunks) == 1


def test_what_is_staged_is_not_served_until_it_is_committed(store: Store) -> None:
    change(store, {b"a": b"live"})
    stage(store, replace("", {b"b": b"staged"}))
    assert_is(store, {b"a": b"live"}, ["", "1"])
    store.close()
    again = open_store(store.path)  # and it survives a restart
    assert staged_or_held(again, "").count == 1
    assert_is(again, {b"a": b"live"}, [""])
    commit(again)
    assert_is(again, {b"b": b"staged"}, [""])
    again.close()


def test_what_is_unstaged_is_gone(store: Store) -> None:
    change(store, {b"a": b"live"})
    stage(store, replace("1", {}), replace("", {b"b": b"staged"}))
    store.write(lambda tables: tables.catalogue.unstage(held_of(tables)))
    commit(store)
    assert_is(store, {b"a": b"live"}, [""])
    assert leftovers(store) == [0, 0, 0]


def test_a_later_staged_subtree_covers_leftovers_of_a_broken_off_walk(store: Store) -> None:
    model = {b"k%d" % number: b"v" for number in range(40)}
    change(store, model)
    prefix = key_hex(b"k1")[:2]
    stage(store, replace(prefix, {b"k1": b"old walk"}))
    whole = dict.fromkeys(model, b"new walk")
    stage(store, replace("", whole))
    commit(store)
    assert_is(store, whole, ["", prefix])


# ── operations for followers ──────────────────────────────────────────────────────────────────────────


def keep(store: Store, since_rev: int, rev: int, bodies_: bytes = b"x", epoch: int = 0) -> None:
    store.write(
        lambda tables: tables.catalogue.keep_ops(tables.catalogue.open_stream(STREAM), epoch, since_rev, rev, bodies_)
    )


def kept(store: Store, from_rev: int, epoch: int = 0) -> list[int]:
    return [rev for rev, _ in store.read(lambda tables: tables.catalogue.ops_from(held_of(tables), epoch, from_rev))]


def test_operations_are_given_as_an_unbroken_chain_or_not_at_all(store: Store) -> None:
    for since_rev, rev in ((1, 2), (2, 5), (5, 6)):
        keep(store, since_rev, rev)
    keep(store, 1, 9, epoch=1)
    assert kept(store, 1) == [2, 5, 6]
    assert kept(store, 5) == [6]
    assert kept(store, 6) == []
    assert kept(store, 3) == []
    assert kept(store, 1, epoch=1) == [9]


def test_the_oldest_operations_go_when_they_are_too_large(store: Store) -> None:
    large = b"x" * (KEPT_OPS_BYTES // 4)
    for rev in range(2, 8):
        keep(store, rev - 1, rev, large)
    assert kept(store, 1) == []
    assert kept(store, 4) == [5, 6, 7]


def test_the_oldest_operations_go_when_they_are_too_many(store: Store) -> None:
    def many(tables: Tables) -> None:
        held = tables.catalogue.open_stream(STREAM)
        tables.connection.executemany(
            "INSERT INTO ops VALUES (?, 0, ?, ?, x'00')", [(held.stream_id, rev - 1, rev) for rev in range(2, 4_200)]
        )

    store.write(many)
    keep(store, 4_199, 4_200)
    assert kept(store, 1) == []
    assert kept(store, 4_100) == list(range(4_101, 4_201))
