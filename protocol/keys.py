"""Ed25519 with one verdict everywhere.

RFC 8032 leaves edge cases open, and libraries differ on them. So the bytes are judged here first:
S < L, the y of A and of R < p, neither point of low order; then the library checks the cofactorless
equation. Whoever writes another node does these steps in this order. Specification, section 3.1.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.errors import LocalError, Reason, Refused

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
SEED_BYTES = 32

FIELD_PRIME = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493

# The y coordinates of the eight points of low order (RFC 7748 section 7, "Twisting the elliptic curve":
# order 1, 2, 4, 8); the sign bit is masked before the comparison.
_ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022
LOW_ORDER_Y = frozenset({0, 1, FIELD_PRIME - 1, _ORDER_8_Y, FIELD_PRIME - _ORDER_8_Y})


def check_point(encoded: bytes) -> None:
    """Refuse (bad_key) what is not the canonical encoding of a point, or a point of low order."""
    if len(encoded) != PUBLIC_KEY_BYTES:
        raise Refused(Reason.BAD_KEY, "a key must be 32 bytes long")
    y = int.from_bytes(encoded, "little") & ((1 << 255) - 1)
    if y >= FIELD_PRIME:
        raise Refused(Reason.BAD_KEY, "the key is not in canonical form")
    if y in LOW_ORDER_Y:
        raise Refused(Reason.BAD_KEY, "the key is a point of low order")


def verify(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Check an Ed25519 *signature*; refuses bad_key or bad_signature. Spec 3.1."""
    key = _load(public_key)
    if len(signature) != SIGNATURE_BYTES:
        raise Refused(Reason.BAD_SIGNATURE, "a signature must be 64 bytes long")
    if int.from_bytes(signature[32:], "little") >= GROUP_ORDER:
        raise Refused(Reason.BAD_SIGNATURE, "the signature's S is not in canonical form")
    try:
        check_point(signature[:32])
        key.verify(signature, message)
    except Refused as error:
        raise Refused(Reason.BAD_SIGNATURE, "the signature's R is not acceptable") from error
    except InvalidSignature as error:
        raise Refused(Reason.BAD_SIGNATURE, "the signature does not belong to these bytes") from error


def sign(seed: bytes, message: bytes) -> bytes:
    """Sign *message* with the private key *seed* (32 bytes)."""
    return _private(seed).sign(message)


def public_key(seed: bytes) -> bytes:
    """Return the public key (32 bytes) of *seed*."""
    return _private(seed).public_key().public_bytes_raw()


def key_id(public: bytes) -> bytes:
    """Short name of a public key: the first 8 bytes of its SHA-256. Spec 3.2."""
    return hashlib.sha256(public).digest()[:8]


def _private(seed: bytes) -> Ed25519PrivateKey:
    if len(seed) != SEED_BYTES:
        raise LocalError("an Ed25519 seed has 32 bytes")
    return Ed25519PrivateKey.from_private_bytes(seed)


@lru_cache(maxsize=16_384)
def _load(public: bytes) -> Ed25519PublicKey:
    # Cached because one member signs many objects; the check of the point is the dear part.
    check_point(public)
    return Ed25519PublicKey.from_public_bytes(public)
