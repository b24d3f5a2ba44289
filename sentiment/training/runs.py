"""The folder beside the output where a training keeps what it was and how it went.

`OUTPUT.run/` holds `settings.json` (what was asked for and with what), `log.jsonl`,
`tensorboard/`, and while the training is unfinished `checkpoints/`. A run is continued only by
the same training: another recipe, base or data would make a model that no record describes.
"""

import fcntl
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sentiment.errors import ModelError, OptionError
from sentiment.models import BaseFiles, file_sha256, find_weights
from sentiment.storage import write_whole
from sentiment.training.checkpoints import Checkpoints, storage_errors
from sentiment.training.datasets import Dataset
from sentiment.training.recipe import Recipe
from sentiment.training.replacement import restore

log = logging.getLogger(__name__)

IDENTITY = ("recipe", "base", "data", "split", "teacher")
"""The parts of `settings.json` that make two runs the same training."""

PROVENANCE = ("versions", "commit", "command")
"""The parts that say with what a run was begun; a resumed one may go on with others."""

LIBRARIES = ("torch", "transformers", "tokenizers")

FINISHED = "finished.json"
"""Appears when the training has ended, and names the digest of its weights; the model then lies
among the checkpoints, and after promotion at the output instead."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a training does besides training. Changes no weight."""

    output: Path
    resume: bool = False
    overwrite: bool = False
    threads: int = 0
    """Of torch; 0 takes every core that the process may use."""
    checkpoint_steps: int = 0
    """Steps between checkpoints; 0 writes them as often as costs two per cent of the time."""
    log_steps: int = 10
    """Steps between rows of `log.jsonl`."""
    tensorboard: bool | None = None
    """`None` writes its log where it is installed."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.output.with_name(self.output.name + ".run")


def run_settings(
    *,
    base: BaseFiles,
    dataset: Dataset,
    recipe: Recipe,
    teacher: str | None,
    split: dict[str, Any],
) -> dict[str, Any]:
    """Return what `settings.json` holds.

    Args:
        teacher: `name@revision`.
        split: how the texts were divided, as numbers.
    """
    return {
        "recipe": recipe.as_dict(),
        "base": {
            "name": base.name,
            "revision": base.revision,
            "weights_sha256": base.weights_sha256,
        },
        "data": dataset.sha256,
        "split": split,
        "teacher": teacher,
        "versions": {name: version(name) for name in LIBRARIES},
        "commit": git_commit(),
        "command": ["python", "-m", "sentiment", *sys.argv[1:]],
    }


@contextmanager
def opened_run(options: RunOptions, settings: dict[str, Any]) -> Iterator[Path]:
    """Make or continue the run folder, for this process alone, and return it.

    Raises:
        OptionError: the output or an unfinished run is in the way, the run to resume is
            another training, or another process is at it.
        StorageError: the folder cannot be written.
    """
    folder = options.folder
    _refuse_to_lose(options, settings)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel drops it with us
        except OSError as error:
            raise OptionError(f"{folder}: another process is training there") from error
        with storage_errors(folder):
            restore(options.output)
            _refuse_to_lose(options, settings)  # what was put back, or came meanwhile
            if options.resume and (folder / "settings.json").is_file():
                begun = read_settings(folder)
                _refuse_another(folder, begun, settings)
                _note_resumed(folder, begun, settings)
            else:
                if options.resume:
                    log.info("%s holds no training yet: beginning one", folder)
                _clear(folder)
                write_whole(folder / "settings.json", json.dumps(settings, indent=2) + "\n")
        yield folder


def is_promoted(options: RunOptions) -> bool:
    """Whether the run's model lies at the output and nowhere else: nothing is left to do.

    Raises:
        OptionError: it lies nowhere any more.
    """
    if not (options.folder / FINISHED).is_file() or (options.folder / "checkpoints").exists():
        return False
    if _holds_own_model(options):
        return True
    raise OptionError(
        f"{options.folder} is of a training that has ended, but its model is not in "
        f"{options.output} any more; put it back, or begin anew without --resume"
    )


def _holds_own_model(options: RunOptions) -> bool:
    """Whether the weights at the output are those with which this run has ended.

    Not whether it has ended: promotion may have been refused, and an older model lie there.
    """
    try:
        said = json.loads((options.folder / FINISHED).read_text(encoding="utf-8"))
        return bool(said["weights_sha256"] == file_sha256(find_weights(options.output)))
    except (OSError, ValueError, LookupError, TypeError, ModelError):
        return False


def _holds_own_figures(options: RunOptions, settings: dict[str, Any]) -> bool:
    """Whether the figures of folds at the output are of this recipe and base."""
    try:
        said = json.loads((options.output / "folds.json").read_text(encoding="utf-8"))
        own = settings["recipe"], settings["base"]["name"]
        return bool((said["recipe"], said["base"]) == own)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _refuse_to_lose(options: RunOptions, settings: dict[str, Any]) -> None:
    """Raise where going on would cost a finished model or an unfinished run."""
    if options.output.exists() and not options.output.is_dir():
        raise OptionError(f"{options.output} is a file; --output names a folder")
    if options.overwrite:
        return
    if options.output.is_dir() and any(options.output.iterdir()):
        own = _holds_own_model(options) or _holds_own_figures(options, settings)
        if not (options.resume and own):
            raise OptionError(f"{options.output} is not empty; --overwrite replaces it when done")
    if options.resume:
        return
    for checkpoints in (options.folder / "checkpoints", *options.folder.glob("*/checkpoints")):
        if Checkpoints(checkpoints).exist():
            raise OptionError(
                f"{options.folder} holds an unfinished training; --resume continues it, "
                "--overwrite begins anew"
            )


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what `settings.json` says; see `run_settings`.

    `resumed` lists the `PROVENANCE` of the processes that went on with another one.

    Raises:
        OptionError: the file is damaged.
        OSError: it cannot be read.
    """
    path = folder / "settings.json"
    try:
        begun: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(part in begun for part in (*IDENTITY, *PROVENANCE)):
            return begun
    except (ValueError, TypeError) as error:
        raise OptionError(f"{path}: not a training's settings") from error
    raise OptionError(f"{path}: not a training's settings")


