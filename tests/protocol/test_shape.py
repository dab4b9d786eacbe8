"""Field-by-field checks."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import shape
from protocol.errors import Reason, Refused
from tests.protocol.builders import refused

SHAPE, RANGE = Reason.WRONG_SHAPE, Reason.OUT_OF_RANGE

# check, values that pass, values that do not with the reason
TABLE: list[tuple[str, shape.Check, list[Any], list[tuple[Any, Reason]]]] = [
    ("integer", shape.integer(1, 3), [1, 3], [(0, RANGE), (4, RANGE), (True, SHAPE), ("1", SHAPE), (1.0, SHAPE)]),
    ("binary", shape.binary(2), [b"ab"], [(b"a", SHAPE), (b"abc", SHAPE), ("ab", SHAPE), (None, SHAPE)]),
    ("blob", shape.blob(1, 2), [b"a", b"ab"], [(b"", RANGE), (b"abc", RANGE), ("ab", SHAPE)]),
    (
        "text",
        shape.text(1, 4),
        ["a", "éé", "a b"],
        [
            ("", RANGE),
            ("ééé", RANGE),
            ("abcde", RANGE),
            (b"a", SHAPE),
            ("a\n", RANGE),
            ("\x7f", RANGE),
        ],
    ),
    (
        "a foreign space is no control character",
        shape.text(1, 9),
        ["a\u2003b"],
        [("\x85", RANGE), ("\x9f", RANGE)],
    ),
    ("half a surrogate pair", shape.text(1, 9), ["😀"], [("\ud83d", RANGE)]),
    ("lines", shape.text(1, 9, lines=True), ["a\n\tb"], [("a\rb", RANGE), ("\x00", RANGE)]),
    ("boolean", shape.boolean, [True, False], [(1, SHAPE), (None, SHAPE)]),
    ("one_of", shape.one_of("a", "b"), ["a", "b"], [("c", RANGE), (b"a", SHAPE)]),
    (
        "array",
        shape.array(shape.integer(0, 9), 1, 2),
        [[0], [1, 2]],
        [([], RANGE), ([1, 2, 3], RANGE), ([10], RANGE), (["1"], SHAPE), ((1,), SHAPE)],
    ),
    ("or_nil", shape.or_nil(shape.boolean), [None, True], [(0, SHAPE)]),
    (
        "texts_map",
        shape.texts_map(1, 3, 3),
        [{}, {"abc": ""}],
        [([], SHAPE), ({"a": "", "b": ""}, RANGE), ({"": ""}, RANGE), ({"a": "long"}, RANGE), ({"a": 1}, SHAPE)],
    ),
    ("rows", shape.rows(("n", shape.integer(0, 1))), [[0]], [([], SHAPE), ([0, 0], SHAPE), ([2], RANGE), (0, SHAPE)]),
]


@pytest.mark.parametrize(("check", "good"), [(row[1], one) for row in TABLE for one in row[2]])
def test_what_fits_passes(check: shape.Check, good: Any) -> None:
    check(good, "field")


@pytest.mark.parametrize(("check", "bad", "reason"), [(row[1], *one) for row in TABLE for one in row[3]])
def test_what_does_not_fit_is_refused(check: shape.Check, bad: Any, reason: Reason) -> None:
    with refused(reason):
        check(bad, "field")


REQUIRED: dict[str, shape.Check] = {"a": shape.boolean}
OPTIONAL: dict[str, shape.Check] = {"b": shape.boolean}


def test_a_map_has_its_required_fields_and_maybe_the_optional_ones() -> None:
    shape.fields({"a": True}, REQUIRED, OPTIONAL)
    shape.fields({"a": True, "b": False}, REQUIRED, OPTIONAL)
    shape.fields({"a": True, "c": 1}, REQUIRED, extra=True)


@pytest.mark.parametrize("bad", [[], {}, {"b": True}, {"a": 1}, {"a": True, "b": 1}, {"a": True, "c": 1}])
def test_a_map_with_anything_else_is_refused(bad: Any) -> None:
    with refused(SHAPE):
        shape.fields(bad, REQUIRED, OPTIONAL)


def test_optional_fields_are_checked_where_extra_ones_are_let_through() -> None:
    with refused(SHAPE):
        shape.fields({"a": True, "b": 1}, REQUIRED, OPTIONAL, extra=True)


def test_the_name_of_an_unknown_field_cannot_garble_a_terminal_or_fill_a_log() -> None:
    with pytest.raises(Refused) as caught:
        shape.fields({"\x1b[2J\n" + "é" * 10_000: 1}, {})
    assert caught.value.reason is SHAPE
    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("value", [{"v": 1}, {"v": True}, {"v": "2"}, {}, [2], None])
def test_what_names_no_other_version_is_left_to_the_other_checks(value: Any) -> None:
    shape.version_1(value, "a thing")


@pytest.mark.parametrize("version", [0, 2, -1, 2**64 - 1])
def test_another_version_is_refused_before_anything_else_is_looked_at(version: int) -> None:
    with refused(Reason.WRONG_VERSION):
        shape.version_1({"v": version, "later": 1}, "a thing")


def test_a_row_is_returned_as_it_is() -> None:
    assert shape.row([True], (("a", shape.boolean),)) == [True]
