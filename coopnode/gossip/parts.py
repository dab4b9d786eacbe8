"""Bringing a part of a catalogue forward by operations: those of what is kept, and the signed state body for the rest.

Operations say what becomes of the records that they name, not what becomes of a collection that is not here. So
the list of collections of the new state is asked for first; what operations make of the part that is kept must fit
into it. Runs in the writer's transaction; never asks anybody: the puller does. Specification, sections 8.3 and 9.9.
"""

from __future__ import annotations

from coopnode.gossip.bridge import Advanced, Segments, inflated
from coopnode.gossip.keeping import wants_of
from coopnode.scope import Scope
from coopnode.store import Tables
from coopnode.store.tries import Changed
from protocol import chunks
from protocol.errors import Reason, Refused
from protocol.head import Head
from protocol.limits import MIB
from protocol.messages import WalkTrie
from protocol.pull import Walk
from protocol.trie import EMPTY

MOST_BYTES = 8 * MIB
"""Unpacked; whoever is further behind walks."""


def begin(tables: Tables, head: Head, scope: Scope) -> tuple[Walk, WalkTrie]:
    """Begin a walk that ends after its first answer: what is elsewhere in the new state. Return its question too."""
    walk = Walk(head, {}, lambda _collection, _prefix: EMPTY, wants_of(tables, scope, head))
    (question,) = walk.questions()
    return walk, question


def advance(tables: Tables, walk: Walk, current: Head, segments: Segments) -> Advanced:
    """Bring what is kept from *current*, of the same epoch, to the head of *walk*, whose state body is here.

    Refuses as root_mismatch what does not lead there, which is nobody's fault: walk. Refuses operations that are
    none: the peer is at fault.
    """
    held = tables.catalogue.open_stream(walk.head.stream)
    if held.head != current.signed.to_bytes() or walk.elsewhere.keys() != held.elsewhere.keys():
        raise Refused(Reason.ROOT_MISMATCH, "the state has changed meanwhile")
    changed: dict[str, Changed] = {}
    unpacked = 0
    for _, packed in segments:
        bodies = inflated(packed, without=walk.elsewhere)
        unpacked += sum(map(len, bodies.values()))
        if unpacked > MOST_BYTES:
            raise Refused(Reason.ROOT_MISMATCH, "so many operations are slower than a walk")
        held, now_changed = tables.catalogue.apply(held, chunks.read_ops(bodies))
        for name, one in now_changed.items():
            changed.setdefault(name, Changed()).add(one)
    held, _ = tables.catalogue.put_elsewhere(held, walk.elsewhere)
    if held.root != walk.head.state_root:
        raise Refused(Reason.ROOT_MISMATCH, "the operations do not lead to the signed root")
    tables.catalogue.unstage(held)
    tables.catalogue.drop_ops(held)  # they would end before the head that we hold now
    return changed, tables.catalogue.set_head(held, walk.head.signed.to_bytes())
