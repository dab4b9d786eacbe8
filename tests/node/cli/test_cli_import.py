"""`coopnode stock import`: whole or not at all, with every bad row named."""

from __future__ import annotations

from pathlib import Path

import pytest

from coopnode.cli import importing
from coopnode.cli.offline import Offline
from coopnode.folder import Folder
from tests.node.cli.typed import BROKEN, GOOD, HEADER, Member

STOCKS = Path(__file__).parents[3] / "examples" / "stocks"


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return Member(tmp_path).sets_up()


def test_a_bad_row_means_that_nothing_changes(member: Member) -> None:
    member.types("stock", "import", member.file(GOOD))
    before = member.gets("status")["own_head"]
    result = member.types("stock", "import", member.file(BROKEN))
    assert result.exit_code == 1
    causes = result.stderr.splitlines()
    assert causes[0].startswith("row 3: ")
    assert "title" in causes[0]
    assert causes[1].startswith("row 4: ")
    assert "minus one" in causes[1]
    assert "2 bad rows: nothing was changed" in causes[2]
    assert member.skus() == ["A1", "B2"]
    assert member.gets("status")["own_head"] == before


def test_keep_going_takes_the_good_rows(member: Member) -> None:
    result = member.types("stock", "import", member.file(BROKEN), "--keep-going")
    assert result.exit_code == 0
    assert result.stderr.startswith("row 3: ")
    assert result.stdout == "2 articles imported, 2 bad rows left out.\n"
    assert member.skus() == ["A1", "D4"]


def test_the_report_as_json(member: Member) -> None:
    answer = member.gets("stock", "import", member.file(BROKEN), "--keep-going")
    assert (answer["articles"], answer["bad"], answer["imported"]) == (2, 2, True)
    assert answer["bad_rows"][0].startswith("row 3: ")
    result = member.types("stock", "import", member.file(BROKEN), "--json")
    assert result.exit_code == 1
    assert '"imported": false' in result.stdout


def test_a_dry_run_changes_nothing(member: Member) -> None:
    assert member.types("stock", "import", member.file(GOOD), "--dry-run").stdout == "2 articles would be imported.\n"
    assert "2 bad rows" in member.fails("stock", "import", member.file(BROKEN), "--dry-run")
    assert member.types("stock", "import", member.file(BROKEN), "--dry-run", "--keep-going").exit_code == 0
    assert member.skus() == []


def test_an_import_replaces_known_skus_and_leaves_others(member: Member) -> None:
    member.types("stock", "import", member.file(GOOD))
    member.types("stock", "import", member.file(HEADER + "B2,Fine flour,1.20,EUR,9\nC3,Salt,0.99,EUR,1\n"))
    articles = member.gets("stock", "list")["articles"]
    assert [(one["sku"], one["title"]) for one in articles] == [("A1", "Bread"), ("B2", "Fine flour"), ("C3", "Salt")]


def test_a_file_of_bad_rows_only(member: Member) -> None:
    path = member.file(HEADER + "A1,,4.20,EUR,12\n")
    assert "1 bad row: nothing was changed" in member.fails("stock", "import", path)
    assert member.types("stock", "import", path, "--keep-going").stdout == "0 articles imported, 1 bad row left out.\n"


def test_many_bad_rows_are_counted_but_not_all_named(member: Member) -> None:
    path = member.file(HEADER + "".join(f"A{number},,1,EUR,1\n" for number in range(150)))
    result = member.types("stock", "import", path)
    assert result.stderr.count("row ") == importing.MAX_BAD_SHOWN
    assert "... and 50 more bad rows." in result.stderr


@pytest.mark.parametrize(
    ("content", "words", "cause"),
    [
        ("one,two\n1,2\n", (), "no header row"),
        ("", (), "empty"),
        ("<html>", (), "XML or HTML"),
        (GOOD, ("--format", "shopify"), "not a product export of Shopify"),
        (GOOD, ("--format", "lotus"), "not a format"),
    ],
)
def test_unreadable_files(member: Member, content: str, words: tuple[str, ...], cause: str) -> None:
    assert cause in member.fails("stock", "import", member.file(content), *words)


def test_a_file_that_is_not_there(member: Member) -> None:
    assert "There is no file" in member.fails("stock", "import", str(member.folder / "none.csv"))
    assert "is a folder" in member.fails("stock", "import", str(member.folder))


def test_the_currency_of_the_settings_holds_where_the_file_names_none(member: Member) -> None:
    path = member.file("sku,title,price\nA1,Bread,420\n")
    member.types("stock", "import", path, COOPNODE_CURRENCY="JPY")
    assert member.gets("stock", "list")["articles"][0]["price"] == "420 JPY"
    member.types("stock", "import", path, "--currency", "KWD")
    assert member.gets("stock", "list")["articles"][0]["price"] == "420.000 KWD"


def test_batches_are_bounded_in_records_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_RECORDS", 3)
    small = [("listing", b"k", b"v")] * 7
    assert [len(batch) for batch in importing._batches(small)] == [3, 3, 1]
    monkeypatch.setattr(importing, "BATCH_BYTES", 20)
    large = [("listing", b"k", b"v" * 15)] * 3
    assert [len(batch) for batch in importing._batches(large)] == [2, 1]


def test_a_second_import_must_wait(member: Member) -> None:
    with importing.one_import(Folder(member.home)):
        assert "Another import" in member.fails("stock", "import", member.file(GOOD))
    assert member.types("stock", "import", member.file(GOOD)).exit_code == 0


def test_an_import_that_was_broken_off_leaves_nothing(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    class PowerCutError(BaseException):
        pass

    call = Offline.call

    def interrupted(self: Offline, name: str, /, **arguments: object) -> object:
        if name == "import.finish":
            raise PowerCutError
        return call(self, name, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Offline, "call", interrupted)
        with pytest.raises(PowerCutError):
            member.types("stock", "import", member.file(GOOD))
    assert member.skus() == []
    member.types("stock", "import", member.file(HEADER + "C3,Salt,0.99,EUR,1\n"))
    assert member.skus() == ["C3"]


@pytest.mark.parametrize("path", sorted(STOCKS.glob("*.csv")), ids=lambda path: path.stem)
def test_the_examples_can_be_imported(member: Member, path: Path) -> None:
    answer = member.gets("stock", "import", str(path))
    assert answer["bad"] == 0
    assert member.gets("stock", "list")["total"] == answer["articles"] > 50
