"""Folders of states that appear whole or not at all, and hold nothing that can run.

A checkpoint is written beside its place, flushed to the disk and renamed; its manifest names the
SHA-256 of every file, so that one which a crash or a disk has torn is recognised and passed over
for the one before. Tensors are safetensors, everything else is JSON: of whatever else may lie in
the folder (`transformers.Trainer` would look for pickles there) no file is opened.

Knows names, tensors and numbers; what they mean is the trainer's.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sentiment import storage
from sentiment.errors import StorageError, first_line
from sentiment.models import file_sha256
from sentiment.storage import WRITING, flush

log = logging.getLogger(__name__)

KEPT = 2
"""The last good checkpoint, and the one before it should the last turn out torn."""

MANIFEST = "sha256.json"

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a training was at one step, read and verified."""

    folder: Path
    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    """By the name of their group, such as `weights`."""
    states: dict[str, Any]
    """What is no tensor, by the name of its file."""


class Checkpoints:
    """The checkpoints of one training, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(
        self, step: int, *, tensors: Mapping[str, Tensors], states: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint: tensors by group and name, and states that are JSON.

        The older ones but `KEPT` go, and all that are newer: they were torn and passed over, and
        would otherwise be kept in the place of whole ones.

        Raises:
            StorageError: the disk is full or cannot be written. The older ones are untouched.
        """
        with storage_errors(self.folder), appearing(self.folder / f"step-{step:08}") as folder:
            for name, group in tensors.items():
                contiguous = {key: tensor.detach().contiguous() for key, tensor in group.items()}
                save_file(contiguous, folder / f"{name}.safetensors")
            for name, state in states.items():
                text = json.dumps(state, allow_nan=False)
                (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        found = self._found()
        passed_over = [other for at, other in found if at > step]
        for other in (*passed_over, *[old for at, old in found if at <= step][:-KEPT]):
            shutil.rmtree(other, ignore_errors=True)

    def whole(self) -> Iterator[Checkpoint]:
        """Yield the checkpoints that are whole, newest first.

        Raises:
            StorageError: a whole checkpoint cannot be read; it was not written by this version.
        """
        for step, folder in reversed(self._found()):
            if is_whole(folder):
                yield _read(folder, step)
            else:
                log.warning("%s is damaged: going on from the checkpoint before it", folder)

    def model(self, best: dict[str, Any]) -> Path:
        """Return the folder of the best epoch's model, which lies among the checkpoints."""
        return self.folder / Path(best["model"]).name

    def states(self, name: str) -> Iterator[Any]:
        """Yield the state `name` of each checkpoint, oldest first."""
        for _, folder in self._found():
            with suppress(OSError, ValueError):  # of a torn one there may be nothing to say
                yield json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))

    def exist(self) -> bool:
        """Whether there is any checkpoint or best model, whole or not."""
        return bool(self._found()) or any(self.folder.glob("best-*"))

    def discard(self) -> None:
        """Remove the folder, which is there as it was or gone whenever the process dies.

        What a killed process has left of a folder that was gone goes as well.

        Raises:
            StorageError: it cannot be moved or removed.
        """
        aside = self.folder.with_name(f".discarded-{self.folder.name}")
        with storage_errors(self.folder):
            if aside.exists():
                shutil.rmtree(aside)
            if self.folder.exists():
                self.folder.rename(aside)
                shutil.rmtree(aside)

    def _found(self) -> list[tuple[int, Path]]:
        """Return steps and folders, oldest first."""
        if not self.folder.is_dir():
            return []
        matches = (
            (re.fullmatch(r"step-(\d{8})", path.name), path) for path in self.folder.iterdir()
        )
        return sorted((int(match[1]), path) for match, path in matches if match)


def _read(folder: Path, step: int) -> Checkpoint:
    try:
        states = {
            path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in folder.glob("*.json")
        }
        tensors = {path.stem: load_file(path) for path in folder.glob("*.safetensors")}
    except (OSError, SafetensorError, ValueError) as error:
        raise StorageError(f"{folder}: cannot be resumed: {first_line(error)}") from error
    return Checkpoint(folder, step, tensors, states)


def is_whole(folder: Path) -> bool:
    """Whether every file that the folder's manifest names is there as it was written."""
    try:
        digests = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(digests) and all(
            # A manifest leads nowhere but to its own folder.
            Path(name).name == name and file_sha256(folder / name) == digest
            for name, digest in digests.items()
        )
    except (OSError, ValueError, AttributeError, TypeError):
        return False


@contextmanager
def appearing(place: Path) -> Iterator[Path]:
    """Give a folder to write to that stands at `place`, whole and on the disk, afterwards.

    Where writing fails nothing stands there and the disk space is free again. What a killed
    process left half-written is removed on the way.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    for rest in place.parent.glob(f"{WRITING}*"):
        shutil.rmtree(rest)
    folder = place.parent / f"{WRITING}{place.name}"
    folder.mkdir()
    try:
        yield folder
        digests = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
        (folder / MANIFEST).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
        for path in (*folder.iterdir(), folder):
            flush(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if place.exists():  # of a run that was resumed from before it
        shutil.rmtree(place)
    folder.rename(place)
    flush(place.parent)


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Say in one line what the disk refuses, of tensors too.

    Raises:
        StorageError: an operation on a file failed.
    """
    try:
        with storage.storage_errors(place):
            yield
    except SafetensorError as error:
        raise StorageError(f"{place}: cannot be written: {first_line(error)}") from error
