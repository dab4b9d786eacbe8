"""The fields of the messages of a session, with their bounds: what `messages` is made of. Specification, 9.3."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from protocol import shape
from protocol.errors import Reason, Refused
from protocol.identity import MEMBER_ID_BYTES
from protocol.limits import (
    CHUNK_ENTRIES,
    MAX_CHUNK_BYTES,
    MAX_COLLECTION_BYTES,
    MAX_COLLECTIONS,
    MAX_HEAD_BYTES,
    MAX_IDENTITY_STATEMENTS,
    MAX_INT,
    MAX_ITEMS,
    MAX_OPS_BYTES,
    MAX_RECON_RANGES,
    MAX_REPLICA_BYTES,
    MAX_SIGNED_BYTES,
    MAX_STREAM,
    MAX_TRIE_DEPTH,
    RECON_LIST,
    RECON_NAME_BYTES,
    SHORT_ID_BYTES,
)

# What is said of a range of names in a reconciliation.
SKIP, FINGERPRINT, LISTED, DIFFERENCE = 0, 1, 2, 3

U32 = shape.integer(0, 2**32 - 1)
U64 = shape.integer(0, MAX_INT)
MEMBER = shape.binary(MEMBER_ID_BYTES)
HASH = shape.binary(32)
SHORT_ID = shape.binary(8)
HEAD = shape.blob(65, MAX_HEAD_BYTES + 64)
HEADS = shape.array(HEAD, 0, MAX_ITEMS)
SIGNED = shape.blob(65, MAX_SIGNED_BYTES)
STATEMENTS = shape.array(SIGNED, 0, MAX_ITEMS)
LOG = shape.array(SIGNED, 1, MAX_IDENTITY_STATEMENTS)
STREAM = shape.integer(0, MAX_STREAM)
REPLICA = shape.text(1, MAX_REPLICA_BYTES)
COLLECTION = shape.text(0, MAX_COLLECTION_BYTES)
BODY = shape.blob(0, MAX_CHUNK_BYTES + 64 * CHUNK_ENTRIES)
SUMMARY = (("count", U64), ("size", U64), ("hash", HASH))


def prefix(value: Any, name: str) -> None:
    """Place in a trie: up to 64 hex digits."""
    if type(value) is not str or len(value) > MAX_TRIE_DEPTH or not set(value) <= set("0123456789abcdef"):
        raise Refused(Reason.WRONG_SHAPE, f"'{name}' must be 0 to 64 hex digits")


def node(value: Any, name: str) -> None:
    """[prefix, 0, sixteen summaries] or [prefix, 1, chunk]."""
    if type(value) is not list or len(value) != 3:
        raise Refused(Reason.WRONG_SHAPE, f"'{name}' holds lists of three items")
    prefix(value[0], name)
    shape.integer(0, 1)(value[1], name)  # by type too: 0 == False == 0.0
    if value[1] == 0:
        shape.array(shape.rows(*SUMMARY), 16, 16)(value[2], name)
    else:
        BODY(value[2], name)


def ranges_of(*payloads: shape.Check) -> shape.Check:
    """[bound, mode, payload] with ascending bounds; *payloads* are the checks of the modes from 0 on."""
    rows = shape.array(
        shape.rows(
            ("bound", shape.blob(0, RECON_NAME_BYTES)),
            ("mode", shape.integer(0, len(payloads) - 1)),
            ("payload", lambda _value, _name: None),  # below: it depends on the mode
        ),
        1,
        MAX_RECON_RANGES,
    )

    def check(value: Any, name: str) -> None:
        rows(value, name)
        for _, mode, payload in value:
            payloads[mode](payload, name)
        bounds = [row[0] for row in value]
        ascend = all(one < other for one, other in pairwise(bounds[:-1] if bounds[-1] == b"" else bounds))
        if not ascend or b"" in bounds[:-1]:
            raise Refused(Reason.OUT_OF_RANGE, f"the bounds of '{name}' must ascend")

    return check


FINGERPRINT_OF = shape.binary(16)
NAMES = shape.pieces(RECON_NAME_BYTES, RECON_LIST)
IDS = shape.pieces(32, MAX_ITEMS)
SHORT_IDS = shape.pieces(SHORT_ID_BYTES, MAX_ITEMS)
OPS_BODY = shape.rows(("collection", shape.text(1, MAX_COLLECTION_BYTES)), ("body", shape.blob(1, MAX_OPS_BYTES)))
SEGMENT = shape.rows(("rev", U64), ("bodies", shape.array(OPS_BODY, 1, MAX_COLLECTIONS)))
