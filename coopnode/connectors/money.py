"""Prices and quantities as people write them, turned into whole minor units and thousandths, and back.

Never goes through a float and never rounds money.
The thing to understand: in "1.234" the point may mark decimals or thousands. What follows from the other
rows of the file may settle it (`decimal_sign`); otherwise such a number is refused, never guessed, because
a wrong guess is a price a thousand times off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from coopnode.connectors.article import WrongCell
from protocol.limits import MAX_PRICE_MINOR, MAX_QUANTITY_MILLI

# ISO 4217, list one; what is not named here has two decimals.
_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DECIMALS = "CLF UYW"
_EXPONENTS = {
    **dict.fromkeys(_NO_DECIMALS.split(), 0),
    **dict.fromkeys(_THREE_DECIMALS.split(), 3),
    **dict.fromkeys(_FOUR_DECIMALS.split(), 4),
}
_SIGNS: dict[str, tuple[str, ...]] = {
    "€": ("EUR",),
    "£": ("GBP", "EGP", "FKP", "GIP", "SHP"),
    "$": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN", "CLP", "COP", "ARS", "TWD", "UYU"),
    "us$": ("USD",),
    "a$": ("AUD",),
    "ca$": ("CAD",),
    "r$": ("BRL",),
    "¥": ("JPY", "CNY"),
    "円": ("JPY",),
    "₩": ("KRW",),
    "₫": ("VND",),
    "₹": ("INR",),
    "rs": ("INR", "PKR", "LKR", "NPR", "MUR"),
    "₺": ("TRY",),
    "₴": ("UAH",),
    "₪": ("ILS",),
    "₽": ("RUB",),
    "₦": ("NGN",),
    "fr": ("CHF", "XAF", "XOF", "XPF"),
    "sfr": ("CHF",),
    "kr": ("SEK", "NOK", "DKK", "ISK"),
    "zł": ("PLN",),
    "kč": ("CZK",),
    "ft": ("HUF",),
    "lei": ("RON", "MDL"),
    "euro": ("EUR",),
}
_ABBREVIATIONS = frozenset({"rs", "fr", "sfr", "kr"})
_SPACES = str.maketrans(dict.fromkeys("\u00a0\u202f\u2009\t", " ") | {"\u2019": "'", "\u2212": "-"})
_NUMBER = re.compile(r"[0-9]+(?:[., '][0-9]+)*")
_CORE = re.compile(r"[0-9](?:.*[0-9])?", re.DOTALL)
_NOTHING_AFTER = frozenset({",-", ".-", ",–", ".–", ",—", ".—"})
# Decimal works with 28 digits; fewer come in, so nothing is ever rounded on the way.
_MOST_DIGITS = 24


def exponent(currency: str) -> int:
    """Say how many decimals *currency* has (ISO 4217)."""
    return _EXPONENTS.get(currency, 2)


def parse_price(text: str, currency: str, *, decimal: str | None = None) -> int:
    """Read a price into minor units of *currency*: "1.234,50", "€ 4,20", "4.20 EUR".

    *decimal* is the sign that marks decimals in this file, if known. Raises WrongCell for a negative
    price, for more decimals than the currency has, for another currency's sign, and for what is no number.
    """
    places = exponent(currency)
    if places == 0:
        marks: str | None = ""
    elif decimal is None and places > 2:
        marks = ".,"
    else:
        marks = decimal
    price = parse_number(_without_currency(text, currency), decimal=marks)
    price_minor = _exactly(
        price, places, f"'{_shown(text)}' has more than {places} decimals, which {currency} does not have"
    )
    if price_minor > MAX_PRICE_MINOR:
        raise WrongCell(f"'{_shown(text)}' is more than a price may be")
    return price_minor


def format_minor(price_minor: int, currency: str) -> str:
    """Write a price for people and for `parse_price`: "4.20 EUR", "1000 JPY", "1.250 KWD"."""
    places = exponent(currency)
    if places == 0:
        return f"{price_minor} {currency}"
    whole, rest = divmod(price_minor, 10**places)
    return f"{whole}.{rest:0{places}d} {currency}"


def parse_quantity(text: str, *, decimal: str | None = None) -> int:
    """Read a quantity into thousandths: "12", "2.5", "2,5". Raises WrongCell as `parse_price` does."""
    quantity = parse_number(text, decimal=decimal)
    quantity_milli = _exactly(quantity, 3, f"'{_shown(text)}' has more than three decimals")
    if quantity_milli > MAX_QUANTITY_MILLI:
        raise WrongCell(f"'{_shown(text)}' is more than a quantity may be")
    return quantity_milli


def format_milli(quantity_milli: int) -> str:
    """Write a quantity in thousandths with as many decimals as it needs: "12", "2.5"."""
    whole, rest = divmod(quantity_milli, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".")


def parse_number(text: str, *, decimal: str | None = None) -> Decimal:
    """Read a number that is not negative, with thousands grouped by point, comma, space or apostrophe.

    *decimal* holds the signs that mark decimals where "1.234" leaves it open; None refuses such a number.
    """
    number = text.translate(_SPACES).strip()
    if number.startswith(("-", "(")) or number.endswith("-"):
        raise WrongCell(f"'{_shown(text)}' is negative")
    number = number.removeprefix("+")
    if number[:1] in (".", ","):
        number = f"0{number}"
    if not _NUMBER.fullmatch(number):
        raise WrongCell(f"'{_shown(text)}' is not a number")
    if sum(map(str.isdigit, number)) > _MOST_DIGITS:
        raise WrongCell(f"'{_shown(text)}' has too many digits")
    whole, fraction = _split(number, decimal)
    return Decimal(f"{whole}.{fraction or 0}")


def decimal_sign(texts: Iterable[str]) -> str | None:
    """Say whether these numbers mark decimals by point or by comma; None if they do not say or disagree."""
    found = set()
    for text in texts:
        core = _CORE.search(text.translate(_SPACES))
        if core is None or not _NUMBER.fullmatch(core[0]):
            continue
        last = _last_separator(core[0])
        if last in (".", ",") and not _is_open(core[0], last) and core[0].count(last) == 1:
            found.add(last)
        elif last in (".", ",") and core[0].count(last) > 1:
            found.add("," if last == "." else ".")
    return found.pop() if len(found) == 1 else None


def _without_currency(text: str, currency: str) -> str:
    """Strip the sign or code of *currency*; keep a minus so that it is seen."""
    clean = text.translate(_SPACES).strip()
    core = _CORE.search(clean)
    if core is None:
        raise WrongCell(f"'{_shown(text)}' is not a price")
    before, after = clean[: core.start()].strip(), clean[core.end() :].strip()
    if "-" in before or "(" in before or (after.endswith("-") and after not in _NOTHING_AFTER):
        raise WrongCell(f"'{_shown(text)}' is negative")
    if after in _NOTHING_AFTER:
        after = ""
    sign = (before + after).strip(" .,+)")
    _check_sign(sign, currency, text)
    marks = [char for char in before if char in ".,"]
    if len(marks) > 1:
        raise WrongCell(f"'{_shown(text)}' is not a price")
    # A point that touches the digits marks decimals ("$.99"), unless it ends an abbreviation ("Rs.500").
    touches = clean[core.start() - 1 : core.start()] in (".", ",") and core.start() > 0
    return marks[0] + core[0] if touches and sign.casefold() not in _ABBREVIATIONS else core[0]


def _check_sign(sign: str, currency: str, text: str) -> None:
    if not sign or sign.upper() == currency or currency in _SIGNS.get(sign.casefold(), ()):
        return
    raise WrongCell(f"'{_shown(text)}' is not a price in {currency}")


def _split(number: str, decimal: str | None) -> tuple[str, str]:
    """Part *number* into whole digits and decimals."""
    last = _last_separator(number)
    if last not in (".", ",") or number.count(last) > 1:
        return _ungrouped(number), ""
    whole, fraction = number.rsplit(last, 1)
    if _is_open(number, last):
        if decimal is None:
            raise WrongCell(
                f"'{number}' can be read as {whole}{fraction} or as {whole}.{fraction}: "
                f"write {whole}{fraction}, or a number of decimals other than three"
            )
        if last not in decimal:
            return whole + fraction, ""
    return _ungrouped(whole), fraction


def _is_open(number: str, last: str) -> bool:
    """Whether the one separator may mark thousands as well as decimals."""
    whole, fraction = number.rsplit(last, 1)
    return whole.isdigit() and len(fraction) == 3 and len(whole) <= 3 and not whole.startswith("0")


def _last_separator(number: str) -> str:
    return next((char for char in reversed(number) if not char.isdigit()), "")


def _ungrouped(number: str) -> str:
    """Join groups of three; anything else between the digits makes it no number."""
    separator = _last_separator(number)
    if not separator:
        return number
    first, *groups = number.split(separator)
    if not first.isdigit() or len(first) > 3 or any(len(group) != 3 or not group.isdigit() for group in groups):
        raise WrongCell(f"'{number}' is not a number")
    return first + "".join(groups)


def _exactly(number: Decimal, places: int, complaint: str) -> int:
    scaled = number.scaleb(places)
    if scaled != scaled.to_integral_value():
        raise WrongCell(complaint)
    return int(scaled)


def _shown(text: str) -> str:
    """Cut and clean what the file says, for a message."""
    clean = " ".join(text.split())
    return "".join(char for char in clean if char.isprintable())[:40]
