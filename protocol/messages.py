"""What two nodes say to each other on a link: every message, its fields and their bounds, as one table.

Never acts: `session` knows when a message may come, the node knows what to do about it.
A message is a MessagePack list that begins with its number; unlike signed objects it need not be
canonical, but its shape is checked whole before anybody sees it. Specification, section 9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args

import msgpack

from protocol import shape
from protocol.encoding import unpack
from protocol.errors import Reason, Refused
from protocol.limits import (
    MAX_COLLECTIONS,
    MAX_ITEMS,
    MAX_MESSAGE_BYTES,
    MAX_RETRY_MS,
    MAX_STREAM,
    MAX_WALK_PREFIXES,
)
from protocol.message_fields import (
    COLLECTION,
    FINGERPRINT_OF,
    HASH,
    HEAD,
    HEADS,
    IDS,
    LOG,
    MEMBER,
    NAMES,
    REPLICA,
    SEGMENT,
    SHORT_ID,
    SHORT_IDS,
    STATEMENTS,
    STREAM,
    U32,
    U64,
    node,
    prefix,
    ranges_of,
)
from protocol.scope import Replica


@dataclass(frozen=True, slots=True)
class Hello:
    """First word of either side: who I am, which run of my node this is, and a challenge."""

    version: int
    coop_id: bytes
    member_id: bytes
    instance: bytes
    nonce: bytes
    log: list[bytes]
    """My identity statements, so that a node that has never heard of me can check the proof."""
    number: ClassVar[int] = 1
    checks: ClassVar[tuple[shape.Check, ...]] = (
        shape.integer(0, 255),
        HASH,
        MEMBER,
        SHORT_ID,
        HASH,
        LOG,
    )


@dataclass(frozen=True, slots=True)
class Proof:
    """Signature over both hellos: I hold the key, now, for this session."""

    signature: bytes
    number: ClassVar[int] = 2
    checks: ClassVar[tuple[shape.Check, ...]] = (shape.binary(64),)


@dataclass(frozen=True, slots=True)
class Status:
    """First word of an open session: how far my minute book goes, and your own heads as I know them.

    *replica* is how much I keep (`protocol.scope`); a node that keeps everything may leave it out.
    """

    slot: int
    page_id: bytes
    store_nonce: bytes
    your_heads: list[bytes]
    replica: str = Replica.FULL
    number: ClassVar[int] = 10
    checks: ClassVar[tuple[shape.Check, ...]] = (U64, HASH, SHORT_ID, shape.array(HEAD, 0, MAX_STREAM + 1), REPLICA)


@dataclass(frozen=True, slots=True)
class Put:
    """News, unasked: heads, statements and identity statements."""

    heads: list[bytes]
    statements: list[bytes]
    identities: list[bytes]
    number: ClassVar[int] = 11
    checks: ClassVar[tuple[shape.Check, ...]] = (HEADS, STATEMENTS, STATEMENTS)


@dataclass(frozen=True, slots=True)
class Since:
    """Question: what is new since *cursor* in the store that you called *store_nonce*?"""

    request: int
    store_nonce: bytes
    cursor: int
    frontier: bytes
    number: ClassVar[int] = 12
    checks: ClassVar[tuple[shape.Check, ...]] = (U32, SHORT_ID, U64, HASH)


@dataclass(frozen=True, slots=True)
class News:
    """Answer to `Since`: items in order of arrival here up to *cursor*; `same` if our frontiers are equal."""

    request: int
    store_nonce: bytes
    cursor: int
    same: bool
    more: bool
    heads: list[bytes]
    statements: list[bytes]
    identities: list[bytes]
    number: ClassVar[int] = 13
    checks: ClassVar[tuple[shape.Check, ...]] = (
        U32,
        SHORT_ID,
        U64,
        shape.boolean,
        shape.boolean,
        HEADS,
        STATEMENTS,
        STATEMENTS,
    )


@dataclass(frozen=True, slots=True)
class GetOps:
    """Question: the operations of a stream from *from_rev* of *epoch* on."""

    request: int
    member_id: bytes
    stream: int
    epoch: int
    from_rev: int
    number: ClassVar[int] = 14
    checks: ClassVar[tuple[shape.Check, ...]] = (U32, MEMBER, STREAM, U64, U64)


@dataclass(frozen=True, slots=True)
class Ops:
    """Answer to `GetOps`: my head, and the segments [rev, [[collection, deflated body], ...]] that lead to it.

    No segments: I cannot bridge from there, walk the trie. No head: I do not hold this stream.
    """

    request: int
    head: bytes | None
    segments: list[list[Any]]
    number: ClassVar[int] = 15
    checks: ClassVar[tuple[shape.Check, ...]] = (U32, shape.or_nil(HEAD), shape.array(SEGMENT, 0, MAX_ITEMS))


@dataclass(frozen=True, slots=True)
class WalkTrie:
    """Question: the nodes at *prefixes* of a collection; an empty collection name asks for the state's list."""

    request: int
    member_id: bytes
    stream: int
    state_root: bytes
    collection: str
    prefixes: list[str]
    number: ClassVar[int] = 16
    checks: ClassVar[tuple[shape.Check, ...]] = (
        U32,
        MEMBER,
        STREAM,
        HASH,
        COLLECTION,
        shape.array(prefix, 0, MAX_WALK_PREFIXES),
    )


