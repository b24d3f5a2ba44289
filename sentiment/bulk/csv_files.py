"""CSV and TSV: every cell is the text it is, whatever it looks like.

An empty cell without quotes is null, one with quotes an empty text. A row with another number of
cells than the header, or with bytes that are not UTF-8, is a fault in its place; blank lines are
passed over.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from sentiment.bulk.chunks import (
    BLOCK_BYTES,
    MAX_ROW_BYTES,
    Chunk,
    Indices,
    check_encoding,
    insert_null_rows,
    missing_column,
    not_utf8,
    row_too_long,
)
from sentiment.bulk.csv_rows import LINE_FEED, RETURN, Splitter
from sentiment.bulk.files import ByteStream, InputFile, Progress
from sentiment.errors import DataError

DELIMITERS = {"csv": ",", "tsv": "\t"}

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Block:
    """Complete rows, blank lines left out of `starts` and `ends` but not of `content`."""

    content: bytes
    starts: Indices
    ends: Indices
    numbers: Indices
    """Of the line on which each row begins."""
    offset: int
    """Bytes of the file before it."""

    def row(self, index: int) -> bytes:
        return self.content[self.starts[index] : self.ends[index]]

    def after(self, index: int) -> "_Block":
        """Return what follows a row."""
        end = int(self.ends[index])
        later = slice(index + 1, None)
        return _Block(
            self.content[end:],
            self.starts[later] - end,
            self.ends[later] - end,
            self.numbers[later],
            self.offset + end,
        )


class CsvReader:
    """The rows of CSV or TSV files that have the same columns, in any order."""

    def __init__(self, files: Sequence[InputFile], *, text_column: str) -> None:
        """Read the headers.

        Raises:
            DataError: a file cannot be read, has no header, other columns or no `text_column`.
        """
        self._files = files
        self._progress = Progress(files)
        self._delimiter = DELIMITERS[files[0].format]
        self._splitter = Splitter(self._delimiter)
        self._names = {file.name: self._read_names(file) for file in files}
        names = self._names[files[0].name]
        if text_column not in names:
            raise missing_column(f"{files[0].name}:1", text_column, names)
        for file in files:
            if other := sorted(set(names) ^ set(self._names[file.name])):
                raise DataError(
                    f"{files[0].name} and {file.name} have different columns: one of them has no "
                    f"{other[0]!r}"
                )
        self.schema = pa.schema([(name, pa.string()) for name in names])
        self.total_bytes = self._progress.total_bytes

    @property
    def bytes_read(self) -> int:
        return self._progress.bytes_read

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        wanted = self.schema.names if columns is None else list(columns)
        self._progress.restart()
        for file in self._files:
            with file.open() as stream:
                rows = self._blocks(file, stream)
                _, first = self._header(file, rows)
                self._progress.reached(stream.stored_bytes_read)
                yield from self._chunk(file, first, wanted)
                for block in rows:
                    self._progress.reached(stream.stored_bytes_read)
                    yield from self._chunk(file, block, wanted)
            self._progress.next_file(file)

    def _read_names(self, file: InputFile) -> list[str]:
        with file.open() as stream:
            return self._header(file, self._blocks(file, stream))[0]

    def _blocks(self, file: InputFile, stream: ByteStream) -> Iterator[_Block]:
        """Cut a file into blocks of complete rows."""
        pending, line, offset = stream.read(len(BYTE_ORDER_MARK)), 1, 0
        check_encoding(pending, file.name)
        if pending == BYTE_ORDER_MARK:
            pending, offset = b"", len(BYTE_ORDER_MARK)
        final = False
        while not final:
            read = stream.read(BLOCK_BYTES)
            final = len(read) < BLOCK_BYTES
            content = pending + read
            if final and content and not content.endswith((b"\n", b"\r")):
                content += b"\n"
            found = self._splitter.split(content, final=final)
            whole = int(found.row_ends[-1]) if len(found.row_ends) else 0
            if whole:
                starts = np.concatenate([[0], found.row_ends[:-1]])
                before = np.searchsorted(found.line_ends, starts, side="right")
                characters = np.frombuffer(content, np.uint8)[starts]
                some = (characters != LINE_FEED) & (characters != RETURN)
                numbers = line + before[some]
                yield _Block(content[:whole], starts[some], found.row_ends[some], numbers, offset)
                line += int(np.searchsorted(found.line_ends, whole, side="right"))
            pending, offset = content[whole:], offset + whole
            if final and pending:
                raise DataError(f"{file.name}:{line}: a quote is opened in this row and not closed")
            if len(pending) > MAX_ROW_BYTES:
                raise row_too_long(f"{file.name}:{line}", "; perhaps a quote is not closed")

    def _header(self, file: InputFile, blocks: Iterator[_Block]) -> tuple[list[str], _Block]:
        """Return the names of the columns, and what follows them in their block.

        Raises:
            DataError: there are none, or no names of columns.
        """
        block = next((block for block in blocks if len(block.starts)), None)
        if block is None:
            raise DataError(f"{file.name}: the file is empty; expected a row of column names")
        place, content = f"{file.name}:{block.numbers[0]}", block.row(0)
        if b"\x00" in content:
            raise DataError(f"{place}: NUL in the header; perhaps UTF-16, expected UTF-8")
        if wrong := not_utf8(content, block.offset):
            raise DataError(f"{place}: {wrong}")
        lines = content.decode().splitlines(keepends=True)
        names = next(csv.reader(lines, delimiter=self._delimiter))
        if repeated := [name for name in names if names.count(name) > 1]:
            raise DataError(f"{place}: two columns are named {repeated[0]!r}")
        return names, block.after(0)

    def _chunk(self, file: InputFile, block: _Block, wanted: list[str]) -> Iterator[Chunk]:
        total = len(block.starts)
        if not total:
            return
        faults = _encoding_faults(block)
        content = block.content
        if faults:
            content = b"".join(block.row(index) for index in range(total) if index not in faults)
        kept = np.delete(np.arange(total), list(faults))
        rows, torn = self._parse(content, self._names[file.name], wanted)
        faults |= {int(kept[place]): what for place, what in torn.items()}
        kept = np.delete(kept, list(torn))
        if rows.num_rows != len(kept):
            raise DataError(f"{file.name}:{block.numbers[0]}: quotes that can be read in two ways")
        if faults:
            rows = insert_null_rows(rows, kept, total=total)
        yield Chunk(file=file.name, numbers=block.numbers, columns=rows, faults=faults)

    def _parse(
        self, content: bytes, names: list[str], wanted: list[str]
    ) -> tuple[pa.RecordBatch, dict[int, str]]:
        """Return the rows that have a cell for each column, and what is wrong with the others."""
        faults: dict[int, str] = {}

        def pass_over(row: Any) -> str:
            faults[row.number - 1] = (
                f"{_cells(row.actual_columns)} where the header has {row.expected_columns}; "
                f"quote a text that holds {self._delimiter!r}"
            )
            return "skip"

        schema = pa.schema([self.schema.field(name) for name in wanted])
        if not content:
            return pa.RecordBatch.from_pylist([], schema=schema), faults
        table = arrow_csv.read_csv(
            pa.BufferReader(content),
            # One thread, of which the faulty rows are told by number; one block, all of it.
            read_options=arrow_csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(content) + 1
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=pass_over
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=schema,
                include_columns=wanted,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        columns = [column.combine_chunks() for column in table.columns]
        return pa.RecordBatch.from_arrays(columns, schema=schema), faults


def _encoding_faults(block: _Block) -> dict[int, str]:
    if not_utf8(block.content, 0) is None:
        return {}
    found = (
        (index, not_utf8(block.row(index), block.offset + int(start)))
        for index, start in enumerate(block.starts)
    )
    return {index: wrong for index, wrong in found if wrong}


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
