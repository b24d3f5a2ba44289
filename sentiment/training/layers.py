"""Where a parameter stands in the network: rates by depth, and freezing from below.

Both follow FinBERT's recipe (Araci 2019, "FinBERT: financial sentiment analysis with
pre-trained language models", arXiv:1908.10063, after Howard and Ruder 2018, ULMFiT): lower
layers know the language already, so they learn more slowly and later, and forget less.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import torch
import transformers

LAYER = re.compile(r"\.(?:layer|layers|h|block|blocks)\.(\d+)\.")
"""A block's number in a parameter's name, as the architectures of `transformers` spell it."""

EMBEDDINGS = re.compile(r"(?:^|\.)(?:embeddings|wte|wpe|word_embedding|embed_tokens)\.")


def depths(model: torch.nn.Module) -> dict[str, int]:
    """Return how far below the classifier each parameter stands, by name.

    0 is the classifier with all that stands above the last block (a pooler), 1 the last block;
    the embeddings are the deepest.
    """
    names = [name for name, _ in model.named_parameters()]
    numbers = {name: int(found[1]) for name in names if (found := LAYER.search(name))}
    blocks = max(numbers.values(), default=-1) + 1

    def depth(name: str) -> int:
        if name in numbers:
            return blocks - numbers[name]
        return blocks + 1 if EMBEDDINGS.search(name) else 0

    return {name: depth(name) for name in names}


def parameter_groups(
    model: torch.nn.Module,
    *,
    learning_rate: float,
    layer_decay: float,
    weight_decay: float,
    decayed: Collection[str],
) -> list[dict[str, Any]]:
    """Return the optimiser's groups: a rate for each depth, weight decay where it belongs.

    Args:
        layer_decay: a parameter at depth d learns at `learning_rate * layer_decay ** d`.
        decayed: names of the parameters that weight decay applies to.
    """
    below = depths(model)
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        rate = learning_rate * layer_decay ** below[name]
        groups[rate, weight_decay if name in decayed else 0.0].append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


class GradualUnfreezing(transformers.TrainerCallback):
    """Trains the classifier first, then one more layer every `every_steps` steps.

    What is trained follows from the number of the step alone, so a resumed run needs no state.
    """

    def __init__(self, model: torch.nn.Module, *, every_steps: float) -> None:
        self._every_steps = every_steps
        below = depths(model)
        self._parameters = [
            (below[name], parameter) for name, parameter in model.named_parameters()
        ]

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Freeze what is deeper than this step trains."""
        deepest = int(state.global_step / self._every_steps)
        for depth, parameter in self._parameters:
            parameter.requires_grad_(depth <= deepest)
