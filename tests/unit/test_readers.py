"""Files of labelled texts: what each format means, and what is said of files that are wrong."""

import codecs
import json
import os
import sys
import tracemalloc
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from sentiment.errors import DataError, LibraryError
from sentiment.predictions import LABELS
from sentiment.training import rows
from sentiment.training.benchmarks import read_benchmark
from sentiment.training.examples import MAX_TEXT_CHARS
from sentiment.training.readers import Columns, read_file
from sentiment.training.rows import CHUNK_BYTES, MAX_ROW_BYTES

POSITIVE, NEGATIVE, NEUTRAL = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
SOFT_HEADER = "text,positive,negative,neutral\n"
TABLES = ["csv", "tsv", "jsonl", "parquet"]


@pytest.fixture
def read(write):
    """Read a file; answer its examples."""

    def read(name, content, **columns):
        return [example for _, example in read_file(write(name, content), Columns(**columns))]

    return read


@pytest.fixture
def write_table(tmp_path):
    """Write one table in any of the formats."""

    def write_table(kind, table):
        path = tmp_path / f"rows.{kind}"
        if kind == "parquet":
            names = list(dict.fromkeys(name for row in table for name in row))
            columns = {name: [row.get(name) for row in table] for name in names}
            parquet.write_table(pa.table(columns), path)
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table))
        else:
            separator = "\t" if kind == "tsv" else ","
            lines = [table[0].keys(), *(row.values() for row in table)]
            path.write_text(
                "".join(
                    separator.join("" if cell is None else str(cell) for cell in line) + "\n"
                    for line in lines
                )
            )
        return path

    return write_table


def labelled(examples):
    return [(example.text, LABELS[example.label]) for example in examples]


def test_the_order_of_labels_is_what_these_tests_assume():
    assert LABELS == ("positive", "negative", "neutral")


# Financial PhraseBank


def test_a_phrasebank_line_is_a_sentence_and_its_label(read):
    examples = read(
        "bank.txt", "Sales rose .@positive\nSales fell .@negative\nSales were .@neutral\n"
    )
    assert [(example.text, example.target) for example in examples] == [
        ("Sales rose .", POSITIVE),
        ("Sales fell .", NEGATIVE),
        ("Sales were .", NEUTRAL),
    ]
    for example in examples:
        assert (example.sources, example.soft) == ({"bank.txt"}, False)
        assert example.agreement is None


def test_the_last_at_sign_separates_the_label(read):
    examples = read("bank.txt", "Write to ir@nokia.com @ noon .@neutral\n")
    assert labelled(examples) == [("Write to ir@nokia.com @ noon .", "neutral")]


def test_phrasebank_is_latin_1_with_any_line_ends_and_blank_lines(write):
    path = write(
        "bank.txt",
        "Värtsilä rose .@positive\r\n\r\nCafé fell .@negative\rSo .@neutral".encode("latin-1"),
    )
    assert [(row, example.text) for row, example in read_file(path)] == [
        (1, "Värtsilä rose ."),
        (3, "Café fell ."),
        (4, "So ."),
    ]


def test_damaged_letters_of_phrasebank_stay_as_published(read):
    examples = read("bank.txt", b"Sepp+\xf1l+\xf1 rose .@positive\n")
    assert labelled(examples) == [("Sepp+ñl+ñ rose .", "positive")]


