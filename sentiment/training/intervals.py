"""How far a figure could be off by the luck of which texts were drawn: bootstrap intervals.

Efron 1979, "Bootstrap methods: another look at the jackknife": draw as many texts again, with
replacement, compute the figure of each such set, and see how far it scatters. That says what
another sample of the *same kind* of text would change; it knows nothing of other kinds.

What is drawn is a cluster, all texts that resemble each other: a model is right on all of them or
on none, so drawn one by one they would feign more evidence than there is (Davison and Hinkley 1997,
"Bootstrap methods and their application", section 3.8). A figure that no resample changes has no
width; accuracy then gets Wilson's interval.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
SEED = 20140401
"""Fixed, so that a report can be made again to the last digit."""
COVERAGE = 0.95
QUANTILE = 1.959964
"""Of the normal distribution, beyond which either side has half of what is not covered."""

CALIBRATED_DRAWS = 500
CHUNK_DRAWS = 2_000_000
"""Draws made at once, over all resamples: 16 MB an array, whatever the number of texts."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def counted_figures(confusion: Floats | Counts) -> dict[str, Floats]:
    """Return accuracy, macro-F1, weighted F1 and every label's F1 of confusion matrices.

    Macro-F1 is the mean over the labels that occur among the expected or the predicted, as
    scikit-learn has it: a label that a set does not know is no failure.

    Args:
        confusion: `[..., labels, labels]`, rows expected, columns predicted.

    Returns:
        `accuracy`, `macro_f1`, `weighted_f1`: `[...]`; `f1`: `[..., labels]`, 0 where a label
        does not occur.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    expected, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    occurs = expected + predicted
    f1 = 2 * right / np.maximum(occurs, 1)
    texts = expected.sum(axis=-1)
    return {
        "accuracy": right.sum(axis=-1) / texts,
        "macro_f1": f1.sum(axis=-1) / (occurs > 0).sum(axis=-1),
        "weighted_f1": (f1 * expected).sum(axis=-1) / texts,
        "f1": f1,
    }


def counted_intervals(confusions: Counts) -> dict[str, Floats]:
    """Return the 95 % intervals of `counted_figures`, low and high last: `[..., 2]`.

    These figures know a cluster only by its confusion matrix, and few matrices differ, so drawing
    clusters is drawing from a multinomial distribution of the matrices: the same, and a hundred
    times faster.

    Args:
        confusions: of each cluster of similar texts, `[clusters, labels, labels]`.
    """
    clusters, *shape = confusions.shape
    kinds, counts = np.unique(confusions.reshape(clusters, -1), axis=0, return_counts=True)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(clusters, counts / clusters, size=RESAMPLES) @ kinds
    points = counted_figures(confusions.sum(axis=0))
    resampled = counted_figures(drawn.reshape(RESAMPLES, *shape))
    intervals = {name: interval(resampled[name], points[name]) for name in points}
    if np.ptp(resampled["accuracy"]) == 0:
        intervals["accuracy"] = wilson_interval(float(points["accuracy"]), clusters)
    return intervals


def wilson_interval(share: float, draws: int) -> Floats:
    """Return the 95 % interval of a share of independent draws, `[2]`; has width at 0 and 1 too.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    square = QUANTILE**2 / draws
    middle = share + square / 2
    margin = np.sqrt(square * share * (1 - share) + square**2 / 4)
    ends: Floats = np.clip(np.array([middle - margin, middle + margin]) / (1 + square), 0.0, 1.0)
    return ends


def calibration_interval(bins: Counts, gaps: Floats, clusters: Counts) -> Floats:
    """Return the 95 % interval of the expected calibration error, `[2]`.

    Args:
        bins: each text's bin of confidence, `[texts]`.
        gaps: each text's confidence less 1 where it is right, `[texts]`.
        clusters: each text's cluster, counted from 0, `[texts]`.
    """
    count, width = int(clusters.max()) + 1, int(bins.max()) + 1
    keys = clusters * width + bins
    sums = np.bincount(keys, weights=gaps, minlength=count * width).reshape(count, width)
    table = np.column_stack([sums, np.bincount(clusters)])
    table = table[np.lexsort(table.T)]  # the order of the texts makes no difference
    rng = np.random.default_rng(SEED)
    errors: list[Floats] = []
    for resamples in _chunks(RESAMPLES, count):
        drawn = rng.integers(count, size=(resamples, count))
        drawn += count * np.arange(resamples)[:, None]
        times = np.bincount(drawn.ravel(), minlength=resamples * count)
        resampled = times.reshape(resamples, count).astype(np.float64) @ table
        errors.append(np.abs(resampled[:, :-1]).sum(axis=1) / resampled[:, -1])
    point = np.abs(sums.sum(axis=0)).sum() / len(bins)
    return interval(np.concatenate(errors), point)


def error_when_calibrated(bins: Counts, confidences: Floats) -> float:
    """Return the calibration error that a model without fault would show on so few texts.

    The error adds up absolute values, so chance never cancels out of it. Each text is right
    with its own confidence (consistency resampling: Broecker and Smith 2007, "Increasing the
    reliability of reliability diagrams"); the mean error of such sets is the least that a
    measured error can be told apart from.
    """
    rng = np.random.default_rng(SEED)
    texts, width = len(bins), int(bins.max()) + 1
    errors: list[Floats] = []
    for count in _chunks(CALIBRATED_DRAWS, texts):
        right = rng.random((count, texts)) < confidences
        tiled = np.broadcast_to(bins, right.shape)
        errors.append(_binned_error(tiled, confidences - right, width=width))
    return float(np.concatenate(errors).mean())


def interval(resampled: Floats, point: Floats | float) -> Floats:
    """Return low and high of the middle 95 % of `resampled [resamples, ...]`: `[..., 2]`.

    Shifted so that the resamples' median lies on the point: resampling adds chance to chance,
    which raises a calibration error in every resample. Clipped to 0 and 1.
    """
    outside = (1 - COVERAGE) / 2
    low, middle, high = np.quantile(resampled, [outside, 0.5, 1 - outside], axis=0)
    shift = point - middle
    ends: Floats = np.clip(np.stack([low + shift, high + shift], axis=-1), 0.0, 1.0)
    return ends


def _binned_error(bins: Counts, gaps: Floats, *, width: int) -> Floats:
    """Return, for each row of texts, the sum of its bins' absolute mean gaps: `[rows]`."""
    rows, texts = bins.shape
    keys = bins + width * np.arange(rows)[:, None]
    sums = np.bincount(keys.ravel(), weights=gaps.ravel(), minlength=rows * width)
    errors: Floats = np.abs(sums.reshape(rows, width)).sum(axis=1) / texts
    return errors


def _chunks(total: int, texts: int) -> Sequence[int]:
    size = max(1, CHUNK_DRAWS // texts)
    return [min(size, total - start) for start in range(0, total, size)]
