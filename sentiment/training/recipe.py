"""How to train: every choice that changes the weights, and nothing else.

Two runs with equal recipes, data and base are the same training; a run is resumed only under
the recipe that began it. What merely changes how a run is watched or stored (checkpoints, logs,
threads) is not part of it.
"""

from dataclasses import asdict, dataclass
from typing import Any

from sentiment.errors import OptionError

CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. The defaults are BERT's classic fine-tuning recipe."""

    epochs: float = 3
    learning_rate: float = 2e-5
    batch_texts: int = 16
    accumulation: int = 1
    """Batches whose gradients are summed before a step: the step then sees `accumulation *
    batch_texts` texts in the memory of `batch_texts`."""
    warmup_share: float = 0.1
    """Share of the steps in which the learning rate rises to its peak, before it falls
    linearly to zero."""
    weight_decay: float = 0.01
    adam_epsilon: float = 1e-8
    clip_norm: float = 1.0
    """Gradients whose norm is larger are scaled down to it."""
    layer_decay: float = 1.0
    """Each layer's rate is the rate of the layer above it times this; 1 trains all alike.
    Araci 2019 ("FinBERT", arXiv:1908.10063) took 0.85."""
    unfreeze_every: float = 0.0
    """Epochs after which one more layer is trained, from the classifier downwards; 0 trains all
    from the start. Araci 2019 took a third of an epoch, after Howard and Ruder 2018 (ULMFiT)."""
    class_weights: str = "none"
    """`balanced` weighs a text by how rare its label is, inversely."""
    label_smoothing: float = 0.0
    """Share of an annotator's label that is spread over all labels. A teacher's
    probabilities are used as they are."""
    by_agreement: bool = False
    """Labels of Financial PhraseBank that not all annotators chose are smoothed until they have the
    share of the annotators who did."""
    temperature: float = 1.0
    """At which a target and the model's answer are compared. A confident teacher says little
    at 1; at 3 the ratio of its small probabilities counts as well."""
    teacher_share: float = 0.5
    """Weight of the teacher's probabilities against the annotator's label, where there is a
    teacher."""
    masked_share: float = 0.0
    """Share of the tokens that training hides behind `[MASK]`, anew each time a text is seen;
    meant against overfitting."""
    max_tokens: int = 128
    """Longer texts are cut for training only. One sentence of PhraseBank is longer."""
    average_decay: float = 0.0
    """Of the moving average of the weights that is evaluated and written; 0 is off."""
    patience: int = 0
    """Epochs without a better validation macro-F1 after which training stops; 0 is off."""
    bf16: bool = False
    """Autocast to bfloat16, for processors that have it."""
    fp16: bool = False
    """Autocast to float16 with loss scaling, for GPUs."""
    seed: int = 7

    def __post_init__(self) -> None:
        """Check what the command line cannot: how fields go together.

        Raises:
            OptionError: a field is wrong; names its option.
        """
        if self.bf16 and self.fp16:
            raise OptionError("--bf16 and --fp16 exclude each other")
        if self.class_weights not in CLASS_WEIGHTS:
            known = ", ".join(CLASS_WEIGHTS)
            raise OptionError(f"--class-weights {self.class_weights} is none of {known}")
        if not 0 < self.layer_decay <= 1:
            raise OptionError(f"--layer-decay {self.layer_decay:g} is not above 0 and at most 1")
        if not 0 <= self.average_decay < 1:
            raise OptionError(f"--average-decay {self.average_decay:g} is not in [0, 1)")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)
