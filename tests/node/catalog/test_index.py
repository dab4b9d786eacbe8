from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coopnode.catalog.index import MAX_WINDOW, DamagedIndexError, Hit, SearchIndex

ANNA, BERT = b"A" * 20, b"B" * 20
Records = list[tuple[bytes, dict[str, Any]]]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SearchIndex]:
    opened = SearchIndex(tmp_path / "search")
    yield opened
    opened.close()


def listing(title: str, **fields: Any) -> dict[str, Any]:
    return {"title": title, **fields}


def fill(index: SearchIndex, titles: dict[str, str], member: bytes = ANNA) -> None:
    index.put(member, [(sku.encode(), listing(title)) for sku, title in titles.items()], fresh=True)
    index.commit(index.mark + 1)


def skus(index: SearchIndex, text: str, limit: int = 20, offset: int = 0) -> list[str]:
    return [hit.sku for hit in index.search(text, limit, offset).hits]


# what is found


def test_finds_words_in_every_field_that_people_read(index: SearchIndex) -> None:
    whole = listing(
        "Hex bolt",
        brand="Wuerth",
        category=["Hardware", "Fasteners"],
        tags=["galvanised"],
        text="Sold by the hundred.",
        attributes={"thread": "metric"},
        url="https://example.org/unseen",
    )
    index.put(ANNA, [(b"b-1", whole), (b"b-2", listing("Nut"))], fresh=True)
    index.commit(1)
    for word in ("hex", "BOLT", "wuerth", "fasteners", "galvanised", "hundred", "thread", "metric"):
        found = index.search(word)
        assert (found.total, [(hit.member_id, hit.sku) for hit in found.hits]) == (1, [(ANNA, "b-1")]), word
        assert found.hits[0].score > 0
    assert skus(index, "unseen") == []


def test_the_title_weighs_more_than_the_text(index: SearchIndex) -> None:
    said = [(b"in-text", listing("Thing", text="lamp")), (b"in-title", listing("Lamp", text="thing"))]
    index.put(ANNA, said, fresh=True)
    index.commit(1)
    assert skus(index, "lamp") == ["in-title", "in-text"]


def test_case_and_marks_do_not_matter_on_either_side(index: SearchIndex) -> None:
    titles = {"1": "Müller Straße", "2": "MULLER strasse", "3": "Mu\u0308ller", "4": "Αθήνα", "5": "ёлка", "6": "Łódź"}
    titles |= {"7": "ıstanbul", "8": "SMØRGÅS"}
    fill(index, titles)
    for text in ("müller", "MULLER", "mu\u0308ller", "Ｍüller"):
        assert sorted(skus(index, text)) == ["1", "2", "3"], text
    assert sorted(skus(index, "STRASSE")) == sorted(skus(index, "straße")) == ["1", "2"]
    assert skus(index, "αθηνα") == ["4"]
    assert skus(index, "елка") == ["5"]
    assert skus(index, "lodz") == ["6"]
    assert skus(index, "ISTANBUL") == skus(index, "İstanbul") == ["7"]
    assert skus(index, "smorgas") == ["8"]


def test_signs_that_are_written_without_spaces_are_found_one_by_one(index: SearchIndex) -> None:
    fill(index, {"1": "高級腕時計", "2": "計算機"})
    assert skus(index, "時計") == ["1"]
    assert sorted(skus(index, "計")) == ["1", "2"]


def test_the_last_word_may_be_unfinished_but_no_other(index: SearchIndex) -> None:
    fill(index, {"1": "Cordless drill", "2": "Cord"})
    assert skus(index, "dri") == ["1"]
    assert skus(index, "cordless dr") == ["1"]
    assert index.search("dri cordless").total == 1  # nothing has both, so any will do
    assert skus(index, "dri") == ["1"]
    assert skus(index, "cord") == ["2", "1"]  # a whole word before a longer one


def test_all_words_must_occur_unless_nothing_has_them_all(index: SearchIndex) -> None:
    fill(index, {"1": "red bolt", "2": "red nut", "3": "blue bolt"})
    assert skus(index, "red bolt") == ["1"]
    assert sorted(skus(index, "red washer")) == ["1", "2"]
    assert skus(index, "washer") == []
    assert skus(index, "bolt -- red !") == ["1"]


