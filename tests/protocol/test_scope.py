"""What a node says it keeps, and which collections of a state are elsewhere."""

from __future__ import annotations

import pytest

from protocol import scope
from protocol.scope import Replica
from protocol.trie import Summary
from tests.protocol.builders import secret


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (None, Replica.FULL),
        ("full", Replica.FULL),
        ("scoped", Replica.SCOPED),
        ("light", Replica.LIGHT),
        ("archive", Replica.LIGHT),
        ("", Replica.LIGHT),
        ("FULL", Replica.LIGHT),
    ],
)
def test_no_word_means_full_and_an_unknown_one_light(said: str | None, meant: Replica) -> None:
    assert scope.read_replica(said) is meant


def test_elsewhere_is_what_is_not_wanted() -> None:
    state = {"listing": Summary(7, 70, secret("a")), "stock": Summary(3, 30, secret("b"))}
    assert scope.elsewhere(state, scope.everything) == {}
    assert scope.elsewhere(state, lambda name, _: name == "stock") == {"listing": state["listing"]}
    assert scope.elsewhere(state, lambda _, signed: signed.count > 5) == {"stock": state["stock"]}
