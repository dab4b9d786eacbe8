"""The two ways in which a rule can fail, and every reason there is.

`LocalError` is our own bug and is never caught. `Refused` says that somebody's bytes broke one rule:
its `reason` is the same word in the code, the test vectors, the JSON problem's type, the log line and
section 12 of the specification; its `detail` is a sentence for a person.

    Exception
    ├── LocalError     we called something wrongly; let it crash
    └── Refused        their bytes; carries a Reason and a detail
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why bytes were refused. One rule, one word."""

    # 2 encoding
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TRUNCATED = "truncated"
    TRAILING = "trailing"
    MALFORMED = "malformed"
    FORBIDDEN_TYPE = "forbidden_type"
    NOT_CANONICAL = "not_canonical"
    # 2.3 shape of a decoded value
    WRONG_SHAPE = "wrong_shape"
    OUT_OF_RANGE = "out_of_range"
    WRONG_VERSION = "wrong_version"
    UNKNOWN_KIND = "unknown_kind"
    # 3 keys and signatures
    BAD_KEY = "bad_key"
    BAD_SIGNATURE = "bad_signature"
    WRONG_COOP = "wrong_coop"
    # 4 identity
    UNKNOWN_AUTHOR = "unknown_author"
    NOT_SUCCESSOR = "not_successor"
    EPOCH_NOT_FENCED = "epoch_not_fenced"
    IDENTITY_FROZEN = "identity_frozen"
    # 5 statements
    NOT_MEMBER = "not_member"
    SUPERSEDED = "superseded"
    QUOTA = "quota"
    # 6 records
    RECORD_KEY = "record_key"
    RECORD_VALUE = "record_value"
    # 7 trie, chunks and proofs
    CHUNK_MISMATCH = "chunk_mismatch"
    OPS_MISMATCH = "ops_mismatch"
    ROOT_MISMATCH = "root_mismatch"
    PROOF_MISMATCH = "proof_mismatch"
    # 8 heads
    STALE = "stale"
    FUTURE = "future"
    EQUIVOCATION = "equivocation"
    # 9 sessions
    OUT_OF_TURN = "out_of_turn"
    UNASKED = "unasked"
    TOO_MANY = "too_many"
    TIMED_OUT = "timed_out"
    SAME_NODE = "same_node"
    FORGED = "forged"
    # 10 minute book and roster
    WRONG_PARENT = "wrong_parent"
    WRONG_SLOT = "wrong_slot"
    WRONG_SECRETARY = "wrong_secretary"
    WRONG_STATE = "wrong_state"
    WRONG_TIME = "wrong_time"
    BAD_ACT = "bad_act"
    NOT_ENOUGH_FINALS = "not_enough_finals"
    INVITATION_VOID = "invitation_void"
    # 11 polls
    UNKNOWN_PROPOSAL = "unknown_proposal"
    NOT_ENTITLED = "not_entitled"
    WRONG_CHOICE = "wrong_choice"


class LocalError(Exception):
    """We broke a precondition of our own code. Never caught: it is a bug to be mended."""


class Refused(Exception):
    """Somebody's bytes broke one rule. `str()` gives a sentence that can be shown to a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.detail} ({self.reason.value})"
