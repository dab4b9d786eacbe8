"""Which links hear of which items, in full or by name: broadcast along a tree that mends itself.

Sans-I/O. Every link is eager (items travel whole) or lazy (only their short names). All links begin eager; whoever
receives an item twice asks for the second link to become lazy, so that what stays eager is a tree. An item that was
named and does not come is fetched from whoever named it, and that link becomes eager: so what was torn is joined again.
The thing to understand: the tree is only a short cut. Whoever it does not reach has heard the name.
Source: Leitao, Pereira, Rodrigues, "Epidemic Broadcast Trees" (Plumtree), 2007. Specification, section 9.5.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from protocol.branch import Branch, Slot, names_in
from protocol.items import Item
from protocol.limits import (
    FASTEST_GRAFT_MS,
    GRAFT_AGAIN_MS,
    GRAFT_MS,
    HURRIED_GRAFT_MS,
    HURRY_MS,
    LAZY_MS,
    MAX_GRAFTS,
    MAX_MISSING_ITEMS,
    MAX_RECENT_BYTES,
    MAX_SEEN_ITEMS,
    MOST_TRUST,
    SHORT_ID_BYTES,
    TRUST_LOST,
)
from protocol.messages import Graft, Have, Prune, Put

LinkT = TypeVar("LinkT", bound=Hashable)


_NEVER_MS = 1 << 63


@dataclass(slots=True)
class _Missing(Generic[LinkT]):
    """An item that was named and has not come."""

    due_ms: int
    named_ms: int
    announcers: list[LinkT]
    asked: LinkT | None = None
    tries: int = 0


@dataclass(slots=True)
class _Aside(Generic[LinkT]):
    """An item that came otherwise than along the tree: it goes on along the tree when the tree brings it as well."""

    due_ms: int
    came_ms: int
    item: Item
    told: set[LinkT]
    rejoin: LinkT | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How useful a link has been since *since_ms*: of *news* items of others that came here it has told us *told*."""

    since_ms: int
    eager: bool
    news: int
    told: int


