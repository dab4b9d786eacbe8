"""Members as processes: publish, gossip, query, vote, and what kill -9, old backups and twins do to it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.shops import Shop, found_coop, same_roots, until, write_stock

pytestmark = pytest.mark.e2e
OpenShop = Callable[[str], Shop]


def test_five_nodes_hold_the_same_catalogue_and_count_the_same_votes(open_shop: OpenShop, tmp_path: Path) -> None:
    shops = [open_shop(name) for name in ("ash", "birch", "cedar", "elm", "fir")]
    found_coop(shops)
    for number, shop in enumerate(shops):
        stock = write_stock(tmp_path / f"{number}.csv", 20 + number)
        shop.cli("stock", "import", str(stock))
    shops[0].cli("stock", "set", "S000003", "12")

    roots = same_roots(shops, 5)
    assert len(set(roots.values())) == 5

    # A buyer at a node that owns none of the goods sees price, stock and age.
    buyer = shops[4]
    owner = shops[0].status()["member"]
    until(lambda: buyer.get("/api/v1/listings?q=oak")["total"] == sum(range(20, 25)), "everything to be searchable")
    shown = buyer.get(f"/api/v1/listings/{owner}/S000003")
    assert (shown["title"], shown["price"]["text"]) == ("Article 3 of oak", "1.50 EUR")
    assert shown["stock"][0]["quantity"] == "12"
    assert 0 <= shown["age_s"] < 600
    assert shown["member_name"] == "ash"

    proposal = shops[1].ask("vote", "propose", "Open on Sundays?", "--closes", "10m")["id"]
    for shop in shops:
        until(lambda shop=shop: shop.try_cli("vote", "show", proposal).returncode == 0, "the proposal to arrive")  # type: ignore[misc]
    for shop, choice in zip(shops, ("yes", "yes", "no", "abstain", "yes"), strict=True):
        shop.cli("vote", "cast", proposal, choice)
    shops[2].cli("vote", "cast", proposal, "yes")  # a changed mind
    for shop in shops:
        tally = until(
            lambda shop=shop: (found := shop.get(f"/api/v1/proposals/{proposal}")["tally"])["yes"] == 4 and found,  # type: ignore[misc]
            "the count to be the same",
        )
        assert (tally["yes"], tally["no"], tally["abstain"], tally["entitled"]) == (4, 0, 1, 5)
    for shop in shops:
        shop.stop()


def test_a_member_that_is_off_is_found_through_the_others(open_shop: OpenShop, tmp_path: Path) -> None:
    shops = [open_shop(name) for name in ("ash", "birch", "cedar")]
    found_coop(shops)
    shops[2].cli("stock", "import", str(write_stock(tmp_path / "stock.csv", 30)))
    owner = shops[2].status()["member"]
    until(lambda: owner in shops[0].roots(), "the catalogue to arrive")
    shops[2].stop()
    until(lambda: shops[0].get("/api/v1/listings?q=oak")["total"] == 30, "it to be searchable")
    shown = shops[0].get(f"/api/v1/listings/{owner}/S000007")
    assert shown["title"] == "Article 7 of oak"
    assert shown["age_s"] >= 0
    assert shown["as_of_ms"] > 0


def test_kill_during_import_leaves_all_or_nothing(open_shop: OpenShop, tmp_path: Path) -> None:
    shops = [open_shop(name) for name in ("ash", "birch", "cedar")]
    found_coop(shops)
    victim = shops[1]
    stock = write_stock(tmp_path / "large.csv", 30_000)
    command = [sys.executable, "-m", "coopnode", "--home", str(victim.home), "stock", "import", str(stock)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as importing:
        until(lambda: victim.count("SELECT count(*) FROM draft") > 2_000, "the import to be under way")
        victim.kill()
        assert importing.wait(60) != 0
    victim.start()
    assert victim.ask("stock", "list")["total"] == 0
    assert victim.count("SELECT count(*) FROM draft") == 0
    victim.cli("stock", "import", str(stock))
    assert victim.ask("stock", "list", "--limit", "1")["total"] == 30_000
    member = victim.status()["member"]
    until(lambda: all(shop.roots().get(member) for shop in shops), "the catalogue to arrive everywhere")
    assert len({shop.roots()[member] for shop in shops}) == 1


def test_kill_during_sync_goes_on_where_it_stopped(open_shop: OpenShop, tmp_path: Path) -> None:
    author = open_shop("ash")
    author.cli("coop", "found", "Test co-op")
    author.cli("stock", "import", str(write_stock(tmp_path / "large.csv", 60_000)))
    invitation = author.ask("coop", "invite")["invitation"]
    follower = open_shop("birch")
    follower.cli("coop", "join", invitation)
    # Staged chunks, and no head yet: the walk is under way. When the machine is quick it may be over already.
    until(
        lambda: (
            follower.count("SELECT count(*) FROM chunk") > 20
            or follower.count("SELECT count(*) FROM stream WHERE head IS NOT NULL")
        ),
        "the walk to be under way",
    )
    follower.kill()
    before = follower.count("SELECT count(*) FROM chunk")
    assert before > 0
    follower.start()
    member = author.status()["member"]
    until(lambda: follower.roots().get(member) == author.roots()[member], "the catalogue to be whole")
    until(lambda: follower.get("/api/v1/listings?q=oak")["total"] == 120_000 // 2, "all of it to be searchable once")
    assert follower.count("SELECT count(*) FROM chunk WHERE staged = 1") == 0


def test_a_restored_old_folder_publishes_again_without_a_fork(open_shop: OpenShop, tmp_path: Path) -> None:
    shops = [open_shop(name) for name in ("ash", "birch", "cedar")]
    found_coop(shops)
    victim = shops[2]
    victim.cli("stock", "import", str(write_stock(tmp_path / "stock.csv", 10)))
    member = victim.status()["member"]
    until(lambda: shops[0].roots().get(member), "the catalogue to arrive")
    victim.stop()
    shutil.copytree(victim.home, tmp_path / "backup")  # the whole folder, its high-water mark included
    victim.start()
    victim.cli("stock", "add", "NEW-1", "Sold since the backup")
    until(lambda: shops[0].get("/api/v1/listings?q=backup")["total"] == 1, "the new article to arrive")
    epoch_before = victim.status()["own_head"]["epoch"]
    victim.kill()
    shutil.rmtree(victim.home)
    shutil.copytree(tmp_path / "backup", victim.home)

    victim.start()
    until(lambda: victim.status()["publishing"] == "ready", "the restored node to be ready")
    assert victim.status()["own_head"]["epoch"] == epoch_before + 1
    victim.cli("stock", "set", "S000001", "99")
    until(lambda: shops[0].get(f"/api/v1/listings/{member}/S000001")["stock"][0]["quantity"] == "99", "news to arrive")
    # Nothing that a peer had is lost, nobody has seen two words under one version.
    assert victim.get(f"/api/v1/listings/{member}/NEW-1")["title"] == "Sold since the backup"
    same_roots([shops[0], shops[1], victim], 3)
    assert [shop.status()["contradictions"] for shop in shops] == [0, 0, 0]


def test_twins_are_found_and_both_halt_until_one_takes_over(open_shop: OpenShop, tmp_path: Path) -> None:
    shops = [open_shop(name) for name in ("ash", "birch", "cedar")]
    found_coop(shops)
    original = shops[2]
    original.cli("stock", "import", str(write_stock(tmp_path / "stock.csv", 5)))
    member = original.status()["member"]
    until(lambda: shops[0].roots().get(member), "the catalogue to arrive")
    original.stop()
    twin = Shop(tmp_path / "twin")
    shutil.copytree(original.home, twin.home)
    original.start()
    until(lambda: original.status()["publishing"] == "ready", "the original to be ready")
    twin.start()
    try:
        until(lambda: original.status()["publishing"] == "halted", "the original to halt")
        until(lambda: twin.status()["publishing"] == "halted", "the twin to halt")
        refused = original.try_cli("vote", "propose", "May I?")
        assert refused.returncode == 1
        assert "takeover" in refused.stderr
        original.cli("stock", "set", "S000002", "41")  # waits, and is not lost
    finally:
        twin.kill()
    original.cli("takeover")
    until(lambda: original.status()["publishing"] == "ready", "the original to go on")
    until(
        lambda: shops[0].get(f"/api/v1/listings/{member}/S000002")["stock"][0]["quantity"] == "41",
        "what had waited to arrive",
    )
    assert [shop.status()["contradictions"] for shop in shops] == [0, 0, 0]


def test_an_invitation_to_another_coop_or_a_damaged_one_is_refused(open_shop: OpenShop) -> None:
    first, second = open_shop("ash"), open_shop("birch")
    first.cli("coop", "found", "One")
    invitation = first.ask("coop", "invite")["invitation"]
    damaged = second.try_cli("coop", "join", invitation[:-12])
    assert damaged.returncode == 1
    assert "invitation" in damaged.stderr
    assert "Traceback" not in damaged.stderr
    second.cli("coop", "join", invitation)
    until(lambda: second.status()["is_member"], "the newcomer to be admitted")
    third = second.try_cli("coop", "join", invitation)
    assert third.returncode == 1
    assert "already" in third.stderr
