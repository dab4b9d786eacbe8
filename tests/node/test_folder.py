"""The data folder: who may use it, what survives a crash, and the mark beside the database."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from coopnode import highwater
from coopnode.errors import NodeError
from coopnode.folder import Folder, default_folder, write_durably
from coopnode.highwater import HighWater
from protocol.head import Version
from tests.node.scenes import Clock, new_folder, open_shop


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder, _ = new_folder(tmp_path / "anna", "anna")
    first = open_shop(folder, Clock(), "first")
    with pytest.raises(NodeError, match="Another process is using the data folder"):
        open_shop(folder, Clock(), "second")
    first.close()
    first.lock.release()  # twice does no harm
    open_shop(folder, Clock(), "third").close()


def test_the_lock_is_given_back_when_opening_fails(tmp_path: Path) -> None:
    folder, _ = new_folder(tmp_path / "anna", "anna")
    folder.database.write_bytes(b"no database at all" * 100)
    for _ in range(2):
        with pytest.raises(Exception, match="is damaged"):
            open_shop(folder, Clock(), "anna")
    with folder.lock():
        pass


def test_a_folder_without_a_node_says_what_to_do(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "nobody")
    assert not folder.exists()
    with pytest.raises(NodeError, match="Set one up with: coopnode init"):
        open_shop(folder, Clock(), "nobody")
    with pytest.raises(NodeError, match="cannot be used: No such file"):
        folder.lock()
    (tmp_path / "file").write_text("")
    with pytest.raises(NodeError, match="cannot be made: Not a directory"):
        Folder(tmp_path / "file" / "below").create()
    folder.create()
    folder.create()
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_where_the_folder_is_when_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOPNODE_HOME", "/one")
    assert default_folder() == Path("/one")
    monkeypatch.delenv("COOPNODE_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/two")
    assert default_folder() == Path("/two/coopnode")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/three")
    assert default_folder() == Path("/three/.local/share/coopnode")


def test_a_path_that_is_too_long_for_a_socket_is_avoided(tmp_path: Path) -> None:
    assert Folder(Path("/short")).control_socket() == Path("/short/control.sock")
    assert len(str(Folder(tmp_path / ("x" * 120)).control_socket())) < 100


def test_a_small_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "small"
    write_durably(path, b"old")
    write_durably(path, b"new", mode=0o644)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o644)

    def die(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"half")
    assert path.read_bytes() == b"new"


def test_a_small_file_is_on_the_disk_before_it_takes_the_place_of_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "small", list[str]()
    write_durably(path, b"old")
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(path.read_text())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(path, b"new")
    assert seen == ["old", "new"], "the file first, then the folder that names it"


MARK = HighWater(b"nonce678", b"instance", Version(3, 2**53))


def test_the_mark_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "high-water.json"
    assert highwater.load(path) is None
    highwater.save(path, MARK)
    assert highwater.load(path) == MARK


@pytest.mark.parametrize("name", ["store_nonce", "instance", "epoch", "rev"])
@pytest.mark.parametrize("value", [None, "no number", [], {}])
def test_a_damaged_mark_is_a_missing_one(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "high-water.json"
    highwater.save(path, MARK)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, name: value}))
    assert highwater.load(path) is None
    del content[name]
    path.write_text(json.dumps(content))
    assert highwater.load(path) is None


def test_a_mark_that_was_cut_off_anywhere_is_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "high-water.json"
    highwater.save(path, MARK)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert highwater.load(path) is None
    path.write_bytes(b"[]")
    assert highwater.load(path) is None
    path.write_bytes(b"\xff\xfe")
    assert highwater.load(path) is None
