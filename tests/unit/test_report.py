"""What a report makes of other people's words, and which figures a pipeline may hold to."""

from pathlib import Path

import pytest

from sentiment.errors import DataError, OptionError, StorageError, ThresholdMissed
from sentiment.training.evaluation import model_names
from sentiment.training.markdown import LONGEST, escaped, table
from sentiment.training.report import check_folder, write_report
from sentiment.training.textsets import benchmark_texts, name_benchmarks, set_title
from sentiment.training.thresholds import check_thresholds, parse_thresholds


def part(texts, **figures):
    return {
        "texts": texts,
        **{name: round(figure, 4) for name, figure in figures.items()},
        "unrounded": figures,
    }


EVALUATION = {
    "main_set": "test_annotated",
    "models": [
        {
            "model": "mine@1",
            "parts": {
                "test_annotated": part(
                    1200, macro_f1=0.83, ece=0.03, accuracy=0.82996, brier=0.20004
                ),
                "benchmark:a.b": part(7, macro_f1=0.5, ece=0.2),
            },
        },
        {"model": "other@2", "parts": {"test_annotated": part(1200, macro_f1=0.1)}},
    ],
}


# Markdown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", r"a \| b"),
        ("`rm`", r"\`rm\`"),
        ("<img src=x>", r"\<img src=x\>"),
        ("a\nb\r\n\tc\u2028d", "a b c d"),
        ("[x](http://y)", r"\[x\]\(http\://y\)"),
        ("**b** _i_ ~~s~~", r"\*\*b\*\* \_i\_ \~\~s\~\~"),
        ("$x^2$ &amp; # @me", r"\$x^2\$ \&amp; \# \@me"),
        ("C:\\temp\\|", r"C\:\\temp\\\|"),
        ("up \u202egnp\u202c", "up \ufffdgnp\ufffd"),
        ("nul \x00 \x1b[31m \ud800", "nul \ufffd \ufffd\\[31m \ufffd"),
        ("Sepp+ñl+ñ 🚀", "Sepp+ñl+ñ 🚀"),
    ],
)
def test_a_text_is_shown_as_it_is_and_has_no_effect(text, shown):
    assert escaped(text) == shown


def test_a_long_text_is_cut_before_it_is_escaped():
    assert escaped("|" * LONGEST) == "\\|" * LONGEST
    assert escaped("|" * (LONGEST + 1)) == "\\|" * LONGEST + " ..."


def test_numbers_stand_on_the_right():
    assert table(["a", "n"], [["x", "1"]]) == "| a | n |\n| --- | ---: |\n| x | 1 |"


# Names


def test_a_set_is_called_by_its_part_and_whose_labels_it_has():
    assert set_title("test_annotated") == "Test, annotated"
    assert set_title("benchmark:FiQA_2018") == "FiQA_2018"


@pytest.mark.parametrize(
    ("references", "names"),
    [
        (["compact@1", "ProsusAI/finbert@2"], ["compact", "ProsusAI/finbert"]),
        (["compact@1", "compact@2"], ["compact@1", "compact@2"]),
        (["compact@1", "compact@1"], ["compact@1 (1)", "compact@1 (2)"]),
    ],
)
def test_models_have_names_that_tell_them_apart(references, names):
    assert model_names({"models": [{"model": each} for each in references]}) == names


def test_files_of_one_benchmark_belong_together(tmp_path):
    odd = tmp_path / "x=y.csv"
    odd.touch()
    named = name_benchmarks(["FiQA=a.json", f"{odd}", "FiQA=b.json", "folder/c.csv", "=d"])
    assert {name: [path.name for path in paths] for name, paths in named.items()} == {
        "FiQA": ["a.json", "b.json"],
        "x=y": ["x=y.csv"],
        "c": ["c.csv"],
        "=d": ["=d"],
    }


@pytest.mark.parametrize("folders", [("a", "b"), ("a", "a")])
def test_two_files_of_one_name_are_refused_in_one_benchmark(tmp_path, folders):
    for folder in folders:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "sent.csv").write_text("text,label\nUp,1\n")
    files = [tmp_path / folder / "sent.csv" for folder in folders]
    with pytest.raises(DataError, match=r"^benchmark FiQA: two files are named sent\.csv; records"):
        benchmark_texts("FiQA", files)


