"""Texts to load a server with: as long as real ones, of invented words, each with its number.

Lengths are drawn from `lengths.json`, which `python -m loadtests.lengths` derives from data sets;
words come from the grammar of the benchmarks. What a text says does not matter to its cost.
"""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import grammar

LENGTHS = Path(__file__).with_name("lengths.json")
NUMBER_WORDS = 2
"""Words of a text that are its number: `note 17`."""


class Lengths:
    """How many words headlines, sentences and articles have: values at equal steps of rank."""

    def __init__(self, words: dict[str, Sequence[int]]) -> None:
        """Take the quantiles of each kind, from the shortest to the longest."""
        self._words = words

    @classmethod
    def read(cls) -> "Lengths":
        """Return the committed ones."""
        return cls({kind: of["words"] for kind, of in json.loads(LENGTHS.read_text()).items()})

    def draw(self, kind: str, source: random.Random) -> int:
        """Return a number of words, distributed as in the data."""
        quantiles = self._words[kind]
        place = source.random() * (len(quantiles) - 1)
        below = int(place)
        low, high = quantiles[below], quantiles[below + 1]
        return round(low + (place - below) * (high - low))


def numbered_texts(kind: str, seed: int = 0) -> Iterator[str]:
    """Yield texts of a kind without end: as many words as real ones, the last two their number.

    Those of two seeds have other words.

    None has a mark that ends a sentence inside it, so that a document of them has as many
    sentences as it has texts.
    """
    source = random.Random(f"{kind} {seed}")
    lengths = Lengths.read()
    for number in itertools.count():
        length = max(1, lengths.draw(kind, source) - NUMBER_WORDS)
        yield " ".join([*itertools.islice(_words(source), length), "note", str(number)])


def _words(source: random.Random) -> Iterator[str]:
    while True:
        for word in grammar.sentence(source, tokens=30).split():
            if plain := word.rstrip(".,:"):
                yield plain
