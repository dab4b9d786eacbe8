"""Single-process figures: trie, verification, single records, search; each with its floor."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tantivy
from aiohttp import ClientSession, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.listings import Generator
from benchmarks.table import Figure
from coopnode.catalog.index import SearchIndex
from coopnode.store import Tables, open_store
from protocol import head as heads
from protocol import identity, keys, proof, records, signing, trie
from protocol.head import Head, Stream, Version
from protocol.records import LISTING

SEED = bytes(range(32))
COOP = hashlib.sha256(b"benchmark").digest()


def rate(work: Callable[[], object], count: int, repeat: int = 3) -> float:
    """Return how many of *count* steps a second *work* does: the best of some runs."""
    best = 0.0
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        best = max(best, count / (time.perf_counter() - started))
    return best


def some_head(state_root: bytes = bytes(32)) -> tuple[Head, identity.Identity]:
    """Return a signed head and its author's identity."""
    body = identity.body(
        seq=0,
        prev=None,
        rotation=[keys.public_key(SEED)],
        key=keys.public_key(SEED),
        epoch=0,
        next_hash=None,
        by=keys.public_key(SEED),
    )
    author = identity.fold([identity.read(signing.sign("identity", signing.NO_COOP, body, SEED).to_bytes())])
    head_body = heads.body(
        stream=Stream(author.member_id, 0),
        version=Version(0, 1_700_000_000_000_000),
        instance=bytes(8),
        prev=bytes(32),
        state_root=state_root,
        record_count=1,
        record_bytes=1,
    )
    return heads.read(signing.sign(heads.WHAT, COOP, head_body, SEED).to_bytes()), author


def verification() -> Iterator[Figure]:
    """Heads a second, beside the bare signature check."""
    head, author = some_head()
    data = head.signed.to_bytes()
    number = 2_000

    def verify_heads() -> None:
        for _ in range(number):
            heads.verify(heads.read(data), COOP, author)

    private = Ed25519PrivateKey.from_private_bytes(SEED)
    public, message = private.public_key(), signing.message(heads.WHAT, COOP, head.signed.body)
    signature = private.sign(message)

    def verify_bare() -> None:
        for _ in range(number):
            public.verify(signature, message)

    floor = rate(verify_bare, number)
    yield Figure("head verification", rate(verify_heads, number), "heads/s", floor, "bare Ed25519 verify", {})


def reading(count: int = 20_000) -> Iterator[Figure]:
    """Records checked a second, beside bare MessagePack."""
    import msgpack

    rows = list(Generator(1).listings(count))

    def read_all() -> None:
        for key, value in rows:
            records.read(LISTING, key, value)

    def unpack_all() -> None:
        for _, value in rows:
            msgpack.unpackb(value)

    floor = rate(unpack_all, count)
    yield Figure("record verification", rate(read_all, count), "records/s", floor, "bare MessagePack unpack", {})


def tries(count: int, changes: int = 1_000) -> Iterator[Figure]:
    """Root of *count* records, and *changes* scattered changes in a stored trie of that size."""
    with tempfile.TemporaryDirectory(prefix="coopnode-bench-") as folder:
        store = open_store(Path(folder) / "node.db")
        stream = Stream(bytes(20), 0)
        value = bytes(300)
        chance = random.Random(3)

        def fill(tables: Tables, first: int, last: int) -> None:
            held = tables.catalogue.open_stream(stream)
            tables.catalogue.apply(held, {LISTING: {b"%d" % one: value for one in range(first, last)}})

        # In the order of key hashes, as an import does it: every chunk is written once.
        order = sorted(range(count), key=lambda one: hashlib.sha256(b"%d" % one).digest())
        for start in range(0, count, 16_384):
            part = order[start : start + 16_384]
            store.write(
                lambda tables, part=part: tables.catalogue.apply(  # type: ignore[misc]
                    tables.catalogue.open_stream(stream), {LISTING: {b"%d" % one: value for one in part}}
                )
            )

        best = float("inf")
        for turn in range(3):
            edits: dict[bytes, bytes | None] = {
                b"%d" % chance.randrange(count): chance.randbytes(300) for _ in range(changes)
            }
            started = time.perf_counter()
            store.write(
                lambda tables, edits=edits: tables.catalogue.apply(  # type: ignore[misc]
                    tables.catalogue.open_stream(stream), {LISTING: edits}
                )
            )
            if turn:  # the first run reads the outline from the disk
                best = min(best, time.perf_counter() - started)
        store.close()
        floor = bare_upsert(Path(folder) / "bare.db", count, changes)
        params = {"records": count, "changes": changes}
        yield Figure("trie update, durable", changes / best, "changes/s", floor, "bare SQLite upsert, durable", params)


