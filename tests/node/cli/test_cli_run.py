"""Commands while a node runs: they reach it over its control socket. Real processes."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from coopnode.cli.client import Running, read_note
from coopnode.errors import NodeError
from coopnode.folder import Folder
from tests.node.cli.typed import BROKEN, GOOD, Member, ended, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return Member(tmp_path).sets_up()


def test_run_serves_and_stop_stops(member: Member) -> None:
    with member.runs() as process:
        status = member.gets("status")
        assert status["runs"] is True
        with urlopen(f"{status['url']}/api/v1/members") as answer:
            assert [one["name"] for one in json.load(answer)["members"]] == ["Mill"]
        assert f"running at {status['url']}" in member.types("status").stdout
        assert "running already" in member.fails("run")
        assert member.gets("stop") == {"stopped": True}
        assert process.wait(60) == 0
        assert "No node is running" in member.fails("stop")
    assert not (member.home / "control.json").exists()
    assert not (member.home / "control.sock").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_node(member: Member, number: signal.Signals) -> None:
    with member.runs() as process:
        process.send_signal(number)
        code, _, err = ended(process)
    assert code == 0
    assert err.strip().endswith("The node has stopped.")
    assert "Traceback" not in err


def test_the_node_stops_with_its_starter(member: Member) -> None:
    with member.runs() as process:
        assert ended(process)[0] == 0


def test_stock_goes_through_the_running_node(member: Member) -> None:
    with member.runs():
        answer = member.gets("stock", "import", member.file(GOOD))
        assert (answer["articles"], answer["waiting"], answer["publishing"]) == (2, 0, "ready")
        wait_until(lambda: member.gets("status")["searchable"])
        assert [one["sku"] for one in member.gets("search", "bread")["listings"]] == ["A1"]
        assert member.types("stock", "set", "A1", "2.5").exit_code == 0
        assert member.gets("stock", "list")["articles"][0]["quantity"] == "2.5"
        assert "no article 'Q9'" in member.fails("stock", "set", "Q9", "1")
        assert "2 bad rows" in member.fails("stock", "import", member.file(BROKEN))
        assert member.skus() == ["A1", "B2"]
        assert member.types("stock", "import", member.file(BROKEN), "--keep-going").exit_code == 0
        assert member.types("stock", "remove", "D4").exit_code == 0
        assert member.types("profile", "set", "--country", "DE").exit_code == 0
    assert member.skus() == ["A1", "B2"]


def test_other_commands_reach_the_running_node(member: Member) -> None:
    with member.runs():
        assert member.gets("peers")["peers"] == []
        assert "0 peers" in member.types("peers").stdout
        proposal = member.gets("vote", "propose", "Open on Mondays?", "--closes", "10m")
        assert member.gets("vote", "cast", proposal["id"][:8], "yes")["tally"]["yes"] == 1
        assert len(member.gets("vote", "show")["proposals"]) == 1
        assert member.gets("coop", "invite")["endpoints"] == [member.gets("status")["url"]]
        assert member.gets("coop", "show")["coop"] == "Valley"
        assert member.types("stock", "import", member.file(GOOD)).exit_code == 0
        assert member.gets("key", "rotate")["epoch"] == 1
        assert member.types("takeover").exit_code == 0
        assert member.types("publish", "--anyway").exit_code == 0
        assert "already" in member.fails("coop", "found", "Hill")
    assert member.gets("status")["own_head"]["epoch"] >= 2  # the new key, then the takeover


def test_sealed_keys_are_asked_for_when_the_node_starts(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.types("init", "--port", "0", "--passphrase", COOPNODE_PASSPHRASE="horse")
    code, _, err = ended(member.begins("run"))
    assert code == 1
    assert "sealed" in err
    wrong = {"COOPNODE_PASSPHRASE": "cow"}
    assert "wrong" in member.fails("run", **wrong)


def test_a_node_that_was_killed_leaves_the_folder_usable(member: Member) -> None:
    member.types("stock", "import", member.file(GOOD))
    with member.runs() as process:
        process.kill()
        process.wait(60)
        assert (member.home / "control.json").exists()
        assert member.gets("status")["runs"] is False
        assert member.skus() == ["A1", "B2"]
    with member.runs():
        assert member.gets("status")["runs"] is True


def test_a_long_folder_name_moves_the_socket_elsewhere(tmp_path: Path) -> None:
    member = Member(tmp_path / ("long" * 30)).sets_up()
    with member.runs():
        note = read_note(Folder(member.home))
        assert note is not None
        assert note.socket.parent != member.home
        assert member.gets("status")["runs"] is True
    assert not note.socket.parent.exists()


def test_only_the_owner_may_open_the_socket(member: Member) -> None:
    with member.runs():
        assert (member.home / "control.sock").stat().st_mode & 0o177 == 0
        assert member.home.stat().st_mode & 0o077 == 0


def test_what_the_node_does_not_understand_is_a_sentence(member: Member) -> None:
    with member.runs():
        running = Running.find(Folder(member.home))
        assert running is not None
        with pytest.raises(NodeError, match="not an operation"):
            running.call("frobnicate")
        with pytest.raises(NodeError, match="did not understand"):
            running.call("stock.list", sideways=True)
    with pytest.raises(NodeError, match="stopped before it answered"):
        running.call("status")


def test_two_members_find_each_other_by_the_invitation_alone(tmp_path: Path) -> None:
    first = Member(tmp_path / "first").sets_up()
    second = Member(tmp_path / "second")
    second.types("init", "--name", "Garden \u202e", "--port", "0")
    with first.runs(), second.runs():
        invitation = first.types("coop", "invite").stdout.strip()
        assert second.types("coop", "join", invitation).exit_code == 0
        wait_until(lambda: bool(second.gets("status")["is_member"]))
        second.types("stock", "import", second.file(GOOD))
        wait_until(lambda: first.gets("search", "bread")["total"] == 1)
        assert first.gets("search", "bread")["listings"][0]["member_name"].startswith("Garden")
        wait_until(lambda: len(first.gets("peers")["peers"]) == 1)
        shown = first.types("peers").stdout + first.types("search").stdout + first.types("coop", "show").stdout
        assert "Garden \ufffd" in shown
        assert "\u202e" not in shown


def test_the_name_of_another_cannot_command_the_terminal_through_the_log(member: Member) -> None:
    with member.runs() as process:
        process.send_signal(signal.SIGTERM)
        _, out, err = ended(process)
    assert all(char.isprintable() or char == "\n" for char in out + err)


def test_ctrl_c_in_a_command_is_no_traceback(member: Member) -> None:
    fifo = member.folder / "endless.csv"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    process = member.begins("stock", "import", str(fifo))
    with fifo.open("w"):  # opens as soon as the command reads
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)
    assert code == 1
    assert "Traceback" not in err
