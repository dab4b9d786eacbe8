"""A head: the signed summary of a member's catalogue at one moment, and when one may replace another.

Pure: looks at heads and at a time that is handed in. Whether we hold the records behind a head is the
caller's business. Specification, section 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from protocol import shape, signing
from protocol.encoding import decode, encode
from protocol.errors import Reason, Refused
from protocol.identity import MEMBER_ID_BYTES, Identity
from protocol.limits import MAX_AHEAD_MS, MAX_HEAD_BYTES, MAX_INT, MAX_OPS, MAX_OPS_BYTES, MAX_STREAM
from protocol.signing import Signed

WHAT = "head"
NO_HASH = bytes(32)
_U64 = shape.integer(0, MAX_INT)
_HASH = shape.binary(32)
_ROW: tuple[tuple[str, shape.Check], ...] = (
    ("v", shape.integer(1, 1)),
    ("member", shape.binary(MEMBER_ID_BYTES)),
    ("stream", shape.integer(0, MAX_STREAM)),
    ("epoch", shape.integer(0, 2**48)),
    ("rev", _U64),
    ("instance", shape.binary(8)),
    ("prev", _HASH),
    ("state_root", _HASH),
    ("records", _U64),
    ("bytes", _U64),
    ("since_rev", _U64),
    ("ops_root", _HASH),
    ("ops_count", shape.integer(0, MAX_OPS)),
    ("ops_bytes", shape.integer(0, MAX_OPS_BYTES)),
    ("flags", shape.integer(0, 0)),
)


class Stream(NamedTuple):
    """One catalogue: its author and its number (0 public, 1 for members only)."""

    member_id: bytes
    number: int


class Version(NamedTuple):
    """Position in a stream: the highest wins. `rev` is a hybrid logical clock in microseconds."""

    epoch: int
    rev: int


@dataclass(frozen=True, slots=True)
class Head:
    """A decoded head. `signed` is what was received and what travels on; its signature is checked apart."""

    signed: Signed
    stream: Stream
    version: Version
    instance: bytes
    prev: bytes
    state_root: bytes
    record_count: int
    record_bytes: int
    since_rev: int
    ops_root: bytes
    ops_count: int
    ops_bytes: int

    @property
    def head_id(self) -> bytes:
        """SHA-256 of the body, 32 bytes."""
        return self.signed.object_id

    @property
    def said_ms(self) -> int:
        """When the author said so, by the author's own clock."""
        return self.version.rev // 1000


def body(
    *,
    stream: Stream,
    version: Version,
    instance: bytes,
    prev: bytes,
    state_root: bytes,
    record_count: int,
    record_bytes: int,
    since_rev: int = 0,
    ops_root: bytes = NO_HASH,
    ops_count: int = 0,
    ops_bytes: int = 0,
) -> bytes:
    """Encode the body of a head. A head without operations has `since_rev` 0: followers walk the trie."""
    return encode(
        [
            1,
            stream.member_id,
            stream.number,
            version.epoch,
            version.rev,
            instance,
            prev,
            state_root,
            record_count,
            record_bytes,
            since_rev,
            ops_root,
            ops_count,
            ops_bytes,
            0,
        ]
    )


def read(data: bytes) -> Head:
    """Decode a head; `verify` checks who signed it. Refuses what section 2 refuses, and wrong_version."""
    signed = signing.split(data, MAX_HEAD_BYTES)
    value = decode(signed.body, MAX_HEAD_BYTES)
    if type(value) is list and value and type(value[0]) is int and value[0] != 1:
        raise Refused(Reason.WRONG_VERSION, f"heads of version {value[0]} are not known here")
    row = shape.row(value, _ROW)
    if (row[10] == 0) != (row[12] == 0) or row[10] >= row[4]:
        raise Refused(Reason.OUT_OF_RANGE, "a head with operations names an earlier rev, one without names none")
    if row[12] == 0 and (row[11] != NO_HASH or row[13] != 0):
        raise Refused(Reason.OUT_OF_RANGE, "a head without operations has zero bytes for their root, and no size")
    return Head(signed, Stream(row[1], row[2]), Version(row[3], row[4]), *row[5:14])


def verify(head: Head, coop_id: bytes, identity: Identity) -> None:
    """Check that the author signed the head with the key of its epoch. Spec 8.2.

    Refuses: epoch_not_fenced, identity_frozen, bad_signature.
    """
    identity.verify(head.signed, WHAT, coop_id, head.version.epoch)


def check_replaces(new: Head, current: Head | None) -> None:
    """Refuse *new* unless it is the author's later word. Spec 8.4.

    Refuses: stale (older, or the same one), equivocation (same epoch and rev, other content). Of an
    equivocating pair the lower id holds until a later head heals it; the caller keeps both as evidence
    and asks `wins_tie`.
    """
    if current is None or new.version > current.version:
        return
    if new.version == current.version and new.head_id != current.head_id:
        raise Refused(Reason.EQUIVOCATION, "the author signed two different heads with one epoch and rev")
    raise Refused(Reason.STALE, "a later head of this stream is known")


def wins_tie(new: Head, current: Head) -> bool:
    """Whether *new* takes the place of *current* although both have the same epoch and rev."""
    return new.version == current.version and new.head_id < current.head_id


def check_not_future(head: Head, now_ms: int) -> None:
    """Refuse (future) a head more than 5 minutes ahead of *now_ms*: it is parked, not passed on. Spec 8.5."""
    ahead_ms = head.version.rev // 1000 - now_ms
    if ahead_ms > MAX_AHEAD_MS:
        raise Refused(Reason.FUTURE, f"the head is dated {ahead_ms // 1000} seconds ahead of this node's clock")


def next_version(current: Version | None, epoch: int, now_us: int) -> Version:
    """Return the version of the next own head: never at or below *current*, else the present time. Spec 8.1."""
    if current is None or epoch > current.epoch:
        return Version(epoch, max(now_us, 1))
    return Version(current.epoch, max(now_us, current.rev + 1))
