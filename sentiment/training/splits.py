"""Training, validation and test parts that do not leak into each other.

Financial news repeats itself: the same sentence with another quarter's numbers, a headline
re-syndicated with one word changed. Split at random, such twins land on both sides and the
test measures memory. Here texts that resemble each other form a cluster, and a cluster is
never divided.

Which part a cluster falls to is decided by a hash of its first text, not by a random
generator: the same in every run, and when rows are appended, unless a new row joins two
clusters. A text that the base, a teacher or a second file knows is no test of anything: it is
trained on, with all that resembles it. Each cluster is one draw, so templated headlines, most of
which are easy, weigh in the test part as they do in the data: a rule that trains on every
cluster of mixed hashes is safer against a leak between runs, but would leave only the odd
texts to test on.
"""

import hashlib
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from sentiment.errors import DataError
from sentiment.predictions import LABELS
from sentiment.training.datasets import Dataset, read_examples
from sentiment.training.examples import Example, comparison_key
from sentiment.training.readers import Columns

NEAR_DUPLICATE_JACCARD = 0.8
"""Two texts with at least this share of their distinct words in common are one cluster."""


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
    """The share that was asked for, of each of validation and test; of validation in a fold."""

    @property
    def sha256(self) -> str:
        """Digest of which texts are held out, and for what; their order makes no difference.

        Two models with one digest were kept from the same texts, so their figures compare.
        """
        lines = [
            f"{part}\t{comparison_key(example.text)}\n"
            for part in (Part.VALIDATION, Part.TEST)
            for example in self.part(part)
        ]
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()

    def part(self, name: Part) -> tuple[Example, ...]:
        """Return the examples of one part."""
        parts: dict[Part, tuple[Example, ...]] = {
            Part.TRAIN: self.train,
            Part.VALIDATION: self.validation,
            Part.TEST: self.test,
        }
        return parts[name]

    def check_trainable(self) -> None:
        """See that training on this split can give a classifier, and a figure of it.

        Raises:
            DataError: a part is empty, or all texts of the training part have one label.
        """
        if not (self.train and self.validation and self.test):
            raise DataError("too few texts: the training, validation or test part is empty")
        labels = {example.label for example in self.train}
        if len(labels) == 1:
            raise DataError(
                f"every text to train on is {LABELS[labels.pop()]}; a classifier needs texts of "
                "at least two labels"
            )


def read_split(
    paths: Sequence[Path],
    *,
    held_out: float = 0.1,
    columns: Columns | None = None,
    seen: Sequence[Path] = (),
) -> tuple[Dataset, Split]:
    """Read labelled files and divide their texts, as `read_examples` and `split_examples`.

    Args:
        seen: labelled files whose texts the base or a teacher knows; not trained on, unless they
            stand in `paths` too. Those that lack a named column are read by the usual names.

    Raises:
        DataError: as `read_examples`.
    """
    dataset = read_examples(paths, columns=columns)
    known = read_seen(seen, columns=columns)
    return dataset, split_examples(dataset.examples, held_out=held_out, seen=known)


def read_seen(paths: Sequence[Path], *, columns: Columns | None = None) -> tuple[Example, ...]:
    """Read what a base or a teacher has seen; without a named column by the usual names.

    Raises:
        DataError: as `read_examples`.
    """
    if not paths:
        return ()
    either = replace(columns or Columns(), or_usual=True)
    return read_examples(paths, columns=either).examples


def split_examples(
    examples: Sequence[Example], *, held_out: float = 0.1, seen: Sequence[Example] = ()
) -> Split:
    """Divide `examples`; validation and test get about the share `held_out` each.

    Always trained on, with whatever resembles it, is a text known to two files, since the label
    in one may have been made by a model that saw the other, and a text of `seen`, which the base
    or a teacher knows. `seen` itself is in no part.
    """
    return _divided(
        examples,
        [
            Part.TRAIN if key is None else part_of(key, held_out=held_out)
            for key in _drawn_keys(examples, seen)
        ],
        held_out=held_out,
    )


