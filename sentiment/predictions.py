"""Logits become predictions: labels, scores, and how a request's texts fared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

LABELS = ("positive", "negative", "neutral")
"""ProsusAI/finbert's order, and that of every model trained here. A loaded model's own
order comes from its `id2label` and need not be this one."""

Logits = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]


def softmax(logits: Logits, temperature: float = 1.0) -> Probabilities:
    """Turn logits `float32 [texts, labels]` into probabilities of the same shape.

    Above 1 the temperature makes them less certain, below 1 more; the order of a text's labels
    stays (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2).
    """
    below_the_best = logits - logits.max(axis=-1, keepdims=True)
    if temperature != 1.0:
        below_the_best = below_the_best / np.float32(temperature)
    exponentials = np.exp(below_the_best)
    probabilities: Probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: Logits) -> Probabilities:
    """Turn each logit into a probability of its own; those of a text do not sum to one."""
    probabilities: Probabilities = np.exp(-np.logaddexp(np.float32(0), -logits))
    return probabilities


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one text."""

    label: str
    """The most probable label."""

    score: float
    """Its probability, 0 to 1."""

    probabilities: dict[str, float]
    """Every label with its probability, most probable first."""

    truncated: bool
    """The text had more tokens than the model reads; the rest did not count."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a request's time went, in seconds."""

    tokenize_s: float
    queue_s: float
    """From the end of tokenisation to the start of the request's first batch."""
    infer_s: float
    """From the start of its first batch to the end of its last."""


class Predictions(Sequence[Prediction]):
    """The predictions for one request, in the order of its texts.

    Kept as arrays until somebody asks for an item: a request of 4,096 texts makes no
    4,096 objects on its way to JSON.
    """

    def __init__(
        self,
        labels: Sequence[str],
        logits: Logits,
        *,
        temperature: float,
        truncated: npt.NDArray[np.bool_],
        timing: Timing,
    ) -> None:
        """Hold what the model gave for each text.

        Args:
            labels: in the order of the columns of `logits`.
            logits: `float32 [texts, labels]`, not yet divided by `temperature`.
            temperature: of `softmax`, which makes the probabilities `[texts, labels]` of them.
            truncated: `bool [texts]`.
            timing: of the request.
        """
        self.labels = tuple(labels)
        self.logits = logits
        self.probabilities = softmax(logits, temperature)
        self.truncated = truncated
        self.timing = timing

    def __len__(self) -> int:
        return len(self.probabilities)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Prediction]: ...
    def __getitem__(self, index: int | slice) -> Prediction | Sequence[Prediction]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        ranked = self.ranked(index, len(self.labels))
        label, score = ranked[0]
        return Prediction(label, score, dict(ranked), bool(self.truncated[index]))

    def ranked(
        self, index: int, top_k: int, *, scores: npt.NDArray[np.float32] | None = None
    ) -> list[tuple[str, float]]:
        """Return the `top_k` best `(label, score)` pairs of one text, best first.

        The scores are the probabilities, or those given, `float32 [texts, labels]`.
        """
        row = (self.probabilities if scores is None else scores)[index]
        # A stable sort of the negated row: equal scores keep the model's label order.
        order = np.argsort(-row, kind="stable")[:top_k]
        return [(self.labels[i], float(row[i])) for i in order]

    def top(self) -> Iterator[tuple[str, float]]:
        """Yield the best `(label, score)` of every text."""
        best = self.probabilities.argmax(axis=1)
        scores = self.probabilities[np.arange(len(best)), best]
        for index, score in zip(best.tolist(), scores.tolist(), strict=True):
            yield self.labels[index], score

    def label_counts(self) -> dict[str, int]:
        """Return how many texts got each label; every label is present."""
        best = self.probabilities.argmax(axis=1)
        counts = np.bincount(best, minlength=len(self.labels))
        return dict(zip(self.labels, counts.tolist(), strict=True))

    @property
    def truncated_count(self) -> int:
        """How many texts were longer than the model reads."""
        return int(self.truncated.sum())
