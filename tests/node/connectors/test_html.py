"""Descriptions become text: no markup, no control characters, never longer than allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coopnode.connectors.html import cut_to_bytes, plain_text
from protocol.shape import is_control


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Just text.", "Just text."),
        ("two\nlines", "two\nlines"),
        ("<p>One.</p><p>Two.</p>", "One.\n\nTwo."),
        ("<p>wrapped\nin the\n  source</p>", "wrapped in the source"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<ul><li>red</li><li>blue</li></ul>", "- red\n- blue"),
        ("<b>bold</b> and <i>slanted</i>", "bold and slanted"),
        ("Salt &amp; pepper &lt;ground&gt; 85&nbsp;% &#8364;", "Salt & pepper <ground> 85 % €"),
        ("before<script>alert('x')</script>after", "beforeafter"),
        ("<style>p { color: red }</style><p>seen</p>", "seen"),
        ("<svg><text>no</text></svg>yes", "yes"),
        ("<script>never closed", ""),
        ("3 < 5 and 5 > 3", "3 < 5 and 5 > 3"),
        ("a<!-- hidden -->b", "ab"),
        ("a<!-- <b>hidden</b> -->b<!-- never closed", "ab"),
        ("a <b without end", "a <b without end"),
        ("<![if !x]>odd", "<![if !x]>odd"),
        ("bell\x07 and nul\0 and \x1b[31mred", "bell and nul and [31mred"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("  much   space\t here ", "much space here"),
        ("<table><tr><td>M8</td><td>13 mm</td></tr></table>", "M8 13 mm"),
        ("شاي أخضر 🍵 <b>עברית</b>", "شاي أخضر 🍵 עברית"),
        ("", ""),
    ],
)
def test_html_becomes_plain_text(source: str, text: str) -> None:
    assert plain_text(source) == text


def test_a_cut_ends_in_an_ellipsis_at_a_character_boundary() -> None:
    assert cut_to_bytes("abcdefgh", 8) == "abcdefgh"
    assert cut_to_bytes("abcdefghi", 8) == "abcde…"
    assert cut_to_bytes("🍵🍵🍵", 9) == "🍵…"
    assert cut_to_bytes("abc def", 7) == "abc def"
    assert cut_to_bytes("abcd efgh", 8) == "abcd…"
    assert cut_to_bytes("long", 2) == "lo"


def test_a_long_description_is_cut() -> None:
    text = plain_text("<p>" + "ä" * 100_000 + "</p>")
    assert len(text.encode()) <= 8_000
    assert text.endswith("ä…")


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "bit", ["<a ", "<br \n", "<a b='", '<a b="> ', "<!--", "<!", "</", "<p", "<?", "<", "&#", "<![CDATA[", "<script>"]
)
def test_broken_markup_costs_no_time(bit: str) -> None:
    assert len(plain_text(bit * 40_000).encode()) <= 8_000


@given(st.text(alphabet=st.sampled_from("<>/!-[]&;#abpsx \n\0'\"=é🍵script"), max_size=200), st.integers(3, 60))
def test_any_source_gives_clean_text_within_the_limit(source: str, max_bytes: int) -> None:
    text = plain_text(source, max_bytes)
    assert len(text.encode()) <= max_bytes
    assert not any(is_control(char) and char != "\n" for char in text)
    assert text == text.strip()
