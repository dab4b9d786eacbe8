"""The tables, as migrations from the first version on.

Never edits a migration that has been released: the next version is a new one at the end.
"""

from __future__ import annotations

from typing import Any

from sqlite_utils import Migrations

migrations = Migrations("coopnode")


@migrations()
def m001_first_tables(db: Any) -> None:
    """Everything that the first release keeps."""
    # One statement at a time: executescript would end the migration's transaction.
    for statement in [
        "\n        CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
        '\n\n        -- Heads, statements and identity statements in order of arrival here. A later word about a slot\n        -- replaces the earlier one and takes a new seq: whoever asks "what is new since 17" misses nothing.\n        CREATE TABLE item (\n            seq INTEGER PRIMARY KEY AUTOINCREMENT,\n            kind TEXT NOT NULL,\n            slot BLOB NOT NULL,\n            item_id BLOB NOT NULL,\n            member_id BLOB NOT NULL,\n            topic BLOB,\n            data BLOB NOT NULL,\n            received_ms INTEGER NOT NULL\n        ) STRICT',
        "\n        CREATE UNIQUE INDEX item_slot ON item (kind, slot)",
        "\n        CREATE UNIQUE INDEX item_id ON item (item_id)",
        "\n        CREATE INDEX item_member ON item (kind, member_id)",
        "\n        CREATE INDEX item_topic ON item (kind, topic)",
        "\n\n        -- Two signed things that contradict each other: proof against their author.\n        CREATE TABLE evidence (\n            slot BLOB NOT NULL, first BLOB NOT NULL, second BLOB NOT NULL, received_ms INTEGER NOT NULL,\n            PRIMARY KEY (slot, first, second)\n        ) STRICT",
        "\n\n        -- The state that we hold of a stream: the head it belongs to, and its collections.\n        CREATE TABLE stream (\n            id INTEGER PRIMARY KEY,\n            member_id BLOB NOT NULL,\n            number INTEGER NOT NULL,\n            head BLOB,\n            changed_seq INTEGER NOT NULL DEFAULT 0,\n            desync TEXT,\n            UNIQUE (member_id, number)\n        ) STRICT",
        "\n        CREATE TABLE collection (\n            id INTEGER PRIMARY KEY,\n            stream_id INTEGER NOT NULL REFERENCES stream (id),\n            name TEXT NOT NULL,\n            count INTEGER NOT NULL DEFAULT 0,\n            size INTEGER NOT NULL DEFAULT 0,\n            root BLOB NOT NULL,\n            UNIQUE (stream_id, name)\n        ) STRICT",
        "\n\n        -- A collection's trie is cut into chunks of at most 1,024 records. The body is kept as it was\n        -- received. Entries are what the trie hashes, later changes lie in `recent` until a rewrite.\n        CREATE TABLE chunk (\n            id INTEGER PRIMARY KEY AUTOINCREMENT,\n            collection_id INTEGER NOT NULL REFERENCES collection (id),\n            staged INTEGER NOT NULL,\n            prefix TEXT NOT NULL,\n            count INTEGER NOT NULL,\n            size INTEGER NOT NULL,\n            hash BLOB NOT NULL,\n            recent INTEGER NOT NULL DEFAULT 0,\n            UNIQUE (collection_id, staged, prefix)\n        ) STRICT",
        "\n        CREATE TABLE chunk_entries (chunk_id INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT",
        "\n        CREATE TABLE chunk_body (chunk_id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT",
        "\n        CREATE TABLE recent (\n            collection_id INTEGER NOT NULL,\n            key_hash BLOB NOT NULL,\n            key BLOB NOT NULL,\n            value BLOB,\n            PRIMARY KEY (collection_id, key_hash)\n        ) STRICT, WITHOUT ROWID",
        "\n\n        -- Operations that bridge from one rev to the next, for followers that are a little behind.\n        CREATE TABLE ops (\n            stream_id INTEGER NOT NULL REFERENCES stream (id),\n            epoch INTEGER NOT NULL,\n            since_rev INTEGER NOT NULL,\n            rev INTEGER NOT NULL,\n            bodies BLOB NOT NULL,\n            PRIMARY KEY (stream_id, epoch, rev)\n        ) STRICT",
        "\n\n        -- The minute book: slot 0 is the genesis bundle, then official pages with their certificates.\n        CREATE TABLE page (slot INTEGER PRIMARY KEY, page_id BLOB NOT NULL, data BLOB NOT NULL) STRICT",
        "\n\n        -- Where peers were found, and how far we have heard each of their stores out.\n        CREATE TABLE address (\n            url TEXT PRIMARY KEY,\n            member_id BLOB,\n            source TEXT NOT NULL,\n            heard_ms INTEGER NOT NULL DEFAULT 0,\n            failures INTEGER NOT NULL DEFAULT 0\n        ) STRICT",
        "\n        CREATE TABLE cursor (\n            member_id BLOB PRIMARY KEY, store_nonce BLOB NOT NULL, cursor INTEGER NOT NULL\n        ) STRICT",
        "\n\n        -- What was refused, by reason: counted, never kept.\n        CREATE TABLE refusal (\n            reason TEXT PRIMARY KEY, count INTEGER NOT NULL, last_ms INTEGER NOT NULL, last_detail TEXT NOT NULL\n        ) STRICT",
        "\n        ",
    ]:
        db.execute(statement)
