"""WooCommerce's product export: variations, stock that is not counted, what is left out by rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from coopnode.connectors import Article, BadRow, Outcome, Skipped, StockSaid, read_articles

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "woocommerce_sample_products.csv"
HEADER = (
    "ID,Type,SKU,Name,Published,Visibility in catalog,Short description,Description,Date sale price starts,"
    "Date sale price ends,In stock?,Stock,Backorders allowed?,Weight (kg),Sale price,Regular price,Categories,"
    "Tags,Images,Parent,Attribute 1 name,Attribute 1 value(s),Attribute 2 name,Attribute 2 value(s),"
    '"GTIN, UPC, EAN, or ISBN",Brands'
)
_COLUMNS = (
    "id type sku name published visibility short description from to in_stock stock backorders weight sale price "
    "categories tags images parent a1 v1 a2 v2 gtin brands"
)
COLUMNS = _COLUMNS.split()


def row(**cells: str) -> str:
    given = {"type": "simple", "published": "1", "visibility": "visible", "in_stock": "1", "price": "10"} | cells
    assert set(given) <= set(COLUMNS)
    return ",".join('"' + given.get(name, "").replace('"', '""') + '"' for name in COLUMNS)


def read(folder: Path, *rows: str) -> list[Outcome]:
    path = folder / "export.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8-sig")
    return list(read_articles(path))


def only(found: list[Outcome]) -> Article:
    assert len(found) == 1
    assert isinstance(found[0], Article)
    return found[0]


def test_a_simple_product(tmp_path: Path) -> None:
    product = row(
        id="7",
        sku="SP",
        name="Spade",
        description="<p>Ash.</p>\\n<p>Steel.</p>",
        stock="3",
        weight="2.1",
        sale="8,50",
        categories="Garden > Tools, Gifts",
        tags="dig, soil",
        images="https://a.example/1.jpg, https://a.example/2.jpg",
        a1="Material",
        v1="Ash\\, oiled, Steel",
        gtin="2030000000012",
        brands="Tilia",
    )
    assert only(read(tmp_path, product)) == Article(
        "SP",
        {
            "title": "Spade",
            "text": "Ash.\n\nSteel.",
            "price_minor": 850,
            "currency": "EUR",
            "category": ["Garden", "Tools"],
            "tags": ["dig", "soil"],
            "picture_urls": ["https://a.example/1.jpg", "https://a.example/2.jpg"],
            "attributes": {"Material": "Ash, oiled, Steel"},
            "weight_g": 2100,
            "gtin": "2030000000012",
            "brand": "Tilia",
        },
        (StockSaid(quantity_milli=3000),),
    )


@pytest.mark.parametrize("parent_first", [True, False])
def test_variations_take_from_their_parent_wherever_it_stands(tmp_path: Path, parent_first: bool) -> None:
    parent = row(
        id="1", type="variable", sku="TEE", name="T-Shirt", price="", short="Cotton.", categories="Clothing",
        images="https://a.example/tee.jpg", tags="summer", a1="Colour", v1="Blue, Red",
    )  # fmt: skip
    blue = row(id="2", type="variation", sku="TEE-B", name="ignored", parent="TEE", a1="Colour", v1="Blue")
    found = read(tmp_path, *([parent, blue] if parent_first else [blue, parent]))
    assert [one.cause for one in found if isinstance(one, Skipped)] == [
        "a variable product is sold through its variations"
    ]
    assert only([one for one in found if isinstance(one, Article)]) == Article(
        "TEE-B",
        {
            "title": "T-Shirt - Blue",
            "text": "Cotton.",
            "price_minor": 1000,
            "currency": "EUR",
            "category": ["Clothing"],
            "tags": ["summer"],
            "picture_urls": ["https://a.example/tee.jpg"],
            "attributes": {"Colour": "Blue"},
            "variant_of": "TEE",
        },
        (StockSaid(available=True),),
    )


def test_missing_skus_are_made_from_the_id(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        row(id="741", type="variable", name="Pot", price=""),
        row(id="742", type="variation", parent="id:741", a1="Size", v1="14 cm"),
    )
    article = only([one for one in found if isinstance(one, Article)])
    assert (article.sku, article.listing["variant_of"]) == ("woo-742", "woo-741")


@pytest.mark.parametrize(
    ("cells", "stock"),
    [
        ({"in_stock": "1"}, StockSaid(available=True)),
        ({"in_stock": "0"}, StockSaid(available=False)),
        ({"in_stock": "backorder"}, StockSaid(available=True)),
        ({"stock": "5"}, StockSaid(quantity_milli=5000)),
        ({"stock": "2.5"}, StockSaid(quantity_milli=2500)),
        ({"stock": "0", "in_stock": "0"}, StockSaid(quantity_milli=0)),
        ({"stock": "-3"}, StockSaid(quantity_milli=0)),
        ({"stock": "-3", "backorders": "notify"}, StockSaid(available=True)),
        ({"stock": "0", "backorders": "1"}, StockSaid(available=True)),
    ],
)
def test_stock_is_a_count_or_availability(tmp_path: Path, cells: dict[str, str], stock: StockSaid) -> None:
    assert only(read(tmp_path, row(id="1", sku="A", name="a", **cells))).stock == (stock,)


def test_a_count_shared_by_all_variations_is_not_promised_to_each(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        row(id="1", type="variable", sku="P", name="p", stock="4", price=""),
        row(id="2", type="variation", sku="V", parent="P", stock="parent"),
    )
    assert only(found[1:]).stock == (StockSaid(available=True),)


def test_a_sale_price_with_dates_is_passed_over(tmp_path: Path) -> None:
    dated = row(id="1", sku="A", name="a", sale="5", to="2020-01-01")
    assert only(read(tmp_path, dated)).listing["price_minor"] == 1000


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"published": "0"}, "not published"),
        ({"published": "-1"}, "not published"),
        ({"visibility": "hidden"}, "hidden"),
        ({"type": "grouped"}, "grouped"),
        ({"type": "external"}, "external"),
        ({"type": "subscription"}, "type 'subscription'"),
    ],
)
def test_what_is_left_out_says_why(tmp_path: Path, cells: dict[str, str], words: str) -> None:
    (skipped,) = read(tmp_path, row(id="1", sku="A", name="a", **cells))
    assert isinstance(skipped, Skipped)
    assert words in skipped.cause


def test_variations_of_an_unpublished_product_are_left_out(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        row(id="1", type="variable", sku="P", name="p", published="0"),
        row(id="2", type="variation", sku="V", parent="P"),
    )
    assert [type(one) for one in found] == [Skipped, Skipped]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"price": "-1"}, "negative"),
        ({"price": "1.2.3"}, "not a number"),
        ({"name": ""}, "no title"),
        ({"stock": "lots"}, "not a number"),
        ({"id": "", "sku": ""}, "neither SKU nor ID"),
        ({"type": "variation", "parent": "GONE"}, "'GONE' of this variation is not in the file"),
    ],
)
def test_a_wrong_row_is_reported(tmp_path: Path, cells: dict[str, str], words: str) -> None:
    (bad,) = read(tmp_path, row(**({"id": "1", "sku": "A", "name": "a"} | cells)))
    assert isinstance(bad, BadRow)
    assert words in bad.cause


@pytest.mark.skipif(not SHARED.exists(), reason="shared: the WooCommerce sample products are not beside the repository")
def test_the_sample_products_of_woocommerce() -> None:
    found = list(read_articles(SHARED))
    articles = {one.sku: one for one in found if isinstance(one, Article)}
    assert (len(found), len(articles)) == (24, 19)
    assert [(one.row, one.cause) for one in found if isinstance(one, Skipped)] == [
        (2, "a variable product is sold through its variations"),
        (3, "a variable product is sold through its variations"),
        (9, "hidden from the shop's own catalogue"),
        (17, "a grouped product: its parts are listed by themselves"),
        (18, "an external product: another shop sells it"),
    ]
    pictures = "https://classiccommerce.cc/wp-content/downloads/sample-data-images/"
    beanie = articles["cc-beanie"]
    assert beanie.row == 5
    assert beanie.stock == (StockSaid(available=True),)
    assert beanie.listing["text"].startswith("Pellentesque habitant morbi tristique")
    assert {name: value for name, value in beanie.listing.items() if name != "text"} == {
        "title": "Beanie",
        "price_minor": 1800,
        "currency": "EUR",
        "category": ["Clothing", "Accessories"],
        "picture_urls": [pictures + "beanie.png"],
        "attributes": {"Color": "Red"},
    }
    hoodie = articles["cc-hoodie-red"]
    assert {name: value for name, value in hoodie.listing.items() if name != "text"} == {
        "title": "Hoodie - Red, No",
        "price_minor": 4200,
        "currency": "EUR",
        "category": ["Clothing", "Hoodies"],
        "picture_urls": [pictures + "hoodie-no-pocket-red.png"],
        "attributes": {"Color": "Red", "Logo": "No"},
        "variant_of": "cc-hoodie",
    }
    assert articles["cc-single"].listing["price_minor"] == 200
    assert articles["cc-t-shirt-green"].listing["attributes"] == {"Color": "Green"}
    assert articles["cc-album"].listing["category"] == ["Music"]
