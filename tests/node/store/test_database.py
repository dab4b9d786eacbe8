"""Opening a database: fresh, again, newer than we are, damaged, read only; and its transactions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from coopnode.store import Store, StoreError, Tables, open_store
from coopnode.store.schema import migrations


def path_of(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


def test_a_fresh_database_keeps_what_is_written_when_it_is_opened_again(tmp_path: Path) -> None:
    for number in range(3):
        store = open_store(path_of(tmp_path))
        assert store.read(lambda tables: tables.meta.get_int("opened")) == number
        store.write(_set, "opened", number + 1)
        store.close()


def _set(tables: Tables, name: str, value: int) -> None:
    tables.meta.set_int(name, value)


def test_all_migrations_are_noted(tmp_path: Path) -> None:
    open_store(path_of(tmp_path)).close()
    with sqlite3.connect(path_of(tmp_path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"item", "stream", "chunk", "page", "pending", "draft", "refusal"} <= tables
        applied = [row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations")]
    connection.close()
    assert applied == ["m001_first_tables", "m002_partial_states", "m003_age_of_cursors"]
    assert migrations.name == "coopnode"


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = open_store(path_of(tmp_path))
    store.write(lambda tables: tables.meta.set("kept", b"yes"))
    store.close()
    connection = sqlite3.connect(path_of(tmp_path))
    row = connection.execute("SELECT * FROM _sqlite_migrations").fetchone()
    names = [one[1] for one in connection.execute("PRAGMA table_info(_sqlite_migrations)")]
    changed = [value if name != "name" else "m999_from_the_future" for name, value in zip(names, row, strict=True)]
    changed = [None if name == "id" else value for name, value in zip(names, changed, strict=True)]
    connection.execute(f"INSERT INTO _sqlite_migrations VALUES ({','.join('?' * len(changed))})", changed)
    connection.commit()
    connection.close()
    with pytest.raises(StoreError) as caught:
        open_store(path_of(tmp_path))
    assert str(caught.value) == (
        "This data folder was written by a newer version of coopnode. "
        "Install that version (pip install --upgrade coopnode); nothing was changed."
    )
    connection = sqlite3.connect(path_of(tmp_path))
    assert connection.execute("SELECT value FROM meta WHERE name = 'kept'").fetchone() == (b"yes",)
    connection.close()


def test_a_file_that_is_no_database_is_called_damaged(tmp_path: Path) -> None:
    path_of(tmp_path).write_bytes(b"this was never a database, but it is long enough to be read as one" * 100)
    with pytest.raises(StoreError, match=r"is damaged\. Move it away and start again"):
        open_store(path_of(tmp_path))


def test_damage_that_shows_later_is_told_in_words_too(tmp_path: Path) -> None:
    store = open_store(path_of(tmp_path))
    for number in range(200):
        store.write(_set, f"name {number}", 10**1_000)
    store.close()
    data = bytearray(path_of(tmp_path).read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path_of(tmp_path).write_bytes(bytes(data))
    with pytest.raises(StoreError, match="is damaged"):
        _read_all(open_store(path_of(tmp_path)))


def _read_all(store: Store) -> None:
    try:
        store.read(lambda tables: tables.connection.execute("SELECT * FROM meta").fetchall())
    finally:
        store.close()


def test_a_folder_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be written\. Check the rights"):
        open_store(tmp_path / "nobody" / "node.db")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("database or disk is full", "The disk is full: free some space"),
        ("database is locked", "is in use by another program"),
        ("attempt to write a readonly database", "cannot be written"),
        ("database disk image is malformed", "is damaged"),
        ("something else", "failed: something else"),
    ],
)
def test_what_sqlite_says_becomes_a_sentence(tmp_path: Path, message: str, sentence: str) -> None:
    store = open_store(path_of(tmp_path))

    def fail(tables: Tables) -> None:
        tables.meta.set("lost", b"1")
        raise sqlite3.OperationalError(message)

    with pytest.raises(StoreError, match=sentence):
        store.write(fail)
    assert store.read(lambda tables: tables.meta.get("lost")) is None
    with pytest.raises(StoreError, match=sentence):
        store.read(lambda _: fail(_nothing()))
    store.close()


def _nothing() -> Tables:
    class Nothing:
        meta = type("Meta", (), {"set": lambda *_: None})()

    return Nothing()  # type: ignore[return-value]  # only what `fail` touches


def test_a_transaction_is_whole_or_nothing(tmp_path: Path) -> None:
    store = open_store(path_of(tmp_path))

    def half(tables: Tables) -> None:
        tables.meta.set("half", b"1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(half)
    assert store.read(lambda tables: tables.meta.get("half")) is None
    assert store.write(lambda tables: tables.meta.get("half")) is None
    store.close()


def test_a_reader_can_change_nothing_and_sees_one_state(tmp_path: Path) -> None:
    store = open_store(path_of(tmp_path))
    with pytest.raises(StoreError):
        store.read(lambda tables: tables.meta.set("a", b"1"))

    def look_twice(tables: Tables) -> tuple[bytes | None, bytes | None]:
        before = tables.meta.get("a")
        store.write(lambda written: written.meta.set("a", b"1"))
        return before, tables.meta.get("a")

    assert store.read(look_twice) == (None, None)
    assert store.read(lambda tables: tables.meta.get("a")) == b"1"
    store.close()


def test_writes_are_durable_before_they_return(tmp_path: Path) -> None:
    store = open_store(path_of(tmp_path))
    pragmas = store.write(
        lambda tables: [
            tables.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
    )
    assert pragmas == ["wal", 2]
    store.close()