def bare_upsert(path: Path, count: int, changes: int) -> float:
    """Upserts a second of the same rows into a plain table of the same size, one commit."""
    chance = random.Random(3)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE row (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO row VALUES (?, ?)", ((b"%d" % one, bytes(300)) for one in range(count)))
    connection.execute("COMMIT")
    best = float("inf")
    for turn in range(3):
        rows = [(b"%d" % chance.randrange(count), chance.randbytes(300)) for _ in range(changes)]
        started = time.perf_counter()
        connection.execute("BEGIN")
        connection.executemany("INSERT OR REPLACE INTO row VALUES (?, ?)", rows)
        connection.execute("COMMIT")
        if turn:
            best = min(best, time.perf_counter() - started)
    connection.close()
    return changes / best


def reads_and_searches(count: int) -> Iterator[Figure]:
    """Single records by key, text queries, and proofs, at *count* listings."""
    with tempfile.TemporaryDirectory(prefix="coopnode-bench-") as folder:
        store = open_store(Path(folder) / "node.db")
        head, _ = some_head()
        stream = head.stream
        generator = Generator(5)
        rows = dict(generator.listings(count))
        held = store.write(
            lambda tables: tables.catalogue.apply(tables.catalogue.open_stream(stream), {LISTING: rows})[0]
        )
        chance = random.Random(1)
        wanted = chance.choices(sorted(rows), k=2_000)

        def get_all() -> None:
            for key in wanted:
                store.read(lambda tables, key=key: tables.catalogue.get(stream, LISTING, key))  # type: ignore[misc]

        floor = bare_selects(Path(folder) / "bare.db", rows, wanted)
        params: dict[str, Any] = {"listings": count}
        yield Figure("single record by key", rate(get_all, len(wanted)), "reads/s", floor, "bare SQLite select", params)
        yield from proofs(store, held, head, wanted[:200], params)
        store.close()
        yield from searches(Path(folder) / "index", stream.member_id, rows, generator, params)


def proofs(store: Any, held: Any, head: Head, wanted: list[bytes], params: dict[str, Any]) -> Iterator[Figure]:
    """Proofs made and checked a second, and their size."""
    sizes: list[int] = []
    state = trie.state_root(held.summaries)
    signed, _ = some_head(state)

    def make(tables: Tables, key: bytes) -> bytes:
        return proof.build(
            held.summaries,
            LISTING,
            key,
            lambda prefix: tables.catalogue.entries(held, LISTING, prefix),
            lambda prefix: tables.catalogue.summary(held, LISTING, prefix),
        )

    def make_all() -> None:
        sizes.clear()
        sizes.extend(len(store.read(make, key)) for key in wanted)

    yield Figure("proofs made", rate(make_all, len(wanted)), "proofs/s", None, "", params)
    made = [(key, store.read(make, key)) for key in wanted]

    def check_all() -> None:
        for key, one in made:
            proof.check(one, signed, LISTING, key)

    yield Figure("proofs checked", rate(check_all, len(wanted)), "proofs/s", None, "", params)
    yield Figure("proof size, mean", sum(sizes) / len(sizes), "bytes", None, "", params)


def bare_selects(path: Path, rows: dict[bytes, bytes], wanted: list[bytes]) -> float:
    """Selects a second from a plain table of the same rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE row (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO row VALUES (?, ?)", rows.items())
    connection.execute("COMMIT")

    def select_all() -> None:
        for key in wanted:
            connection.execute("SELECT value FROM row WHERE key = ?", (key,)).fetchone()

    found = rate(select_all, len(wanted))
    connection.close()
    return found


def searches(
    path: Path, member_id: bytes, rows: dict[bytes, bytes], generator: Generator, params: dict[str, Any]
) -> Iterator[Figure]:
    """Indexing and one-word queries, beside the bare engine."""
    decoded = [(key, records.read(LISTING, key, value)) for key, value in rows.items()]
    index = SearchIndex(path)
    started = time.perf_counter()
    for first in range(0, len(decoded), 500):
        index.put(member_id, decoded[first : first + 500], fresh=True)
    index.commit(1)
    indexed = len(decoded) / (time.perf_counter() - started)
    questions = [generator.words(1) for _ in range(300)]

    def ask_all() -> None:
        for question in questions:
            index.search(question, 20, 0)

    asked = rate(ask_all, len(questions))
    index.close()
    bare_indexed, bare_asked = bare_engine(decoded, questions)
    yield Figure("indexing", indexed, "listings/s", bare_indexed, "bare tantivy, one text field", params)
    yield Figure("one-word query", asked, "queries/s", bare_asked, "bare tantivy query", params)


def bare_engine(decoded: list[tuple[bytes, dict[str, Any]]], questions: list[str]) -> tuple[float, float]:
    """Index titles and texts and query them with nothing around the engine."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", stored=False)
    with tempfile.TemporaryDirectory(prefix="coopnode-bench-") as folder:
        index = tantivy.Index(builder.build(), path=folder)
        writer = index.writer(30_000_000, 1)
        started = time.perf_counter()
        for _, listing in decoded:
            document = tantivy.Document()
            document.add_text("text", f"{listing['title']} {listing['text']}")
            writer.add_document(document)
        writer.commit()
        indexed = len(decoded) / (time.perf_counter() - started)
        index.reload()
        searcher = index.searcher()

        def ask_all() -> None:
            for question in questions:
                searcher.search(index.parse_query(question, ["text"]), 20)

        asked = rate(ask_all, len(questions))
        writer.wait_merging_threads()
        return indexed, asked


