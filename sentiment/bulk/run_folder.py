"""The folder beside the output where an unfinished run keeps what it has.

`OUTPUT.run/` holds `run.json` (what is scored and with what), `scores.journal`, what was read from
standard input, and while the output is being written, that. A run is continued only by the same:
other rows, or another model, would make a table of two halves. When the output is in its place the
folder goes.
"""

import fcntl
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment.bulk.inputs import KEPT_STANDARD_INPUT, RUN_SUFFIX
from sentiment.errors import OptionError, StorageError
from sentiment.storage import WRITING, flush, storage_errors, write_whole

RECORD = "run.json"
JOURNAL = "scores.journal"
LOCK = "lock"
DISCARDED = ".discarded-"

_OF_A_RUN = re.compile(
    rf"{re.escape(RECORD)}|{re.escape(JOURNAL)}|{KEPT_STANDARD_INPUT}(\.writing)?"
    rf"|output|errors\.csv|{LOCK}|{re.escape(WRITING)}.*"
)
"""All names in a run folder."""

SHOWN_CHARS = 600
"""So much is said of what differs, which may be thousands of files."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run, for this process alone."""

    path: Path
    begun: dict[str, Any] | None
    """The record of the run that is continued."""

    def agree(self, record: dict[str, Any]) -> None:
        """Note what is scored and with what, or see that it is what was begun.

        Raises:
            OptionError: another run was begun; says in what they differ.
            StorageError: the folder cannot be written.
        """
        if self.begun is None:
            with storage_errors(self.path):
                write_whole(self.path / RECORD, json.dumps(record, indent=2) + "\n")
            return
        if self.begun != record:
            raise another_run(str(self.path), self.begun, record)

    def discard(self) -> None:
        """Remove the folder: the run is done.

        Raises:
            StorageError: it cannot be removed.
        """
        with storage_errors(self.path):
            _discard(self.path)


def another_run(folder: str, begun: Mapping[str, Any], record: Mapping[str, Any]) -> OptionError:
    """Return the error of a run that is not the one that was begun: says in what they differ."""
    differing = "; ".join(
        f"{name}: {begun.get(name)!r}, not {record.get(name)!r}"
        for name in sorted(begun.keys() | record.keys())
        if begun.get(name) != record.get(name)
    )
    if len(differing) > SHOWN_CHARS:
        differing = f"{differing[: SHOWN_CHARS - 3]}..."
    return OptionError(
        f"{folder} is another run: it has {differing}; --overwrite instead of --resume begins anew"
    )


@contextmanager
def opened_run(output: Path, *, resume: bool, overwrite: bool) -> Iterator[RunFolder | None]:
    """Make or continue the run folder of `output`; `None` if there is nothing left to do.

    Raises:
        OptionError: the output, an unfinished run or another folder of its name is in the way, or
            another process is at it.
        StorageError: the folder cannot be written.
    """
    path = output.with_name(f"{output.name}{RUN_SUFFIX}")
    with storage_errors(path):
        is_done, is_begun = output.exists(), path.exists()
        if output.is_dir():
            raise OptionError(f"{output} is a folder; expected the name of a file")
        if resume and is_done and not is_begun:
            _remove(_aside(path))  # of a process that died while it tidied up
            yield None
            return
        if is_begun and not (resume or overwrite):
            raise OptionError(
                f"{path} holds an unfinished run: --resume goes on with it, --overwrite begins anew"
            )
        if is_done and not (resume or overwrite):
            raise OptionError(f"{output} is there already; --overwrite replaces it")
        if is_begun and not overwrite and not (path / RECORD).exists():
            _see_own(path)
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel drops it with us
        except BlockingIOError as error:
            raise OptionError(f"{path}: another process is scoring there") from error
        begun = _record(path) if resume else None
        with storage_errors(path):
            if begun is None:
                _clear(path, but=KEPT_STANDARD_INPUT if resume else None)
            _remove(_aside(path))
        kept = (path / KEPT_STANDARD_INPUT).exists()
        try:
            yield RunFolder(path, begun)
        except (KeyboardInterrupt, StorageError):
            if not (path / KEPT_STANDARD_INPUT).exists():  # which nobody may give a second time
                _remove_unbegun(path)
            raise
        except BaseException:
            if not kept:
                _remove_unbegun(path)
            raise


def put(written: Path, place: Path) -> None:
    """Move a file to its place, for good; one that was there is gone.

    Raises:
        OSError: it cannot be moved.
    """
    flush(written)
    written.replace(place)
    flush(place.parent)


def _discard(path: Path) -> None:
    """Remove a folder, which is there as it was or gone whenever the process dies."""
    aside = _aside(path)
    path.rename(aside)
    flush(path.parent)
    _remove(aside)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _remove_unbegun(path: Path) -> None:
    """Remove the folder of a run that has computed nothing: there is nothing to resume."""
    journal = path / JOURNAL
    if not journal.exists() or not journal.stat().st_size:
        shutil.rmtree(path, ignore_errors=True)  # the error that ended the run says more


def _record(path: Path) -> dict[str, Any] | None:
    """Return what was begun; `None` where nothing was."""
    record = path / RECORD
    if not record.is_file():
        return None
    try:
        begun = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"{record}: not the record of a run; --overwrite begins anew") from error
    if not isinstance(begun, dict):
        raise OptionError(f"{record}: not the record of a run; --overwrite begins anew")
    return begun


def _see_own(path: Path) -> None:
    """Raise OptionError where a folder without a record holds what no run here has made."""
    others = [each.name for each in path.iterdir() if not _OF_A_RUN.fullmatch(each.name)]
    if others:
        raise OptionError(
            f"{path} holds {min(others)}, which is not of a run on one machine; "
            "--overwrite instead of --resume removes it all"
        )


def _aside(path: Path) -> Path:
    return path.with_name(f"{DISCARDED}{path.name}")


def _clear(path: Path, *, but: str | None) -> None:
    for each in path.iterdir():
        if each.name in (LOCK, but):
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
