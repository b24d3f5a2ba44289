"""The `calibrate` command: a finished model gets a temperature without being trained again."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment.errors import DataError, OptionError
from sentiment.models import resolve_model
from sentiment.training.checkpoints import storage_errors
from sentiment.training.datasets import Columns, read_examples
from sentiment.training.promotion import promote
from sentiment.training.replacement import MODEL_FILES, check_replaceable
from sentiment.training.splits import read_seen, split_examples


def calibrate(
    model: str,
    *,
    data: Sequence[Path],
    columns: Columns | None = None,
    seen: Sequence[Path] = (),
    held_out: float,
    golden: Path | None = None,
    output: Path,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a copy of `model` to `output`, calibrated on the validation part of `data`.

    The copy passes the gate that a trained model passes. Its weights, and a card that it has, are
    those of `model`.

    Args:
        model: folder or Hub name.
        data: labelled files; for a model of `train` those that it was trained on, so that they are
            divided as they were then.
        columns: of those that are tables.
        seen: labelled files that the model knows besides.
        held_out: share of the texts for each of validation and test.
        golden: sentences that promotion asks, where the bundled ones do not fit.
        output: may be the folder of `model`.
        overwrite: replace a model at `output`.

    Returns:
        What promotion says of the model.

    Raises:
        DataError: no text is held out to fit on.
        ModelError, StorageError: as `promote`.
        OptionError: something is in the way at `output`.
    """
    found = resolve_model(model)
    check_replaceable(output)
    if not overwrite and output.is_dir() and any(output.iterdir()):
        raise OptionError(f"{output} is not empty; --overwrite replaces it when done")
    dataset = read_examples(data, columns=columns)
    known = read_seen(seen, columns=columns)
    split = split_examples(dataset.examples, held_out=held_out, seen=known)
    if not split.validation:
        raise DataError(
            f"of {len(dataset.examples)} texts none is for validation: give more, or a larger "
            "--held-out"
        )
    work = output.with_name(f"{output.name}.work")
    check_replaceable(work)  # a calibration that failed has left a model there
    with storage_errors(output):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for path in found.folder.iterdir():
            if path.name in MODEL_FILES:  # links of the Hub's cache become files
                shutil.copyfile(path, work / path.name)
        return promote(work, output, split=split, golden=golden)
