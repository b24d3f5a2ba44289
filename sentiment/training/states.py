"""A training's inner state as tensors and JSON, and back: optimiser, random generators.

`transformers.Trainer` pickles these. A pickle runs code when it is read, so here each part is
taken apart into what safetensors and JSON can hold, bit for bit.
"""

import random
from typing import Any

import numpy as np
import torch

Tensors = dict[str, torch.Tensor]


def optimizer_state(optimizer: Any) -> tuple[Tensors, list[dict[str, Any]]]:
    """Return the moments as tensors named `<parameter>.<moment>`, and the groups as JSON."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": tensor
        for index, moments in state["state"].items()
        for name, tensor in moments.items()
    }
    return tensors, state["param_groups"]


def restore_optimizer(optimizer: Any, tensors: Tensors, groups: list[dict[str, Any]]) -> None:
    """Put back what `optimizer_state` returned.

    Raises:
        KeyError, ValueError: it is another optimiser's.
    """
    moments: dict[int, Tensors] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = tensor
    restored = [{**group, "betas": tuple(group["betas"])} for group in groups]
    optimizer.load_state_dict({"state": moments, "param_groups": restored})


def random_state() -> tuple[Tensors, dict[str, Any]]:
    """Return the states of Python's, numpy's and torch's generators, every GPU's included."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached_gauss = np.random.get_state()
    tensors = {"torch": torch.get_rng_state()}
    for index, state in enumerate(torch.cuda.get_rng_state_all()):
        tensors[f"cuda_{index}"] = state
    numpy_state = [name, np.asarray(keys).tolist(), position, has_gauss, cached_gauss]
    return tensors, {"python": [version, list(numbers), gauss], "numpy": numpy_state}


def restore_random(tensors: Tensors, states: dict[str, Any]) -> None:
    """Put back what `random_state` returned; of a GPU that this machine lacks nothing.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: these are no generators' states.
    """
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(tensors["torch"])
    for index in range(torch.cuda.device_count()):
        if f"cuda_{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda_{index}"], index)
