"""Writes rows as CSV, TSV, JSON Lines or Parquet. The same rows give the same bytes.

However the rows are divided between the calls, and whenever they are written: row groups and
compressed blocks are cut by what is in them, and no file holds a time.
"""

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from sentiment.bulk import rendering
from sentiment.bulk.json_lines import IN_LINE, VERBATIM
from sentiment.errors import OptionError, StorageError

GROUP_ROWS = 65_536
GROUP_BYTES = 2**25
"""A Parquet row group ends with the row that makes its texts 32 MiB, or with its 65,536th."""

RENDERED_ROWS = 8192
BLOCK_BYTES = 2**20
ZSTD_LEVEL = 3
GZIP_LEVEL = 6


class Writer(Protocol):
    """One file that grows by rows. A context manager that closes it."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows of the writer's schema.

        Raises:
            StorageError: the disk is full or cannot be written. What is there stays.
        """

    def close(self) -> None:
        """Write what is buffered, down to the disk.

        Raises:
            StorageError: as for `write`.
        """


def open_writer(
    path: Path, *, output_format: str, compression: str | None, schema: pa.Schema
) -> Writer:
    """Begin a file at `path`, in the place of what is there.

    Args:
        path: of a temporary file; renaming it is the caller's.
        output_format: csv, tsv, jsonl or parquet.
        compression: gzip or zstd, around the file; none for Parquet, which is packed in itself.
        schema: of the rows, the columns of `JsonLinesReader` among them if it read the rows.

    Raises:
        OptionError: no such format, or one that is not compressed this way.
        StorageError: the file cannot be created.
    """
    if output_format == "parquet":
        if compression is not None:
            raise OptionError(f"a Parquet file is packed in itself: no {compression} around it")
        return ParquetWriter(path, schema)
    if output_format in ("csv", "tsv"):
        return CsvWriter(
            path, compression, schema, delimiter="," if output_format == "csv" else "\t"
        )
    if output_format == "jsonl":
        return JsonLinesWriter(path, compression, schema)
    raise OptionError(f"{output_format!r} is none of csv, tsv, jsonl, parquet")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Say in one line what the disk refuses.

    Raises:
        StorageError: an operation on a file failed.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


