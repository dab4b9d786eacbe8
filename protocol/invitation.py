"""The text that a member gives to a newcomer: co-op id, signed invitation, addresses to begin with.

Everything that a joiner must trust comes from here: the co-op id. The rest is checked against it.
Specification, section 10.5.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from protocol import shape, statements
from protocol.encoding import decode, encode
from protocol.errors import Reason, Refused
from protocol.limits import KIB, MAX_ENDPOINT_BYTES, MAX_ENDPOINTS, MAX_SIGNED_BYTES
from protocol.statements import INVITATION, Statement

SCHEME = "coopnode:"
_ROW: tuple[tuple[str, shape.Check], ...] = (
    ("v", shape.integer(1, 1)),
    ("coop", shape.binary(32)),
    ("invitation", shape.blob(65, MAX_SIGNED_BYTES)),
    ("endpoints", shape.array(shape.text(1, MAX_ENDPOINT_BYTES), 0, MAX_ENDPOINTS)),
)


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation as text carries it; whether it still holds is the co-op's to say."""

    coop_id: bytes
    statement: Statement
    endpoints: tuple[str, ...]


def to_text(invitation: Invitation) -> str:
    """Write an invitation as one line that survives e-mail and chat."""
    row = [1, invitation.coop_id, invitation.statement.signed.to_bytes(), list(invitation.endpoints)]
    return SCHEME + base64.urlsafe_b64encode(encode(row)).decode().rstrip("=")


def from_text(text: str) -> Invitation:
    """Read an invitation; spaces and line breaks that mail put in are dropped.

    Refuses: malformed (not an invitation at all), not_canonical (letters that carry no meaning),
    and what sections 2 and 5 refuse.
    """
    compact = "".join(text.split())
    if not compact.startswith(SCHEME) or len(compact) > 64 * KIB:
        raise Refused(Reason.MALFORMED, f"an invitation begins with '{SCHEME}'")
    payload = compact[len(SCHEME) :]
    try:
        data = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(Reason.MALFORMED, "the invitation is damaged: copy it again, whole") from error
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != payload:
        # Loose bits in the last letter, padding, or the other alphabet: a second text for the same bytes.
        raise Refused(Reason.NOT_CANONICAL, "the invitation is damaged: copy it again, whole")
    row = shape.row(decode(data, 48 * KIB), _ROW)
    return Invitation(row[1], statements.read_kind(row[2], INVITATION), tuple(row[3]))
