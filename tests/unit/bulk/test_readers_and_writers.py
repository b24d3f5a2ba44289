"""Files are read row by row, in any block size, and written as the same bytes every time."""

import gc
import gzip
import json
import os
import resource
import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from sentiment.bulk import csv_files, json_lines, outputs
from sentiment.bulk.csv_rows import Splitter
from sentiment.bulk.inputs import find_inputs, open_reader
from sentiment.bulk.outputs import open_writer
from sentiment.bulk.parquet_files import ParquetReader
from sentiment.errors import DataError, OptionError, StorageError


def reader(*paths, text_column="text", for_format="csv", input_format=None):
    files = find_inputs(
        [str(path) for path in paths],
        input_format=input_format,
        run_folder=paths[0].parent / "out.run",
    )
    return open_reader(files, text_column=text_column, for_format=for_format)


def read(*paths, columns=None, **options):
    """Return rows, numbers and faults by number."""
    rows, numbers, faults = [], [], {}
    for chunk in reader(*paths, **options).chunks(columns):
        rows += chunk.columns.to_pylist()
        numbers += chunk.numbers.tolist()
        faults |= {int(chunk.numbers[at]): what for at, what in chunk.faults.items()}
    return rows, numbers, faults


def write(path, rows, output_format, *, pieces=None, compression=None):
    with open_writer(
        path, output_format=output_format, compression=compression, schema=rows.schema
    ) as writer:
        for start in range(0, rows.num_rows, pieces or max(1, rows.num_rows)):
            writer.write(rows.slice(start, pieces or rows.num_rows))
    return path


def csv(tmp_path, content, name="news.csv"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_every_cell_stays_the_text_it_is(tmp_path):
    path = csv(tmp_path, b'id,text,when\r\n007,"a ""b"", c",2026-01-02\r\n1.50,,\r\nx,"",NA\r\n')
    rows, numbers, faults = read(path)
    assert rows == [
        {"id": "007", "text": 'a "b", c', "when": "2026-01-02"},
        {"id": "1.50", "text": None, "when": None},
        {"id": "x", "text": "", "when": "NA"},
    ]
    assert (numbers, faults) == ([2, 3, 4], {})


def test_a_malformed_row_stays_in_its_place_with_what_is_wrong(tmp_path):
    path = csv(tmp_path, b'\xef\xbb\xbfid,text\n1,"a\nb"\n\n2\n3,caf\xe9\n4,d\n5,e,f\n\xff\n6,g')
    rows, numbers, faults = read(path)
    null = {"id": None, "text": None}
    assert rows == [{"id": "1", "text": "a\nb"}, null, null, {"id": "4", "text": "d"}, null, null,
                    {"id": "6", "text": "g"}]  # fmt: skip
    assert numbers == [2, 5, 6, 7, 8, 9, 10]
    assert faults == {
        5: "1 cell where the header has 2; quote a text that holds ','",
        6: "byte 27 of the file (0xe9) is not UTF-8; save the file as UTF-8",
        8: "3 cells where the header has 2; quote a text that holds ','",
        9: "byte 39 of the file (0xff) is not UTF-8; save the file as UTF-8",
    }
    assert read(path, columns=["text"])[2] == faults


def test_rows_without_a_good_one_are_all_faults(tmp_path):
    assert read(csv(tmp_path, b"id,text\n\xff,\n"))[0] == [{"id": None, "text": None}]


def test_a_quote_inside_a_plain_cell_is_a_character(tmp_path):
    path = csv(tmp_path, b'id,text\n1,5" screens sell\n2,"a, b"\n3,"say ""so"" now" twice\n4,x\n')
    texts = [row["text"] for row in read(path)[0]]
    assert texts == ['5" screens sell', "a, b", 'say "so" now twice', "x"]


def test_tsv_is_cut_at_tabs(tmp_path):
    path = csv(tmp_path, b"id\ttext\n1\ta, b\n", "news.tsv")
    assert read(path)[0] == [{"id": "1", "text": "a, b"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; expected a row of column names"),
        (b"a,b\n1,2\n", ":1: expected a column named 'text'; there are 'a', 'b'"),
        (b"text,a,a\n", ":1: two columns are named 'a'"),
        (b"text,caf\xe9\n", ":1: byte 8 of the file (0xe9) is not UTF-8"),
        ("text\n".encode("utf-16"), "UTF-16"),
        ("text,a\n".encode("utf-16-le"), ":1: NUL in the header"),
        (b'text\nx\n"y\nz\n', ":3: a quote is opened in this row and not closed"),
    ],
)
def test_csv_that_is_none_says_why(tmp_path, content, message):
    with pytest.raises(DataError) as raised:
        read(csv(tmp_path, content))
    assert message in str(raised.value)
    assert "news.csv" in str(raised.value)


def test_a_header_alone_has_columns_and_no_rows(tmp_path):
    path = csv(tmp_path, b"id,text\n")
    assert read(path)[0] == []
    assert reader(path).schema.names == ["id", "text"]


def test_a_row_over_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 64)
    monkeypatch.setattr(csv_files, "MAX_ROW_BYTES", 256)
    path = csv(tmp_path, b'text\nok\n"' + b"x" * 1000 + b'"\n')
    with pytest.raises(DataError, match=r":3: over .* bytes in one row; perhaps a quote"):
        read(path)