def test_a_text_file_in_utf_8_is_refused_for_it_would_be_read_as_other_letters(read):
    content = "Up .@positive\nSeppälä rose .@positive\n".encode()
    with pytest.raises(DataError, match=r"/bank\.txt:2: byte 18 begins a letter in UTF-8; expect"):
        read("bank.txt", content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Good .@positive\r\n\r\nSales rose .\r\n", r":3: expected `sentence@label`"),
        (b"Good .@positive\n@positive\n", r":2: expected `sentence@label`"),
        (b"Good .@positive\n  @positive\n", r":2: expected `sentence@label`"),
        (b"Good .@positive\nSales rose .@great\n", r":2: unknown label 'great'; expected pos"),
        (b"Sales rose .@\n", r":1: unknown label ''"),
        (b"Write to ir@nokia.com\n", r":1: unknown label 'nokia.com'"),
        (b"Sales rose@" + b"x" * 999, r":1: unknown label 'x{36}\.\.\.; expected"),
    ],
)
def test_a_wrong_phrasebank_line_is_named_by_file_and_number(read, content, message):
    with pytest.raises(DataError, match=rf"/bank\.txt{message}"):
        read("bank.txt", content)


# How far the annotators agreed


@pytest.fixture
def phrasebank(write):
    """Nested files as published: each holds the sentences of the stronger ones."""
    lines = {50: "Weak .@neutral\n", 66: "Fair .@neutral\n", 75: "Good .@neutral\n"}
    lines[100] = "Sure .@positive\n"
    content, paths = "", {}
    for agreement in (100, 75, 66, 50):
        content += lines[agreement]
        level = "All" if agreement == 100 else agreement
        paths[agreement] = write(f"Sentences_{level}Agree.txt", content)
    return paths


def agreements(path):
    return {example.text: example.agreement for _, example in read_file(path)}


def test_the_agreement_is_that_of_the_strongest_file_beside_it(phrasebank):
    every = {"Sure .": 100, "Good .": 75, "Fair .": 66, "Weak .": 50}
    assert agreements(phrasebank[50]) == every
    assert agreements(phrasebank[75]) == {"Sure .": 100, "Good .": 75}
    phrasebank[75].unlink()
    assert agreements(phrasebank[50]) == every | {"Good .": 66}


def test_without_files_beside_it_the_agreement_is_that_of_the_files_name(phrasebank):
    for agreement in (100, 75, 66):
        phrasebank[agreement].unlink()
    assert set(agreements(phrasebank[50]).values()) == {50}


def test_a_sentence_with_another_label_than_in_the_stronger_file_has_not_its_agreement(
    phrasebank, write
):
    write("Sentences_AllAgree.txt", "Sure .@negative\n")
    assert agreements(phrasebank[50])["Sure ."] == 75


def test_a_file_of_another_name_has_the_agreement_of_the_files_beside_it(phrasebank, write):
    assert agreements(write("own.txt", "Sure .@positive\nNew .@neutral\n")) == {
        "Sure .": 100,
        "New .": None,
    }


# Tables: what all formats have in common


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("text", ["text", "sentence"])
@pytest.mark.parametrize("label", ["label", "sentiment"])
def test_a_row_with_a_label_is_a_hard_example(write_table, kind, text, label):
    table = [
        {"id": 1, text: "Sales rose", label: "positive"},
        {"id": 2, text: " Sales fell ", label: " Negative "},
    ]
    examples = [example for _, example in read_file(write_table(kind, table))]
    assert [(example.text, example.target) for example in examples] == [
        ("Sales rose", POSITIVE),
        ("Sales fell", NEGATIVE),
    ]
    for example in examples:
        assert (example.sources, example.soft) == ({f"rows.{kind}"}, False)


@pytest.mark.parametrize("kind", TABLES)
def test_a_row_with_probabilities_is_a_soft_example_in_the_order_of_labels(write_table, kind):
    table = [{"neutral": 0.1, "text": "Sales rose", "negative": 0.2, "positive": 0.7}]
    ((_, example),) = read_file(write_table(kind, table))
    assert example.target == pytest.approx((0.7, 0.2, 0.1))
    assert example.soft
    assert LABELS[example.label] == "positive"


@pytest.mark.parametrize("kind", TABLES)
def test_named_columns_are_taken_and_the_usual_names_are_not(write_table, kind):
    table = [
        {"text": "no", "label": "negative", "headline": "Up", "rating": "positive", "neutral": 9}
    ]
    path = write_table(kind, table)
    ((_, example),) = read_file(path, Columns(text="headline", label="rating"))
    assert (example.text, example.target) == ("Up", POSITIVE)


