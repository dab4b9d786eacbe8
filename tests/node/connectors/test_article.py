"""Articles become records that the rules accept, or are refused whole."""

from __future__ import annotations

import pytest

from coopnode.connectors.article import Article, BadRow, Skipped, StockSaid
from protocol import records
from protocol.errors import Reason, Refused


def test_an_article_gives_its_listing_and_each_stock() -> None:
    article = Article(
        "M8x40",
        {"title": "Bolt", "price_minor": 12, "currency": "EUR"},
        (StockSaid(quantity_milli=2500), StockSaid("yard", available=True)),
    )
    found = article.records(1_700_000_000_000)
    assert [(collection, key) for collection, key, _ in found] == [
        ("listing", b"M8x40"),
        ("stock", b"M8x40\0"),
        ("stock", b"M8x40\0yard"),
    ]
    assert [records.read(*record) for record in found] == [
        {"title": "Bolt", "price_minor": 12, "currency": "EUR"},
        {"said_ms": 1_700_000_000_000, "quantity_milli": 2500},
        {"said_ms": 1_700_000_000_000, "available": True},
    ]


@pytest.mark.parametrize(
    ("article", "reason"),
    [
        (Article("", {"title": "x"}), Reason.RECORD_KEY),
        (Article(" a", {"title": "x"}), Reason.RECORD_KEY),
        (Article("a" * 65, {"title": "x"}), Reason.RECORD_KEY),
        (Article("a", {}), Reason.RECORD_VALUE),
        (Article("a", {"title": "x", "price_minor": 1}), Reason.RECORD_VALUE),
        (Article("a", {"title": "x"}, (StockSaid(),)), Reason.RECORD_VALUE),
        (Article("a", {"title": "x"}, (StockSaid("é" * 16, available=True),)), Reason.RECORD_KEY),
    ],
)
def test_what_breaks_a_rule_is_refused(article: Article, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        article.records(0)
    assert caught.value.reason is reason


def test_where_a_row_stands_is_said_and_does_not_count_for_equality() -> None:
    assert Article("a", {"title": "x"}, row=3) == Article("a", {"title": "x"}, row=4)
    assert str(BadRow(3, "has no sku")) == "row 3: has no sku"
    assert str(Skipped(3, "hidden", 9)) == "row 3 (line 9): hidden"
