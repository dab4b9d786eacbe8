"""What tests of a node's rooms share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.scenes import Clock, Net


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    """A co-op that is not founded yet."""
    network = Net(tmp_path)
    yield network
    network.close()
