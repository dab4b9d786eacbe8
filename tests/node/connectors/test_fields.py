"""Cells turned into fields, the same for every format."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopnode.connectors import fields
from coopnode.connectors.article import WrongCell
from protocol.limits import MAX_SKU_BYTES
from protocol.records import check_sku


@pytest.mark.parametrize("text", ["🍞 Bread", "خبز طازج", "לחם", "<b>Bread</b> & butter", "5 < 6"])
def test_titles_are_kept_as_they_are(text: str) -> None:
    assert fields.title(text) == text


def test_titles_are_one_line_and_never_cut() -> None:
    assert fields.title(" Rye\n bread ") == "Rye bread"
    assert fields.title("x" * 500) == "x" * 500
    with pytest.raises(WrongCell, match="501 bytes long, at most 500"):
        fields.title("x" * 501)
    with pytest.raises(WrongCell, match="502 bytes long"):
        fields.title("ä" * 251)
    with pytest.raises(WrongCell, match="no title"):
        fields.title("  ")


def test_variants_are_named_by_their_values() -> None:
    assert fields.variant_title("Shirt", ["Blue", "", "L"]) == "Shirt - Blue, L"
    assert fields.variant_title("Shirt", []) == "Shirt"


@pytest.mark.parametrize("text", ["2010000000014", "'2010000000014", "2 010000 000014", "2-010000-000014"])
def test_gtins_are_read_without_ornament(text: str) -> None:
    assert fields.gtin(text) == "2010000000014"


@pytest.mark.parametrize(
    ("text", "words"), [("2010000000015", "check digit"), ("123", "length"), ("2,01E+12", "rounded")]
)
def test_wrong_gtins_are_refused(text: str, words: str) -> None:
    with pytest.raises(WrongCell, match=words):
        fields.gtin(text)


def test_a_barcode_that_is_no_gtin_is_kept_as_attribute() -> None:
    listing: dict[str, Any] = {}
    fields.barcode("X-123", listing)
    assert listing == {"attributes": {"Barcode": "X-123"}}
    fields.barcode("2010000000014", listing)
    assert listing["gtin"] == "2010000000014"


def test_lists_are_parted() -> None:
    assert fields.category_path(" Food >  Flour > ") == ["Food", "Flour"]
    assert fields.tags("a, b;a|c d,,") == ["a", "b", "c d"]
    assert len(fields.tags(",".join(map(str, range(100))))) == 32
    links = ["https://a.example/1", "ftp://b", "", "https://a.example/1", "https://a.example/" + "x" * 500]
    assert fields.pictures(links) == ["https://a.example/1"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("kg", "KGM"), ("Stück", "C62"), ("Stk.", "C62"), ("L", "LTR"), ("Paar", "PR"), ("KGM", "KGM"), ("E27", "E27")],
)
def test_units_are_codes(text: str, code: str) -> None:
    assert fields.unit_code(text) == code


def test_unknown_units_are_refused() -> None:
    with pytest.raises(WrongCell, match="not a unit"):
        fields.unit_code("handful")


def test_rates_numbers_and_truth() -> None:
    assert [fields.tax_bp(text) for text in ("19", "7,7", "19 %", "0")] == [1900, 770, 1900, 0]
    assert fields.whole_number("12,0") == 12
    assert [fields.truth(text) for text in ("Ja", "yes", "0", "Nein")] == [True, True, False, False]
    for read, text in ((fields.tax_bp, "101"), (fields.tax_bp, "7.125"), (fields.truth, "perhaps")):
        with pytest.raises(WrongCell):
            read(text)
    with pytest.raises(WrongCell, match="not a whole number"):
        fields.whole_number("1.5")


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_made_up_skus_are_stable_and_valid(parts: list[str]) -> None:
    sku = fields.made_up_sku(*parts)
    assert sku == fields.made_up_sku(*parts)
    assert len(sku.encode()) <= MAX_SKU_BYTES
    if sku:
        check_sku(sku)


def test_long_made_up_skus_stay_apart() -> None:
    one, two = fields.made_up_sku("x" * 100 + "1"), fields.made_up_sku("x" * 100 + "2")
    assert one != two
    assert fields.made_up_sku("T-Shirt", "Größe L") == "t-shirt-grösse-l"