def fold_examples(
    examples: Sequence[Example],
    *,
    folds: int,
    held_out: float = 0.1,
    seen: Sequence[Example] = (),
) -> Iterator[Split]:
    """Yield `folds` splits; each text is tested in one of them, those never held out in none.

    A cluster's fold is decided by the same hash as its part: fold 1 of 10 tests what
    `split_examples` tests at 0.1. About `held_out` of each fold's rest is its validation part, by
    a second hash, so a text is for validation in all the folds that do not test it, or in none.

    Args:
        seen: as `split_examples`.
    """
    keys = _drawn_keys(examples, seen)
    tested_in = [None if key is None else int(_position(key) * folds) for key in keys]
    validates = [key is not None and _position(f"validation of {key}") < held_out for key in keys]
    for fold in range(folds):
        yield _divided(
            examples,
            [
                Part.TEST if tested == fold else Part.VALIDATION if chosen else Part.TRAIN
                for tested, chosen in zip(tested_in, validates, strict=True)
            ],
            held_out=held_out,
        )


def without_seen(examples: Sequence[Example], *, seen: Sequence[Example]) -> tuple[Example, ...]:
    """Return the `examples` that resemble none of `seen`: of a benchmark, what is new to a model.

    Near-duplicates within `examples` stay.
    """
    count = len(examples)
    words = [similarity_words(example.text) for example in (*examples, *seen)]
    firsts = cluster(words)
    known = set(firsts[count:])
    return tuple(
        example
        for example, first in zip(examples, firsts[:count], strict=True)
        if first not in known
    )


def masked_key(text: str) -> str:
    """Return `text` as words without case or punctuation, every number as `0`."""
    return re.sub(r"\d+", "0", comparison_key(text))


def similarity_words(text: str) -> frozenset[str]:
    """Return the distinct words of `masked_key`, with letters that copies damage as `_`.

    PhraseBank was published with Finnish letters as two characters of other code pages: Seppälä
    is `Sepp+ñl+ñ`, in other copies `Sepp+Æl+Æ` or `Sepp+_l+_`. Words that differ only there,
    or in having been repaired, are one.
    """
    decomposed = unicodedata.normalize("NFD", text)
    accents_gone = re.sub(r"[A-Za-z][\u0300-\u036f]+", "_", decomposed)
    undamaged = re.sub(r"[+-](?:[^\x00-\x7f]|_)|\ufffd", "_", accents_gone)
    return frozenset(masked_key(undamaged).split())


def part_of(key: str, *, held_out: float) -> Part:
    """Return the part that the hash of `key` falls to."""
    position = _position(key)
    if position < held_out:
        return Part.TEST
    return Part.VALIDATION if position < 2 * held_out else Part.TRAIN


def _position(key: str) -> float:
    """Return where `key` falls by its hash, uniform in [0, 1)."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _drawn_keys(examples: Sequence[Example], seen: Sequence[Example]) -> list[str | None]:
    """Return for each example the key whose hash decides its cluster's part.

    It is that of the cluster's first member; `None` for clusters that are always trained on.
    """
    together = (*examples, *seen)
    firsts = cluster([similarity_words(example.text) for example in together])
    sources: dict[int, set[str]] = defaultdict(set)
    for example, first in zip(examples, firsts, strict=False):
        sources[first] |= example.sources
    known = {first for first, names in sources.items() if len(names) > 1}
    known.update(firsts[len(examples) :])
    keys = {
        first: None if first in known else masked_key(together[first].text) for first in set(firsts)
    }
    return [keys[first] for first in firsts[: len(examples)]]


def _divided(examples: Sequence[Example], parts: Sequence[Part], *, held_out: float) -> Split:
    divided: dict[Part, list[Example]] = {part: [] for part in Part}
    for example, part in zip(examples, parts, strict=True):
        divided[part].append(example)
    return Split(
        train=tuple(divided[Part.TRAIN]),
        validation=tuple(divided[Part.VALIDATION]),
        test=tuple(divided[Part.TEST]),
        held_out=held_out,
    )


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