@pytest.mark.parametrize("kind", TABLES)
def test_named_probabilities_are_taken(write_table, kind):
    path = write_table(kind, [{"text": "Up", "up": 0.7, "down": 0.2, "neutral": 0.1}])
    ((_, example),) = read_file(path, Columns(positive="up", negative="down"))
    assert example.soft
    assert example.target == pytest.approx((0.7, 0.2, 0.1))


@pytest.mark.parametrize("kind", TABLES)
def test_of_two_usual_names_the_first_counts(write_table, kind):
    table = [{"sentiment": "negative", "sentence": "no", "label": "positive", "text": "Up"}]
    ((_, example),) = read_file(write_table(kind, table))
    assert (example.text, example.target) == ("Up", POSITIVE)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    ("columns", "needed"),
    [
        ({"text": "headline"}, "'headline'"),
        ({"label": "rating"}, "'rating'"),
        ({"neutral": "flat"}, "'flat'"),
        ({}, "text or sentence"),
    ],
)
def test_a_missing_column_is_named_beside_those_that_are_there(write_table, kind, columns, needed):
    here = "Text" if not columns else "text"
    path = write_table(kind, [{here: "Up", "label": "positive"}])
    message = rf"/rows\.{kind}:1: expected a column named {needed}; there are '{here}', 'label'$"
    with pytest.raises(DataError, match=message):
        list(read_file(path, Columns(**columns)))


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_without_a_named_column_may_be_read_by_the_usual_names(write_table, kind):
    columns = Columns(text="headline", label="rating", positive="up", or_usual=True)
    path = write_table(kind, [{"sentence": "Up", "rating": "positive", "label": "negative"}])
    ((_, example),) = read_file(path, columns)
    assert (example.text, example.target) == ("Up", POSITIVE)


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_without_a_target_is_told_what_it_could_be(write_table, kind):
    path = write_table(kind, [{"text": "Up", "positive": 0.5, "negative": 0.5}])
    message = "named label or sentiment, or positive, negative, neutral; there are 'text', 'posit"
    with pytest.raises(DataError, match=message):
        list(read_file(path))


@pytest.mark.parametrize("kind", TABLES)
def test_a_thousand_columns_are_not_listed(write_table, kind):
    path = write_table(kind, [{f"column {index}": "x" for index in range(1000)}])
    with pytest.raises(DataError, match=r"'column 0', .*\.\.\.$") as refusal:
        list(read_file(path))
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label": "good"}, r"unknown label 'good'; expected positive, negative, neutral"),
        ({"label": None}, r"expected a label in 'label', or a number in each of positive, neg"),
        ({"text": "  ", "label": "positive"}, r"the text is empty"),
        ({"text": None, "label": "positive"}, r"the text is empty"),
        ({"text": "\u200b\u0301", "label": "positive"}, r"the text is empty"),
        ({"positive": 0.7, "negative": 0.2, "neutral": 0.2}, r"the probabilities do not sum to 1"),
        ({"positive": 1.2, "negative": -0.1, "neutral": -0.1}, r"the probabilities .*negative"),
        ({"positive": float("nan"), "negative": 0, "neutral": 1}, r"the probabilities .*: nan, 0"),
        ({"positive": float("inf"), "negative": 0, "neutral": 0}, r"the probabilities .*: inf"),
        ({"positive": 0.7, "neutral": 0.3}, r"expected a label in 'label'"),
        ({"text": "long " * 30_000, "label": "positive"}, None),
    ],
    ids=lambda value: None if isinstance(value, dict) else "",
)
def test_a_wrong_row_is_named_by_file_and_row(write_table, kind, wrong, message):
    empty = dict.fromkeys(["text", "label", *LABELS])
    good = empty | {"text": "Sales rose", "label": "positive"}
    path = write_table(kind, [good, good, empty | {"text": "Up"} | wrong, good])
    row = 4 if kind in ("csv", "tsv") else 3  # after the header
    if message is None:
        message = "field larger than field limit" if row == 4 else "the text has 149,999 charact"
        assert len(wrong["text"]) > MAX_TEXT_CHARS
    with pytest.raises(DataError, match=rf"/rows\.{kind}:{row}: .*{message}"):
        list(read_file(path))


