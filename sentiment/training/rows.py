"""Files as rows: lines of text, CSV, TSV, JSON Lines, Parquet. Knows cells, not what they mean.

A file is read as a stream, and no row of more than `MAX_ROW_BYTES` is held: what is
gigabytes long by accident, or by malice, ends in a `DataError` and not in the kernel's
out-of-memory killer. Rows are counted as an editor shows them, from 1, a row that goes over
several lines by its first; in Parquet, which has no lines, the first row is 1.
"""

import csv
import json
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sentiment.errors import DataError, LibraryError, first_line

MAX_ROW_BYTES = 2**20
"""The longest row that is read, 1 MiB."""

MAX_GROUP_BYTES = 2**28
"""The most that a column of one Parquet row group may unpack to, 256 MiB: a page of it is
unpacked as a whole. Writers make groups of some megabytes, or say how to."""

CHUNK_BYTES = 2**16


class Line(NamedTuple):
    """A line of a file, its end included."""

    number: int
    start: int
    """Bytes of the file before it."""
    content: bytes


class Row(NamedTuple):
    """A row of a table."""

    number: int
    header: int | None
    """The row that names the columns, where the format has one."""
    columns: tuple[str, ...]
    cells: dict[str, Any]
    """By name of column; those that were asked for and are there."""


def read_rows(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    """Read the cells in `wanted` columns of every row of a .csv, .tsv, .jsonl or .parquet file.

    Raises:
        DataError: the file cannot be read as what its name says; names file and row.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path, wanted)
    if suffix == ".jsonl":
        return _read_json_lines(path, wanted)
    return _read_csv(path, wanted, delimiter="\t" if suffix == ".tsv" else ",")


def read_lines(path: Path) -> Iterator[Line]:
    r"""Read the lines of a file; `\n`, `\r\n` and `\r` each end one.

    Raises:
        DataError: no file that can be read, nothing in it, or a line too long.
    """
    check_file(path)
    number, start, pending = 1, 0, b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            lines = (pending + chunk).splitlines(keepends=True)
            # The last may go on in the next chunk, or end in a "\r" whose "\n" is there.
            pending = lines.pop()
            for content in lines:
                _check_length(content, path, number)
                yield Line(number, start, content)
                number, start = number + 1, start + len(content)
            _check_length(pending, path, number)
    if pending:
        yield Line(number, start, pending)


def decode(line: Line, path: Path, encoding: str) -> str:
    """Return a line as text.

    Raises:
        DataError: another encoding; names row and byte of the file, the first being byte 0.
    """
    if (nul := line.content.find(0)) >= 0:
        raise DataError(
            f"{path}:{line.number}: byte {line.start + nul} is NUL; expected {encoding}, "
            "and this may be UTF-16 or no text at all"
        )
    try:
        return line.content.decode(encoding)
    except UnicodeDecodeError as error:
        found = f"byte {line.start + error.start} (0x{line.content[error.start]:02x})"
        raise DataError(
            f"{path}:{line.number}: {found} is not {encoding}; save the file as {encoding}"
        ) from error


@contextmanager
def at_row(path: Path, row: int | str) -> Iterator[None]:
    """Add file and row to the message of a `DataError`."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}:{row}: {error}") from error


def check_file(path: Path) -> None:
    """See that `path` is a file with something in it, before a pipe or device blocks.

    Raises:
        DataError: it is not.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path}: a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: a pipe or device; expected a file, which is read twice")
    if not status.st_size:
        raise DataError(f"{path}: the file is empty")


def _check_length(content: bytes, path: Path, number: int) -> None:
    if len(content) > MAX_ROW_BYTES:
        raise DataError(f"{path}:{number}: over {MAX_ROW_BYTES:,} bytes in one line")


def _utf8_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line, less a byte order mark."""
    for line in read_lines(path):
        text = decode(line, path, "UTF-8")
        yield line.number, text.removeprefix("\ufeff") if line.number == 1 else text


