"""Files that are there whole or not at all, whenever the process dies; and what a disk refuses."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentiment.errors import StorageError

WRITING = ".writing-"
"""What the name of a file or folder begins with while it is being written."""


def write_whole(path: Path, text: str) -> None:
    """Write a file that holds its old text or the new one, whenever the process dies.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    temporary = path.with_name(f"{WRITING}{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8")
        flush(temporary)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Wait until what a file or folder holds is on the disk.

    Raises:
        OSError: the disk does not take it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Say in one line what the disk refuses.

    Raises:
        StorageError: an operation on a file failed.
    """
    try:
        yield
    except OSError as error:
        file = error.filename2 or error.filename or place  # of two the one that is written
        raise StorageError(f"{file}: cannot be written: {error.strerror or error}") from error