def test_files_of_other_columns_are_refused_by_name(tmp_path):
    one, two = csv(tmp_path, b"id,text\n1,a\n"), csv(tmp_path, b"text,day\nb,2\n", "more.csv")
    with pytest.raises(DataError, match=r"news\.csv and .*more\.csv have different columns"):
        reader(one, two)
    same = csv(tmp_path, b"text,id\nb,2\n", "same.csv")
    assert read(one, same)[0] == [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]


CELLS = st.one_of(
    st.none(),
    st.text(st.sampled_from('a",\n\r\t é😀 \x00{}\\'), max_size=6),
    st.text(max_size=8),
)
TABLES = st.lists(st.tuples(CELLS, CELLS), max_size=12)


@given(
    rows=TABLES,
    block_bytes=st.integers(1, 40),
    output_format=st.sampled_from(["csv", "tsv", "jsonl", "parquet"]),
)
@settings(max_examples=150)
def test_what_is_written_is_read_whatever_the_block_size(
    tmp_path_factory, rows, block_bytes, output_format
):
    schema = pa.schema([("text", pa.string()), ("other", pa.string())])
    table = pa.RecordBatch.from_pylist([{"text": a, "other": b} for a, b in rows], schema=schema)
    path = tmp_path_factory.mktemp("tables") / f"table.{output_format}"
    write(path, table, output_format)
    if output_format == "jsonl" and not rows:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "BLOCK_BYTES", block_bytes)
        patch.setattr(json_lines, "BLOCK_BYTES", block_bytes)
        found, _, faults = read(path, for_format="csv")
    assert found == table.to_pylist()
    assert faults == {}


@given(content=st.text(st.sampled_from('ab",\n\r'), max_size=40), block_bytes=st.integers(1, 12))
@settings(max_examples=300)
def test_any_csv_has_the_same_rows_in_blocks_of_any_size(tmp_path_factory, content, block_bytes):
    path = tmp_path_factory.mktemp("csv") / "any.csv"
    path.write_bytes(b"a,text\n" + content.encode())

    def outcome():
        try:
            return read(path)
        except DataError as error:
            return str(error)

    whole = outcome()
    assert "two ways" not in str(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "BLOCK_BYTES", block_bytes)
        assert outcome() == whole


@given(st.binary().map(lambda b: bytes(b'ab",\n\r'[each % 6] for each in b)))
def test_rows_are_found_at_once_as_they_are_one_by_one(content):
    splitter = Splitter(",")
    content += b"\n"
    found = splitter.split(content, final=False).row_ends.tolist()
    assert found == splitter._row_ends(content).tolist()


LINES = b'{"text": "a", "id": 12345678901234567890123, "x": 1.50}\n\n{"text":"b","x":{}}  \n{}\n'


def test_json_lines_stay_as_they_are_and_get_members(tmp_path):
    path = csv(tmp_path, LINES, "news.jsonl")
    out = tmp_path / "out.jsonl"
    source = reader(path, for_format="jsonl")
    schema = source.schema.append(pa.field("label", pa.string()))
    with open_writer(out, output_format="jsonl", compression=None, schema=schema) as writer:
        for chunk in source.chunks():
            labels = pa.array(["positive"] * chunk.columns.num_rows)
            writer.write(
                pa.RecordBatch.from_arrays([*chunk.columns.columns, labels], schema=schema)
            )
    assert out.read_bytes() == (
        b'{"text": "a", "id": 12345678901234567890123, "x": 1.50,"label":"positive"}\n'
        b'{"text":"b","x":{},"label":"positive"}\n{"label":"positive"}\n'
    )


