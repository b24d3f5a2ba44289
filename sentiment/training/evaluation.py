"""How good a model is on held-out texts, measured with the engine that serves it."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from sentiment.engines import Engine, open_engine
from sentiment.errors import DataError, ModelError
from sentiment.models import resolve_model
from sentiment.predictions import LABELS, Logits, softmax
from sentiment.settings import usable_cores
from sentiment.tokenization import TokenIds, Tokenization, load_tokenizer
from sentiment.training.datasets import RESERVED_TEXTS, Dataset, Example, read_examples
from sentiment.training.splits import Part, split_examples

log = logging.getLogger(__name__)

BATCH_TEXTS = 32


def evaluate_model(
    model: str,
    data: Sequence[Path],
    *,
    held_out: float,
    precision: str = "fp32",
    cache: Path | None = None,
) -> dict[str, Any]:
    """Evaluate `model` on the validation and the test part of `data`.

    Annotators' labels and a teacher's probabilities are reported apart: accuracy against a
    person and agreement with another model are different claims.

    Args:
        precision: as `SENTIMENT_PRECISION`.
        cache: as `SENTIMENT_CACHE_FOLDER`.

    Raises:
        ModelError: the model cannot be had, or its labels are not the data's.
        DataError: a file cannot be read, or nothing is held out.
    """
    files = resolve_model(model)
    if sorted(files.labels) != sorted(LABELS):
        raise ModelError(f"{files.reference}: labels {files.labels}, but the data has {LABELS}")
    dataset = read_examples(data)
    split = split_examples(dataset.examples, held_out=held_out)
    if not split.test:
        raise DataError("nothing is held out: too few texts")
    engine = open_engine(
        files,
        engine="auto",
        device="auto",
        threads=usable_cores(),
        precision=precision,
        cache=cache,
    )
    tokenizer = load_tokenizer(files.folder)
    with Tokenization(tokenizer, max_tokens=files.max_tokens, threads=1) as tokenization:

        def classify(texts: Sequence[str]) -> np.ndarray:
            """Return probabilities `[texts, labels]`, columns as in `LABELS`."""
            encodings = tokenization.encode_now(texts).ids
            columns = [files.labels.index(label) for label in LABELS]
            return softmax(infer_all(engine, encodings))[:, columns]

        parts = {
            f"{part}_{kind}": _measure(examples, classify)
            for part in (Part.VALIDATION, Part.TEST)
            for kind, soft in (("annotated", False), ("teacher", True))
            if (examples := [e for e in split.part(part) if e.soft is soft])
        }
        reserved = classify(RESERVED_TEXTS)
    same_split = _same_split(files.folder, dataset, held_out)
    if same_split is False:
        log.warning(
            "%s was trained on another selection of texts: some of these it may have seen",
            files.reference,
        )
    return {
        "model": files.reference,
        "held_out_from_its_training": same_split,
        "engine": {"name": engine.name, "precision": engine.precision},
        "data_sha256": dataset.sha256,
        "parts": parts,
        "documentation_examples": [
            {"text": text, "label": LABELS[row.argmax()], "score": round(float(row.max()), 4)}
            for text, row in zip(RESERVED_TEXTS, reserved, strict=True)
        ],
    }


def _same_split(folder: Path, dataset: Dataset, held_out: float) -> bool | None:
    """Whether the model's own record shows these files and this share; `None` without one."""
    record = folder / "training.json"
    if not record.is_file():
        return None
    data = json.loads(record.read_text())["data"]
    return bool(data["files_sha256"] == dataset.sha256 and data.get("held_out") == held_out)


def infer_all(engine: Engine, encodings: Sequence[TokenIds]) -> Logits:
    """Run all encodings in batches of similar length; rows come back in the given order."""
    order = sorted(range(len(encodings)), key=lambda index: len(encodings[index]))
    rows: list[Logits] = []
    for start in range(0, len(order), BATCH_TEXTS):
        chosen = [encodings[index] for index in order[start : start + BATCH_TEXTS]]
        batch = engine.batch_type.collate(chosen)
        rows.append(engine.infer(batch))
    logits = np.concatenate(rows)
    unsorted = np.empty_like(logits)
    unsorted[order] = logits
    return unsorted


def _measure(examples: Sequence[Example], classify: Any) -> dict[str, Any]:
    began_at = time.perf_counter()
    probabilities = classify([example.text for example in examples])
    texts_per_s = len(examples) / (time.perf_counter() - began_at)
    predicted = probabilities.argmax(axis=1)
    expected = np.array([example.label for example in examples])
    targets = np.array([example.target for example in examples])
    precision, recall, f1, support = precision_recall_fscore_support(
        expected, predicted, labels=range(len(LABELS)), zero_division=0
    )
    return {
        "texts": len(examples),
        "accuracy": round(float((predicted == expected).mean()), 4),
        "macro_f1": round(float(f1.mean()), 4),
        "mean_absolute_error": round(float(np.abs(probabilities - targets).mean()), 4),
        "labels": {
            label: {
                "precision": round(float(precision[index]), 4),
                "recall": round(float(recall[index]), 4),
                "f1": round(float(f1[index]), 4),
                "texts": int(support[index]),
            }
            for index, label in enumerate(LABELS)
        },
        "confusion": {
            "rows": "expected",
            "columns": list(LABELS),
            "counts": confusion_matrix(expected, predicted, labels=range(len(LABELS))).tolist(),
        },
        "texts_per_s": round(texts_per_s, 1),
    }
