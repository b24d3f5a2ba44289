"""A run cut into items of work, each of which becomes one part of the output.

The cut depends on the input alone: the same files give the same items, whoever does them and
however often. So an item that is done twice is written twice to the same place. Knows of
row groups, and nothing of rows.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Self

import pyarrow as pa
from pyarrow import parquet

from sentiment.bulk.files import InputFile
from sentiment.errors import DataError, first_line

ITEM_ROWS = 100_000
"""About what an item of a cut file holds. At hundreds to thousands of texts a second on each core
it takes a minute or a few: much more than handing it over costs, and all that a lost node loses."""

CUT_BYTES = 8 * 2**20
"""A Parquet file up to here is one item, and its footer is not read beforehand: what is exported
by the thousand files, as BigQuery does it, is cut well enough."""

FOOTERS_AT_A_TIME = 16
"""Of large files: an object store takes its time for each, and bears many at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A file, or consecutive row groups of a Parquet file."""

    number: int
    """From 0: where its rows stand in the output."""
    file: str
    """As an error names it."""
    row_groups: tuple[int, int] | None = None
    """First, and the one after the last; `None` is the whole file."""
    first_row: int = 0
    """How many rows of the file lie before it."""
    size_bytes: int | None = None
    """What is read of the file for it, compressed or not; `None` where that cannot be known."""

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Self:
        """Return what `as_json` was made of."""
        groups = members["row_groups"]
        return cls(**{**members, "row_groups": None if groups is None else tuple(groups)})

    def as_json(self) -> dict[str, Any]:
        """Return members that JSON knows."""
        members = asdict(self)
        return {**members, "row_groups": self.row_groups and list(self.row_groups)}


def cut_items(
    files: Sequence[InputFile], *, item_rows: int = ITEM_ROWS, cut_bytes: int = CUT_BYTES
) -> list[Item]:
    """Cut `files` into items, in the order of their rows.

    A large Parquet file is cut between row groups. Any other file is one item: where a row of
    CSV begins shows only to who has read all that lies before it.

    Raises:
        DataError: what is called a Parquet file is none, or cannot be read; names the file.
    """
    with ThreadPoolExecutor(FOOTERS_AT_A_TIME, thread_name_prefix="footers") as pool:
        cut = partial(_cut, item_rows=item_rows, cut_bytes=cut_bytes)
        pieces = [piece for found in pool.map(cut, files) for piece in found]
    return [replace(piece, number=number) for number, piece in enumerate(pieces)]


def _cut(file: InputFile, *, item_rows: int, cut_bytes: int) -> list[Item]:
    """Return the items of a file, which have no numbers yet."""
    whole = Item(number=0, file=file.name, size_bytes=file.size_bytes)
    if file.format != "parquet" or file.compression:
        return [whole]
    if file.size_bytes is not None and file.size_bytes <= cut_bytes:
        return [whole]
    try:
        with file.open_for_seeking() as stream, parquet.ParquetFile(stream) as opened:
            metadata = opened.metadata
            groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
            rows = [group.num_rows for group in groups]
            sizes = [_stored_bytes(group) for group in groups]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.name}: not a Parquet file: {first_line(error)}") from error
    return [
        replace(
            whole, row_groups=(first, end), first_row=first_row, size_bytes=sum(sizes[first:end])
        )
        for (first, end), first_row in row_group_ranges(rows, item_rows)
    ]


def _stored_bytes(group: parquet.RowGroupMetaData) -> int:
    return sum(group.column(at).total_compressed_size for at in range(group.num_columns))


def row_group_ranges(rows: Sequence[int], item_rows: int) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield ranges of row groups of at most `item_rows`, and the rows of the file before each.

    Args:
        rows: of each group. One that alone has more than `item_rows` is a range by itself.
    """
    start = before = held = 0
    for group, count in enumerate(rows):
        if held and held + count > item_rows:
            yield (start, group), before
            start, before, held = group, before + held, 0
        held += count
    if start < len(rows):
        yield (start, len(rows)), before
