"""`evaluate` as a user types it: the bundled model and a rival on sentences of our own."""

import contextlib
import io
import json
import re
import struct
import sys
from itertools import product

import pytest

from sentiment.cli import main
from sentiment.models import COMPACT_FOLDER
from sentiment.predictions import LABELS
from sentiment.training.datasets import RESERVED_TEXTS, read_examples
from sentiment.training.evaluation import (
    earlier_trainings,
    evaluate_split,
    training_record,
    was_held_out,
)
from sentiment.training.page import page as build_page
from sentiment.training.splits import split_examples
from sentiment.training.textsets import benchmark_texts, describe

HELD_OUT = 0.3

SUBJECTS = [
    "Operating profit",
    "Order intake",
    "Net sales of the paper unit",
    "Quarterly cash flow",
]
VERBS = {
    "positive": ["rose sharply", "beat every forecast", "doubled from a year ago"],
    "negative": ["fell sharply", "slumped to a record low", "missed all expectations"],
    "neutral": ["will be published on Friday", "is reported in euros", "covers four countries"],
}
HOSTILE = [
    ("profit | fell | 1\n\n# Injected", "positive"),
    ("`code` ``` <script>alert(1)</script> sales rose", "negative"),
    ("<img src=x onerror=alert(1)> losses widened", "positive"),
    ("[free money](https://example.com) dividend cut", "positive"),
    ("\u202etnacifinngis\u202c growth was strong", "negative"),
]

TWEETS = "text,label\n$ABC shares slide after a downgrade,0\n$DEF jumps on record profit,1\n"
TWEETS += "Market opens at 9:30,2\nBoard meets on Monday,2\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def data(folder):
    """Annotated sentences and a teacher's."""
    rows = [
        (f"{subject} {verb}", label)
        for subject, (label, verbs) in product(SUBJECTS, VERBS.items())
        for verb in verbs
    ]
    annotated, taught = folder / "own.txt", folder / "teacher.csv"
    annotated.write_text("".join(f"{text}@{label}\n" for text, label in rows[::2]))
    lines = [
        ",".join([text, *("0.8" if label == name else "0.1" for name in LABELS)])
        for text, label in rows[1::2]
    ]
    taught.write_text("\n".join([",".join(["text", *LABELS]), *lines]) + "\n")
    return [annotated, taught]


@pytest.fixture(scope="module")
def tweets(folder):
    path = folder / "tweets.csv"
    path.write_text(TWEETS)
    return path


@pytest.fixture(scope="module")
def rival(folder):
    """The bundled model, but what it means by positive and neutral is exchanged."""
    path = folder / "rival"
    path.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (path / name).symlink_to(COMPACT_FOLDER / name)
    config = json.loads((COMPACT_FOLDER / "config.json").read_text())
    config["id2label"] = {"0": "neutral", "1": "negative", "2": "positive"}
    (path / "config.json").write_text(json.dumps(config))
    return path


def evaluate(*arguments):
    """Run the command; return exit code, standard output and standard error."""
    output, errors = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["sentiment", "evaluate", *map(str, arguments)]
    try:
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            pytest.raises(SystemExit) as exited,
        ):
            main()
    finally:
        sys.argv = before
    return exited.value.code or 0, output.getvalue(), errors.getvalue()


def options(data):
    return [f"--held-out={HELD_OUT}", *(f"--data={path}" for path in data)]


@pytest.fixture(scope="module")
def compared(data, tweets, rival, folder):
    """Two models, a benchmark, a report, and a threshold that nobody reaches."""
    written = folder / "reports" / "first"
    done = evaluate(
        *("compact", rival, *options(data), f"--benchmark=Tweets={tweets}"),
        *(f"--output={written}", "--fail-below=benchmark:Tweets.accuracy=1.1"),
    )
    return done, written


@pytest.fixture(scope="module")
def report(compared):
    return json.loads((compared[1] / "report.json").read_text())


