"""A teacher's probabilities, computed once by the engine that would serve it."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sentiment.models import ModelFiles
from sentiment.predictions import Logits
from sentiment.training.checkpoints import storage_errors
from sentiment.training.classifier import Classifier
from sentiment.training.datasets import Example

log = logging.getLogger(__name__)

KEPT = "teacher.safetensors"


def ask(teacher: ModelFiles, examples: Sequence[Example], *, folder: Path) -> Logits:
    """Return the teacher's probabilities `[examples, labels]`, columns as in `LABELS`.

    They are kept in `folder`: a resumed training does not ask again.

    Raises:
        ModelError: the teacher cannot be served, or its labels are not the data's.
        StorageError: they cannot be kept.
    """
    asked = {"teacher": teacher.reference, "texts_sha256": _digest(examples)}
    path = folder / KEPT
    if (kept := _read(path, asked)) is not None:
        return kept
    log.info("asking %s about %d texts", teacher.reference, len(examples))
    with Classifier(teacher, precision="fp32") as classifier:
        answers = classifier.probabilities([example.text for example in examples])
    with storage_errors(path):
        writing = path.with_name(f".{path.name}")
        save_file({"probabilities": answers}, writing, metadata=asked)
        writing.replace(path)
    return answers


def _read(path: Path, asked: dict[str, str]) -> Logits | None:
    try:
        with safe_open(path, framework="numpy") as file:
            if file.metadata() != asked:
                return None
            answers: Logits = file.get_tensor("probabilities")
            return answers
    except (OSError, SafetensorError):
        return None


def _digest(examples: Sequence[Example]) -> str:
    texts = json.dumps([example.text for example in examples])
    return hashlib.sha256(texts.encode()).hexdigest()
