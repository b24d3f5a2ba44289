"""Padding-free BERT in plain torch: the definition, and the engine for GPUs.

Every linear layer runs on `[tokens, hidden]`, all texts end to end. Attention, about 1 % of the
work on headlines, sees rows that several texts share, or on a GPU the texts as they lie. The last
layer is computed for the first token of each text alone, the only one that the classifier reads.
None of it changes a number beyond rounding: `tests/integration/test_engines.py` holds this
engine to `transformers` within 1e-5 in fp32.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn

from sentiment.engines.batches import Int32, Int64, PackedBatch
from sentiment.engines.bert import BertShape, Checkpoint
from sentiment.engines.devices import TORCH_TYPES, memory_errors, torch_device, torch_precision
from sentiment.models import ModelFiles
from sentiment.predictions import Logits

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}

CPU_BUDGETS = (512, 1024)
GPU_BUDGETS = (4096, 8192, 16384, 32768)
"""Token budgets among which the warm-up chooses."""


class PackedEngine:
    """BERT for sequence classification without a padding token."""

    name: ClassVar[str] = "packed"
    batch_type: ClassVar[type[PackedBatch]] = PackedBatch

    def __init__(self, model: "PackedBert", device: torch.device, precision: str) -> None:
        self.precision = precision
        self.model = model.to(device, TORCH_TYPES[precision]).eval()
        self.device = str(device)
        self._varlen = precision != "fp32" and has_flash_attention(device, model.head_size)
        self.token_budgets = GPU_BUDGETS if device.type == "cuda" else CPU_BUDGETS

    @classmethod
    def open(
        cls, model: ModelFiles, *, device: str, threads: int, precision: str, cache: Path | None
    ) -> Self:
        """Load the weights and move them to `device`.

        Raises:
            ModelError: not a BERT, a tensor is missing or has another shape, or the device does
                not compute the precision.
        """
        shape = BertShape.from_config(model)
        found = torch_device(device)
        torch.set_num_threads(threads)
        weights = Weights(Checkpoint.open(model, cache=cache))
        return cls(PackedBert(shape, weights), found, torch_precision(precision, found))

    def infer(self, batch: PackedBatch) -> Logits:
        """Classify one batch; see `Engine.infer`."""
        with torch.inference_mode(), memory_errors():
            attention = (
                self._varlen_attention(batch) if self._varlen else self._row_attention(batch)
            )
            logits: Tensor = self.model(
                self._moved(batch.ids),
                self._moved(batch.positions),
                self._moved(batch.row_starts),
                attention,
            )
        return np.asarray(logits.float().cpu().numpy(), dtype=np.float32)

    def _row_attention(self, batch: PackedBatch) -> "RowAttention":
        rows = batch.attention_rows
        return RowAttention(
            self._moved(rows.segments), self._moved(rows.sources), self._moved(rows.slots)
        )

    def _varlen_attention(self, batch: PackedBatch) -> "VarlenAttention":
        offsets = np.append(batch.row_starts, batch.tokens).astype(np.int32)
        return VarlenAttention(self._moved(offsets), batch.width)

    def _moved(self, array: Int32 | Int64) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device == "cpu":
            return tensor
        # From pinned memory the copies of one batch run beside the first kernels.
        return tensor.pin_memory().to(self.device, non_blocking=True)


def has_flash_attention(device: torch.device, head_size: int) -> bool:
    """Whether torch takes texts as they lie there, in 16 bits: NVIDIA's Ampere or newer."""
    return (
        device.type == "cuda"
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and head_size % 8 == 0
        and head_size <= 256
    )


class Weights:
    """A checkpoint's tensors as modules of torch."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def take(self, name: str, *shape: int) -> nn.Parameter:
        tensor = torch.from_numpy(self._checkpoint.take(name, *shape).copy())
        return nn.Parameter(tensor, requires_grad=False)

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


class Attention(Protocol):
    """How tokens of one text find each other among those of all texts."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map three of `[tokens, heads, size]` to one of the same."""
        ...


class RowAttention:
    """In rows that texts share; see `AttentionRows`."""

    def __init__(self, segments: Tensor, sources: Tensor, slots: Tensor) -> None:
        self._rows, self._width = segments.shape
        self._sources = sources
        self._slots = slots
        self._mask = segments[:, None, :, None] == segments[:, None, None, :]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(
            self._spread(query), self._spread(key), self._spread(value), attn_mask=self._mask
        )
        return mixed.transpose(1, 2).flatten(0, 1)[self._slots]

    def _spread(self, x: Tensor) -> Tensor:
        """`[tokens, heads, size]` -> `[rows, heads, width, size]`."""
        return x[self._sources].view(self._rows, self._width, *x.shape[1:]).transpose(1, 2)


class VarlenAttention:
    """On the texts as they lie, by flash attention."""

    def __init__(self, offsets: Tensor, width: int) -> None:
        """Take where each text begins, and the end: `int32 [texts + 1]`."""
        self._offsets = offsets
        self._width = width

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        offsets, width = self._offsets, self._width
        mixed = varlen_attn(query, key, value, offsets, offsets, width, width)
        assert isinstance(mixed, Tensor)  # a pair only where more is asked for
        return mixed


class PackedBert(nn.Module):
    """The graph: `[tokens]` of ids in, `[texts, labels]` of logits out."""

    def __init__(self, shape: BertShape, weights: Weights) -> None:
        super().__init__()
        hidden, prefix = shape.hidden, "bert.embeddings."
        self.head_size = hidden // shape.heads
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
        self, ids: Tensor, positions: Tensor, row_starts: Tensor, attention: Attention
    ) -> Tensor:
        """Classify packed texts.

        Args:
            ids, positions: `int64 [tokens]`, as in `PackedBatch`.
            row_starts: `int64 [texts]`.
        """
        x = self.norm(self.words[ids] + self.positions[positions])  # [tokens, hidden]
        for layer in self.layers[:-1]:
            x = layer(x, attention)
        x = self.layers[-1](x, attention, row_starts)  # [texts, hidden]
        logits: Tensor = self.classifier(torch.tanh(self.pooler(x)))
        return logits


class PackedLayer(nn.Module):
    """One transformer layer, after Vaswani et al. 2017 with BERT's post-normalisation."""

    def __init__(self, shape: BertShape, weights: Weights, prefix: str) -> None:
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

    def forward(self, x: Tensor, attention: Attention, row_starts: Tensor | None = None) -> Tensor:
        """Map `[tokens, hidden]` to the same; with `row_starts` to `[texts, hidden]`."""
        mixed = attention(
            *(self._split(linear(x)) for linear in (self.query, self.key, self.value))
        ).flatten(1)
        if row_starts is not None:  # all tokens have answered; only each text's first is asked for
            x, mixed = x[row_starts], mixed[row_starts]
        x = self.attended_norm(x + self.attended(mixed))
        y: Tensor = self.output_norm(x + self.narrow(self.activation(self.widen(x))))
        return y

    def _split(self, x: Tensor) -> Tensor:
        """`[tokens, hidden]` -> `[tokens, heads, size]`."""
        return x.view(len(x), self.heads, -1)
