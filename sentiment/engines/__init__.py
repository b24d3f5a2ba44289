"""One loaded model on one device, behind one protocol.

`packed` is BERT without a padding token in plain torch, `openvino` the same graph on a CPU without
torch; `padded` runs any Hugging Face sequence classifier and is the reference. In fp32 all answer
the same numbers.
"""

import logging
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from sentiment.engines.batches import PackedBatch, PaddedBatch
from sentiment.engines.bert import BertShape, Checkpoint
from sentiment.errors import ModelError, first_line
from sentiment.models import ModelFiles
from sentiment.predictions import Logits

__all__ = ["ENGINES", "Engine", "EngineFacts", "keep_weights", "open_engine"]

log = logging.getLogger(__name__)

# `import openvino` sends an event to Google Analytics where this package can be imported, unless
# the user has declined on this very machine. OpenVINO does without it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

ENGINES = {
    "openvino": "sentiment.engines.openvino:OpenVinoEngine",
    "packed": "sentiment.engines.packed:PackedEngine",
    "padded": "sentiment.engines.padded:PaddedEngine",
}
"""Name of an engine -> where it is imported from, once it is wanted."""

GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Of the drivers of NVIDIA, of Windows' Linux, and of AMD."""


class Engine(Protocol):
    """One loaded model on one device. Knows token ids, never text or HTTP."""

    name: str
    """Key of `ENGINES`."""
    device: str
    """Where it runs, such as `cpu` or `cuda:0`."""
    precision: str
    """Of its arithmetic, such as `fp32`."""
    batch_type: type[PackedBatch] | type[PaddedBatch]
    """How it wants encodings laid out; `batch_type.collate` makes one."""
    token_budgets: tuple[int, ...]
    """Token budgets that may be best for it, ascending; the warm-up measures."""

    def infer(self, batch: Any) -> Logits:
        """Classify one batch of `batch_type`. Called from one thread, never twice at once.

        Returns:
            Logits `float32 [texts, labels]`: rows as in the batch, columns as the labels.

        Raises:
            MemoryError: the batch is too large; a smaller one may not be.
            Exception: the forward pass failed; the engine is still usable.
        """
        ...


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What to tell of an engine; keeps none of it in memory."""

    name: str
    device: str
    precision: str


def open_engine(
    model: ModelFiles,
    *,
    engine: str,
    device: str,
    threads: int,
    precision: str = "fp32",
    cache: Path | None = None,
) -> Engine:
    """Load `model` into the engine named `engine`; `auto` takes the fastest that runs it here.

    Args:
        precision: `fp32`, `bf16`, `fp16`, `int8`, or `auto`: bf16 where the device has it.
        cache: folder for what is worth keeping until the next start.

    Raises:
        ModelError: the weights cannot be read, or do not fit the engine.
    """
    try:
        if engine == "auto":
            engine = _choose(model, device)
        opened: Engine = _engine_class(engine).open(
            model, device=device, threads=threads, precision=precision, cache=cache
        )
    except ModelError:
        raise
    except Exception as error:
        # Each library reports a damaged file its own way.
        log.debug("engine failed to open", exc_info=True)
        raise ModelError(f"{model.weights}: cannot be loaded: {first_line(error)}") from error
    log.info(
        "engine ready",
        extra={"engine": opened.name, "device": opened.device, "precision": opened.precision},
    )
    return opened


def keep_weights(model: ModelFiles, *, cache: Path) -> None:
    """Do for the model's weights what need be done only once.

    Raises:
        ModelError: the weights cannot be read.
    """
    if not BertShape.fits(model):
        return
    try:
        Checkpoint.open(model, cache=cache)
    except Exception as error:
        raise ModelError(f"{model.weights}: cannot be loaded: {first_line(error)}") from error


def _choose(model: ModelFiles, device: str) -> str:
    if not BertShape.fits(model):
        return "padded"
    on_cpu = device == "cpu" or (device == "auto" and not _gpu())
    return "openvino" if on_cpu and find_spec("openvino") else "packed"


def _gpu() -> bool:
    """Whether torch finds a GPU; it is not imported, which takes seconds, where none can be."""
    if not any(Path(file).exists() for file in GPU_FILES):
        return False
    import torch

    return torch.cuda.is_available()


def _engine_class(name: str) -> Any:
    module, _, attribute = ENGINES[name].partition(":")
    return getattr(import_module(module), attribute)