class _File:
    """What the writers have in common: a file, closed once, whatever happens."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage_errors(path):
            self._file: IO[bytes] = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()
            with suppress(OSError):  # of the same disk; the first error says what is wrong
                self._file.close()

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            with storage_errors(self._path):
                self._finish()
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            with suppress(OSError):
                self._file.close()

    def _finish(self) -> None:
        """Write what is buffered."""

    def _abandon(self) -> None:
        """Leave what is buffered: the file is not to be used."""


class _TextWriter(_File):
    """Bytes in blocks of one size, compressed or not."""

    def __init__(self, path: Path, compression: str | None) -> None:
        super().__init__(path)
        self._pending = bytearray()
        self._packed: Any = self._file
        if compression == "gzip":
            self._packed = gzip.GzipFile(
                filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=self._file, mtime=0
            )
        elif compression == "zstd":
            # Closing it closes what is below, which still has to reach the disk.
            below = os.fdopen(os.dup(self._file.fileno()), "wb")
            self._packed = pa.CompressedOutputStream(pa.PythonFile(below, "w"), "zstd")
        elif compression is not None:
            raise OptionError(f"{compression!r} is none of gzip, zstd")

    def write(self, rows: pa.RecordBatch) -> None:
        for start in range(0, rows.num_rows, RENDERED_ROWS):
            self._add(rendering.contents(self._render(rows.slice(start, RENDERED_ROWS))))

    def _add(self, content: bytes) -> None:
        self._pending += content
        with storage_errors(self._path):
            while len(self._pending) >= BLOCK_BYTES:
                self._packed.write(bytes(self._pending[:BLOCK_BYTES]))
                del self._pending[:BLOCK_BYTES]

    def _render(self, rows: pa.RecordBatch) -> pa.Array:
        """Return a line for each row, its end included."""
        raise NotImplementedError

    def _finish(self) -> None:
        self._packed.write(bytes(self._pending))
        if self._packed is not self._file:
            self._packed.close()


class CsvWriter(_TextWriter):
    """CSV as RFC 4180 has it, but with `\\n` at the end of a line; quotes where they must be."""

    def __init__(
        self, path: Path, compression: str | None, schema: pa.Schema, *, delimiter: str
    ) -> None:
        super().__init__(path, compression)
        self._delimiter = delimiter
        names = [
            rendering.csv_cells(pa.array([name]), delimiter=delimiter) for name in schema.names
        ]
        self._add(rendering.contents(self._lines(names)))

    def _render(self, rows: pa.RecordBatch) -> pa.Array:
        delimiter = self._delimiter
        return self._lines(
            [rendering.csv_cells(each, delimiter=delimiter) for each in rows.columns]
        )

    def _lines(self, cells: list[pa.Array]) -> pa.Array:
        if len(cells) == 1:  # an empty line would be no row
            cells = [compute.if_else(compute.equal(cells[0], ""), '""', cells[0])]
        lines = compute.binary_join_element_wise(*cells, self._delimiter)
        return compute.binary_join_element_wise(lines, "\n", "")


class JsonLinesWriter(_TextWriter):
    """An object a line. Of rows that were JSON Lines the line itself, with the new members."""

    def __init__(self, path: Path, compression: str | None, schema: pa.Schema) -> None:
        super().__init__(path, compression)
        self._verbatim = schema.get_field_index(VERBATIM)
        self._members = [
            (place, field.name)
            for place, field in enumerate(schema)
            if place != self._verbatim
            and (field.metadata or {}).items().isdisjoint(IN_LINE.items())
        ]

    def _render(self, rows: pa.RecordBatch) -> pa.Array:
        members = [(name, rendering.json_texts(rows.column(at))) for at, name in self._members]
        if self._verbatim >= 0:
            lines = rows.column(self._verbatim).cast(pa.string())
            objects = _spliced(lines, rendering.joined_members(members)) if members else lines
        else:
            objects = rendering.joined_members(members)
        return compute.binary_join_element_wise(objects, "\n", "")


def _spliced(lines: pa.Array, objects: pa.Array) -> pa.Array:
    """Return the members of both, those of `lines` as they stand there."""
    opened = compute.replace_substring_regex(lines, r"\s*\}$", "")
    bare = compute.match_substring_regex(opened, r"^\{\s*$")
    comma = compute.if_else(bare, "", ",")
    added = compute.replace_substring(objects, "{", "", max_replacements=1)
    spliced = compute.binary_join_element_wise(opened, comma, added, "")
    return compute.if_else(lines.is_valid(), spliced, objects)


class ParquetWriter(_File):
    """Parquet, packed with zstd, in row groups whose ends depend on the rows alone."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path)
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        with storage_errors(path):
            self._writer = parquet.ParquetWriter(
                self._file, schema, compression="zstd", compression_level=ZSTD_LEVEL
            )

    def write(self, rows: pa.RecordBatch) -> None:
        sizes = _text_bytes(rows)
        while rows.num_rows:
            room = np.searchsorted(np.cumsum(sizes), GROUP_BYTES - self._bytes) + 1
            count = min(GROUP_ROWS - self._rows, rows.num_rows, int(room))
            self._pending.append(rows.slice(0, count))
            self._rows += count
            self._bytes += int(sizes[:count].sum())
            rows, sizes = rows.slice(count), sizes[count:]
            if self._rows == GROUP_ROWS or self._bytes >= GROUP_BYTES:
                with storage_errors(self._path):
                    self._write_group()

    def _write_group(self) -> None:
        if self._rows:
            table = pa.Table.from_batches(self._pending, self._schema).combine_chunks()
            self._pending, self._rows, self._bytes = [], 0, 0
            self._writer.write_table(table, row_group_size=GROUP_ROWS)

    def _finish(self) -> None:
        self._write_group()
        self._writer.close()

    def _abandon(self) -> None:
        self._writer.is_open = (
            False  # or it writes a footer, to a closed file, when it is collected
        )


def _text_bytes(rows: pa.RecordBatch) -> np.ndarray:
    """Return `[rows]` how many bytes of text each row has."""
    sizes = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        found = column.type
        if (
            pa.types.is_string(found)
            or pa.types.is_large_string(found)
            or pa.types.is_binary(found)
        ):
            sizes += compute.fill_null(compute.binary_length(column), 0).to_numpy(False)
    return sizes