def _refuse_another(folder: Path, begun: dict[str, Any], settings: dict[str, Any]) -> None:
    differing = [
        f"{name}: {before!r}, not {now!r}"
        for part in IDENTITY
        for name, before, now in _differences(part, begun[part], settings[part])
    ]
    if differing:
        raise OptionError(f"{folder} is another training: it has {'; '.join(differing)}")


def _note_resumed(folder: Path, begun: dict[str, Any], settings: dict[str, Any]) -> None:
    """Warn of other libraries, and write down what other code or command goes on."""
    for name, before, now in _differences("versions", begun["versions"], settings["versions"]):
        library = name.removeprefix("versions ")
        log.warning(
            "%s was begun with %s %s and goes on with %s: its weights may be others",
            *(folder, library, before, now),
        )
    resumed = begun.get("resumed", [])
    ours = {part: settings[part] for part in PROVENANCE}
    known = [*resumed, {part: begun[part] for part in PROVENANCE}]
    if not any(_same_provenance(ours, other) for other in known):
        begun["resumed"] = [*resumed, ours]
        write_whole(folder / "settings.json", json.dumps(begun, indent=2) + "\n")


def _same_provenance(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two processes are the same but for `--resume`."""
    commands = [[each for each in of["command"] if each != "--resume"] for of in (one, other)]
    return commands[0] == commands[1] and all(
        one[part] == other[part] for part in PROVENANCE if part != "command"
    )


def _differences(part: str, begun: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(begun, dict) and isinstance(now, dict):
        for key in sorted(begun.keys() | now.keys()):
            if begun.get(key) != now.get(key):
                yield f"{part} {key}", begun.get(key), now.get(key)
    elif begun != now:
        yield part, begun, now


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name == "lock":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def git_commit() -> str | None:
    """Return the commit of the code that runs, with `+` where files differ from it."""
    source = Path(__file__).parent
    git = ["git", "-C", str(source)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", str(source.parent)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # not installed, or not a checkout
    return f"{commit}+" if changed else commit