def test_a_line_that_is_no_object_is_a_fault(tmp_path):
    content = (
        b'{"text":"a"}\n{"text":1,"id":7}\n[1]\nnope\n{"text":"\xff"}\n{"id":8}\n{"text":null}\n'
    )
    rows, numbers, faults = read(csv(tmp_path, content, "news.jsonl"))
    assert [row["text"] for row in rows] == ["a"] + [None] * 6
    assert [row["id"] for row in rows] == [None, "7", None, None, None, "8", None]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    assert faults.pop(4).startswith("not JSON: ")
    assert faults == {
        2: "expected a string in 'text', found: integer",
        3: 'expected an object a line, such as {"text": ...}, found: array',
        5: "byte 49 of the file (0xff) is not UTF-8; save the file as UTF-8",
        6: "no member 'text'",
    }


def test_members_of_json_lines_get_one_type_for_parquet(tmp_path):
    content = b'{"text":"a","n":1,"deep":{"x":[1]}}\n'
    content += b'{"text":"b","n":1.5,"deep":{"y":"z"}}\n{"text":"c"}\n'
    source = reader(csv(tmp_path, content, "news.jsonl"), for_format="parquet")
    assert source.schema.field("n").type == pa.float64()
    (chunk,) = source.chunks()
    path = write(tmp_path / "out.parquet", chunk.columns, "parquet")
    assert parquet.read_table(path).to_pylist() == [
        {"text": "a", "n": 1.0, "deep": {"x": [1], "y": None}},
        {"text": "b", "n": 1.5, "deep": {"x": None, "y": "z"}},
        {"text": "c", "n": None, "deep": None},
    ]


def test_a_member_of_two_types_is_refused_for_parquet_alone(tmp_path):
    path = csv(tmp_path, b'{"text":"a","n":1}\n{"text":"b","n":"x"}\n', "news.jsonl")
    with pytest.raises(DataError, match=r"news\.jsonl:2: 'n' is string here and int64 before"):
        reader(path, for_format="parquet")
    assert [row["n"] for row in read(path, for_format="csv")[0]] == ["1", "x"]


def test_a_member_that_mixes_types_within_is_refused_for_parquet_in_plain_words(tmp_path):
    path = csv(tmp_path, b'{"text": "a", "m": [1, {"b": 2}]}\n', "news.jsonl")
    with pytest.raises(DataError, match="'m' is array of mixed types here and null before"):
        reader(path, for_format="parquet")


def test_json_lines_without_the_text_say_what_is_there(tmp_path):
    with pytest.raises(DataError, match="expected a column named 'text'; there are 'a'"):
        reader(csv(tmp_path, b'{"a":1}\n', "news.jsonl"))


def test_parquet_keeps_its_types_and_counts_rows_from_one(tmp_path):
    path = tmp_path / "news.parquet"
    table = pa.table({"text": pa.array(["a", None, "b"]).dictionary_encode(), "n": [1, 2, 3]})
    parquet.write_table(table, path, row_group_size=2)
    rows, numbers, faults = read(path)
    assert [row["text"] for row in rows] == ["a", None, "b"]
    assert (numbers, faults) == ([1, 2, 3], {})


def test_a_text_in_parquet_that_is_not_utf8_is_a_fault(tmp_path):
    texts = pa.array([b"a", b"\xff", None]).view(pa.string())
    parquet.write_table(pa.table({"text": texts}), tmp_path / "news.parquet")
    rows, _, faults = read(tmp_path / "news.parquet")
    assert [row["text"] for row in rows] == ["a", None, None]
    assert faults == {2: "'text' is not UTF-8"}


