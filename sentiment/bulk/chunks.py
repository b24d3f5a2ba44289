"""Rows as readers give them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment.errors import DataError


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some consecutive rows of one file."""

    file: str
    """As an error names it."""
    numbers: npt.NDArray[np.int64]
    """`[rows]`: as an error names them."""
    columns: pa.RecordBatch
    """Rows as read; a malformed row is a row of nulls."""
    faults: Mapping[int, str]
    """Index of a malformed row in this chunk -> what is wrong, what would be right."""


class Reader(Protocol):
    """Rows of files, one file after the other."""

    schema: pa.Schema
    """Of every chunk; known before the first row."""

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        """Read the rows from the beginning; `None` reads all columns."""
        ...


def check_text_column(schema: pa.Schema, name: str, where: str) -> None:
    """Return if `schema` has one column of that name, and of strings.

    Raises:
        DataError: it has none, or of another type; says which columns are there.
    """
    if len(schema.get_all_field_indices(name)) != 1:
        there = ", ".join(map(repr, schema.names)) or "none"
        shown = there if len(there) <= 300 else f"{there[:297]}..."
        raise DataError(f"{where}: expected one column named {name!r}; there are {shown}")
    kind = schema.field(name).type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (
        pa.types.is_string(values)
        or pa.types.is_large_string(values)
        or pa.types.is_string_view(values)
        or pa.types.is_null(values)
    ):
        raise DataError(f"{where}: expected strings in column {name!r}, which has {kind}")
