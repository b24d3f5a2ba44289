"""How good a model is on held-out texts, measured with the engine that serves it."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from sentiment.errors import DataError
from sentiment.predictions import LABELS
from sentiment.training.classifier import Classifier
from sentiment.training.datasets import RESERVED_TEXTS, Dataset, Example, read_examples
from sentiment.training.splits import Part, Split, split_examples

log = logging.getLogger(__name__)


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
    dataset = read_examples(data)
    split = split_examples(dataset.examples, held_out=held_out)
    if not split.test:
        raise DataError("nothing is held out: too few texts")
    with Classifier.open(model, precision=precision, cache=cache) as classifier:
        figures = _figures(classifier, split)
    same_split = _same_split(classifier.model.folder, dataset, held_out)
    if same_split is False:
        log.warning(
            "%s was trained on another selection of texts: some of these it may have seen",
            classifier.model.reference,
        )
    return {
        **figures,
        "held_out_from_its_training": same_split,
        "data_sha256": dataset.sha256,
    }


def evaluate_split(folder: Path, split: Split) -> dict[str, Any]:
    """Evaluate the model in `folder` on the held-out parts of the split it was trained on.

    Raises:
        ModelError: the folder cannot be served, or its labels are not the data's.
        DataError: nothing is held out.
    """
    if not split.test:
        raise DataError("nothing is held out: too few texts")
    with Classifier.open(str(folder)) as classifier:
        figures = _figures(classifier, split)
    data = json.loads((folder / "training.json").read_text())["data"]
    return {
        **figures,
        "held_out_from_its_training": True,
        "data_sha256": data["files_sha256"],
    }


def _figures(classifier: Classifier, split: Split) -> dict[str, Any]:
    parts = {
        f"{part}_{kind}": _measure(examples, classifier)
        for part in (Part.VALIDATION, Part.TEST)
        for kind, soft in (("annotated", False), ("teacher", True))
        if (examples := [e for e in split.part(part) if e.soft is soft])
    }
    reserved = classifier.probabilities(RESERVED_TEXTS)
    return {
        "model": classifier.model.reference,
        "engine": {"name": classifier.engine.name, "precision": classifier.engine.precision},
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


def _measure(examples: Sequence[Example], classifier: Classifier) -> dict[str, Any]:
    probabilities = classifier.probabilities([example.text for example in examples])
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
        "texts_per_s": round(classifier.texts_per_s, 1),
    }
