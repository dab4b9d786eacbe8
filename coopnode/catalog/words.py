"""How text becomes words, the same way for listings and for what a buyer types.

Never knows an index or a query language: whatever is typed, only its letters and digits matter.
The thing to understand: a letter loses its case and its marks on both sides (Müller = MULLER = Mu\u0308ller),
and a code loses its separators (978-3-16 = 978316), so that both sides meet without guessing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MAX_QUERY_CHARS = 500
MAX_CHUNKS = 16
"""More words than anybody types to find an article; what follows them is ignored, so that cost is bounded."""

_MARKS = re.compile("[\u0300-\u036f]+")  # marks of Latin, Greek and Cyrillic; in other scripts marks are letters
_LETTERS = str.maketrans(
    {"æ": "ae", "ð": "d", "đ": "d", "ħ": "h", "ı": "i", "ł": "l", "ŋ": "n", "ø": "o", "œ": "oe", "ŧ": "t", "þ": "th"}
)  # letters that Unicode does not take apart, but people do
_IDEOGRAPHS = re.compile("([\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff])")
_NO_CODE = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_GTIN_LENGTHS = (8, 12, 13, 14)


def fold(text: str) -> str:
    """Take case, marks and compatibility forms off *text*; plain ASCII is left to the index, which lowers it.

    Han and kana are written without spaces, so each sign becomes a word of its own.
    """
    if text.isascii():
        return text
    plain = _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    if plain.isascii():
        return plain
    return _IDEOGRAPHS.sub(r" \1 ", unicodedata.normalize("NFC", plain.translate(_LETTERS)))


def code(text: str) -> str:
    """Reduce an article number to its letters and digits, in lower case; may be empty."""
    if text.isascii():
        return text.lower().encode().translate(None, _NO_CODE).decode()  # bytes drop letters quicker than str
    return "".join(filter(str.isalnum, fold(text)))


def gtin_code(gtin: str) -> str:
    """Reduce a GTIN so that its 12-, 13- and 14-digit forms, which differ by leading zeros, are one code."""
    return gtin.lstrip("0")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of the query without spaces: perhaps a code, perhaps one or several words."""

    text: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody typed: all of it as one code, and chunk by chunk."""

    codes: tuple[str, ...]
    chunks: tuple[Chunk, ...]


def read_query(text: str) -> Asked:
    """Take a query apart. Any string will do; nothing in it is syntax."""
    # Half a surrogate pair has no UTF-8 and would stop the index; "?" takes its place.
    clean = text.strip()[:MAX_QUERY_CHARS].encode("utf-8", "replace").decode()
    return Asked(_codes(clean), tuple(Chunk(fold(chunk), _codes(chunk)) for chunk in clean.split()[:MAX_CHUNKS]))


def _codes(text: str) -> tuple[str, ...]:
    one = code(text)
    if len(one) in _GTIN_LENGTHS and one.isascii() and one.isdigit():
        return tuple(dict.fromkeys(filter(None, (one, gtin_code(one)))))
    return (one,) if one else ()
