"""One value, one encoding: the strict subset of MessagePack that everything signed is written in.

Never repairs or normalises: bytes are either the one encoding of their value or refused.
The thing to understand: `decode` re-encodes what it read and compares, so "canonical" is not a list
of special cases that could have a gap, but equality. Specification, section 2.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgpack

from protocol.errors import LocalError, Reason, Refused
from protocol.limits import MAX_DEPTH

# Kept, because a new Packer reserves a megabyte each time. It never gives up the interpreter while it packs
# what `unpack` made, so threads cannot meet in it.
_pack = msgpack.Packer(use_bin_type=True).pack

# nil, bool, int, str, bin, array, map: what may be written. `object` stays out of signatures of
# callers: they check shapes field by field (protocol.shape).
Value = Any


def encode(value: Value) -> bytes:
    """Write *value* in its one encoding: maps sorted by key, integers and lengths as short as possible.

    Raises LocalError for what has no encoding: floats, keys that are not str, unsupported types.
    """
    try:
        return bytes(msgpack.packb(_sorted(value), use_bin_type=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalError(f"cannot encode: {error}") from error


def decode(data: bytes, max_bytes: int, *, max_depth: int = MAX_DEPTH) -> Value:
    """Read *data*, which must be the one encoding of its value and nothing else. Spec 2.2.

    Refuses: too_large, truncated, trailing, malformed, too_deep, forbidden_type, not_canonical.
    """
    if len(data) > max_bytes:
        raise Refused(Reason.TOO_LARGE, f"{len(data)} bytes where at most {max_bytes} are allowed")
    value = unpack(data)
    check_types(value, max_depth)
    if not is_shortest(value, data):
        raise Refused(Reason.NOT_CANONICAL, "the bytes are not the shortest encoding of their value")
    return value


def is_shortest(value: Value, data: bytes) -> bool:
    """Whether *data* equals the encoding of *value*, which `unpack` read from it; key order is not looked at."""
    return bool(_pack(value) == data)


def unpack(data: bytes) -> Value:
    """Read one MessagePack value without the canonical check; the caller has bounded its size."""
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False, use_list=True)
    except msgpack.ExtraData as error:
        raise Refused(Reason.TRAILING, "bytes follow the end of the value") from error
    except msgpack.StackError as error:
        raise Refused(Reason.TOO_DEEP, "values are nested too deeply") from error
    except msgpack.FormatError as error:
        raise Refused(Reason.MALFORMED, "the bytes are not MessagePack") from error
    except UnicodeDecodeError as error:
        raise Refused(Reason.MALFORMED, "a text is not UTF-8") from error
    except TypeError as error:  # a map key that cannot be a key: array or map
        raise Refused(Reason.FORBIDDEN_TYPE, "a map key is not a text") from error
    except ValueError as error:
        if "incomplete" in str(error) or "exceeds" in str(error):
            # "exceeds": a length field promises more than the bytes that are there
            raise Refused(Reason.TRUNCATED, "the bytes end in the middle of a value") from error
        raise Refused(Reason.MALFORMED, f"the bytes are not MessagePack: {error}") from error


def check_types(value: Value, max_depth: int = MAX_DEPTH) -> None:
    """Refuse floats, extensions, keys that are not str, unsorted maps, and too much depth."""
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is not list and kind is not dict:
        raise Refused(Reason.FORBIDDEN_TYPE, f"{kind.__name__} has no place in signed data")
    if max_depth == 0:
        raise Refused(Reason.TOO_DEEP, f"values are nested more than {MAX_DEPTH} deep")
    if kind is list:
        for item in value:
            if type(item) not in _SCALARS:
                check_types(item, max_depth - 1)
        return
    previous = None
    for key, item in value.items():
        if type(key) is not str:
            raise Refused(Reason.FORBIDDEN_TYPE, "a map key is not a text")
        # Code point order of str is byte order of its UTF-8.
        if previous is not None and key <= previous:
            raise Refused(Reason.NOT_CANONICAL, "the keys of a map are not in order")
        previous = key
        if type(item) not in _SCALARS:
            check_types(item, max_depth - 1)


def deflate(raw: bytes) -> bytes:
    """Compress a body for the wire and the disk (zlib, level 1: speed before size). Spec 2.4."""
    return zlib.compress(raw, 1)


def inflate(packed: bytes, max_bytes: int) -> bytes:
    """Unpack a zlib stream of at most *max_bytes*; stops at the bound, so a bomb costs nothing. Spec 2.4.

    Refuses: too_large, truncated, trailing, malformed.
    """
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise Refused(Reason.MALFORMED, "the body is not a zlib stream") from error
    if len(raw) > max_bytes:
        raise Refused(Reason.TOO_LARGE, f"the body unpacks to more than {max_bytes} bytes")
    if not inflater.eof:
        raise Refused(Reason.TRUNCATED, "the zlib stream ends early")
    if inflater.unused_data:
        raise Refused(Reason.TRAILING, "bytes follow the end of the zlib stream")
    return raw


_SCALARS = frozenset({type(None), bool, int, str, bytes})


def _sorted(value: Value) -> Value:
    """Copy *value* with every map in key order; anything without an encoding is our own mistake."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        if any(type(key) is not str for key in value):
            raise LocalError("cannot encode: a map key is not a str")
        return {key: _sorted(value[key]) for key in sorted(value)}
    if kind in (list, tuple):
        return [_sorted(item) for item in value]
    raise LocalError(f"cannot encode: {kind.__name__} has no encoding")
