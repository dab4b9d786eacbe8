"""`coopnode demo`: five real nodes, and none of them stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from coopnode.cli import main
from coopnode.cli.client import read_note
from coopnode.demo import place
from coopnode.demo.shops import SHOPS, stock_files
from coopnode.errors import NodeError
from coopnode.folder import Folder
from tests.node.cli.typed import ended, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def begin_demo(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "coopnode", "demo", "--folder", str(folder), *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def node_pids(folder: Path) -> list[int]:
    notes = [read_note(Folder(folder / shop.folder)) for shop in SHOPS]
    return [note.pid for note in notes if note is not None]


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # Whoever adopts orphans may not have collected it yet.
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Processes that must have ended when the test ends."""
    started: list[int] = []
    yield started
    try:
        wait_until(lambda: all(map(has_ended, started)))
    finally:
        for pid in started:
            if not has_ended(pid):
                os.kill(pid, signal.SIGKILL)


def test_once_shows_and_checks_everything(tmp_path: Path) -> None:
    code, out, err = ended(begin_demo(tmp_path / "demo", "--once"))
    assert code == 0, err
    assert "All of it held." in out
    for shop in SHOPS:
        assert out.count(shop.name) >= 3
    assert out.count("http://127.0.0.1:") >= 5
    assert node_pids(tmp_path / "demo") == []


def test_a_second_demo_replaces_the_first_and_ctrl_c_stops_all(tmp_path: Path, pids: list[int]) -> None:
    folder = tmp_path / "demo"
    first = begin_demo(folder)
    wait_until(lambda: len(node_pids(folder)) == 5)
    pids.extend(node_pids(folder))
    second = begin_demo(folder)
    assert second.stdout is not None
    assert any("Ctrl-C stops all" in line for line in second.stdout)
    assert ended(first)[0] == 1
    assert all(map(has_ended, pids))
    pids.extend(node_pids(folder))
    assert len(pids) == 10
    second.send_signal(signal.SIGINT)
    assert ended(second)[0] == 0
    assert all(map(has_ended, pids))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_nodes_end_with_the_demo(tmp_path: Path, pids: list[int], number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    process = begin_demo(folder)
    wait_until(lambda: len(node_pids(folder)) == 5)
    pids.extend(node_pids(folder))
    process.send_signal(number)
    assert ended(process)[0] != 0


def test_a_node_that_ends_is_the_reason_given(tmp_path: Path, pids: list[int]) -> None:
    folder = tmp_path / "demo"
    process = begin_demo(folder, "--once")
    wait_until(lambda: len(node_pids(folder)) == 5)
    pids.extend(node_pids(folder))
    os.kill(pids[2], signal.SIGKILL)
    code, _, err = ended(process)
    assert code == 1
    assert err.startswith("Error: ")
    assert "Garden and Seeds" in err
    assert "Traceback" not in err


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years")
    result = CliRunner().invoke(main, ["demo", "--once", "--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert "not a folder of the demo" in result.stderr
    assert (tmp_path / "thesis.txt").read_text() == "ten years"


def test_an_earlier_demo_is_emptied_out(tmp_path: Path) -> None:
    place.take(tmp_path / "demo").release()
    (tmp_path / "demo" / "mill").mkdir()
    (tmp_path / "demo" / "mill" / "old.db").write_text("old")
    with place.take(tmp_path / "demo"):
        assert [one.name for one in (tmp_path / "demo").iterdir()] == [place.MARK]


def test_whoever_waits_for_the_folder_leaves_its_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "TAKE_OVER_SECONDS", 0.2)
    with place.take(tmp_path / "demo"):
        (tmp_path / "demo" / "mill").mkdir()
        with pytest.raises(NodeError, match="does not stop"):
            place.take(tmp_path / "demo")
        assert list((tmp_path / "demo" / "mill").iterdir()) == []


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert place.default_folder() == tmp_path / "cache" / "coopnode-demo"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    assert "coopnode-demo" in place.default_folder().name
    assert tmp_path not in place.default_folder().parents


def test_every_shop_has_a_stock_of_its_own() -> None:
    own = [stock_files(shop)[0] for shop in SHOPS]
    assert len(set(own)) == 5
    assert all(path.is_file() for path in own)