def test_a_word_too_long_for_the_index_does_not_hide_the_others(index: SearchIndex) -> None:
    fill(index, {"1": "bolt " + "x" * 200})
    assert skus(index, "x" * 200) == []
    assert skus(index, "x" * 200 + " bolt") == skus(index, "bolt " + "x" * 200) == ["1"]


def test_words_may_stand_in_different_fields(index: SearchIndex) -> None:
    index.put(ANNA, [(b"1", listing("Drill", brand="Bosch")), (b"2", listing("Drill"))], fresh=True)
    index.commit(1)
    assert skus(index, "bosch drill") == ["1"]


def test_exact_codes_come_first(index: SearchIndex) -> None:
    loud = "A-100 " * 50
    records: Records = [
        (b"noise", listing(loud, text=loud)),
        (b"A-100", listing("Quiet thing", gtin="4006381333931", mpn="GSR 18V-60")),
        (b"A-1000", listing("Another")),
    ]
    index.put(ANNA, records, fresh=True)
    index.commit(1)
    for text in ("A-100", "a100", " a-100 ", "A 100"):
        assert skus(index, text)[0] == "A-100", text
    for text in ("4006381333931", "04006381333931", "400-6381-33393-1", "gsr18v60", "GSR 18V-60"):
        assert skus(index, text)[:1] == ["A-100"], text
    assert skus(index, "quiet 4006381333931") == ["A-100"]


# odd input


def test_nothing_that_is_typed_is_syntax(index: SearchIndex) -> None:
    fill(index, {"1": "title bolt", "2": "nut"})
    assert skus(index, 'title:"bolt"') == ["1"]
    assert skus(index, "bolt OR nut") == skus(index, "bolt zzz nut")
    assert skus(index, "bolt AND NOT title") == ["1"]  # "and" and "not" are words that nothing has
    assert skus(index, "*") == []
    assert skus(index, "b*") == ["1"]


@pytest.mark.parametrize(
    "text",
    [
        "bolt " * 20_000,
        "x" * 100_000,
        " " * 100_000 + "bolt",
        "(" * 100_000,
        ("a" * 63 + " ") * 2_000,
        "\ufdfa" * 50_000,
        "\u0301" * 100_000,
        "a\u0301" * 100_000,
        "時" * 100_000,
        " ".join("".join(pair) for pair in itertools.product("abcdefgh", repeat=2)),
    ],
    ids=lambda text: ascii(text[:4]),
)
@pytest.mark.timeout(20)
def test_very_long_text_is_cut(index: SearchIndex, text: str) -> None:
    fill(index, {"1": "bolt", "2": "時計"})
    assert index.search(text).total <= 2


@settings(max_examples=400, deadline=None)
@given(
    text=st.text(alphabet=st.characters(codec=None), max_size=60)
    | st.text(alphabet="ab -'\"()[]{}*?:^~\\/+!&|\0\n\u200f\u202e\ud800😀", max_size=30),
    limit=st.integers(-5, 30),
    offset=st.integers(-5, 30),
)
@example(text="\ud800", limit=1, offset=0)
@example(text="\0", limit=1, offset=0)
@example(text="a", limit=0, offset=10**9)
@example(text="a", limit=10**30, offset=0)
def test_any_text_gives_an_answer(odd: SearchIndex, text: str, limit: int, offset: int) -> None:
    found = odd.search(text, limit, offset)
    assert 0 <= len(found.hits) <= max(limit, 0)
    assert len(found.hits) <= found.total <= 40
    assert all(type(hit) is Hit for hit in found.hits)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchIndex]:
    opened = SearchIndex(tmp_path_factory.mktemp("odd"))
    fill(opened, {f"ab-{n}": f"a ab b{n} 😀 שלום" for n in range(40)})
    yield opened
    opened.close()


@settings(max_examples=200, deadline=None)
@given(
    key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=16),
    title=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
)
def test_any_listing_can_be_put_and_is_found_by_its_name(odd_put: SearchIndex, key: str, title: str) -> None:
    odd_put.remove_member(ANNA)
    odd_put.put(ANNA, [(key.encode(), listing(title))], fresh=True)
    odd_put.commit(1)
    assert [hit.sku for hit in odd_put.search("").hits] == [key]
    if any(char.isascii() and char.isalnum() for char in key):
        assert [hit.sku for hit in odd_put.search(key).hits] == [key]


