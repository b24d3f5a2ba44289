"""The packed graph on a CPU, run by OpenVINO: the fastest engine there, and free of torch."""

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import openvino as ov

from sentiment.engines.batches import Int32, Int64, PackedBatch, rounded_up
from sentiment.engines.bert import BertShape, Checkpoint
from sentiment.engines.graph import build_graph
from sentiment.engines.quantization import load_calibration
from sentiment.errors import ModelError
from sentiment.models import ModelFiles
from sentiment.predictions import Logits

NATIVE_BF16 = ("avx512_bf16", "amx_bf16")
"""Flags of `/proc/cpuinfo`. Without them OpenVINO computes bf16 slower than fp32, or not at all."""

TYPES = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Precision -> what OpenVINO computes in where the graph does not say. Beside int8 that is fp32:
as fast as bf16 there, and |dp| is smaller."""

SMALL_TOKENS = 128
"""Up to here a token too many is felt."""


class OpenVinoEngine:
    """BERT for sequence classification without a padding token."""

    name: ClassVar[str] = "openvino"
    device: ClassVar[str] = "cpu"
    batch_type: ClassVar[type[PackedBatch]] = PackedBatch
    token_budgets: ClassVar[tuple[int, ...]] = (512, 1024)

    def __init__(self, compiled: ov.CompiledModel, precision: str) -> None:
        self.precision = precision
        self._request = compiled.create_infer_request()

    @classmethod
    def open(
        cls, model: ModelFiles, *, device: str, threads: int, precision: str, cache: Path | None
    ) -> Self:
        """Build the graph from the weights and compile it for this CPU.

        Raises:
            ModelError: not a BERT, a tensor is missing or has another shape, or the CPU does not
                compute the precision.
        """
        if device not in ("auto", "cpu"):
            raise ModelError(f"the openvino engine runs on CPUs; SENTIMENT_DEVICE={device}")
        shape = BertShape.from_config(model)
        precision = cpu_precision(precision)
        calibration = None
        if precision == "int8":
            calibration = load_calibration(
                model.folder,
                weights_sha256=model.weights_sha256,
                shape=shape,
                cache=cache,
            )
        checkpoint = Checkpoint.open(model, cache=cache)
        graph = build_graph(shape, checkpoint, calibration)
        compiled = compile_model(graph.model(), precision=precision, threads=threads)
        engine = cls(compiled, precision)
        # The graph's matrices are views of the checkpoint. In its first passes OpenVINO copies them
        # to the forms that its kernels want, and then holds on to them without another look.
        for texts in (1, 8):
            engine.infer(PackedBatch.collate([np.zeros(16, dtype=np.int64)] * texts))
        checkpoint.release()
        return engine

    def infer(self, batch: PackedBatch) -> Logits:
        """Classify one batch; see `Engine.infer`."""
        with memory_errors():
            logits = self._request.infer(graph_inputs(batch), share_inputs=True)[0]
        # Copied, because the request's own memory is written anew.
        return np.array(logits[: len(batch.lengths)], dtype=np.float32)


def graph_inputs(batch: PackedBatch) -> list[Int32]:
    """Return a batch as the inputs of `graph.BertGraph`, with a few tokens and texts too many.

    They round up the shape; nothing looks at them.
    """
    tokens, texts = batch.tokens, len(batch.lengths)
    tokens = rounded_up(tokens, 8 if tokens <= SMALL_TOKENS else 32)
    texts = 1 if texts == 1 else rounded_up(texts, 8)
    rows = batch.attention_rows
    return [
        _extended(batch.ids, tokens),
        _extended(batch.positions, tokens),
        rows.segments,
        rows.sources,
        _extended(rows.slots, tokens),
        _extended(batch.row_starts, texts),
    ]


def _extended(array: Int32 | Int64, length: int) -> Int32:
    extended = np.zeros(length, dtype=np.int32)
    extended[: len(array)] = array
    return extended


def compile_model(model: ov.Model, *, precision: str, threads: int) -> ov.CompiledModel:
    """Compile a graph for this CPU."""
    settings = {
        "INFERENCE_PRECISION_HINT": TYPES[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Several workers would be pinned to the same cores.
        "ENABLE_CPU_PINNING": False,
        # Shares that move between the threads while they work, not fixed ones: when the event loop
        # needs a core, the others do not wait for the one that lost it.
        "TBB_PARTITIONER": "AUTO",
    }
    return _core().compile_model(model, "CPU", settings)


@functools.cache
def _core() -> ov.Core:
    """Load OpenVINO once, for good.

    Where signals have a stack of their own (PYTHONFAULTHANDLER), its CPU plugin gives the thread
    that loads it a larger one, and frees that with the last core, on whatever thread that happens.
    The next signal would then end the process by a segmentation fault.
    """
    return ov.Core()


def cpu_precision(precision: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the precision that the setting names; `auto` is bf16 where the CPU has it.

    Raises:
        ModelError: this CPU, or any, does not compute it.
    """
    if precision == "fp16":
        raise ModelError("fp16 is for GPUs; SENTIMENT_PRECISION=auto takes what this CPU has")
    if precision not in ("auto", "bf16"):
        return precision
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        flags = None
    if flags and not {*NATIVE_BF16}.isdisjoint(flags[1].split()):
        return "bf16"
    if precision == "bf16":
        raise ModelError(
            "this CPU has no bf16 of its own (AVX512-BF16 or AMX); SENTIMENT_PRECISION=fp32 or "
            "int8 runs on it, auto takes the best that it has"
        )
    return "fp32"


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn OpenVINO's ways to say that memory ran out into `MemoryError`.

    The batcher knows that one, and tries again with less at a time.
    """
    try:
        yield
    except RuntimeError as error:
        # It has one type for all failures.
        if not re.search("bad_alloc|[Oo]ut of memory|[Ff]ailed to allocate", str(error)):
            raise
        raise MemoryError("not enough memory for the batch") from error
