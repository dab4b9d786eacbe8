"""Full-text search over all listings: which listings speak of these words, best first.

Never holds anything that cannot be rebuilt from the store, and never shows its query language to anybody.
The thing to understand: the index says itself how far it has followed the store. Its *mark* is a document
that is replaced in the very commit it describes, so a crash leaves either the old mark with the old
listings or the new mark with the new ones, and whoever feeds the index goes on from there.

One thread writes; any number search. A search sees the last commit, whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import tantivy
from tantivy import Document, Occur, Order, Query

from coopnode.catalog import words
from protocol.identity import MEMBER_ID_BYTES

FORMAT = "1"
"""Goes up whenever an older index would answer wrongly: another schema, another way to fold words."""

WRITER_BYTES = 30_000_000
WRITER_THREADS = 1
MAX_WINDOW = 10_000
"""Hits that can be paged through; somebody who wants more wants a narrower question or an export."""

_SPARE_HITS = 256  # enough to see a whole group of equal scores across the end of a page
_PREFIX_TERMS = 24  # words that an unfinished word may stand for, the most frequent first
_WORD_BYTES = 40  # longer ones are not indexed; the number is the library's
_TITLE, _BODY, _CODE, _KEY, _MEMBER, _TIE, _MARK = "title", "body", "code", "key", "member", "tie", "mark"
_MARK_KEY = b"mark"  # shorter than a member id, so it is nobody's listing
_TITLE_BOOST = 3.0
_PREFIX_BOOST = 0.5
_CODE_SCORE = 10_000.0  # more than words can reach: 16 chunks by a boosted BM25 of at most 100 or so each
_WORD_CODE_SCORE = 100.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One listing that was found; scores are comparable within one answer only."""

    member_id: bytes
    sku: str
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """One page of hits, and how many listings match in all."""

    total: int
    hits: tuple[Hit, ...]


class DamagedIndexError(Exception):
    """The files of the index cannot be read. The next opening starts an empty one, to be filled from the store."""


