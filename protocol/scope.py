"""What a node keeps of others' catalogues: everything, a part, or heads alone.

Every node keeps all heads, statements and identities; of bodies it may keep whole collections only, so that
what it keeps can be compared with what the author signed. Never says which ones: that is each node's own choice.
The thing to understand: a partial state keeps the rows of the state body that it does not hold the records of,
so its root is still the signed root, and proofs can be made of what is here. Specification, section 9.9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from protocol.trie import Summary


class Replica(StrEnum):
    """How much a node keeps of what others publish."""

    FULL = "full"
    SCOPED = "scoped"
    LIGHT = "light"


Wants = Callable[[str, Summary], bool]
"""Whether the records of a collection are wanted, by its name and what the author signed about it."""


def everything(_collection: str, _signed: Summary) -> bool:
    """Want every collection."""
    return True


def read_replica(said: Any) -> Replica:
    """Return what a status or contact says of its node: nothing means full, a word not known here light.

    Whoever is asked for too little costs a question to another; whoever is asked for what it has not, a failure.
    """
    if said is None:
        return Replica.FULL
    return Replica(said) if said in set(Replica) else Replica.LIGHT


def elsewhere(state: Mapping[str, Summary], wants: Wants) -> dict[str, Summary]:
    """Return the collections of a signed state whose records are not wanted here."""
    return {name: signed for name, signed in state.items() if not wants(name, signed)}
