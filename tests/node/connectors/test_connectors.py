"""The front door: formats found by their header, whole files refused in words, and the examples."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from coopnode.connectors import (
    FORMATS,
    Article,
    BadRow,
    Outcome,
    Skipped,
    UnreadableFile,
    count_rows,
    read_articles,
)
from protocol import records

STOCKS = Path(__file__).parents[3] / "examples" / "stocks"
EXAMPLES = {
    "mill-and-bakery.csv": (82, 0),
    "hardware.csv": (153, 0),
    "garden-and-seeds.csv": (66, 13),
    "bicycle-workshop.csv": (72, 1),
    "household-and-electrical.csv": (82, 0),
}


def given_file(folder: Path, content: str) -> Path:
    path = folder / "stock.csv"
    path.write_text(content, encoding="utf-8")
    return path


def test_every_example_is_named_here() -> None:
    assert {path.name for path in STOCKS.glob("*.csv")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_imported_without_a_bad_row(name: str) -> None:
    found = list(read_articles(STOCKS / name))
    assert [str(one) for one in found if isinstance(one, BadRow)] == []
    articles = [one for one in found if isinstance(one, Article)]
    assert (len(articles), sum(isinstance(one, Skipped) for one in found)) == EXAMPLES[name]
    for article in articles:
        assert article.stock
        assert article.listing["gtin"].startswith("2")
        assert article.listing["price_minor"] > 0
        assert article.listing["category"]
        for record in article.records(1_700_000_000_000):
            records.read(*record)
    assert len({article.listing["gtin"] for article in articles}) == len(articles)


def test_the_examples_share_articles_at_different_prices() -> None:
    prices: dict[str, set[int]] = defaultdict(set)
    for name in EXAMPLES:
        for one in read_articles(STOCKS / name):
            if isinstance(one, Article):
                prices[one.listing["gtin"]].add(one.listing["price_minor"])
    assert sum(len(found) > 1 for found in prices.values()) >= 15


def test_spot_checks_of_the_examples() -> None:
    def article(name: str, sku: str) -> Article:
        return next(one for one in read_articles(STOCKS / name) if isinstance(one, Article) and one.sku == sku)

    big_bag = article("mill-and-bakery.csv", "M-W405-BB")
    assert (big_bag.listing["price_minor"], big_bag.listing["pack_milli"]) == (138900, 1_000_000)
    assert "\n" in big_bag.listing["text"]
    assert {stock.location for stock in article("hardware.csv", "HM-500").stock} == {"", "yard"}
    assert article("household-and-electrical.csv", "WASHER").listing["price_minor"] == 104900
    assert article("garden-and-seeds.csv", "TOM-MAT-PO").listing["variant_of"] == "TOM-MAT"
    helmet = article("bicycle-workshop.csv", "HE-WH-52-57 cm")
    assert len(helmet.listing["picture_urls"]) == 2


@pytest.mark.parametrize("name", EXAMPLES)
def test_rows_are_estimated_closely(name: str) -> None:
    rows = sum(1 for _ in read_articles(STOCKS / name))
    assert rows <= count_rows(STOCKS / name) <= rows + 5


def test_formats_have_names_and_are_found_by_header() -> None:
    assert set(FORMATS) == {"plain", "woocommerce", "shopify"}
    for header, name in (
        ("sku title", "plain"),
        ("id type sku name published", "plain"),
        ("handle title sku", "plain"),
    ):
        columns = frozenset(header.split())
        assert [one.name for one in FORMATS.values() if one.recognises(columns)] == [name]


def test_an_unknown_header_names_what_was_seen_and_what_is_needed(tmp_path: Path) -> None:
    path = given_file(tmp_path, "foo,Bar,title\n1,2,3\n")
    with pytest.raises(UnreadableFile) as caught:
        read_articles(path)
    message = str(caught.value)
    assert "stock.csv has no header row that is known here" in message
    assert "foo, Bar, title" in message
    assert "sku, title" in message


def test_a_file_without_header_shows_its_first_row(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"Its first row says: A-1, Flour, 1\.29"):
        read_articles(given_file(tmp_path, "A-1,Flour,1.29\nA-2,Rye,1.39\n"))


def test_a_chosen_format_must_fit(tmp_path: Path) -> None:
    path = given_file(tmp_path, "sku,title\nA,b\n")
    assert list(read_articles(path, form="plain")) == [Article("A", {"title": "b"})]
    with pytest.raises(UnreadableFile, match="is not a product export of Shopify: its columns are sku, title"):
        read_articles(path, form="shopify")
    with pytest.raises(UnreadableFile, match="'excel' is not a format: choose auto, shopify"):
        read_articles(path, form="excel")


def test_a_missing_file_is_refused_before_the_first_row_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="There is no file"):
        read_articles(tmp_path / "absent.csv")


def test_a_sku_twice_is_a_bad_row_that_names_both(tmp_path: Path) -> None:
    content = 'sku,title,text\nA,a,"two\nlines"\nB,b,\nA,again,\n'
    found: list[Outcome] = list(read_articles(given_file(tmp_path, content)))
    assert found[2] == BadRow(4, "the sku 'A' of row 4 (line 5) is already that of row 2", 5)


def test_what_the_rules_refuse_is_a_bad_row_so_every_article_can_be_published(tmp_path: Path) -> None:
    names = [f"attribute:n{n}" for n in range(33)]
    content = ",".join(["sku", "title", *names]) + "\n" + ",".join(["A", "a", *(["x"] * 33)]) + "\n"
    (bad,) = read_articles(given_file(tmp_path, content))
    assert bad == BadRow(2, "'attributes' must have at most 32 entries")
    content = ",".join(["sku", "title", *names[:32]]) + "\n" + ",".join(["A", "a", *(["é" * 249] * 32)]) + "\n"
    (article,) = read_articles(given_file(tmp_path, content))
    assert isinstance(article, Article)


def test_a_record_too_large_as_a_whole_is_a_bad_row(tmp_path: Path) -> None:
    names = [f"attribute:n{n}" for n in range(32)]
    cells = ["A", "a", "t" * 8_000, *(["x" * 500] * 32)]
    content = ",".join(["sku", "title", "text", *names]) + "\n" + ",".join(cells) + "\n"
    (bad,) = read_articles(given_file(tmp_path, content))
    assert isinstance(bad, BadRow)
    assert "at most 16384 bytes" in bad.cause
