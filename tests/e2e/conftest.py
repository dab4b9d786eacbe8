"""Fixtures of the end-to-end tests: shops that are stopped whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.shops import Shop


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Callable[[str], Shop]]:
    """Set up and start shops by name; at the end none of them runs any more."""
    shops: list[Shop] = []

    def make(name: str) -> Shop:
        shop = Shop.new(tmp_path, name)
        shops.append(shop)
        return shop.start()

    yield make
    for shop in shops:
        shop.kill()