@dataclass(frozen=True, slots=True)
class Nodes:
    """Answer to `WalkTrie`: [prefix, 0, 16 summaries] or [prefix, 1, chunk], maybe fewer than asked for.

    *head* is my head where I no longer (or do not yet) hold the state asked for; then nothing else comes.
    """

    request: int
    head: bytes | None
    state: bytes
    items: list[list[Any]]
    number: ClassVar[int] = 17
    checks: ClassVar[tuple[shape.Check, ...]] = (
        U32,
        shape.or_nil(HEAD),
        shape.blob(0, 128 * MAX_COLLECTIONS),
        shape.array(node, 0, MAX_WALK_PREFIXES),
    )


@dataclass(frozen=True, slots=True)
class GetPages:
    """Question: the official pages after *after_slot*."""

    request: int
    after_slot: int
    number: ClassVar[int] = 18
    checks: ClassVar[tuple[shape.Check, ...]] = (U32, U64)


@dataclass(frozen=True, slots=True)
class Pages:
    """Answer to `GetPages`: pages with certificates, and identity statements needed to check them."""

    request: int
    more: bool
    pages: list[bytes]
    identities: list[bytes]
    number: ClassVar[int] = 19
    checks: ClassVar[tuple[shape.Check, ...]] = (
        U32,
        shape.boolean,
        shape.array(shape.blob(1, MAX_MESSAGE_BYTES), 0, MAX_ITEMS),
        STATEMENTS,
    )


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""

    nonce: int
    number: ClassVar[int] = 20
    checks: ClassVar[tuple[shape.Check, ...]] = (U64,)


@dataclass(frozen=True, slots=True)
class Pong:
    """I am."""

    nonce: int
    number: ClassVar[int] = 21
    checks: ClassVar[tuple[shape.Check, ...]] = (U64,)


@dataclass(frozen=True, slots=True)
class Twin:
    """Another live node speaks for the same member as you, as *instance*: stop publishing."""

    instance: bytes
    number: ClassVar[int] = 22
    checks: ClassVar[tuple[shape.Check, ...]] = (SHORT_ID,)


@dataclass(frozen=True, slots=True)
class Bye:
    """I close this session; *reason* is a word of section 12, or 'leaving'."""

    reason: str
    detail: str
    number: ClassVar[int] = 23
    checks: ClassVar[tuple[shape.Check, ...]] = (shape.text(1, 40), shape.text(0, 500))


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Question: how do our sets differ? Each range of names up to a bound: skipped, its fingerprint, or its names."""

    request: int
    salt: bytes
    ranges: list[list[Any]]
    number: ClassVar[int] = 24
    checks: ClassVar[tuple[shape.Check, ...]] = (
        U32,
        shape.binary(16),
        ranges_of(shape.nothing, FINGERPRINT_OF, NAMES),
    )


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Answer to `Reconcile`: the same ranges or parts of them, and how far my store went when I looked.

    Equal or not asked; the fingerprint of mine; all my ids; or [ids that you did not list, names that I lack].
    """

    request: int
    store_nonce: bytes
    cursor: int
    ranges: list[list[Any]]
    number: ClassVar[int] = 25
    checks: ClassVar[tuple[shape.Check, ...]] = (
        U32,
        SHORT_ID,
        U64,
        ranges_of(shape.nothing, FINGERPRINT_OF, IDS, shape.rows(("have", IDS), ("need", NAMES))),
    )


@dataclass(frozen=True, slots=True)
class GetItems:
    """Question: the items with these ids."""

    request: int
    ids: list[bytes]
    number: ClassVar[int] = 26
    checks: ClassVar[tuple[shape.Check, ...]] = (U32, shape.array(HASH, 1, MAX_ITEMS))


