"""How many bytes the values of rows have, by which files are cut in bounded pieces."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

Sizes = npt.NDArray[np.int64]

VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
"""Of which Arrow does not count the bytes, as something of which it does."""


def row_bytes(rows: pa.RecordBatch) -> Sizes:
    """Return `[rows]` how many bytes the values of each row have."""
    sizes = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        sizes += _value_bytes(column)
    return sizes


def _value_bytes(column: pa.Array) -> Sizes:
    """Return `[values]` how many bytes each has, with all that is nested in it."""
    found = column.type
    if isinstance(found, pa.BaseExtensionType):
        return _value_bytes(column.storage)
    if found in VIEWS:
        return _value_bytes(column.cast(VIEWS[found]))
    if pa.types.is_map(found):
        entry = pa.struct([("key", found.key_type), ("value", found.item_type)])
        return _value_bytes(column.cast(pa.list_(entry)))
    if pa.types.is_struct(found):
        members = [_value_bytes(member) for member in column.flatten()]
        return sum(members, np.zeros(len(column), np.int64))
    if pa.types.is_nested(found):
        lengths = _counts(compute.list_value_length(column))
        ends = np.cumsum(lengths)
        before = np.concatenate([[0], np.cumsum(_value_bytes(column.flatten()))])
        return np.asarray(before[ends] - before[ends - lengths], np.int64)
    if pa.types.is_string(found) or pa.types.is_large_string(found):
        return _counts(compute.binary_length(column))
    if pa.types.is_binary(found) or pa.types.is_large_binary(found):
        return _counts(compute.binary_length(column))
    width = 0 if pa.types.is_null(found) else found.bit_width // 8
    return np.full(len(column), width, np.int64)


def _counts(numbers: pa.Array) -> Sizes:
    return np.asarray(compute.fill_null(numbers, 0).to_numpy(zero_copy_only=False), np.int64)
