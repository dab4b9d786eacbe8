"""Which refused items prove that the peer that sent them is at fault, and not only late or early.

An honest node judges an item before it passes it on. So an item that breaks a rule of bytes alone was made or
let through by the peer itself. Most reasons prove nothing: they depend on pages, identities, clocks and versions
in which two honest nodes may differ. The thing to understand: a signature is judged by an identity log, and the
peer's log may be longer than ours, or shorter. Specification, section 9.8.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from protocol import signing
from protocol.errors import Reason, Refused
from protocol.identity import IdentityStatement
from protocol.signing import Signed

BYTES_PROVE = frozenset(
    {
        Reason.TRUNCATED,  # an end inside a value: no version of the rules has signed that
        Reason.TRAILING,  # bytes behind the end
        Reason.MALFORMED,  # no MessagePack
        Reason.FORBIDDEN_TYPE,  # a float or an extension: nothing that is signed has one
        Reason.NOT_CANONICAL,  # a second encoding of one value: nobody who signs writes it
    }
)
"""Prove the peer wrong whatever the kind of item: rules of encoding, which every version of an object obeys.

Not among them, because a peer of a later version may pass on what is not known here yet: unknown_kind,
wrong_version, wrong_shape, out_of_range, too_large, too_deep, wrong_choice.
Nor what depends on where two honest nodes stand: unknown_author, not_member, identity_frozen, unknown_proposal,
future, stale, superseded, equivocation, quota, not_entitled, invitation_void, and all reasons of pages.
"""
IDENTITY_PROVES = BYTES_PROVE | {
    Reason.BAD_KEY,  # no point of the curve can be a key
    Reason.BAD_SIGNATURE,  # signed by the key that it names itself: no log is needed to see it
    Reason.NOT_SUCCESSOR,  # judged by the predecessor that it names by hash: the same one everywhere
    Reason.EPOCH_NOT_FENCED,  # the same
}
"""Besides, for identity statements: these carry all that judging them needs."""


class Verdict(Enum):
    """What a refused item says of the peer that sent it."""

    EXCUSED = "excused"
    """An honest node may have sent it."""
    SUSPECT = "suspect"
    """Only if the peer knows of a change of key that we do not: ask it for its identities, then judge again."""
    PROVED = "proved"
    """No honest node has sent it."""


def judge_signature(
    signed: Signed, what: str, coop_id: bytes, epoch: int, log: Iterable[IdentityStatement], *, told: bool
) -> Verdict:
    """Judge the peer that sent an object of *epoch* whose signature was refused.

    *log* is every identity statement of the author that is known here, also those that the fold has passed over;
    *told* says that the peer's have been added to it.

    Excused, if any key of the log verifies it: the peer has not heard of a change of key yet, or holds the other
    branch of a fork; both end when it has. Every change of key has an epoch above the first statement's, so up to
    that epoch there is one key, and nothing that the peer could know.
    """
    log = list(log)
    for key in {one.key for one in log}:
        try:
            signing.verify(signed, what, coop_id, key)
        except Refused:
            continue
        return Verdict.EXCUSED
    unarguable = any(one.seq == 0 and epoch <= one.epoch for one in log)
    return Verdict.PROVED if told or unarguable else Verdict.SUSPECT
