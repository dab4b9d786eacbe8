"""The minute book: genesis, pages and the certificates that make them official.

Pure: decodes and checks one thing at a time; `roster` folds them, the node keeps them.
The thing to understand: a page names its parent, its slot and the state that results from its acts, so
whoever follows the chain from the co-op id recomputes everything and believes nobody. Until tellers are
elected (a later version of the charter), all members are tellers and a page is official when *all*
members of the roster before it have signed `final` for it. Specification, section 10.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocol import identity as identities
from protocol import shape, signing, statements
from protocol.encoding import decode, encode
from protocol.errors import Reason, Refused
from protocol.identity import MEMBER_ID_BYTES, Identity
from protocol.limits import (
    MAX_FOUNDERS,
    MAX_MESSAGE_BYTES,
    MAX_NAME_BYTES,
    MAX_SIGNED_BYTES,
    MAX_STATEMENT_BYTES,
)
from protocol.signing import Signed
from protocol.statements import FINAL, PAGE, Statement

WHAT_GENESIS = "genesis"


def _policy(value: Any, name: str) -> None:
    if type(value) is not dict or len(value) > 64:
        raise Refused(Reason.WRONG_SHAPE, f"'{name}' must be a map of at most 64 entries")
    for key, item in value.items():
        shape.text(1, 64)(key, name)
        if type(item) is str:
            shape.text(0, 500)(item, key)
        else:
            shape.integer(-(2**53), 2**53)(item, key)


_GENESIS: dict[str, shape.Check] = {
    "v": shape.integer(1, 1),
    "kind": shape.one_of(WHAT_GENESIS),
    "name": shape.text(1, MAX_NAME_BYTES),
    "founders": shape.array(shape.binary(MEMBER_ID_BYTES), 1, MAX_FOUNDERS),
    "time_ms": shape.integer(0, 2**53),
    "nonce": shape.binary(16),
    "admission": shape.one_of("invitation"),
    "policy": _policy,
}
_BUNDLE: tuple[tuple[str, shape.Check], ...] = (
    ("body", shape.blob(1, MAX_STATEMENT_BYTES)),
    ("signatures", shape.array(shape.binary(64), 1, MAX_FOUNDERS)),
    ("identities", shape.array(shape.blob(65, MAX_SIGNED_BYTES), 1, 4 * MAX_FOUNDERS)),
)
_OFFICIAL: tuple[tuple[str, shape.Check], ...] = (
    ("page", shape.blob(65, MAX_SIGNED_BYTES)),
    ("finals", shape.array(shape.blob(65, MAX_SIGNED_BYTES), 1, 10_000)),
)


@dataclass(frozen=True, slots=True)
class Genesis:
    """The charter with which a co-op begins, verified: signed by all founders, named by its hash."""

    coop_id: bytes
    name: str
    founders: tuple[Identity, ...]
    time_ms: int
    policy: Mapping[str, int | str]
    bundle: bytes


def genesis_body(
    *, name: str, founders: Iterable[bytes], time_ms: int, nonce: bytes, policy: Mapping[str, int | str]
) -> bytes:
    """Encode the charter; its SHA-256 is the co-op id. Spec 10.1."""
    return encode(
        {
            "v": 1,
            "kind": WHAT_GENESIS,
            "name": name,
            "founders": sorted(founders),
            "time_ms": time_ms,
            "nonce": nonce,
            "admission": "invitation",
            "policy": dict(policy),
        }
    )


def sign_genesis(body: bytes, seed: bytes) -> bytes:
    """Return one founder's signature of the charter: 64 bytes."""
    return signing.sign(WHAT_GENESIS, hashlib.sha256(body).digest(), body, seed).signature


def genesis_bundle(body: bytes, signatures: Sequence[bytes], identity_log: Iterable[bytes]) -> bytes:
    """Pack a charter with the founders' signatures (in order of member id) and identity statements."""
    return encode([body, list(signatures), list(identity_log)])