# Thresholds


def check(below=(), above=()):
    check_thresholds(parse_thresholds(below, above, benchmarks=["a.b"]), EVALUATION)


def test_a_figure_that_just_reaches_its_threshold_passes():
    check(["macro_f1=0.83", "benchmark:a.b.macro_f1=0.5"], ["ece=0.03"])


@pytest.mark.parametrize(
    ("below", "above", "said"),
    [
        (
            ["macro_f1=0.84"],
            [],
            "mine@1: macro_f1 on test_annotated (1,200 texts) is 0.83, below 0.84",
        ),
        ([], ["ece=0.02"], "mine@1: ece on test_annotated (1,200 texts) is 0.03, above 0.02"),
        (
            ["macro_f1=0.1", "benchmark:a.b.macro_f1=0.51"],
            [],
            "mine@1: macro_f1 on benchmark:a.b (7 texts) is 0.5, below 0.51",
        ),
    ],
)
def test_a_missed_threshold_names_figure_texts_and_value(below, above, said):
    with pytest.raises(ThresholdMissed) as caught:
        check(below, above)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("below", "above", "said"),
    [
        (["accuracy=0.83"], [], "is 0.82996, below 0.83"),
        ([], ["brier=0.2"], "is 0.20004, above 0.2"),
    ],
)
def test_what_only_rounding_would_let_pass_is_missed(below, above, said):
    with pytest.raises(ThresholdMissed, match=said):
        check(below, above)


def test_what_arithmetic_takes_off_a_figure_is_no_miss():
    judged = {"model": "mine@1", "parts": {"test_annotated": part(7, accuracy=0.1 * 3 - 2e-16)}}
    thresholds = parse_thresholds(["accuracy=0.3"], [], benchmarks=[])
    check_thresholds(thresholds, {"main_set": "test_annotated", "models": [judged]})


def test_every_figure_that_is_missed_is_named_in_one_line():
    with pytest.raises(ThresholdMissed) as caught:
        check(["macro_f1=0.9"], ["ece=0.04", "ece=0.01"])
    first, second = str(caught.value).split("; ")
    assert "is 0.83, below 0.9" in first
    assert "is 0.03, above 0.01" in second


def test_a_teachers_labels_are_no_threshold():
    thresholds = parse_thresholds(["macro_f1=0"], [], benchmarks=[])
    with pytest.raises(ThresholdMissed, match="no text with an annotator's label is held out"):
        check_thresholds(thresholds, {"main_set": "test_teacher", "models": [{"parts": {}}]})


@pytest.mark.parametrize(
    ("below", "above", "said"),
    [
        (["f1=0.8"], [], "--fail-below f1=0.8: the figure is none of accuracy, macro_f1, weighted"),
        (["ece=0.8"], [], "--fail-below ece=0.8: the figure is none of"),
        ([], ["macro_f1=1"], "--fail-above macro_f1=1: the figure is none of ece, brier, log_loss"),
        (["macro_f1"], [], "--fail-below macro_f1: expected FIGURE=VALUE, such as macro_f1=0.83"),
        (["macro_f1=high"], [], "--fail-below macro_f1=high: high is no number"),
        (["macro_f1=nan"], [], "--fail-below macro_f1=nan: nan is no number"),
        (["benchmark:b.accuracy=1"], [], "no such benchmark; there are: a.b"),
    ],
)
def test_an_impossible_threshold_is_told_before_anything_is_measured(below, above, said):
    with pytest.raises(OptionError) as caught:
        check(below, above)
    assert said in str(caught.value)


def test_a_report_that_cannot_be_written_is_the_disks_fault(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        write_report(tmp_path / "file" / "report", EVALUATION)
    with pytest.raises(StorageError, match="cannot be written to"):
        check_folder(Path("/proc/self/report"))


def test_a_report_in_place_of_a_file_is_a_wrong_option(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="--output names a folder"):
        check_folder(tmp_path / "file")