class SearchIndex:
    """The search index in one folder. What is put becomes durable and visible with `commit`."""

    def __init__(self, path: Path) -> None:
        """Open the index at *path* or create it. A damaged one, or one of another format, is thrown away."""
        self._analyzer = _analyzer()
        self._schema = _schema()
        self._folder, self._version = path / "tantivy", path / "format"
        self._index, self._mark = self._open_or_create()
        self._writer = self._index.writer(WRITER_BYTES, WRITER_THREADS)

    @property
    def mark(self) -> int:
        """The number given with the last commit; 0 in a new index."""
        return self._mark

    @property
    def segments(self) -> int:
        """How many pieces a search looks into: the engine merges them in the background, `refresh` takes that over."""
        return int(self._index.searcher().num_segments)

    def put(self, member_id: bytes, records: Iterable[tuple[bytes, Any]], *, fresh: bool) -> int:
        """Add the listings of a member, as (key, decoded value); return how many were no listings at all.

        The values need not have been checked: whoever shows a hit checks its listing. Earlier versions are
        replaced, unless *fresh* promises that none of these keys is in the index: then nothing is looked
        for, which is what makes filling an empty node quick.
        """
        if len(member_id) != MEMBER_ID_BYTES:
            raise ValueError(f"a member id has {MEMBER_ID_BYTES} bytes")
        add, passed_over = self._writer.add_document, 0
        for key, listing in records:
            if not fresh:
                self._delete(_KEY, member_id + key)
            try:
                document = _document(member_id, key, listing)
            except (TypeError, KeyError, AttributeError, ValueError):
                passed_over += 1  # not a map with texts in the right places
                continue
            add(document)
        return passed_over

    def remove(self, member_id: bytes, keys: Iterable[bytes]) -> None:
        """Take listings of a member out; keys that are not there do no harm."""
        for key in keys:
            self._delete(_KEY, member_id + key)

    def remove_member(self, member_id: bytes) -> None:
        """Take all listings of a member out."""
        self._delete(_MEMBER, member_id)

    def commit(self, mark: int) -> None:
        """Make everything since the last commit durable and visible, and *mark* with it, all or nothing."""
        self._delete(_KEY, _MARK_KEY)
        document = Document()
        document.add_bytes(_KEY, _MARK_KEY)
        document.add_unsigned(_MARK, mark)
        self._writer.add_document(document)
        self._writer.commit()
        self._index.reload()
        self._mark = mark

    def refresh(self) -> None:
        """Search what has been merged meanwhile, and let go of the files that it was merged from."""
        self._index.reload()

    def close(self) -> None:
        """Let go of the folder. What was not committed is lost."""
        self._writer.wait_merging_threads()

    def search(self, text: str, limit: int = 20, offset: int = 0) -> Found:
        """Find listings for what somebody typed; no string is an error.

        Listings whose sku, GTIN or maker's number is the text come first. All words must occur, the last
        one may be unfinished; if nothing has them all, any will do. No text at all finds every listing.
        Scores that differ by less than a thousandth count as equal and follow an order of their own.
        Raises DamagedIndexError if the disk has lost what was written.
        """
        try:
            return self._search(text, limit, offset)
        except BaseException as error:
            if not _is_damage(error):
                raise
            self._version.unlink(missing_ok=True)
            raise DamagedIndexError("The search index cannot be read. Restart the node to build it anew.") from error

    def _search(self, text: str, limit: int, offset: int) -> Found:
        first, limit = max(offset, 0), max(limit, 0)
        last = min(first + limit, MAX_WINDOW)
        searcher = self._index.searcher()
        if not text.strip():
            return _page(searcher, Query.exists_query(_TIE), first, last, ranked=False)
        asked = words.read_query(text)
        chunks = self._chunk_queries(searcher, asked)
        whole = [(Occur.Should, self._codes(asked.codes, _CODE_SCORE))]
        every = Query.boolean_query([(Occur.Must, chunk) for chunk in chunks])
        found = _page(searcher, Query.boolean_query([*whole, (Occur.Should, every)]), first, last)
        if found.total or len(chunks) < 2:
            return found
        return _page(searcher, Query.boolean_query([(Occur.Should, chunk) for chunk in chunks]), first, last)

    def _chunk_queries(self, searcher: tantivy.Searcher, asked: words.Asked) -> list[Query]:
        split = [(chunk, self._analyzer.analyze(chunk.text)) for chunk in asked.chunks]
        # A chunk of punctuation asks for nothing: it must not forbid what the other chunks find.
        split = [(chunk, chunk_words) for chunk, chunk_words in split if chunk_words]
        queries = []
        for number, (chunk, chunk_words) in enumerate(split, 1):
            parts = [self._word(word) for word in chunk_words[: words.MAX_CHUNKS]]
            if number == len(split):
                parts[-1] = self._unfinished(searcher, chunk_words[: words.MAX_CHUNKS][-1], parts[-1])
            speaks = Query.boolean_query([(Occur.Must, part) for part in parts])
            queries.append(Query.disjunction_max_query([speaks, self._codes(chunk.codes, _WORD_CODE_SCORE)]))
        return queries

    def _word(self, word: str) -> Query:
        return Query.boolean_query(
            [
                (Occur.Should, Query.boost_query(self._term(_TITLE, word), _TITLE_BOOST)),
                (Occur.Should, self._term(_BODY, word)),
            ]
        )

    def _unfinished(self, searcher: tantivy.Searcher, word: str, exact: Query) -> Query:
        """The word itself, or, for less, the most frequent words that begin with it."""
        options = [exact]
        for field, boost in ((_TITLE, _TITLE_BOOST), (_BODY, 1.0)):
            for longer, _ in searcher.terms_with_prefix(field, word, limit=_PREFIX_TERMS):
                options.append(Query.boost_query(self._term(field, longer), boost * _PREFIX_BOOST))
        return Query.disjunction_max_query(options)

    def _codes(self, codes: Sequence[str], score: float) -> Query:
        # Equal for all: several sellers of one GTIN are all "it", whatever else they wrote.
        return Query.const_score_query(Query.term_set_query(self._schema, _CODE, list(codes)), score)

    def _term(self, field: str, word: str) -> Query:
        return Query.term_query(self._schema, field, word, "freq")

    def _delete(self, field: str, value: bytes) -> None:
        self._writer.delete_documents_by_query(Query.term_query(self._schema, field, value, "basic"))

    def _open_or_create(self) -> tuple[tantivy.Index, int]:
        try:
            if self._version.read_text() == FORMAT:
                index = self._open()
                return index, _read_mark(index.searcher(), self._schema)
        except BaseException as error:
            if not _is_damage(error):
                raise
        # The version goes first and comes last, so that a crash in between leaves an index without one.
        self._version.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        index = self._open()
        self._version.write_text(FORMAT)
        return index, 0

    def _open(self) -> tantivy.Index:
        index = tantivy.Index(self._schema, str(self._folder))
        index.config_reader("manual")  # commit() reloads; no thread watches the folder
        index.reload()
        return index


