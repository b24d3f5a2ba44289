"""Every figure of one set of texts: how right a model is, and how well it knows that.

Knows labelled texts and probabilities; not where either comes from.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, chi2

from sentiment.predictions import LABELS
from sentiment.training.examples import Example
from sentiment.training.intervals import (
    calibration_interval,
    counted_figures,
    counted_intervals,
    error_when_calibrated,
)
from sentiment.training.splits import cluster, similarity_words

BINS = 15
"""Of the top probability, equally wide, as Guo et al. have them. Of three labels the top one has
more than a third, so the first five stay empty."""

AGREEMENTS = (100, 75, 66, 50)
"""At least so many percent of Financial PhraseBank's annotators: each level holds the one
before it."""

WORD_RANGES = ((1, 10), (11, 20), (21, 30), (31, None))
"""Lengths in words between white space, which every model counts alike; tokens they do not."""

EXACT_BELOW = 25
"""Texts that one of two models alone gets right: below, the chi-square distribution is too
coarse."""

LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
"""What a probability of 0 counts as in the log loss, as scikit-learn does for float32."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


def measure(examples: Sequence[Example], probabilities: npt.ArrayLike) -> dict[str, Any]:
    """Return every figure of one set of texts, ready for JSON, mostly rounded to 4 digits.

    The order of the texts makes no difference to the last digit.

    Args:
        examples: one at least. Where a target is a teacher's probabilities, "right" means that
            the most probable label is the teacher's.
        probabilities: `[texts, labels]`, rows as in `examples`, columns as in `LABELS`.

    Returns:
        `accuracy`, `macro_f1` (see `counted_figures`), `weighted_f1` (by texts per label),
        `labels` (precision, recall, F1 and texts of each), `confusion`.

        `brier`: mean over texts of the squared distance between probabilities and target, summed
        over labels: 0 to 2 (Brier 1950, "Verification of forecasts expressed in terms of
        probability"). `log_loss`: mean cross-entropy to the target, in nats; against a teacher
        its least value is the entropy of the teacher's own probabilities, not 0.
        `mean_absolute_error`: of a probability.

        `ece`: expected calibration error, the mean distance between confidence (top probability)
        and accuracy over `BINS` bins, weighted by their texts (Guo et al. 2017, "On calibration
        of modern neural networks", equation 3); `reliability`: its bins, the empty ones left
        out; `ece_when_calibrated`: what a faultless model would show on as many texts.

        `unrounded`: the figures that thresholds are held against.

        `intervals`: low and high of 95 %, by 2,000 bootstrap resamples of clusters, each of them
        texts that resemble each other; see `intervals.py`.

        `by_agreement` (where it is known) and `by_words`: texts, accuracy and macro-F1 of
        groups; keys are the least agreement in percent, and ranges of words.
    """
    given = np.asarray(probabilities, dtype=np.float64)
    every_target = np.array([example.target for example in examples], dtype=np.float64)
    # Sums of the same numbers in another order differ in their last bits.
    order = np.lexsort((*given.T, *every_target.T))
    examples, given, targets = [examples[i] for i in order], given[order], every_target[order]
    expected, predicted = targets.argmax(axis=1), given.argmax(axis=1)
    agreements = np.array([example.agreement or 0 for example in examples])
    words = np.array([len(example.text.split()) for example in examples])
    clusters = np.array(cluster([similarity_words(example.text) for example in examples]))
    confusions = _confusions(expected, predicted, clusters)
    confusion = confusions.sum(axis=0)
    right, texts = confusion.diagonal(), confusion.sum(axis=1)
    points, intervals = counted_figures(confusion), counted_intervals(confusions)
    calibration = _calibration(given, predicted == expected, clusters)
    log_loss = -(targets * np.log(np.maximum(given, LEAST_PROBABILITY))).sum(axis=1).mean()
    unrounded = {
        **{name: float(points[name]) for name in ("accuracy", "macro_f1", "weighted_f1")},
        "brier": float(((given - targets) ** 2).sum(axis=1).mean()),
        "log_loss": float(log_loss),
        "ece": calibration["unrounded"],
    }
    return {
        "texts": len(examples),
        **{name: rounded(figure) for name, figure in unrounded.items()},
        "unrounded": unrounded,
        "mean_absolute_error": rounded(np.abs(given - targets).mean()),
        "ece_when_calibrated": calibration["ece_when_calibrated"],
        "intervals": {
            **{name: rounded(intervals[name]) for name in ("accuracy", "macro_f1", "weighted_f1")},
            "ece": calibration["interval"],
        },
        "labels": {
            label: {
                "precision": rounded(right[index] / max(confusion[:, index].sum(), 1)),
                "recall": rounded(right[index] / max(texts[index], 1)),
                "f1": rounded(points["f1"][index]),
                "f1_interval": rounded(intervals["f1"][index]),
                "texts": int(texts[index]),
            }
            for index, label in enumerate(LABELS)
        },
        "confusion": {
            "rows": "expected",
            "columns": list(LABELS),
            "counts": confusion.tolist(),
        },
        "reliability": calibration["bins"],
        "by_agreement": _groups(
            {str(least): agreements >= least for least in AGREEMENTS},
            expected,
            predicted,
            clusters,
        ),
        "by_words": _groups(
            {
                f"{low} to {high}" if high else f"{low} or more": (words >= low)
                & (words <= (high or np.inf))
                for low, high in WORD_RANGES
            },
            expected,
            predicted,
            clusters,
        ),
    }