@pytest.fixture(scope="module")
def page(compared):
    return (compared[1] / "report.md").read_text()


@pytest.fixture(scope="module")
def printed(data):
    return evaluate("compact", *options(data), "--fail-below=accuracy=0", "--fail-above=ece=1")


@pytest.fixture(scope="module")
def hostile_page(folder):
    path = folder / "hostile | file <b>.csv"
    path.write_text(
        "text,label\n"
        + "".join(f'"{text.replace(chr(34), chr(34) * 2)}",{label}\n' for text, label in HOSTILE)
    )
    code, _, errors = evaluate("compact", "--all", f"--data={path}", f"--output={folder}/hostile")
    assert code == 0, errors
    return (folder / "hostile" / "report.md").read_text()


# What is measured


def test_each_set_is_measured_whole_and_by_itself(report, data):
    split = split_examples(read_examples(data).examples, held_out=HELD_OUT)
    expected = {
        f"{part}_{kind}": sum(each.soft is soft for each in examples)
        for part, examples in (("test", split.test), ("validation", split.validation))
        for kind, soft in (("annotated", False), ("teacher", True))
    }
    assert all(expected.values())
    assert {each["name"]: each["texts"] for each in report["sets"]} == expected | {
        "benchmark:Tweets": 4
    }
    assert report["main_set"] == "test_annotated"
    assert report["data"]["split_sha256"] == split.sha256
    for entry in report["models"]:
        for each in report["sets"]:
            assert entry["parts"][each["name"]]["texts"] == each["texts"]


def test_models_are_compared_on_the_same_texts(report):
    assert [entry["model"].partition("@")[0] for entry in report["models"]] == ["compact", "rival"]
    assert len(report["comparisons"]) == len(report["sets"])
    for each in report["comparisons"]:
        first, second = (entry["parts"][each["set"]] for entry in report["models"])
        gained = round((first["accuracy"] - second["accuracy"]) * first["texts"])
        assert each["only_first_right"] - each["only_second_right"] == gained
        assert 0 < each["p_value"] <= 1
    # Exchanging two labels can only leave the negative texts alone.
    assert report["comparisons"][0]["only_first_right"] > 0


def test_labels_keep_their_meaning_whatever_the_models_order(report):
    first, second = (
        entry["parts"]["test_annotated"]["confusion"]["counts"] for entry in report["models"]
    )
    assert [[row[2], row[1], row[0]] for row in first] == second


def test_without_a_folder_one_json_document_is_printed(printed, report):
    code, output, _ = printed
    assert code == 0
    document = json.loads(output)
    (entry,) = document["models"]
    assert document["comparisons"] == []
    assert entry["parts"].keys() == report["models"][0]["parts"].keys() - {"benchmark:Tweets"}
    for name, part in entry["parts"].items():
        again = report["models"][0]["parts"][name]
        assert part | {"texts_per_s": 0} == again | {"texts_per_s": 0}


def test_the_end_of_training_measures_the_same_and_keeps_no_text(printed, data):
    split = split_examples(read_examples(data).examples, held_out=HELD_OUT)
    entry = evaluate_split(COMPACT_FOLDER, split)
    (of_command,) = json.loads(printed[1])["models"]
    for name, part in entry["parts"].items():
        assert part | {"texts_per_s": 0} == of_command["parts"][name] | {"texts_per_s": 0}
    assert of_command["mistakes"] + of_command["uncertain"]
    written = json.dumps(entry)
    assert not [each.text for each in (*split.test, *split.validation) if each.text in written]
    assert [each["text"] for each in entry["documentation_examples"]] == list(RESERVED_TEXTS)


def test_a_model_of_other_data_is_not_said_to_be_held_out(report):
    compact, rival = report["models"]
    assert compact["held_out_from_its_training"] is False
    assert rival["held_out_from_its_training"] is None