@pytest.mark.parametrize("kind", TABLES)
def test_a_row_with_an_empty_probability_falls_back_to_its_label_which_is_a_teachers(
    write_table, kind
):
    table = [{"text": "Up", "label": "negative", "positive": 0.7, "negative": None, "neutral": 0.3}]
    ((_, example),) = read_file(write_table(kind, table))
    assert example.target == NEGATIVE
    assert example.soft


@pytest.mark.parametrize("kind", TABLES)
def test_a_probability_of_zero_is_not_an_empty_one(write_table, kind):
    table = [{"text": "Up", "positive": 0, "negative": 0, "neutral": 1}]
    ((_, example),) = read_file(write_table(kind, table))
    assert example.target == NEUTRAL
    assert example.soft


@pytest.mark.parametrize("kind", TABLES)
def test_probabilities_count_more_than_the_label_beside_them(write_table, kind):
    table = [{"text": "Up", "label": "neutral", "positive": 0.7, "negative": 0.2, "neutral": 0.1}]
    ((_, example),) = read_file(write_table(kind, table))
    assert example.soft
    assert LABELS[example.label] == "positive"


def test_rounded_probabilities_are_scaled_to_sum_to_one(read):
    (example,) = read("rows.csv", SOFT_HEADER + "Up,0.7,0.2,0.0995\n")
    assert sum(example.target) == pytest.approx(1, abs=1e-12)
    assert example.target[0] == pytest.approx(0.7 / 0.9995)


# CSV and TSV


def test_a_byte_order_mark_is_no_part_of_the_first_column(read):
    content = codecs.BOM_UTF8 + "text,label\nCafé rose,positive\n".encode()
    assert labelled(read("rows.csv", content)) == [("Café rose", "positive")]


def test_a_text_in_quotes_may_hold_commas_quotes_and_line_breaks(read):
    examples = read("rows.csv", 'text,label\r\n"Sales, ""all"" of\r\nthem, rose",positive\r\n')
    assert labelled(examples) == [('Sales, "all" of\r\nthem, rose', "positive")]


def test_a_tab_separates_in_tsv_and_a_comma_does_not(read):
    examples = read("rows.tsv", 'text\tlabel\nUp, up\tpositive\n"a\tb"\tneutral\n')
    assert labelled(examples) == [("Up, up", "positive"), ("a\tb", "neutral")]


def test_a_suffix_may_be_in_capitals(read):
    assert labelled(read("ROWS.CSV", "text,label\nUp,positive\n")) == [("Up", "positive")]


