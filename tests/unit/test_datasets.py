"""Several files as one data set: what is one text, whose label counts, what is left out."""

import hashlib
from itertools import permutations

import pytest

from sentiment.errors import DataError
from sentiment.predictions import LABELS
from sentiment.training.datasets import (
    RESERVED_TEXTS,
    Columns,
    Conflict,
    comparison_key,
    read_examples,
)

SOFT_HEADER = "text,positive,negative,neutral\n"


@pytest.fixture
def read(write):
    """Read files given as `name=content`, in order; `_` in a name stands for the dot."""

    def read(**contents):
        return read_examples([write(name.replace("_", "."), c) for name, c in contents.items()])

    return read


def labelled(dataset):
    return [(example.text, LABELS[example.label]) for example in dataset.examples]


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


# Labels in conflict


def test_a_conflict_names_the_text_both_labels_and_both_rows(write):
    hard = write("bank.txt", "Up .@positive\nSales rose .@positive\nSales  rose@neutral\n")
    soft = write("teacher.csv", SOFT_HEADER + '"Sales,\nrose",0.1,0.8,0.1\nSALES ROSE,1,0,0\n')
    dataset = read_examples([hard, soft])
    shared = {"text": "Sales rose .", "kept": "positive", "kept_at": "bank.txt:2"}
    assert dataset.conflict_list == (
        Conflict(**shared, other="neutral", other_at="bank.txt:3"),
        Conflict(**shared, other="negative", other_at="teacher.csv:2"),
    )
    assert (dataset.rows, dataset.duplicates, dataset.conflicts) == (5, 3, 2)


# The nested files of PhraseBank

NESTED = {
    "Sentences_50Agree.txt": "Sure .@positive\nGood .@neutral\nWeak .@neutral\n",
    "Sentences_75Agree.txt": "Sure .@positive\nGood .@neutral\n",
    "Sentences_AllAgree.txt": "Sure .@positive\n",
}


@pytest.mark.parametrize("names", list(permutations(NESTED)))
def test_nested_files_are_one_source_in_whatever_order(write, names):
    dataset = read_examples([write(name, NESTED[name]) for name in names])
    assert {each.sources for each in dataset.examples} == {frozenset({"Sentences_50Agree.txt"})}
    assert {each.text: each.agreement for each in dataset.examples} == {
        "Sure .": 100,
        "Good .": 75,
        "Weak .": 50,
    }
    assert (dataset.rows, dataset.duplicates, dataset.conflicts) == (6, 3, 0)
    assert set(dataset.sha256) == set(NESTED)


def test_nested_files_in_folders_of_their_own_are_one_source_and_give_the_agreement(tmp_path):
    paths = []
    for name in NESTED:
        paths.append(tmp_path / name.removesuffix(".txt") / name)
        paths[-1].parent.mkdir()
        paths[-1].write_text(NESTED[name])
    examples = read_examples(paths).examples
    assert [(each.agreement, len(each.sources)) for each in examples] == [
        (100, 1),
        (75, 1),
        (50, 1),
    ]


def digest(content):
    return hashlib.sha256(content.encode()).hexdigest()


def test_the_files_that_were_read_for_the_agreement_alone_are_recorded_apart(write):
    for name, content in NESTED.items():
        path = write(name, content)
    weakest, *stronger = NESTED
    dataset = read_examples([path.with_name(weakest), write("own.csv", "text,label\nUp,neutral\n")])
    assert dataset.agreement_sha256 == {name: digest(NESTED[name]) for name in stronger}
    assert list(dataset.sha256) == [weakest, "own.csv"]
    assert read_examples([path.with_name("own.csv")]).agreement_sha256 == {}


