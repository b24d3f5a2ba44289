"""Measures, on texts, the scales that `quantization` needs of a model."""

from collections.abc import Sequence

import numpy as np

from sentiment.engines.batches import Int64, PackedBatch
from sentiment.engines.bert import BertShape, Checkpoint
from sentiment.engines.graph import build_graph
from sentiment.engines.openvino import compile_model, graph_inputs
from sentiment.engines.quantization import Calibration, InputObserver, channels, readers
from sentiment.models import ModelFiles

BATCH_TEXTS = 16


def calibrate(model: ModelFiles, encodings: Sequence[Int64], *, threads: int) -> Calibration:
    """Run `encodings` in fp32 and choose the scales by what the linear layers read.

    Raises:
        ModelError: not a BERT, or a tensor is missing or has another shape.
    """
    shape = BertShape.from_config(model)
    checkpoint = Checkpoint.open(model, cache=None)
    graph = build_graph(shape, checkpoint)
    request = compile_model(
        graph.observed(), precision="fp32", threads=threads
    ).create_infer_request()
    observers = {name: InputObserver() for name in graph.linear_inputs}
    last = {f"{shape.layers - 1}.{tap}" for tap in ("mixed", "attended", "widened")}
    for first in range(0, len(encodings), BATCH_TEXTS):
        batch = PackedBatch.collate(encodings[first : first + BATCH_TEXTS])
        outputs = request.infer(graph_inputs(batch), share_inputs=True)
        for index, (name, observer) in enumerate(observers.items()):
            # The last layer runs for each text's first token alone, and what rounds up the shape
            # is nobody's.
            rows = batch.tokens if name not in last else len(batch.lengths)
            observer.observe(outputs[index][:rows])
    scales = {}
    for name, layers in readers(shape).items():
        wide, hidden = shape.intermediate, shape.hidden
        outputs_of = wide if name.endswith(".attended") else hidden
        weights = [
            checkpoint.take(f"{layer}.weight", outputs_of, channels(name, shape))
            for layer in layers
        ]
        scales[name] = observers[name].scale(np.concatenate(weights))
    return Calibration(scales, model.weights_sha256)
