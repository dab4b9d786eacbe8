"""Signed objects."""

from __future__ import annotations

import hashlib

import pytest

from protocol import keys, signing
from protocol.errors import LocalError, Reason
from tests.protocol.builders import COOP, OTHER_COOP, refused, secret

SEED = secret("signer")
PUBLIC = keys.public_key(SEED)
SIGNED = signing.sign("head", COOP, b"body", SEED)


def test_a_signed_object_travels_as_signature_and_body() -> None:
    assert signing.split(SIGNED.to_bytes(), 4) == SIGNED
    assert SIGNED.to_bytes() == SIGNED.signature + b"body"
    signing.verify(SIGNED, "head", COOP, PUBLIC)


def test_the_name_of_an_object_is_the_hash_of_its_body_alone() -> None:
    assert SIGNED.object_id == hashlib.sha256(b"body").digest()
    assert signing.Signed(bytes(64), b"body").object_id == SIGNED.object_id


@pytest.mark.parametrize(("what", "coop_id"), [("ballot", COOP), ("head", OTHER_COOP), ("head", signing.NO_COOP)])
def test_a_signature_cannot_be_moved_to_another_kind_or_coop(what: str, coop_id: bytes) -> None:
    with refused(Reason.BAD_SIGNATURE):
        signing.verify(SIGNED, what, coop_id, PUBLIC)


def test_what_is_signed_begins_with_the_kind_and_the_coop() -> None:
    assert signing.message("head", COOP, b"body") == b"coopnode/head/v1\x00" + COOP + b"body"


def test_a_coop_id_of_another_length_is_our_own_mistake() -> None:
    with pytest.raises(LocalError):
        signing.message("head", COOP[:31], b"")


def test_a_signature_without_a_body_is_truncated() -> None:
    with refused(Reason.TRUNCATED):
        signing.split(bytes(64), 10)
    assert signing.split(bytes(65), 10).body == b"\0"


def test_a_body_beyond_its_bound_is_too_large() -> None:
    with refused(Reason.TOO_LARGE):
        signing.split(bytes(64 + 11), 10)
    assert len(signing.split(bytes(64 + 10), 10).body) == 10
