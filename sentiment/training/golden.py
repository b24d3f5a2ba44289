"""Sentences of which nobody doubts the label: a model that fails on them is not served.

Accuracy on held-out texts cannot tell whether the labels mean what they say, because data with
swapped labels swaps them in training and test alike. These sentences were written for this
purpose; none is of a public data set.
"""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np

from sentiment.errors import DataError, ModelError
from sentiment.predictions import LABELS, Probabilities
from sentiment.training.datasets import Example, comparison_key, read_examples

GOLDEN_FILE = Path(__file__).with_name("golden.csv")
"""A dozen sentences of each label, in the words of reports, exchange releases and headlines."""

CLEAR_MAJORITY = 2 / 3
"""Of a label's sentences, which must be right. Guessing gets a third: eight or more of twelve
happen by chance once in fifty, and with all three labels once in a hundred thousand."""


def read_golden(path: Path | None, *, trained_on: Sequence[Example]) -> tuple[Example, ...]:
    """Read golden sentences, without those that the model was trained on.

    Args:
        path: CSV with `text` and `label`; without it the bundled sentences, which are English.

    Raises:
        DataError: the file cannot be read, or leaves a label without a sentence.
    """
    path = path or GOLDEN_FILE
    known = {comparison_key(example.text) for example in trained_on}
    examples = tuple(
        example
        for example in read_examples([path]).examples
        if comparison_key(example.text) not in known
    )
    for index, label in enumerate(LABELS):
        if not any(example.label == index for example in examples):
            raise DataError(f"{path}: no {label} sentence in it that was not trained on")
    return examples


def check_golden(examples: Sequence[Example], probabilities: Probabilities) -> dict[str, str]:
    """Return how many sentences of each label are right, such as `12 of 12`.

    Args:
        probabilities: `[texts, labels]`, rows as in `examples`, columns as in `LABELS`.

    Raises:
        ModelError: under other names for its labels the model would be right more often, or
            it is right on less than a clear majority of the sentences of a label.
    """
    if not np.isfinite(probabilities).all():
        raise ModelError("the model's answers are not finite numbers")
    counts = np.zeros((len(LABELS), len(LABELS)), dtype=int)  # [expected, predicted]
    for example, predicted in zip(examples, probabilities.argmax(axis=1), strict=True):
        counts[example.label, predicted] += 1
    order = list(range(len(LABELS)))

    def right(names: Sequence[int]) -> int:
        """Return how many are right if predicted label i is called `names[i]`."""
        return sum(int(counts[name, label]) for label, name in enumerate(names))

    best = max(permutations(order), key=right)
    if right(best) > right(order):
        swaps = ", ".join(
            f"{LABELS[label]} for {LABELS[name]}"
            for label, name in enumerate(best)
            if label != name
        )
        raise ModelError(
            f"of {len(examples)} golden sentences {right(order)} are right, and {right(best)} "
            f"would be if its labels were not swapped: it says {swaps}; check the labels of the "
            "data and the order of id2label"
        )
    for label, row in zip(LABELS, counts, strict=True):
        if row[LABELS.index(label)] < CLEAR_MAJORITY * row.sum():
            raise ModelError(
                f"of {row.sum()} golden sentences that are {label} only "
                f"{row[LABELS.index(label)]} are right, and two thirds must be; for texts of "
                "another domain or language give golden sentences of your own"
            )
    return {
        label: f"{row[index]} of {row.sum()}"
        for index, (label, row) in enumerate(zip(LABELS, counts, strict=True))
    }
