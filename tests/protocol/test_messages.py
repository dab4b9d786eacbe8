"""Every message, its fields and their bounds."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import msgpack
import pytest

from protocol import messages
from protocol.errors import Reason
from protocol.messages import Message
from tests.protocol.builders import Catalogue, listings, member, refused, secret

HEAD = Catalogue({"listing": listings(3)}).head(member(1)).signed.to_bytes()
ID = member(1).member_id
LOG = member(1).log
HASH = secret("hash")
SHORT = b"8 bytes!"
LEAVES = [[0, 0, bytes(32)]] * 15 + [[17, 99, HASH]]

EXAMPLES: list[Message] = [
    messages.Hello(1, HASH, ID, SHORT, secret("nonce"), LOG),
    messages.Proof(bytes(64)),
    messages.Status(7, HASH, SHORT, [HEAD]),
    messages.Put([HEAD], [bytes(65)], LOG),
    messages.Since(1, SHORT, 2, HASH),
    messages.News(1, SHORT, 2, False, True, [HEAD], [bytes(65)], LOG),
    messages.GetOps(1, ID, 0, 0, 5),
    messages.Ops(1, HEAD, [[5, [["listing", b"body"]]]]),
    messages.WalkTrie(1, ID, 0, HASH, "listing", ["", "0f"]),
    messages.Nodes(1, None, b"state", [["", 0, LEAVES], ["0f", 1, b"chunk"]]),
    messages.GetPages(1, 7),
    messages.Pages(1, False, [b"page"], LOG),
    messages.Ping(1),
    messages.Pong(2**64 - 1),
    messages.Twin(SHORT),
    messages.Bye("leaving", "good night"),
    messages.Reconcile(1, HASH[:16], [[b"\x01", 0, None], [b"\x02", 1, HASH[:16]], [b"", 2, SHORT * 2]]),
    messages.Reconciled(1, SHORT, 2, [[b"\x01", 1, HASH[:16]], [b"\x02", 2, HASH], [b"", 3, [HASH, SHORT]]]),
    messages.GetItems(1, [HASH]),
    messages.Items(1, [HEAD], [bytes(65)], LOG),
    messages.Have(SHORT * 3),
    messages.Graft(SHORT),
    messages.Prune(),
    messages.Busy(1, 250),
]
"""One of each."""


def row(message: Message, **changes: Any) -> bytes:
    """Write *message* with some fields replaced by what may break a rule."""
    values = [changes.get(one.name, getattr(message, one.name)) for one in fields(message)]
    return bytes(msgpack.packb([message.number, *values], use_bin_type=True))


def test_a_status_of_a_node_that_keeps_everything_is_as_short_as_before() -> None:
    full, light = messages.Status(7, HASH, SHORT, []), messages.Status(7, HASH, SHORT, [], "light")
    assert messages.write(full) == msgpack.packb([10, 7, HASH, SHORT, []])
    assert messages.write(light) == msgpack.packb([10, 7, HASH, SHORT, [], "light"])
    assert messages.read(messages.write(light)) == light
    assert messages.read(msgpack.packb([10, 7, HASH, SHORT, [], "full"])) == full
    assert messages.read(msgpack.packb([10, 7, HASH, SHORT, [], "a later word"])) != full
    for row_ in ([10, 7, HASH, SHORT], [10, 7, HASH, SHORT, [], "light", None], [11, [], []]):
        with refused(Reason.WRONG_SHAPE):
            messages.read(msgpack.packb(row_))
    for word in ("", "a" * 17):
        with refused(Reason.OUT_OF_RANGE):
            messages.read(msgpack.packb([10, 7, HASH, SHORT, [], word]))


def example(kind: type[Message]) -> Message:
    return next(one for one in EXAMPLES if type(one) is kind)


def test_there_is_an_example_of_every_message_and_every_number_is_its_own() -> None:
    assert {type(one) for one in EXAMPLES} == set(get_args(Message)) == set(messages.KINDS.values())
    assert len(messages.KINDS) == len(EXAMPLES) == 24


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: type(one).__name__)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert messages.read(messages.write(message)) == message
    assert messages.read(row(message)) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: type(one).__name__)
def test_a_message_has_exactly_its_fields(message: Message) -> None:
    whole = msgpack.unpackb(messages.write(message), strict_map_key=False)
    for bad in (whole[:-1], [*whole, 0]):
        with refused(Reason.WRONG_SHAPE):
            messages.read(msgpack.packb(bad))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: type(one).__name__)
def test_no_field_takes_just_anything(message: Message) -> None:
    for one in fields(message):
        with refused(Reason.WRONG_SHAPE):
            messages.read(row(message, **{one.name: {"a": 1.5}}))


SHAPE, RANGE = Reason.WRONG_SHAPE, Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        (messages.Hello, {"version": 256}, RANGE),
        (messages.Hello, {"log": []}, RANGE),
        (messages.Hello, {"log": [bytes(64)]}, RANGE),
        (messages.Status, {"your_heads": [HEAD] * 17}, RANGE),
        (messages.Put, {"heads": [bytes(65)] * 1001}, RANGE),
        (messages.Put, {"statements": [bytes(17_000)]}, RANGE),
        (messages.GetOps, {"stream": 16}, RANGE),
        (messages.Ops, {"segments": [[5, []]]}, RANGE),
        (messages.Ops, {"segments": [[5, [["", b"body"]]]]}, RANGE),
        (messages.Ops, {"segments": [[5, [["listing", b""]]]]}, RANGE),
        (messages.WalkTrie, {"request": 2**32}, RANGE),
        (messages.WalkTrie, {"prefixes": [""] * 257}, RANGE),
        (messages.WalkTrie, {"prefixes": ["g"]}, SHAPE),
        (messages.WalkTrie, {"prefixes": ["A"]}, SHAPE),
        (messages.WalkTrie, {"prefixes": ["0" * 65]}, SHAPE),
        (messages.WalkTrie, {"prefixes": [b"0"]}, SHAPE),
        (messages.WalkTrie, {"collection": "x" * 33}, RANGE),
        (messages.Nodes, {"items": [[]]}, SHAPE),
        (messages.Nodes, {"items": [["", 0]]}, SHAPE),
        (messages.Nodes, {"items": [[0, 1, b""]]}, SHAPE),
        (messages.Nodes, {"items": [["", 2, b""]]}, RANGE),
        (messages.Nodes, {"items": [["", False, LEAVES]]}, SHAPE),
        (messages.Nodes, {"items": [["", True, b"chunk"]]}, SHAPE),
        (messages.Nodes, {"items": [["", 1.0, b"chunk"]]}, SHAPE),
        (messages.Nodes, {"items": [["", 1, "chunk"]]}, SHAPE),
        (messages.Nodes, {"items": [["", 0, LEAVES[:15]]]}, RANGE),
        (messages.Nodes, {"items": [["", 0, [*LEAVES[:15], [0, 0]]]]}, SHAPE),
        (messages.Nodes, {"head": b""}, RANGE),
        (messages.Ping, {"nonce": -1}, RANGE),
        (messages.Busy, {"retry_ms": 0}, RANGE),
        (messages.Busy, {"retry_ms": 60_001}, RANGE),
        (messages.Bye, {"reason": ""}, RANGE),
        (messages.Bye, {"detail": "\x1b[2J"}, RANGE),
        (messages.Bye, {"detail": "x" * 501}, RANGE),
        (messages.Reconcile, {"ranges": []}, RANGE),
        (messages.Reconcile, {"ranges": [[b"", 0, b""]]}, SHAPE),
        (messages.Reconcile, {"ranges": [[b"", 1, bytes(15)]]}, SHAPE),
        (messages.Reconcile, {"ranges": [[b"", 2, bytes(9)]]}, SHAPE),
        (messages.Reconcile, {"ranges": [[b"", 3, [b"", b""]]]}, RANGE),
        (messages.Reconcile, {"ranges": [[b"\x01", 0, None], [b"\x01", 0, None]]}, RANGE),
        (messages.Reconcile, {"ranges": [[b"", 0, None], [b"", 0, None]]}, RANGE),
        (messages.Reconciled, {"ranges": [[b"", 2, bytes(31)]]}, SHAPE),
        (messages.Reconciled, {"ranges": [[b"", 2, bytes(32 * 1001)]]}, RANGE),
        (messages.GetItems, {"ids": []}, RANGE),
        (messages.GetItems, {"ids": [HASH] * 1001}, RANGE),
    ],
)
def test_a_field_beyond_its_bounds_is_refused(kind: type[Message], changes: dict[str, Any], reason: Reason) -> None:
    assert messages.read(row(example(kind))) == example(kind)
    with refused(reason):
        messages.read(row(example(kind), **changes))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.TRUNCATED),
        (b"\xc1", Reason.MALFORMED),
        (b"\x92\x14\x01\x01", Reason.TRAILING),
        (b"\x91" * 2000, Reason.TOO_DEEP),
        (b"\x92\x14\x81\x90\x01", Reason.FORBIDDEN_TYPE),
        (b"\x92\x63\x01", Reason.UNKNOWN_KIND),
        (b"\x92\xc3\x01", Reason.WRONG_SHAPE),
        (b"\x90", Reason.WRONG_SHAPE),
        (b"\x14", Reason.WRONG_SHAPE),
        (b"\x80", Reason.WRONG_SHAPE),
        (bytes(2 * 1024 * 1024 + 1), Reason.TOO_LARGE),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, reason: Reason) -> None:
    with refused(reason):
        messages.read(data)


def test_a_message_need_not_be_canonical() -> None:
    assert messages.read(b"\x92\x14\x01") == messages.read(b"\x92\x14\xcd\x00\x01") == messages.Ping(1)
