"""Texts to measure with: financial sentences by a grammar of our own, or those of a file.

The invented ones are as long, in tokens, as those of Financial PhraseBank: mean about 30, a
twentieth over 57. What a text says does not matter to its cost, only its length does.
"""

import itertools
import random
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import grammar
from benchmarks.measurement import BenchmarkError

LENGTH_SHAPE, LENGTH_SCALE = 5.0, 5.9
"""Of the gamma distribution that lengths are drawn from: mean 29.5, deviation 13.2.
Sentences come out a token longer."""

SHORTEST, LONGEST = 5, 104
"""Tokens, special ones included, between which lengths are drawn."""

LABEL = re.compile(r"@(positive|negative|neutral)$")
"""What PhraseBank puts behind each sentence."""

WORDS_AND_MARKS = re.compile(r"\w+|[^\w\s]")


def financial_texts(count: int, seed: int = 0) -> list[str]:
    """Return `count` invented financial sentences, no two alike; the same for the same seed.

    A shorter list is the beginning of a longer one.
    """
    return list(itertools.islice(_invented(seed), count))


def read_texts(path: Path) -> list[str]:
    """Return the different texts of a file: one a line, or PhraseBank's `sentence@label`.

    Raises:
        BenchmarkError: the file cannot be read or holds no text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BenchmarkError(f"{path}: {error.strerror}") from error
    try:
        content = raw.decode()
    except UnicodeDecodeError:
        content = raw.decode("latin-1")  # as PhraseBank is published
    lines = (LABEL.sub("", line.strip()).strip() for line in content.splitlines())
    texts = list({spelling(line): line for line in lines if line}.values())
    if not texts:
        raise BenchmarkError(f"{path}: no text in it")
    return texts


def load_texts(path: Path | None, count: int) -> list[str]:
    """Return `count` different texts: those of the file, if one is named, else invented ones."""
    if path is None:
        return financial_texts(count)
    return list(itertools.islice(unique_texts(read_texts(path)), count))


def unique_texts(texts: Sequence[str]) -> Iterator[str]:
    """Yield texts without end, no two of which a tokenizer could take for the same.

    First the given ones as they are, which keeps their lengths; then again and again with
    another number in words behind each, a few tokens more.
    """
    seen: set[str] = set()
    for turn in itertools.count():
        for text in texts:
            variant = f"{text} {number_words(turn)}" if turn else text
            form = spelling(variant)
            if form not in seen:
                seen.add(form)
                yield variant


def spelling(text: str) -> str:
    """Return what BERT's tokenizer sees: words and marks, without case, accents and spaces."""
    plain = "".join(
        mark for mark in unicodedata.normalize("NFD", text) if unicodedata.category(mark) != "Mn"
    )
    return " ".join(WORDS_AND_MARKS.findall(plain.lower()))


def number_words(number: int) -> str:
    """Return a number from 1 in words, digit by digit: `seven`, `one two`."""
    return " ".join(grammar.DIGITS[int(digit)] for digit in str(number))


def _invented(seed: int) -> Iterator[str]:
    source = random.Random(seed)
    seen: set[str] = set()
    while True:
        length = source.gammavariate(LENGTH_SHAPE, LENGTH_SCALE)
        text = grammar.sentence(source, tokens=min(max(length, SHORTEST), LONGEST))
        form = spelling(text)
        if form not in seen:
            seen.add(form)
            yield text