class _CsvRecords:
    """Lines for `csv.reader`, which may need several for a record, but not without end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = _utf8_lines(path)
        self.first = 1
        """Number of the first line of the record that is being read."""
        self._last = 0
        self._chars = 0

    def __iter__(self) -> Iterator[str]:
        for number, text in self._lines:
            self._last = number
            self._chars += len(text)
            if self._chars > MAX_ROW_BYTES:
                raise DataError(
                    f"{self._path}:{self.first}: over {MAX_ROW_BYTES:,} characters in one row; "
                    "perhaps a quote is not closed"
                )
            yield text

    def next_record(self) -> None:
        """Say that a record is complete: the next line begins another."""
        self.first, self._chars = self._last + 1, 0


def _read_csv(path: Path, wanted: Collection[str], *, delimiter: str) -> Iterator[Row]:
    """Read UTF-8 with a header, RFC 4180: quotes around what holds the delimiter or a line end."""
    records = _CsvRecords(path)
    reader = csv.reader(iter(records), delimiter=delimiter, strict=True)
    columns: tuple[str, ...] = ()
    header = 0
    try:
        for cells in reader:
            if not cells:
                pass  # a blank line
            elif not columns:
                header, columns = records.first, tuple(cells)
                places = {name: columns.index(name) for name in wanted if name in columns}
                if repeated := [name for name in places if columns.count(name) > 1]:
                    raise DataError(f"{path}:{header}: two columns are named {repeated[0]}")
            elif len(cells) > len(columns):
                raise DataError(
                    f"{path}:{records.first}: more cells than columns, {len(cells)} and "
                    f"{len(columns)}; quote a text that holds {delimiter!r}"
                )
            else:
                found = {name: cells[at] for name, at in places.items() if at < len(cells)}
                yield Row(records.first, header, columns, found)
            records.next_record()
    except csv.Error as error:
        raise DataError(f"{path}:{records.first}: not a {path.suffix} row: {error}") from error


def _read_json_lines(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    """Read UTF-8 with one JSON object a line."""
    for number, text in _utf8_lines(path):
        if not text.strip():
            continue
        try:
            cells = json.loads(text.rstrip())
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{number}: not JSON: {error.msg}, at column {error.colno}"
            ) from error
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a deep nesting
            raise DataError(f"{path}:{number}: not JSON: {first_line(error)}") from error
        if not isinstance(cells, dict):
            raise DataError(f'{path}:{number}: expected an object such as {{"text": ...}}')
        found = {name: cells[name] for name in wanted if name in cells}
        yield Row(number, None, tuple(cells), found)


def _read_parquet(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    check_file(path)
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise LibraryError(
            f"{path}: Parquet needs pyarrow: pip install -r requirements-train.txt"
        ) from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns = tuple(file.schema_arrow.names)
            if repeated := [name for name in wanted if columns.count(name) > 1]:
                raise DataError(f"{path}: two columns are named {repeated[0]}")
            names = [name for name in columns if name in wanted]
            _check_groups(path, file.metadata, names)
            for batch in file.iter_batches(batch_size=1024, columns=names):
                for values in zip(*batch.columns, strict=True):
                    number += 1
                    cells = [value.as_py() for value in values]
                    yield Row(number, None, columns, dict(zip(names, cells, strict=True)))
            if not names and file.metadata.num_rows:
                yield Row(1, None, columns, {})
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: a string is not UTF-8") from error
    except (pyarrow.ArrowException, OSError) as error:
        # A damaged footer is an ArrowInvalid, a damaged page an OSError without a number.
        if getattr(error, "errno", None):
            raise
        raise DataError(f"{path}: not a Parquet file: {first_line(error)}") from error


def _check_groups(path: Path, metadata: Any, names: Collection[str]) -> None:
    """See from the footer that no column of a row group unpacks to more than memory bears."""
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            if (
                column.path_in_schema.partition(".")[0] in names
                and column.total_uncompressed_size > MAX_GROUP_BYTES
            ):
                raise DataError(
                    f"{path}: column {column.path_in_schema} of row group {group} unpacks to "
                    f"{column.total_uncompressed_size:,} bytes; write groups of at most "
                    f"{MAX_GROUP_BYTES:,}"
                )
