"""Cross-validation: k models, each measured on what it has not seen.

No model comes out of it, only figures that stand on every annotated text instead of a tenth of
them. A fold that is finished is not trained again when the run is resumed.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentiment.errors import DataError
from sentiment.models import BaseFiles, ModelFiles, read_model
from sentiment.predictions import softmax
from sentiment.storage import write_whole
from sentiment.training.checkpoints import Checkpoints, storage_errors
from sentiment.training.classifier import Classifier
from sentiment.training.datasets import Example
from sentiment.training.fitting import fit
from sentiment.training.measures import measure
from sentiment.training.recipe import Recipe
from sentiment.training.runs import RunOptions
from sentiment.training.splits import Split, fold_examples
from sentiment.training.temperature import calibration_examples, fit_temperature

log = logging.getLogger(__name__)

ROWS = "predictions.jsonl"


def cross_validate(
    examples: Sequence[Example],
    *,
    seen: Sequence[Example] = (),
    base: BaseFiles,
    teacher: ModelFiles | None,
    held_out: float,
    folds: int,
    recipe: Recipe,
    settings: Mapping[str, Any],
    folder: Path,
    options: RunOptions,
) -> dict[str, Any]:
    """Train `folds` models in `folder` and write the pooled figures to `options.output`.

    There `folds.jsonl` has a row for each annotated text that was tested: the SHA-256 of the
    text, its fold, label and agreement, and the probabilities, calibrated on the fold's own
    validation part as a finished model's are; `folds.json` the figures.

    Args:
        settings: as `run_settings`; what the figures belong to.

    Returns:
        What `folds.json` holds.

    Raises:
        DataError: a fold has too few texts, or none with an annotator's label.
        ModelError, StorageError, Interrupted: as `fit`.
    """
    pooled: list[Example] = []
    rows: list[dict[str, Any]] = []
    parts = []
    splits = fold_examples(examples, folds=folds, held_out=held_out, seen=seen)
    for number, split in enumerate(splits, start=1):
        tested = [example for example in split.test if not example.soft]
        if not tested:
            raise DataError(f"fold {number} of {folds} has no annotated text to test")
        place = folder / f"fold-{number}"
        found = _read_rows(place / ROWS, tested)
        if found is None:
            log.info("fold %d of %d: %d texts to train on", number, folds, len(split.train))
            found = _train_fold(
                split, tested, number, base, teacher, recipe, folder=place, options=options
            )
        Checkpoints(place / "checkpoints").discard()  # also those of one killed before this
        parts.append(
            {
                "fold": number,
                "split_sha256": split.sha256,
                "train": len(split.train),
                "temperature": found[0]["temperature"],
                **measure(tested, _matrix(found)),
            }
        )
        log.info("fold %d of %d: macro-F1 %.4f", number, folds, parts[-1]["macro_f1"])
        pooled += tested
        rows += found
    annotated = sum(not example.soft for example in examples)
    figures = {
        **settings,
        "annotated_texts": annotated,
        "never_tested": annotated - len(pooled),
        "pooled": measure(pooled, _matrix(rows)),
        "folds": parts,
    }
    with storage_errors(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
        write_whole(options.output / "folds.jsonl", _lines(rows))
        write_whole(options.output / "folds.json", json.dumps(figures, indent=2) + "\n")
    return figures


def _train_fold(
    split: Split,
    tested: Sequence[Example],
    number: int,
    base: BaseFiles,
    teacher: ModelFiles | None,
    recipe: Recipe,
    *,
    folder: Path,
    options: RunOptions,
) -> list[dict[str, Any]]:
    fitted = fit(split, base=base, teacher=teacher, recipe=recipe, folder=folder, options=options)
    model = read_model(fitted.folder, name=f"fold-{number}")
    with Classifier(model, precision="fp32") as classifier:
        chosen = calibration_examples(split)
        logits = classifier.logits([example.text for example in chosen])
        temperature = fit_temperature(logits, [example.target for example in chosen])
        answers = softmax(classifier.logits([example.text for example in tested]), temperature)
    rows = [
        {
            "text_sha256": _digest(example),
            "fold": number,
            "temperature": round(temperature, 4),
            "label": example.label,
            "agreement": example.agreement,
            "probabilities": [round(float(p), 6) for p in row],
        }
        for example, row in zip(tested, answers, strict=True)
    ]
    with storage_errors(folder):
        write_whole(folder / ROWS, _lines(rows))
    return rows


def _read_rows(path: Path, tested: Sequence[Example]) -> list[dict[str, Any]] | None:
    """Return a finished fold's rows, if they are about these texts."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        texts = [row["text_sha256"] for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return rows if texts == [_digest(example) for example in tested] else None


def _matrix(rows: Sequence[dict[str, Any]]) -> Any:
    return np.array([row["probabilities"] for row in rows], dtype=np.float32)


def _digest(example: Example) -> str:
    return hashlib.sha256(example.text.encode()).hexdigest()


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
