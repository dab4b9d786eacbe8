"""Shopify's product export in both dialects: variants, pictures, stock that nobody tracks."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from coopnode.connectors import Article, BadRow, Outcome, Skipped, StockSaid, read_articles

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "shopify_apparel.csv"
OLD = {
    "handle": "Handle",
    "title": "Title",
    "text": "Body (HTML)",
    "vendor": "Vendor",
    "type": "Type",
    "category": "Product Category",
    "tags": "Tags",
    "published": "Published",
    "status": "Status",
    "n1": "Option1 Name",
    "v1": "Option1 Value",
    "n2": "Option2 Name",
    "v2": "Option2 Value",
    "sku": "Variant SKU",
    "grams": "Variant Grams",
    "tracker": "Variant Inventory Tracker",
    "quantity": "Variant Inventory Qty",
    "policy": "Variant Inventory Policy",
    "price": "Variant Price",
    "barcode": "Variant Barcode",
    "picture": "Image Src",
    "variant_picture": "Variant Image",
}
NEW = OLD | {
    "handle": "URL handle",
    "text": "Description",
    "category": "Product category",
    "published": "Published on online store",
    "n1": "Option1 name",
    "v1": "Option1 value",
    "n2": "Option2 name",
    "v2": "Option2 value",
    "sku": "SKU",
    "grams": "Weight value (grams)",
    "tracker": "Inventory tracker",
    "quantity": "Inventory quantity",
    "policy": "Continue selling when out of stock",
    "price": "Price",
    "barcode": "Barcode",
    "picture": "Product image URL",
    "variant_picture": "Variant image URL",
}
DIALECTS = pytest.mark.parametrize("names", [OLD, NEW], ids=["old", "new"])


def read(folder: Path, *rows: dict[str, str], names: dict[str, str] = OLD) -> list[Outcome]:
    path = folder / "products.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(names.values()))
        writer.writeheader()
        writer.writerows({names[name]: cell for name, cell in row.items()} for row in rows)
    return list(read_articles(path))


def product(**cells: str) -> dict[str, str]:
    return {"handle": "bell", "title": "Bell", "n1": "Title", "v1": "Default Title", "price": "8.50"} | cells


@DIALECTS
def test_a_product_without_options(tmp_path: Path, names: dict[str, str]) -> None:
    given = product(
        text="<p>Loud.</p>", vendor="Clang", type="Accessories", category="Sport > Cycling", tags="safety, small",
        published="true", status="active", sku="'0012", grams="45", tracker="shopify", quantity="7", policy="deny",
        barcode="2040000000011", picture="https://a.example/bell.jpg",
    )  # fmt: skip
    assert read(tmp_path, given, names=names) == [
        Article(
            "0012",
            {
                "title": "Bell",
                "text": "Loud.",
                "brand": "Clang",
                "category": ["Sport", "Cycling"],
                "tags": ["safety", "small"],
                "picture_urls": ["https://a.example/bell.jpg"],
                "weight_g": 45,
                "price_minor": 850,
                "currency": "EUR",
                "gtin": "2040000000011",
            },
            (StockSaid(quantity_milli=7000),),
        )
    ]


@DIALECTS
def test_several_rows_are_variants_and_pictures(tmp_path: Path, names: dict[str, str]) -> None:
    found = read(
        tmp_path,
        product(n1="Colour", v1="Red", n2="Size", v2="L", picture="https://a.example/1.jpg"),
        {"handle": "bell", "v1": "Blue", "v2": "XL", "price": "9.00", "variant_picture": "https://a.example/b.jpg"},
        {"handle": "bell", "picture": "https://a.example/2.jpg"},
        product(handle="lock", title="Lock", price="80"),
        names=names,
    )
    articles = [one for one in found if isinstance(one, Article)]
    assert [(one.sku, one.row, one.listing["title"]) for one in articles] == [
        ("bell-red-l", 2, "Bell - Red, L"),
        ("bell-blue-xl", 3, "Bell - Blue, XL"),
        ("lock", 5, "Lock"),
    ]
    red, blue, lock = (one.listing for one in articles)
    assert red["picture_urls"] == ["https://a.example/1.jpg", "https://a.example/2.jpg"]
    assert blue["picture_urls"] == ["https://a.example/b.jpg", *red["picture_urls"]]
    assert blue["attributes"] == {"Colour": "Blue", "Size": "XL"}
    assert (blue["variant_of"], blue["price_minor"]) == ("bell", 900)
    assert "variant_of" not in lock
    assert "attributes" not in lock


@DIALECTS
@pytest.mark.parametrize(
    ("cells", "stock"),
    [
        ({"quantity": "4"}, StockSaid(available=True)),
        ({"tracker": "shopify"}, StockSaid(available=True)),
        ({"tracker": "shopify", "quantity": "4"}, StockSaid(quantity_milli=4000)),
        ({"tracker": "shopify", "quantity": "0"}, StockSaid(quantity_milli=0)),
        ({"tracker": "shopify", "quantity": "-2", "policy": "deny"}, StockSaid(quantity_milli=0)),
        ({"tracker": "shopify", "quantity": "-2", "policy": "continue"}, StockSaid(available=True)),
        ({"tracker": "shopify", "quantity": "4", "policy": "CONTINUE"}, StockSaid(quantity_milli=4000)),
    ],
)
def test_stock_is_a_count_only_where_it_is_tracked(
    tmp_path: Path, names: dict[str, str], cells: dict[str, str], stock: StockSaid
) -> None:
    (article,) = read(tmp_path, product(**cells), names=names)
    assert isinstance(article, Article)
    assert article.stock == (stock,)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"status": "draft"}, "status is 'draft'"),
        ({"status": "archived"}, "status is 'archived'"),
        ({"published": "FALSE"}, "not published"),
    ],
)
def test_what_is_left_out_says_why(tmp_path: Path, cells: dict[str, str], words: str) -> None:
    (skipped,) = read(tmp_path, product(**cells))
    assert isinstance(skipped, Skipped)
    assert words in skipped.cause


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"handle": ""}, "no handle"),
        ({"title": ""}, "the first row of 'bell' has no title"),
        ({"price": "-1"}, "negative"),
        ({"price": "8,5,0"}, "not a number"),
        ({"tracker": "shopify", "quantity": "some"}, "not a number"),
        ({"sku": "x" * 65}, "a sku has 1 to 64 bytes"),
        ({"title": "x" * 501}, "501 bytes long"),
    ],
)
def test_a_wrong_row_is_reported_and_the_next_one_read(tmp_path: Path, cells: dict[str, str], words: str) -> None:
    bad, good = read(tmp_path, product(**cells), product(handle="lock", title="Lock"))
    assert isinstance(bad, BadRow)
    assert (bad.row, words in bad.cause) == (2, True)
    assert isinstance(good, Article)


def test_one_sku_for_two_variants_names_both_rows(tmp_path: Path) -> None:
    found = read(tmp_path, product(v1="Red", sku="B"), {"handle": "bell", "v1": "Blue", "price": "1", "sku": "B"})
    assert found[1] == BadRow(3, "the sku 'B' of row 3 is already that of row 2")


def test_a_google_category_number_gives_way_to_the_type(tmp_path: Path) -> None:
    (article,) = read(tmp_path, product(category="5380", type="Bells"))
    assert isinstance(article, Article)
    assert article.listing["category"] == ["Bells"]


@pytest.mark.skipif(not SHARED.exists(), reason="shared: the Shopify sample products are not beside the repository")
def test_the_sample_products_of_shopify() -> None:
    found = list(read_articles(SHARED, currency="USD"))
    articles = {one.sku: one for one in found if isinstance(one, Article)}
    assert len(found) == len(articles) == 22
    assert articles["ocean-blue-shirt"] == Article(
        "ocean-blue-shirt",
        {
            "title": "Ocean Blue Shirt",
            "text": "Ocean blue cotton shirt with a narrow collar and buttons down the front and long sleeves. "
            "Comfortable fit and tiled kalidoscope patterns.",
            "brand": "partners-demo",
            "tags": ["men"],
            "picture_urls": ["https://burst.shopifycdn.com/photos/young-man-in-bright-fashion_925x.jpg"],
            "price_minor": 5000,
            "currency": "USD",
        },
        (StockSaid(available=True),),
    )
    medium = articles["classic-varsity-top-medium"]
    assert medium.row == 4
    assert medium.listing["title"] == "Classic Varsity Top - Medium"
    assert medium.listing["attributes"] == {"Size": "Medium"}
    assert medium.listing["variant_of"] == "classic-varsity-top"
    assert medium.listing["price_minor"] == 6000
    assert medium.listing["text"].startswith("Womens casual varsity top, This grey")
    assert articles["black-leather-bag"].listing["price_minor"] == 3000
    assert articles["led-high-tops"].row == 23
