"""How far fetching is, and getting in step: what a person is told while catalogues are on their way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from coopnode.gossip import progress
from coopnode.gossip.progress import WINDOW_MS, Fetching, Pace, remaining_s
from coopnode.gossip.walker import Walking
from coopnode.server.control import Control
from coopnode.world import World
from protocol.encoding import encode
from protocol.head import Stream
from protocol.pull import Walk
from protocol.records import LISTING, STOCK
from protocol.trie import EMPTY
from tests.node.wires import Live, town, until
from tests.protocol.builders import Catalogue, member

STREAM = Stream(bytes(20), 0)


def test_a_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    assert pace.rate(0) == 0
    pace.note(0, 0)
    assert pace.rate(0) == 0
    pace.note(500, 1_000)
    assert pace.rate(1_000) == 500
    for second in range(2, 60):
        pace.note(100, 1_000 * second)
    assert pace.rate(59_000) == pytest.approx(100, rel=0.2)
    assert pace.rate(59_000 + WINDOW_MS) == 0, "nothing has come for so long"


@pytest.mark.parametrize(("missing", "rate", "seconds"), [(0, 0.0, None), (0, 5.0, 0), (10, 5.0, 2), (11, 5.0, 3)])
def test_the_remaining_time(missing: int, rate: float, seconds: int | None) -> None:
    assert remaining_s(missing, rate) == seconds


def test_totals_add_up() -> None:
    walking = Fetching(STREAM, 100, 40, 60, 600, 2, 10.0, under_way=True)
    waiting = Fetching(STREAM, 50, 50, 0, 0, 0, 0.0, under_way=False)
    sums = progress.totals([walking, waiting])
    assert (walking.done, walking.remaining_s) == (60, 4)
    assert (sums.streams, sums.under_way, sums.records, sums.missing, sums.bytes_in) == (2, 1, 150, 90, 600)
    assert sums.remaining_s == 9


# ── over the control operations ───────────────────────────────────────────────────────────────────────


async def ask(live: Live, name: str) -> Any:
    control: Control = live.__dict__.setdefault("control", Control(live.node, lambda: None))
    return await control._run(name, {})


async def in_step(live: Live) -> Any:
    shown = await ask(live, "sync.show")
    while not shown["in_step"]:
        shown = await ask(live, "sync.show")
        await asyncio.sleep(0)
    return shown


async def test_a_node_that_has_missed_something_is_in_step_after_asking(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        anna, bert = await place.found("anna", "bert")
        await until(lambda: len(bert.roots()) == 2, "for profiles")
        bert.node.gossiper._on_message = _deaf(bert)  # type: ignore[method-assign]
        for number in range(3):
            await anna.add(f"sku {number}", "new")
        begun = await ask(bert, "sync.begin")
        assert begun == {"asked": 1, "others": 1}
        shown = await asyncio.wait_for(in_step(bert), 10)
        assert (shown["asked"], shown["answered"], shown["failed"], shown["lacking"]) == (1, 1, 0, [])
        assert bert.roots() == anna.roots()
        assert shown["records_in"] >= 3
        assert shown["bytes_in"] > 0


def _deaf(live: Live) -> Any:
    """Lose all news; answers still come."""
    hear = live.node.gossiper._on_message

    async def lose(link: Any, message: Any) -> None:
        if type(message).__name__ not in ("Put", "Have"):
            await hear(link, message)

    return lose


async def test_a_node_without_peers_is_told_so_and_one_with_silent_peers_is_not_in_step(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        anna, bert = await place.found("anna", "bert")
        await until(lambda: anna.frontier() == bert.frontier(), "for equal frontiers")
        begun = await ask(anna, "sync.begin")
        assert begun["asked"] == 1
        await place.stop("bert")
        await until(lambda: not anna.node.gossiper.linked(), "for the end of the link")
        shown = await ask(anna, "sync.show")
        assert shown["heard_out"]
        assert await ask(anna, "sync.begin") == {"asked": 0, "others": 1}
        shown = await ask(anna, "sync.show")
        assert not shown["in_step"]
        await place.stop("anna")
        alone = await place.start("anna")
        status = await ask(alone, "status")
        assert (status["fetching"], status["faults"]) == ([], [])
        assert status["totals"]["streams"] == 0


def test_a_walk_of_a_part_counts_what_is_kept() -> None:
    made = Catalogue({LISTING: {b"a": encode({"title": "x"})}, STOCK: {b"a\0": b"1", b"b\0": b"2"}})
    walk = Walk(made.head(member(1)), {}, lambda *_: EMPTY, lambda name, _: name == LISTING)
    walking = Walking(None, World(), walk, lambda: False)  # type: ignore[arg-type]  # nobody is asked here
    (question,) = walk.questions()
    walk.receive(question, made.serve(question))
    shown = walking.progress
    assert shown is not None, "the list of collections is here"
    assert (shown.records, shown.missing) == (1, 1)