def test_a_row_is_counted_as_an_editor_counts_lines_and_named_by_its_first(write):
    path = write("rows.csv", 'text,label\r\n\r\n"Sales\nrose",positive\rUp,neutral\n')
    assert [row for row, _ in read_file(path)] == [3, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label,text\npositive\n", r":2: the text is empty"),
        ("text,label,\nUp,positive,,\n", r":2: more cells than columns, 4 and 3"),
        ("text,label\nUp,positive\nSales rose, again,positive\n", r":3: more cells than columns"),
        ("text,text,label\nUp,Up,positive\n", r":1: two columns are named text"),
        (SOFT_HEADER + "Up,most,0.2,0.1\n", r":2: expected a number, not 'most'"),
        (SOFT_HEADER + "Up, ,0.2,0.8\n", r":2: expected a number, not ' '"),
        (SOFT_HEADER + "Up,inf,-inf,1\n", r":2: the probabilities do not sum to 1"),
        (SOFT_HEADER + "Up,1e308,1e308,1e308\n", r":2: the probabilities do not sum to 1"),
        (SOFT_HEADER + "Up,0.7,0.2,0.09\n", r":2: the probabilities do not sum to 1"),
        ('text,label\nUp,positive\n"Sales" rose,positive\n', r":3: not a \.csv row: "),
        ('text,label\n"Sales\nrose,positive\nUp,positive\n', r":2: not a \.csv row: "),
        ('text,"label\n', r":1: not a \.csv row: "),
        ("text,label\nUp,\0\n", r":2: byte 14 is NUL; expected UTF-8"),
        ("text;label\nUp;positive\n", r":1: .* text or sentence; there are 'text;label'$"),
    ],
)
def test_a_wrong_csv_row_is_named_by_file_and_line(read, content, message):
    with pytest.raises(DataError, match=rf"/rows\.csv{message}"):
        read("rows.csv", content)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("rows_before", [0, 5000], ids=["near-the-start", "far-into-the-file"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["no-bom", "bom"])
def test_what_is_not_utf_8_is_named_by_row_and_byte(read, kind, rows_before, mark):
    header, row = {
        "csv": (b"text,label\n", b"Sales rose,positive\n"),
        "jsonl": (b"\n", b'{"text": "Sales rose", "label": "positive"}\n'),
    }[kind]
    valid = mark + header + row * rows_before + b"Caf"
    message = (
        rf":{rows_before + 2}: byte {len(valid)} \(0xe9\) is not UTF-8; save the file as UTF-8$"
    )
    with pytest.raises(DataError, match=rf"/rows\.{kind}{message}"):
        read(f"rows.{kind}", valid + b"\xe9 rose,positive\n")


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "bank.txt"])
def test_utf_16_is_guessed(read, name):
    with pytest.raises(DataError, match=r":1: byte 3 is NUL; expected .*, and this may be UTF-16"):
        read(name, "text,label\nUp,positive\n".encode("utf-16"))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.text("ab\r\n", max_size=4), max_size=8),
    st.integers(1, 7),
)
def test_lines_are_those_of_the_whole_file_however_it_is_cut(tmp_path_factory, pieces, chunk):
    content = "".join(pieces).encode()
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    path.write_bytes(content or b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CHUNK_BYTES", chunk)
        lines = list(rows.read_lines(path))
    expected = (content or b"x").splitlines(keepends=True)
    assert [line.content for line in lines] == expected
    assert [line.number for line in lines] == list(range(1, len(expected) + 1))
    assert [line.start for line in lines] == [
        sum(map(len, expected[:index])) for index in range(len(expected))
    ]


# JSON Lines


def test_each_object_may_have_columns_of_its_own(read):
    examples = read(
        "rows.jsonl",
        '\ufeff{"sentence": "Up", "sentiment": "positive"}\n\n'
        '{"positive": 0, "neutral": 0.5, "text": "So", "negative": 0.5}\r\n',
    )
    assert [(example.text, example.target) for example in examples] == [
        ("Up", POSITIVE),
        ("So", (0, 0.5, 0.5)),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'text': 'Up'}", r"not JSON: .*, at column 2$"),
        ('{"text": "Up", "label": "positive"', r"not JSON: .*, at column 35$"),
        ('["Up", "positive"]', r"expected an object such as"),
        ('"Up"', r"expected an object such as"),
        ('{"text": 5, "label": "positive"}', r"the text is no string but a number$"),
        ('{"text": true, "label": "positive"}', r"the text is no string but true or false$"),
        ('{"text": ["Up"], "label": "positive"}', r"the text is no string but a list$"),
        ('{"text": "Up", "label": 1}', r"unknown label 1; expected positive, negative, neutral$"),
        ('{"text": "Up", "label": {}}', r"unknown label \{\}; expected"),
        ('{"text": "\\ud83d", "label": "positive"}', r"nothing visible|half of a surrogate"),
        ('{"text": "Up \\ud83d", "label": "positive"}', r"half of a surrogate pair"),
        ('{"text": "Up", "positive": true, "negative": 0, "neutral": 0}', r"number, not True"),
        ('{"text": "Up", "positive": [1], "negative": 0, "neutral": 0}', r"number, not \[1\]"),
        ('{"text": "Up", "positive": 1' + "0" * 999 + ', "negative": 0, "neutral": 0}', r"number"),
        ('{"text": 1' + "0" * 9999 + "}", r"not JSON: Exceeds the limit"),
        ("[" * 100_000, r"not JSON: "),
        ("{}", r"there are none$"),
    ],
    ids=lambda value: value[:24],
)
def test_a_wrong_json_line_is_named(read, line, message):
    good = '{"text": "Up", "label": "positive"}\n'
    with pytest.raises(DataError, match=rf"/rows\.jsonl:2: .*{message}"):
        read("rows.jsonl", f"{good}{line}\n{good}")


