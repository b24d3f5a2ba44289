"""The predictions for sentences become one answer for each document they came from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentiment.predictions import Predictions

POSITIVE, NEGATIVE = "positive", "negative"

STRONGEST = 3
"""Sentences that are named as the strongest of their label, if there are so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the sentences of one document say together; each counts alike."""

    label: str
    """The label with the highest mean probability."""

    score: float
    """That mean, 0 to 1."""

    net: float | None
    """Mean probability of positive less that of negative, -1 to 1; `None` for a model that has
    not both of these labels."""

    probabilities: dict[str, float]
    """Mean over the sentences of every label's probability."""

    label_counts: dict[str, int]
    """How many sentences got each label; every label is present."""

    shares: dict[str, float]
    """The same, divided by the number of sentences."""

    most_positive: list[int] | None
    """Up to `STRONGEST` of the sentences labelled positive, strongest first, counted from 0 in the
    document; `None` for a model without that label."""

    most_negative: list[int] | None
    """The same of the label negative."""


def summaries(predictions: Predictions, sentence_counts: Sequence[int]) -> Iterator[Summary]:
    """Yield a summary for each document; to make thousands of them takes a while.

    Args:
        predictions: of the sentences of all documents, one document after the other.
        sentence_counts: how many of them each document has, 1 or more.
    """
    if not sentence_counts:
        return
    labels = predictions.labels
    counts = np.asarray(sentence_counts)
    starts = np.cumsum(counts) - counts
    document_of = np.repeat(np.arange(len(counts)), counts)
    probabilities = predictions.probabilities.astype(np.float64)
    means = np.add.reduceat(probabilities, starts, axis=0) / counts[:, None]
    best = predictions.probabilities.argmax(axis=1)
    label_counts = np.bincount(
        document_of * len(labels) + best, minlength=len(counts) * len(labels)
    ).reshape(len(counts), len(labels))
    net: list[float | None] = [None] * len(counts)
    if POSITIVE in labels and NEGATIVE in labels:
        net = (means[:, labels.index(POSITIVE)] - means[:, labels.index(NEGATIVE)]).tolist()
    strongest = {
        label: _strongest(probabilities[:, column], best == column, document_of, starts)
        for column, label in enumerate(labels)
        if label in (POSITIVE, NEGATIVE)
    }
    # Lists from here on: to take a number out of an array costs ten times as much.
    columns = zip(
        means.argmax(axis=1).tolist(),
        means.max(axis=1).tolist(),
        net,
        means.tolist(),
        label_counts.tolist(),
        (label_counts / counts[:, None]).tolist(),
        strict=True,
    )
    for index, (label, score, net_score, mean, label_count, share) in enumerate(columns):
        yield Summary(
            label=labels[label],
            score=score,
            net=net_score,
            probabilities=dict(zip(labels, mean, strict=True)),
            label_counts=dict(zip(labels, label_count, strict=True)),
            shares=dict(zip(labels, share, strict=True)),
            most_positive=strongest[POSITIVE][index] if POSITIVE in strongest else None,
            most_negative=strongest[NEGATIVE][index] if NEGATIVE in strongest else None,
        )


def _strongest(
    scores: npt.NDArray[np.float64],
    chosen: npt.NDArray[np.bool_],
    document_of: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
) -> list[list[int]]:
    """Return for each document the places in it of the `chosen` sentences with highest scores."""
    found: list[list[int]] = [[] for _ in starts]
    (candidates,) = chosen.nonzero()
    # A stable sort: of equal scores the earlier sentence comes first.
    ranked = candidates[np.argsort(-scores[candidates], kind="stable")]
    places = ranked - starts[document_of[ranked]]
    for document, place in zip(document_of[ranked].tolist(), places.tolist(), strict=True):
        if len(found[document]) < STRONGEST:
            found[document].append(place)
    return found