def mcnemar(first_right: npt.ArrayLike, second_right: npt.ArrayLike) -> dict[str, Any]:
    """Test whether two models are equally often right on the same texts.

    Only the texts tell that one of them alone gets right (McNemar 1947, "Note on the sampling
    error of the difference between correlated proportions"; for classifiers: Dietterich 1998).
    If the models were equal, each such text would fall to either like a coin: a two-sided
    binomial test where they are fewer than `EXACT_BELOW`, else chi-square with Edwards'
    continuity correction (1948), (|b - c| - 1)^2 / (b + c).

    Args:
        first_right: whether the first model is right, `bool [texts]`.
        second_right: the same of the second, in the same order.
    """
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    apart = only_first + only_second
    exact = apart < EXACT_BELOW
    if apart == 0:
        p_value = 1.0
    elif exact:
        p_value = binomtest(only_first, apart, 0.5).pvalue
    else:
        # The correction may not turn a difference of 0 into one of 1.
        corrected = max(abs(only_first - only_second) - 1, 0) ** 2 / apart
        p_value = chi2.sf(corrected, df=1)
    return {
        "only_first_right": only_first,
        "only_second_right": only_second,
        "test": "exact binomial" if exact else "chi-square with continuity correction",
        "p_value": float(f"{p_value:.4g}"),
    }


def rounded(value: Any) -> Any:
    """Return a number, or nested lists of them, with 4 digits after the point."""
    return np.round(np.asarray(value, dtype=np.float64), 4).tolist()


def _confusions(expected: Counts, predicted: Counts, clusters: Counts) -> Counts:
    """Return the confusion matrix of each cluster, `[clusters, expected, predicted]`."""
    numbers = np.unique(clusters, return_inverse=True)[1]
    counts = np.zeros((int(numbers.max()) + 1, len(LABELS), len(LABELS)), dtype=np.int64)
    np.add.at(counts, (numbers, expected, predicted), 1)
    return counts


def _calibration(probabilities: Floats, right: Bools, clusters: Counts) -> dict[str, Any]:
    confidences = probabilities.max(axis=1)
    # Bins are open below and closed above: (0, 1/15], (1/15, 2/15], ...
    bins = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)
    numbers = np.unique(clusters, return_inverse=True)[1]
    texts = np.bincount(bins, minlength=BINS)
    sums = np.bincount(bins, weights=confidences, minlength=BINS)
    rights = np.bincount(bins, weights=right, minlength=BINS)
    return {
        "unrounded": float(np.abs(sums - rights).sum() / len(right)),
        "ece_when_calibrated": rounded(error_when_calibrated(bins, confidences)),
        "interval": rounded(calibration_interval(bins, confidences - right, numbers)),
        "bins": [
            {
                "from": rounded(index / BINS),
                "to": rounded((index + 1) / BINS),
                "texts": int(texts[index]),
                "confidence": rounded(sums[index] / texts[index]),
                "accuracy": rounded(rights[index] / texts[index]),
            }
            for index in np.flatnonzero(texts)
        ],
    }


def _groups(
    members: dict[str, Bools], expected: Counts, predicted: Counts, clusters: Counts
) -> dict[str, Any]:
    """Return a few figures of each group, the empty ones left out."""
    groups = {}
    for name, chosen in members.items():
        if not chosen.any():
            continue
        confusions = _confusions(expected[chosen], predicted[chosen], clusters[chosen])
        points, intervals = counted_figures(confusions.sum(axis=0)), counted_intervals(confusions)
        figures = ("accuracy", "macro_f1")
        groups[name] = {
            "texts": int(chosen.sum()),
            **{figure: rounded(points[figure]) for figure in figures},
            "intervals": {figure: rounded(intervals[figure]) for figure in figures},
        }
    return groups
