"""Bringing a whole state forward by operations, and keeping them for those that follow.

Runs in the writer's transaction; never asks anybody. `parts` does the same for what is kept of a part.
Specification, section 8.3.
"""

from __future__ import annotations

from collections.abc import Container

from coopnode.store import Tables
from coopnode.store.tries import Changed
from protocol import chunks
from protocol.chunks import OpsSummary
from protocol.encoding import decode, encode, inflate
from protocol.errors import Reason, Refused
from protocol.head import Head, Stream
from protocol.limits import MAX_OPS_BYTES, MIB

MAX_OPS_UNPACKED = 16 * MIB
"""What is unpacked of one answer of operations; beyond, walking is cheaper, and nobody fills the memory."""
Segments = list[tuple[int, list[list[object]]]]
"""[(rev, [[collection, deflated body], ...]), ...]"""
Advanced = tuple[dict[str, Changed], int]
"""What changed in each collection, and the number of the change."""


class TooMuch(Exception):
    """The operations of one answer unpack to more than is taken at once."""


def set_desync(tables: Tables, stream: Stream) -> None:
    """Note that an author's own operations do not lead to the root that it signed."""
    held = tables.catalogue.open_stream(stream)
    tables.catalogue.set_desync(held, "the author's operations do not lead to its signed root")


def advance(tables: Tables, head: Head, current: Head, segments: Segments) -> Advanced:
    """Bring a whole state from *current*, of the same epoch, to *head*, and keep the operations for others.

    Refuses as root_mismatch what does not lead there. Raises TooMuch where a walk is cheaper.
    """
    held = tables.catalogue.open_stream(head.stream)
    if held.head != current.signed.to_bytes():
        raise Refused(Reason.ROOT_MISMATCH, "the state has changed meanwhile")
    changed: dict[str, Changed] = {}
    since_rev = current.version.rev
    unpacked = 0
    for rev, packed in segments:
        bodies = inflated(packed)
        unpacked += sum(map(len, bodies.values()))
        if unpacked > MAX_OPS_UNPACKED:
            raise TooMuch
        ops = chunks.read_ops(bodies)
        if (since_rev, rev) == (head.since_rev, head.version.rev) and chunks.summarise_ops(bodies) != _promised(head):
            raise Refused(Reason.OPS_MISMATCH, "the operations are not those that the author signed")
        held, now_changed = tables.catalogue.apply(held, ops)
        for name, one in now_changed.items():
            changed.setdefault(name, Changed()).add(one)
        tables.catalogue.keep_ops(held, head.version.epoch, since_rev, rev, encode([list(pair) for pair in packed]))
        since_rev = rev
    if held.root != head.state_root:
        raise Refused(Reason.ROOT_MISMATCH, "the operations do not lead to the signed root")
    return changed, tables.catalogue.set_head(held, head.signed.to_bytes())


def inflated(packed: list[list[object]], without: Container[str] = ()) -> dict[str, bytes]:
    """Unpack the bodies of one segment, all within one bound; their shape has been checked with the message.

    The collections *without* are left out.
    """
    bodies: dict[str, bytes] = {}
    left = MAX_OPS_BYTES
    for name, body in packed:
        assert isinstance(name, str)
        assert isinstance(body, bytes)
        if name in without:
            continue
        bodies[name] = inflate(body, left)
        left -= len(bodies[name])
    return bodies


def _promised(head: Head) -> OpsSummary:
    return OpsSummary(head.ops_root, head.ops_count, head.ops_bytes)


def is_signed(head: Head, current: Head, segments: Segments) -> bool:
    """Whether the operations that failed are exactly those that the author signed to follow *current*."""
    if len(segments) != 1 or head.since_rev != current.version.rev:
        return False
    return chunks.summarise_ops(inflated(segments[0][1])) == _promised(head)


def stored_segment(rev: int, bodies: bytes) -> list[object]:
    """Return kept operations in the form in which they travel."""
    return [rev, decode(bodies, 2 * MAX_OPS_BYTES)]
