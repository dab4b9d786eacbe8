"""Statements: what members say to everybody, each signed alone, kept by all.

One envelope for every kind: a map with `v`, `kind`, `member`, `epoch` (of the author's identity) and
`revision`, signed under the name of its kind. Never decides whether a statement matters: membership,
polls and pages do that. The thing to understand: a statement has a *slot*; in one slot the highest
(epoch, revision) holds, so an author can correct itself and the set does not grow by it.
Specification, section 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from protocol import shape, signing
from protocol.encoding import decode, encode
from protocol.errors import Reason, Refused
from protocol.identity import MEMBER_ID_BYTES, Identity
from protocol.limits import (
    MAX_ACTS,
    MAX_ENDPOINT_BYTES,
    MAX_ENDPOINTS,
    MAX_IDENTITY_STATEMENTS,
    MAX_INT,
    MAX_INVITATION_USES,
    MAX_NAME_BYTES,
    MAX_OPTIONS,
    MAX_RELAYS,
    MAX_REPLICA_BYTES,
    MAX_SIGNED_BYTES,
    MAX_STATEMENT_BYTES,
    MAX_TEXT_BYTES,
    MAX_TITLE_BYTES,
)
from protocol.signing import Signed

CONTACT, PROPOSAL, BALLOT = "contact", "proposal", "ballot"
INVITATION, APPLICATION, PAGE, FINAL = "invitation", "application", "page", "final"

_MS = shape.integer(0, 2**53)
_HASH = shape.binary(32)
_MEMBER = shape.binary(MEMBER_ID_BYTES)

ENVELOPE: dict[str, shape.Check] = {
    "v": shape.integer(0, 255),
    "kind": shape.text(1, 32),
    "member": _MEMBER,
    "epoch": shape.integer(0, 2**48),
    "revision": shape.integer(0, MAX_INT),
}


def _endpoint(value: Any, name: str) -> None:
    shape.text(1, MAX_ENDPOINT_BYTES)(value, name)
    if not value.startswith(("http://", "https://")):
        raise Refused(Reason.OUT_OF_RANGE, f"'{name}' must begin with http:// or https://")


@dataclass(frozen=True, slots=True)
class Kind:
    """The shape of one kind: its own fields, and those that name its slot."""

    required: Mapping[str, shape.Check]
    slot: tuple[str, ...] = ()
    optional: Mapping[str, shape.Check] | None = None
    extra: bool = False


KINDS: dict[str, Kind] = {
    # Where a member's node is found. Later versions may add fields (mail keys): extra ones are ignored.
    CONTACT: Kind(
        {
            "name": shape.text(1, MAX_NAME_BYTES),
            "endpoints": shape.array(_endpoint, 0, MAX_ENDPOINTS),
            "relays": shape.array(_MEMBER, 0, MAX_RELAYS),
        },
        optional={"replica": shape.text(1, MAX_REPLICA_BYTES)},
        extra=True,
    ),
    PROPOSAL: Kind(
        {
            "title": shape.text(1, MAX_TITLE_BYTES),
            "text": shape.text(0, MAX_TEXT_BYTES, lines=True),
            "method": shape.one_of("yes_no"),
            "options": shape.array(shape.text(1, 100), 0, MAX_OPTIONS),
            "page": _HASH,
            "opens_ms": _MS,
            "closes_ms": _MS,
            "quorum_bp": shape.integer(0, 10_000),
            # From half on: with less a minority would carry a motion against the others.
            "threshold_bp": shape.integer(5_000, 10_000),
        },
        # Every proposal is its own slot: it cannot be corrected, only followed by another.
        slot=("epoch", "revision"),
    ),
    BALLOT: Kind(
        {"proposal": _HASH, "choice": shape.text(1, 32)}, slot=("proposal",), optional={"why": shape.text(1, 2000)}
    ),
    INVITATION: Kind(
        {
            "nonce": shape.binary(16),
            "until_ms": _MS,
            "uses": shape.integer(1, MAX_INVITATION_USES),
        },
        slot=("nonce",),
    ),
    APPLICATION: Kind(
        {
            "invitation": _HASH,
            "name": shape.text(1, MAX_NAME_BYTES),
            "log": shape.array(shape.blob(65, MAX_SIGNED_BYTES), 1, MAX_IDENTITY_STATEMENTS),
        },
        slot=("invitation",),
    ),
    PAGE: Kind(
        {
            "teller_epoch": shape.integer(0, 2**48),
            "slot": shape.integer(1, 2**48),
            "parent": _HASH,
            "time_ms": _MS,
            "acts": shape.array(lambda value, name: shape.fields(value, {}, extra=True), 0, MAX_ACTS),
            "state": _HASH,
        },
        slot=("slot",),
    ),
    FINAL: Kind({"slot": shape.integer(1, 2**48), "page": _HASH}, slot=("slot",)),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A decoded statement. Its signature is checked by `verify`, against the author's identity."""

    signed: Signed
    statement_id: bytes
    kind: str
    member_id: bytes
    epoch: int
    revision: int
    fields: dict[str, Any]

    @property
    def order(self) -> tuple[int, int]:
        """(epoch, revision): the highest holds among statements of one slot."""
        return (self.epoch, self.revision)

    @property
    def slot(self) -> bytes:
        """Names what this statement is the latest word about: 32 bytes. Spec 5.3."""
        known = {**self.fields, "epoch": self.epoch, "revision": self.revision}
        own = [known[name] for name in KINDS[self.kind].slot]
        return hashlib.sha256(encode([self.kind, self.member_id, *own])).digest()


