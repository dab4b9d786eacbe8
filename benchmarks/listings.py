"""Generated listings: the same for the same seed, about 300 bytes each, with the words of a large shop.

Words follow a Zipf-like law over a vocabulary, as in real catalogues; codes and prices are random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate

from protocol import records

VOCABULARY = 6_000
CONSONANTS = "bdfgklmnprstvwz"
VOWELS = "aeiou"
SYLLABLES = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]


class Generator:
    """Makes listing number 0, 1, 2, ..."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        words = ["".join(self._random.choices(SYLLABLES, k=self._random.randint(2, 4))) for _ in range(VOCABULARY)]
        self._words = words
        self._weights = list(accumulate(1 / (rank + 10) for rank in range(VOCABULARY)))
        self._brands = [word.capitalize() for word in self._random.sample(words, 200)]
        self._categories = [[word.capitalize() for word in self._random.sample(words, 2)] for _ in range(120)]

    def words(self, number: int) -> str:
        """Return some words."""
        return " ".join(self._random.choices(self._words, cum_weights=self._weights, k=number))

    def listing(self, number: int) -> tuple[bytes, bytes]:
        """Return (key, encoded value) of one listing."""
        chance = self._random
        key = records.listing_key(f"A{number:08d}")
        gtin = f"2{chance.randrange(10**11):011d}"
        total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(gtin)))
        value = {
            "title": self.words(5).capitalize(),
            "text": self.words(20),
            "brand": chance.choice(self._brands),
            "category": chance.choice(self._categories),
            "gtin": gtin + str((10 - total % 10) % 10),
            "price_minor": chance.randrange(50, 50_000),
            "currency": "EUR",
            "tax_bp": chance.choice((700, 1900)),
            "unit": "C62",
        }
        return key, records.write(records.LISTING, key, value)

    def listings(self, count: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the first *count* listings."""
        for number in range(count):
            yield self.listing(number)
