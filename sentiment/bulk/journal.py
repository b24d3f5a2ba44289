"""What has been computed so far, on the disk: a run that is killed goes on from there.

One file of frames, one for each window, which only grows. A frame that a crash has torn is
recognised by its checksum and cut off; what it held is computed again.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from sentiment.bulk.scoring import Scores
from sentiment.storage import storage_errors

COUNTS = struct.Struct("<III")
"""Rows and texts of the window, and how many of the texts were computed."""

CHECKSUM = struct.Struct("<I")
"""CRC-32 of all else in the frame."""

FLOAT_BYTES = 4


class Journal:
    """The probabilities of every window that is finished, in their order.

    with Journal.open(path, labels=3) as journal:
        journal.append(rows=4096, scores=scores)
    """

    def __init__(self, file: BinaryIO, path: Path, *, labels: int) -> None:
        """Take over an open file; `open` is the usual way in."""
        self.labels = labels
        """How many the model has."""
        self.rows = 0
        """Of all windows that are finished."""
        self.texts = 0
        self.computed = 0
        """How many of the texts were not the same as another."""
        self._file = file
        self._path = path

    @classmethod
    def open(cls, path: Path, *, labels: int) -> Self:
        """Open a journal to go on with, or begin one.

        Raises:
            StorageError: the file cannot be read or written.
        """
        with storage_errors(path):
            file = path.open("a+b", buffering=0)
            journal = cls(file, path, labels=labels)
            file.seek(0)
            end = 0
            for rows, scores in journal._frames(file):
                journal._count(rows, scores)
                end = file.tell()
            file.truncate(end)
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, *, rows: int, scores: Scores) -> None:
        """Keep a window; it is on the disk when this returns.

        Raises:
            StorageError: the disk does not take it.
        """
        texts = len(scores.truncated)
        payload = scores.probabilities.astype("<f4").tobytes() + scores.truncated.tobytes()
        counts = COUNTS.pack(rows, texts, scores.computed)
        with storage_errors(self._path):
            frame = memoryview(counts + CHECKSUM.pack(zlib.crc32(counts + payload)) + payload)
            while frame:  # a disk that is nearly full takes a part
                frame = frame[self._file.write(frame) :]
            os.fsync(self._file.fileno())
        self._count(rows, scores)

    def read(self) -> Iterator[tuple[int, Scores]]:
        """Yield the rows and scores of each window that was finished by now.

        Raises:
            StorageError: the file cannot be read.
        """
        with storage_errors(self._path), self._path.open("rb") as file:
            yield from self._frames(file)

    def _frames(self, file: BinaryIO) -> Iterator[tuple[int, Scores]]:
        """Yield the whole frames from here on, up to the first that is torn."""
        head_bytes = COUNTS.size + CHECKSUM.size
        while len(head := file.read(head_bytes)) == head_bytes:
            counts, checksum = head[: COUNTS.size], head[COUNTS.size :]
            rows, texts, computed = COUNTS.unpack(counts)
            size = texts * (self.labels * FLOAT_BYTES + 1)
            # A torn head can claim gigabytes.
            if size > os.fstat(file.fileno()).st_size - file.tell():
                return
            payload = file.read(size)
            if CHECKSUM.pack(zlib.crc32(counts + payload)) != checksum:
                return
            floats = texts * self.labels * FLOAT_BYTES
            probabilities = np.frombuffer(payload[:floats], "<f4").reshape(texts, self.labels)
            truncated = np.frombuffer(payload[floats:], np.bool_)
            yield rows, Scores(probabilities, truncated, computed)

    def _count(self, rows: int, scores: Scores) -> None:
        self.rows += rows
        self.texts += len(scores.truncated)
        self.computed += scores.computed
