"""Bringing a part of a catalogue forward by operations: those of what is kept, and the signed state body for the rest.

Operations say what becomes of the records that they name, not what becomes of a collection that is not here. So
the list of collections of the new state is asked for first; what operations make of the part that is kept must fit
into it. Specification, sections 8.3 and 9.8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from coopnode.gossip.keeping import wants_of
from coopnode.gossip.link import Link
from coopnode.scope import Scope
from coopnode.store import Tables
from coopnode.store.tries import Changed
from protocol import chunks, pull
from protocol.encoding import inflate
from protocol.errors import Reason, Refused
from protocol.head import Head
from protocol.limits import MAX_OPS_BYTES, MIB
from protocol.messages import Nodes, Ops
from protocol.pull import Walk
from protocol.trie import EMPTY

P = ParamSpec("P")
T = TypeVar("T")
MOST_BYTES = 8 * MIB
"""Unpacked; whoever is further behind walks."""
Advanced = tuple[dict[str, Changed], int]
"""What changed in each collection, and the number of the change."""


class Home(Protocol):
    """What this needs of the node."""

    @property
    def scope(self) -> Scope:
        """What is kept here."""

    async def write(self, function: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in the writer's transaction."""


async def advance(home: Home, current: Head, head: Head, link: Link) -> Advanced | None:
    """Bring what is kept from *current*, whose state is held here, to *head*, of the same epoch and later.

    None where that does not lead there, which is nobody's fault: walk. Refuses a state body that the author has not
    signed, and operations that are none: the peer is at fault.
    """
    walk = await home.write(_begin, head, home.scope)
    (question,) = walk.questions()
    state = await link.ask(question, Nodes)
    if not state.state:
        return None
    walk.receive(question, state)
    try:
        return await home.write(_apply, walk, current, [])  # often nothing has changed of what is kept
    except Refused as refused:
        if refused.reason is not Reason.ROOT_MISMATCH:
            raise
    answer = await link.ask(pull.get_ops(head, current.version.rev), Ops)
    segments = [(rev, bodies) for rev, bodies in answer.segments if rev <= head.version.rev]
    if not segments or segments[-1][0] != head.version.rev:
        return None
    try:
        return await home.write(_apply, walk, current, segments)
    except Refused as refused:
        if refused.reason is not Reason.ROOT_MISMATCH:
            raise
        return None


def _begin(tables: Tables, head: Head, scope: Scope) -> Walk:
    """Begin a walk that ends after its first answer: it says what is elsewhere in the new state."""
    return Walk(head, {}, lambda _collection, _prefix: EMPTY, wants_of(tables, scope, head))


def _apply(tables: Tables, walk: Walk, current: Head, segments: Sequence[tuple[int, list[list[Any]]]]) -> Advanced:
    """Apply the operations of what is kept. The signed state body says what must come out, collection by collection."""
    held = tables.catalogue.open_stream(walk.head.stream)
    if held.head != current.signed.to_bytes() or walk.elsewhere.keys() != held.elsewhere.keys():
        raise Refused(Reason.ROOT_MISMATCH, "the state has changed meanwhile")
    changed: dict[str, Changed] = {}
    unpacked = 0
    for _, packed in segments:
        bodies = {name: inflate(body, MAX_OPS_BYTES) for name, body in packed if name not in walk.elsewhere}
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
