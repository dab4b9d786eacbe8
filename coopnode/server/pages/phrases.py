"""How numbers, ages, stock and others' texts are said to people.

Pure. The thing to understand: a text of others may hold signs that turn the reading direction of what
follows, or that no screen can show; `plain` takes them out, and `<bdi>` in the templates keeps the rest
of the page as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from markupsafe import Markup

from coopnode.catalog.shelf import Json

# Controls but tab and line feed, embeddings, overrides and isolates, the byte order mark. Marks that only
# say the direction of one place (U+200E, U+200F, U+061C) and joiners of emoji and Persian words stay.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n?|[\u0085\u2028\u2029]")
_UNITS = {"KGM": "kg", "GRM": "g", "LTR": "l", "MLT": "ml", "MTR": "m", "CMT": "cm", "MTK": "m²", "MTQ": "m³"}
_THOUSANDS = re.compile("[0-9]+")
MINUTE, HOUR, DAY = 60, 3_600, 86_400


def plain(text: str) -> str:
    """Take out what could garble the page around *text*."""
    return _UNSHOWN.sub("", _LINE_ENDS.sub("\n", text))


def shown(value: Any) -> Any:
    """Clean whatever a template is about to write; what is markup already was made here."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def ago(age_s: int) -> str:
    """Say an age: "just now", "4 min ago", "3 h ago", "12 days ago"."""
    if age_s < MINUTE:
        return "just now"
    if age_s < HOUR:
        return f"{age_s // MINUTE} min ago"
    if age_s < 2 * DAY:
        return f"{age_s // HOUR} h ago"
    return f"{count(age_s // DAY)} days ago"


def count(number: int) -> str:
    """Write a whole number with its thousands apart: "10,000"."""
    return f"{number:,}"


def grouped(price: str) -> str:
    """Write a price with its thousands apart: "1,234.50 EUR"."""
    return _THOUSANDS.sub(lambda found: count(int(found[0])), price, count=1)


def in_stock(stock: Json, unit: str = "") -> str:
    """Say how much there is: "12 in stock", "2.5 kg in stock", "in stock", "sold out"."""
    if not stock["available"]:
        return "sold out"
    if stock["quantity"] is None:
        return "in stock"
    written = [stock["quantity"], _UNITS.get(unit, ""), "in stock"]
    return " ".join(filter(None, written))


def amount(milli: int, unit: str = "") -> str:
    """Write thousandths of a unit: "2.5 kg", "6"."""
    whole, rest = divmod(milli, 1000)
    number = f"{whole}.{rest:03d}".rstrip("0").rstrip(".")
    return f"{number} {_UNITS.get(unit, '')}".rstrip()


def percent(share_bp: int) -> str:
    """Write basis points as per cent: "19 %", "5.5 %"."""
    whole, rest = divmod(share_bp, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".") + " %"


def moment(time_ms: int) -> Markup:
    """Write a moment; one that no calendar holds is said to be far away."""
    try:
        time = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return Markup("in a far future")
    written = f"{time.day} {time:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(f"{time:%Y-%m-%dT%H:%MZ}", written)


def listing_path(one: Json) -> str:
    """Return the address of a listing's page."""
    if one["sku"] in (".", ".."):  # in a path these would mean the folder itself, or the one above
        return f"/listing/{one['member']}/?sku={one['sku']}"
    return f"/listing/{one['member']}/{quote(one['sku'], safe='')}"


def host(url: str) -> str:
    """Return what a person should look at before following a link: whose it is."""
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


def bars(tally: Json) -> list[tuple[str, int, int]]:
    """Lay the choices of a poll side by side: (choice, start, width) in thousandths of those entitled."""
    laid, start = [], 0
    for choice in ("yes", "no", "abstain"):
        width = 1000 * tally[choice] // max(tally["entitled"], 1)
        laid.append((choice, start, width))
        start += width
    return laid


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "amount": amount,
    "bars": bars,
    "count": count,
    "grouped": grouped,
    "host": host,
    "in_stock": in_stock,
    "listing_path": listing_path,
    "moment": moment,
    "percent": percent,
}
