"""What an answer is compared with: annotators' labels, a teacher's probabilities, or both.

Every target is a distribution over `LABELS`, so one loss trains on all of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sentiment.predictions import LABELS, Logits
from sentiment.training.examples import Example
from sentiment.training.recipe import Recipe

AGREED = {50: 0.6, 66: 0.72, 75: 0.87}
"""Level of PhraseBank -> share of the annotators who chose the label, about the level's middle."""


@dataclass(frozen=True, slots=True)
class SoftTargetLoss:
    """Divergence of the answer from the target, both at a temperature T, times T squared.

    Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network"; the factor
    keeps the gradient's size. At T = 1 its gradient is that of cross-entropy.
    """

    temperature: float
    label_weights: tuple[float, ...]
    """For each of `LABELS`, the weight of a text that certainly has it. Training only."""

    def __call__(
        self, logits: torch.Tensor, targets: torch.Tensor, *, texts: float, weighted: bool
    ) -> torch.Tensor:
        """Return the summed divergence of `logits` `[rows, labels]` over `texts`.

        Args:
            targets: `float32 [rows, labels]`, each row sums to 1.
            texts: of the whole step. With accumulation more than `rows`, and the gradient is
                that of one large batch.
            weighted: apply `label_weights`.
        """
        answer = (logits.float() / self.temperature).log_softmax(-1)
        # A certain label has infinite logits; 1e-6 is finer than any teacher's float32.
        target = (targets.clamp_min(1e-6).log() / self.temperature).log_softmax(-1)
        divergence = torch.nn.functional.kl_div(answer, target, log_target=True, reduction="none")
        of_texts = divergence.sum(-1)
        if weighted:
            of_texts = of_texts * (targets @ targets.new_tensor(self.label_weights))
        return of_texts.sum() / texts * self.temperature**2


def label_weights(examples: Sequence[Example], kind: str) -> tuple[float, ...]:
    """Return a weight for each of `LABELS`; their mean over `examples` is 1.

    Balanced weights are inverse frequencies (King and Zeng 2001, "Logistic regression in rare
    events data"), as in scikit-learn. A label that no text has weighs 1.
    """
    if kind == "none":
        return (1.0,) * len(LABELS)
    counts = Counter(example.label for example in examples)
    return tuple(
        len(examples) / (len(counts) * counts[index]) if counts[index] else 1.0
        for index in range(len(LABELS))
    )


def smoothed(examples: Sequence[Example], recipe: Recipe) -> tuple[Example, ...]:
    """Return the examples with annotators' labels as sure as `recipe` takes them to be.

    By `recipe.by_agreement` a label that not all annotators chose gets the share of those who
    did; else `recipe.label_smoothing` is spread over all labels. A teacher's target stays.
    """
    return tuple(
        example if example.soft else replace(example, target=_smoothed_target(example, recipe))
        for example in examples
    )


def _smoothed_target(example: Example, recipe: Recipe) -> tuple[float, ...]:
    spread = recipe.label_smoothing
    if recipe.by_agreement and example.agreement in AGREED:
        spread = (1 - AGREED[example.agreement]) * len(LABELS) / (len(LABELS) - 1)
    return tuple(share * (1 - spread) + spread / len(LABELS) for share in example.target)


def taught(
    examples: Sequence[Example], probabilities: Logits, recipe: Recipe
) -> tuple[Example, ...]:
    """Mix the teacher's `probabilities` `[examples, labels]` into annotators' targets.

    The target, smoothed before, and the teacher's answer are weighed by `recipe.teacher_share`.
    An example whose target is a teacher's already keeps it.
    """
    share = recipe.teacher_share
    mixed = []
    for example, row in zip(examples, probabilities, strict=True):
        if not example.soft:
            target = (1 - share) * np.asarray(example.target) + share * row.astype(np.float64)
            example = replace(example, target=tuple((target / target.sum()).tolist()), soft=True)
        mixed.append(example)
    return tuple(mixed)
