"""The gate between training and serving: a model passes it complete, or stays where it is.

A trained folder is calibrated, asked sentences whose labels nobody doubts, measured, described,
sealed by a manifest and opened as the server opens it. Only then does it get its name.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sentiment.errors import ModelError, StorageError, first_line
from sentiment.manifest import MANIFEST_FILE, write_manifest
from sentiment.models import TEMPERATURE_FILE
from sentiment.training.bases import write_json
from sentiment.training.card import model_card
from sentiment.training.classifier import Classifier
from sentiment.training.datasets import Example
from sentiment.training.evaluation import evaluate_split
from sentiment.training.golden import check_golden, read_golden
from sentiment.training.replacement import check_replaceable, replace_folder
from sentiment.training.splits import Split
from sentiment.training.temperature import calibration_examples, fit_temperature, log_loss

log = logging.getLogger(__name__)

EVALUATION_FILE = "evaluation.json"
CARD_FILE = "README.md"

WRITTEN_HERE = (TEMPERATURE_FILE, EVALUATION_FILE, CARD_FILE, MANIFEST_FILE)

LONG_TEXT = "The company reads out its whole annual report, page after page. " * 100
"""Fills a model of 512 tokens: one that claims to read more than it can fails here."""


def promote(
    work: Path,
    output: Path,
    *,
    split: Split,
    record: dict[str, Any] | None = None,
    golden: Path | None = None,
) -> dict[str, Any]:
    """Finish the trained model in `work` and move it to `output`.

    `work` gets its temperature, evaluation, card and manifest. If anything is wrong with it, it
    stays for inspection and a model at `output` is not touched.

    Args:
        work: config, weights, tokenizer and `training.json`; on the file system of `output`.
        split: what the model was trained on and what it was not.
        record: as `training.json`, for the card; without one the card is what lies in `work`.
        golden: CSV with `text` and `label` to take the place of the bundled golden sentences,
            for models of another domain or language.

    Returns:
        What `evaluation.json` holds: `evaluate_split`'s figures, `temperature`, and
        `golden_sentences`.

    Raises:
        ModelError: the model cannot be served, has its labels swapped, or fails on golden
            sentences. Says where `work` lies, as does
        StorageError: the disk is full or cannot be written.
        OptionError: something that is no model is in the way at `output`.
        DataError: there are no golden sentences, or no texts to evaluate on.
    """
    check_replaceable(output)
    sentences = read_golden(golden, trained_on=split.train)
    try:
        for name in WRITTEN_HERE:  # by an attempt that failed
            if record is not None or name != CARD_FILE:
                (work / name).unlink(missing_ok=True)
        with Classifier.open(str(work)) as classifier:
            right = _classify(classifier, sentences)
            temperature = _fit(classifier, split)
        write_json(work / TEMPERATURE_FILE, temperature)
        model = replace(classifier.model, name=output.name)
        evaluation = {
            **evaluate_split(work, split),
            "model": model.reference,
            "temperature": temperature,
            "golden_sentences": right,
        }
        write_json(work / EVALUATION_FILE, evaluation)
        if record is not None:
            card = model_card(model, record=record, evaluation=evaluation, english=golden is None)
            (work / CARD_FILE).write_text(card, encoding="utf-8")
        write_manifest(work)
        # As the server will: verified, at the precision that it chooses here.
        with Classifier.open(str(work), precision="auto") as classifier:
            _classify(classifier, sentences)
        replace_folder(work, output)
    except (ModelError, OSError) as error:
        reason = first_line(error).rstrip(".")
        kind = ModelError if isinstance(error, ModelError) else StorageError
        raise kind(f"{reason}; not promoted, and left for inspection in {work}") from error
    log.info("%s is promoted: temperature %.4f", output, temperature["temperature"])
    return evaluation


def _classify(classifier: Classifier, sentences: Sequence[Example]) -> dict[str, str]:
    """Return how the model did on the golden sentences; see `check_golden`."""
    texts = [sentence.text for sentence in sentences]
    try:
        probabilities = classifier.probabilities([*texts, LONG_TEXT])
    except ModelError:
        raise
    except Exception as error:  # of whichever library the engine is made
        raise ModelError(
            f"{classifier.model.reference}: fails on a text: {first_line(error)}"
        ) from error
    return check_golden(sentences, probabilities[:-1])


def _fit(classifier: Classifier, split: Split) -> dict[str, Any]:
    """Return `temperature.json`."""
    examples = calibration_examples(split)
    targets = np.array([example.target for example in examples])
    logits = classifier.logits([example.text for example in examples])
    temperature = round(fit_temperature(logits, targets), 4)
    return {
        "temperature": temperature,
        "weights_sha256": classifier.model.weights_sha256,
        "fitted_on": {
            "part": "validation",
            "labels": "teacher's" if examples[0].soft else "annotated",
            "texts": len(examples),
            "split_sha256": split.sha256,
            "log_loss_before": round(log_loss(logits, targets), 4),
            "log_loss": round(log_loss(logits, targets, temperature), 4),
        },
    }
