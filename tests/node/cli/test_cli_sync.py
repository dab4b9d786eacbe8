"""`coopnode sync` and what status shows of fetching."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from coopnode.cli import show, sync
from tests.node.cli.typed import GOOD, Member, wait_until


def row(**changes: Any) -> dict[str, Any]:
    own = {"member": "ab" * 20, "name": "Mill", "stream": 0, "records": 40_000, "done": 12_000, "missing": 28_000}
    pace = {"bytes_in": 1_234_567, "peers": 2, "rate": 7_000, "remaining_s": 4, "under_way": True}
    return {**own, **pace, **changes}


SUMS = {"streams": 2, "under_way": 1, "records": 40_400, "missing": 28_400, "bytes_in": 1_234_567, "rate": 7_000}


def test_status_says_how_far_each_catalogue_is_and_all_together(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = row(name="Dairy", records=400, done=0, missing=400, under_way=False, rate=0, remaining_s=None)
    show.fetching({"fetching": [row(), waiting], "totals": {**SUMS, "remaining_s": 5}})
    assert capsys.readouterr().out.splitlines() == [
        "Fetching Mill (abababababab): 12,000 of 40,000 records, 1.2 MB from 2 peers, 7,000 records/s, 4 s left.",
        "Waiting to fetch Dairy (abababababab): 400 records missing.",
        "All 2 catalogues: 12,000 of 40,400 records, 1.2 MB, 7,000 records/s, 5 s left.",
    ]


def test_many_catalogues_are_counted_instead_of_listed(capsys: pytest.CaptureFixture[str]) -> None:
    show.fetching({"fetching": [row()] * 25, "totals": {**SUMS, "remaining_s": None}})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == show.MOST_LINES + 2
    assert lines[-2] == "And 15 more catalogues."


def test_an_authors_fault_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    show.faults({"faults": [{"member": "ab" * 20, "name": "Mill\x1b", "why": "the head says 3, the state has 2"}]})
    assert capsys.readouterr().out == (
        "Mill\ufffd (abababababab) has signed what contradicts itself: the head says 3, the state has 2. "
        "Its records are shown all the same; only that member can mend it, by publishing again.\n"
    )


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (2_500_000, "2.5 MB"), (7 * 10**9, "7.0 GB")]
)
def test_sizes(count: int, text: str) -> None:
    assert show.size(count) == text


def test_a_watched_work_writes_a_line_now_and_then_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with show.watch("Fetching") as watched:
        for done in range(100):
            watched.show(done, 100, f"{done} of 100")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "0 of 100\n"


def test_a_watched_work_draws_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show.watch("Fetching") as watched:
        watched.show(0, 0, "1 of 2 nodes [have] told")
        watched.show(30, 100, "30 of 100 records")
    assert capsys.readouterr().out == ""


def shown(**changes: Any) -> dict[str, Any]:
    counts = {"asked": 2, "answered": 2, "failed": 0, "records_in": 0, "bytes_in": 0, "lacking": []}
    return {**counts, "fetching": [], "totals": {"missing": 0}, "heard_out": True, "in_step": False, **changes}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"asked": 0}, "No other member's node is linked"),
        ({"answered": 0, "failed": 2}, "No linked node has told what it knows"),
        ({"lacking": ["Mill", "Dairy"]}, "these members' catalogues: Mill, Dairy. Try"),
        ({"lacking": [f"m{one}" for one in range(9)]}, "m4, ...."),
        ({"fetching": [row()], "totals": {"missing": 28_000}}, "28,000 records of 1 catalogue are missing"),
        ({"heard_out": False, "answered": 1}, "1 of 2 nodes have not answered"),
    ],
)
def test_who_is_not_in_step_is_told_why(changes: dict[str, Any], part: str) -> None:
    assert part in sync._why(shown(**changes), 30)


def test_without_a_running_node_there_is_the_usual_sentence(tmp_path: Path) -> None:
    assert "No node is running" in Member(tmp_path).sets_up().fails("sync")


@pytest.mark.e2e
def test_sync_brings_a_node_in_step_and_says_so(tmp_path: Path) -> None:
    mill, dairy = Member(tmp_path / "mill").sets_up(), Member(tmp_path / "dairy").sets_up(coop=False)
    with mill.runs():
        assert "alone in its co-op" in mill.types("sync").stdout
        assert mill.gets("sync")["in_step"] is True
        invitation = mill.gets("coop", "invite")["invitation"]
        assert dairy.types("coop", "join", invitation).exit_code == 0
        with dairy.runs():
            wait_until(lambda: dairy.gets("status")["is_member"] and dairy.gets("status")["peers"] == 1)
            assert mill.types("stock", "import", mill.file(GOOD)).exit_code == 0
            answer = dairy.gets("sync", "--wait", "30")
            assert (answer["in_step"], answer["answered"], answer["why"]) == (True, 1, None)
            assert "In step with 1 node" in dairy.types("sync").stdout
            assert mill.gets("stop") == {"stopped": True}
            wait_until(lambda: dairy.gets("status")["peers"] == 0)
            result = dairy.types("sync", "--wait", "0.1", "--json")
            assert result.exit_code == 1
            assert "No other member's node is linked" in json.loads(result.stdout)["why"]
            assert "No other member's node is linked" in dairy.fails("sync", "--wait", "0.1")
