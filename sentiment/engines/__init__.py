"""One loaded model on one device, behind one protocol.

`packed` runs BERT without a padding token and is imported without transformers; `padded`
runs any Hugging Face sequence classifier and is the reference. Both answer the same numbers.
"""

import logging
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from sentiment.engines.batches import PackedBatch, PaddedBatch
from sentiment.errors import ModelError, first_line
from sentiment.models import ModelFiles
from sentiment.predictions import Logits

__all__ = ["ENGINES", "Engine", "EngineFacts", "open_engine"]

log = logging.getLogger(__name__)

ENGINES = {
    "packed": "sentiment.engines.packed:PackedEngine",
    "padded": "sentiment.engines.padded:PaddedEngine",
}
"""Name of an engine -> where it is imported from, once it is wanted."""


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


def open_engine(model: ModelFiles, *, engine: str, device: str, threads: int) -> Engine:
    """Load `model` into the engine named `engine`; `auto` takes packed where it can.

    Raises:
        ModelError: the weights cannot be read, or do not fit the engine.
    """
    try:
        if engine == "auto":
            engine = "packed" if _engine_class("packed").supports(model) else "padded"
        opened: Engine = _engine_class(engine).open(model, device=device, threads=threads)
    except ModelError:
        raise
    except Exception as error:
        # torch, safetensors, pickle and transformers each report a damaged file their own way.
        log.debug("engine failed to open", exc_info=True)
        raise ModelError(f"{model.weights}: cannot be loaded: {first_line(error)}") from error
    log.info("engine ready", extra={"engine": opened.name, "device": opened.device})
    return opened


def _engine_class(name: str) -> Any:
    module, _, attribute = ENGINES[name].partition(":")
    return getattr(import_module(module), attribute)
