"""Training, validation and test parts that do not leak into each other.

Financial news repeats itself: the same sentence with another quarter's numbers, a headline
re-syndicated with one word changed. Split at random, such twins land on both sides and the
test measures memory. Here texts that resemble each other form a cluster, and a cluster is
never divided.

Which part a cluster falls to is decided by a hash of its first text, not by a random
generator: the same in every run, and when rows are appended, unless a new row joins two
clusters. Each cluster is one draw, so templated headlines, most of which are easy, weigh in the
test part as they do in the data: a rule that trains on every cluster of mixed hashes is safer
against a leak between runs, but would leave only the odd texts to test on.
"""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sentiment.training.datasets import Example, comparison_key

NEAR_DUPLICATE_JACCARD = 0.8
"""Two texts with at least this share of their distinct words in common are one cluster.
On Financial PhraseBank that makes 115 clusters of two or more."""


class Part(StrEnum):
    """What a text is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Split:
    """Every example in exactly one part, in the order of the files."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    held_out: float
    """The share that was asked for, of each of validation and test."""

    def part(self, name: Part) -> tuple[Example, ...]:
        """Return the examples of one part."""
        parts: dict[Part, tuple[Example, ...]] = {
            Part.TRAIN: self.train,
            Part.VALIDATION: self.validation,
            Part.TEST: self.test,
        }
        return parts[name]


def split_examples(examples: Sequence[Example], *, held_out: float = 0.1) -> Split:
    """Divide `examples`; validation and test get about the share `held_out` each.

    A text known to two files, and whatever resembles it, is always trained on: the label
    in one file may have been made by a model that saw the other.
    """
    keys = [masked_key(example.text) for example in examples]
    clusters = cluster([frozenset(key.split()) for key in keys])
    sources: dict[int, set[str]] = defaultdict(set)
    for example, first in zip(examples, clusters, strict=True):
        sources[first] |= example.sources
    parts: dict[Part, list[Example]] = {part: [] for part in Part}
    for example, first in zip(examples, clusters, strict=True):
        known_twice = len(sources[first]) > 1
        part = Part.TRAIN if known_twice else part_of(keys[first], held_out=held_out)
        parts[part].append(example)
    return Split(
        train=tuple(parts[Part.TRAIN]),
        validation=tuple(parts[Part.VALIDATION]),
        test=tuple(parts[Part.TEST]),
        held_out=held_out,
    )


def fold_examples(
    examples: Sequence[Example], *, folds: int, held_out: float = 0.1, seen: Sequence[Example] = ()
) -> Iterator[Split]:
    """Yield `folds` splits; every cluster is in the test part of exactly one.

    Validation gets about `held_out` of what is not tested. What `split_examples` always trains
    on is tested by no fold, nor is what resembles an example of `seen`.
    """
    everything = [*examples, *seen]
    keys = [masked_key(example.text) for example in everything]
    clusters = cluster([frozenset(key.split()) for key in keys])
    sources: dict[int, set[str]] = defaultdict(set)
    for example, first in zip(everything, clusters, strict=True):
        sources[first] |= example.sources
    known = {first for first, names in sources.items() if len(names) > 1}
    known |= set(clusters[len(examples) :])
    for fold in range(folds):
        parts: dict[Part, list[Example]] = {part: [] for part in Part}
        for example, first in zip(examples, clusters, strict=False):
            if first in known:
                part = Part.TRAIN
            elif int(_position(keys[first], salt="fold") * folds) == fold:
                part = Part.TEST
            elif _position(keys[first], salt=f"validation {fold}") < held_out:
                part = Part.VALIDATION
            else:
                part = Part.TRAIN
            parts[part].append(example)
        yield Split(
            train=tuple(parts[Part.TRAIN]),
            validation=tuple(parts[Part.VALIDATION]),
            test=tuple(parts[Part.TEST]),
            held_out=held_out,
        )


def _position(key: str, *, salt: str) -> float:
    digest = hashlib.sha256(f"{salt}:{key}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def masked_key(text: str) -> str:
    """Return `text` as words without case or punctuation, every number as `0`."""
    return re.sub(r"\d+", "0", comparison_key(text))


def part_of(key: str, *, held_out: float) -> Part:
    """Return the part that the hash of `key` falls to."""
    digest = hashlib.sha256(key.encode()).digest()
    position = int.from_bytes(digest[:8]) / 2**64  # uniform in [0, 1)
    if position < held_out:
        return Part.TEST
    return Part.VALIDATION if position < 2 * held_out else Part.TRAIN


def cluster(word_sets: Sequence[frozenset[str]]) -> list[int]:
    """Return, for each word set, the index of its cluster's first member.

    Two sets belong together when their Jaccard similarity reaches `NEAR_DUPLICATE_JACCARD`,
    or when a chain of such pairs joins them.
    """
    parents = list(range(len(word_sets)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for left, right in _similar_pairs(word_sets):
        first, second = sorted((root(left), root(right)))
        parents[second] = first
    return [root(index) for index in range(len(word_sets))]


def _similar_pairs(word_sets: Sequence[frozenset[str]]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of similar sets, with some repeats of equal sets left out.

    Prefix filtering (Bayardo, Ma, Srikant, WWW 2007): with words ordered from rare to
    common, two sets of similarity t share a word among the first
    `len - ceil(t * len) + 1` of each. Only sets that meet there are compared, which for
    26,000 headlines is half a million comparisons instead of 340 million.
    """
    frequency = Counter(word for words in word_sets for word in words)
    seen: dict[Hashable, int] = {}
    index: dict[str, list[int]] = defaultdict(list)
    for position in sorted(range(len(word_sets)), key=lambda i: len(word_sets[i])):
        words = word_sets[position]
        if (twin := seen.setdefault(words, position)) != position:
            yield twin, position
            continue
        # Less a rounding error, which would cost a needed word of the prefix.
        least_shared = math.ceil(NEAR_DUPLICATE_JACCARD * len(words) - 1e-9)
        rare_first = sorted(words, key=lambda word: (frequency[word], word))
        candidates: set[int] = set()
        for word in rare_first[: len(words) - least_shared + 1]:
            candidates.update(index[word])
            index[word].append(position)
        for candidate in candidates:
            shared = len(words & word_sets[candidate])
            union = len(words) + len(word_sets[candidate]) - shared
            if shared >= NEAR_DUPLICATE_JACCARD * union:
                yield candidate, position
