"""Records in bulk: the form in which subtrees and operations travel and lie on disk.

A chunk is all records under one prefix of a collection's trie: `[key, value, key, value, ...]` in the
order of SHA-256(key), deflated. Operations have the same form, in the order of their keys, with nil for
a record that goes. Never trusts a chunk: `read_chunk` gives the entries, whose hash the caller compares
with what the signed root demands. Specification, sections 7.5 and 8.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgpack

from protocol.encoding import deflate, encode, inflate, unpack
from protocol.errors import Reason, Refused
from protocol.limits import CHUNK_ENTRIES, MAX_CHUNK_BYTES, MAX_KEY_BYTES, MAX_OPS, MAX_OPS_BYTES, MAX_VALUE_BYTES
from protocol.records import check_collection

_sha256 = hashlib.sha256
_OVERHEAD_BYTES = 8  # of MessagePack around one key and one value, at most


@dataclass(frozen=True, slots=True)
class Chunk:
    """The records of one subtree, in trie order, with their entries."""

    keys: list[bytes]
    values: list[bytes]
    entries: bytes


def write_chunk(records: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Pack (key, value) pairs that are already in the order of SHA-256(key)."""
    flat: list[bytes] = []
    for pair in records:
        flat.extend(pair)
    return deflate(msgpack.packb(flat, use_bin_type=True))


def read_chunk(packed: bytes, prefix: str) -> Chunk:
    """Unpack a chunk that is said to hold the subtree at *prefix* (hex nibbles) and compute its entries.

    Refuses: too_large, truncated, trailing, malformed, wrong_shape,
    record_key and chunk_mismatch (a record out of order or outside the prefix).
    """
    raw = inflate(packed, MAX_CHUNK_BYTES + CHUNK_ENTRIES * _OVERHEAD_BYTES)
    flat = unpack(raw)
    if type(flat) is not list or len(flat) % 2 or len(flat) > 2 * CHUNK_ENTRIES:
        raise Refused(Reason.WRONG_SHAPE, f"a chunk is a list of at most {CHUNK_ENTRIES} keys and values")
    if not set(map(type, flat)) <= {bytes}:
        raise Refused(Reason.WRONG_SHAPE, "a chunk holds bytes and nothing else")
    keys, values = flat[::2], flat[1::2]
    if keys and (max(map(len, keys)) > MAX_KEY_BYTES or min(map(len, keys)) == 0):
        raise Refused(Reason.RECORD_KEY, f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if values and max(map(len, values)) > MAX_VALUE_BYTES:
        raise Refused(Reason.TOO_LARGE, f"a record has at most {MAX_VALUE_BYTES} bytes")
    key_hashes = [_sha256(key).digest() for key in keys]
    # Strictly ascending hashes: sorted and without repetition; the ends decide about the prefix.
    if any(map(bytes.__ge__, key_hashes, key_hashes[1:])):
        raise Refused(Reason.CHUNK_MISMATCH, "the records of a chunk are not in trie order")
    if key_hashes and not (key_hashes[0].hex().startswith(prefix) and key_hashes[-1].hex().startswith(prefix)):
        raise Refused(Reason.CHUNK_MISMATCH, "a record does not belong under the chunk's prefix")
    entries = b"".join(
        [
            key_hash + _sha256(value).digest() + (len(key) + len(value)).to_bytes(4, "big")
            for key_hash, key, value in zip(key_hashes, keys, values, strict=True)
        ]
    )
    return Chunk(keys, values, entries)


Ops = Mapping[str, Mapping[bytes, bytes | None]]
"""Changes to a catalogue: collection -> key -> new value, or None where the record goes."""


@dataclass(frozen=True, slots=True)
class OpsSummary:
    """What a head says of its operations."""

    root: bytes
    count: int
    size: int


def write_ops(ops: Ops) -> dict[str, bytes]:
    """Return the body of each collection's operations, not deflated. Spec 8.3."""
    return {
        name: encode([item for key in sorted(changes) for item in (key, changes[key])])
        for name, changes in sorted(ops.items())
        if changes
    }


def summarise_ops(bodies: Mapping[str, bytes]) -> OpsSummary:
    """Hash the operations of all collections: SHA-256(0x05 || [[collection, n, SHA-256(body)], ...]).

    Refuses: wrong_shape and malformed bytes, so that received bodies can be compared before `read_ops`.
    """
    rows: list[list[object]] = []
    total = 0
    for name, body in sorted(bodies.items()):
        flat = unpack(body)
        if type(flat) is not list or len(flat) % 2:
            raise Refused(Reason.WRONG_SHAPE, "operations are a list of keys and values")
        number = len(flat) // 2
        total += number
        rows.append([name, number, _sha256(body).digest()])
    return OpsSummary(_sha256(b"\x05" + encode(rows)).digest(), total, sum(len(body) for body in bodies.values()))


def read_ops(bodies: Mapping[str, bytes]) -> dict[str, dict[bytes, bytes | None]]:
    """Decode operations. Refuses: wrong_shape, record_key, too_large, not_canonical, and malformed bytes."""
    total = 0
    size = 0
    ops: dict[str, dict[bytes, bytes | None]] = {}
    for name, body in bodies.items():
        check_collection(name)
        size += len(body)
        if size > MAX_OPS_BYTES:
            raise Refused(Reason.TOO_LARGE, f"the operations of a head have at most {MAX_OPS_BYTES} bytes")
        flat = unpack(body)
        if type(flat) is not list or len(flat) % 2 or not flat:
            raise Refused(Reason.WRONG_SHAPE, "operations are a list of keys and values")
        keys, values = flat[::2], flat[1::2]
        _check_ops(keys, values)
        if encode(flat) != body:
            raise Refused(Reason.NOT_CANONICAL, "the operations are not in their one encoding")
        total += len(keys)
        ops[name] = dict(zip(keys, values, strict=True))
    if total > MAX_OPS:
        raise Refused(Reason.TOO_LARGE, f"a head has at most {MAX_OPS} operations, not {total}")
    return ops


def _check_ops(keys: list[object], values: list[object]) -> None:
    previous = b""
    for key, value in zip(keys, values, strict=True):
        if type(key) is not bytes or not (value is None or type(value) is bytes):
            raise Refused(Reason.WRONG_SHAPE, "an operation is a key in bytes and a value in bytes or nil")
        if not 1 <= len(key) <= MAX_KEY_BYTES:
            raise Refused(Reason.RECORD_KEY, f"a key has 1 to {MAX_KEY_BYTES} bytes")
        if key <= previous:
            raise Refused(Reason.NOT_CANONICAL, "operations must be in the order of their keys, each key once")
        if value is not None and len(value) > MAX_VALUE_BYTES:
            raise Refused(Reason.TOO_LARGE, f"a record has at most {MAX_VALUE_BYTES} bytes")
        previous = key