def test_texts_of_a_benchmark_that_the_data_knows_are_counted(tmp_path):
    own, tweets = tmp_path / "own.csv", tmp_path / "tweets.csv"
    own.write_text("text,label\nNet sales of the paper unit rose 5 %,positive\nUp,positive\n")
    rows = ["up!,1", "Net sales of the paper unit rose 7 %,1", "Paper is out,2"]
    tweets.write_text("\n".join(["text,label", *rows, ""]))
    described = describe(benchmark_texts("Tweets", [tweets]), read_examples([own]))
    assert (described["texts_also_in_data"], described["texts_like_the_data"]) == (1, 2)


# The report


def test_the_folder_holds_page_figures_and_plots(compared):
    assert {path.name for path in compared[1].iterdir()} == {
        "report.md",
        "report.json",
        "overview.png",
        "labels.png",
        "groups.png",
        "confusion-1.png",
        "confusion-2.png",
        "reliability-1.png",
        "reliability-2.png",
    }


def test_every_plot_is_a_picture_on_the_page(compared, page):
    shown = re.findall(r"^!\[[^\]]+\]\(([\w.-]+)\)$", page, flags=re.MULTILINE)
    assert sorted(shown) == sorted(path.name for path in compared[1].glob("*.png"))
    for name in shown:
        head = (compared[1] / name).read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", head[16:24])
        assert 500 < width < 2000
        assert 250 < height < 2000


def test_the_page_says_which_texts_and_models_it_speaks_of(page, report):
    for digest in (report["data"]["split_sha256"], *report["data"]["files_sha256"].values()):
        assert digest in page
    assert "compact was trained on another selection of texts" in page
    assert "what it has seen of them is not known" in page
    assert "Benchmarks are texts of another kind" in page


def test_files_of_one_name_are_told_apart_by_what_they_are_part_of(report):
    *parts, benchmark = report["sets"]
    sets = [*parts, benchmark | {"files_sha256": {"own.txt": "b" * 64}}]
    data = report["data"] | {"files_sha256": {"own.txt": "d" * 64}}
    kinds = ("overview", "labels", "groups", "confusion", "reliability")
    plots = {kind: ["", ""] for kind in kinds}
    written = build_page(report | {"sets": sets, "data": data}, plots)
    assert f"| The data | own.txt | `{'d' * 64}` |" in written
    assert f"| Tweets | own.txt | `{'b' * 64}` |" in written


def test_every_row_of_a_table_has_as_many_cells_as_its_head(page, hostile_page):
    for written in (page, hostile_page):
        for block in written.split("\n\n"):
            if block.startswith("|"):
                widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
                assert len(widths) == 1, block


def test_a_summary_is_printed_beside_the_report(compared):
    _, output, _ = compared[0]
    assert re.search(r"Test, annotated +compact +\d", output)
    assert re.search(r"Tweets +rival +4 ", output)


def test_a_hostile_text_has_no_effect_on_the_page(hostile_page):
    assert "\n# Injected" not in hostile_page
    assert "\u202e" not in hostile_page
    for text in (r"profit \| fell \| 1 \# Injected", r"\`code\` \`\`\` \<script\>", r"\<img src"):
        assert text in hostile_page
    assert not re.search(r"(?<!\\)<", hostile_page.replace("p < 0.0001", ""))
    assert r"hostile \| file \<b\>.csv" in hostile_page


def test_measuring_everything_is_said(hostile_page):
    assert "**All texts of the data were measured, not a held-out part**" in hostile_page


# Ends


