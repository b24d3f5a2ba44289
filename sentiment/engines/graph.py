"""Padding-free BERT as an OpenVINO graph, built from the checkpoint's tensors.

The same computation as `packed.PackedBert`, operation for operation. Built, not converted: it
takes a fraction of a second, needs no torch, leaves nothing to keep or to go stale, and puts the
rounding of int8 where `quantization` wants it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import Node
from openvino import opset15 as ops

from sentiment.engines.bert import BertShape, Checkpoint, Float32
from sentiment.engines.quantization import Calibration, InputScale, quantize_weight

ACTIVATIONS: Mapping[str, Callable[[Node], Node]] = {
    "gelu": lambda x: ops.gelu(x, "erf"),
    "gelu_new": lambda x: ops.gelu(x, "tanh"),
    "gelu_pytorch_tanh": lambda x: ops.gelu(x, "tanh"),
    "relu": ops.relu,
    "silu": ops.swish,
}

SHARED_BYTES = 2**20
"""Smaller constants are copied out of the checkpoint's file."""

MASKED = -1e9
"""Added to what attention may not see: e to this power is zero in every precision."""


@dataclass(frozen=True, slots=True)
class BertGraph:
    """A graph and its joints."""

    inputs: list[Node]
    """Parameters `ids`, `positions`, `segments`, `sources`, `slots`, `row_starts`: `int32`, shaped
    as in `PackedBatch` and `AttentionRows`."""
    logits: Node
    """`[texts, labels]`."""
    linear_inputs: dict[str, Node]
    """What linear layers read, `[tokens, channels]`, by the names of `quantization.readers`."""

    def model(self) -> ov.Model:
        """Return what is compiled to serve."""
        return ov.Model([self.logits], self.inputs, "bert")

    def observed(self) -> ov.Model:
        """Return what is compiled to calibrate: it gives `linear_inputs` in their order."""
        outputs = [node.output(0) for node in self.linear_inputs.values()]
        return ov.Model(outputs, self.inputs, "bert")


def build_graph(
    shape: BertShape, checkpoint: Checkpoint, calibration: Calibration | None = None
) -> BertGraph:
    """Build the graph; with `calibration` its encoder computes in int8.

    Raises:
        ModelError: a tensor is missing or has another shape.
    """
    return _Builder(shape, checkpoint, calibration).graph()