def write(
    kind: str, *, member_id: bytes, epoch: int, revision: int, coop_id: bytes, seed: bytes, fields: dict[str, Any]
) -> Statement:
    """Sign a statement of our own. Refuses what `read` would refuse: a person may have typed the fields."""
    value = {"v": 1, "kind": kind, "member": member_id, "epoch": epoch, "revision": revision, **fields}
    return read(signing.sign(kind, coop_id, encode(value), seed).to_bytes())


def read(data: bytes) -> Statement:
    """Decode a statement of any kind; the signature is not checked yet.

    Refuses: what section 2 refuses, unknown_kind, wrong_version, wrong_shape, out_of_range.
    """
    signed = signing.split(data, MAX_STATEMENT_BYTES)
    value = decode(signed.body, MAX_STATEMENT_BYTES)
    shape.fields(value, ENVELOPE, extra=True)
    kind = KINDS.get(value["kind"])
    if kind is None:
        raise Refused(Reason.UNKNOWN_KIND, f"statements of kind '{value['kind']}' are not known here")
    if value["v"] != 1:
        raise Refused(Reason.WRONG_VERSION, f"a {value['kind']} of version {value['v']} is not known here")
    shape.fields(value, {**ENVELOPE, **kind.required}, dict(kind.optional or {}), extra=kind.extra)
    own = {name: item for name, item in value.items() if name not in ENVELOPE}
    return Statement(signed, signed.object_id, value["kind"], value["member"], value["epoch"], value["revision"], own)


def read_kind(data: bytes, kind: str) -> Statement:
    """Decode a statement that must be of *kind*. Refuses: unknown_kind besides what `read` refuses."""
    statement = read(data)
    if statement.kind != kind:
        raise Refused(Reason.UNKNOWN_KIND, f"a {kind} was expected, not a {statement.kind}")
    return statement


def verify(statement: Statement, coop_id: bytes, identity: Identity) -> None:
    """Check that its author signed the statement. Refuses: bad_signature, epoch_not_fenced, identity_frozen."""
    identity.verify(statement.signed, statement.kind, coop_id, statement.epoch)


def check_replaces(new: Statement, current: Statement | None) -> None:
    """Refuse *new* unless it is a later word about its slot. Spec 5.3.

    Refuses: superseded (older or the same), equivocation (same epoch and revision, other content).
    """
    if current is None or new.order > current.order:
        return
    if new.order == current.order and new.statement_id != current.statement_id:
        raise Refused(Reason.EQUIVOCATION, f"the author signed two different {new.kind}s with one revision")
    raise Refused(Reason.SUPERSEDED, f"a later {new.kind} of this author is known")


IdentityOf = Callable[[bytes], Identity | None]
"""Looks up the identity of a member id; None where it is not known."""