# Parquet


def test_parquet_takes_its_own_kinds_of_strings_and_numbers(tmp_path):
    path = tmp_path / "rows.parquet"
    table = {
        "text": pa.array(["Up", "Up"]).dictionary_encode(),
        "positive": pa.array([0.5, 1], pa.float32()),
        "negative": pa.array([Decimal("0.5"), Decimal(0)]),
        "neutral": pa.array([0, 0], pa.int8()),
    }
    parquet.write_table(pa.table(table), path)
    assert [example.target for _, example in read_file(path)] == [(0.5, 0.5, 0), POSITIVE]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (pa.array([5]), r":1: the text is no string but a number"),
        (pa.array([date(2026, 1, 1)]), r":1: the text is no string but of type date"),
        (pa.array([b"Up"]), r":1: the text is no string but of type bytes"),
        (
            pa.Array.from_buffers(
                pa.string(), 2, pa.array([b"Up", b"\xff\xfe"], pa.binary()).buffers()
            ),
            r":2: a string is not UTF-8",
        ),
    ],
    ids=["number", "date", "bytes", "not-utf-8"],
)
def test_a_parquet_cell_that_is_no_text_is_named(tmp_path, texts, message):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"text": texts, "label": ["positive"] * len(texts)}), path)
    with pytest.raises(DataError, match=rf"/rows\.parquet{message}"):
        list(read_file(path))


@pytest.mark.parametrize("damage", ["no-parquet", "no-footer", "page"])
def test_broken_parquet_is_named(tmp_path, damage):
    path = tmp_path / "rows.parquet"
    table = pa.table(
        {"text": [f"Sales rose {row}" for row in range(5000)], "label": ["neutral"] * 5000}
    )
    parquet.write_table(table, path)
    content = path.read_bytes()
    damaged = {
        "no-parquet": b"text,label\nUp,positive\n",
        "no-footer": content[: len(content) // 2],
        "page": content[:4] + bytes(200) + content[204:],
    }[damage]
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"/rows\.parquet: not a Parquet file: [^\n]+$"):
        list(read_file(path))


def test_a_parquet_row_group_that_would_fill_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    table = {"text": ["x" * 2000] * 10, "label": ["positive"] * 10, "other": ["y" * 9000] * 10}
    parquet.write_table(pa.table(table), path, compression="zstd", use_dictionary=False)
    monkeypatch.setattr(rows, "MAX_GROUP_BYTES", 25_000)  # `other` has more, and is not read
    assert len(list(read_file(path))) == 10
    monkeypatch.setattr(rows, "MAX_GROUP_BYTES", 10_000)
    with pytest.raises(DataError, match=r": column text of row group 0 unpacks to 2\d,\d+ bytes; "):
        list(read_file(path))