def test_parquet_that_is_none_or_damaged_is_named(tmp_path):
    path = csv(tmp_path, b"PAR1 nonsense", "news.parquet")
    with pytest.raises(DataError, match=r"news\.parquet: not a Parquet file"):
        reader(path)
    parquet.write_table(pa.table({"text": [str(n) for n in range(9999)]}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[100:3000] = bytes(2900)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"news\.parquet: row group 0"):
        read(path)


def test_parquet_of_other_types_names_both_files_and_the_column(tmp_path):
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    parquet.write_table(pa.table({"text": ["a"], "n": [1]}), one)
    parquet.write_table(pa.table({"text": ["a"], "n": ["1"]}), two)
    with pytest.raises(DataError, match=r"one\.parquet and .*two\.parquet .*'n' is int64 and str"):
        reader(one, two)
    with pytest.raises(DataError, match="column 'n' is int64; expected string"):
        reader(one, text_column="n")


@pytest.mark.parametrize("output_format", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_the_bytes_depend_on_the_rows_alone(tmp_path, output_format, compression):
    if output_format == "parquet" and compression:
        with pytest.raises(OptionError, match="packed in itself"):
            write(tmp_path / "x", pa.record_batch({"a": [1]}), "parquet", compression=compression)
        return
    texts = [f"headline {n} " * (n % 50) for n in range(9000)]
    rows = pa.record_batch({"text": texts, "score": pa.array(range(9000), pa.float32())})
    whole = write(tmp_path / "whole", rows, output_format, compression=compression)
    cut = write(tmp_path / "cut", rows, output_format, compression=compression, pieces=777)
    assert whole.read_bytes() == cut.read_bytes()


def test_a_compressed_file_is_known_by_its_first_bytes(tmp_path):
    path = csv(tmp_path, gzip.compress(b"text\na\n"), "news.csv")
    assert read(path)[0] == [{"text": "a"}]
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"news\.csv: cannot be unpacked as gzip"):
        read(path)


def test_json_has_dates_in_iso_and_nulls_where_json_has_no_number(tmp_path):
    import datetime
    from decimal import Decimal

    rows = pa.RecordBatch.from_pylist(
        [
            {
                "at": datetime.datetime(2026, 1, 2, 3, 4),
                "price": Decimal("1.50"),
                "ratio": float("nan"),
                "raw": "é\\".encode(),
                "spans": [{"start": 0, "label": 'a"b'}, None],
            }
        ]
    )
    line = json.loads(write(tmp_path / "out.jsonl", rows, "jsonl").read_text())
    assert line == {
        "at": "2026-01-02T03:04:00.000000",
        "price": "1.50",
        "ratio": None,
        "raw": "é\\",
        "spans": [{"start": 0, "label": 'a"b'}, None],
    }


def test_a_folder_means_its_data_files_and_not_what_is_written(tmp_path):
    for name in (
        "b.csv",
        "a/c.csv",
        "_SUCCESS",
        ".hidden.csv",
        "_tmp/x.csv",
        "read.me",
        "out",
        "out.errors.csv",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text\nx\n")
    options = {"input_format": None, "run_folder": tmp_path / "out.run"}
    found = find_inputs([str(tmp_path)], **options)
    assert [file.path for file in found] == [str(tmp_path / "a/c.csv"), str(tmp_path / "b.csv")]
    assert [f.name for f in find_inputs([f"{tmp_path}/**/*.csv"], **options)][-1].endswith("b.csv")
    assert len(find_inputs([f"file://{tmp_path}/*.csv"], **options)) == 2
    with pytest.raises(DataError, match=r"no file of \.csv"):
        find_inputs([f"{tmp_path}/*.tsv"], **options)
    with pytest.raises(DataError, match="no such file"):
        find_inputs([f"{tmp_path}/none.csv"], **options)
    with pytest.raises(DataError, match=r"hdfs://nobody/news\.csv: cannot be reached: "):
        find_inputs(["hdfs://nobody/news.csv"], **options)
    with pytest.raises(OptionError, match="given twice"):
        find_inputs([f"{tmp_path}/b.csv", str(tmp_path)], **options)
    with pytest.raises(OptionError, match="--input-format"):
        find_inputs([f"{tmp_path}/read.me"], **options)
    with pytest.raises(OptionError, match="both input and output"):
        find_inputs([f"{tmp_path}/out"], **options)
    (tmp_path / "d.jsonl").write_text("{}")
    with pytest.raises(OptionError, match=r"c\.csv is csv and .*d\.jsonl is jsonl"):
        find_inputs([str(tmp_path)], **options)


def test_standard_input_is_kept_and_known_by_its_start(tmp_path):
    script = (
        "import sys; from pathlib import Path; from sentiment.bulk.inputs import *\n"
        "f, = find_inputs(['-'], input_format=None, run_folder=Path(sys.argv[1]))\n"
        "print(f.format, f.size_bytes)"
    )
    for piped in (b'{"text": "a"}\n', b""):  # the second time nothing is left to read
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "x.run"],
            input=piped, capture_output=True, check=True,
        )  # fmt: skip
        assert done.stdout == b"jsonl 14\n"


