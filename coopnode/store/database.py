"""Opening the database, its transactions, and who may use which connection.

Never waits for another process: the data folder is locked before (coopnode.folder).
The thing to understand: all writing goes through `Store.write`, which runs one function inside one
transaction on the one writer connection. Reading uses a connection of its own thread, sees the last
committed state, and never blocks the writer.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlite_utils

from coopnode.store.bodies import Bodies
from coopnode.store.book import Book
from coopnode.store.catalogue import Catalogue
from coopnode.store.items import Items
from coopnode.store.meta import Meta
from coopnode.store.peers import Peers
from coopnode.store.pending import Pending
from coopnode.store.schema import migrations

P = ParamSpec("P")
T = TypeVar("T")

WRITER_CACHE_KB = 16_000
READER_CACHE_KB = 4_000
"""Of each reading thread. What they read most are chunks, each once: those stay in the system's cache, not in ours."""


class StoreError(Exception):
    """The database cannot be used; the message tells a person what to do."""


@dataclass(frozen=True)
class Tables:
    """The rooms of the database, bound to one connection."""

    connection: sqlite3.Connection
    meta: Meta
    items: Items
    catalogue: Catalogue
    book: Book
    peers: Peers
    pending: Pending


class Store:
    """An open database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._write_lock = threading.Lock()
        self._local = threading.local()
        self._bodies = Bodies()
        self._readers: list[sqlite3.Connection] = []
        connection = _connect(path, WRITER_CACHE_KB)
        try:
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
        self._writer = _tables(connection, self._bodies)

    def write(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *function* in one transaction; when it returns, what it wrote is on the disk.

        An exception rolls everything back and goes on to the caller. Raises StoreError when the disk is
        full or broken.
        """
        with self._write_lock:
            connection = self._writer.connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = function(self._writer, *args, **kwargs)
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._writer.catalogue.forget_cached()
                self._writer.items.forget_cached()
                if isinstance(error, sqlite3.Error):
                    raise _explain(error, self.path) from error
                raise
            return result

    def read(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *function* on this thread's reader connection, in one consistent snapshot."""
        tables: Tables | None = getattr(self._local, "tables", None)
        if tables is None:
            connection = _connect(self.path, READER_CACHE_KB)
            connection.execute("PRAGMA query_only = ON")
            self._readers.append(connection)
            tables = self._local.tables = _tables(connection, self._bodies)
        tables.connection.execute("BEGIN")
        try:
            return function(tables, *args, **kwargs)
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error
        finally:
            tables.connection.execute("ROLLBACK")

    def shrink(self) -> None:
        """Give unused pages back to the machine, where they are a fair part of the file. Takes as long as a copy."""
        with self._write_lock:
            connection = self._writer.connection
            free, pages = (
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count")
            )
            if free * 4 < pages:
                return
            try:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise _explain(error, self.path) from error

    def close(self) -> None:
        """Close all connections; the write-ahead log is folded into the database."""
        with self._write_lock:
            for reader in self._readers:
                reader.close()
            self._writer.connection.close()


def open_store(path: Path) -> Store:
    """Open or create the database at *path*. Raises StoreError with a sentence for a person."""
    try:
        return Store(path)
    except sqlite3.Error as error:
        raise _explain(error, path) from error


def _connect(path: Path, cache_kb: int) -> sqlite3.Connection:
    # Connections are handed between threads of one pool; the locks above keep them to one at a time.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{cache_kb}")
    connection.execute("PRAGMA temp_store = FILE")  # a large import sorts on disk, not in memory
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def _tables(connection: sqlite3.Connection, bodies: Bodies) -> Tables:
    return Tables(
        connection,
        Meta(connection),
        Items(connection),
        Catalogue(connection, bodies),
        Book(connection),
        Peers(connection),
        Pending(connection),
    )


def _migrate(connection: sqlite3.Connection) -> None:
    database: Any = sqlite_utils.Database(connection)
    known = {migration.name for migration in migrations.pending(database)}
    known |= {migration.name for migration in migrations.pending(sqlite_utils.Database(memory=True))}
    if {migration.name for migration in migrations.applied(database)} - known:
        raise StoreError(
            "This data folder was written by a newer version of coopnode. "
            "Install that version (pip install --upgrade coopnode); nothing was changed."
        )
    migrations.apply(database)


def _explain(error: sqlite3.Error, path: Path) -> StoreError:
    text = str(error)
    if "disk is full" in text:
        return StoreError(f"The disk is full: free some space for {path.parent} and try again. Nothing was lost.")
    if "locked" in text:
        return StoreError(f"{path} is in use by another program. Stop it and try again.")
    if "malformed" in text or "not a database" in text:
        return StoreError(
            f"{path} is damaged. Move it away and start again: your records come back from the other members' nodes."
        )
    if "readonly" in text or "unable to open" in text:
        return StoreError(f"{path} cannot be written. Check the rights of the data folder.")
    return StoreError(f"The database {path} failed: {text}")