def test_without_pyarrow_parquet_says_what_to_install(write_table, monkeypatch):
    path = write_table("parquet", [{"text": "Up", "label": "positive"}])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        LibraryError, match=r"needs pyarrow: pip install -r requirements-train\.txt$"
    ):
        list(read_file(path))


# Files that are no data


NAMES = ["rows.csv", "rows.tsv", "rows.jsonl", "rows.parquet", "bank.txt"]


@pytest.mark.parametrize("name", [*NAMES, "missing/rows.csv"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(DataError, match=rf"/{name}: No such file or directory$"):
        list(read_file(tmp_path / name))


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_no_data_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=rf"/{name}: a folder, not a file$"):
        list(read_file(tmp_path / name))


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_is_refused_before_anybody_waits_for_it(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"/{name}: a pipe or device; expected a file"):
        list(read_file(tmp_path / name))


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_file_is_named(write, name):
    with pytest.raises(DataError, match=rf"/{name}: the file is empty$"):
        list(read_file(write(name, b"")))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "text,label\n"),
        ("rows.csv", "\n\n"),
        ("rows.jsonl", "\n \n"),
        ("bank.txt", "\r\n\r\n"),
    ],
)
def test_a_file_without_a_row_is_named(write, name, content):
    with pytest.raises(DataError, match=rf"/{name}: no labelled text$"):
        list(read_file(write(name, content)))


def test_a_parquet_file_without_a_row_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    with pytest.raises(DataError, match=r"/rows\.parquet: no labelled text$"):
        list(read_file(path))


@pytest.mark.parametrize("name", ["rows.json", "rows.xlsx", "rows", "rows.csv.gz"])
def test_a_file_of_another_kind_is_named(read, name):
    with pytest.raises(
        DataError, match=rf"/{name}: expected a \.txt, \.csv, \.tsv, \.jsonl or \.parquet file$"
    ):
        read(name, "text,label\nUp,positive\n")


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("rows.csv", "text,label\n"),
        ("rows.tsv", "text\tlabel\n"),
        ("rows.jsonl", '{"text": "Up", "label": "positive"}\n'),
        ("bank.txt", "Up@positive\n"),
    ],
)
def test_a_line_of_a_gibibyte_is_refused_without_being_read(write, name, before):
    path = write(name, before)
    os.truncate(path, 2**30)  # zeros, which take no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"/{name}:2: over 1,048,576 bytes in one line$"):
            list(read_file(path))
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_ROW_BYTES
    finally:
        tracemalloc.stop()


def test_many_short_rows_are_not_one_long_row(write):
    path = write("rows.csv", "text,label\n" + f"{'x' * 50_000},neutral\n" * 30)
    assert sum(1 for _ in read_file(path)) == 30
    assert path.stat().st_size > MAX_ROW_BYTES


def test_a_row_without_end_is_refused_though_its_lines_are_short(write):
    # The quote is closed in each cell, so that no single cell is over the limit.
    path = write("rows.csv", "text,label\n" + '"x\n",' * 300_000)
    with pytest.raises(DataError, match=r":2: over 1,048,576 characters in one row; perhaps a qu"):
        list(read_file(path))


@pytest.mark.parametrize("over", [0, 1])
def test_the_longest_line_does_not_depend_on_where_the_file_is_cut(write, over):
    for offset in (0, 1, CHUNK_BYTES - 1):
        before = "x" * offset + "\n" if offset else ""
        path = write("lines.txt", before + "y" * (MAX_ROW_BYTES - 1 + over) + "\nz")
        if over:
            with pytest.raises(DataError, match="in one line"):
                list(rows.read_lines(path))
        else:
            assert list(rows.read_lines(path))[-1].content == b"z"


# Benchmarks


