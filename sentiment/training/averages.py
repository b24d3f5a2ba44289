"""A moving average of the weights, which generalises better than where they happen to end.

Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; the
exponential form and its warm-up are those of TensorFlow's `ExponentialMovingAverage`: after n
steps the decay is at most (1 + n) / (10 + n), so that the start does not weigh for ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers


class WeightAverage(transformers.TrainerCallback):
    """The exponential moving average of a model's parameters, on the model's device."""

    def __init__(self, model: torch.nn.Module, *, decay: float) -> None:
        self._decay = decay
        self._parameters = dict(model.named_parameters())
        self._average = {
            name: parameter.detach().clone() for name, parameter in self._parameters.items()
        }

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Take the weights after a step into the average."""
        decay = min(self._decay, (1 + state.global_step) / (10 + state.global_step))
        weights = [parameter.detach() for parameter in self._parameters.values()]
        # One call for all tensors: on a GPU one kernel, not two hundred.
        torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The average, by the names of the model's parameters."""
        return self._average

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Continue from an average that `tensors` gave.

        Raises:
            KeyError, RuntimeError: it is another model's.
        """
        for name, average in self._average.items():
            average.copy_(tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model hold the average for a while, its own weights afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._average[name] = self._average[name], parameter.data
