"""Ed25519 with one verdict everywhere."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from protocol import keys
from protocol.errors import LocalError, Reason, Refused
from tests.protocol.builders import refused, secret

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors"

SEED = secret("signer")
PUBLIC = keys.public_key(SEED)
MESSAGE = b"forty crates of apples"
SIGNATURE = keys.sign(SEED, MESSAGE)

# RFC 8032, section 7.1, test 2
RFC_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def little(number: int, sign: int = 0) -> bytes:
    return (number | sign << 255).to_bytes(32, "little")


LOW_ORDER = sorted(keys.LOW_ORDER_Y)
NOT_CANONICAL = [keys.FIELD_PRIME, keys.FIELD_PRIME + 1, 2**255 - 1]


def test_our_own_signature_is_accepted() -> None:
    keys.verify(PUBLIC, SIGNATURE, MESSAGE)


def test_keys_and_signatures_are_those_of_rfc_8032() -> None:
    assert keys.public_key(RFC_SEED) == RFC_PUBLIC
    assert keys.sign(RFC_SEED, b"\x72") == RFC_SIGNATURE
    keys.verify(RFC_PUBLIC, RFC_SIGNATURE, b"\x72")


def test_another_message_or_key_is_a_bad_signature() -> None:
    with refused(Reason.BAD_SIGNATURE):
        keys.verify(PUBLIC, SIGNATURE, MESSAGE + b"!")
    with refused(Reason.BAD_SIGNATURE):
        keys.verify(RFC_PUBLIC, SIGNATURE, MESSAGE)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_has_32_bytes(length: int) -> None:
    with refused(Reason.BAD_KEY):
        keys.verify(PUBLIC.ljust(33)[:length], SIGNATURE, MESSAGE)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_has_64_bytes(length: int) -> None:
    with refused(Reason.BAD_SIGNATURE):
        keys.verify(PUBLIC, SIGNATURE.ljust(65)[:length], MESSAGE)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", LOW_ORDER + NOT_CANONICAL)
def test_a_key_of_low_order_or_not_canonical_is_refused_before_the_library_sees_it(y: int, sign: int) -> None:
    with refused(Reason.BAD_KEY):
        keys.check_point(little(y, sign))
    with refused(Reason.BAD_KEY):
        keys.verify(little(y, sign), SIGNATURE, MESSAGE)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", LOW_ORDER + NOT_CANONICAL)
def test_an_r_of_low_order_or_not_canonical_is_refused(y: int, sign: int) -> None:
    with refused(Reason.BAD_SIGNATURE):
        keys.verify(PUBLIC, little(y, sign) + SIGNATURE[32:], MESSAGE)


# All points of small order as published (ed25519-speccheck, and the table of libsodium), written out here so
# that a slip in our own constants shows even where ../shared is absent.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_the_eight_points_of_small_order_are_refused_as_key_and_as_r(point: str) -> None:
    with refused(Reason.BAD_KEY):
        keys.check_point(bytes.fromhex(point))
    with refused(Reason.BAD_SIGNATURE):
        keys.verify(PUBLIC, bytes.fromhex(point) + SIGNATURE[32:], MESSAGE)


def test_two_published_signatures_that_lenient_libraries_accept_are_refused() -> None:
    small = bytes.fromhex(SMALL_ORDER[7])
    message = bytes.fromhex("8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6")
    with refused(Reason.BAD_KEY):
        keys.verify(small, bytes.fromhex(SMALL_ORDER[6]) + bytes(32), message)
    with refused(Reason.BAD_KEY):
        keys.verify(
            small,
            bytes.fromhex(
                "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"
                "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04"
            ),
            bytes.fromhex("9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79"),
        )


def test_a_zero_signature_under_a_key_of_low_order_would_sign_everything_and_is_refused() -> None:
    with refused(Reason.BAD_KEY):
        keys.verify(little(1), little(1) + bytes(32), b"anything")


def test_s_must_be_below_the_group_order() -> None:
    s = int.from_bytes(SIGNATURE[32:], "little")
    with refused(Reason.BAD_SIGNATURE):
        keys.verify(PUBLIC, SIGNATURE[:32] + little(s + keys.GROUP_ORDER), MESSAGE)
    keys.verify(PUBLIC, SIGNATURE[:32] + little(s), MESSAGE)


def test_the_low_order_points_are_the_five_y_of_the_twisted_curve() -> None:
    d = -121665 * pow(121666, -1, keys.FIELD_PRIME) % keys.FIELD_PRIME
    p = keys.FIELD_PRIME
    # Order 8: doubling gives y = 0, that is y^2 == -x^2 on the curve -x^2 + y^2 == 1 + d x^2 y^2.
    for y in keys.LOW_ORDER_Y - {0, 1, p - 1}:
        assert (2 * y * y - 1 + d * pow(y, 4, p)) % p == 0
    assert len(keys.LOW_ORDER_Y) == 5


def test_a_y_that_is_on_no_point_of_the_curve_signs_nothing() -> None:
    for y in range(2, 40):
        with pytest.raises(Refused):
            keys.verify(little(y), SIGNATURE, MESSAGE)


@pytest.mark.parametrize("act", [lambda seed: keys.sign(seed, b""), keys.public_key])
def test_a_seed_of_another_length_is_our_own_mistake(act: Any) -> None:
    with pytest.raises(LocalError):
        act(SEED[:31])


def test_a_key_id_is_the_beginning_of_its_hash() -> None:
    assert keys.key_id(PUBLIC) == hashlib.sha256(PUBLIC).digest()[:8]


@cache
def _cases() -> dict[tuple[str, int], tuple[str, str, str]]:
    """Public key, signature, message in hex, by set and number."""
    cases: dict[tuple[str, int], tuple[str, str, str]] = {}
    for number, one in enumerate(json.loads((VECTORS / "ed25519-speccheck" / "cases.json").read_bytes())):
        cases["speccheck", number] = (one["pub_key"], one["signature"], one["message"])
    wycheproof = json.loads((VECTORS / "wycheproof" / "ed25519_test.json").read_bytes())
    for group in wycheproof["testGroups"]:
        for one in group["tests"]:
            cases["wyche", one["tcId"]] = (group["publicKey"]["pk"], one["sig"], one["msg"])
    return cases


@pytest.mark.skipif(not VECTORS.is_dir(), reason="shared: the published vectors are not beside the repository")
def test_every_published_vector_gets_the_strict_verdict() -> None:
    rows = json.loads((VECTORS / "ed25519-strict" / "accept.json").read_bytes())["rows"]
    assert len(rows) == len(_cases()) == 163
    wrong = []
    for row in rows:
        public, signature, message = map(bytes.fromhex, _cases()[row["set"], row["id"]])
        try:
            keys.verify(public, signature, message)
            verdict = 1
        except Refused:
            verdict = 0
        if verdict != row["strict_expected"]:
            wrong.append((row, verdict))
    assert wrong == []
    assert 0 < sum(row["strict_expected"] for row in rows) < len(rows)