def bare_json(seconds: float = 1.0) -> float:
    """Requests a second of a bare aiohttp JSON answer, one client, one process."""

    async def measure() -> float:
        async def handle(request: web.Request) -> web.Response:
            return web.Response(text=json.dumps({"total": 0, "listings": []}), content_type="application/json")

        app = web.Application()
        app.router.add_get("/", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        done = 0
        async with ClientSession() as client:
            started = time.perf_counter()
            while time.perf_counter() - started < seconds:
                async with client.get(url) as answer:
                    await answer.read()
                done += 1
        await runner.cleanup()
        return done / seconds

    return asyncio.run(measure())


def bare_replica(count: int) -> float:
    """Listings a second of the least that a searchable copy needs: the same rows in SQLite, then in tantivy.

    One process, no network, no check of anything: one durable commit of plain rows, one bare index.
    """
    rows = list(Generator(7).listings(count))
    with tempfile.TemporaryDirectory(prefix="coopnode-bench-") as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE row (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        started = time.perf_counter()
        connection.execute("BEGIN")
        connection.executemany("INSERT OR REPLACE INTO row VALUES (?, ?)", rows)
        connection.execute("COMMIT")
        stored = time.perf_counter() - started
        connection.close()
    decoded = [(key, records.read(LISTING, key, value)) for key, value in rows]
    indexed, _ = bare_engine(decoded, ["a"])
    return 1 / (stored / count + 1 / indexed)
