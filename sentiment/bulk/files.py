"""A file of the input, on this disk or in an object store: bytes, not what they mean."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

import pyarrow as pa
from pyarrow import fs

from sentiment.errors import DataError, first_line

Format = Literal["csv", "tsv", "jsonl", "parquet"]
Compression = Literal["gzip", "zstd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file to be read."""

    name: str
    """As an error names it: as it was given, or a path below what was given."""
    path: str
    """In its file system."""
    format: Format
    compression: Compression | None
    size_bytes: int | None
    """As it is stored, compressed or not."""
    version: int | None
    """When it was last changed, in ns: another file of the same name has another."""
    filesystem: fs.FileSystem = field(compare=False, repr=False)

    def open(self) -> "ByteStream":
        """Open it for reading from start to end, unpacked.

        Raises:
            DataError: it cannot be opened.
        """
        with data_errors(self.name):
            return ByteStream(self)

    def is_unchanged(self) -> bool:
        """Whether it is still the file that was found."""
        with data_errors(self.name):
            status = self.filesystem.get_file_info(self.path)
        return bool((status.size, status.mtime_ns) == (self.size_bytes, self.version))

    def open_for_seeking(self) -> pa.NativeFile:
        """Open it for reading at any place, as it is stored.

        Raises:
            DataError: it cannot be opened.
        """
        with data_errors(self.name):
            return self.filesystem.open_input_file(self.path)


class ByteStream:
    """The unpacked bytes of a file, from start to end. A context manager."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._stored = file.filesystem.open_input_file(file.path)
        self._unpacked = (
            pa.CompressedInputStream(self._stored, file.compression)
            if file.compression
            else self._stored
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stored.close()

    @property
    def stored_bytes_read(self) -> int:
        """How much of the file's `size_bytes` has been read."""
        return int(self._stored.tell())

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes; fewer only at the end of the file.

        Raises:
            DataError: the file cannot be read, or not be unpacked.
        """
        parts: list[bytes] = []
        missing = count
        with data_errors(self._file.name, f"cannot be unpacked as {self._file.compression}"):
            while missing and (part := self._unpacked.read(missing)):
                parts.append(part)
                missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Progress:
    """How many bytes of some files a pass has read."""

    def __init__(self, files: Sequence[InputFile]) -> None:
        sizes = [file.size_bytes for file in files]
        self.total_bytes = None if None in sizes else sum(filter(None, sizes))
        self._before = 0
        self._here = 0

    @property
    def bytes_read(self) -> int:
        """Of all files together."""
        return self._before + self._here

    def restart(self) -> None:
        """Say that a pass begins."""
        self._before = self._here = 0

    def reached(self, position: int) -> None:
        """Say how much of the present file is read."""
        self._here = position

    def next_file(self, file: InputFile) -> None:
        """Say that all of `file` is read."""
        self._before += file.size_bytes or self._here
        self._here = 0


@contextmanager
def data_errors(name: str, damage: str = "cannot be read") -> Iterator[None]:
    """Say in one line what is wrong with a file.

    Args:
        name: of the file.
        damage: what an error means that the operating system knows nothing of.

    Raises:
        DataError: an operation on the file failed.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        known = isinstance(error, OSError) and error.errno
        what = (error.strerror or first_line(error)) if known else f"{damage}: {first_line(error)}"
        raise DataError(f"{name}: {what}") from error
