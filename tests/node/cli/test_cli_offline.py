"""What a member does while no node runs: commands that work on the data folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coopnode.cli.vote import read_duration, read_percent
from coopnode.errors import BadInput
from tests.node.cli.typed import GOOD, Member


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return Member(tmp_path)


def test_init_shows_the_recovery_key_once(member: Member) -> None:
    result = member.types("init", "--name", "Mill Street Bakery")
    assert result.exit_code == 0
    recovery = next(line.strip() for line in result.stdout.splitlines() if line.count("-") == 13)
    assert "key rotate --recovery" in result.stdout
    compact = recovery.replace("-", "").encode()
    assert not any(compact in path.read_bytes() for path in member.home.rglob("*") if path.is_file())
    assert (member.home / "keys.json").stat().st_mode & 0o077 == 0
    assert "already" in member.fails("init")


def test_init_does_not_adopt_a_database_without_keys(member: Member) -> None:
    member.sets_up()
    (member.home / "keys.json").unlink()
    assert "but not its keys" in member.fails("init")


@pytest.mark.parametrize("wrong", [("--name", " "), ("--name", "x" * 121), ("--name", "a\x1b"), ("--currency", "euro")])
def test_init_refuses_wrong_settings(member: Member, wrong: tuple[str, str]) -> None:
    member.fails("init", *wrong)
    assert not member.home.exists()


def test_there_is_no_node(member: Member) -> None:
    assert "coopnode init" in member.fails("status")
    assert "coopnode init" in member.fails("stop")
    assert "coopnode init" in member.fails("stock", "import", "x.csv", "--dry-run")


def test_the_home_may_come_from_the_environment(member: Member) -> None:
    member.sets_up()
    elsewhere = Member(member.folder)
    result = elsewhere.types("status", "--json", COOPNODE_HOME="/nowhere")
    assert json.loads(result.stdout)["folder"] == str(member.home)


def test_what_needs_a_co_op_says_so(member: Member) -> None:
    member.sets_up(coop=False)
    for words in (("coop", "show"), ("vote", "show"), ("vote", "propose", "Hm?"), ("takeover",), ("coop", "invite")):
        assert "coop found" in member.fails(*words) or words == ("coop", "invite")
    assert member.gets("status")["coop"] is None
    assert member.types("status").exit_code == 0


def test_stock_waits_until_there_is_a_co_op(member: Member) -> None:
    member.sets_up(coop=False)
    result = member.types("stock", "import", member.file(GOOD))
    assert result.exit_code == 0
    assert "belongs to no co-op yet" in result.stderr
    assert [one["waits"] for one in member.gets("stock", "list")["articles"]] == [True, True]
    member.types("coop", "found", "Valley")
    listed = member.gets("stock", "list")
    assert listed["waiting"] == 0
    assert [one["waits"] for one in listed["articles"]] == [False, False]


def test_stock_import_list_set_remove(member: Member) -> None:
    member.sets_up()
    answer = member.gets("stock", "import", member.file(GOOD))
    assert (answer["articles"], answer["imported"], answer["waiting"]) == (2, True, 0)
    assert member.skus() == ["A1", "B2"]
    for typed, shown in (("7", "7"), ("2,5", "2.5"), ("0", "0"), ("out", ""), ("in", "")):
        assert member.types("stock", "set", "A1", typed).exit_code == 0
        article = member.gets("stock", "list")["articles"][0]
        assert (article["quantity"] or "") == shown
        assert article["available"] is (typed not in ("0", "out"))
    assert "no longer" in member.types("stock", "remove", "A1").stdout
    assert member.skus() == ["B2"]
    assert "no article 'A1'" in member.fails("stock", "set", "A1", "3")
    assert "no article 'A1'" in member.fails("stock", "remove", "A1")


@pytest.mark.parametrize("quantity", ["many", "-- -3", "1.250", "1e9", "99999999999999999999", ""])
def test_wrong_quantities(member: Member, quantity: str) -> None:
    member.sets_up()
    member.types("stock", "import", member.file(GOOD))
    assert "Give a number" in member.fails("stock", "set", "A1", "--", quantity.removeprefix("-- "))
    assert member.gets("stock", "list")["articles"][0]["quantity"] == "12"


def test_stock_add_reads_as_an_import_does(member: Member) -> None:
    member.sets_up()
    words = ["--price", "4,20", "--quantity", "2.5", "--unit", "kg", "--gtin", "4006381333931", "--text", "Fresh"]
    more = [
        "--category",
        "Food > Bread",
        "--tag",
        "rye",
        "--tag",
        "dark",
        "--brand",
        "Mill",
        "--url",
        "https://x.example",
    ]
    assert member.types("stock", "add", "R1", "Rye bread", *words, *more).exit_code == 0
    found = member.gets("search", "rye")["listings"][0]
    assert (found["price"]["text"], found["unit"], found["category"]) == ("4.20 EUR", "KGM", ["Food", "Bread"])
    assert found["stock"][0]["quantity"] == "2.5"
    assert member.types("stock", "add", "K1", "Dates", "--price", "1250", "--currency", "JPY").exit_code == 0
    assert "decimals" in member.fails("stock", "add", "K1", "Dates", "--price", "1.5", "--currency", "JPY")
    assert "negative" in member.fails("stock", "add", "K2", "Dates", "--price", "-3")
    assert "check digit" in member.fails("stock", "add", "K2", "Dates", "--gtin", "4006381333932")
    assert "unit" in member.fails("stock", "add", "K2", "Dates", "--unit", "bushel")
    assert "sku" in member.fails("stock", "add", "x" * 65, "Dates")
    assert "title" in member.fails("stock", "add", "K2", "x" * 16_384)
    assert member.skus() == ["K1", "R1"]


def test_search_without_a_node_finds_what_is_here(member: Member) -> None:
    member.sets_up()
    member.types("stock", "import", member.file(GOOD))
    assert [one["sku"] for one in member.gets("search", "bread")["listings"]] == ["A1"]
    assert member.gets("search")["total"] == 2
    assert member.gets("search", "--limit", "1", "--offset", "1")["listings"][0]["sku"] in ("A1", "B2")
    shown = member.types("search", "flour").stdout
    assert "Flour" in shown
    assert "1.10 EUR" in shown
    assert member.types("search", "nothing of the kind").stdout == "0 listings found.\n"


def test_texts_of_others_cannot_command_the_terminal(member: Member) -> None:
    member.sets_up()
    member.types("stock", "add", "A1", "Nice \u202eprice\u202c <b>\u05dc\u05d7\u05dd</b> 🥐")
    shown = member.types("stock", "list").stdout + member.types("search").stdout
    assert "\u202e" not in shown
    assert shown.count("Nice \ufffdprice\ufffd <b>\u05dc\u05d7\u05dd</b> 🥐") == 2
    assert member.gets("stock", "list")["articles"][0]["title"].startswith("Nice \u202eprice")
    assert "control" in member.fails("stock", "add", "A\x1b1", "Bread")
    error = member.fails("stock", "set", "\x1b[2J", "3")
    assert "\x1b" not in error


def test_votes(member: Member) -> None:
    member.sets_up()
    member.types("vote", "propose", "Open on Mondays?", "--text", "One\nTwo", "--closes", "10m", "--quorum", "50")
    proposal = member.gets("vote", "show")["proposals"][0]
    assert member.types("vote", "cast", proposal["id"][:6], "no", "--why", "Tired").exit_code == 0
    assert member.types("vote", "cast", proposal["id"][:6], "yes", "--why", "Rested").exit_code == 0
    shown = member.types("vote", "show", proposal["id"][:8]).stdout
    assert "One\nTwo" in shown
    assert "1 yes, 0 no, 0 abstain; 1 of 1 members, quorum 1" in shown
    assert "Rested" in shown
    assert "Tired" not in shown
    assert "Open on Mondays?" in member.types("vote", "show").stdout
    assert "No proposal begins" in member.fails("vote", "show", "ffff")
    assert member.types("vote", "cast", proposal["id"], "maybe").exit_code == 2
    assert "cannot be made" in member.fails("vote", "propose", "x" * 501)


@pytest.mark.parametrize(
    ("text", "duration_ms"), [("20s", 20_000), ("10m", 600_000), ("12h", 43_200_000), ("7d", 604_800_000), ("2W", None)]
)
def test_durations(text: str, duration_ms: int | None) -> None:
    assert read_duration(text) == (duration_ms or 1_209_600_000)


@pytest.mark.parametrize("text", ["", "0s", "7", "d", "-1d", "1.5h", "367d", "1y", "9" * 30 + "s"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(BadInput, match="time until closing"):
        read_duration(text)


@pytest.mark.parametrize(
    ("text", "share_bp"), [("0", 0), ("50", 5_000), ("66.67 %", 6_667), ("12,5", 1_250), ("100", 10_000)]
)
def test_percentages(text: str, share_bp: int) -> None:
    assert read_percent(text) == share_bp


@pytest.mark.parametrize("text", ["", "101", "-1", "66.666", "half", "100.01"])
def test_wrong_percentages(text: str) -> None:
    with pytest.raises(BadInput, match="percentage"):
        read_percent(text)


def test_coop_found_show_invite(member: Member) -> None:
    member.sets_up(coop=False)
    founded = member.gets("coop", "found", "Valley")
    assert "already" in member.fails("coop", "found", "Hill")
    assert founded["coop_id"] in member.types("coop", "show").stdout
    assert "free port" in member.fails("coop", "invite")
    invitation = member.types("coop", "invite", "--uses", "2", COOPNODE_PORT="8420").stdout.strip()
    assert member.gets("coop", "invite", COOPNODE_PORT="8420")["endpoints"] == ["http://127.0.0.1:8420"]
    assert "already" in member.fails("coop", "join", invitation)
    joiner = Member(member.folder / "other").sets_up(coop=False)
    assert "not a whole invitation" in joiner.fails("coop", "join", invitation[:-3])
    assert "not a whole invitation" in joiner.fails("coop", "join", "nonsense")


def test_profile_status_takeover_publish(member: Member) -> None:
    member.sets_up()
    words = ("--country", "DE", "--place", "52.5163,13.3777", "--language", "de", "--language", "en")
    assert member.types("profile", "set", *words, "--address", "Street 1").exit_code == 0
    profile = member.gets("coop", "show")["members"][0]["profile"]
    assert profile["place"] == {"lat_e7": 525_163_000, "lon_e7": 133_777_000}
    assert (profile["name"], profile["languages"]) == ("Mill", ["de", "en"])
    for place in ("somewhere", "1", "1,2,3", "1e999,1", "100,0"):
        member.fails("profile", "set", "--place", place)
    for command in ("takeover", "publish --anyway", "status", "coop show"):
        assert member.types(*command.split()).exit_code == 0
        assert member.gets(*command.split())
    assert member.types("publish").exit_code == 2
    assert "No node is running" in member.fails("peers")
    assert "No node is running" in member.fails("stop")


def test_key_rotation_keeps_the_member_and_its_stock(member: Member) -> None:
    member.types("init", "--port", "0")
    made = Member(member.folder / "second")
    recovery = made.gets("init", "--name", "Mill")["recovery"]
    made.types("coop", "found", "Valley")
    made.types("stock", "import", made.file(GOOD))
    before = made.gets("status")
    assert made.gets("key", "rotate")["epoch"] == 1
    assert made.types("key", "rotate", "--recovery", stdin=f"{recovery.lower()}\n").exit_code == 0
    after = made.gets("status")
    assert after["member"] == before["member"]
    assert after["own_head"]["epoch"] == 2
    assert made.skus() == ["A1", "B2"]
    assert "Check the sheet" in made.fails("key", "rotate", "--recovery", stdin=f"{recovery[:-1]}2\n")
    assert "Check the sheet" in made.fails("key", "rotate", "--recovery", stdin=f"{recovery}\n")  # used up


def test_sealed_keys(member: Member) -> None:
    assert member.types("init", "--passphrase", stdin="horse\nhorse\n").exit_code == 0
    assert "sealed" in member.fails("coop", "found", "Valley")
    assert "wrong" in member.fails("coop", "found", "Valley", COOPNODE_PASSPHRASE="cow")
    assert member.types("coop", "found", "Valley", COOPNODE_PASSPHRASE="horse").exit_code == 0
    assert "sealed" in member.fails("status")
    assert member.types("key", "rotate", COOPNODE_PASSPHRASE="horse").exit_code == 0
    assert "wrong" in member.fails("key", "rotate", COOPNODE_PASSPHRASE="cow")
    assert member.gets("status", COOPNODE_PASSPHRASE="horse")["coop"] == "Valley"
    assert "empty" in Member(member.folder / "other").fails("init", "--passphrase", COOPNODE_PASSPHRASE="")


def test_status_says_what_is_kept(member: Member) -> None:
    member.sets_up()
    assert "Keeps" not in member.types("status").stdout
    light = member.types("status", COOPNODE_REPLICA="light")
    assert "Keeps: heads only (replica = light), no other member's catalogue" in light.stdout
    scoped = member.types(
        "status",
        COOPNODE_REPLICA="scoped",
        COOPNODE_REPLICA_MEMBERS="Harbour Tools",
        COOPNODE_REPLICA_REGIONS="DE;52.52,13.40,30",
        COOPNODE_REPLICA_COLLECTIONS="listing",
        COOPNODE_REPLICA_MAX_RECORDS="5000",
    )
    assert (
        "Keeps: a part (replica = scoped): members Harbour Tools; regions DE, 52.52,13.40,30; collections listing; "
        "no catalogue of more than 5,000 records." in scoped.stdout
    )
    assert "Of 0 other members 0 are here whole, 0 of 0 records." in scoped.stdout
    assert "Setting 'replica_members': no member is called 'Harbour Tools'" in scoped.stderr
    assert "must be" in member.fails("status", COOPNODE_REPLICA="some")
    assert "is not a region" in member.fails("status", COOPNODE_REPLICA="scoped", COOPNODE_REPLICA_REGIONS="Bavaria")
