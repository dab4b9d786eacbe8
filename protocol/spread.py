"""Spreading the questions of one walk over several peers, each at its own pace.

Sans-I/O: it says who is asked what and when, the node asks. It never looks into an answer: `pull.Walk` does.
The thing to understand: a question belongs to nobody. Whoever has room takes the next one; a peer that goes, has
nothing or is busy leaves its questions to the others; and a peer without work takes over what another is slow to
answer, first come first kept. So one slow or silent peer costs its own share and no more. Specification, section 9.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from protocol.limits import MAX_REQUESTS_UNDER_WAY, MAX_WALK_PREFIXES
from protocol.messages import WalkTrie
from protocol.pull import Walk

LinkT = TypeVar("LinkT", bound=Hashable)

MAX_ARRIVED = 8
"""Answers that have come and are not kept yet: beyond, nobody is asked, so that memory follows the disk's pace."""
SLOW_MS = 5_000
"""A peer whose answer takes longer is asked less at a time, or those behind it would come too late."""
QUICK_MS = 1_000
TAKE_OVER_MS = 1_000
"""A question that has waited so long may be put to a peer without work as well."""


@dataclass(eq=False, slots=True)
class Share(Generic[LinkT]):
    """One question put to one peer."""

    link: LinkT
    question: WalkTrie
    asked_ms: int
    taken_over: bool = False
    """Whether it has been put to another peer as well."""


@dataclass(slots=True)
class _Peer(Generic[LinkT]):
    """What a peer is trusted with: how many questions at once, and of how many prefixes at most."""

    window: int = MAX_REQUESTS_UNDER_WAY
    prefixes: int = MAX_WALK_PREFIXES
    under_way: list[Share[LinkT]] = field(default_factory=list)

    def is_stalled(self, now_ms: int) -> bool:
        """Whether it owes an answer for long."""
        return any(share.asked_ms + TAKE_OVER_MS <= now_ms for share in self.under_way)

    def pace(self, question: WalkTrie, took_ms: int) -> None:
        """Learn from how long an answer took."""
        if took_ms > SLOW_MS:
            if self.window > 1:
                self.window //= 2
            else:
                self.prefixes = max(1, min(self.prefixes, len(question.prefixes)) // 2)
        elif took_ms < QUICK_MS:
            if self.prefixes < MAX_WALK_PREFIXES:
                self.prefixes = min(2 * self.prefixes, MAX_WALK_PREFIXES)
            else:
                self.window = min(self.window + 1, MAX_REQUESTS_UNDER_WAY)


class Spread(Generic[LinkT]):
    """Who is asked what of one walk.

    Call `look` when nobody else touches the walk, send what `ask` returns, and hand back each share once: by
    `came` when its answer is here (then `kept` when it has been dealt with), or by `drop` of its link.
    """

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._ready: deque[WalkTrie] = deque()
        self._peers: dict[LinkT, _Peer[LinkT]] = {}
        self._arrived = 0

    @property
    def links(self) -> list[LinkT]:
        """The peers that may be asked."""
        return list(self._peers)

    @property
    def under_way(self) -> int:
        """How many questions wait for their answers."""
        return len(self._shares())

    def add(self, link: LinkT) -> None:
        """Let *link* be asked as well."""
        self._peers.setdefault(link, _Peer())

    def drop(self, link: LinkT) -> None:
        """Ask *link* no more; what it has not answered goes to others."""
        peer = self._peers.pop(link, None)
        for share in [] if peer is None else peer.under_way:
            self.again(share.question)

    def again(self, question: WalkTrie) -> None:
        """Put *question* to somebody else, first of all."""
        others = [share for share in self._shares() if share.question is question]
        for share in others:
            share.taken_over = False
        if not others and self._walk.needs(question):
            self._ready.appendleft(question)

    def look(self) -> None:
        """Take over the questions that the walk has now. Not while it receives an answer."""
        self._ready.extend(self._walk.questions())

    def ask(self, now_ms: int) -> list[Share[LinkT]]:
        """Return what is to be asked now, in turns, so that no peer gets all of it.

        Who owes an answer for long gets nothing new while there is somebody who does not.
        """
        asked: list[Share[LinkT]] = []
        prompt = {link: peer for link, peer in self._peers.items() if not peer.is_stalled(now_ms)} or self._peers
        while self._arrived < MAX_ARRIVED:
            free = [(link, peer) for link, peer in prompt.items() if len(peer.under_way) < peer.window]
            if not free:
                break
            link, peer = min(free, key=lambda one: len(one[1].under_way))
            question = self._next_for(peer, now_ms)
            if question is None:
                break
            share = Share(link, question, now_ms)
            peer.under_way.append(share)
            asked.append(share)
        return asked

    def came(self, share: Share[LinkT], now_ms: int) -> bool:
        """Note that the answer to *share* is here; return whether it is still needed. Then `kept` must follow."""
        peer = self._peers.get(share.link)
        if peer is not None and share in peer.under_way:
            peer.under_way.remove(share)
            peer.pace(share.question, now_ms - share.asked_ms)
        if not self._walk.needs(share.question):
            return False
        self._arrived += 1
        return True

    def kept(self) -> None:
        """Note that an answer which was needed has been dealt with."""
        self._arrived -= 1

    def stalled(self, now_ms: int) -> int:
        """Return how many peers owe an answer for so long that others may be asked in their place."""
        return sum(peer.is_stalled(now_ms) for peer in self._peers.values())

    def next_stall(self, now_ms: int) -> int | None:
        """Return when `stalled` may grow, or None."""
        marks = [share.asked_ms + TAKE_OVER_MS for share in self._shares()]
        return min((mark for mark in marks if mark > now_ms), default=None)

    def next_deadline(self) -> int | None:
        """Return when `ask` may have something for a peer without work, or None."""
        waiting = self._slow()
        idle = any(not peer.under_way for peer in self._peers.values())
        return min(one.asked_ms for one in waiting) + TAKE_OVER_MS if waiting and idle else None

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _next_for(self, peer: _Peer[LinkT], now_ms: int) -> WalkTrie | None:
        while self._ready:
            question = self._ready.popleft()
            if not self._walk.needs(question):
                continue
            if len(question.prefixes) > peer.prefixes:
                self._ready.appendleft(replace(question, prefixes=question.prefixes[peer.prefixes :]))
                question = replace(question, prefixes=question.prefixes[: peer.prefixes])
            return question
        if peer.under_way:
            return None
        due = [one for one in self._slow() if one.asked_ms + TAKE_OVER_MS <= now_ms]
        if not due:
            return None
        slowest = min(due, key=lambda one: one.asked_ms)
        slowest.taken_over = True
        return slowest.question

    def _slow(self) -> list[Share[LinkT]]:
        """Return what only one peer has been asked, and has not been answered."""
        return [share for share in self._shares() if not share.taken_over and self._walk.needs(share.question)]

    def _shares(self) -> list[Share[LinkT]]:
        return [share for peer in self._peers.values() for share in peer.under_way]
