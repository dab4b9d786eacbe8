"""A full, a scoped and a light node as processes: what each holds, what a buyer gets, and kill -9."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.shops import Shop, found_coop, until, write_stock

pytestmark = pytest.mark.e2e
OpenShop = Callable[[str], Shop]


def kept(shop: Shop, member: str) -> tuple[int, list[str], bool]:
    one = shop.get(f"/api/v1/members/{member}")
    return one["listings"], one["elsewhere"], one["as_of_ms"] is not None


def equal_frontiers(shops: list[Shop]) -> bool:
    return len({shop.get("/api/v1/status")["frontier"] for shop in shops}) == 1


def test_a_full_a_scoped_and_a_light_node(open_shop: OpenShop, tmp_path: Path) -> None:
    shops = [open_shop(name) for name in ("ash", "birch", "cedar")]
    ash, birch, cedar = shops
    found_coop(shops)
    members: dict[str, str] = {shop.home.name: shop.status()["member"] for shop in shops}
    for shop, settings in (
        (birch, {"replica": '"scoped"', "replica_members": '["ash"]', "replica_collections": '["listing"]'}),
        (cedar, {"replica": '"light"'}),
    ):
        shop.stop()
        shop.sets(**settings)
        shop.start()
    for number, shop in enumerate(shops):
        shop.cli("stock", "import", str(write_stock(tmp_path / f"{number}.csv", 1_500 + number)))
    birch.kill()  # perhaps in the midst of its walk
    birch.start()

    until(lambda: equal_frontiers(shops), "all to have heard the same")
    until(lambda: kept(ash, members["cedar"]) == (1_502, [], True), "everything at the full node")
    until(lambda: kept(birch, members["ash"]) == (1_500, ["stock"], True), "ash's listings at the scoped one")
    assert kept(birch, members["cedar"])[0] == 0
    assert kept(cedar, members["ash"]) == (0, [], False)
    assert "Keeps: a part (replica = scoped): members ash; collections listing." in birch.cli("status")
    assert "Keeps: heads only" in cedar.cli("status")
    assert sorted(one["replica"] for one in ash.ask("peers")["peers"]) == ["light", "scoped"]
    assert sum(file.stat().st_size for file in cedar.home.glob("node.db*")) < sum(
        file.stat().st_size for file in ash.home.glob("node.db*")
    )

    # A buyer asks each of them for what ash and cedar sell.
    until(lambda: ash.get("/api/v1/listings?q=oak")["total"] == 4_503, "everything to be searchable at ash")
    for shop in (birch, cedar):
        shown: Any = until(
            lambda shop=shop: (found := shop.get("/api/v1/listings?q=oak&limit=5"))["passed_on"] and found,  # type: ignore[misc]
            "an answer from elsewhere",
        )
        assert (shown["total"], len(shown["listings"]), shown["passed_on"]["name"]) == (4_503, 5, "ash")
        assert all(one["proved"] for one in shown["listings"])
        one = shop.get(f"/api/v1/listings/{members['ash']}/S000003")
        assert (one["title"], one["proved"]) == ("Article 3 of oak", True)
    # Whoever is off is found at the full node, and without it nowhere, which is said.
    ash_id = members["ash"]
    cedar.stop()
    one = birch.get(f"/api/v1/listings/{members['cedar']}/S000007")
    assert (one["title"], one["passed_on"]["name"]) == ("Article 7 of oak", "ash")
    ash.stop()
    found = birch.get("/api/v1/listings?q=oak")
    assert found["passed_on"] is None
    assert "keeps only a part of the catalogues" in found["note"]
    one = birch.get(f"/api/v1/listings/{ash_id}/S000003")
    assert (one["title"], one["stock"]) == ("Article 3 of oak", []), "its listing is here, its stock is not"
    assert one["note"] == "Only a part of this member's catalogue is kept here: this is it."

    # With everything wanted again, everything comes.
    ash.start()
    cedar.start()
    birch.stop()
    birch.sets(replica='"full"', replica_members="[]", replica_collections="[]")
    birch.start()
    until(lambda: kept(birch, members["cedar"]) == (1_502, [], True), "everything at birch")
    for shop in shops:
        shop.stop()
