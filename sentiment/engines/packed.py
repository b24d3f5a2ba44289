"""Padding-free BERT in plain torch.

Every linear layer runs on `[tokens, hidden]`, all texts end to end; only attention, about
1 % of the work on headlines, sees a padded rectangle. The last layer is computed for the
first token of each text alone, the only one that the classifier reads. Neither changes a
number beyond rounding: `tests/integration/test_engines.py` holds this engine to
`transformers` within 1e-5.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from sentiment.engines.batches import PackedBatch
from sentiment.errors import ModelError
from sentiment.models import ModelFiles
from sentiment.predictions import Logits

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # the exact one, by erf; the tanh form changes scores
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


class PackedEngine:
    """BERT for sequence classification without a padding token."""

    name: ClassVar[str] = "packed"
    precision: ClassVar[str] = "fp32"
    batch_type: ClassVar[type[PackedBatch]] = PackedBatch

    def __init__(self, model: "PackedBert", device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.device = str(device)

    @classmethod
    def supports(cls, model: ModelFiles) -> bool:
        """Whether this is a BERT whose every detail the engine computes."""
        return (
            model.architecture == "bert" and model.config.get("hidden_act", "gelu") in ACTIVATIONS
        )

    @classmethod
    def open(cls, model: ModelFiles, *, device: str, threads: int) -> Self:
        """Load the weights, convert them to fp32 and move them to `device`.

        Raises:
            ModelError: not a BERT, or a tensor is missing or has another shape.
        """
        shape = BertShape.from_config(model)
        torch.set_num_threads(threads)
        return cls(PackedBert(shape, _Weights(model)), torch_device(device))

    def infer(self, batch: PackedBatch) -> Logits:
        """Classify one batch; see `Engine.infer`."""
        with torch.inference_mode(), memory_errors():
            logits: Tensor = self.model(
                *(
                    torch.from_numpy(array).to(self.device)
                    for array in (batch.ids, batch.positions, batch.slots, batch.row_starts)
                ),
                batch.width,
            )
        return np.asarray(logits.cpu().numpy(), dtype=np.float32)


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

    @classmethod
    def from_config(cls, model: ModelFiles) -> Self:
        """Read the shape, with BERT's defaults for what an old configuration leaves out.

        Raises:
            ModelError: the architecture or a detail of it is not BERT's.
        """
        config: dict[str, Any] = model.config
        if model.architecture != "bert":
            raise ModelError(
                f"{model.folder}: the packed engine runs BERT only; SENTIMENT_ENGINE=padded "
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


class _Weights:
    """A checkpoint's tensors, taken by name and checked by shape."""

    def __init__(self, model: ModelFiles) -> None:
        self._path = model.weights
        if self._path.suffix == ".safetensors":
            tensors = load_file(self._path)
        else:
            # weights_only: a pickle that asks for anything but tensors is refused unrun.
            tensors = torch.load(self._path, map_location="cpu", weights_only=True)
        # Checkpoints from TensorFlow days call LayerNorm's parameters gamma and beta.
        self._tensors = {
            name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
                "LayerNorm.beta", "LayerNorm.bias"
            ): tensor
            for name, tensor in tensors.items()
        }

    def take(self, name: str, *shape: int) -> nn.Parameter:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ModelError(f"{self._path}: no tensor {name}")
        if tensor.shape != shape:
            raise ModelError(
                f"{self._path}: {name} has shape {list(tensor.shape)}, expected {list(shape)}"
            )
        return nn.Parameter(tensor.float(), requires_grad=False)

    def linear(self, name: str, inputs: int, outputs: int) -> nn.Linear:
        layer = nn.Linear(inputs, outputs, device="meta")
        layer.weight = self.take(f"{name}.weight", outputs, inputs)
        layer.bias = self.take(f"{name}.bias", outputs)
        return layer

    def norm(self, name: str, hidden: int, eps: float) -> nn.LayerNorm:
        layer = nn.LayerNorm(hidden, eps=eps, device="meta")
        layer.weight = self.take(f"{name}.weight", hidden)
        layer.bias = self.take(f"{name}.bias", hidden)
        return layer