def _is_damage(error: BaseException) -> bool:
    # A Rust panic is no Exception to Python, and its class cannot be imported.
    return isinstance(error, OSError | ValueError | RuntimeError) or type(error).__name__ == "PanicException"


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    # No positions: nobody asks for phrases, and they would be a third of the index.
    builder.add_text_field(_TITLE, tokenizer_name="default", index_option="freq")
    builder.add_text_field(_BODY, tokenizer_name="default", index_option="freq")
    builder.add_text_field(_CODE, tokenizer_name="whitespace", index_option="basic")
    builder.add_bytes_field(_KEY, stored=True, indexed=True)  # member id and sku: all that is kept of a listing
    builder.add_bytes_field(_MEMBER, indexed=True)
    builder.add_float_field(_TIE, fast=True)
    builder.add_unsigned_field(_MARK, stored=True)
    return builder.build()


def _analyzer() -> tantivy.TextAnalyzer:
    """Build for queries what "default" does to listings: split at what is neither letter nor digit, lower.

    An analyzer of our own for both would cost a fifth of all indexing time; so folding is done in `words`.
    """
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    return builder.filter(tantivy.Filter.remove_long(_WORD_BYTES)).filter(tantivy.Filter.lowercase()).build()


def _document(member_id: bytes, key: bytes, listing: Any) -> Document:
    get = listing.get
    body = " ".join((get("brand", ""), get("text", ""), *get("category", ()), *get("tags", ())))
    if attributes := get("attributes"):
        body = " ".join((body, *attributes, *attributes.values()))
    codes = words.code(key.decode())
    if gtin := get("gtin"):
        codes = f"{codes} {words.gtin_code(gtin)}"
    if mpn := get("mpn"):
        codes = f"{codes} {words.code(mpn)}"
    whole_key = member_id + key
    # One add_... a field is two to three times as quick as Document(**fields) or Document.from_dict.
    document = Document()
    document.add_text(_TITLE, words.fold(listing["title"]))
    document.add_text(_BODY, words.fold(body))
    document.add_text(_CODE, codes)
    document.add_bytes(_KEY, whole_key)
    document.add_bytes(_MEMBER, member_id)
    document.add_float(_TIE, _tie(whole_key))
    return document


def _tie(key: bytes) -> float:
    """Return a number by which equal scores are ordered: it depends on the listing's name alone.

    The index multiplies a score by log2(2 + tie), so between 2^-9 and 2^-8 it moves no score by more than
    0.15 %, yet sets thousands of equal ones apart. No fairness hangs on it: that is the ranking rule's part.
    """
    return (1 + crc32(key) * 2**-32) * 2**-9


def _page(searcher: tantivy.Searcher, query: Query, first: int, last: int, *, ranked: bool = True) -> Found:
    """Hits *first* to *last*: by score, then tie, then key, so that the order of insertion never shows."""
    most = max(last, 1) + _SPARE_HITS
    if ranked:
        result = searcher.search(query, most, weight_by_field=_TIE)
    else:
        result = searcher.search(query, most, order_by_field=_TIE, order=Order.Asc)
    addresses = [address for _, address in result.hits]
    scores = [score if ranked else 0.0 for score, _ in result.hits]
    ties = searcher.fast_field_values(_TIE, addresses)
    order = sorted(range(len(addresses)), key=lambda i: (-scores[i], ties[i]))[first:last]
    rows = sorted((-scores[i], ties[i], bytes(searcher.doc(addresses[i])[_KEY][0])) for i in order)
    hits = tuple(Hit(key[:MEMBER_ID_BYTES], key[MEMBER_ID_BYTES:].decode(), -score) for score, _, key in rows)
    return Found(result.count, hits)  # type: ignore[attr-defined]  # missing from the library's annotations


def _read_mark(searcher: tantivy.Searcher, schema: tantivy.Schema) -> int:
    """Read the mark, and a listing, so that most damage shows now and not at somebody's search."""
    _page(searcher, Query.exists_query(_TIE), 0, 1, ranked=False)
    found = searcher.search(Query.term_query(schema, _KEY, _MARK_KEY, "basic"), 1)
    return int(searcher.doc(found.hits[0][1])[_MARK][0]) if found.hits else 0
