"""The outline of one collection's trie: which prefixes are chunks, and the summaries of the nodes above.

Pure bookkeeping in memory; `tries` reads and writes the rows. A million records have some 4,400 nodes here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol import trie
from protocol.trie import EMPTY, Summary


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """One chunk as the outline knows it."""

    chunk_id: int
    summary: Summary
    recent: int
    """How many of its records lie in the table of recent changes instead of the body."""


class Spine:
    """Chunks by prefix, and the inner nodes above them. Prefixes of chunks never contain each other."""

    def __init__(self, chunks: dict[str, ChunkRow]) -> None:
        self.chunks = chunks
        self.inner: dict[str, Summary] = {}
        for prefix in self.ancestors(chunks):
            self.inner[prefix] = self.joined(prefix)

    @staticmethod
    def ancestors(prefixes: Iterable[str]) -> list[str]:
        """Return all prefixes above *prefixes*, the deepest first."""
        above = {prefix[:length] for prefix in prefixes for length in range(len(prefix))}
        return sorted(above, key=len, reverse=True)

    def locate(self, key_hex: str) -> str:
        """Return the prefix of the chunk where a key belongs, or where a chunk for it would begin."""
        prefix = ""
        while prefix not in self.chunks and prefix in self.inner:
            prefix = key_hex[: len(prefix) + 1]
        return prefix

    def summary(self, prefix: str) -> Summary | None:
        """Return the summary at *prefix*; None if it lies below a chunk."""
        row = self.chunks.get(prefix)
        if row is not None:
            return row.summary
        found = self.inner.get(prefix)
        if found is not None:
            return found
        covered = any(prefix[:length] in self.chunks for length in range(len(prefix)))
        return None if covered else EMPTY

    def children(self, prefix: str) -> list[Summary]:
        """Return the sixteen summaries below an inner node."""
        result = []
        for nibble in trie.HEX:
            row = self.chunks.get(prefix + nibble)
            result.append(row.summary if row is not None else self.inner.get(prefix + nibble, EMPTY))
        return result

    def joined(self, prefix: str) -> Summary:
        """Compute the summary of an inner node with more than 16 entries from its children."""
        return trie.join(self.children(prefix))

    def under(self, prefix: str) -> list[str]:
        """Return the prefixes of the chunks at or below *prefix*."""
        if prefix in self.chunks:
            return [prefix]
        if prefix not in self.inner:
            return []
        return [found for nibble in trie.HEX for found in self.under(prefix + nibble)]

    @property
    def root(self) -> Summary:
        """Return the summary of the whole collection."""
        return self.summary("") or EMPTY
