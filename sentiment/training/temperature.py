"""One number that makes a model's scores mean what they say.

A network trained to be right is mostly too sure of itself. Divided by a temperature that fits
held-out texts, its logits give probabilities that come true as often as they claim, and no label
changes: Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks".
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from sentiment.errors import DataError, ModelError
from sentiment.models import TEMPERATURES
from sentiment.predictions import Logits
from sentiment.training.datasets import Example
from sentiment.training.splits import Split

GRID_POINTS = 61
"""At which the minimum is looked for first; a tenth apart in log T."""


def calibration_examples(split: Split) -> Sequence[Example]:
    """Return what a temperature is fitted on: the annotated validation texts, if there are any.

    A teacher's probabilities say how sure the teacher is, not how often anybody is right.
    """
    annotated = [example for example in split.validation if not example.soft]
    return annotated or split.validation


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
    if not len(logits):
        raise DataError("no validation text to fit the temperature on")
    if not np.isfinite(logits).all():
        raise ModelError("a logit is not a finite number: no temperature fits")

    def loss(log_temperature: float) -> float:
        likelihood = log_loss(logits, targets, np.exp(log_temperature))
        return len(logits) * likelihood + log_temperature**2 / 2

    # The prior may leave more than one valley: the grid finds the deepest.
    least, greatest = np.log(TEMPERATURES)
    grid = np.linspace(least, greatest, GRID_POINTS)
    deepest = int(np.argmin([loss(point) for point in grid]))
    bounds = grid[max(0, deepest - 1)], grid[min(len(grid) - 1, deepest + 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.clip(np.exp(found.x), *TEMPERATURES))


def log_loss(logits: Logits, targets: npt.ArrayLike, temperature: float = 1.0) -> float:
    """Return the mean negative log likelihood of `targets`, in nats; shapes as above.

    It is taken of logits: a probability of less than 1e-38 would have none.
    """
    # log p_k = z_k - log sum_j exp(z_j), and the targets of a text sum to 1.
    z = np.asarray(logits, dtype=np.float64) / temperature
    z -= z.max(axis=1, keepdims=True)
    expected = (np.asarray(targets, dtype=np.float64) * z).sum(axis=1)
    return float((np.log(np.exp(z).sum(axis=1)) - expected).mean())
