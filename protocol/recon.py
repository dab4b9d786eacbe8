"""Range-based set reconciliation: two nodes find out which items only one of them holds.

Sans-I/O: one side asks with a `Reconciler`, the other answers each question by itself with `answer`.
The thing to understand: for one exchange every id goes by a short *name*, its hash under a salt that the asker has
just chosen. Names are spread evenly and nobody can know them before, so nobody can craft items that collide or
crowd into one range. Where the fingerprints of a range differ it is split, where few are left they are listed.
Specification, section 9.6.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from protocol.errors import Reason, Refused
from protocol.limits import (
    MAX_ITEMS,
    MAX_RECON_QUESTIONS,
    MAX_RECON_RANGES,
    MAX_REPLY_BYTES,
    RECON_FIRST_PARTS,
    RECON_LIST,
    RECON_NAME_BYTES,
    RECON_PART_ITEMS,
    RECON_PARTS,
)
from protocol.message_fields import DIFFERENCE, FINGERPRINT, LISTED, SKIP
from protocol.messages import Reconcile, Reconciled

_END = b"\xff" * (RECON_NAME_BYTES + 1)
"""Above every name; on the wire the empty bound."""
Row = list[Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """What an answer has told: ids that only the peer holds, and ids that only we hold."""

    lacking: list[bytes]
    spare: list[bytes]


def _joined(data: bytes, length: int) -> list[bytes]:
    return [data[at : at + length] for at in range(0, len(data), length)]


def _spans(ranges: list[Row]) -> Iterator[tuple[bytes, bytes, int, Any]]:
    """Yield (lower, upper, mode, payload); the shape of the message has seen to it that bounds ascend."""
    lower = b""
    for bound, mode, payload in ranges:
        upper = bound or _END
        yield lower, upper, mode, payload
        lower = upper


def _wire(bound: bytes) -> bytes:
    return b"" if bound == _END else bound


class _Names:
    """A set of ids under a salt."""

    def __init__(self, ids: Iterable[bytes], salt: bytes) -> None:
        self._salt = salt
        # Two ids of one name: one of them is passed over in this exchange. The next has another salt.
        self.ids = {self.name(one): one for one in ids}
        self._sorted = sorted(self.ids)

    def name(self, item_id: bytes) -> bytes:
        return hashlib.sha256(self._salt + item_id).digest()[:RECON_NAME_BYTES]

    def between(self, lower: bytes, upper: bytes) -> list[bytes]:
        return self._sorted[bisect_left(self._sorted, lower) : bisect_left(self._sorted, upper)]

    def fingerprint(self, names: list[bytes]) -> bytes:
        return hashlib.sha256(self._salt + b"".join(names)).digest()[:16]

    def split(self, names: list[bytes], upper: bytes, most: int) -> list[Row]:
        """Return the rows of *names*, which end at *upper*, in parts of about equal size."""
        parts = min(most, -(-len(names) // RECON_PART_ITEMS))
        cuts = [number * len(names) // parts for number in range(parts + 1)]
        bounds = [_bound(names[cut - 1], names[cut]) for cut in cuts[1:-1]] + [_wire(upper)]
        return [
            [bound, FINGERPRINT, self.fingerprint(names[begin:end])]
            for bound, begin, end in zip(bounds, cuts[:-1], cuts[1:], strict=True)
        ]


def _bound(left: bytes, right: bytes) -> bytes:
    """Return the shortest beginning of *right* that is above *left*, which is below *right*."""
    length = next(at for at in range(RECON_NAME_BYTES) if left[at] != right[at]) + 1
    return right[:length]


class Reconciler:
    """The asking side. Call `questions`, send each, hand every answer to `receive`; it is over when `done`.

    When it is not done and there are no questions under way or left, it has given up: no honest peer needs so many.
    """

    def __init__(self, ids: Iterable[bytes], salt: bytes) -> None:
        self._salt = salt
        self._names = _Names(ids, salt)
        self._wanted = deque([(b"", _END)])
        self._asked = 0
        self._answered = 0

    @property
    def done(self) -> bool:
        """Whether every range has been settled."""
        return not self._wanted and self._asked == self._answered

    def questions(self) -> list[Reconcile]:
        """Return the questions that can be asked now; each is returned once."""
        found = []
        while self._wanted and self._asked < MAX_RECON_QUESTIONS:
            found.append(self._question(RECON_PARTS if self._asked else RECON_FIRST_PARTS))
            self._asked += 1
        return found

    def receive(self, question: Reconcile, answer: Reconciled) -> Difference:
        """Take an answer; return what it tells.

        Refuses: unasked. The peer is at fault then, and nothing of the answer counts.
        """
        asked = [(lower, upper) for lower, upper, mode, _ in _spans(question.ranges) if mode != SKIP]
        wanted: list[tuple[bytes, bytes]] = []
        told = Difference([], [])
        end, place = b"", 0
        for lower, end, mode, payload in _spans(answer.ranges):
            if mode == SKIP:
                continue
            while place < len(asked) and asked[place][1] <= lower:
                place += 1
            if place == len(asked) or lower < asked[place][0] or end > asked[place][1]:
                raise Refused(Reason.UNASKED, "a range came that was not asked for")
            ours = self._names.between(lower, end)
            if mode == LISTED:
                self._listed(told, lower, end, payload, ours)
            elif mode == DIFFERENCE:
                self._difference(told, lower, end, payload, ours)
            elif payload != self._names.fingerprint(ours):
                wanted.append((lower, end))
        if end <= asked[0][0]:
            raise Refused(Reason.UNASKED, "the answer holds nothing of what was asked for")
        # The peer may cut an answer short; what is left is asked again.
        wanted.extend((max(lower, end), upper) for lower, upper in asked if upper > end)
        self._wanted.extend(wanted)
        self._answered += 1
        return told

    def _question(self, most: int) -> Reconcile:
        rows: list[Row] = []
        at = b""
        while self._wanted and len(rows) + 1 + most <= MAX_RECON_RANGES:
            lower, upper = self._wanted[0]
            if lower < at:
                break  # of another answer: ranges of one question ascend
            self._wanted.popleft()
            if lower > at:
                rows.append([lower, SKIP, None])
            ours = self._names.between(lower, upper)
            if len(ours) <= RECON_LIST:
                rows.append([_wire(upper), LISTED, b"".join(ours)])
            else:
                rows.extend(self._names.split(ours, upper, most))
            at = upper
        return Reconcile(0, self._salt, rows)

    def _listed(self, told: Difference, lower: bytes, upper: bytes, payload: bytes, ours: list[bytes]) -> None:
        """All that the peer holds in this range."""
        theirs = self._their_ids(lower, upper, payload)
        told.lacking.extend(item_id for name, item_id in theirs.items() if name not in self._names.ids)
        told.spare.extend(self._names.ids[name] for name in ours if name not in theirs)

    def _difference(self, told: Difference, lower: bytes, upper: bytes, payload: Row, ours: list[bytes]) -> None:
        """What the peer holds in this range and we did not list, and what we listed and it does not hold."""
        theirs = self._their_ids(lower, upper, payload[0])
        needed = _joined(payload[1], RECON_NAME_BYTES)
        if not set(needed) <= set(ours):
            raise Refused(Reason.UNASKED, "the peer needs what was not listed")
        told.lacking.extend(item_id for name, item_id in theirs.items() if name not in self._names.ids)
        told.spare.extend(self._names.ids[name] for name in needed)

    def _their_ids(self, lower: bytes, upper: bytes, data: bytes) -> dict[bytes, bytes]:
        theirs = {self._names.name(one): one for one in _joined(data, 32)}
        if not all(lower <= name < upper for name in theirs):
            raise Refused(Reason.UNASKED, "an id came that is not in its range")
        return theirs


def answer(ids: Iterable[bytes], question: Reconcile, store_nonce: bytes, cursor: int) -> Reconciled:
    """Return the answer of a node that holds *ids*, in a store whose latest arrival is *cursor*.

    It depends on nothing that was said before. It may be cut short: then it ends at a bound of the question.
    """
    names = _Names(ids, question.salt)
    rows: list[Row] = []
    size = 0
    for lower, upper, mode, payload in _spans(question.ranges):
        if size > MAX_REPLY_BYTES or len(rows) + RECON_PARTS > MAX_RECON_RANGES:
            break
        told = _answer_range(names, names.between(lower, upper), upper, mode, payload)
        if told[0][1] == SKIP and rows and rows[-1][1] == SKIP:
            rows.pop()
        rows.extend(told)
        size += sum(len(row[2]) if row[1] in (FINGERPRINT, LISTED) else 0 for row in told)
        size += sum(len(row[2][0]) + len(row[2][1]) for row in told if row[1] == DIFFERENCE)
    return Reconciled(question.request, store_nonce, cursor, rows)


def _answer_range(names: _Names, ours: list[bytes], upper: bytes, mode: int, payload: Any) -> list[Row]:
    bound = _wire(upper)
    if mode == FINGERPRINT and payload != names.fingerprint(ours):
        if len(ours) > RECON_LIST:
            return names.split(ours, upper, RECON_PARTS)
        return [[bound, LISTED, b"".join(names.ids[name] for name in ours)]]
    if mode == LISTED:
        if len(ours) > MAX_ITEMS:
            return names.split(ours, upper, RECON_PARTS)
        theirs = _joined(payload, RECON_NAME_BYTES)
        have = set(ours).difference(theirs)
        need = set(theirs).difference(ours)
        if have or need:
            joined = b"".join(names.ids[name] for name in sorted(have))
            return [[bound, DIFFERENCE, [joined, b"".join(sorted(need))]]]
    return [[bound, SKIP, None]]
