"""How far each engine and precision is from exact fp32: `python -m benchmarks.precision`.

Labels that agree, and differences of probabilities, over the same texts in the same batches. How
much a precision costs against annotators: `python -m sentiment evaluate --precision`.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.measurement import base_parser, publish, run, significant
from benchmarks.models import model_folder
from benchmarks.texts import load_texts
from sentiment.engines import open_engine
from sentiment.engines.batches import Int64
from sentiment.errors import ModelError
from sentiment.models import read_model
from sentiment.predictions import softmax
from sentiment.settings import default_cache_folder, usable_cores
from sentiment.tokenization import Tokenization, load_tokenizer

REFERENCE = ("packed", "fp32")
CANDIDATES = (
    ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"),
    ("packed", "bf16"), ("padded", "fp32"),
)  # fmt: skip

BATCH_TOKENS = 1024


def main() -> None:
    """Compare and write `benchmarks/results/precision-<model>.json`."""
    parser = base_parser(__doc__)
    parser.add_argument("--count", type=int, default=4500, help="texts (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.count = 100
    folder = model_folder(arguments.model)
    model = read_model(folder, name=folder.name)
    texts = load_texts(arguments.texts, arguments.count)
    with Tokenization(
        load_tokenizer(folder), max_tokens=model.max_tokens, threads=1
    ) as tokenization:
        encodings = tokenization.encode_now(texts).ids

    def scores(engine: str, precision: str) -> np.ndarray:
        opened = open_engine(
            model,
            engine=engine,
            device="cpu",
            threads=usable_cores(),
            precision=precision,
            cache=default_cache_folder(),
        )
        collate = opened.batch_type.collate
        logits = np.concatenate([opened.infer(collate(chosen)) for chosen in batches(encodings)])
        return softmax(logits, model.temperature)

    exact = scores(*REFERENCE)
    found: dict[str, object] = {}
    for engine, precision in CANDIDATES:
        try:
            found[f"{engine} {precision}"] = compared(scores(engine, precision), exact)
        except ModelError as error:
            found[f"{engine} {precision}"] = {"unavailable": str(error)}
        print(f"{engine} {precision}: {found[f'{engine} {precision}']}", flush=True)
    figures = {"model": folder.name, "texts": len(texts), "reference": " ".join(REFERENCE)}
    publish(f"precision-{folder.name}", {**figures, "against_the_reference": found}, arguments)


def batches(encodings: Sequence[Int64]) -> Iterator[list[Int64]]:
    """Yield the encodings in their order, as many at a time as fit the budget."""
    chosen: list[Int64] = []
    for ids in encodings:
        if chosen and sum(map(len, chosen)) + len(ids) > BATCH_TOKENS:
            yield chosen
            chosen = []
        chosen.append(ids)
    yield chosen


def compared(scores: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Return how `scores [texts, labels]` differ from `exact`."""
    difference = np.abs(scores - exact)
    return {
        "same_label": significant((scores.argmax(axis=1) == exact.argmax(axis=1)).mean()),
        "mean_difference": significant(difference.mean(), 2),
        "largest_difference": significant(difference.max(), 2),
        "texts_over_0.02": int((difference.max(axis=1) > 0.02).sum()),
    }


if __name__ == "__main__":
    run(main)
