"""The text that a member gives to a newcomer."""

from __future__ import annotations

import base64

import pytest

from protocol import invitation, statements
from protocol.encoding import encode
from protocol.errors import Reason
from protocol.invitation import Invitation
from protocol.limits import MAX_SIGNED_BYTES
from tests.protocol.builders import coop, refused

ONE = coop(2)
GOOD = Invitation(ONE.coop_id, ONE.invitation(), ("https://orchard.example", "http://10.0.0.1:8080"))
TEXT = invitation.to_text(GOOD)


def text_of(data: bytes) -> str:
    return "coopnode:" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_an_invitation_survives_as_text() -> None:
    assert invitation.from_text(TEXT) == GOOD
    assert TEXT.isascii()
    assert TEXT.split() == [TEXT]
    statements.verify(invitation.from_text(TEXT).statement, ONE.coop_id, ONE.members[0].identity)


def test_spaces_and_line_breaks_that_mail_put_in_are_dropped() -> None:
    folded = "\r\n ".join(TEXT[start : start + 40] for start in range(0, len(TEXT), 40))
    assert invitation.from_text(f"  {folded}\n") == GOOD


def test_an_invitation_without_addresses_is_read() -> None:
    bare = Invitation(ONE.coop_id, ONE.invitation(), ())
    assert invitation.from_text(invitation.to_text(bare)) == bare


@pytest.mark.parametrize(
    "text",
    ["", "hello", "COOPNODE:" + TEXT[9:], TEXT + "!", TEXT + "é", "coopnode:a", TEXT + "A" * 70_000, "coopnode:===="],
)
def test_what_is_no_invitation_is_malformed(text: str) -> None:
    with refused(Reason.MALFORMED):
        invitation.from_text(text)


def test_there_is_one_text_for_one_invitation() -> None:
    data = encode([1, ONE.coop_id, GOOD.statement.signed.to_bytes(), ["http://x/?>>>???"]])
    good = text_of(data)
    assert invitation.from_text(good).endpoints == ("http://x/?>>>???",)
    other_alphabet = good.replace("-", "+").replace("_", "/")
    padded = good + "=" * (-(len(good) - 9) % 4)
    assert {other_alphabet, padded} != {good}
    for bad in {other_alphabet, padded} - {good}:
        with refused(Reason.NOT_CANONICAL):
            invitation.from_text(bad)


def test_loose_bits_in_the_last_letter_are_refused() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    loose = 0
    for endpoint in ("http://x", "http://xy", "http://xyz"):
        text = invitation.to_text(Invitation(ONE.coop_id, ONE.invitation(), (endpoint,)))
        data = base64.urlsafe_b64decode(text[9:] + "=" * (-len(text[9:]) % 4))
        for letter in letters.replace(text[-1], ""):
            changed = text[:-1] + letter
            if base64.urlsafe_b64decode(changed[9:] + "=" * (-len(changed[9:]) % 4)) == data:
                loose += 1
                with refused(Reason.NOT_CANONICAL):
                    invitation.from_text(changed)
    assert loose == 15 + 3


def test_an_invitation_with_another_statement_or_version_is_refused() -> None:
    statement = GOOD.statement.signed.to_bytes()
    assert invitation.from_text(text_of(encode([1, ONE.coop_id, statement, []]))).statement == GOOD.statement
    with refused(Reason.OUT_OF_RANGE):
        invitation.from_text(text_of(encode([2, ONE.coop_id, statement, []])))
    with refused(Reason.WRONG_SHAPE):
        invitation.from_text(text_of(encode([1, ONE.coop_id, statement])))
    with refused(Reason.UNKNOWN_KIND):
        page = ONE.page().statement.signed.to_bytes()
        invitation.from_text(text_of(encode([1, ONE.coop_id, page, []])))
    for size, reason in ((MAX_SIGNED_BYTES, Reason.TRAILING), (MAX_SIGNED_BYTES + 1, Reason.OUT_OF_RANGE)):
        with refused(reason):
            invitation.from_text(text_of(encode([1, ONE.coop_id, bytes(size), []])))
