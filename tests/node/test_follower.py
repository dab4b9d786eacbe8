"""The search index follows the store: changes, replaced chunks, a crash in between, and what it never shows."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from coopnode import desk
from coopnode.catalog import follower as followers
from coopnode.catalog.follower import Follower
from coopnode.core import Core, News
from coopnode.store import Tables
from protocol.encoding import encode
from protocol.records import LISTING, STOCK
from tests.node.scenes import Net


@pytest.fixture
def anna(net: Net) -> Core:
    net.found("anna")
    return net["anna"].core


def write(core: Core, rows: dict[bytes, bytes | None], collection: str = LISTING) -> News:
    def put(tables: Tables) -> News:
        tables.pending.add([(collection, key, value) for key, value in rows.items()])
        news: News = core.publish(tables)
        return news

    return core.write(put)


def title(text: str) -> bytes:
    return encode({"title": text})


def found(follower: Follower, text: str) -> list[str]:
    return sorted(hit.sku for hit in follower.search(text, 50, 0).hits)


def follower_of(core: Core) -> Follower:
    """Catch up as at a node's start."""
    follower = Follower(core.folder.index, core.store)
    follower.catch_up_now()
    return follower


def test_what_changed_while_nobody_followed_is_found_at_the_next_start(anna: Core) -> None:
    write(anna, {b"a": title("wheat flour"), b"b": title("rye flour")})
    follower = follower_of(anna)
    assert found(follower, "flour") == ["a", "b"]
    mark = follower.done_seq
    follower.index.close()
    write(anna, {b"a": None, b"b": title("rye bread"), b"c": title("spelt flour")})
    again = follower_of(anna)
    assert found(again, "flour") == ["c"]
    assert found(again, "bread") == ["b"]
    assert again.done_seq > mark
    again.index.close()


def test_an_index_that_is_gone_is_built_anew(anna: Core, tmp_path: Path) -> None:
    write(anna, {b"sku-%d" % number: title(f"article {number}") for number in range(3_000)})
    follower_of(anna).index.close()
    elsewhere = Follower(tmp_path / "another index", anna.store)
    assert elsewhere.search("article", 1, 0).total == 0
    elsewhere.catch_up_now()
    assert elsewhere.search("article", 1, 0).total == 3_000
    elsewhere.index.close()


def test_listings_that_break_a_rule_are_not_shown(anna: Core) -> None:
    write(anna, {b"good": title("flour"), b"bad": encode({"text": "flour without a title"}), b"worse": b"\xc1"})
    follower = follower_of(anna)
    assert found(follower, "flour") == ["good"]
    follower.index.close()


async def test_changes_are_followed_as_they_come(anna: Core) -> None:
    follower = Follower(anna.folder.index, anna.store)

    writer = ThreadPoolExecutor(1)

    async def on_writer(function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(writer, lambda: function(*args))

    await follower.start(on_writer)
    steps: list[tuple[dict[bytes, bytes | None], int]] = [
        ({b"sku-%d" % number: title(f"article {number}") for number in range(500)}, 500),
        ({b"sku-%d" % number: title(f"thing {number}") for number in range(300)}, 200),
        ({b"sku-400": title("thing 400"), b"sku-401": None}, 198),
    ]
    for rows, want in steps:
        for published in write(anna, rows).published:
            follower.feed(published.head.stream, published.changed, published.change_seq)
            for _ in range(3_000):
                if follower.done_seq >= published.change_seq:
                    break
                await asyncio.sleep(0.01)
        assert follower.search("article", 1, 0).total == want
    assert follower.search("thing", 1, 0).total == 301
    await follower.stop()
    writer.shutdown()


@pytest.mark.parametrize("settles", [True, False])
async def test_a_quiet_index_lets_go_of_what_was_merged(
    anna: Core, monkeypatch: pytest.MonkeyPatch, settles: bool
) -> None:
    monkeypatch.setattr(followers, "SETTLE_SECONDS", (0.05,) if settles else (3_600.0,))
    writer = ThreadPoolExecutor(1)

    async def on_writer(function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(writer, lambda: function(*args))

    follower = Follower(anna.folder.index, anna.store)
    meta = anna.folder.index / "tantivy" / "meta.json"
    held = 0
    for number in itertools.count(1):  # the engine merges from eight files on, in threads of its own
        follower.index.put(anna.member_id, [(b"sku-%d" % number, {"title": "article"})], fresh=True)
        follower.index.commit(number)
        held = follower.index.segments
        await asyncio.sleep(0.05)
        if len(json.loads(meta.read_text())["segments"]) < held:
            break
    await follower.start(on_writer)
    for _ in range(3_000 if settles else 0):
        if follower.index.segments < held:
            break
        await asyncio.sleep(0.01)
    assert (follower.index.segments < held) is settles
    await follower.stop()
    writer.shutdown()


async def test_new_quantities_do_not_touch_the_index_until_it_is_quiet(
    anna: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ThreadPoolExecutor(1)

    async def on_writer(function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(writer, lambda: function(*args))

    async def done(condition: Callable[[], bool]) -> None:
        for _ in range(3_000):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("waited in vain")

    def feed(news: News) -> int:
        (published,) = news.published
        follower.feed(published.head.stream, published.changed, published.change_seq)
        return published.change_seq

    monkeypatch.setattr(followers, "SETTLE_SECONDS", (3_600.0,))
    follower = Follower(anna.folder.index, anna.store)
    await follower.start(on_writer)
    listed = feed(write(anna, {b"flour": title("wheat flour")}))
    await done(lambda: follower.index.mark == listed)
    said = feed(write(anna, {b"flour": encode({"said_ms": 1, "quantity_milli": 5})}, STOCK))
    await done(lambda: follower.done_seq == said)
    assert follower.index.mark == listed, "whoever asks sees it at once, and nothing was written"
    listed = feed(write(anna, {b"bread": title("rye bread")}))
    await done(lambda: follower.index.mark == listed)

    monkeypatch.setattr(followers, "SETTLE_SECONDS", (0.01,))
    listed = feed(write(anna, {b"cake": title("plum cake")}))
    await done(lambda: follower.index.mark == listed)
    said = feed(write(anna, {b"flour": encode({"said_ms": 2, "quantity_milli": 4})}, STOCK))
    await done(lambda: follower.index.mark == said)
    await follower.stop()
    writer.shutdown()


def test_an_article_that_was_removed_is_not_found(net: Net, anna: Core) -> None:
    write(anna, {b"a": title("flour"), b"b": title("flour")})
    net.do("anna", desk.stock_remove, sku="a")
    follower = follower_of(anna)
    assert found(follower, "flour") == ["b"]
    follower.index.close()