class _Builder:
    def __init__(
        self, shape: BertShape, checkpoint: Checkpoint, calibration: Calibration | None
    ) -> None:
        self._shape = shape
        self._checkpoint = checkpoint
        self._calibration = calibration
        self._linear_inputs: dict[str, Node] = {}
        self._ids, self._positions, self._sources, self._slots, self._row_starts = (
            ops.parameter([-1], np.int32, name=name)
            for name in ("ids", "positions", "sources", "slots", "row_starts")
        )
        self._segments = ops.parameter([-1, -1], np.int32, name="segments")
        self._mask = self._attention_mask()
        self._row_shape = ops.concat(
            [ops.shape_of(self._segments, "i32"), _ints(shape.heads, shape.hidden // shape.heads)],
            axis=0,
        )

    def graph(self) -> BertGraph:
        x = self._embeddings()
        for index in range(self._shape.layers):
            x = self._layer(x, index)
        hidden = self._shape.hidden
        x = ops.tanh(self._linear(x, "bert.pooler.dense", hidden, hidden))
        logits = self._linear(x, "classifier", hidden, self._shape.labels)
        inputs = [
            self._ids, self._positions, self._segments,
            self._sources, self._slots, self._row_starts,
        ]  # fmt: skip
        return BertGraph(inputs, logits, self._linear_inputs)

    def _embeddings(self) -> Node:
        shape, prefix = self._shape, "bert.embeddings."
        take, hidden = self._checkpoint.take, self._shape.hidden
        words = take(f"{prefix}word_embeddings.weight", shape.vocabulary, hidden)
        positions = take(f"{prefix}position_embeddings.weight", shape.positions, hidden)
        types = take(f"{prefix}token_type_embeddings.weight", shape.token_types, hidden)
        # One text a row, so every token has type 0: one table serves for both.
        x = ops.add(
            # A copy: rows of this table are looked up for every batch, and the file may go away.
            _rows(_floats(words.copy()), self._ids),
            _rows(_floats(positions + types[0]), self._positions),
        )
        return self._norm(x, f"{prefix}LayerNorm")

    def _layer(self, x: Node, index: int) -> Node:
        """One transformer layer, after Vaswani et al. 2017 with BERT's post-normalisation."""
        hidden, wide = self._shape.hidden, self._shape.intermediate
        prefix = f"bert.encoder.layer.{index}."
        self._linear_inputs[f"{index}.x"] = x
        scale = self._scale(f"{index}.x")
        rounded = _rounded(x, scale)
        query, key, value = (
            self._spread(
                self._linear(rounded, f"{prefix}attention.self.{name}", hidden, hidden, scale)
            )
            for name in ("query", "key", "value")
        )
        mixed = ops.scaled_dot_product_attention(query, key, value, self._mask)
        mixed = ops.reshape(ops.transpose(mixed, _ints(0, 2, 1, 3)), _ints(-1, hidden), False)
        if index == self._shape.layers - 1:  # the classifier reads each text's first token alone
            mixed = _rows(mixed, _rows(self._slots, self._row_starts))
            x = _rows(x, self._row_starts)
        else:
            mixed = _rows(mixed, self._slots)
        attended = self._read(mixed, f"{index}.mixed", f"{prefix}attention.output.dense", hidden)
        x = self._norm(ops.add(x, attended), f"{prefix}attention.output.LayerNorm")
        widened = self._read(x, f"{index}.attended", f"{prefix}intermediate.dense", hidden, wide)
        widened = ACTIVATIONS[self._shape.activation](widened)
        narrowed = self._read(widened, f"{index}.widened", f"{prefix}output.dense", wide, hidden)
        return self._norm(ops.add(x, narrowed), f"{prefix}output.LayerNorm")

    def _read(self, x: Node, tap: str, name: str, inputs: int, outputs: int | None = None) -> Node:
        """Let the linear layer `name` read `x`, which `tap` observes."""
        self._linear_inputs[tap] = x
        scale = self._scale(tap)
        return self._linear(_rounded(x, scale), name, inputs, outputs or inputs, scale)

    def _scale(self, tap: str) -> InputScale | None:
        return None if self._calibration is None else self._calibration.scales[tap]

    def _linear(
        self, x: Node, name: str, inputs: int, outputs: int, scale: InputScale | None = None
    ) -> Node:
        weight = self._checkpoint.take(f"{name}.weight", outputs, inputs)
        bias = self._checkpoint.take(f"{name}.bias", outputs)
        if scale is None:
            matrix = _floats(weight)
        else:
            quantized, steps = quantize_weight(weight, scale.smooth)
            matrix = ops.multiply(
                ops.convert(ops.constant(quantized), np.float32), _floats(steps[:, None])
            )
        return ops.add(ops.matmul(x, matrix, False, True), _floats(bias))

    def _norm(self, x: Node, name: str) -> Node:
        hidden = self._shape.hidden
        x = ops.mvn(x, _ints(-1), True, self._shape.norm_eps, "INSIDE_SQRT")
        x = ops.multiply(x, _floats(self._checkpoint.take(f"{name}.weight", hidden)))
        return ops.add(x, _floats(self._checkpoint.take(f"{name}.bias", hidden)))

    def _attention_mask(self) -> Node:
        """`[rows, 1, width, width]`: 0 where two tokens stand in one text."""
        asking = ops.unsqueeze(self._segments, _ints(1, 3))
        answering = ops.unsqueeze(self._segments, _ints(1, 2))
        return ops.select(
            ops.equal(asking, answering), _floats(np.float32(0)), _floats(np.float32(MASKED))
        )

    def _spread(self, x: Node) -> Node:
        """`[tokens, hidden]` -> `[rows, heads, width, size]`."""
        x = ops.reshape(_rows(x, self._sources), self._row_shape, False)
        return ops.transpose(x, _ints(0, 2, 1, 3))


def _rounded(x: Node, scale: InputScale | None) -> Node:
    """Map `x` to one of 256 steps per channel; what comes out is divided by `scale.smooth`."""
    if scale is None:
        return x
    low, high = np.float32(scale.low), np.float32(scale.high)
    return ops.fake_quantize(
        x,
        _floats(scale.smooth * low), _floats(scale.smooth * high), _floats(low), _floats(high),
        256,
    )  # fmt: skip


def _rows(table: Node, indices: Node) -> Node:
    return ops.gather(table, indices, ops.constant(np.int32(0)))


def _ints(*values: int) -> Node:
    return ops.constant(np.array(values, dtype=np.int32))


def _floats(values: Float32 | np.float32) -> Node:
    """Return a constant; a large one is a view of `values`, which must stay."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    return ops.constant(array, shared_memory=array.nbytes >= SHARED_BYTES)