@pytest.fixture(scope="module")
def odd_put(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchIndex]:
    opened = SearchIndex(tmp_path_factory.mktemp("odd-put"))
    yield opened
    opened.close()


# order and pages


def test_equal_scores_do_not_follow_insertion(tmp_path: Path) -> None:
    records: Records = [(f"sku-{n}".encode(), listing("equal words")) for n in range(700)]
    orders = []
    for number in range(3):
        shuffled = records[:]
        random.Random(number).shuffle(shuffled)
        index = SearchIndex(tmp_path / str(number))
        for start in range(0, 700, 250):
            index.put(ANNA, shuffled[start : start + 250], fresh=True)
            index.commit(start)
        pages = [skus(index, "equal", 50, offset) for offset in range(0, 700, 50)]
        everything = [skus(index, "", 50, offset) for offset in range(0, 700, 50)]
        orders.append((pages, everything))
        assert sorted(itertools.chain(*pages)) == sorted(key.decode() for key, _ in records)
        assert sorted(itertools.chain(*everything)) == sorted(key.decode() for key, _ in records)
        index.close()
    assert orders[0] == orders[1] == orders[2]


def test_pages_end(index: SearchIndex) -> None:
    fill(index, {f"{n}": "bolt" for n in range(5)})
    assert len(skus(index, "bolt", 2)) == 2
    assert skus(index, "bolt", 2, 4) == skus(index, "bolt", 5)[4:]
    assert index.search("bolt", 0).total == 5
    assert index.search("bolt", 5, MAX_WINDOW) == index.search("bolt", 5, 10**12)
    assert index.search("bolt", 5, MAX_WINDOW).total == 5


def test_an_empty_text_finds_everything_and_an_empty_index_nothing(index: SearchIndex) -> None:
    index.commit(3)
    assert index.search("") == index.search("bolt")
    assert index.search("").total == 0  # the mark is no listing
    fill(index, {"1": "bolt", "2": "nut"})
    assert index.search(" \n").total == 2


# changes


def test_put_replaces_remove_removes(index: SearchIndex) -> None:
    fill(index, {"1": "old bolt", "2": "old nut"})
    fill(index, {"1": "old bolt"}, BERT)
    index.put(ANNA, [(b"1", listing("new bolt")), (b"1", listing("newer bolt"))], fresh=False)
    index.commit(5)
    assert [(hit.member_id, hit.sku) for hit in index.search("old bolt").hits] == [(BERT, "1")]
    assert (skus(index, "newer"), index.search("").total) == (["1"], 3)
    index.remove(ANNA, [b"1", b"never there"])
    index.commit(6)
    assert (skus(index, "newer"), index.search("").total) == ([], 2)
    index.remove_member(BERT)
    index.commit(7)
    assert [(hit.member_id, hit.sku) for hit in index.search("").hits] == [(ANNA, "2")]


def test_a_search_sees_the_last_commit_only(index: SearchIndex) -> None:
    index.put(ANNA, [(b"1", listing("bolt"))], fresh=True)
    assert index.search("bolt").total == 0
    index.commit(1)
    assert index.search("bolt").total == 1


def test_many_may_search_while_one_writes(index: SearchIndex) -> None:
    fill(index, {"0": "bolt"})
    done = threading.Event()

    def search() -> set[int]:
        totals = set()
        while not done.is_set():
            totals.add(index.search("bolt").total)
        return totals

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search) for _ in range(3)]
        for number in range(1, 11):
            fill(index, {f"{number}-{n}": "bolt" for n in range(10)})
        done.set()
        seen = set().union(*(one.result() for one in searches))
    assert seen <= set(range(1, 102, 10))  # whole commits only
    assert index.search("bolt").total == 101


def test_a_member_id_has_twenty_bytes(index: SearchIndex) -> None:
    with pytest.raises(ValueError, match="20 bytes"):
        index.put(b"short", [], fresh=True)


# the mark, crashes and damage


