"""Chance as the node uses it."""

from __future__ import annotations

from coopnode.world import World
from tests.node.scenes import chance


def test_a_number_between_two_lies_between_them_and_every_one_comes() -> None:
    world = World(random_bytes=chance("numbers"))
    assert {world.between(3, 7) for _ in range(200)} == {3, 4, 5, 6, 7}
    assert world.between(5, 5) == 5
