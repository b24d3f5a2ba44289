"""One number that makes a model's scores mean what they say.

A network trained to be right is mostly too sure of itself. Divided by a temperature that fits
held-out texts, its logits give probabilities that come true as often as they claim, and no label
changes: Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks".
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from sentiment.errors import DataError, ModelError
from sentiment.models import TEMPERATURES
from sentiment.predictions import Logits

GRID_POINTS = 61
"""At which the minimum is looked for first; a tenth apart in log T."""


def fit_temperature(logits: Logits, targets: npt.ArrayLike) -> float:
    """Return the temperature at which `logits` explain `targets` best.

    It minimises the negative log likelihood, summed over the texts, plus a weak prior, a normal
    distribution of log T around 0 with a standard deviation of 1. The prior weighs less than a
    handful of texts: hundreds hardly notice it, and a model that is right on all of twenty
    is not taken for one that can never be wrong. The likelihood is never worse than at 1.

    Args:
        logits: `float32 [texts, labels]`, of texts that were not trained on.
        targets: `float [texts, labels]`, a probability for each label.

    Returns:
        A temperature within `TEMPERATURES`.

    Raises:
        DataError: there is no text.
        ModelError: a logit is not a finite number.
    """
    # Of the largest of a row nothing changes; without it no exponential overflows.
    below_the_best = np.asarray(logits, dtype=np.float64)
    if not len(below_the_best):
        raise DataError("no validation text to fit the temperature on")
    if not np.isfinite(below_the_best).all():
        raise ModelError("a logit is not a finite number: no temperature fits")
    below_the_best = below_the_best - below_the_best.max(axis=1, keepdims=True)
    # log p_k = z_k / T - log sum_j exp(z_j / T), and the targets sum to 1.
    expected = (np.asarray(targets, dtype=np.float64) * below_the_best).sum(axis=1)

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        log_sums = np.log(np.exp(below_the_best / temperature).sum(axis=1))
        return float((log_sums - expected / temperature).sum() + log_temperature**2 / 2)

    # The prior may leave more than one valley: the grid finds the deepest.
    least, greatest = np.log(TEMPERATURES)
    grid = np.linspace(least, greatest, GRID_POINTS)
    deepest = int(np.argmin([loss(point) for point in grid]))
    bounds = grid[max(0, deepest - 1)], grid[min(len(grid) - 1, deepest + 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.clip(np.exp(found.x), *TEMPERATURES))
