"""The HTML of a shop's description, turned into plain text that any page or terminal can show.

Never lets markup through as markup: the result is text, which a page still has to escape.
The thing to understand: line breaks of the source count only where no tag says where lines end.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from protocol.limits import MAX_TEXT_BYTES
from protocol.shape import is_control

_DROPPED = frozenset({"script", "style", "template", "svg", "iframe", "object"})
_BREAKS = frozenset({"br", "li", "tr", "dt", "dd", "option"})
_BLOCK_TAGS = "p div ul ol dl table section article header footer blockquote pre hr h1 h2 h3 h4 h5 h6 figure form"
_BLOCKS = frozenset(_BLOCK_TAGS.split())
_LINE_TAG = re.compile(rf"</?(?:{'|'.join(sorted(_BREAKS | _BLOCKS))})\b", re.IGNORECASE)
_OPENS_NOTHING = re.compile(r"<(?=[^<>]*(?:<|\Z))")
_TAG_OR_ENTITY = re.compile(r"<[A-Za-z/!?]|&")


def plain_text(source: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Give the readable text of *source*, which may be HTML or not, in at most *max_bytes* of UTF-8."""
    # What follows would be cut anyway.
    source = source[: 8 * max_bytes]
    if _LINE_TAG.search(source):
        source = re.sub(r"\s+", " ", source)
    if _TAG_OR_ENTITY.search(source):
        source = _strip_tags(source)
    return cut_to_bytes(_tidy(source), max_bytes)


def cut_to_bytes(text: str, max_bytes: int) -> str:
    """Shorten *text* to *max_bytes* of UTF-8 at a character boundary, ending in "…" if it was cut."""
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    mark = "…" if max_bytes >= 3 else ""
    kept = encoded[: max_bytes - len(mark.encode())].decode(errors="ignore")
    return kept.rstrip() + mark


def _strip_tags(source: str) -> str:
    reader = _Reader()
    # The standard parser takes quadratic time over tags and comments that never end, and stops at some
    # marked sections: comments go first, and a "<" that opens no whole tag becomes text.
    source = _without_comments(source).replace("<![", "&lt;![")
    reader.feed(_OPENS_NOTHING.sub("&lt;", source))
    reader.close()
    return "".join(reader.parts)


def _without_comments(source: str) -> str:
    """Cut out each comment; one that never ends takes the rest along, as in a browser."""
    parts, position = [], 0
    while (start := source.find("<!--", position)) >= 0:
        parts.append(source[position:start])
        end = source.find("-->", start)
        if end < 0:
            return "".join(parts)
        position = end + 3
    return "".join([*parts, source[position:]])


def _tidy(text: str) -> str:
    """Remove control characters, trailing spaces, runs of spaces and more than one empty line."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = "".join(char for char in text if char in "\n\t" or not is_control(char))
    lines = [re.sub(r"[^\S\n]+", " ", line).strip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Reader(HTMLParser):
    """Collects text between tags, with line breaks where blocks begin and end."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._dropping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropping.append(tag)
        elif not self._dropping:
            self._break(tag)
            if tag == "li":
                self.parts.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._dropping:
            while self._dropping.pop() != tag:
                pass
        elif not self._dropping and tag not in _BREAKS:
            self._break(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _DROPPED and not self._dropping:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self.parts.append(data)

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n\n")
        elif tag in _BREAKS:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")
