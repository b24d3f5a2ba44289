"""What a reader gives: consecutive rows of a file as Arrow columns, with their faults.

Knows rows and columns, no format, and not what becomes of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment.errors import DataError

BLOCK_BYTES = 2**20
"""What is read of a file of text at a time, 1 MiB: some 10,000 headlines make a chunk."""

MAX_ROW_BYTES = 2**24
"""The longest row that is read, 16 MiB."""

SHOWN_CHARS = 300
"""So much is said of the columns that are there where one is missing."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some consecutive rows of one file."""

    file: str
    """As an error names it."""
    numbers: Indices
    """`[rows]`, as an error names them: the line on which a row begins, from 1, the header
    counted; in Parquet, which has no lines, the row from 1."""
    columns: pa.RecordBatch
    """The rows as they were read. One that cannot be read at all is a row of nulls; of one whose
    text alone is wrong only the text is null."""
    faults: Mapping[int, str]
    """Index of a row in this chunk -> what is wrong with it. Never contains its text."""


class Reader(Protocol):
    """The rows of some files, one after the other."""

    schema: pa.Schema
    """Of all columns: the same for every file and chunk, known before the first row."""
    total_bytes: int | None
    """Size of the files as they are stored."""

    @property
    def bytes_read(self) -> int:
        """How much of `total_bytes` the present pass has read, roughly."""

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        """Read the rows from the first one on; each call is a pass of its own.

        Every pass gives the same rows in the same order, and the same faults, whatever columns
        it asks for, as long as the column of the text is among them.

        Args:
            columns: names of those to read, in this order; `None` reads all.

        Raises:
            DataError: a file cannot be read on; names file and row.
        """


def insert_null_rows(rows: pa.RecordBatch, kept: Indices, *, total: int) -> pa.RecordBatch:
    """Return `total` rows: `rows` at the places `kept`, nulls at the others."""
    places = np.zeros(total, np.int64)
    places[kept] = np.arange(len(kept))
    missing = np.ones(total, np.bool_)
    missing[kept] = False
    if not len(kept):
        nulls = [pa.nulls(total, field.type) for field in rows.schema]
        return pa.RecordBatch.from_arrays(nulls, schema=rows.schema)
    return rows.take(pa.array(places, mask=missing))


def check_text_column(schema: pa.Schema, name: str, place: str) -> None:
    """Return if `schema` has a column of that name, and of strings of any kind.

    Raises:
        DataError: it has not; says which columns are there.
    """
    if name not in schema.names:
        raise missing_column(place, name, schema.names)
    if schema.names.count(name) > 1:
        raise DataError(f"{place}: two columns are named {name!r}")
    found = schema.field(name).type
    values = found.value_type if pa.types.is_dictionary(found) else found
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not any(is_kind(values) for is_kind in kinds):
        raise DataError(f"{place}: column {name!r} is {found}; expected string")


def check_same_columns(first: str, expected: pa.Schema, other: str, found: pa.Schema) -> None:
    """See that two files have the same columns, in whatever order.

    Args:
        first: name of the file of `expected`.
        other: name of the file of `found`.

    Raises:
        DataError: they have not; names both files and a column.
    """
    if names := sorted(set(expected.names) ^ set(found.names)):
        raise DataError(
            f"{first} and {other} have different columns: one of them has no {names[0]!r}"
        )
    for field in expected:
        if (type_there := found.field(field.name).type) != field.type:
            raise DataError(
                f"{first} and {other} have different columns: {field.name!r} is {field.type} and "
                f"{type_there}"
            )


def missing_column(place: str, wanted: str, there: Sequence[str]) -> DataError:
    """Return the error of a file that lacks a column: says which are there."""
    names = ", ".join(map(repr, there)) or "none"
    if len(names) > SHOWN_CHARS:
        names = f"{names[: SHOWN_CHARS - 3]}..."
    return DataError(f"{place}: expected a column named {wanted!r}; there are {names}")


def row_too_long(place: str, hint: str = "") -> DataError:
    """Return the error of a row over the limit."""
    return DataError(f"{place}: over {MAX_ROW_BYTES:,} bytes in one row{hint}")


def check_encoding(start: bytes, file: str) -> None:
    """Refuse UTF-16 and UTF-32 by the byte order mark that a file begins with.

    Raises:
        DataError: it is there.
    """
    if start.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise DataError(f"{file}: UTF-16 or UTF-32; save the file as UTF-8")


def not_utf8(content: bytes, offset: int) -> str | None:
    """Say which byte of a row is not UTF-8, if any.

    Args:
        content: the row.
        offset: bytes of the file before it.
    """
    try:
        content.decode()
    except UnicodeDecodeError as error:
        found = f"byte {offset + error.start} of the file (0x{content[error.start]:02x})"
        return f"{found} is not UTF-8; save the file as UTF-8"
    return None
