"""Unpacked bodies of chunks that were used lately, shared by all connections of a store.

A body never changes under its chunk's id, so nothing here can be out of date; after a rollback an id may
come to stand for something else, and all is forgotten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from protocol.limits import MIB

CACHED_BYTES = 48 * MIB
"""Some 300 chunks: a catalogue of 100,000 listings stays at hand whole."""


class Bodies:
    """Bodies by chunk id, bounded by their size."""

    def __init__(self, most_bytes: int = CACHED_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._bodies: OrderedDict[int, tuple[dict[bytes, bytes], int]] = OrderedDict()
        self._bytes = 0

    def get(self, chunk_id: int) -> dict[bytes, bytes] | None:
        """Return a body, or None when it is not at hand."""
        with self._lock:
            found = self._bodies.get(chunk_id)
            if found is None:
                return None
            self._bodies.move_to_end(chunk_id)
            return found[0]

    def put(self, chunk_id: int, body: dict[bytes, bytes], size: int) -> None:
        """Remember a body of *size* bytes; those not used for longest go."""
        with self._lock:
            if chunk_id in self._bodies:
                return
            self._bodies[chunk_id] = (body, size)
            self._bytes += size
            while self._bytes > self._most_bytes:
                _, (_, gone) = self._bodies.popitem(last=False)
                self._bytes -= gone

    def clear(self) -> None:
        """Forget all: after a rollback an id may come to stand for something else."""
        with self._lock:
            self._bodies.clear()
            self._bytes = 0
