"""An input is cut into items the same way each time, and without losing a row."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs, parquet

from sentiment.bulk.files import InputFile
from sentiment.bulk.items import Item, cut_items, row_group_ranges
from sentiment.errors import DataError


def given_file(path, *, compression=None):
    status = path.stat()
    return InputFile(
        name=str(path),
        path=str(path),
        format=path.suffix.removeprefix("."),
        compression=compression,
        size_bytes=status.st_size,
        version=status.st_mtime_ns,
        filesystem=fs.LocalFileSystem(),
    )


def parquet_file(path, *, rows, group_rows):
    parquet.write_table(pa.table({"id": range(rows)}), path, row_group_size=group_rows)
    return given_file(path)


@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_ranges_hold_each_row_group_once_and_know_what_lies_before(rows, item_rows):
    ranges = list(row_group_ranges(rows, item_rows))
    assert [group for (first, end), _ in ranges for group in range(first, end)] == [
        *range(len(rows))
    ]
    assert [before for _, before in ranges] == [sum(rows[:first]) for (first, _), _ in ranges]


@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_a_range_is_over_the_limit_only_where_one_group_is(rows, item_rows):
    for (first, end), _ in row_group_ranges(rows, item_rows):
        full = [count for count in rows[first:end] if count]
        assert sum(full) <= item_rows or len(full) == 1


def test_a_large_parquet_file_is_cut_between_row_groups(tmp_path):
    file = parquet_file(tmp_path / "a.parquet", rows=50, group_rows=10)
    items = cut_items([file], item_rows=25, cut_bytes=0)
    assert [(each.number, each.row_groups, each.first_row) for each in items] == [
        (0, (0, 2), 0),
        (1, (2, 4), 20),
        (2, (4, 5), 40),
    ]
    assert {each.file for each in items} == {file.name}


def test_a_small_parquet_file_is_one_item_and_need_not_be_read(tmp_path):
    small = tmp_path / "a.parquet"
    small.write_bytes(b"not looked at")
    assert cut_items([given_file(small)]) == [Item(number=0, file=str(small), size_bytes=13)]


def test_csv_and_what_is_compressed_is_one_item_a_file_in_their_order(tmp_path):
    names = ["b.csv", "a.jsonl"]
    for name in names:
        (tmp_path / name).write_text("text\n" * 100)
    files = [given_file(tmp_path / name) for name in names]
    parquet_file(tmp_path / "c.parquet", rows=50, group_rows=10)
    files.append(given_file(tmp_path / "c.parquet", compression="gzip"))
    items = cut_items(files, item_rows=1, cut_bytes=0)
    assert [Path(each.file).name for each in items] == [*names, "c.parquet"]
    assert [each.number for each in items] == [0, 1, 2]
    assert {each.row_groups for each in items} == {None}


def test_a_broken_parquet_file_is_named(tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"broken\.parquet: not a Parquet file"):
        cut_items([given_file(tmp_path / "broken.parquet")], cut_bytes=0)


@given(
    st.builds(
        Item,
        number=st.integers(0),
        file=st.text(),
        row_groups=st.none() | st.tuples(st.integers(0), st.integers(0)),
        first_row=st.integers(0),
    )
)
def test_an_item_goes_through_json_unchanged(item):
    assert Item.from_json(item.as_json()) == item
