"""Single cells turned into single fields of a listing, the same way for every format.

Never knows a format's columns, and never cuts what a buyer needs to tell articles apart: a title that is
too long is refused, only description, and tags and pictures beyond the limits of a listing, are left out.
The thing to understand: each reader takes a cell's text and raises `WrongCell` with a sentence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from coopnode.connectors.article import WrongCell
from coopnode.connectors.money import parse_number
from protocol.limits import MAX_SKU_BYTES, MAX_TITLE_BYTES
from protocol.records import gtin_is_valid

MAX_TAGS = 32
MAX_PICTURES = 16
MAX_LINK_BYTES = 500
_YES = "1 yes y true ja j wahr x oui si sí available in-stock instock verfügbar vorrätig"
_NO = "0 no n false nein falsch - non out-of-stock outofstock ausverkauft"
_UNITS = {
    "C62": "c62 piece pieces pc pcs each ea unit stück stk st stck",
    "KGM": "kg kilo kilogram kilograms kilogramm",
    "GRM": "g gr gram grams gramm",
    "TNE": "t tonne tonnes",
    "LTR": "l litre litres liter ltr",
    "MLT": "ml millilitre milliliter",
    "MTR": "m metre metres meter",
    "CMT": "cm centimetre zentimeter",
    "MMT": "mm millimetre millimeter",
    "MTK": "m² m2 qm sqm",
    "PR": "pair pairs paar",
    "SET": "set sets satz",
    "DZN": "dozen dutzend",
    "XPK": "pack packs package packet packung pck pkg",
    "XBX": "box boxes carton karton schachtel",
    "XBG": "bag bags beutel sack tüte",
    "XBO": "bottle bottles flasche",
    "XRO": "roll rolls rolle",
    "HUR": "hour hours stunde h",
}
_UNIT_CODES = {word: code for code, words in _UNITS.items() for word in words.split()}
_UNIT_CODE = re.compile(r"[A-Z0-9]{2,3}")
_ROUNDED = re.compile(r"[0-9](?:[.,][0-9]+)?e\+?[0-9]+", re.IGNORECASE)


def title(text: str) -> str:
    """Give the title on one line, as it is written; too long or missing is refused, never cut."""
    one_line = " ".join(text.split())
    size = len(one_line.encode())
    if not one_line:
        raise WrongCell("has no title")
    if size > MAX_TITLE_BYTES:
        raise WrongCell(f"the title is {size} bytes long, at most {MAX_TITLE_BYTES} are allowed: shorten it")
    return one_line


def variant_title(parent: str, values: Iterable[str]) -> str:
    """Name one variant: "T-Shirt - Blue, Large"."""
    chosen = ", ".join(value for value in values if value)
    return title(f"{parent} - {chosen}" if chosen else parent)


def gtin(text: str) -> str:
    """Give the digits of an EAN, UPC or GTIN, without spaces, hyphens and the apostrophe of spreadsheets."""
    digits = barcode_digits(text)
    if gtin_is_valid(digits):
        return digits
    if _ROUNDED.fullmatch(text.strip()):
        raise WrongCell(f"'{text}' was rounded by a spreadsheet: format the column as text and fill it in again")
    raise WrongCell(f"'{text[:40]}' is not a GTIN/EAN: the length or the check digit is wrong")


def barcode_digits(text: str) -> str:
    """Strip what people and spreadsheets put around and between the digits of a barcode."""
    return text.strip().lstrip("'").replace(" ", "").replace("-", "")


def barcode(text: str, listing: dict[str, Any]) -> None:
    """Put a barcode into *listing*: as its gtin if it is one, else as an attribute, so nothing is lost."""
    digits = barcode_digits(text)
    if gtin_is_valid(digits):
        listing["gtin"] = digits
    elif digits:
        listing.setdefault("attributes", {})["Barcode"] = text.strip().lstrip("'")


def category_path(text: str) -> list[str]:
    """Give the steps of "Food > Flour"."""
    return [step for step in (" ".join(part.split()) for part in text.split(">")) if step]


def tags(text: str, delimiters: str = ",;|") -> list[str]:
    """Give the distinct tags of a list, at most as many as a listing may have."""
    words = (" ".join(word.split()) for word in re.split(f"[{re.escape(delimiters)}]", text))
    return list(dict.fromkeys(word for word in words if word))[:MAX_TAGS]


def pictures(links: Iterable[str]) -> list[str]:
    """Give the distinct web addresses among *links* that a listing may hold, in order."""
    usable = (
        link
        for link in (link.strip() for link in links)
        if link.startswith(("https://", "http://")) and len(link.encode()) <= MAX_LINK_BYTES and " " not in link
    )
    return list(dict.fromkeys(usable))[:MAX_PICTURES]


def truth(text: str) -> bool:
    """Read yes or no, in English or German."""
    word = text.strip().casefold()
    if word in _YES.split():
        return True
    if word in _NO.split():
        return False
    raise WrongCell(f"'{text[:40]}' is neither yes nor no")


def unit_code(text: str) -> str:
    """Give the UN/ECE Recommendation 20 code of a unit named in English or German, or given as its code."""
    known = _UNIT_CODES.get(text.strip().rstrip(".").casefold())
    if known:
        return known
    if _UNIT_CODE.fullmatch(text.strip()):
        return text.strip()
    raise WrongCell(f"'{text[:40]}' is not a unit known here: write piece, kg, g, l, m, pair, pack or a UN/ECE code")


def whole_number(text: str, *, decimal: str | None = None) -> int:
    """Read a whole number that is not negative."""
    number = parse_number(text, decimal=decimal)
    if number != number.to_integral_value():
        raise WrongCell(f"'{text}' is not a whole number")
    return int(number)


def tax_bp(text: str, *, decimal: str | None = None) -> int:
    """Read a tax rate such as "19", "7,7" or "19 %" into hundredths of a percent."""
    rate = parse_number(text.replace("%", ""), decimal=decimal).scaleb(2)
    if rate != rate.to_integral_value() or rate > 10_000:
        raise WrongCell(f"'{text}' is not a tax rate from 0 to 100 percent with at most two decimals")
    return int(rate)


def made_up_sku(*parts: str) -> str:
    """Make an article number out of names, the same each time: "t-shirt-blue"; long ones end in a hash."""
    slug = re.sub(r"[\W_]+", "-", "-".join(parts).casefold()).strip("-")
    if len(slug.encode()) <= MAX_SKU_BYTES:
        return slug
    mark = hashlib.sha256(slug.encode()).hexdigest()[:12]
    return slug.encode()[: MAX_SKU_BYTES - 13].decode(errors="ignore").rstrip("-") + "-" + mark
