"""The tables, as migrations from the first version on.

Never edits a migration that has been released: the next version is a new one at the end.
"""

from __future__ import annotations

from typing import Any

from sqlite_utils import Migrations

migrations = Migrations("coopnode")

FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- Heads, statements and identity statements in order of arrival here. A later word about a slot
-- replaces the earlier one and takes a new seq: whoever asks "what is new since 17" misses nothing.
CREATE TABLE item (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    slot BLOB NOT NULL,
    item_id BLOB NOT NULL,
    member_id BLOB NOT NULL,
    topic BLOB,
    data BLOB NOT NULL,
    received_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX item_slot ON item (kind, slot);
CREATE UNIQUE INDEX item_id ON item (item_id);
CREATE INDEX item_member ON item (kind, member_id);
CREATE INDEX item_topic ON item (kind, topic);

-- Two signed things that contradict each other: proof against their author.
CREATE TABLE evidence (
    slot BLOB NOT NULL, first BLOB NOT NULL, second BLOB NOT NULL, received_ms INTEGER NOT NULL,
    PRIMARY KEY (slot, first, second)
) STRICT;

-- The state that we hold of a stream: the head it belongs to, and its collections.
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    member_id BLOB NOT NULL,
    number INTEGER NOT NULL,
    head BLOB,
    changed_seq INTEGER NOT NULL DEFAULT 0,
    desync TEXT,
    UNIQUE (member_id, number)
) STRICT;
CREATE TABLE collection (
    id INTEGER PRIMARY KEY,
    stream_id INTEGER NOT NULL REFERENCES stream (id),
    name TEXT NOT NULL,
    count INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    root BLOB NOT NULL,
    UNIQUE (stream_id, name)
) STRICT;

-- A collection's trie is cut into chunks of at most 1,024 records. The body is kept as it was
-- received. Entries are what the trie hashes, later changes lie in `recent` until a rewrite.
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER NOT NULL REFERENCES collection (id),
    staged INTEGER NOT NULL,
    prefix TEXT NOT NULL,
    count INTEGER NOT NULL,
    size INTEGER NOT NULL,
    hash BLOB NOT NULL,
    recent INTEGER NOT NULL DEFAULT 0,
    UNIQUE (collection_id, staged, prefix)
) STRICT;
CREATE TABLE chunk_entries (chunk_id INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
CREATE TABLE chunk_body (chunk_id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE recent (
    collection_id INTEGER NOT NULL,
    key_hash BLOB NOT NULL,
    key BLOB NOT NULL,
    value BLOB,
    PRIMARY KEY (collection_id, key_hash)
) STRICT, WITHOUT ROWID;

-- Operations that bridge from one rev to the next, for followers that are a little behind.
CREATE TABLE ops (
    stream_id INTEGER NOT NULL REFERENCES stream (id),
    epoch INTEGER NOT NULL,
    since_rev INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    bodies BLOB NOT NULL,
    PRIMARY KEY (stream_id, epoch, rev)
) STRICT;

-- The minute book: slot 0 is the genesis bundle, then official pages with their certificates.
CREATE TABLE page (slot INTEGER PRIMARY KEY, page_id BLOB NOT NULL, data BLOB NOT NULL) STRICT;

-- Where peers were found, and how far we have heard each of their stores out.
CREATE TABLE address (
    url TEXT PRIMARY KEY,
    member_id BLOB,
    source TEXT NOT NULL,
    heard_ms INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE cursor (
    member_id BLOB PRIMARY KEY, store_nonce BLOB NOT NULL, cursor INTEGER NOT NULL
) STRICT;

-- What was refused, by reason: counted, never kept.
CREATE TABLE refusal (
    reason TEXT PRIMARY KEY, count INTEGER NOT NULL, last_ms INTEGER NOT NULL, last_detail TEXT NOT NULL
) STRICT;

-- Own records that wait to be published: edits made while no node runs, or while publishing is held
-- back, and every import on its way. Laid on top of the own state, whatever that is by then.
CREATE TABLE pending (
    collection TEXT NOT NULL, key_hash BLOB NOT NULL, key BLOB NOT NULL, value BLOB,
    PRIMARY KEY (collection, key_hash)
) STRICT, WITHOUT ROWID;

-- An import that is still being read. It reaches `pending` whole or not at all.
CREATE TABLE draft (collection TEXT NOT NULL, key_hash BLOB NOT NULL, key BLOB NOT NULL, value BLOB) STRICT
"""


@migrations()
def m001_first_tables(db: Any) -> None:
    """Everything that the first release keeps."""
    _run(db, FIRST)


@migrations()
def m002_partial_states(db: Any) -> None:
    """A collection may be known by its signed summary alone: its records are not kept here."""
    _run(db, "ALTER TABLE collection ADD COLUMN here INTEGER NOT NULL DEFAULT 1")


@migrations()
def m003_age_of_cursors(db: Any) -> None:
    """How far this store went when a peer was heard out: what has come since tells how old the cursor is."""
    _run(db, "ALTER TABLE cursor ADD COLUMN own_seq INTEGER NOT NULL DEFAULT 0")


def _run(db: Any, statements: str) -> None:
    """Run statements one at a time: executescript would end the migration's transaction."""
    for statement in statements.split(";"):
        if statement.strip():
            db.execute(statement)
