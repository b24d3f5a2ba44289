"""Figures of one set of texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score

from sentiment.predictions import LABELS, Logits
from sentiment.training.datasets import Example


def measure(examples: Sequence[Example], probabilities: Logits) -> dict[str, Any]:
    """Return accuracy and macro-F1 of `probabilities` `[examples, labels]`."""
    expected = np.array([example.label for example in examples])
    predicted = probabilities.argmax(axis=1)
    f1 = f1_score(expected, predicted, labels=range(len(LABELS)), average="macro", zero_division=0)
    return {
        "texts": len(examples),
        "accuracy": float(accuracy_score(expected, predicted)),
        "macro_f1": float(f1),
    }