class Broadcast(Generic[LinkT]):
    """The branches of all links of one node. Times are milliseconds of any steady clock."""

    def __init__(self) -> None:
        self._branches: dict[LinkT, Branch] = {}
        # What came lately, by short name: to answer grafts.
        self._recent: OrderedDict[bytes, Item] = OrderedDict()
        self._recent_bytes = 0
        self._latest: dict[Slot, bytes] = {}
        # What came at all.
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._missing: OrderedDict[bytes, _Missing[LinkT]] = OrderedDict()
        self._aside: OrderedDict[bytes, _Aside[LinkT]] = OrderedDict()
        self._due: list[tuple[int, bytes]] = []
        self._flush_ms = _NEVER_MS
        self._hurry_until_ms = 0
        self._late_ms = 0

    # ── links ─────────────────────────────────────────────────────────────────────────────────────

    def add(self, link: LinkT, peer: bytes, now_ms: int) -> None:
        """Begin with a link whose peer was found to be the member *peer*."""
        if link not in self._branches:
            self._branches[link] = Branch(peer, now_ms)

    def __contains__(self, link: LinkT) -> bool:
        """Whether *link* hears of news."""
        return link in self._branches

    def drop(self, link: LinkT, now_ms: int) -> None:
        """Forget a link and what was queued for it: anti-entropy brings it later."""
        branch = self._branches.pop(link, None)
        if branch is not None and branch.eager:
            self._hurry(now_ms)

    def suspect(self, link: LinkT, now_ms: int) -> None:
        """Do not wait for a link that has fallen silent. Hearing from it heals this."""
        branch = self._branches.get(link)
        if branch is not None and not branch.suspect:
            branch.suspect = True
            if branch.eager:
                self._hurry(now_ms)

    def standing(self, link: LinkT) -> Standing | None:
        """Return how useful a link has been, or None if it is not here."""
        branch = self._branches.get(link)
        return None if branch is None else Standing(branch.since_ms, branch.eager, branch.news, branch.told)

    def count_anew(self, link: LinkT, now_ms: int) -> None:
        """Forget what a link has told: a new time of trial begins."""
        branch = self._branches.get(link)
        if branch is not None:
            branch.since_ms, branch.news, branch.told = now_ms, 0, 0

    def waiting(self, link: LinkT) -> int:
        """Return how many items wait for *link*."""
        branch = self._branches.get(link)
        return 0 if branch is None else len(branch.queue)

    # ── what is heard ─────────────────────────────────────────────────────────────────────────────

    def offer(self, item: Item, came_from: LinkT | None, now_ms: int, *, pushed: bool = True) -> list[LinkT]:
        """Spread an item that is new here and durable; return the links to wake.

        *came_from* is None for our own words: they go whole to all links. What was not *pushed* came by
        anti-entropy: others are catching up as well, so they hear its name only.
        """
        short = item.item_id[:SHORT_ID_BYTES]
        missing = self._missing.pop(short, None)
        told = set() if missing is None else set(missing.announcers)
        source = None if came_from is None else self._branches.get(came_from)
        # Authors tell all their links: over a lazy one an item comes before the tree brings it.
        early = source is not None and source.peer == item.author and not source.eager
        aside = early or (came_from is not None and not pushed)
        woken: list[LinkT] = []
        if source is not None and came_from is not None:
            told.add(came_from)
            source.suspect, source.failed = False, 0
            source.trust = min(MOST_TRUST, source.trust + 1)
            if not aside:
                late_ms = 0 if missing is None else now_ms - missing.named_ms
                self._late_ms = max(late_ms, self._late_ms - self._late_ms // 16)
                # Even over a link that we have called lazy: the peer did not know, or we have asked for it.
                source.eager, source.prune = True, False
        older = self._keep(short, item)
        for link, branch in self._branches.items():
            if older is not None:
                branch.announced.pop(older, None)
            if branch.peer != item.author:
                branch.news += 1
                branch.told += link in told
            if link in told or aside:
                continue
            if came_from is None or branch.eager:
                if branch.put(item, whole=came_from is None):
                    woken.append(link)
            else:
                self._announce(branch, short, now_ms)
        if aside:
            rejoin = came_from if source is not None and not source.eager and not early else None
            self._aside[short] = _Aside(now_ms + self._patience_ms(now_ms), now_ms, item, told, rejoin)
            heapq.heappush(self._due, (self._aside[short].due_ms, short))
            if len(self._aside) > MAX_MISSING_ITEMS:
                self._aside.popitem(last=False)
        return woken

    def known(self, item_id: bytes, link: LinkT, now_ms: int) -> list[LinkT]:
        """Note that *link* has pushed an item that was here already; return the links to wake."""
        branch = self._branches.get(link)
        short = item_id[:SHORT_ID_BYTES]
        if branch is None or short not in self._seen:
            return []  # so old that it says nothing about the tree
        branch.suspect = False
        branch.told += 1
        branch.strike_out(short, self._recent.get(short))
        if branch.eager and short in self._aside:
            return self._go_on(self._aside.pop(short), link, now_ms)
        item = self._recent.get(short)
        if item is not None and item.author == branch.peer and not branch.eager:
            return []  # its author's own telling: no word about the tree
        branch.trust -= TRUST_LOST
        if branch.eager and branch.trust >= 0:
            return []
        busy = branch.waits
        self._make_lazy(branch, now_ms)
        branch.prune = True
        return [] if busy else [link]

    def pass_over(self, item_id: bytes) -> None:
        """Note that an item has come and is not offered, or not soon: do not wait for it, and ask nobody for it."""
        short = item_id[:SHORT_ID_BYTES]
        self._missing.pop(short, None)
        self._see(short)

    def receive(self, link: LinkT, message: Have | Graft | Prune, now_ms: int) -> list[LinkT]:
        """Take what a peer says about the tree; return the links to wake."""
        branch = self._branches.get(link)
        if branch is None:
            return []
        branch.suspect = False
        busy = branch.waits
        if isinstance(message, Prune):
            self._make_lazy(branch, now_ms)
        elif isinstance(message, Graft):
            branch.eager, branch.prune = True, False
            for short in names_in(message.ids):
                item = self._recent.get(short)
                if item is not None:
                    branch.put(item, whole=True)
        else:
            for short in names_in(message.ids):
                self._hear_name(link, branch, short, now_ms)
        return [link] if branch.waits and not busy else []

    # ── what is said ──────────────────────────────────────────────────────────────────────────────

    def take(self, link: LinkT, now_ms: int) -> Put | Have | Graft | Prune | None:
        """Return the next message for *link*, or None when there is nothing to say now."""
        branch = self._branches.get(link)
        if branch is None:
            return None
        return branch.take(names=not now_ms < self._flush_ms < _NEVER_MS)

    def next_deadline(self) -> int | None:
        """Return when `tick` must be called at the latest, or None when nothing is waited for."""
        while self._due and not self._is_due(*self._due[0]):
            heapq.heappop(self._due)
        deadline_ms = min(self._flush_ms, self._due[0][0] if self._due else _NEVER_MS)
        return None if deadline_ms == _NEVER_MS else deadline_ms

    def tick(self, now_ms: int) -> list[LinkT]:
        """Announce what is due and fetch what was named and has not come; return the links to wake."""
        woken: dict[LinkT, None] = {}
        if now_ms >= self._flush_ms:
            self._flush_ms = _NEVER_MS
            woken.update((link, None) for link, branch in self._branches.items() if branch.announced)
        while self._due and self._due[0][0] <= now_ms:
            due_ms, short = heapq.heappop(self._due)
            if self._is_due(due_ms, short):
                woken.update((link, None) for link in self._give_up_waiting(short, now_ms))
        return list(woken)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _go_on(self, aside: _Aside[LinkT], came_from: LinkT, now_ms: int) -> list[LinkT]:
        """The tree has brought what we had early: now it goes on as if it had come now."""
        self._late_ms = max(self._late_ms, now_ms - aside.came_ms)
        woken = []
        for link, branch in self._branches.items():
            if link == came_from or link in aside.told:
                continue
            if not branch.eager:
                self._announce(branch, aside.item.item_id[:SHORT_ID_BYTES], now_ms)
            elif branch.put(aside.item, whole=False):
                woken.append(link)
        return woken

    def _keep(self, short: bytes, item: Item) -> bytes | None:
        """Remember an item; return the short name of the word that it replaces."""
        self._see(short)
        slot = (item.kind, item.slot)
        older = self._latest.get(slot)
        if older is not None:
            # Whoever asks for the older word gets the newer one.
            self._recent_bytes += len(item.data) - len(self._recent[older].data)
            self._recent[older] = item
        self._latest[slot] = short
        self._recent[short] = item
        self._recent_bytes += len(item.data)
        while self._recent_bytes > MAX_RECENT_BYTES:
            gone, old = self._recent.popitem(last=False)
            self._recent_bytes -= len(old.data)
            if self._latest[old.kind, old.slot] == gone:
                del self._latest[old.kind, old.slot]
        return older

    def _see(self, short: bytes) -> None:
        self._seen[short] = None
        if len(self._seen) > MAX_SEEN_ITEMS:
            self._seen.popitem(last=False)

    def _announce(self, branch: Branch, short: bytes, now_ms: int) -> None:
        branch.name(short)
        if self._flush_ms == _NEVER_MS:
            self._flush_ms = now_ms + (HURRIED_GRAFT_MS if now_ms < self._hurry_until_ms else LAZY_MS)

    def _make_lazy(self, branch: Branch, now_ms: int) -> None:
        for short in branch.make_lazy():
            self._announce(branch, short, now_ms)

    def _hear_name(self, link: LinkT, branch: Branch, short: bytes, now_ms: int) -> None:
        if short in self._seen:
            branch.told += branch.strike_out(short, self._recent.get(short))  # we would have told the peer
            if short in self._aside:
                self._aside[short].told.add(link)
            return
        missing = self._missing.get(short)
        if missing is None:
            missing = self._missing[short] = _Missing(0, now_ms, [])
            self._wait(missing, short, now_ms + self._patience_ms(now_ms))
            if len(self._missing) > MAX_MISSING_ITEMS:
                self._missing.popitem(last=False)  # anti-entropy brings it
        if link not in missing.announcers:
            missing.announcers.append(link)

    def _patience_ms(self, now_ms: int) -> int:
        """How long to wait for the tree: what it mostly takes here after the first name, and as much again."""
        if now_ms < self._hurry_until_ms:
            return HURRIED_GRAFT_MS
        return min(GRAFT_MS, FASTEST_GRAFT_MS + 2 * self._late_ms)

    def _wait(self, missing: _Missing[LinkT], short: bytes, due_ms: int) -> None:
        missing.due_ms = due_ms
        heapq.heappush(self._due, (due_ms, short))

    def _is_due(self, due_ms: int, short: bytes) -> bool:
        """Whether an entry of the heap still means something."""
        waits = self._missing.get(short) or self._aside.get(short)
        return waits is not None and waits.due_ms == due_ms

    def _give_up_waiting(self, short: bytes, now_ms: int) -> list[LinkT]:
        """The tree has not brought what was named, or what came aside: ask for it, or join; return whom to wake."""
        aside = self._aside.pop(short, None)
        if aside is None:
            link = self._next_announcer(short, now_ms)
        else:
            link = aside.rejoin
            for peer, branch in self._branches.items():
                if peer not in aside.told:
                    self._announce(branch, short, now_ms)
        if link is None or link not in self._branches:
            return []
        self._branches[link].join(short if aside is None else None)
        return [link]

    def _next_announcer(self, short: bytes, now_ms: int) -> LinkT | None:
        """Choose whom to ask, and when to ask the next one."""
        missing = self._missing[short]
        asked = None if missing.asked is None else self._branches.get(missing.asked)
        if asked is not None:
            asked.failed += 1  # it has named what it does not give
        here = [link for link in missing.announcers if link in self._branches]
        if not here or missing.tries >= MAX_GRAFTS:
            del self._missing[short]  # anti-entropy brings it
            return None
        missing.tries += 1
        others = [link for link in here if link != missing.asked] or here
        missing.asked = min(others, key=lambda link: (self._branches[link].suspect, self._branches[link].failed))
        self._wait(missing, short, now_ms + GRAFT_AGAIN_MS)
        return missing.asked

    def _hurry(self, now_ms: int) -> None:
        """A branch of the tree is gone: for a while, do not wait for what was named."""
        self._hurry_until_ms = now_ms + HURRY_MS
        self._flush_ms = min(self._flush_ms, now_ms + HURRIED_GRAFT_MS) if self._flush_ms < _NEVER_MS else _NEVER_MS
        for short, missing in self._missing.items():
            if missing.tries == 0 and missing.due_ms > now_ms + HURRIED_GRAFT_MS:
                self._wait(missing, short, now_ms + HURRIED_GRAFT_MS)
