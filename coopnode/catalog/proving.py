"""Records of this node's store with their proofs, for whoever does not want to trust it.

Reads only, in one snapshot. The thing to understand: a proof needs the summaries beside the path, most of them
of subtrees inside one chunk; so the entries of that chunk are read once and everything below is worked out from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from coopnode.store import Tables
from coopnode.store.catalogue import Held
from protocol import head as heads
from protocol import proof, records, trie
from protocol.errors import Refused
from protocol.head import Head, Stream
from protocol.limits import CHUNK_ENTRIES, KIB, MAX_PROVED_BYTES, MAX_PROVED_ROWS, STREAM_PUBLIC
from protocol.proved import Row
from protocol.records import LISTING, STOCK
from protocol.trie import Summary

_SPARE_BYTES = 64 * KIB
"""More than two rows can have: so much room is left when the last listing is added."""


class Prover:
    """Makes rows from one snapshot of the store."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._held: dict[bytes, tuple[Held, Head] | None] = {}
        self._entries: dict[tuple[int, str, str], bytes] = {}
        self._summaries: dict[tuple[int, str, str], Summary] = {}

    def listing(self, member_id: bytes, sku: str) -> list[Row] | None:
        """Return a listing and its stock at the main place, each with its proof, also where there is none.

        None where these collections are not kept here, or nothing of the member's is.
        """
        found = self._state(member_id)
        if found is None:
            return None
        held, head = found
        try:
            places = ((LISTING, records.listing_key(sku)), (STOCK, records.stock_key(sku)))
        except Refused:
            return None
        if not held.elsewhere.keys().isdisjoint((LISTING, STOCK)):
            return None
        return [self._row(held, head, collection, key) for collection, key in places]

    def listings(self, places: Iterable[tuple[bytes, str]]) -> list[Row]:
        """Return the rows of as many listings as go into one answer; what is not here (any more) is left out."""
        rows: list[Row] = []
        size = 0
        for member_id, sku in places:
            of_one = self.listing(member_id, sku)
            if of_one is None or of_one[0].value is None:
                continue
            if size > MAX_PROVED_BYTES - _SPARE_BYTES or len(rows) + len(of_one) > MAX_PROVED_ROWS:
                break
            rows.extend(of_one)
            size += sum(len(row.key) + len(row.value or b"") + len(row.proof) + 128 for row in of_one)
            size += len(of_one[0].head.signed.to_bytes())
        return rows

    def _row(self, held: Held, head: Head, collection: str, key: bytes) -> Row:
        value = self._tables.catalogue.get(held.stream, collection, key)
        made = proof.build(
            held.state,
            collection,
            key,
            partial(self._entries_under, held, collection),
            partial(self._summary_of, held, collection),
        )
        return Row(head, collection, key, value, made)

    def _state(self, member_id: bytes) -> tuple[Held, Head] | None:
        if member_id not in self._held:
            held = self._tables.catalogue.held(Stream(member_id, STREAM_PUBLIC))
            self._held[member_id] = None
            if held is not None and held.head is not None:
                self._held[member_id] = held, heads.read(held.head)
        return self._held[member_id]

    def _entries_under(self, held: Held, collection: str, prefix: str) -> bytes:
        """Return entries, cut out of what has been read of a subtree around them where that is at hand."""
        for length in range(len(prefix) + 1):
            around = self._entries.get((held.stream_id, collection, prefix[:length]))
            if around is not None:
                return trie.under(around, prefix)
        found = self._tables.catalogue.entries(held, collection, prefix)
        if trie.count(found) <= CHUNK_ENTRIES:
            self._entries[held.stream_id, collection, prefix] = found
        return found

    def _summary_of(self, held: Held, collection: str, prefix: str) -> Summary:
        place = (held.stream_id, collection, prefix)
        found = self._summaries.get(place)
        if found is None:
            parent = self._summaries.get((held.stream_id, collection, prefix[:-1])) if prefix else None
            if parent is not None and parent.count <= CHUNK_ENTRIES:
                self._entries_under(held, collection, prefix[:-1])
                found = trie.summarise(self._entries_under(held, collection, prefix), len(prefix))
            else:
                found = self._tables.catalogue.summary(held, collection, prefix)
            self._summaries[place] = found
        return found
