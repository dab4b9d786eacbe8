"""Who speaks for a member: a tiny log of key changes.

Never looks at arrival order or time: the answer is a function of the set of statements, so every node
that has heard the same statements gives the same answer.
The thing to understand: the log can fork (a thief, a restored backup). Of two successors of one
statement the one signed by the higher-priority key wins; on equal priority the identity is frozen at
that point, until an official page settles which branch holds. Specification, section 4.

Priority of a signer against the statement it succeeds: the pre-rotated key (its hash stood in `next`,
the key itself on paper) is 0; the rotation keys follow in their order.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from protocol import keys, shape, signing
from protocol.encoding import decode, encode
from protocol.errors import Reason, Refused
from protocol.limits import MAX_ROTATION_KEYS, MAX_STATEMENT_BYTES
from protocol.signing import NO_COOP, Signed

WHAT = "identity"
MEMBER_ID_BYTES = 20

_KEY = shape.binary(keys.PUBLIC_KEY_BYTES)
_FIELDS: dict[str, shape.Check] = {
    "v": shape.integer(1, 1),
    "kind": shape.one_of(WHAT),
    "seq": shape.integer(0, 2**32),
    "prev": shape.or_nil(shape.binary(32)),
    "rotation": shape.array(_KEY, 1, MAX_ROTATION_KEYS),
    "key": _KEY,
    "epoch": shape.integer(0, 2**48),
    "next": shape.or_nil(shape.binary(32)),
    "by": _KEY,
}


@dataclass(frozen=True, slots=True)
class IdentityStatement:
    """One entry of an identity log, its own signature already verified."""

    signed: Signed
    statement_id: bytes
    seq: int
    prev: bytes | None
    rotation: tuple[bytes, ...]
    key: bytes
    epoch: int
    next_hash: bytes | None
    by: bytes

    @property
    def member_id(self) -> bytes:
        """The id that this statement would found, if it is a first one: 20 bytes."""
        return self.statement_id[:MEMBER_ID_BYTES]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a member's identity log says: which key signs from which epoch on."""

    member_id: bytes
    log: tuple[IdentityStatement, ...]
    frozen: bool

    @property
    def current(self) -> IdentityStatement:
        """The last statement that holds."""
        return self.log[-1]

    def key_for_epoch(self, epoch: int) -> bytes:
        """Return the signing key that objects of *epoch* need. Refuses: epoch_not_fenced."""
        index = bisect_right([statement.epoch for statement in self.log], epoch) - 1
        if index < 0:
            raise Refused(Reason.EPOCH_NOT_FENCED, f"the identity begins at epoch {self.log[0].epoch}")
        return self.log[index].key

    def verify(self, signed: Signed, what: str, coop_id: bytes, epoch: int) -> None:
        """Check that the member signed this object of *epoch*.

        Refuses: epoch_not_fenced, identity_frozen (an epoch past a fork that nothing decides),
        bad_signature (which is also what the old key gets for a new epoch, and the new for an old).
        """
        if self.frozen and epoch > self.current.epoch:
            raise Refused(
                Reason.IDENTITY_FROZEN, "two key changes of equal rank contradict each other; a vote must settle it"
            )
        signing.verify(signed, what, coop_id, self.key_for_epoch(epoch))


def body(
    *,
    seq: int,
    prev: bytes | None,
    rotation: Iterable[bytes],
    key: bytes,
    epoch: int,
    next_hash: bytes | None,
    by: bytes,
) -> bytes:
    """Encode the body of an identity statement. Spec 4.1."""
    return encode(
        {
            "v": 1,
            "kind": WHAT,
            "seq": seq,
            "prev": prev,
            "rotation": list(rotation),
            "key": key,
            "epoch": epoch,
            "next": next_hash,
            "by": by,
        }
    )


