"""One link of the broadcast: what waits for it, whole or by name, and what it has been good for.

Sans-I/O. The thing to understand: the queue is keyed by what an item is the latest word about, and newer replaces
older, so a slow peer costs memory by the number of streams, never by their rate. Specification, section 9.5.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice

from protocol.items import Item, ItemKind
from protocol.limits import MAX_ITEMS, MAX_QUEUED_ITEMS, MAX_REPLY_BYTES, SHORT_ID_BYTES
from protocol.messages import Graft, Have, Prune, Put

Slot = tuple[ItemKind, bytes]


@dataclass(slots=True)
class Branch:
    """What is known of one link to the member *peer*."""

    peer: bytes
    since_ms: int
    eager: bool = True
    suspect: bool = False
    prune: bool = False
    """Prune is to be said."""
    graft: bool = False
    """Graft is to be said, with the names in `wanted`."""
    failed: int = 0
    """How many items it has named and not given, since it last gave one."""
    trust: int = 0
    """Grows with each item that it brings along the tree, shrinks with each that it brings in vain."""
    news: int = 0
    told: int = 0
    queue: OrderedDict[Slot, tuple[Item, bool]] = field(default_factory=OrderedDict)
    """Items in line; True: it goes whole even if the link becomes lazy."""
    announced: dict[bytes, None] = field(default_factory=dict)
    wanted: dict[bytes, None] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether there is something to say at once."""
        return bool(self.prune or self.graft or self.queue)

    def put(self, item: Item, *, whole: bool) -> bool:
        """Put an item in line; return whether there was nothing to say before."""
        was_waiting = self.waits
        self.announced.pop(item.item_id[:SHORT_ID_BYTES], None)
        # Replacing keeps the place in the line: a busy stream cannot push itself to the end for ever.
        self.queue[item.kind, item.slot] = (item, whole)
        if len(self.queue) > MAX_QUEUED_ITEMS:
            self.queue.popitem(last=False)  # the peer hears of it by anti-entropy
        return not was_waiting

    def name(self, short: bytes) -> None:
        """Put a name in line."""
        self.announced[short] = None
        if len(self.announced) > MAX_QUEUED_ITEMS:
            del self.announced[next(iter(self.announced))]

    def strike_out(self, short: bytes, item: Item | None) -> bool:
        """Do not tell the peer what it has: the item of this name, if it is known; whether we were about to."""
        if item is not None and self.queue.get((item.kind, item.slot), (None, False))[0] is item:
            del self.queue[item.kind, item.slot]
            return True
        return self.announced.pop(short, short) is None

    def make_lazy(self) -> list[bytes]:
        """Send names only from now on; return those of what was in line and need not go whole."""
        self.eager, self.trust = False, 0
        slots = [slot for slot, (_, whole) in self.queue.items() if not whole]
        return [self.queue.pop(slot)[0].item_id[:SHORT_ID_BYTES] for slot in slots]

    def join(self, wanted: bytes | None) -> None:
        """Have everything sent from now on, and at once what *wanted* names."""
        self.eager, self.prune, self.graft = True, False, True
        if wanted is not None:
            self.wanted[wanted] = None

    def take(self, *, names: bool) -> Put | Have | Graft | Prune | None:
        """Return the next message, or None when there is nothing to say; *names*: they may be told now."""
        if self.prune:
            self.prune = False
            return Prune()
        if self.graft:
            ids = _taken(self.wanted)
            self.graft = bool(self.wanted)
            return Graft(ids)
        if self.queue:
            return self._take_items()
        return Have(_taken(self.announced)) if names and self.announced else None

    def _take_items(self) -> Put:
        put = Put([], [], [])
        size = 0
        while self.queue and size < MAX_REPLY_BYTES:
            (kind, _), (item, _) = next(iter(self.queue.items()))
            into: list[bytes] = getattr(put, kind.value)
            if len(into) >= MAX_ITEMS:
                break
            self.queue.popitem(last=False)
            into.append(item.data)
            size += len(item.data)
        return put


def names_in(joined: bytes) -> list[bytes]:
    """Return the short names of a Have or Graft."""
    return [joined[at : at + SHORT_ID_BYTES] for at in range(0, len(joined), SHORT_ID_BYTES)]


def _taken(names: dict[bytes, None]) -> bytes:
    """Take out up to MAX_ITEMS names, the oldest first, and return them joined."""
    first = list(islice(names, MAX_ITEMS))
    for short in first:
        del names[short]
    return b"".join(first)
