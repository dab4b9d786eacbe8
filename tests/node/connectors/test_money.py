"""Prices and quantities: exact, in the right exponent, refused where they could mean two things."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopnode.connectors.article import WrongCell
from coopnode.connectors.money import (
    decimal_sign,
    exponent,
    format_milli,
    format_minor,
    parse_number,
    parse_price,
    parse_quantity,
)
from protocol.limits import MAX_PRICE_MINOR, MAX_QUANTITY_MILLI


@pytest.mark.parametrize(
    ("text", "currency", "price_minor"),
    [
        ("1.234,50", "EUR", 123450),
        ("1,234.50", "EUR", 123450),
        ("12", "EUR", 1200),
        ("€ 4,20", "EUR", 420),
        ("4.20 EUR", "EUR", 420),
        ("4.20eur", "EUR", 420),
        ("EUR4,2", "EUR", 420),
        ("1.234.567", "EUR", 123456700),
        ("1.234.567,89", "EUR", 123456789),
        ("1 234,50", "EUR", 123450),
        ("1\u202f234,50 €", "EUR", 123450),
        ("1'234.50 Fr.", "CHF", 123450),
        ("1’234.50", "CHF", 123450),
        (".99", "USD", 99),
        ("$.99", "USD", 99),
        ("$5", "USD", 500),
        ("EUR.99", "EUR", 99),
        ("Rs.500", "INR", 50000),
        ("Fr. 500", "CHF", 50000),
        ("kr 1 234,50", "SEK", 123450),
        ("4,-", "EUR", 400),
        ("+4,20", "EUR", 420),
        ("0.500", "EUR", 50),
        ("4.2000", "EUR", 420),
        ("0", "EUR", 0),
        ("1000", "JPY", 1000),
        ("1,000", "JPY", 1000),
        ("¥1,234,567", "JPY", 1234567),
        ("1000.00", "JPY", 1000),
        ("1.250", "KWD", 1250),
        ("1,250", "KWD", 1250),
        ("1.5 KWD", "KWD", 1500),
        ("1,234.500", "KWD", 1234500),
        ("5000", "CLP", 5000),
        ("1.000.000 ₫", "VND", 1000000),
    ],
)
def test_a_price_is_read_exactly(text: str, currency: str, price_minor: int) -> None:
    assert parse_price(text, currency) == price_minor


@pytest.mark.parametrize(
    ("text", "currency", "words"),
    [
        ("4.205,123", "EUR", "more than 2 decimals"),
        ("0.125", "EUR", "more than 2 decimals"),
        ("4.50", "JPY", "more than 0 decimals"),
        ("1.2345", "KWD", "more than 3 decimals"),
        ("-4.20", "EUR", "negative"),
        ("−4.20", "EUR", "negative"),
        ("4.20-", "EUR", "negative"),
        ("(4.20)", "EUR", "negative"),
        ("€ -4.20", "EUR", "negative"),
        ("4.20 USD", "EUR", "not a price in EUR"),
        ("£4.20", "EUR", "not a price in EUR"),
        ("12 per kg", "EUR", "not a price in EUR"),
        ("free", "EUR", "not a price"),
        ("Rs..99", "INR", "not a price"),
        ("1e5", "EUR", "not a number"),
        ("1.2.3", "EUR", "not a number"),
        ("1,234,5", "EUR", "not a number"),
        ("1.234.50", "EUR", "not a number"),
        ("12,34,567.00", "EUR", "not a number"),
        ("4.205", "EUR", "can be read as 4205 or as 4.205"),
        ("9" * 30, "EUR", "too many digits"),
        ("99999999999999999", "EUR", "more than a price may be"),
        ("٤٫٢٠", "EUR", "not a price"),
        ("\x1b[31m", "EUR", "not a number|not a price"),
    ],
)
def test_a_wrong_price_is_refused_with_its_cause(text: str, currency: str, words: str) -> None:
    with pytest.raises(WrongCell, match=words):
        parse_price(text, currency)


def test_the_files_decimal_sign_settles_three_digits() -> None:
    assert parse_price("1.234", "EUR", decimal=",") == 123400
    assert parse_quantity("1.234", decimal=".") == 1234
    assert parse_quantity("1,234", decimal=".") == 1_234_000
    with pytest.raises(WrongCell, match="more than 2 decimals"):
        parse_price("1.234", "EUR", decimal=".")


@pytest.mark.parametrize(
    ("texts", "sign"),
    [
        (["4,20", "12", "1.000"], ","),
        (["€ 4.20", "1,234"], "."),
        (["1.234.567"], ","),
        (["1.234"], None),
        (["4,20", "4.20"], None),
        (["", "free", "12"], None),
    ],
)
def test_the_decimal_sign_follows_from_clear_numbers(texts: list[str], sign: str | None) -> None:
    assert decimal_sign(texts) == sign


def test_exponents_follow_iso_4217() -> None:
    assert [exponent(code) for code in ("JPY", "KRW", "CLP", "VND", "ISK")] == [0] * 5
    assert [exponent(code) for code in ("KWD", "BHD", "OMR", "JOD", "TND")] == [3] * 5
    assert [exponent(code) for code in ("EUR", "USD", "CHF", "PLN")] == [2] * 4


def test_prices_are_written_with_their_exponent() -> None:
    assert format_minor(420, "EUR") == "4.20 EUR"
    assert format_minor(5, "EUR") == "0.05 EUR"
    assert format_minor(1000, "JPY") == "1000 JPY"
    assert format_minor(1250, "KWD") == "1.250 KWD"


@given(st.integers(0, MAX_PRICE_MINOR), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_a_written_price_reads_back(price_minor: int, currency: str) -> None:
    assert parse_price(format_minor(price_minor, currency), currency) == price_minor


@given(st.integers(0, MAX_PRICE_MINOR), st.booleans())
def test_grouped_prices_read_back(price_minor: int, is_german: bool) -> None:
    whole, cents = divmod(price_minor, 100)
    text = f"{whole:,}.{cents:02d}"
    if is_german:
        text = text.translate(str.maketrans(",.", ".,"))
    assert parse_price(text, "EUR") == price_minor


@given(st.integers(0, MAX_QUANTITY_MILLI))
def test_a_written_quantity_reads_back(quantity_milli: int) -> None:
    assert parse_quantity(format_milli(quantity_milli), decimal=".") == quantity_milli


@given(st.text())
def test_any_text_is_a_price_in_range_or_refused(text: str) -> None:
    complaint, price_minor = "", 0
    try:
        price_minor = parse_price(text, "EUR")
    except WrongCell as error:
        complaint = str(error)
    assert 0 <= price_minor <= MAX_PRICE_MINOR
    assert complaint.isprintable()


def test_quantities_are_thousandths() -> None:
    assert [parse_quantity(text) for text in ("2.5", "2,5", "12", "0.125")] == [2500, 2500, 12000, 125]
    assert [format_milli(milli) for milli in (2500, 12000, 125, 100, 0)] == ["2.5", "12", "0.125", "0.1", "0"]


@pytest.mark.parametrize("text", ["-1", "0.0001", "1.000", "many", "", "9999999999999"])
def test_wrong_quantities_are_refused(text: str) -> None:
    with pytest.raises(WrongCell):
        parse_quantity(text)


def test_numbers_keep_every_digit() -> None:
    assert str(parse_number("0.1234567890123456789")) == "0.1234567890123456789"