def test_a_missed_threshold_ends_with_1_after_the_report_is_written(compared):
    (code, _, errors), written = compared
    assert code == 1
    said = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert re.fullmatch(
        r"error: compact@\w+: accuracy on benchmark:Tweets \(4 texts\) is [\d.]+, below 1.1",
        said[0],
    )
    assert (written / "report.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["compact", "--fail-below=f1=0.8"], 2, "the figure is none of accuracy, macro_f1"),
        (["compact", "--fail-below=benchmark:X.accuracy=0.8"], 2, "no such benchmark"),
        (["compact", "--all", "--held-out=0.1"], 2, "--all measures every text"),
        (["compact", "--precision=fp64"], 2, "--precision fp64 is none of auto, fp32"),
        (["compact", "--output={data}"], 2, "/own.txt is a file; --output names a folder"),
        (["compact", "--output={data}/x"], 2, "/own.txt is a file; --output names a folder"),
        (["compact", "--output=/proc/x"], 5, "/proc"),
        ([], 2, "Missing argument 'MODEL'"),
        (["compact", "/no-model"], 3, "/no-model"),
        (["compact", "--benchmark=/no.json"], 4, "/no.json: No such file"),
        (["compact", "--data=/no.csv"], 4, "/no.csv: No such file"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(data, arguments, code, said):
    given = [each.replace("{data}", str(data[0])) for each in arguments]
    ended, output, errors = evaluate(*given, *options(data)[("--all" in given) :])
    assert (ended, output) == (code, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert said in errors


@pytest.mark.parametrize("record", ["", "[]", '{"data": 3}', '{"data": {"files_sha256": [1]}}'])
def test_a_record_of_another_kind_is_no_record(tmp_path, record):
    (tmp_path / "training.json").write_text(record)
    assert training_record(tmp_path) == {}


def test_what_was_held_out_is_known_by_the_splits_digest(data):
    split = split_examples(read_examples(data).examples, held_out=HELD_OUT)
    files = {"own.txt": "aa"}
    record = {"files_sha256": files, "split_sha256": split.sha256}
    assert was_held_out(record, {}, split) is True
    assert was_held_out(record | {"split_sha256": "other"}, files, split) is False
    assert was_held_out({}, files, split) is None


def test_what_a_base_was_trained_on_was_not_held_out_either(data, tmp_path):
    split = split_examples(read_examples(data).examples, held_out=HELD_OUT)
    files = {"own.txt": "aa"}
    base, teacher = tmp_path / "base", tmp_path / "teacher"
    for folder, digests, split_sha256, before in (
        (base, files, "other", []),
        (teacher, {"else.txt": "bb"}, "other", [{"files_sha256": files, "split_sha256": "x"}]),
    ):
        folder.mkdir()
        trained_on = {"files_sha256": digests, "split_sha256": split_sha256, "earlier": before}
        (folder / "training.json").write_text(json.dumps({"data": trained_on}))
    record = {"files_sha256": files, "split_sha256": split.sha256}
    for folders in ((base,), (teacher,), (base, teacher)):
        found = record | {"earlier": earlier_trainings(*folders)}
        assert was_held_out(found, files, split) is False
    same = [{"files_sha256": files, "split_sha256": split.sha256}]
    assert was_held_out(record | {"earlier": same}, files, split) is True
    assert was_held_out(record | {"earlier": earlier_trainings(tmp_path)}, files, split) is True


def test_a_record_without_a_digest_must_agree_in_files_share_and_counts(data):
    split = split_examples(read_examples(data).examples, held_out=HELD_OUT)
    files = {"own.txt": "aa"}
    record = {
        "files_sha256": files,
        "held_out": HELD_OUT,
        "validation": len(split.validation),
        "test": len(split.test),
    }
    assert was_held_out(record, files, split) is True
    for other in ({"held_out": 0.1}, {"test": 1}, {"files_sha256": {"own.txt": "bb"}}):
        assert was_held_out(record | other, files, split) is False


def test_measuring_all_texts_holds_none_out_from_a_model_that_was_trained_on_them():
    assert was_held_out({"files_sha256": {"a.txt": "aa"}}, {"b.txt": "aa"}, None) is False
    assert was_held_out({"files_sha256": {"a.txt": "aa"}}, {"a.txt": "bb"}, None) is None
