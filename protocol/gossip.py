"""Which links hear of which items, and whom to link with.

Sans-I/O. Full mesh up to 12 nodes, 6 sampled links beyond; every item that was new here goes to all links
but the one it came from. Broadcast trees will replace `targets` and nothing else.
The thing to understand: each link's queue is keyed by what an item is the latest word about, and newer
replaces older, so a slow peer costs memory by the number of streams, never by their rate.
Specification, section 9.5.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from protocol.limits import FULL_MESH_MEMBERS, MAX_ITEMS, MAX_QUEUED_ITEMS, MAX_REPLY_BYTES, SAMPLED_LINKS
from protocol.messages import Put

LinkT = TypeVar("LinkT", bound=Hashable)


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


class Broadcast(Generic[LinkT]):
    """The queues of all links of one node."""

    def __init__(self) -> None:
        self._queues: dict[LinkT, OrderedDict[tuple[ItemKind, bytes], bytes]] = {}

    def add(self, link: LinkT) -> None:
        """Begin a queue for a new link."""
        self._queues.setdefault(link, OrderedDict())

    def __contains__(self, link: LinkT) -> bool:
        """Whether *link* hears of news."""
        return link in self._queues

    def drop(self, link: LinkT) -> None:
        """Forget a link and what was queued for it: anti-entropy brings it later."""
        self._queues.pop(link, None)

    def offer(self, item: Item, came_from: LinkT | None) -> list[LinkT]:
        """Queue *item* for the links that should hear it; return those whose queue was empty before."""
        woken = []
        for link in self.targets(came_from):
            queue = self._queues[link]
            if not queue:
                woken.append(link)
            # Replacing keeps the place in the line: a busy stream cannot push itself to the end for ever.
            queue[item.kind, item.slot] = item.data
            if len(queue) > MAX_QUEUED_ITEMS:
                queue.popitem(last=False)  # the peer hears of it by anti-entropy
        return woken

    def targets(self, came_from: LinkT | None) -> list[LinkT]:
        """Return the links that hear of an item; *came_from* is None for our own."""
        return [link for link in self._queues if link != came_from]

    def take(self, link: LinkT) -> Put | None:
        """Return the next message for *link*, or None when there is nothing to say."""
        queue = self._queues.get(link)
        if not queue:
            return None
        put = Put([], [], [])
        size = 0
        while queue and size < MAX_REPLY_BYTES:
            (kind, _), data = next(iter(queue.items()))
            into: list[bytes] = getattr(put, kind.value)
            if len(into) >= MAX_ITEMS:
                break
            queue.popitem(last=False)
            into.append(data)
            size += len(data)
        return put

    def waiting(self, link: LinkT) -> int:
        """Return how many items wait for *link*."""
        return len(self._queues.get(link, ()))


def wanted_links(
    me: bytes, members: Iterable[bytes], linked: Iterable[bytes], shuffle: Callable[[Sequence[bytes]], list[bytes]]
) -> list[bytes]:
    """Return the members to dial now. Spec 9.5.

    *shuffle* is the caller's chance: it returns the candidates in random order, so that nobody can
    arrange to be chosen by us.
    """
    others = sorted(set(members) - {me})
    have = set(linked) & set(others)
    candidates = [member for member in others if member not in have]
    if len(others) < FULL_MESH_MEMBERS:
        return candidates
    return shuffle(candidates)[: max(0, SAMPLED_LINKS - len(have))]
