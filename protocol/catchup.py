"""Hearing a peer out: by the cursor that we keep of its store, or, where that means nothing, by comparing sets.

Sans-I/O: it says what to ask, and hands out what has come. Never judges an item. The thing to understand: a cursor
is ours alone and dies with the life of the peer's store, so there is always a second way, whose cost depends on the
difference and not on the size. Specification, section 9.6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from protocol import signing
from protocol.errors import Reason, Refused
from protocol.limits import MAX_ITEMS, RECON_AFTER_ITEMS, RECON_FROM_ITEMS
from protocol.messages import Answer, GetItems, Items, News, Question, Reconcile, Reconciled, Since
from protocol.recon import Reconciler

Mark = tuple[bytes, int]
"""(store nonce, cursor): how far a peer has been heard out."""


class _Way(Enum):
    CURSOR = auto()
    COMPARE = auto()
    FETCH = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Heard:
    """Items that an answer has brought, to be judged."""

    identities: list[bytes] = field(default_factory=list)
    statements: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)


def must_compare(mark: Mark | None, peer_nonce: bytes | None, held: int, arrived: int) -> bool:
    """Whether to compare sets: *mark* means nothing in the store of *peer_nonce*, or is old, and we hold much.

    *arrived* items have come here since the mark was kept: about as many have come there, and most of them are the
    same. Whoever was away has missed what came, so for it the mark is young.
    """
    useless = mark is None or mark[0] != peer_nonce or arrived > RECON_AFTER_ITEMS
    return useless and held > RECON_FROM_ITEMS


class CatchUp:
    """One exchange with one peer: ask all `questions`, hand every answer to `receive`, again until `done`.

    *mark* is what we keep of this peer, *frontier* the hash of our ids. *ids* are all of them where sets must be
    compared (`must_compare`), else None; *salt* is 16 bytes that nobody can foresee.
    """

    def __init__(self, mark: Mark | None, frontier: bytes, ids: Iterable[bytes] | None, salt: bytes) -> None:
        self.mark = mark
        """How far the peer has been heard out. Keep it when what came before has been kept."""
        self.spare: list[bytes] = []
        """Ids that only we hold: when done, those that are still here go to the peer."""
        self.rounds = 0
        """How often `questions` were answered."""
        self._frontier = frontier
        self._way = _Way.CURSOR if ids is None else _Way.COMPARE
        self._comparison = Reconciler(() if ids is None else ids, salt)
        self._first_mark: Mark | None = None
        self._lacking: dict[bytes, None] = {}
        self._waiting = 0

    @property
    def done(self) -> bool:
        """Whether the peer has been heard out."""
        return self._way is _Way.DONE

    def questions(self) -> list[Question]:
        """Return what to ask now; nothing while answers are outstanding."""
        if self._waiting:
            return []
        found: list[Question] = []
        if self._way is _Way.COMPARE:
            found.extend(self._comparison.questions())
            if not found:
                # A peer with no end of differences: have everything sent.
                self._way = _Way.FETCH if self._comparison.done else _Way.CURSOR
        if self._way is _Way.FETCH:
            if self._lacking:
                found.append(GetItems(0, list(self._lacking)[:MAX_ITEMS]))
            else:
                self.mark, self._way = self._first_mark, _Way.DONE
        if self._way is _Way.CURSOR:
            nonce, cursor = self.mark or (bytes(8), 0)
            found.append(Since(0, nonce, cursor, self._frontier))
        self._waiting = len(found)
        return found

    def receive(self, question: Question, answer: Answer) -> Heard:
        """Take the answer to a question. Refuses: unasked; the peer is at fault then."""
        self._waiting -= 1
        self.rounds += not self._waiting
        if isinstance(answer, News):
            self.mark = (answer.store_nonce, answer.cursor)
            if not answer.more:
                self._way = _Way.DONE
            return Heard(answer.identities, answer.statements, answer.heads)
        if isinstance(answer, Items):
            return self._on_items(answer)
        assert isinstance(question, Reconcile)
        assert isinstance(answer, Reconciled)
        # Of the first answer: what arrives there while we talk comes after this cursor.
        self._first_mark = self._first_mark or (answer.store_nonce, answer.cursor)
        told = self._comparison.receive(question, answer)
        self._lacking.update(dict.fromkeys(told.lacking))
        self.spare.extend(told.spare)
        return Heard()

    def _on_items(self, items: Items) -> Heard:
        came = {
            signing.split(data, len(data)).object_id for data in (*items.heads, *items.statements, *items.identities)
        }
        asked = list(self._lacking)[:MAX_ITEMS]
        if not came <= set(asked):
            raise Refused(Reason.UNASKED, "items came that were not asked for")
        # When none came they have been replaced meanwhile: the later word comes as news.
        for item_id in came or asked:
            del self._lacking[item_id]
        return Heard(items.identities, items.statements, items.heads)
