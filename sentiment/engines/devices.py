"""What both torch engines need to know of devices and types."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from sentiment.errors import ModelError

TORCH_TYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""Precision -> type of weights and of what flows between them."""


def torch_device(device: str) -> torch.device:
    """Return the device that the setting names; `auto` prefers a GPU.

    Raises:
        ModelError: no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"no CUDA device here, but SENTIMENT_DEVICE={device}")
    return torch.device(device)


def torch_precision(precision: str, device: torch.device) -> str:
    """Return the precision that the setting names; `auto` is bf16 on a GPU that has it.

    Raises:
        ModelError: torch does not compute it on this device.
    """
    bf16 = False
    if device.type == "cuda":
        with torch.cuda.device(device):  # it asks the current one
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        return "bf16" if bf16 else "fp32"
    if precision == "bf16" and device.type == "cuda" and not bf16:
        raise ModelError("this GPU has no bf16; SENTIMENT_PRECISION=fp16 or fp32 runs on it")
    if precision == "fp16" and device.type != "cuda":
        raise ModelError("fp16 needs a GPU; SENTIMENT_PRECISION=auto takes what this CPU has")
    if precision == "int8":
        raise ModelError("int8 needs SENTIMENT_ENGINE=openvino, which runs BERT on CPUs")
    return precision


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn torch's ways to say that memory ran out into `MemoryError`.

    The batcher knows that one, and tries again with less at a time.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()  # fragments of what failed must not fail the smaller batch too
        raise MemoryError("the device has not enough memory for the batch") from error
    except RuntimeError as error:
        # The CPU allocator's error has no type of its own.
        if "can't allocate memory" not in str(error):
            raise
        raise MemoryError("not enough memory for the batch") from error
