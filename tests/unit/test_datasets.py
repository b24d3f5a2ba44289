import codecs
import hashlib

import pytest

from sentiment.errors import DataError
from sentiment.predictions import LABELS
from sentiment.training.datasets import RESERVED_TEXTS, comparison_key, read_examples

POSITIVE, NEGATIVE, NEUTRAL = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
SOFT_HEADER = "text,positive,negative,neutral\n"


@pytest.fixture
def write(tmp_path):
    """Write a data file; text becomes UTF-8."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def read(write):
    """Read files given as `name=content`, in order; `_` in a name stands for the dot."""

    def read(**contents):
        return read_examples([write(name.replace("_", "."), c) for name, c in contents.items()])

    return read


def labelled(dataset):
    return [(example.text, LABELS[example.label]) for example in dataset.examples]


def test_the_order_of_labels_is_what_these_tests_assume():
    assert LABELS == ("positive", "negative", "neutral")


# Financial PhraseBank


def test_a_phrasebank_line_is_a_sentence_and_its_label(read):
    dataset = read(bank_txt="Sales rose .@positive\nSales fell .@negative\nSales were .@neutral\n")
    assert [(example.text, example.target) for example in dataset.examples] == [
        ("Sales rose .", POSITIVE),
        ("Sales fell .", NEGATIVE),
        ("Sales were .", NEUTRAL),
    ]
    for example in dataset.examples:
        assert (example.sources, example.soft) == ({"bank.txt"}, False)


def test_the_last_at_sign_separates_the_label(read):
    dataset = read(bank_txt="Write to ir@nokia.com @ noon .@neutral\n")
    assert labelled(dataset) == [("Write to ir@nokia.com @ noon .", "neutral")]


def test_phrasebank_is_latin_1_with_any_line_ends_and_blank_lines(read):
    dataset = read(
        bank_txt="Värtsilä rose .@positive\r\n\r\nCafé fell .@negative".encode("latin-1")
    )
    assert labelled(dataset) == [("Värtsilä rose .", "positive"), ("Café fell .", "negative")]


def test_damaged_letters_of_phrasebank_stay_as_published(read):
    assert labelled(read(bank_txt=b"Sepp+\xf1l+\xf1 rose .@positive\n")) == [
        ("Sepp+ñl+ñ rose .", "positive")
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Good .@positive\r\n\r\nSales rose .\r\n", r":3: expected `sentence@label`"),
        (b"Good .@positive\n@positive\n", r":2: expected `sentence@label`"),
        (b"Good .@positive\n  @positive\n", r":2: expected `sentence@label`"),
        (b"Good .@positive\nSales rose .@great\n", r":2: unknown label 'great'; expected pos"),
        (b"Sales rose .@\n", r":1: unknown label ''"),
        (b"Write to ir@nokia.com\n", r":1: unknown label 'nokia.com'"),
    ],
)
def test_a_wrong_phrasebank_line_is_named_by_file_and_number(read, content, message):
    with pytest.raises(DataError, match=rf"/bank\.txt{message}"):
        read(bank_txt=content)


# CSV


@pytest.mark.parametrize("column", ["text", "sentence"])
def test_a_csv_row_with_a_label_is_a_hard_example(read, column):
    dataset = read(rows_csv=f"id,{column},label\n1,Sales rose,positive\n2,Sales fell, Negative \n")
    assert [(example.text, example.target) for example in dataset.examples] == [
        ("Sales rose", POSITIVE),
        ("Sales fell", NEGATIVE),
    ]
    assert not any(example.soft for example in dataset.examples)


def test_a_csv_row_with_probabilities_is_a_soft_example_in_the_order_of_labels(read):
    dataset = read(rows_csv="neutral,text,negative,positive\n0.1,Sales rose,0.2,0.7\n")
    (example,) = dataset.examples
    assert example.target == pytest.approx((0.7, 0.2, 0.1))
    assert example.soft
    assert LABELS[example.label] == "positive"


def test_probabilities_count_more_than_the_label_beside_them(read):
    dataset = read(rows_csv=SOFT_HEADER.replace("text", "text,label") + "Up,neutral,0.7,0.2,0.1\n")
    (example,) = dataset.examples
    assert example.soft
    assert LABELS[example.label] == "positive"


@pytest.mark.parametrize("cells", [",,", "0.7,,0.3", "0.7,0.3"])
def test_a_row_with_an_empty_probability_falls_back_to_its_label(read, cells):
    dataset = read(rows_csv=f"text,label,positive,negative,neutral\nUp,negative,{cells}\n")
    (example,) = dataset.examples
    assert example.target == NEGATIVE
    assert not example.soft


def test_a_probability_of_zero_is_not_an_empty_one(read):
    (example,) = read(rows_csv=SOFT_HEADER + "Up,0,0,1\n").examples
    assert example.target == NEUTRAL
    assert example.soft


def test_rounded_probabilities_are_scaled_to_sum_to_one(read):
    (example,) = read(rows_csv=SOFT_HEADER + "Up,0.7,0.2,0.0995\n").examples
    assert sum(example.target) == pytest.approx(1, abs=1e-12)
    assert example.target[0] == pytest.approx(0.7 / 0.9995)


def test_a_byte_order_mark_is_no_part_of_the_first_column(read):
    content = codecs.BOM_UTF8 + "text,label\nCafé rose,positive\n".encode()
    assert labelled(read(rows_csv=content)) == [("Café rose", "positive")]


def test_a_text_in_quotes_may_hold_commas_quotes_and_line_breaks(read):
    dataset = read(rows_csv='text,label\r\n"Sales, ""all"" of\r\nthem, rose",positive\r\n')
    assert labelled(dataset) == [('Sales, "all" of\r\nthem, rose', "positive")]


def test_line_numbers_count_lines_and_not_rows(read):
    with pytest.raises(DataError, match=r"/rows\.csv:4: unknown label 'good'"):
        read(rows_csv='text,label\n"Sales\nrose",positive\nUp,good\n')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r":1: expected a column named text or sentence"),
        ("headline,label\nUp,positive\n", r":1: expected a column named text or sentence"),
        ("text,label\nUp,positive\nDown,bad\n", r":3: unknown label 'bad'; expected positive, neg"),
        ("text,label\n  ,positive\n", r":2: the text is empty"),
        ("label,text\npositive\n", r":2: the text is empty"),
        ("text\nUp\n", r":2: expected a `label`, or a number in each of positive, negative, neut"),
        ("text,label\nUp,\n", r":2: expected a `label`"),
        ("text,positive,negative\nUp,0.5,0.5\n", r":2: expected a `label`"),
        (SOFT_HEADER + "Up,0.7,,0.3\n", r":2: expected a `label`"),
        (SOFT_HEADER + "Up,0.7,0.2,0.1\nDown,0.7,0.2,0.2\n", r":3: the probabilities do not sum"),
        (SOFT_HEADER + "Up,0.7,0.2,0.09\n", r":2: the probabilities do not sum to 1"),
        (SOFT_HEADER + "Up,1.2,-0.1,-0.1\n", r":2: the probabilities do not sum to 1"),
        (SOFT_HEADER + "Up,nan,0,1\n", r":2: the probabilities do not sum to 1"),
        (SOFT_HEADER + "Up,0,1,nan\n", r":2: the probabilities do not sum to 1"),
        (SOFT_HEADER + "Up,inf,0,0\n", r":2: the probabilities do not sum to 1"),
        (SOFT_HEADER + "Up,inf,-inf,1\n", r":2: the probabilities do not sum to 1"),
        (SOFT_HEADER + "Up,1e308,1e308,1e308\n", r":2: the probabilities do not sum to 1"),
        (SOFT_HEADER + "Up,most,0.2,0.1\n", r":2: a probability is not a number"),
        (SOFT_HEADER + "Up, ,0.2,0.8\n", r":2: a probability is not a number"),
    ],
)
def test_a_wrong_csv_row_is_named_by_file_and_line(read, content, message):
    with pytest.raises(DataError, match=rf"/rows\.csv{message}"):
        read(rows_csv=content)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('text,label\nUp,positive\n"Sales" rose,positive\n', 3),
        ('text,label\nUp,positive\n"Sales rose,positive\n', 3),
        ('text,"label\n', 1),
        (f"text,label\nUp,positive\n{'long ' * 30_000},positive\n", 3),
    ],
    ids=["text-after-quote", "unclosed-quote", "unclosed-header", "field-over-the-limit"],
)
def test_broken_csv_is_named_by_file_and_line(read, content, line):
    with pytest.raises(DataError, match=rf"/rows\.csv:{line}: not a CSV file"):
        read(rows_csv=content)


@pytest.mark.parametrize("rows_before", [0, 3000], ids=["near-the-start", "far-into-the-file"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["no-bom", "bom"])
def test_csv_that_is_not_utf_8_is_named_by_file_and_byte(read, rows_before, mark):
    valid = mark + b"text,label\n" + b"Sales rose,positive\n" * rows_before + b"Caf"
    with pytest.raises(DataError, match=rf"/rows\.csv: not UTF-8 at byte {len(valid)}$"):
        read(rows_csv=valid + b"\xe9 rose,positive\n")


# Several rows with one text


def test_of_a_text_in_two_rows_the_first_counts(read):
    dataset = read(rows_csv="text,label\nSales rose,positive\nSales rose,neutral\nUp,positive\n")
    assert labelled(dataset) == [("Sales rose", "positive"), ("Up", "positive")]
    assert (dataset.rows, dataset.duplicates, dataset.conflicts) == (3, 1, 1)
    assert dataset.examples[0].sources == {"rows.csv"}


@pytest.mark.parametrize(
    "twin", ["sales ROSE 5 %", "Sales rose: 5%!", " Sales\trose  5 % .", "Ｓａｌｅｓ rose ５"]
)
def test_case_punctuation_white_space_and_width_make_no_other_text(read, twin):
    dataset = read(rows_csv=f'text,label\nSales rose 5 %,positive\n"{twin}",positive\n')
    assert labelled(dataset) == [("Sales rose 5 %", "positive")]
    assert (dataset.rows, dataset.duplicates, dataset.conflicts) == (2, 1, 0)


@pytest.mark.parametrize("other", ["Sales rose 6 %", "Sale rose 5 %", "5 % sales rose"])
def test_numbers_words_and_their_order_make_another_text(read, other):
    dataset = read(rows_csv=f"text,label\nSales rose 5 %,positive\n{other},positive\n")
    assert len(dataset.examples) == 2
    assert dataset.duplicates == 0


@pytest.mark.parametrize("hard_first", [True, False])
def test_of_two_files_the_first_wins_and_the_text_is_known_to_both(write, hard_first):
    hard = write("bank.txt", "Sales rose .@positive\nUp .@positive\n")
    soft = write("teacher.csv", SOFT_HEADER + "Sales rose,0.1,0.1,0.8\nDown,0.1,0.8,0.1\n")
    paths = [hard, soft] if hard_first else [soft, hard]
    dataset = read_examples(paths)
    first = dataset.examples[0]
    assert first.soft is not hard_first
    assert LABELS[first.label] == ("positive" if hard_first else "neutral")
    assert first.sources == {"bank.txt", "teacher.csv"}
    assert {tuple(example.sources) for example in dataset.examples[1:]} == {
        ("bank.txt",),
        ("teacher.csv",),
    }
    assert (dataset.rows, dataset.duplicates, dataset.conflicts) == (4, 1, 1)


def test_files_that_agree_on_a_label_do_not_conflict(read):
    dataset = read(
        a_csv="text,label\nSales rose,positive\n",
        b_csv=SOFT_HEADER + "Sales rose,0.5,0.3,0.2\n",
    )
    assert (dataset.duplicates, dataset.conflicts) == (1, 0)


def test_the_sources_name_each_file_once_however_often_the_text_stands_in_it(read):
    rows = "text,label\n" + "Sales rose,positive\n" * 3
    (example,) = read(a_csv=rows, b_csv=rows, c_csv=rows).examples
    assert example.sources == {"a.csv", "b.csv", "c.csv"}


def test_a_row_with_more_cells_than_columns_is_refused(read):
    with pytest.raises(DataError, match=r"rows\.csv:3: more cells than columns"):
        read(rows_csv="text,label\nUp,positive\nSales rose, again,positive\n")


def test_two_files_of_one_name_are_refused(tmp_path):
    paths = [tmp_path / "a" / "rows.csv", tmp_path / "b" / "rows.csv"]
    for path in paths:
        path.parent.mkdir()
        path.write_text("text,label\nUp,positive\n")
    with pytest.raises(DataError, match=r"two files are named rows\.csv"):
        read_examples(paths)


def test_every_file_is_recorded_with_its_digest(read):
    contents = {"a_csv": "text,label\nUp,positive\n", "b_txt": "Down .@negative\n"}
    assert read(**contents).sha256 == {
        name.replace("_", "."): hashlib.sha256(content.encode()).hexdigest()
        for name, content in contents.items()
    }


# Texts of the documentation


@pytest.mark.parametrize("text", RESERVED_TEXTS)
@pytest.mark.parametrize(
    "disguise",
    [str, str.upper, lambda text: text.rstrip("."), lambda text: text.replace(" ", " -  ") + " !"],
    ids=["as-it-is", "upper-case", "no-full-stop", "more-punctuation"],
)
def test_texts_of_the_documentation_are_left_out_whatever_their_dress(read, text, disguise):
    dataset = read(
        rows_csv=f'text,label\nUp,positive\n"{disguise(text)}",positive\n',
        bank_txt=f"{disguise(text)}@neutral\n",
    )
    assert labelled(dataset) == [("Up", "positive")]
    assert (dataset.rows, dataset.reserved) == (3, 2)
    assert (dataset.duplicates, dataset.conflicts) == (0, 0)


def test_a_text_that_only_resembles_a_documented_one_is_kept(read):
    dataset = read(rows_csv=f"text,label\n{RESERVED_TEXTS[1]} Nobody expected it.,positive\n")
    assert len(dataset.examples) == 1
    assert dataset.reserved == 0


def test_reserved_texts_differ_after_normalisation():
    assert len({comparison_key(text) for text in RESERVED_TEXTS}) == len(RESERVED_TEXTS)


# Files that are no data


@pytest.mark.parametrize("name", ["missing.csv", "missing.txt", "missing/rows.csv"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(DataError, match=rf"/{name}: No such file or directory$"):
        read_examples([tmp_path / name])


@pytest.mark.parametrize("name", ["folder.csv", "folder.txt"])
def test_a_folder_is_no_data_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=rf"/{name}: Is a directory$"):
        read_examples([tmp_path / name])


@pytest.mark.parametrize("name", ["rows.json", "rows.parquet", "rows", "rows.csv.gz"])
def test_a_file_of_another_kind_is_named(write, name):
    with pytest.raises(DataError, match=rf"/{name}: expected a \.txt or \.csv file$"):
        read_examples([write(name, "text,label\nUp,positive\n")])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "text,label\n"),
        ("bank.txt", ""),
        ("bank.txt", "\r\n\r\n"),
        ("bank.txt", f"{RESERVED_TEXTS[0]}@positive\n"),
    ],
    ids=["only-a-header", "empty", "only-blank-lines", "only-reserved"],
)
def test_files_without_a_row_to_learn_from_are_named(write, name, content):
    with pytest.raises(DataError, match=rf"^no labelled text in .*/{name}$"):
        read_examples([write(name, content)])


def test_no_file_at_all_is_said():
    with pytest.raises(DataError, match="no labelled text in no file"):
        read_examples([])