def test_a_store_that_arrow_does_not_know_is_read_through_fsspec():
    fsspec = pytest.importorskip("fsspec")
    from pathlib import Path

    with fsspec.open("memory://news/a.csv", "wb") as file:
        file.write(b"text\nx\n")
    files = find_inputs(["memory://news"], input_format=None, run_folder=Path("/out.run"))
    assert files[0].name == "memory://news/a.csv"
    chunks = open_reader(files, text_column="text", for_format="csv").chunks()
    assert next(chunks).columns.to_pylist() == [{"text": "x"}]


@pytest.mark.parametrize("output_format", ["csv", "jsonl", "parquet"])
def test_a_full_disk_is_a_storage_error(tmp_path, output_format):
    rows = pa.record_batch({"text": [f"{n * 7919}" for n in range(200_000)]})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="out: cannot be written: File too large"):
            write(tmp_path / "out", rows, output_format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("output_format", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("content", [b"", b"\n", b"none\n{}\n", b'[\n{"text": "a"}]\n'])
def test_json_lines_without_a_row_have_the_column_of_texts_all_the_same(
    tmp_path, content, output_format
):
    path = csv(tmp_path, content, "news.jsonl")
    rows, _, faults = read(path, for_format=output_format)
    assert [row["text"] for row in rows] == [None] * len(faults)
    assert "text" in reader(path, for_format=output_format).schema.names


def test_an_array_over_several_lines_is_told_from_broken_json(tmp_path):
    _, _, faults = read(csv(tmp_path, b'[\n{"text": "a"},\n', "news.json"))
    assert faults[1].endswith("found: array")


def test_a_member_of_the_readers_own_name_is_refused(tmp_path):
    path = csv(tmp_path, b'{"text": "a", "\\u0000line": 1}', "news.jsonl")
    with pytest.raises(DataError, match="no member can be named"):
        reader(path)


def test_times_of_a_zone_are_written_as_iso_8601_has_them(tmp_path):
    zones = {"Europe/Berlin": "+01:00", "America/New_York": "-05:00", "UTC": "Z"}
    columns = {zone: pa.array([0], pa.timestamp("s", zone)) for zone in zones}
    path = write(tmp_path / "x.jsonl", pa.RecordBatch.from_pydict(columns), "jsonl")
    (row,) = map(json.loads, path.read_text().splitlines())
    for zone, offset in zones.items():
        assert row[zone].endswith(offset)


def test_a_value_without_a_text_is_an_error_of_the_data(tmp_path):
    rows = pa.RecordBatch.from_pydict({"at": pa.array([0], pa.timestamp("s", "Mars/Base"))})
    with pytest.raises(DataError, match=r"a column has no text: .*Mars/Base"):
        write(tmp_path / "x.csv", rows, "csv")


def give_up(path, rows):
    with open_writer(path, output_format="parquet", compression=None, schema=rows.schema) as writer:
        writer.write(rows)
        raise DataError("meanwhile")


def test_parquet_that_is_given_up_says_nothing_of_it(tmp_path):
    rows = pa.RecordBatch.from_pydict({"text": ["a"]})
    with pytest.raises(DataError, match="meanwhile"):
        give_up(tmp_path / "x.parquet", rows)
    gc.collect()  # a complaint of what is thrown away would fail the test


def test_an_object_without_members_has_none(tmp_path):
    path = csv(tmp_path, b'{"text": "a", "n": 1}\n{}\n', "news.jsonl")
    for output_format, number in (("csv", "1"), ("parquet", 1)):
        rows, _, faults = read(path, for_format=output_format)
        assert rows == [{"text": "a", "n": number}, {"text": None, "n": None}]
        assert faults == {2: "no member 'text'"}


def test_a_packed_input_may_have_the_name_of_the_output_and_more(tmp_path):
    path = tmp_path / "out.csv.gz"
    path.write_bytes(gzip.compress(b"text\nx\n"))
    (file,) = find_inputs([str(path)], input_format=None, run_folder=tmp_path / "out.csv.run")
    assert file.compression == "gzip"


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("[!a].csv", ["[.csv", "\\.csv", "b.csv"]),
        ("[a-", []),
        ("[[]*", ["[.csv"]),
        ("[\\]*", ["\\.csv"]),
        ("[].csv", []),
    ],
)
def test_a_glob_is_read_as_a_shell_reads_it(tmp_path, glob, found):
    for name in ("a.csv", "b.csv", "[.csv", "\\.csv"):
        csv(tmp_path, b"text\nx\n", name)
    options = {"input_format": None, "run_folder": tmp_path / "out.run"}
    if found:
        files = find_inputs([f"{tmp_path}/{glob}"], **options)
        assert [file.path.rpartition("/")[2] for file in files] == found
    else:
        with pytest.raises(DataError, match="no file of"):
            find_inputs([f"{tmp_path}/{glob}"], **options)


