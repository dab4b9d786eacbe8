"""How bytes become a signed object, and back.

A signed object is `signature (64 bytes) || body`. The signature covers
`"coopnode/<what>/v1" || 0x00 || co-op id (32 bytes) || body`, so that no signature can be moved to
another kind of object or to another co-op. What is hashed and verified are the bytes received; nothing
is ever encoded again. Specification, section 3.3.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from protocol import keys
from protocol.errors import LocalError, Reason, Refused

COOP_ID_BYTES = 32
NO_COOP = bytes(COOP_ID_BYTES)
"""Stands in for the co-op id where an object belongs to no co-op: identity statements."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A body with a signature that has not been checked yet; `verify` checks it."""

    signature: bytes
    body: bytes

    @property
    def object_id(self) -> bytes:
        """SHA-256 of the body (32 bytes): the name of the object, whoever signed it how often."""
        return hashlib.sha256(self.body).digest()

    def to_bytes(self) -> bytes:
        """Return the object as it travels."""
        return self.signature + self.body


def split(data: bytes, max_body_bytes: int) -> Signed:
    """Cut a signed object into signature and body. Refuses: truncated, too_large."""
    if len(data) <= keys.SIGNATURE_BYTES:
        raise Refused(Reason.TRUNCATED, "a signed object is longer than its signature")
    if len(data) > keys.SIGNATURE_BYTES + max_body_bytes:
        raise Refused(Reason.TOO_LARGE, f"a body may have at most {max_body_bytes} bytes")
    return Signed(data[: keys.SIGNATURE_BYTES], data[keys.SIGNATURE_BYTES :])


def message(what: str, coop_id: bytes, body: bytes) -> bytes:
    """Return the bytes that a signature covers."""
    if len(coop_id) != COOP_ID_BYTES:
        raise LocalError("a co-op id has 32 bytes")
    return b"coopnode/" + what.encode() + b"/v1\0" + coop_id + body


def sign(what: str, coop_id: bytes, body: bytes, seed: bytes) -> Signed:
    """Sign *body* as an object of kind *what* in the co-op *coop_id*."""
    return Signed(keys.sign(seed, message(what, coop_id, body)), body)


def verify(signed: Signed, what: str, coop_id: bytes, public_key: bytes) -> None:
    """Check that *public_key* signed the body as *what* for *coop_id*. Refuses: bad_key, bad_signature."""
    keys.verify(public_key, signed.signature, message(what, coop_id, signed.body))
