"""Parquet: columns of the types that they have. Rows count from 1.

A row group is read page by page and never held whole, however large its writer made it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from sentiment.bulk.chunks import Chunk, check_same_columns, check_text_column, not_utf8
from sentiment.bulk.files import InputFile, Progress, data_errors
from sentiment.errors import DataError

CHUNK_ROWS = 4096
BUFFER_BYTES = 2**20
NOT_PARQUET = "not a Parquet file, or a damaged one"


class ParquetReader:
    """The rows of Parquet files of one schema."""

    def __init__(
        self,
        files: Sequence[InputFile],
        *,
        text_column: str,
        row_groups: tuple[int, int] | None = None,
        first_row: int = 0,
    ) -> None:
        """Read the footers.

        Args:
            files: at least one.
            text_column: must be there, in each file.
            row_groups: of a single file: the first to read, and the one after the last; `None`
                reads all.
            first_row: how many rows of the file lie before these.

        Raises:
            DataError: a file is not Parquet, has another schema than the first, or `text_column`
                is not there or not text.
        """
        self._files = files
        self._text_column = text_column
        self._row_groups = row_groups
        self._first_row = first_row
        self._progress = Progress(files)
        self.total_bytes = self._progress.total_bytes
        schemas = [self._read_schema(file) for file in files]
        self.schema = schemas[0]
        for file, schema in zip(files[1:], schemas[1:], strict=True):
            check_same_columns(files[0].name, self.schema, file.name, schema)
        check_text_column(self.schema, text_column, files[0].name)

    @property
    def bytes_read(self) -> int:
        return self._progress.bytes_read

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        wanted = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in wanted])
        self._progress.restart()
        for file in self._files:
            row = 1 + self._first_row
            with data_errors(file.name, NOT_PARQUET), _opened(file) as opened:
                total = opened.metadata.num_rows
                groups = self._row_groups or (0, opened.num_row_groups)
            for group in range(*groups):
                for rows in self._batches(file, group, schema):
                    faults = self._encoding_faults(rows)
                    numbers = np.arange(row, row + rows.num_rows)
                    row += rows.num_rows
                    self._progress.reached((file.size_bytes or 0) * row // (total + 1))
                    shown = self._without(rows, faults)
                    yield Chunk(file=file.name, numbers=numbers, columns=shown, faults=faults)
            self._progress.next_file(file)

    def _read_schema(self, file: InputFile) -> pa.Schema:
        with data_errors(file.name, NOT_PARQUET), _opened(file) as opened:
            schema = opened.schema_arrow.remove_metadata()
        if repeated := [name for name in schema.names if schema.names.count(name) > 1]:
            raise DataError(f"{file.name}: two columns are named {repeated[0]!r}")
        return pa.schema([field.with_type(_plain(field.type)) for field in schema])

    def _batches(self, file: InputFile, group: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        place = f"{file.name}: row group {group}"
        with data_errors(place, NOT_PARQUET), _opened(file) as opened:
            batches = opened.iter_batches(
                CHUNK_ROWS, row_groups=[group], columns=schema.names, use_threads=False
            )
            while True:
                with data_errors(place, NOT_PARQUET):
                    rows = next(batches, None)
                if rows is None:
                    return
                if rows.num_rows:
                    arrays = [rows.column(field.name).cast(field.type) for field in schema]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _encoding_faults(self, rows: pa.RecordBatch) -> dict[int, str]:
        if self._text_column not in rows.schema.names:
            return {}
        texts = rows.column(self._text_column)
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            contents = texts.cast(pa.large_binary()).to_pylist()
            return {
                index: f"{self._text_column!r} is not UTF-8"
                for index, content in enumerate(contents)
                if content is not None and not_utf8(content, 0)
            }
        return {}

    def _without(self, rows: pa.RecordBatch, faults: dict[int, str]) -> pa.RecordBatch:
        """Take the faulty texts out of the rows."""
        if not faults:
            return rows
        faulty = np.zeros(rows.num_rows, np.bool_)
        faulty[list(faults)] = True
        place = rows.schema.get_field_index(self._text_column)
        texts = compute.if_else(pa.array(faulty), None, rows.column(place))
        return rows.set_column(place, rows.schema.field(place), texts)


def _opened(file: InputFile) -> parquet.ParquetFile:
    return parquet.ParquetFile(file.open_for_seeking(), buffer_size=BUFFER_BYTES, pre_buffer=False)


def _plain(found: pa.DataType) -> pa.DataType:
    """Return what a dictionary's values are: each batch has a dictionary of its own."""
    return found.value_type if pa.types.is_dictionary(found) else found