class PackedBert(nn.Module):
    """The graph: `[tokens]` of ids in, `[texts, labels]` of logits out."""

    def __init__(self, shape: BertShape, weights: _Weights) -> None:
        super().__init__()
        hidden, prefix = shape.hidden, "bert.embeddings."
        self.words = weights.take(f"{prefix}word_embeddings.weight", shape.vocabulary, hidden)
        positions = weights.take(f"{prefix}position_embeddings.weight", shape.positions, hidden)
        types = weights.take(f"{prefix}token_type_embeddings.weight", shape.token_types, hidden)
        # One text a row, so every token has type 0: one table serves for both.
        self.positions = nn.Parameter(positions + types[0], requires_grad=False)
        self.norm = weights.norm(f"{prefix}LayerNorm", hidden, shape.norm_eps)
        self.layers = nn.ModuleList(
            PackedLayer(shape, weights, f"bert.encoder.layer.{index}.")
            for index in range(shape.layers)
        )
        self.pooler = weights.linear("bert.pooler.dense", hidden, hidden)
        self.classifier = weights.linear("classifier", hidden, shape.labels)

    def forward(
        self, ids: Tensor, positions: Tensor, slots: Tensor, row_starts: Tensor, width: int
    ) -> Tensor:
        """Classify packed texts.

        Args:
            ids, positions, slots: `int64 [tokens]`, as in `PackedBatch`.
            row_starts: `int64 [texts]`.
            width: tokens of the longest text.
        """
        rectangle = Rectangle.of(slots, rows=len(row_starts), width=width)
        x = self.norm(self.words[ids] + self.positions[positions])  # [tokens, hidden]
        for layer in self.layers[:-1]:
            x = layer(x, rectangle)
        x = self.layers[-1](x, rectangle, row_starts)  # [texts, hidden]
        logits: Tensor = self.classifier(torch.tanh(self.pooler(x)))
        return logits


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Where packed tokens lie in `[rows, width]`, for attention alone."""

    slots: Tensor | None
    """`int64 [tokens]`, or `None` where every text fills its row: then nothing moves."""
    mask: Tensor | None
    """`bool [rows, 1, 1, width]`: true where a token stands; `None` with `slots`."""
    rows: int
    width: int

    @classmethod
    def of(cls, slots: Tensor, *, rows: int, width: int) -> Self:
        if len(slots) == rows * width:
            return cls(None, None, rows, width)
        mask = torch.zeros(rows * width, dtype=torch.bool, device=slots.device)
        mask[slots] = True
        return cls(slots, mask.view(rows, 1, 1, width), rows, width)

    def spread(self, x: Tensor) -> Tensor:
        """`[tokens, heads, size]` -> `[rows, heads, width, size]`, zero between texts."""
        if self.slots is not None:
            empty = x.new_zeros(self.rows * self.width, *x.shape[1:])
            x = empty.index_copy(0, self.slots, x)
        return x.view(self.rows, self.width, *x.shape[1:]).transpose(1, 2)

    def gather(self, x: Tensor) -> Tensor:
        """`[rows, heads, width, size]` -> `[tokens, heads * size]`: `spread` undone."""
        x = x.transpose(1, 2).reshape(self.rows * self.width, -1)
        return x if self.slots is None else x[self.slots]


class PackedLayer(nn.Module):
    """One transformer layer, after Vaswani et al. 2017 with BERT's post-normalisation."""

    def __init__(self, shape: BertShape, weights: _Weights, prefix: str) -> None:
        super().__init__()
        hidden = shape.hidden
        self.heads = shape.heads
        self.activation = ACTIVATIONS[shape.activation]
        linear, norm = weights.linear, weights.norm
        self.query = linear(f"{prefix}attention.self.query", hidden, hidden)
        self.key = linear(f"{prefix}attention.self.key", hidden, hidden)
        self.value = linear(f"{prefix}attention.self.value", hidden, hidden)
        self.attended = linear(f"{prefix}attention.output.dense", hidden, hidden)
        self.attended_norm = norm(f"{prefix}attention.output.LayerNorm", hidden, shape.norm_eps)
        self.widen = linear(f"{prefix}intermediate.dense", hidden, shape.intermediate)
        self.narrow = linear(f"{prefix}output.dense", shape.intermediate, hidden)
        self.output_norm = norm(f"{prefix}output.LayerNorm", hidden, shape.norm_eps)

    def forward(self, x: Tensor, rectangle: Rectangle, row_starts: Tensor | None = None) -> Tensor:
        """Map `[tokens, hidden]` to the same; with `row_starts` to `[texts, hidden]`.

        With `row_starts` only each text's first token asks, though all its tokens answer.
        """
        key = rectangle.spread(self._split(self.key(x)))
        value = rectangle.spread(self._split(self.value(x)))
        if row_starts is not None:
            x = x[row_starts]
            query = self._split(self.query(x)).unsqueeze(2)  # [rows, heads, 1, size]
        else:
            query = rectangle.spread(self._split(self.query(x)))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=rectangle.mask)
        mixed = mixed.flatten(1) if row_starts is not None else rectangle.gather(mixed)
        x = self.attended_norm(x + self.attended(mixed))
        y: Tensor = self.output_norm(x + self.narrow(self.activation(self.widen(x))))
        return y

    def _split(self, x: Tensor) -> Tensor:
        """`[tokens, hidden]` -> `[tokens, heads, size]`."""
        return x.view(len(x), self.heads, -1)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise `MemoryError` where torch says in its own ways that memory ran out."""
    try:
        yield
    except RuntimeError as error:
        # On a GPU a class of its own, on a CPU a sentence.
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError("the batch does not fit into memory") from error
        raise


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