def test_two_files_of_one_name_that_tell_the_agreement_are_refused_if_they_differ(tmp_path):
    paths = []
    for folder, label in (("a", "neutral"), ("b", "positive")):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / f"{folder}.txt")
        paths[-1].write_text("Sure .@positive\n")
        (tmp_path / folder / "Sentences_AllAgree.txt").write_text(f"Sure .@{label}\n")
    with pytest.raises(DataError, match=r"/b/Sentences_AllAgree\.txt: another folder of the data"):
        read_examples(paths)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "Sentences_50Agree.txt",
            "Sentences_50Agree.txt alone does not say how far annotators agreed: put "
            "Sentences_66Agree.txt, Sentences_75Agree.txt, Sentences_AllAgree.txt beside it",
        ),
        (
            "Sentences_75Agree.txt",
            "Sentences_75Agree.txt alone does not say how far annotators agreed: put "
            "Sentences_AllAgree.txt beside it",
        ),
        (
            "Sentences_AllAgree.txt",
            "all annotators agreed on Sentences_AllAgree.txt; Sentences_50Agree.txt is not named",
        ),
        (
            "own.txt",
            "no file of Financial PhraseBank, such as Sentences_50Agree.txt with "
            "Sentences_66Agree.txt, Sentences_75Agree.txt, Sentences_AllAgree.txt beside it",
        ),
    ],
)
def test_a_file_that_does_not_tell_the_agreement_is_refused_with_those_that_do(write, name, said):
    dataset = read_examples([write(name, "Sure .@positive\nGood .@neutral\n")])
    with pytest.raises(DataError) as refused:
        dataset.check_agreements()
    assert str(refused.value) == said


def test_a_teachers_file_beside_it_does_not_make_the_agreement_known(write):
    bank, teacher = write("Sentences_50Agree.txt", "Up@positive\n"), SOFT_HEADER + "Up,1,0,0\n"
    with pytest.raises(DataError, match=r"^Sentences_50Agree\.txt alone"):
        read_examples([bank, write("teacher.csv", teacher)]).check_agreements()


@pytest.mark.parametrize("given", [["Sentences_50Agree.txt"], list(NESTED), ["own.txt"]])
def test_files_that_tell_the_agreement_are_enough_beside_the_data_or_in_it(write, given):
    paths = {name: write(name, content) for name, content in NESTED.items()}
    paths["own.txt"] = write("own.txt", "Sure .@positive\n")
    read_examples([paths[name] for name in given]).check_agreements()


def test_a_nested_file_and_another_are_two_sources(write):
    paths = [write(name, NESTED[name]) for name in NESTED]
    dataset = read_examples([*paths[1:], write("teacher.csv", SOFT_HEADER + "Sure,0,1,0\n")])
    assert [each.sources for each in dataset.examples] == [
        {"Sentences_75Agree.txt", "teacher.csv"},
        {"Sentences_75Agree.txt"},
    ]
    assert dataset.examples[0].agreement == 100


@pytest.mark.parametrize("teacher", ["Sure,0,1,0\n", "Sure,1,0,0\n"])
def test_a_teachers_label_has_no_agreement_of_annotators(write, teacher):
    paths = [
        write("teacher.csv", SOFT_HEADER + teacher),
        write("Sentences_AllAgree.txt", "Sure@positive"),
    ]
    (example,) = read_examples(paths).examples
    assert (example.soft, example.agreement) == (True, None)


def test_a_label_that_another_row_contradicts_has_not_that_rows_agreement(write):
    own = write("own.csv", "text,label\nSure,negative\nGood,neutral\n")
    bank = write("Sentences_AllAgree.txt", "Sure@positive\nGood@neutral\n")
    assert [each.agreement for each in read_examples([own, bank]).examples] == [None, 100]


# Files that are no data


def test_a_file_that_cannot_be_read_is_named_though_others_can(write, tmp_path):
    good = write("good.csv", "text,label\nUp,positive\n")
    for bad, message in [
        (tmp_path / "no.csv", "No such file"),
        (write("b.txt", "\n"), "no labell"),
    ]:
        with pytest.raises(DataError, match=rf"/{bad.name}: {message}"):
            read_examples([good, bad])


def test_columns_are_named_for_every_table(write):
    paths = [
        write("a.csv", "headline,rating\nUp,positive\n"),
        write("b.jsonl", '{"headline": "Down", "rating": "negative"}\n'),
        write("bank.txt", "So .@neutral\n"),
    ]
    columns = Columns(text="headline", label="rating")
    assert labelled(read_examples(paths, columns=columns)) == [
        ("Up", "positive"),
        ("Down", "negative"),
        ("So .", "neutral"),
    ]


def test_files_with_nothing_but_reserved_texts_are_named(write):
    path = write("bank.txt", f"{RESERVED_TEXTS[0]}@positive\n")
    with pytest.raises(DataError, match=r"^no labelled text in .*/bank\.txt$"):
        read_examples([path])


def test_no_file_at_all_is_said():
    with pytest.raises(DataError, match="no labelled text in no file"):
        read_examples([])