FIQA = {
    "1": {"sentence": "Up", "info": [{"sentiment_score": "0.101"}, {"sentiment_score": "0.9"}]},
    "2": {"sentence": "Down", "info": [{"sentiment_score": "-0.11"}]},
    "3": {"sentence": "So", "info": [{"sentiment_score": "0.1"}, {"sentiment_score": "-0.1"}]},
    "4": {"sentence": "Both", "info": [{"sentiment_score": "0.5"}, {"sentiment_score": "-0.5"}]},
    "5": {"sentence": "Half", "info": [{"sentiment_score": "0.5"}, {"sentiment_score": "0"}]},
}


def test_a_fiqa_sentence_has_the_label_that_all_its_annotations_have(write):
    examples = read_benchmark(write("train.json", json.dumps(FIQA)))
    assert labelled(examples) == [("Up", "positive"), ("Down", "negative"), ("So", "neutral")]
    assert {(example.sources, example.soft) for example in examples} == {
        (frozenset({"train.json"}), False)
    }


def test_twitters_labels_are_in_an_order_of_their_own(write):
    examples = read_benchmark(write("sent.csv", 'text,label\nDown,0\n"Up\nup",1\nSo,2\nSo,2\n'))
    assert labelled(examples) == [
        ("Down", "negative"),
        ("Up\nup", "positive"),
        ("So", "neutral"),
        ("So", "neutral"),
    ]


def test_of_sentfin_headlines_with_one_entity_count(write):
    content = """S No.,Title,Decisions,Words
1,Up,{'Nokia': 'positive'},1
2,Mixed,"{'Nokia': 'positive', 'Elcoteq': 'negative'}",1
3,"Down, down",{'Moody's': 'negative'},2
"""
    assert labelled(read_benchmark(write("SEntFiN.csv", content))) == [
        ("Up", "positive"),
        ("Down, down", "negative"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nUp,1\nUp,3\n", r":3: unknown label '3'; expected 0, 1 or 2"),
        ("a.csv", "text,label\nUp,positive\n", r":2: unknown label 'positive'; expected 0, 1"),
        ("a.csv", "text,label\n,1\n", r":2: the text is empty"),
        ("a.csv", "title,label\nUp,1\n", r":2: expected the columns .*; there are 'title,label'"),
        ("a.csv", "Title,Decisions\nUp,{}\n", r":2: expected `Decisions` such as"),
        ("a.csv", "text,label\n", r": no text with one label"),
        ("a.json", "{}", r": no text with one label"),
        ("a.json", "[]", r": expected FiQA's sentences"),
        ("a.json", "{", r": not JSON: "),
        ("a.json", b"\xff", r": not JSON: "),
        ("a.json", "[" * 100_000, r": not JSON: "),
        ("a.json", '{"7": 1}', r":sentence '7': expected FiQA's .* there is no `sentence`"),
        ("a.json", '{"7": {"sentence": "Up"}}', r":sentence '7': .* there is no `info`"),
        (
            "a.json",
            '{"7": {"sentence": "Up", "info": [{}]}}',
            r":sentence '7': an annotation has no `sentiment_score`; FiQA's test files have none",
        ),
        (
            "a.json",
            '{"7": {"sentence": "Up", "info": [{"sentiment_score": "nan"}]}}',
            r":sentence '7': `sentiment_score` is nan; expected -1 to 1",
        ),
        (
            "a.json",
            '{"7": {"sentence": " ", "info": [{"sentiment_score": "1"}]}}',
            r":sentence '7': the text is empty",
        ),
        ("a.txt", "Up@positive\n", r": expected a benchmark, \.json or \.csv"),
    ],
)
def test_a_file_that_is_no_benchmark_is_named(write, name, content, message):
    with pytest.raises(DataError, match=rf"/{name}{message}"):
        read_benchmark(write(name, content))


def test_a_gibibyte_of_json_is_refused_without_being_read(write):
    path = write("a.json", "{")
    os.truncate(path, 2**30)
    with pytest.raises(DataError, match=r"/a\.json: over 67,108,864 bytes"):
        read_benchmark(path)
