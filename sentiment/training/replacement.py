"""A finished model folder takes its place, and the place of an older one, whole or not at all.

At every moment the old or the new folder lies there complete: under its own name or, between two
renames, the old one aside. What a killed process has left aside, the next one puts back.
"""

import logging
import os
import shutil
from pathlib import Path

from sentiment.errors import OptionError
from sentiment.manifest import SERVED_FILES, UNLISTED_FILES

log = logging.getLogger(__name__)

RECORDS = ("training.json", "evaluation.json")

MODEL_FILES = {*SERVED_FILES, *UNLISTED_FILES, *RECORDS, "special_tokens_map.json"}
"""What may be lost with the model that is replaced."""

FIGURES = ("folds.json", "folds.jsonl", ".writing-folds.json", ".writing-folds.jsonl")
"""What cross-validation writes, also when it is killed at it."""


def check_replaceable(output: Path) -> None:
    """Return if a model may be written to `output`: nothing but a model would be lost.

    Raises:
        OptionError: a file is there, or a folder with something that is no part of a model.
    """
    if not output.exists() and not output.is_symlink():
        return
    if output.is_symlink() or not output.is_dir():
        kind = "link" if output.is_symlink() else "file"
        raise OptionError(f"{output} is a {kind}; --output names a folder")
    entries = sorted(output.iterdir())
    for entry in entries:
        if entry.name not in MODEL_FILES or entry.is_dir():
            raise OptionError(
                f"{output} holds {entry.name}, which is no part of a model and would be lost; "
                "move it away or choose another --output"
            )


def check_takes_figures(output: Path) -> None:
    """Return if figures of folds may be written to `output`: no model lies there.

    Raises:
        OptionError: there is something else than such figures.
    """
    for entry in sorted(output.iterdir()) if output.is_dir() else ():
        if entry.name not in FIGURES:
            raise OptionError(
                f"{output} holds {entry.name}, which is no part of the figures of folds; "
                "move it away or choose another --output"
            )


def replace_folder(finished: Path, output: Path) -> None:
    """Move the folder `finished` to `output`, in the place of a model that may lie there.

    Both must be on one file system. `finished` is on the disk before it is seen.

    Raises:
        OptionError: as `check_replaceable`.
        OSError: it cannot be moved; what lay at `output` lies there still.
    """
    restore(output)
    check_replaceable(output)
    for path in (*finished.iterdir(), finished):
        _sync(path)
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(output)
    replaces = output.exists()
    if replaces:
        os.rename(output, aside)
    try:
        os.rename(finished, output)
    except BaseException:
        if replaces:
            os.rename(aside, output)
        raise
    _sync(output.parent)
    # Its loss would be none: the new one is there. Another process may be at the same.
    shutil.rmtree(aside, ignore_errors=True)


def restore(output: Path) -> None:
    """Put back, or remove, the model that a killed process has left aside.

    Raises:
        OSError: it cannot be moved.
    """
    aside = _aside(output)
    if not aside.is_dir():
        return
    if output.exists():
        shutil.rmtree(aside)
    else:
        os.rename(aside, output)
        log.warning("%s: put back the model that an interrupted promotion had moved aside", output)


def _aside(output: Path) -> Path:
    """Return a name that nobody chooses for anything else."""
    return output.with_name(f".{output.name}.replaced-by-promotion")


def _sync(path: Path) -> None:
    """Have a file or a folder's names on the disk.

    Raises:
        OSError: it cannot be.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
