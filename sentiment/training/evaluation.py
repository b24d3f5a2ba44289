"""How good models are, measured with the engine that serves them.

Annotators' labels and a teacher's probabilities are never mixed: accuracy against a person and
agreement with another model are different claims. Neither are texts like those of the training
and texts of another kind (benchmarks).
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment.errors import ModelError
from sentiment.models import resolve_model
from sentiment.predictions import LABELS, Probabilities
from sentiment.training.classifier import Classifier
from sentiment.training.datasets import RESERVED_TEXTS, Columns, Example, read_examples
from sentiment.training.measures import mcnemar, measure, rounded
from sentiment.training.splits import Split, read_split
from sentiment.training.textsets import (
    TextSet,
    all_texts,
    benchmark_texts,
    describe,
    held_out_texts,
)

log = logging.getLogger(__name__)

MISTAKES = 20
UNCERTAIN = 10


def evaluate_models(
    models: Sequence[str],
    *,
    data: Sequence[Path],
    held_out: float = 0.1,
    everything: bool = False,
    columns: Columns | None = None,
    seen: Sequence[Path] = (),
    benchmarks: Mapping[str, Sequence[Path]] | None = None,
    precision: str = "fp32",
    cache: Path | None = None,
) -> dict[str, Any]:
    """Measure `models`, one after the other, on the same texts.

    Args:
        models: as `SENTIMENT_MODEL`; the first is the one that thresholds judge.
        held_out: share of validation and of test; both are measured, training's texts never.
        everything: measure all texts of `data` instead, for models trained elsewhere.
        columns: of the data's files that are tables.
        seen: labelled files whose texts, and what resembles them, are not held out.
        benchmarks: files by the name that the report gives them, measured whole.
        precision: as `SENTIMENT_PRECISION`.
        cache: as `SENTIMENT_CACHE_FOLDER`.

    Returns:
        `data` (digests, split), `sets` (what was measured on), `main_set` (the test part's
        annotated texts; its teacher's where nobody annotated any), `models` (of each
        what `evaluate_split` answers, and its worst mistakes), `comparisons` (each pair of models
        on each set, see `mcnemar`). Ready for JSON.

    Raises:
        ModelError: a model cannot be had, or its labels are not the data's.
        DataError: a file cannot be read, or nothing is held out.
    """
    if everything:
        dataset, split = read_examples(data, columns=columns), None
        parts = all_texts(dataset)
    else:
        dataset, split = read_split(data, held_out=held_out, columns=columns, seen=seen)
        parts = held_out_texts(split)
    sets = parts + [
        benchmark_texts(name, files) for name, files in sorted((benchmarks or {}).items())
    ]
    for model in models[1:]:
        resolve_model(model)  # a name that is wrong is told before hours of another model
    entries, rights = [], []
    for model in models:
        with Classifier.open(model, precision=precision, cache=cache) as classifier:
            entry, right = _evaluate(classifier, sets, dataset.sha256, split)
        _warn(entry)
        entries.append(entry)
        rights.append(right)
    return {
        "main_set": sets[0].name,
        "data": {
            "files_sha256": dataset.sha256,
            "rows": dataset.rows,
            "duplicates_merged": dataset.duplicates,
            "label_conflicts": dataset.conflicts,
            "held_out": None if split is None else held_out,
            "split_sha256": None if split is None else split.sha256,
        },
        "sets": [describe(each, dataset) for each in sets],
        "models": entries,
        "comparisons": [
            {"set": each.name, "first": first, "second": second}
            | mcnemar(rights[first][each.name], rights[second][each.name])
            for each in sets
            for first, second in combinations(range(len(entries)), 2)
        ],
    }


def evaluate_split(folder: Path, split: Split) -> dict[str, Any]:
    """Measure the model in `folder` on the held-out parts of the split that it was trained on.

    Holds no text of the data, so that it may lie in a published folder.

    Returns:
        `model`, `engine`, `parts` (see `measure`; `validation` and `test`, each `annotated` and
        `teacher`), `documentation_examples`, digests of data and split, and whether the
        folder's own record shows that these texts were held out. Ready for JSON.

    Raises:
        ModelError: the folder cannot be served.
        DataError: nothing is held out.
    """
    sets = held_out_texts(split)
    with Classifier.open(str(folder)) as classifier:
        files_sha256 = training_record(folder).get("files_sha256", {})
        entry, _ = _evaluate(classifier, sets, files_sha256, split)
    del entry["mistakes"], entry["uncertain"]
    return entry


def model_names(evaluation: Mapping[str, Any]) -> list[str]:
    """Return what to call each model: its name, with its revision or a number where need be."""
    references = [entry["model"] for entry in evaluation["models"]]
    short = [reference.rpartition("@")[0] for reference in references]
    names = short if len(set(short)) == len(short) else references
    return [
        f"{name} ({number})" if names.count(name) > 1 else name
        for number, name in enumerate(names, start=1)
    ]


def training_record(folder: Path) -> dict[str, Any]:
    """Return what a model's `training.json` says of its data; nothing without such a record."""
    try:
        data = json.loads((folder / "training.json").read_text(encoding="utf-8"))["data"]
        digests = data["files_sha256"].values()
        return data if all(isinstance(digest, str) for digest in digests) else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # trained elsewhere: its folder may hold a file of that name


