"""What a BERT for sequence classification is: its shape and its tensors, by name.

numpy alone, so that an engine that needs no torch does not import it. A `.bin` checkpoint does,
once: what it holds is kept as safetensors in the cache folder. One in bfloat16, which numpy does
not have, does each time.
"""

import json
import logging
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from sentiment.errors import ModelError, first_line
from sentiment.models import ModelFiles

log = logging.getLogger(__name__)

Float32 = npt.NDArray[np.float32]

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")
"""`hidden_act` that the engines compute. `gelu` is the exact one, by erf; the tanh form of the
next two changes scores."""

KEPT_FORMAT = "1"
"""Of the files in the cache folder."""

ABANDONED_S = 3600.0
"""A half-written file of this age is nobody's."""

NUMPY_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
"""What safetensors calls a type -> what numpy calls it."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """What of `config.json` decides the graph."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    token_types: int
    labels: int
    activation: str
    norm_eps: float

    @staticmethod
    def fits(model: ModelFiles) -> bool:
        """Whether this is a BERT whose every detail the engines compute."""
        return (
            model.architecture == "bert" and model.config.get("hidden_act", "gelu") in ACTIVATIONS
        )

    @classmethod
    def from_config(cls, model: ModelFiles) -> Self:
        """Read the shape, with BERT's defaults for what an old configuration leaves out.

        Raises:
            ModelError: the architecture or a detail of it is not BERT's.
        """
        config: dict[str, Any] = model.config
        if model.architecture != "bert":
            raise ModelError(
                f"{model.folder}: the packed engines run BERT only; SENTIMENT_ENGINE=padded "
                f"runs {model.architecture or 'other architectures'}"
            )
        activation = config.get("hidden_act", "gelu")
        if activation not in ACTIVATIONS:
            raise ModelError(f"{model.folder}: unknown hidden_act {activation}")
        hidden, heads = config.get("hidden_size", 768), config.get("num_attention_heads", 12)
        if hidden % heads:
            raise ModelError(f"{model.folder}: {heads} heads do not divide {hidden} dimensions")
        return cls(
            vocabulary=config.get("vocab_size", 30522),
            hidden=hidden,
            layers=config.get("num_hidden_layers", 12),
            heads=heads,
            intermediate=config.get("intermediate_size", 3072),
            positions=config.get("max_position_embeddings", 512),
            token_types=config.get("type_vocab_size", 2),
            labels=len(model.labels),
            activation=activation,
            norm_eps=config.get("layer_norm_eps", 1e-12),
        )


class Checkpoint:
    """A checkpoint's tensors, taken by name and checked by shape."""

    def __init__(self, path: Path, tensors: Mapping[str, Any]) -> None:
        """Hold tensors that have come from `path`; `open` is the usual way in."""
        self._path = path
        # Checkpoints from TensorFlow days call LayerNorm's parameters gamma and beta.
        self._names = {
            name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
                "LayerNorm.beta", "LayerNorm.bias"
            ): name
            for name in tensors
        }
        self._tensors = tensors

    @classmethod
    def open(cls, model: ModelFiles, *, cache: Path | None) -> Self:
        """Open the model's weights; tensors are read as they are taken.

        Args:
            cache: folder that keeps the tensors of a `.bin`; `None` keeps nothing.

        Raises:
            Exception: the file is damaged; its type depends on what reads it.
        """
        path = model.weights
        if path.suffix != ".safetensors":
            return cls(path, _read_bin(model, cache))
        tensors = _Safetensors(path)
        return cls(path, tensors if tensors.readable else _read_by_torch(path))

    def take(self, name: str, *shape: int) -> Float32:
        """Return the tensor `name` as `float32 [*shape]`, to be read only.

        Raises:
            ModelError: there is none, or it has another shape.
        """
        stored = self._names.get(name)
        if stored is None:
            raise ModelError(f"{self._path}: no tensor {name}")
        tensor = self._tensors[stored]
        if tensor.shape != shape:
            raise ModelError(
                f"{self._path}: {name} has shape {list(tensor.shape)}, expected {list(shape)}"
            )
        return np.ascontiguousarray(tensor, dtype=np.float32)

    def release(self) -> None:
        """Give back what memory can be given back once all tensors are taken and used."""
        if isinstance(self._tensors, _Safetensors):
            self._tensors.release()


class _Safetensors(Mapping[str, Any]):
    """A file's tensors, as views of the mapped file: nothing is copied until it is used."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, framework="numpy"):  # checks the header and all sizes
            pass
        with path.open("rb") as file:
            # Private, so that nothing could write to the file; OpenVINO takes no read-only array.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._begin = 8 + int.from_bytes(self._map[:8], "little")
        self._header = json.loads(self._map[8 : self._begin])
        self.metadata: dict[str, str] = self._header.pop("__metadata__", {})

    @property
    def readable(self) -> bool:
        """Whether numpy has every type of the file: it has no bfloat16."""
        return all(tensor["dtype"] in NUMPY_TYPES for tensor in self._header.values())

    def release(self) -> None:
        """Give back the memory of what was read; what is read again comes from the file again."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not everywhere
            self._map.madvise(mmap.MADV_DONTNEED)

    def __getitem__(self, name: str) -> Any:
        tensor = self._header[name]
        begin, end = tensor["data_offsets"]
        data = memoryview(self._map)[self._begin + begin : self._begin + end]
        return np.frombuffer(data, NUMPY_TYPES[tensor["dtype"]]).reshape(tensor["shape"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


def _read_by_torch(path: Path) -> dict[str, Float32]:
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        tensors = load_file(path)
    else:
        # weights_only: a pickle that asks for anything but tensors is refused unrun.
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}


def _read_bin(model: ModelFiles, cache: Path | None) -> Mapping[str, Any]:
    """Read a pickle's tensors: from the cache, or by torch, and then keep them there."""
    if cache is None:
        return _read_by_torch(model.weights)
    source = model.weights_sha256
    kept = cache / f"{source}.safetensors"
    with suppress(OSError, SafetensorError):  # absent, or cut short: the library checks sizes
        found = _Safetensors(kept)
        if found.metadata == {"format": KEPT_FORMAT, "source": source}:
            return found
    tensors = _read_by_torch(model.weights)
    try:
        write_safetensors(kept, tensors, {"format": KEPT_FORMAT, "source": source})
        return _Safetensors(kept)  # and not in memory for as long as the engine lives
    except (OSError, SafetensorError) as error:
        log.info("cannot keep the weights for the next start: %s", first_line(error))
    return tensors


def write_safetensors(
    path: Path, tensors: dict[str, Float32], metadata: dict[str, str] | None = None
) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    now = os.stat(name).st_mtime
    for left in path.parent.glob(f".{path.name}.*"):
        with suppress(OSError):  # by a process that was killed while it wrote
            if now - left.stat().st_mtime > ABANDONED_S:
                left.unlink()
    try:
        save_file(
            {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
            name,
            metadata=metadata,
        )
        with open(name, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