def test_the_mark_and_the_listings_survive_reopening(tmp_path: Path) -> None:
    index = SearchIndex(tmp_path)
    assert index.mark == 0
    fill(index, {"1": "bolt"})
    index.commit(2**40)
    assert index.mark == 2**40
    index.close()
    again = SearchIndex(tmp_path)
    assert (again.mark, skus(again, "bolt")) == (2**40, ["1"])
    again.commit(2**40 - 1)  # whatever is given: the caller knows what it counts
    again.close()
    assert SearchIndex(tmp_path).mark == 2**40 - 1


CRASH = """
import os, sys
from pathlib import Path
from coopnode.catalog.index import SearchIndex
index = SearchIndex(Path(sys.argv[1]))
index.put(b"A" * 20, [(b"1", {"title": "bolt"})], fresh=True)
index.commit(1)
index.put(b"A" * 20, [(b"2", {"title": "bolt"})], fresh=True)
index.remove(b"A" * 20, [b"1"])
STEP
os._exit(9)
"""


@pytest.mark.parametrize(
    ("step", "mark", "expected"),
    [
        ("", 1, ["1"]),
        # Everything but the commit itself is done: the mark's document is added and lost with the rest.
        ("index._writer = Dying(index._writer); index.commit(2)", 1, ["1"]),
        # The commit is done, and the process dies before commit() returns.
        ("index._index = Dying(index._index); index.commit(2)", 2, ["2"]),
        ("index.commit(2)", 2, ["2"]),
    ],
    ids=["before", "at commit", "after commit", "later"],
)
def test_a_crash_never_parts_the_mark_from_the_listings(
    tmp_path: Path, step: str, mark: int, expected: list[str]
) -> None:
    dying = """
class Dying:
    def __init__(self, inner): self.inner = inner
    def __getattr__(self, name): return getattr(self.inner, name)
    def commit(self): os._exit(9)
    def reload(self): os._exit(9)
"""
    script = CRASH.replace("STEP", dying + step)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == 9
    index = SearchIndex(tmp_path)
    assert (index.mark, skus(index, "bolt"), index.search("").total) == (mark, expected, 1)
    index.close()


def closed_index(path: Path) -> list[Path]:
    index = SearchIndex(path)
    fill(index, {f"{n}": f"bolt number{n}" for n in range(50)})
    index.close()
    return sorted(file for file in (path / "tantivy").iterdir() if not file.name.startswith("."))


@pytest.mark.parametrize("damage", ["empty", "half", "noise", "gone"])
def test_a_damaged_index_starts_again_empty(tmp_path: Path, damage: str) -> None:
    for number, name in enumerate(file.suffix for file in closed_index(tmp_path / "model")):
        file = next(file for file in closed_index(tmp_path / str(number)) if file.suffix == name)
        whole = file.read_bytes()
        if damage == "gone":
            file.unlink()
        else:
            wrong = {"empty": b"", "half": whole[: len(whole) // 2], "noise": random.Random(1).randbytes(len(whole))}
            file.write_bytes(wrong[damage])
        index = SearchIndex(tmp_path / str(number))
        assert (index.mark, index.search("").total) == (0, 0), name
        fill(index, {"1": "bolt"})
        assert skus(index, "bolt") == ["1"]
        index.close()


@pytest.mark.parametrize("version", ["0", "", "\xff"])
def test_an_index_of_another_format_starts_again_empty(tmp_path: Path, version: str) -> None:
    closed_index(tmp_path)
    (tmp_path / "format").write_bytes(version.encode("latin-1"))
    index = SearchIndex(tmp_path)
    assert (index.mark, index.search("").total) == (0, 0)
    index.close()


def test_an_index_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    index = SearchIndex(tmp_path)
    fill(index, {"1": "bolt"})
    with pytest.raises(ValueError, match="LockBusy"):
        SearchIndex(tmp_path)
    fill(index, {"2": "bolt"})
    assert index.search("bolt").total == 2
    index.close()


def test_damage_found_by_a_search_is_mended_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = SearchIndex(tmp_path)
    fill(index, {"1": "bolt"})

    def fail(*_: object) -> None:
        raise ValueError("Data corrupted")

    with monkeypatch.context() as patch:
        patch.setattr("coopnode.catalog.index._page", fail)
        with pytest.raises(DamagedIndexError, match="Restart"):
            index.search("bolt")
    index.close()
    again = SearchIndex(tmp_path)
    assert again.mark == 0
    again.close()
