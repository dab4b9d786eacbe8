"""Field-by-field checks of a decoded map or array, so that no decoder is written by hand twice.

Never guesses a default: a field that may be missing is said to be optional. Specification, section 2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.errors import Reason, Refused

Check = Callable[[Any, str], None]
"""Looks at one field's value; raises Refused naming the field."""


def _wrong(name: str, want: str) -> Refused:
    return Refused(Reason.WRONG_SHAPE, f"'{name}' must be {want}")


def integer(low: int, high: int) -> Check:
    """Whole number from *low* to *high*, both included."""

    def check(value: Any, name: str) -> None:
        if type(value) is not int:
            raise _wrong(name, "a whole number")
        if not low <= value <= high:
            raise Refused(Reason.OUT_OF_RANGE, f"'{name}' must be from {low} to {high}")

    return check


def binary(length: int) -> Check:
    """Exactly *length* bytes."""

    def check(value: Any, name: str) -> None:
        if type(value) is not bytes or len(value) != length:
            raise _wrong(name, f"{length} bytes")

    return check


def blob(low: int, high: int) -> Check:
    """Between *low* and *high* bytes."""

    def check(value: Any, name: str) -> None:
        if type(value) is not bytes:
            raise _wrong(name, "bytes")
        if not low <= len(value) <= high:
            raise Refused(Reason.OUT_OF_RANGE, f"'{name}' must be {low} to {high} bytes long")

    return check


def pieces(length: int, most: int) -> Check:
    """Up to *most* pieces of *length* bytes, joined."""

    def check(value: Any, name: str) -> None:
        blob(0, most * length)(value, name)
        if len(value) % length:
            raise _wrong(name, f"whole pieces of {length} bytes")

    return check


def nothing(value: Any, name: str) -> None:
    """Nil and nothing else."""
    if value is not None:
        raise _wrong(name, "nil")


def text(low: int, high: int, *, lines: bool = False) -> Check:
    """Text of *low* to *high* bytes of UTF-8 without control characters; *lines* allows line breaks and tabs.

    Control characters are the C0 and C1 sets and DEL: they garble terminals and logs.
    """
    allowed = "\n\t" if lines else ""

    def check(value: Any, name: str) -> None:
        if type(value) is str and value.isascii() and value.isprintable() and low <= len(value) <= high:
            return  # nearly every text there is; the rest of this is for the others, and for the reason
        if type(value) is not str:
            raise _wrong(name, "a text")
        size = len(value) if value.isascii() else utf8_bytes(value, name)
        if not low <= size <= high:
            raise Refused(Reason.OUT_OF_RANGE, f"'{name}' must be {low} to {high} bytes long, not {size}")
        if not value.isprintable() and any(is_control(char) and char not in allowed for char in value):
            raise Refused(Reason.OUT_OF_RANGE, f"'{name}' holds a control character")

    return check


def utf8_bytes(value: str, name: str) -> int:
    """Return the length of *value* in UTF-8. Refuses (out_of_range) half a surrogate pair, which JSON can carry."""
    try:
        return len(value.encode())
    except UnicodeEncodeError as error:
        raise Refused(Reason.OUT_OF_RANGE, f"'{name}' is not text that UTF-8 can hold") from error


def is_control(char: str) -> bool:
    """Whether *char* is in C0, C1 or is DEL."""
    return char < " " or "\x7f" <= char <= "\x9f"


def boolean(value: Any, name: str) -> None:
    """True or false."""
    if type(value) is not bool:
        raise _wrong(name, "true or false")


def one_of(*choices: str) -> Check:
    """One of the given words."""

    def check(value: Any, name: str) -> None:
        if type(value) is not str:
            raise _wrong(name, "a text")
        if value not in choices:
            raise Refused(Reason.OUT_OF_RANGE, f"'{name}' must be one of: {', '.join(choices)}")

    return check


def array(item: Check, low: int, high: int) -> Check:
    """List of *low* to *high* items that each pass *item*."""

    def check(value: Any, name: str) -> None:
        if type(value) is not list:
            raise _wrong(name, "a list")
        if not low <= len(value) <= high:
            raise Refused(Reason.OUT_OF_RANGE, f"'{name}' must have {low} to {high} items")
        for one in value:
            item(one, name)

    return check


def or_nil(inner: Check) -> Check:
    """Nothing, or what passes *inner*."""

    def check(value: Any, name: str) -> None:
        if value is not None:
            inner(value, name)

    return check


def texts_map(most: int, key_bytes: int, value_bytes: int) -> Check:
    """Map of texts to texts, with at most *most* entries."""
    check_key, check_value = text(1, key_bytes), text(0, value_bytes)

    def check(value: Any, name: str) -> None:
        if type(value) is not dict:
            raise _wrong(name, "a map")
        if len(value) > most:
            raise Refused(Reason.OUT_OF_RANGE, f"'{name}' must have at most {most} entries")
        for key, item in value.items():
            check_key(key, name)
            check_value(item, name)

    return check


def version_1(value: Any, what: str) -> None:
    """Refuse (wrong_version) a map whose `v` is another number than 1, whatever else it holds. Spec 2.3.

    To be called before the fields are looked at: those of a later version are not ours to judge.
    """
    if type(value) is dict and type(value.get("v")) is int and value["v"] != 1:
        raise Refused(Reason.WRONG_VERSION, f"{what} of version {value['v']} is not known here")


def fields(
    value: Any,
    required: dict[str, Check],
    optional: dict[str, Check] | None = None,
    *,
    extra: bool = False,
) -> None:
    """Check that *value* is a map with all *required* fields, some *optional* ones, and no others.

    With *extra*, unknown fields are let through: for what later versions may add without breaking
    older readers (records and contacts).
    """
    if type(value) is not dict:
        raise Refused(Reason.WRONG_SHAPE, "a map was expected")
    for name in required:
        if name not in value:
            raise Refused(Reason.WRONG_SHAPE, f"'{name}' is missing")
    for name, item in value.items():
        check = required.get(name) or (optional or {}).get(name)
        if check is not None:
            check(item, name)
        elif not extra:
            raise Refused(Reason.WRONG_SHAPE, f"{name[:40]!a} is not a field here")  # unchecked text of theirs


def row(value: Any, checks: tuple[tuple[str, Check], ...]) -> list[Any]:
    """Check that *value* is a list with exactly these items in this order, and return it."""
    if type(value) is not list or len(value) != len(checks):
        raise Refused(Reason.WRONG_SHAPE, f"a list of {len(checks)} items was expected")
    for item, (name, check) in zip(value, checks, strict=True):
        check(item, name)
    return value


def rows(*checks: tuple[str, Check]) -> Check:
    """Return a check that a value is a list with exactly these items."""

    def check(value: Any, name: str) -> None:
        row(value, checks)

    return check
