"""Records with their proofs, as one node hands them to another that does not keep them, or to a buyer's program.

Never fetches anything, and never says that a list is complete: nothing can. The caller verifies the heads.
The thing to understand: every row stands for itself. Its proof leads to the state root in a signed head, so a
node in between can leave rows out, but cannot change one, move it to another member or make one up.
Specification, section 7.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol import head as heads
from protocol import proof as proofs
from protocol import shape
from protocol.encoding import decode, encode
from protocol.errors import Reason, Refused
from protocol.head import Head
from protocol.limits import (
    MAX_COLLECTION_BYTES,
    MAX_HEAD_BYTES,
    MAX_INT,
    MAX_KEY_BYTES,
    MAX_PROOF_BYTES,
    MAX_PROVED_BYTES,
    MAX_PROVED_ROWS,
    MAX_VALUE_BYTES,
)

_ROWS = shape.rows(
    ("head", shape.integer(0, MAX_PROVED_ROWS - 1)),
    ("collection", shape.text(1, MAX_COLLECTION_BYTES)),
    ("key", shape.blob(1, MAX_KEY_BYTES)),
    ("value", shape.or_nil(shape.blob(0, MAX_VALUE_BYTES))),
    ("proof", shape.blob(1, MAX_PROOF_BYTES)),
)
_BUNDLE: tuple[tuple[str, shape.Check], ...] = (
    ("v", shape.integer(1, 1)),
    ("total", shape.integer(0, MAX_INT)),
    ("heads", shape.array(shape.blob(65, MAX_HEAD_BYTES + 64), 0, MAX_PROVED_ROWS)),
    ("rows", shape.array(_ROWS, 0, MAX_PROVED_ROWS)),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A record, or None where there is none under the key, with its way to the root in *head*."""

    head: Head
    collection: str
    key: bytes
    value: bytes | None
    proof: bytes

    def check(self) -> None:
        """Refuse (proof_mismatch) a row that does not say what the author signed. The head is the caller's part."""
        finding = proofs.check(self.proof, self.head, self.collection, self.key)
        if self.value is not None:
            finding.check_value(self.key, self.value)
        elif finding.entry is not None:
            raise Refused(Reason.PROOF_MISMATCH, "a record that the author signed is said not to be there")


@dataclass(frozen=True, slots=True)
class Bundle:
    """Rows in the order of their sender. *total* is how many it says there are: nobody can prove that."""

    total: int
    rows: tuple[Row, ...]


def write(total: int, rows: Sequence[Row]) -> bytes:
    """Encode rows, each head once. The caller keeps to the bounds."""
    places: dict[bytes, int] = {}
    written = [
        [places.setdefault(row.head.signed.to_bytes(), len(places)), row.collection, row.key, row.value, row.proof]
        for row in rows
    ]
    return encode([1, total, list(places), written])


def read(data: bytes) -> Bundle:
    """Decode a bundle; neither signatures nor proofs are checked yet.

    Refuses: what section 2 refuses, and what `head.read` refuses.
    """
    value = shape.row(decode(data, MAX_PROVED_BYTES), _BUNDLE)
    said = [heads.read(one) for one in value[2]]
    rows = []
    for place, collection, key, record, proof in value[3]:
        if place >= len(said):
            raise Refused(Reason.OUT_OF_RANGE, "a row names a head that is not there")
        rows.append(Row(said[place], collection, key, record, proof))
    return Bundle(value[1], tuple(rows))