def earlier_trainings(*folders: Path) -> list[dict[str, Any]]:
    """Return what a base and a teacher were trained on, and their own bases before them."""
    found = []
    for folder in folders:
        if record := training_record(folder):
            found.append({key: record.get(key) for key in ("files_sha256", "split_sha256")})
            found += record.get("earlier", [])
    return found


def known_before(
    earlier: Iterable[Mapping[str, Any]], files_sha256: Mapping[str, str], split: Split | None
) -> bool:
    """Whether one of the `earlier` trainings knew these files and held out other texts of them."""
    files = set(files_sha256.values())
    return any(
        files & set(training["files_sha256"].values())
        and (split is None or training["split_sha256"] != split.sha256)
        for training in earlier
    )


def was_held_out(
    trained_on: Mapping[str, Any], files_sha256: Mapping[str, str], split: Split | None
) -> bool | None:
    """Whether the record shows that none of these texts was trained on; `None` without one."""
    if not trained_on:
        return None
    if split is None:
        shared = set(trained_on["files_sha256"].values()) & set(files_sha256.values())
        return False if shared else None
    if known_before(trained_on.get("earlier", ()), files_sha256, split):
        return False
    if "split_sha256" in trained_on:
        return bool(trained_on["split_sha256"] == split.sha256)
    # Records of before there was a digest: how a text is drawn may have changed since.
    known = ("files_sha256", "held_out", "validation", "test")
    found = (files_sha256, split.held_out, len(split.validation), len(split.test))
    return tuple(map(trained_on.get, known)) == found


def _evaluate(
    classifier: Classifier,
    sets: Sequence[TextSet],
    files_sha256: Mapping[str, str],
    split: Split | None,
) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.bool_]]]:
    """Return a model's figures, and of each set which texts it got right."""
    model, engine = classifier.model, classifier.engine
    trained_on = training_record(model.folder)
    seen = set(trained_on.get("files_sha256", {}).values())
    parts, rights, answers = {}, {}, {}
    for texts in sets:
        probabilities = _probabilities(classifier, [each.text for each in texts.examples])
        expected = np.array([each.label for each in texts.examples])
        answers[texts.name] = probabilities
        rights[texts.name] = probabilities.argmax(axis=1) == expected
        parts[texts.name] = measure(texts.examples, probabilities)
        parts[texts.name]["texts_per_s"] = round(classifier.texts_per_s, 1)
        if texts.kind == "benchmark":
            parts[texts.name]["trained_on"] = bool(seen & set(texts.files_sha256.values()))
        log.info(
            "%s: %s, %d texts, %.0f texts/s",
            *(model.reference, texts.name, len(expected), classifier.texts_per_s),
        )
    reserved = _probabilities(classifier, RESERVED_TEXTS)
    entry = {
        "model": model.reference,
        "held_out_from_its_training": was_held_out(trained_on, files_sha256, split),
        "engine": {"name": engine.name, "precision": engine.precision},
        "data_sha256": dict(files_sha256),
        "split_sha256": None if split is None else split.sha256,
        "parts": parts,
        "documentation_examples": [
            {"text": text, "label": LABELS[row.argmax()], "score": rounded(row.max())}
            for text, row in zip(RESERVED_TEXTS, reserved, strict=True)
        ],
        **_notable(sets[0].examples, answers[sets[0].name]),
    }
    return entry, rights


def _probabilities(classifier: Classifier, texts: Sequence[str]) -> Probabilities:
    probabilities = classifier.probabilities(texts)
    if not np.isfinite(probabilities).all():
        raise ModelError(f"{classifier.model.reference}: answers what is no number")
    return probabilities


def _notable(examples: Sequence[Example], probabilities: Probabilities) -> dict[str, Any]:
    """Return the texts worth reading: the most confident mistakes, and the closest calls."""
    expected = np.array([each.label for each in examples])
    ranked = np.sort(probabilities, axis=1)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != expected)
    mistakes = wrong[np.argsort(-ranked[wrong, -1], kind="stable")][:MISTAKES]
    uncertain = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")[:UNCERTAIN]

    def described(index: int) -> dict[str, Any]:
        row = probabilities[index]
        return {
            "text": examples[index].text,
            "expected": LABELS[expected[index]],
            "predicted": LABELS[row.argmax()],
            "probabilities": dict(zip(LABELS, rounded(row), strict=True)),
            "agreement": examples[index].agreement,
        }

    return {
        "mistakes": [described(index) for index in mistakes],
        "uncertain": [described(index) for index in uncertain],
    }


def _warn(entry: Mapping[str, Any]) -> None:
    if entry["held_out_from_its_training"] is False:
        log.warning(
            "%s was trained on another selection of texts: some of these it may have seen",
            entry["model"],
        )
    for name, part in entry["parts"].items():
        if part.get("trained_on"):
            log.warning("%s was trained on %s", entry["model"], name)
