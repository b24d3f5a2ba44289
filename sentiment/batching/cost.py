"""What a batch costs, learned from the batches that ran. Numbers in, numbers out: no clock."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

CLASSES = 18
"""Batches are told apart by the power of two of their tokens: 1, 2-3, 4-7, ... 131,072 and more."""

FORGETTING = 0.8
"""What the past keeps of its weight when a batch of the same class is seen: the last ten decide
nine tenths. Less would follow every hiccup of a shared machine, more would notice a slower clock
too late."""

STALE_WEIGHT = 0.01
"""Of a class that was not seen for long: enough to hold the line where nothing newer says
otherwise, too little to hold it against what is seen now."""

SCALE = np.array([1.0, 1e-3, 1e-6])
"""Brings the three features near 1, for the sake of the solver."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """`seconds = batch + token * tokens + pair * tokens * width`, none of them negative."""

    batch_s: float
    """Of every batch, however small."""
    token_s: float
    """Of every token: the linear layers."""
    pair_s: float
    """Of every token and column of its row: attention."""


class CostModel:
    """Predicts how long a batch takes, by least squares over what batches of each size took.

    Each class of sizes remembers a moving mean, and the line is fitted through those means, the
    newest with the most weight: an hour of single headlines does not forget what a full batch
    costs. Errors count relative to the time, so that neither small nor large batches are
    predicted at the others' expense, and one batch that a busy machine held up weighs little.
    """

    def __init__(self) -> None:
        self._features = np.zeros((CLASSES, 3))  # means of (1, tokens, tokens * width)
        self._seconds = np.zeros(CLASSES)
        self._seen = np.zeros(CLASSES, dtype=int)
        self._weights = np.zeros(CLASSES)
        self._width = 0.0  # mean, of a token
        self.coefficients: Coefficients | None = None
        """`None` until a batch was seen."""

    def observe(self, *, tokens: int, width: int, seconds: float) -> None:
        """Learn from one batch of `tokens` computed tokens in rows of `width`."""
        index = min(tokens.bit_length() - 1, CLASSES - 1)
        features = np.array([1.0, tokens, tokens * width]) * SCALE
        # The first pass of a size allocates memory and wakes threads: the second replaces it.
        fresh = 1 - FORGETTING if self._seen[index] > 1 else 1.0
        self._seen[index] += 1
        self._features[index] += fresh * (features - self._features[index])
        self._seconds[index] += fresh * (seconds - self._seconds[index])
        share = fresh * min(1.0, tokens / 1024)  # a single headline says little of a full batch
        self._width += (share if self._width else 1.0) * (width - self._width)
        self._weights = np.maximum(self._weights * FORGETTING, STALE_WEIGHT)
        self._weights[index] = 1.0
        seen = self._seen > 0
        solution = _fit(self._features[seen], self._seconds[seen], self._weights[seen]) * SCALE
        self.coefficients = Coefficients(*solution.tolist())

    def batch_s(self, *, tokens: int, width: int) -> float:
        """Return the predicted seconds of one batch; 0 before the first was seen."""
        if (c := self.coefficients) is None:
            return 0.0
        return c.batch_s + tokens * (c.token_s + width * c.pair_s)

    def backlog_s(self, tokens: float, *, token_budget: int) -> float:
        """Return the predicted seconds of `tokens` that come in batches of the usual width."""
        if (c := self.coefficients) is None or tokens <= 0:
            return 0.0
        return math.ceil(tokens / token_budget) * c.batch_s + tokens * (
            c.token_s + self._width * c.pair_s
        )


def fit(*, tokens: Float64, widths: Float64, seconds: Float64) -> Coefficients:
    """Return the line through batches that were all measured alike; arrays `[batches]`."""
    features = np.stack([np.ones_like(tokens), tokens, tokens * widths], axis=1) * SCALE
    return Coefficients(*(_fit(features, seconds, np.ones_like(seconds)) * SCALE).tolist())


def _fit(features: Float64, seconds: Float64, weights: Float64) -> Float64:
    """Return the non-negative coefficients of the least relative squares, weighted.

    Where the best plane has a negative slope, its feature is left out: with three of them that
    is the active-set method (Lawson & Hanson 1974, chapter 23) but for ties.
    """
    roots = np.sqrt(weights)
    scaled = features * (roots / seconds)[:, None]
    used = np.ones(features.shape[1], dtype=bool)
    while True:
        solution = np.zeros(features.shape[1])
        solution[used] = np.linalg.lstsq(scaled[:, used], roots, rcond=None)[0]
        if (solution >= 0).all():
            return solution
        used[solution.argmin()] = False
