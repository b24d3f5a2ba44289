"""The limit: how fast this machine multiplies the matrices that BERT is made of.

A child process: for each line on standard input it measures once and answers one line of JSON.
Each precision is measured in the ways that the libraries at hand offer, and the best counts.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

ROWS, HIDDEN, WIDE = 512, 768, 3072
"""`[512, 768] x [768, 3072]`: the widest layer of BERT-base on a batch of 512 tokens."""

GPU_ROWS = 16_384
"""A GPU needs more to be busy."""

PAIRS = 4
"""Of layers, up and down again, in the graph for OpenVINO: what goes in and comes out as fp32 is
then a small part of the work."""

FLOP = 2 * HIDDEN * WIDE
"""Of one row through one layer."""

Pass = Callable[[], object]


def model_flop(hidden: int, intermediate: int, layers: int) -> int:
    """Return the operations that one token costs in the linear layers of a BERT."""
    return 2 * layers * (4 * hidden * hidden + 2 * hidden * intermediate)


def ways(device: str) -> dict[str, dict[str, Callable[[], tuple[Pass, int]]]]:
    """Return for each precision the ways to multiply; each prepares a pass and its FLOP."""
    if device.startswith("cuda"):
        kinds = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
        return {
            precision: {"torch linear": partial(torch_linear, kind, device)}
            for precision, kind in kinds.items()
        }
    return {
        "fp32": {
            "torch linear": lambda: torch_linear("float32"),
            "openvino": lambda: openvino_layers("f32"),
        },
        "bf16": {
            "torch linear": lambda: torch_linear("bfloat16"),
            "openvino": lambda: openvino_layers("bf16"),
        },
        "int8": {
            "torch qlinear": torch_qlinear,
            "openvino": lambda: openvino_layers("bf16", quantized=True),
        },
    }


def torch_linear(kind: str, device: str = "cpu") -> tuple[Pass, int]:
    """`torch.nn.functional.linear`."""
    import torch

    dtype, rows = getattr(torch, kind), ROWS if device == "cpu" else GPU_ROWS
    x = torch.randn(rows, HIDDEN, device=device).to(dtype)
    weight = torch.randn(WIDE, HIDDEN, device=device).to(dtype)

    def passes() -> object:
        with torch.inference_mode():
            y = torch.nn.functional.linear(x, weight)
            if device != "cpu":
                torch.cuda.synchronize()
            return y

    return passes, rows * FLOP


def torch_qlinear() -> tuple[Pass, int]:
    """oneDNN's u8 x s8 -> bf16: signed activations would take a path 1,000 times slower."""
    import torch

    x = torch.randint(0, 255, (ROWS, HIDDEN), dtype=torch.uint8)
    weight = torch.randint(-127, 127, (WIDE, HIDDEN), dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(weight, [ROWS, HIDDEN])
    scales, zeros = torch.full((WIDE,), 0.01), torch.zeros(WIDE, dtype=torch.int64)

    def passes() -> object:
        return torch.ops.onednn.qlinear_pointwise(
            x, 0.02, 128, packed, scales, zeros, None, 1.0, 0, torch.bfloat16, "none", [], ""
        )

    return passes, ROWS * FLOP


def openvino_layers(precision: str, *, quantized: bool = False) -> tuple[Pass, int]:
    """`2 * PAIRS` matrix products one after the other in one OpenVINO graph."""
    import openvino as ov
    from openvino import opset15 as op

    source = np.random.default_rng(0)
    x = given = op.parameter([ROWS, HIDDEN], np.float32)
    for _ in range(PAIRS):
        for inputs, outputs in ((HIDDEN, WIDE), (WIDE, HIDDEN)):
            if quantized:
                low, high = op.constant(np.float32(-4)), op.constant(np.float32(4))
                x = op.fake_quantize(x, low, high, low, high, 256)
                steps = source.integers(-127, 128, (outputs, inputs), dtype=np.int8)
                scale = op.constant(np.full((outputs, 1), 0.014 / inputs**0.5, np.float32))
                weight = op.multiply(op.convert(op.constant(steps), np.float32), scale)
            else:
                normal = source.standard_normal((outputs, inputs), dtype=np.float32)
                weight = op.constant(normal / np.float32(inputs**0.5))
            x = op.matmul(x, weight, False, True)
    hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    hints["INFERENCE_NUM_THREADS"] = len(os.sched_getaffinity(0))
    request = ov.Core().compile_model(ov.Model([x], [given]), "CPU", hints).create_infer_request()
    request.set_input_tensor(ov.Tensor(source.standard_normal((ROWS, HIDDEN), dtype=np.float32)))
    return request.infer, 2 * PAIRS * ROWS * FLOP


def rate(passes: Pass, flop: int, seconds: float) -> float:
    """Return billions of operations a second, of the fastest quarter of the passes.

    A limit is what the machine can do, not what it does while others disturb it.
    """
    times: list[float] = []
    ends_at = time.perf_counter() + seconds
    while time.perf_counter() < ends_at or len(times) < 4:
        began_at = time.perf_counter()
        passes()
        times.append(time.perf_counter() - began_at)
    return flop / float(np.quantile(times, 0.25)) / 1e9


def main() -> None:
    """Answer each line with the rates by precision and way, and why a way is missing."""
    # Libraries print to standard output too: it becomes standard error for all but the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    seconds, device = float(sys.argv[1]), sys.argv[2]
    missing: dict[str, str] = {}
    ready: dict[tuple[str, str], tuple[Pass, int]] = {}
    for precision, offered in ways(device).items():
        for way, prepare in offered.items():
            try:
                ready[precision, way] = prepare()
                ready[precision, way][0]()
            except Exception as error:
                ready.pop((precision, way), None)
                missing[f"{precision} {way}"] = f"{type(error).__name__}: {error}".splitlines()[0]
    print(json.dumps({"missing": missing}), file=answers, flush=True)
    for _ in sys.stdin:
        gflops: dict[str, dict[str, Any]] = {}
        for (precision, way), (passes, flop) in ready.items():
            gflops.setdefault(precision, {})[way] = round(rate(passes, flop, seconds), 1)
        print(json.dumps({"gflops": gflops}), file=answers, flush=True)


if __name__ == "__main__":
    main()
