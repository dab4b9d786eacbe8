"""Our own CSV: English and German headers, several locations, rows refused with the column's name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coopnode.connectors import Article, BadRow, Outcome, StockSaid, UnreadableFile, read_articles


def read(folder: Path, content: str, currency: str = "EUR") -> list[Outcome]:
    path = folder / "stock.csv"
    path.write_text(content, encoding="utf-8")
    return list(read_articles(path, currency=currency))


def test_every_column_becomes_its_field(tmp_path: Path) -> None:
    header = (
        "sku,title,text,price,currency,unit,pack,brand,gtin,mpn,category,tags,quantity,location,tax_percent,"
        "weight_g,minimum,language,attribute:Colour,url,picture_urls,variant_of,tax_included,cost"
    )
    row = (
        'A-1,Flour,"<p>Fine.</p>",1.29,chf,kg,2.5,Mill,2010000000014,F-1,Food > Flour,"a, b",12.5,yard,7.7,'
        "2500,2,de,white,https://a.example/1,https://a.example/1.jpg|https://a.example/2.jpg,A,yes,0.70"
    )
    assert read(tmp_path, f"{header}\n{row}\n") == [
        Article(
            "A-1",
            {
                "title": "Flour",
                "text": "Fine.",
                "price_minor": 129,
                "currency": "CHF",
                "unit": "KGM",
                "pack_milli": 2500,
                "brand": "Mill",
                "gtin": "2010000000014",
                "mpn": "F-1",
                "category": ["Food", "Flour"],
                "tags": ["a", "b"],
                "tax_bp": 770,
                "weight_g": 2500,
                "minimum": 2,
                "language": "de",
                "attributes": {"Colour": "white"},
                "url": "https://a.example/1",
                "picture_urls": ["https://a.example/1.jpg", "https://a.example/2.jpg"],
                "variant_of": "A",
                "tax_included": True,
            },
            (StockSaid("yard", quantity_milli=12500),),
        )
    ]


def test_german_headers_and_decimal_commas(tmp_path: Path) -> None:
    content = (
        "Artikelnummer;BEZEICHNUNG;Preis;Bestand;EAN;Größe\n1;Mehl;1,29;1.000;;x\n2;Big Bag;1.389;2,5;2010000000014;y\n"
    )
    assert read(tmp_path, content) == [
        Article("1", {"title": "Mehl", "price_minor": 129, "currency": "EUR"}, (StockSaid(quantity_milli=1_000_000),)),
        Article(
            "2",
            {"title": "Big Bag", "price_minor": 138900, "currency": "EUR", "gtin": "2010000000014"},
            (StockSaid(quantity_milli=2500),),
        ),
    ]


def test_the_least_is_a_sku_and_a_title(tmp_path: Path) -> None:
    assert read(tmp_path, "SKU,Name\nA,B\n") == [Article("A", {"title": "B"})]


def test_zero_is_said_and_empty_is_not(tmp_path: Path) -> None:
    found = read(tmp_path, "sku,title,price,quantity,tax\nA,free,0,0,0\nB,unsaid,,,\n")
    assert found == [
        Article(
            "A",
            {"title": "free", "price_minor": 0, "currency": "EUR", "tax_bp": 0},
            (StockSaid(quantity_milli=0),),
        ),
        Article("B", {"title": "unsaid"}),
    ]


def test_availability_without_a_count(tmp_path: Path) -> None:
    found = read(tmp_path, "sku;title;verfügbar\nA;a;ja\nB;b;nein\n")
    assert [one.stock for one in found if isinstance(one, Article)] == [
        (StockSaid(available=True),),
        (StockSaid(available=False),),
    ]


def test_rows_for_several_locations_are_one_article(tmp_path: Path) -> None:
    found = read(tmp_path, "sku,title,quantity,location\nA,a,1,\nA,a,2,yard\nB,b,3,yard\nA,a,4,attic\n")
    assert found[:2] == [
        Article("A", {"title": "a"}, (StockSaid(quantity_milli=1000), StockSaid("yard", quantity_milli=2000))),
        Article("B", {"title": "b"}, (StockSaid("yard", quantity_milli=3000),)),
    ]
    assert found[2:] == [BadRow(5, "the sku 'A' of row 5 is already that of row 2")]


def test_prices_in_other_currencies_have_their_exponent(tmp_path: Path) -> None:
    found = read(tmp_path, "sku,title,price,currency\nA,a,1000,JPY\nB,b,1.250,KWD\nC,c,4.5,\n", "USD")
    prices = [(one.listing["price_minor"], one.listing["currency"]) for one in found if isinstance(one, Article)]
    assert prices == [(1000, "JPY"), (1250, "KWD"), (450, "USD")]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (",b,1,EUR,1,", "has no sku"),
        ("A,,1,EUR,1,", "has no title"),
        ("A,b,-1,EUR,1,", "price: '-1' is negative"),
        ("A,b,free,EUR,1,", "price: 'free' is not a price"),
        ("A,b,1.005,EUR,1,", "price: .*can be read as"),
        ("A,b,99999999999999999999,EUR,1,", "price: .*more than a price may be"),
        ("A,b,1.5,JPY,1,", "price: .*more than 0 decimals"),
        ("A,b,1,euros,1,", "currency: 'EUROS' is not a currency code"),
        ("A,b,1 USD,EUR,1,", "price: .*not a price in EUR"),
        ("A,b,1,EUR,-1,", "quantity: '-1' is negative"),
        ("A,b,1,EUR,lots,", "quantity: 'lots' is not a number"),
        ("A,b,1,EUR,0.0001,", "quantity: .*more than three decimals"),
        ("A,b,1,EUR,1,123", "gtin: '123' is not a GTIN"),
        (f"{'A' * 65},b,1,EUR,1,", "a sku has 1 to 64 bytes"),
        (f"A,{'x' * 501},1,EUR,1,", "the title is 501 bytes long"),
        ("A,bell \x07,1,EUR,1,", "control character"),
    ],
)
def test_a_wrong_row_is_reported_and_the_next_one_read(tmp_path: Path, cells: str, words: str) -> None:
    content = f"sku,title,price,currency,quantity,gtin\n{cells}\nZ,last,1,EUR,1,\n"
    bad, last = read(tmp_path, content)
    assert isinstance(bad, BadRow)
    assert bad.row == 2
    assert re.search(words, bad.cause)
    assert isinstance(last, Article)


def test_titles_of_any_script_and_markup_stay_text(tmp_path: Path) -> None:
    titles = ["🍞 Bread", "خبز طازج", "<script>alert(1)</script>", "לחם טרי"]
    found = read(tmp_path, "sku,title\n" + "".join(f"{n},{title}\n" for n, title in enumerate(titles)))
    assert [one.listing["title"] for one in found if isinstance(one, Article)] == titles


def test_outcomes_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, "sku,title\nA,a\n,b\nC,c\n")
    assert [one.row for one in found] == [2, 3, 4]


def test_two_columns_for_one_field_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="two columns for the quantity, 'menge' and 'bestand'"):
        read(tmp_path, "sku;title;Menge;Bestand\nA;b;1;2\n")
