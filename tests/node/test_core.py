"""The core without a network: founding, admitting, and what a member is told when it may not."""

from __future__ import annotations

from coopnode.publisher import Phase
from tests.node.scenes import Net


def test_five_members_come_to_the_same_catalogue(net: Net) -> None:
    net.found("anna", "bert", "cora", "dora", "emil")
    assert [shop.phase for shop in net.shops.values()] == [Phase.READY] * 5
    for name in net.shops:
        net.put(name, {f"{name}-1": f"flour of {name}", "common": f"salt of {name}"})
    want = {name: {"common": f"salt of {name}", f"{name}-1": f"flour of {name}"} for name in net.shops}
    for shop in net.shops.values():
        assert {name: shop.titles(net[name]) for name in net.shops} == {
            name: dict(sorted(titles.items())) for name, titles in want.items()
        }
    assert len({shop.frontier for shop in net.shops.values()}) == 1
    assert len({shop.core.need_membership().roster.state_hash() for shop in net.shops.values()}) == 1
