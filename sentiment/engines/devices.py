"""What both torch engines need to know of devices."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sentiment.errors import ModelError


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
