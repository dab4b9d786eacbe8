"""What travels by broadcast: heads, statements and identity statements, each the latest word about its slot."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from protocol import signing


class ItemKind(Enum):
    """What travels by broadcast."""

    HEAD = "heads"
    STATEMENT = "statements"
    IDENTITY = "identities"


@dataclass(frozen=True, slots=True)
class Item:
    """Something signed that peers should hear of. *slot* names what it is the latest word about."""

    kind: ItemKind
    slot: bytes
    data: bytes
    author: bytes
    """The member that has signed it."""
    item_id: bytes = field(init=False, compare=False)
    """SHA-256 of the body: what others call it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "item_id", signing.split(self.data, len(self.data)).object_id)
