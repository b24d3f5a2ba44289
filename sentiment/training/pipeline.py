"""The `train` command: labelled files become a model folder, or the figures of k folds.

The parts know each other only here: data, base, teacher, run folder, training, promotion.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sentiment.errors import ModelError, OptionError, first_line
from sentiment.models import file_sha256, resolve_base, resolve_model
from sentiment.storage import write_whole
from sentiment.training.bases import write_json
from sentiment.training.checkpoints import MANIFEST, Checkpoints, storage_errors
from sentiment.training.datasets import Columns, Dataset, read_examples
from sentiment.training.evaluation import earlier_trainings, known_before
from sentiment.training.fitting import Fitted, fit
from sentiment.training.folds import cross_validate
from sentiment.training.golden import read_golden
from sentiment.training.promotion import EVALUATION_FILE, promote
from sentiment.training.recipe import Recipe
from sentiment.training.replacement import check_replaceable, check_takes_figures
from sentiment.training.runs import RunOptions, is_promoted, opened_run, read_settings, run_settings
from sentiment.training.splits import Split, read_seen, split_examples

log = logging.getLogger(__name__)


def train(
    data: Sequence[Path],
    *,
    columns: Columns | None = None,
    seen: Sequence[Path] = (),
    base: str,
    base_sha256: str | None = None,
    teacher: str | None = None,
    held_out: float,
    folds: int = 0,
    golden: Path | None = None,
    recipe: Recipe,
    options: RunOptions,
) -> dict[str, Any]:
    """Train by `recipe` and write the model to `options.output`.

    Args:
        data: labelled files.
        columns: of those that are tables.
        seen: labelled files that base or teacher know: what resembles them is never evaluated.
        base: folder or Hub name of the model to start from.
        base_sha256: what its weights' digest must be.
        teacher: folder or Hub name of a model whose answers are learnt beside the labels.
        held_out: share of the texts for each of validation and test.
        golden: sentences that promotion asks, where the bundled ones do not fit.
        folds: instead, train so many models and write the figures of what each had not seen.

    Returns:
        What promotion says of the model; with `folds` the pooled figures.

    Raises:
        ModelError: base or teacher cannot be had or used, or the loss is not finite any more.
        DataError: nothing to train on, or to measure with.
        OptionError: the output or another run is in the way, or options contradict.
        StorageError: the disk is full or cannot be written.
        Interrupted: by a signal; the run can be resumed.
    """
    if folds == 1:
        raise OptionError("--folds 1 leaves nothing to train on; it takes 2 or more")
    if folds and golden is not None:
        raise OptionError("--golden is for promotion, and --folds promotes no model")
    start = resolve_base(base)
    if base_sha256 and start.weights_sha256 != base_sha256:
        raise ModelError(
            f"{base}: the weights have SHA-256 {start.weights_sha256}, not {base_sha256}"
        )
    master = resolve_model(teacher) if teacher else None
    earlier = earlier_trainings(start.folder, *([master.folder] if master else []))
    dataset = read_examples(data, columns=columns)
    if recipe.by_agreement:
        dataset.check_agreements()
    known = read_seen(seen, columns=columns)
    if folds:
        check_takes_figures(options.output)
    else:  # what promotion would refuse is told before hours of work
        split = split_examples(dataset.examples, held_out=held_out, seen=known)
        split.check_trainable()
        check_replaceable(options.output)
        read_golden(golden, trained_on=split.train)
    if known_before(earlier, dataset.sha256, None if folds else split):
        log.warning(
            "base or teacher were trained on some of these files, divided otherwise: they may have "
            "seen what is tested here"
        )
    settings = run_settings(
        base=start,
        dataset=dataset,
        recipe=recipe,
        teacher=master.reference if master else None,
        split={
            "held_out": held_out,
            "folds": folds,
            "seen_sha256": {path.name: file_sha256(path) for path in seen},
            "agreement_sha256": dataset.agreement_sha256,
        },
    )
    with opened_run(options, settings) as folder:
        _write_conflicts(dataset, folder)
        if folds:
            return cross_validate(
                dataset.examples,
                seen=known,
                base=start,
                teacher=master,
                held_out=held_out,
                folds=folds,
                recipe=recipe,
                settings=settings,
                folder=folder,
                options=options,
            )
        checkpoints = Checkpoints(folder / "checkpoints")
        if is_promoted(options):
            log.info("%s is finished already", options.output)
            checkpoints.discard()  # what a process that was killed at this has left of them
            return _read_evaluation(options.output)
        fitted = fit(
            split, base=start, teacher=master, recipe=recipe, folder=folder, options=options
        )
        record = _record(dataset, split, fitted, read_settings(folder), earlier)
        with storage_errors(options.output):
            promoted = promote(
                _work_folder(fitted, record, folder),
                options.output,
                split=split,
                record=record,
                golden=golden,
            )
        checkpoints.discard()
        return promoted


def _write_conflicts(dataset: Dataset, folder: Path) -> None:
    """Write down the texts that have two labels, in the run folder: a model's has no texts."""
    if dataset.conflicts:
        lines = [json.dumps(asdict(each), ensure_ascii=False) for each in dataset.conflict_list]
        path = folder / "conflicts.jsonl"
        with storage_errors(folder):
            write_whole(path, "\n".join(lines) + "\n")
        log.warning(
            "texts with two labels, of which the first counts: %d, see %s", dataset.conflicts, path
        )


def _read_evaluation(output: Path) -> dict[str, Any]:
    path = output / EVALUATION_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not the evaluation of a model: {first_line(error)}") from error
    return found


def _work_folder(fitted: Fitted, record: dict[str, Any], folder: Path) -> Path:
    """Return a copy of the model with its record: promotion may fail and be tried again."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for path in fitted.folder.iterdir():  # `copytree` would hide the disk's error in a list
        if path.name != MANIFEST:
            shutil.copyfile(path, work / path.name)
    write_json(work / "training.json", record)
    return work


def _record(
    dataset: Dataset,
    split: Split,
    fitted: Fitted,
    settings: dict[str, Any],
    earlier: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what `training.json` says of how the model came about."""
    return {
        "base": settings["base"],
        "recipe": settings["recipe"],
        "teacher": settings["teacher"],
        "data": {
            "files_sha256": dataset.sha256,
            "rows": dataset.rows,
            "duplicates_merged": dataset.duplicates,
            "label_conflicts": dataset.conflicts,
            "reserved_left_out": dataset.reserved,
            "earlier": earlier,
            "seen_sha256": settings["split"]["seen_sha256"],
            "agreement_sha256": dataset.agreement_sha256,
            "held_out": split.held_out,
            "split_sha256": split.sha256,
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
        },
        "versions": settings["versions"],
        "commit": settings["commit"],
        "command": _without_folders(settings["command"]),
        "resumed": [
            part | {"command": _without_folders(part["command"])}
            for part in settings.get("resumed", ())
        ],
        "best": fitted.best,
        "epochs": fitted.epochs,
    }


def _without_folders(command: Sequence[str]) -> list[str]:
    """Return arguments of which the paths are the files' names: a model may be published."""
    named = []
    for argument in command:
        option, equals, value = argument.rpartition("=")
        is_path = "/" in value and Path(value).parent.is_dir()
        named.append(f"{option}{equals}{Path(value).name}" if is_path else argument)
    return named