def read_genesis(bundle: bytes, coop_id: bytes) -> Genesis:
    """Decode and verify a charter against the co-op id, which must come from elsewhere. Spec 10.1.

    Refuses: wrong_coop, wrong_version, not_canonical (founders out of order, or one twice), unknown_author
    (a founder without identity), bad_signature (one missing, too many or false), and what sections 2 and 4
    refuse.
    """
    body, signatures, log = shape.row(decode(bundle, MAX_MESSAGE_BYTES), _BUNDLE)
    if hashlib.sha256(body).digest() != coop_id:
        raise Refused(Reason.WRONG_COOP, "the charter is not that of the co-op asked for")
    value = decode(body, MAX_STATEMENT_BYTES)
    shape.version_1(value, "a charter")
    shape.fields(value, _GENESIS)
    if value["founders"] != sorted(set(value["founders"])):
        raise Refused(Reason.NOT_CANONICAL, "the founders are not in order, or one is named twice")
    folded = fold_identities(log)
    if len(signatures) != len(value["founders"]):
        raise Refused(Reason.BAD_SIGNATURE, "every founder signs the charter once")
    founders = []
    for member_id, signature in zip(value["founders"], signatures, strict=True):
        identity = folded.get(member_id)
        if identity is None:
            raise Refused(Reason.UNKNOWN_AUTHOR, "the identity of a founder is missing")
        signed = Signed(signature, body)
        signing.verify(signed, WHAT_GENESIS, coop_id, identity.key_for_epoch(identity.log[0].epoch))
        founders.append(identity)
    return Genesis(coop_id, value["name"], tuple(founders), value["time_ms"], value["policy"], bundle)


def fold_identities(log: Iterable[bytes]) -> dict[bytes, Identity]:
    """Read identity statements of several members and fold each member's: member id -> identity."""
    by_statement = {one.statement_id: one for one in map(identities.read, log)}
    logs: dict[bytes, list[identities.IdentityStatement]] = {}
    for one in by_statement.values():
        first = one
        while first.prev is not None and first.prev in by_statement:
            first = by_statement[first.prev]
        logs.setdefault(first.member_id, []).append(one)
    return {member_id: identities.fold(statements_, member_id) for member_id, statements_ in logs.items()}


@dataclass(frozen=True, slots=True)
class Page:
    """A decoded page of the minute book. Its signature and its place are checked by `roster.check_page`."""

    statement: Statement
    teller_epoch: int
    slot: int
    parent: bytes
    time_ms: int
    acts: tuple[dict[str, Any], ...]
    state: bytes

    @property
    def page_id(self) -> bytes:
        """SHA-256 of the body: 32 bytes."""
        return self.statement.statement_id

    @property
    def secretary(self) -> bytes:
        """Member id of whoever drafted the page."""
        return self.statement.member_id


@dataclass(frozen=True, slots=True)
class OfficialPage:
    """A page with the finals that are said to make it official; `roster.check_certificate` decides."""

    page: Page
    finals: tuple[Statement, ...]


def page_of(statement: Statement) -> Page:
    """Return the page that a statement of kind `page` holds."""
    own = statement.fields
    return Page(
        statement,
        own["teller_epoch"],
        own["slot"],
        own["parent"],
        own["time_ms"],
        tuple(own["acts"]),
        own["state"],
    )


def write_official(page: Page, finals: Iterable[Statement]) -> bytes:
    """Pack a page with its certificate, the finals in order of member id. Spec 10.4."""
    ordered = sorted(finals, key=lambda final: final.member_id)
    return encode([page.statement.signed.to_bytes(), [final.signed.to_bytes() for final in ordered]])


def read_official(data: bytes) -> OfficialPage:
    """Decode a page with its certificate; nothing is verified yet."""
    page, finals = shape.row(decode(data, MAX_MESSAGE_BYTES), _OFFICIAL)
    return OfficialPage(
        page_of(statements.read_kind(page, PAGE)),
        tuple(statements.read_kind(final, FINAL) for final in finals),
    )
