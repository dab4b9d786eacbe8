from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from coopnode import desk
from coopnode.server.pages import POLICY, phrases
from tests.node.server.coops import Answer, Coop, Running, listing, running, stock

VOID = {"meta", "link", "input", "img", "br"}
EVIL = (
    "<script>alert(1)</script><img src=x onerror=y>\"'&amp; \u202egnp.exe\u202c "
    "\u2067rtl\u2069 \u0645\u0637\u0631\u0642\u0629 🔨"
)


class Page(HTMLParser):
    """What a browser would make of a page; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str, attribute: str) -> list[str]:
        return [found[attribute] or "" for name, found in self.tags if name == tag and attribute in found]


def read(answer: Answer, status: int = 200) -> Page:
    """Check what holds of every page, and take it apart."""
    assert answer.status == status, answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    page = Page(answer.text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "style", "iframe", "object", "base", "embed"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], (tag, attributes)
    # Nothing is loaded from elsewhere.
    loads = page.all("img", "src") + page.all("link", "href") + page.all("form", "action")
    assert all(one.startswith("/") and not one.startswith("//") for one in loads)
    assert sum(tag == "h1" for tag, _ in page.tags) == 1
    assert page.all("html", "lang") == ["en"]
    labelled = set(page.all("label", "for"))
    assert set(page.all("input", "id")) <= labelled
    assert all(alt is not None for alt in page.all("img", "alt"))
    return page


@pytest.fixture
def coop(tmp_path: Path) -> Iterator[Coop]:
    made = Coop(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def alone(coop: Coop) -> AsyncIterator[Running]:
    (shop,) = coop.found("Anna's Tools")
    async with running(shop) as node:
        yield node


async def test_a_buyer_searches_and_looks(coop: Coop) -> None:
    anna, bert = coop.found("Anna", "Bert & Söhne", coop="North")
    now = coop.clock.now_ms()
    bert.put(
        [
            listing("h", "Hammer", price_minor=123_456, currency="EUR", text="Heavy.\nVery.", tax_bp=1900),
            stock("h", said_ms=now, quantity_milli=12_000),
            listing("g", "Gone hammer"),
            stock("g", said_ms=now, quantity_milli=0),
            listing("m", "Maybe hammer"),
        ]
    )
    coop.meet()
    coop.clock.ahead_ms += 250_000
    async with running(anna) as node:
        page = read(await node.get("/?q=hammer"))
        assert "3 articles for “ hammer ”" in page.text
        assert "12 in stock, said 4 min ago" in page.text
        assert "sold out, said 4 min ago" in page.text
        assert "stock not told, listed 4 min ago" in page.text
        assert "1,234.56 EUR" in page.text
        assert "price on request" in page.text
        assert "sold by Bert & Söhne" in page.text
        assert "The catalogues of all 2 members are complete here" in page.text
        assert page.all("input", "value") == ["hammer"]
        (link,) = [one for one in page.all("a", "href") if one.startswith("/listing/") and one.endswith("/h")]
        shown = read(await node.get(link))
        assert "Heavy. Very." in shown.text
        assert "plus 19 % tax" in shown.text
        assert "4 min ago" in shown.text
        api_links = [one for one in shown.all("a", "href") if one.startswith("/api/v1/listings/")]
        assert (await node.json(api_links[0]))["title"] == "Hammer"


async def test_text_of_others_never_becomes_part_of_the_page(coop: Coop) -> None:
    (shop,) = coop.found(EVIL, coop=EVIL)
    shop.put(
        [
            listing(
                "<s>&'\"/",
                EVIL,
                text=EVIL,
                brand=EVIL,
                category=[EVIL],
                tags=[EVIL],
                attributes={EVIL: EVIL},
                language='"><b>',
                url='https://example.org/"><script>',
                picture_urls=["https://elsewhere.example/spy.png"],
                price_minor=1,
                currency="EUR",
            )
        ]
    )
    shop.do(desk.profile_set, profile={"name": EVIL, "text": EVIL, "address": EVIL, "url": 'http://x/"onclick="y'})
    poll = shop.do(desk.vote_propose, title=EVIL, text=EVIL, closes_in_ms=60_000)
    shop.do(desk.vote_cast, proposal=poll["id"], choice="yes", why=EVIL)
    async with running(shop) as node:
        me = node.node.core.member_id.hex()
        shown = phrases.plain(EVIL)
        assert "\u202e" not in shown
        for path in ("/?q=script", f"/listing/{me}/%3Cs%3E%26%27%22%2F", "/members", f"/members/{me}", "/votes"):
            answer = await node.get(path)
            page = read(answer)
            assert shown in page.texts, path
            assert "elsewhere.example" not in answer.text
            assert not re.search("[\u202a-\u202e\u2066-\u2069]", answer.text)
        # Every text of others stands alone, so that its direction stays its own.
        search = await node.get("/?q=script")
        assert re.search(r"<bdi[^>]*>&lt;script&gt;", search.text)


async def test_what_is_typed_is_shown_as_text(alone: Running) -> None:
    page = read(await alone.get("/?q=%22%3E%3Cscript%3E%E2%80%AE%00"))
    assert page.all("input", "value") == ['"><script>']
    assert "Nothing found" in page.text


async def test_paging(alone: Running) -> None:
    await alone.publish(*(listing(f"s{number}", f"Nail {number} mm") for number in range(45)))
    seen: list[str] = []
    path = "/?q=nail+mm"
    for _ in range(3):
        page = read(await alone.get(path))
        seen += [one for one in page.all("a", "href") if one.startswith("/listing/")]
        following = [found["href"] for tag, found in page.tags if tag == "a" and found.get("rel") == "next"]
        path = following[0] or "" if following else ""
    assert path == ""
    assert len(seen) == len(set(seen)) == 45
    assert "41 to 45 of 45" in page.text
    back = [found["href"] for tag, found in page.tags if tag == "a" and found.get("rel") == "prev"]
    assert back == ["/?q=nail+mm&offset=20"]


async def test_all_links_lead_somewhere(alone: Running) -> None:
    await alone.publish(*(listing(sku, f"Article {sku}") for sku in ("a/b", "..", ".", "%2F", "ü ?#&=+", "'\"<>")))
    await alone.perform(desk.vote_propose, title="Fee", closes_in_ms=60_000)
    todo, done = ["/"], set()
    while todo:
        path = todo.pop()
        done.add(path)
        answer = await alone.get(path)
        assert answer.status == 200, path
        if answer.headers["Content-Type"].startswith("text/html"):
            page = read(answer)
            found = page.all("a", "href") + page.all("link", "href") + page.all("img", "src")
            todo += [one for one in set(found) - done - set(todo) if one.startswith("/")]
    assert sum(path.startswith("/listing/") for path in done) == 6
    assert {urlsplit(path).path for path in done} >= {"/", "/members", "/votes", "/static/style.css", "/api/v1/status"}


async def test_votes_are_provisional_and_say_how_they_stand(coop: Coop) -> None:
    anna, bert = coop.found("Anna", "Bert")
    poll = anna.do(desk.vote_propose, title="Lower the fee", closes_in_ms=60_000, quorum_bp=5000)
    coop.meet()
    bert.do(desk.vote_cast, proposal=poll["id"], choice="yes", why="Gladly.")
    coop.meet()
    async with running(anna) as node:
        page = read(await node.get("/votes"))
        assert "Lower the fee" in page.text
        assert "1 yes, 0 no, 0 abstain of 2 entitled; 1 must vote." in page.text
        assert "Open, provisional" in page.text
        assert "Bert : yes, “ Gladly. ”" in page.text
        coop.clock.ahead_ms += 60_000
        assert "Carried, provisional" in read(await node.get("/votes")).text
        assert "There are no more." in read(await node.get("/votes?offset=20")).text


async def test_a_poll_of_another_age(alone: Running) -> None:
    await alone.perform(desk.vote_propose, title="Long", closes_in_ms=2**53 - 2**42)
    assert "in a far future" in read(await alone.get("/votes")).text


async def test_members_with_counts_and_ages(coop: Coop) -> None:
    anna, bert = coop.found("Anna", "Bert")
    bert.put([listing(f"s{number}", "Saw") for number in range(1200)])
    coop.meet()
    coop.clock.ahead_ms += 3 * 24 * 3600 * 1000
    async with running(anna) as node:
        page = read(await node.get("/members"))
        assert "2 members" in page.text
        assert "Anna 0 articles said 3 days ago" in page.text
        assert "Bert 1,200 articles said 3 days ago" in page.text
        assert "2 of the complete ones are more than a day old." in page.text
        one = read(await node.get(f"/members/{bert.core.member_id.hex()}"))
        assert bert.core.member_id.hex() in one.text


async def test_without_a_coop_the_page_says_what_to_do(coop: Coop) -> None:
    async with running(coop.shop("Solo & Co")) as node:
        for path in ("/", "/?q=x", "/members", "/votes"):
            page = read(await node.get(path))
            assert "belongs to no co-op yet" in page.text
            assert "coopnode coop found" in page.text
            assert "coopnode coop join INVITATION" in page.text
            assert "Solo & Co" in page.text


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/nowhere", 404, "There is nothing at this address."),
        ("/static/../app.py", 404, "There is nothing at this address."),
        ("/listing/zz/x", 404, "40 hex digits"),
        ("/members/" + "00" * 20, 404, "no such member"),
        ("/?offset=-1", 400, "whole number from 0 to 9900"),
        ("/?q=" + "a" * 501, 400, "at most 500 characters"),
        ("/?q=%ff", 400, "not percent-encoded UTF-8"),
    ],
)
async def test_what_goes_wrong_is_said_on_a_page(alone: Running, path: str, status: int, says: str) -> None:
    assert says in read(await alone.get(path), status).text


async def test_the_files_of_the_pages(alone: Running) -> None:
    style = await alone.get("/static/style.css")
    icon = await alone.get("/static/icon.svg")
    assert (style.status, style.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert (icon.status, icon.headers["Content-Type"]) == (200, "image/svg+xml; charset=utf-8")
    assert "url(" not in style.text
    assert "@import" not in style.text
    assert (await alone.ask("HEAD", "/")).status == 200


@pytest.mark.parametrize(
    ("age_s", "said"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (2 * 86_400 - 1, "47 h ago"),
        (2 * 86_400, "2 days ago"),
        (86_400 * 20_000, "20,000 days ago"),
    ],
)
def test_ages(age_s: int, said: str) -> None:
    assert phrases.ago(age_s) == said


def test_amounts() -> None:
    assert phrases.in_stock({"available": True, "quantity": "2.5"}, "KGM") == "2.5 kg in stock"
    assert phrases.in_stock({"available": True, "quantity": None}) == "in stock"
    assert phrases.in_stock({"available": False, "quantity": "0"}) == "sold out"
    assert (phrases.amount(2_500, "LTR"), phrases.amount(6_000)) == ("2.5 l", "6")
    assert (phrases.percent(1900), phrases.percent(550), phrases.percent(0)) == ("19 %", "5.5 %", "0 %")
    assert phrases.grouped("1000000.50 EUR") == "1,000,000.50 EUR"
    assert phrases.moment(0) == '<time datetime="1970-01-01T00:00Z">1 Jan 1970, 00:00 UTC</time>'
    assert phrases.moment(2**63) == "in a far future"


def test_others_texts() -> None:
    assert phrases.plain("a\x00b\x1b[0m\x85c\u2028d\r\ne\ud800") == "ab[0m\nc\nd\ne"
    assert phrases.plain("👩\u200d👩 می\u200cخواهم\u200f") == "👩\u200d👩 می\u200cخواهم\u200f"
    assert phrases.host("https://shop.example:8443/a") == "shop.example"
    assert phrases.host("https://") == "https://"
    assert phrases.host("http://[") == "http://["


def test_bars_lie_side_by_side() -> None:
    tally = {"entitled": 4, "yes": 2, "no": 1, "abstain": 1}
    assert phrases.bars(tally) == [("yes", 0, 500), ("no", 500, 250), ("abstain", 750, 250)]
    assert phrases.bars({"entitled": 0, "yes": 0, "no": 0, "abstain": 0})[2] == ("abstain", 0, 0)