@dataclass(frozen=True, slots=True)
class Items:
    """Answer to `GetItems`: those that I (still) hold, maybe fewer."""

    request: int
    heads: list[bytes]
    statements: list[bytes]
    identities: list[bytes]
    number: ClassVar[int] = 27
    checks: ClassVar[tuple[shape.Check, ...]] = (U32, HEADS, STATEMENTS, STATEMENTS)


@dataclass(frozen=True, slots=True)
class Have:
    """I hold these items, by short ids, and do not send them unasked on this link."""

    ids: bytes
    number: ClassVar[int] = 28
    checks: ClassVar[tuple[shape.Check, ...]] = (SHORT_IDS,)


@dataclass(frozen=True, slots=True)
class Graft:
    """Send me these items, by short ids, and from now on what is new as well."""

    ids: bytes
    number: ClassVar[int] = 29
    checks: ClassVar[tuple[shape.Check, ...]] = (SHORT_IDS,)


@dataclass(frozen=True, slots=True)
class Prune:
    """What you send me comes to me otherwise: from now on tell me names only."""

    number: ClassVar[int] = 30
    checks: ClassVar[tuple[shape.Check, ...]] = ()


@dataclass(frozen=True, slots=True)
class Busy:
    """No answer to any question: too much is asked of me at once. Ask somebody else, or me after *retry_ms*."""

    request: int
    retry_ms: int
    number: ClassVar[int] = 31
    checks: ClassVar[tuple[shape.Check, ...]] = (U32, shape.integer(1, MAX_RETRY_MS))


Message = (
    Hello
    | Proof
    | Status
    | Put
    | Since
    | News
    | GetOps
    | Ops
    | WalkTrie
    | Nodes
    | GetPages
    | Pages
    | Ping
    | Pong
    | Twin
    | Bye
    | Reconcile
    | Reconciled
    | GetItems
    | Items
    | Have
    | Graft
    | Prune
    | Busy
)
Question = Since | GetOps | WalkTrie | GetPages | Reconcile | GetItems
Answer = News | Ops | Nodes | Pages | Reconciled | Items
ANSWER_TO: dict[type[Question], type[Answer]] = {
    Since: News,
    GetOps: Ops,
    WalkTrie: Nodes,
    GetPages: Pages,
    Reconcile: Reconciled,
    GetItems: Items,
}

KINDS: dict[int, Callable[..., Message]] = {kind.number: kind for kind in get_args(Message)}
MAY_LACK_LAST: tuple[type[Message], ...] = (Status,)
"""Messages that grew by one item: without it, it has its default. It is left out where it would say no more."""
_NAMES = {kind.number: tuple(one.name for one in fields(kind)) for kind in get_args(Message)}
_SHAPES = {kind.number: tuple(zip(_NAMES[kind.number], kind.checks, strict=True)) for kind in get_args(Message)}
# The shape of a message without its last item, and what that item is then.
_SHORTER = {kind.number: (_SHAPES[kind.number][:-1], fields(kind)[-1].default) for kind in MAY_LACK_LAST}
# Kept, because a new Packer reserves a megabyte each time; see `encoding`.
_pack = msgpack.Packer(use_bin_type=True).pack


def write(message: Message) -> bytes:
    """Encode a message."""
    names = _NAMES[message.number]
    row = [message.number, *[getattr(message, name) for name in names]]
    if message.number in _SHORTER and row[-1] == _SHORTER[message.number][1]:
        row.pop()
    return bytes(_pack(row))


def read(data: bytes) -> Message:
    """Decode a message and check every field.

    Refuses: too_large, malformed, truncated, trailing, too_deep, forbidden_type, unknown_kind,
    wrong_shape, out_of_range.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise Refused(Reason.TOO_LARGE, f"a message has at most {MAX_MESSAGE_BYTES} bytes")
    row = unpack(data)
    if type(row) is not list or not row or type(row[0]) is not int:
        raise Refused(Reason.WRONG_SHAPE, "a message is a list that begins with its number")
    kind: Any = KINDS.get(row[0])
    if kind is None:
        raise Refused(Reason.UNKNOWN_KIND, f"message {row[0]} is not known here")
    table = _SHAPES[row[0]]
    if row[0] in _SHORTER and len(row) == len(table):
        table = _SHORTER[row[0]][0]
    shape.row(row[1:], table)
    message: Message = kind(*row[1:])
    return message