def test_a_glob_that_is_none_is_said(tmp_path):
    with pytest.raises(OptionError, match=r"\[z-a\]: no glob: bad character range"):
        find_inputs([f"{tmp_path}/[z-a]"], input_format=None, run_folder=tmp_path / "out.run")


def test_a_pipe_is_for_standard_input(tmp_path):
    os.mkfifo(tmp_path / "news.csv")
    with pytest.raises(DataError, match="neither a file nor a folder; a pipe can be given to -"):
        reader(tmp_path / "news.csv")


WIDE = {
    "strings": pa.array(["a" * 900, "b" * 1100, None] * 40),
    "views": pa.array(["a" * 900, "b" * 1100, None] * 40, pa.string_view()),
    "bytes": pa.array([b"a" * 900, b"b" * 1100, None] * 40),
    "vectors": pa.array([[0.5] * 100, [0.5] * 150, None] * 40, pa.list_(pa.float64())),
    "arrays": pa.array([[0.5] * 125, None] * 60, pa.list_(pa.float64(), 125)),
    "sentences": pa.array(
        [[{"text": "a" * 400}] * 2, [{"text": "b" * 300}] * 4, []] * 40,
        pa.list_(pa.struct([("text", pa.string())])),
    ),
    "maps": pa.array([[("a", "b" * 1000)], None] * 60, pa.map_(pa.string(), pa.string())),
    "numbers": pa.array(range(120)),
}


@pytest.mark.parametrize("name", WIDE)
def test_a_row_group_is_bounded_by_all_that_is_in_its_rows(tmp_path, monkeypatch, name):
    monkeypatch.setattr(outputs, "GROUP_BYTES", 10_000)
    column = WIDE[name]
    rows = pa.RecordBatch.from_pydict({name: column})
    cut = [
        parquet.ParquetFile(write(tmp_path / f"{pieces}", rows, "parquet", pieces=pieces))
        for pieces in (1, 7, 120)
    ]
    groups = [
        [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] for file in cut
    ]
    assert groups[0] == groups[1] == groups[2]
    assert (len(groups[0]) > 3) == (name != "numbers")
    assert cut[0].read().equals(pa.Table.from_batches([rows]))


def test_some_row_groups_of_a_file_are_read_as_the_rows_that_they_are(tmp_path):
    path = tmp_path / "news.parquet"
    parquet.write_table(pa.table({"text": list("abcdefg")}), path, row_group_size=2)
    files = find_inputs([str(path)], input_format=None, run_folder=tmp_path / "out.run")
    ranged = ParquetReader(files, text_column="text", row_groups=(1, 3), first_row=2)
    chunks = list(ranged.chunks())
    assert [row["text"] for chunk in chunks for row in chunk.columns.to_pylist()] == list("cdef")
    assert [number for chunk in chunks for number in chunk.numbers.tolist()] == [3, 4, 5, 6]


def test_an_output_folder_is_no_input(tmp_path):
    (tmp_path / "out").mkdir()
    csv(tmp_path, b"text\nx\n")
    csv(tmp_path / "out", b"text\nx\n", name="part-00000.csv")
    files = find_inputs([str(tmp_path)], input_format=None, run_folder=tmp_path / "out.run")
    assert [file.name for file in files] == [str(tmp_path / "news.csv")]
