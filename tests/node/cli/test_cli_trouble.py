"""What goes wrong on real machines: one sentence that says what to do, exit code 1, nothing lost."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import signal
import socket
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from coopnode.cli import client
from tests.node.cli.typed import GOOD, HEADER, Member, ended


@pytest.fixture
def member(tmp_path: Path) -> Member:
    made = Member(tmp_path).sets_up()
    made.types("stock", "import", made.file(GOOD))
    return made


def test_the_folder_is_used_by_another_process(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.1)
    with (member.home / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "Another process is using" in member.fails("stock", "set", "A1", "1")
        assert "Another process is using" in member.fails("run")
    assert member.types("stock", "set", "A1", "1").exit_code == 0


def test_a_command_waits_for_another_that_is_quick(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.open(member.home / "lock", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    monkeypatch.setattr(time, "sleep", lambda _: os.close(other))
    assert member.skus() == ["A1", "B2"]


def test_the_database_is_of_a_newer_version(member: Member) -> None:
    with sqlite3.connect(member.home / "node.db") as database:
        database.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('coopnode', 'm999', '2099')"
        )
    database.close()
    before = (member.home / "node.db").read_bytes()
    assert "newer version of coopnode" in member.fails("stock", "list")
    assert "newer version of coopnode" in member.fails("run")
    assert (member.home / "node.db").read_bytes() == before


def test_the_database_is_damaged(member: Member) -> None:
    (member.home / "node.db").write_bytes(b"no database at all" * 1_000)
    for left in ("node.db-wal", "node.db-shm"):
        (member.home / left).unlink(missing_ok=True)
    assert "is damaged" in member.fails("stock", "list")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 1}', b"\xff\xfe", b'{"version":1,"sealed":false,"keys":"!"}']
)
def test_the_key_file_is_damaged(member: Member, content: bytes) -> None:
    (member.home / "keys.json").write_bytes(content)
    assert "keys.json is damaged" in member.fails("status").replace("\n", " ")


def test_the_key_file_is_of_a_newer_version(member: Member) -> None:
    (member.home / "keys.json").write_text('{"version": 2}')
    assert "newer version" in member.fails("status")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("nmae = 'x'\n", "'nmae'"),
        ("port = 'x'\n", "whole number"),
        ("port = 70000\n", "65535"),
        ("port =\n", "cannot be read"),
    ],
)
def test_the_settings_are_wrong(member: Member, content: str, cause: str) -> None:
    (member.home / "config.toml").write_text(content)
    assert cause in member.fails("status")
    assert cause in member.fails("run")


def test_the_environment_is_wrong(member: Member) -> None:
    assert "COOPNODE_PORT" in member.fails("status", COOPNODE_PORT="eighty")


def test_the_port_is_in_use(member: Member) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = ended(member.begins("run", "--port", str(port)))
    assert code == 1
    assert f"Port {port} on 127.0.0.1 is in use" in err
    assert "Traceback" not in err
    assert member.skus() == ["A1", "B2"]


def test_the_address_is_not_ours(member: Member) -> None:
    code, _, err = ended(member.begins("run", "--host", "192.0.2.1", "--port", "0"))
    assert code == 1
    assert "cannot listen on 192.0.2.1" in err
    assert "Traceback" not in err


def test_a_note_left_by_a_crash_means_that_no_node_runs(member: Member) -> None:
    path = member.home / "control.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    note = f'{{"socket": "{path}", "url": "http://127.0.0.1:1", "pid": 1}}'
    for content in (note, note.replace("control.sock", "none.sock"), "{", "[]", '{"socket": 3}'):
        (member.home / "control.json").write_text(content)
        assert member.gets("status")["runs"] is False
        assert "No node is running" in member.fails("stop")


def test_the_disk_is_full(member: Member) -> None:
    rows = "".join(f"S{number},{'Long title ' * 40},1.00,EUR,1\n" for number in range(8_000))
    path = member.file(HEADER + rows)

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails as it does on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))

    code, out, err = ended(member.begins("stock", "import", path, preexec_fn=small_files))
    assert code == 1, out
    assert "Traceback" not in err
    assert "disk" in err
    assert len(err.strip().splitlines()) == 1
    assert member.skus() == ["A1", "B2"]


def test_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = Member(tmp_path)
    made.home = tmp_path / "file" / "home"
    assert "cannot be made" in made.fails("init")
    if os.geteuid() == 0:
        return  # to root every folder can be written
    locked = Member(tmp_path / "locked")
    locked.folder.chmod(0o500)
    assert "cannot be made" in locked.fails("init")


def test_a_reader_that_goes_away_is_no_error(member: Member) -> None:
    process = member.begins("stock", "list", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)
    assert "Traceback" not in err


def test_a_terminal_without_the_letters_gets_question_marks(member: Member) -> None:
    member.types("stock", "add", "Z9", "Brot 面包")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONPATH": os.pathsep.join(sys.path)}
    code, out, err = ended(member.begins("stock", "list", env=environment))
    assert code == 0, err
    assert "Brot ??" in out


def test_a_passphrase_is_asked_for_on_a_terminal_and_not_shown(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.types("init", "--port", "0", "--passphrase", COOPNODE_PASSPHRASE="horse")
    for typed, code in ((b"horse\n", 0), (b"cow\n", 1)):
        ours, theirs = pty.openpty()
        process = member.begins("status", stdin=theirs, start_new_session=True)
        assert process.stderr is not None
        assert process.stderr.read(len("Passphrase: ")) == "Passphrase: "
        os.write(ours, typed)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code
        assert ("not running" in out) is (code == 0)
        assert ("The passphrase is wrong" in err) is (code == 1)
        shown = os.read(ours, 1_000) if select.select([ours], [], [], 0)[0] else b""
        assert typed.strip() not in shown
        os.close(theirs)
        os.close(ours)