def read(data: bytes) -> IdentityStatement:
    """Decode one identity statement and verify its own signature by the key that it names.

    Whether that key had the right to sign is a question about the whole log: see `fold`.
    """
    signed = signing.split(data, MAX_STATEMENT_BYTES)
    value: dict[str, Any] = decode(signed.body, MAX_STATEMENT_BYTES)
    shape.version_1(value, "an identity statement")
    shape.fields(value, _FIELDS)
    for key in (*value["rotation"], value["key"]):
        keys.check_point(key)
    if (value["seq"] == 0) != (value["prev"] is None):
        raise Refused(Reason.NOT_SUCCESSOR, "only the first statement of an identity has no predecessor")
    signing.verify(signed, WHAT, NO_COOP, value["by"])
    return IdentityStatement(
        signed=signed,
        statement_id=signed.object_id,
        seq=value["seq"],
        prev=value["prev"],
        rotation=tuple(value["rotation"]),
        key=value["key"],
        epoch=value["epoch"],
        next_hash=value["next"],
        by=value["by"],
    )


def priority(statement: IdentityStatement, before: IdentityStatement) -> int:
    """Rank of *statement*'s signer as a successor of *before*; 0 is the highest.

    Refuses: not_successor (wrong link, or a key that *before* does not name), epoch_not_fenced.
    """
    if statement.prev != before.statement_id or statement.seq != before.seq + 1:
        raise Refused(Reason.NOT_SUCCESSOR, "the statement does not follow the one that it names")
    if statement.epoch <= before.epoch:
        raise Refused(Reason.EPOCH_NOT_FENCED, "a key change must begin a later epoch")
    if before.next_hash is not None and hashlib.sha256(statement.by).digest() == before.next_hash:
        return 0
    if statement.by in before.rotation:
        return 1 + before.rotation.index(statement.by)
    raise Refused(Reason.NOT_SUCCESSOR, "the signing key had no right to change this identity")


def check_first(statement: IdentityStatement) -> None:
    """Refuse (not_successor) a statement that cannot found an identity."""
    if statement.seq != 0:
        raise Refused(Reason.NOT_SUCCESSOR, "the identity log does not begin with its first statement")
    if statement.by not in statement.rotation:
        raise Refused(Reason.NOT_SUCCESSOR, "the first statement must be signed by one of its own rotation keys")


def fold(
    statements: Iterable[IdentityStatement], member_id: bytes | None = None, settled: bytes | None = None
) -> Identity:
    """Return what a set of statements of one member says. Any order gives the same answer. Spec 4.3.

    The log is founded by the first statement that *member_id* names; without it, the set must hold one
    first statement only. *settled* is the id of a statement that an official page has recorded: the branch
    that leads to it holds, whatever contradicts it. Statements that do not connect to the log are passed
    over (they wait for their predecessor). Refuses: not_successor when no first statement founds the log,
    or several could.
    """
    pool = {statement.statement_id: statement for statement in statements}
    firsts = [one for one in pool.values() if one.seq == 0 and member_id in (None, one.member_id)]
    if len(firsts) != 1:
        raise Refused(Reason.NOT_SUCCESSOR, "the first statement of the identity is missing, or there are several")
    (first,) = firsts
    check_first(first)
    settled_path = _path(pool, settled)
    log = [first]
    while True:
        rivals = _ranked_successors(pool.values(), log[-1])
        on_path = [statement for _, statement in rivals if statement.statement_id in settled_path]
        if on_path:
            log.append(on_path[0])
        elif not rivals:
            return Identity(first.member_id, tuple(log), frozen=False)
        elif len(rivals) > 1 and rivals[0][0] == rivals[1][0]:
            return Identity(first.member_id, tuple(log), frozen=True)
        else:
            log.append(rivals[0][1])


def _ranked_successors(
    pool: Iterable[IdentityStatement], before: IdentityStatement
) -> list[tuple[int, IdentityStatement]]:
    ranked = []
    for statement in pool:
        if statement.prev == before.statement_id:
            try:
                ranked.append((priority(statement, before), statement))
            except Refused:
                continue  # it names this predecessor without the right to: as if it did not exist
    return sorted(ranked, key=lambda one: (one[0], one[1].statement_id))


def _path(pool: dict[bytes, IdentityStatement], settled: bytes | None) -> frozenset[bytes]:
    """Return the ids from *settled* back to the first statement, as far as they are known."""
    path = set()
    while settled is not None and settled in pool and settled not in path:
        path.add(settled)
        settled = pool[settled].prev
    return frozenset(path)
