"""The five shops of the demo, and where their stock files lie."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from coopnode.errors import NodeError

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Shop:
    """One shop: *stock* is its own file, *more* an export of a real shop system that may be there too."""

    folder: str
    name: str
    stock: str
    more: str | None = None


SHOPS = (
    Shop("mill", "Mill and Bakery", "mill-and-bakery.csv"),
    Shop("hardware", "Hardware Store", "hardware.csv"),
    Shop("garden", "Garden and Seeds", "garden-and-seeds.csv", "woocommerce_sample_products.csv"),
    Shop("bicycles", "Bicycle Workshop", "bicycle-workshop.csv", "shopify_apparel.csv"),
    Shop("household", "Household and Electrical", "household-and-electrical.csv"),
)


def stock_files(shop: Shop) -> list[Path]:
    """Return the files that *shop* imports. Raises NodeError when its own stock is missing."""
    own = _stocks_folder() / shop.stock
    if not own.is_file():
        raise NodeError(f"The example stock {own} is missing: install coopnode again.")
    more = [] if shop.more is None else [CHECKOUT.parent / "shared" / "data" / shop.more]
    return [own, *(file for file in more if file.is_file())]


def _stocks_folder() -> Path:
    beside = CHECKOUT / "examples" / "stocks"
    return beside if beside.is_dir() else Path(sys.prefix) / "share" / "coopnode" / "examples" / "stocks"
