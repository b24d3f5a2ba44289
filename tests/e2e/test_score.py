"""`python -m sentiment score`: real files, a process of its own, the bundled model."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.score_forks import ScoreForks

LABELS = ("positive", "negative", "neutral")
ADDED = ["label", "score", *LABELS, "truncated"]
ENVIRONMENT = {
    **os.environ,
    "SENTIMENT_MODEL": "compact",
    "SENTIMENT_PRECISION": "fp32",
    "SENTIMENT_TOKEN_BUDGET": "512",
}

SMALL_WINDOWS = "from sentiment.bulk import windows; windows.WINDOW_ROWS = 32"
"""So that some hundred rows are many windows."""

SUBJECTS = ("Profit", "Revenue", "The dividend", "Net debt", "The order book")
VERBS = ("rose by", "fell by", "was cut by", "is published in room", "missed forecasts by")


def headline(number):
    subject, verb = SUBJECTS[number % 5], VERBS[number // 5 % 5]
    return f"{subject} of unit {number} {verb} {number % 90}"


def command(*arguments, first=""):
    script = (
        f"{first}\nimport sys\nfrom sentiment.cli import main\nsys.argv[0] = 'sentiment'\nmain()"
    )
    return [sys.executable, "-c", script, "score", *map(str, arguments)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, repository):
    """Return what scores in a process of its own, and returns what that says."""
    forks = ScoreForks(tmp_path_factory.mktemp("forks"), cwd=repository, environment=ENVIRONMENT)

    def score(*arguments, first="", given=None, code=0):
        done = forks.run(*arguments, first=first, given=given)
        assert done.code == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    yield score
    forks.close()


def one_line(said):
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    return line


def write_csv(path, texts, column="headline"):
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", column, "ticker"])
        rows.writerows((f"{number:05}", text, "ACME") for number, text in enumerate(texts))
    return path


@pytest.fixture
def news(tmp_path):
    return write_csv(tmp_path / "news.csv", map(headline, range(300)))


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_csv_becomes_a_parquet_file_with_all_of_its_columns_and_the_sentiment(
    run, news, tmp_path
):
    output = tmp_path / "scored.parquet"
    said = run(news, "--text-column", "headline", "--output", output)
    scored = parquet.read_table(output)
    assert scored.column_names == ["id", "headline", "ticker", *ADDED]
    assert scored["id"].to_pylist() == [f"{number:05}" for number in range(300)]
    assert scored["headline"].to_pylist() == [headline(number) for number in range(300)]
    assert set(scored["label"].to_pylist()) == set(LABELS)
    assert scored.schema.field("score").type == pa.float32()
    assert scored.schema.field("truncated").type == pa.bool_()
    assert "300 scored" in said
    assert left_in(tmp_path) == ["news.csv", "scored.parquet"]


def test_every_format_gives_the_same_scores(run, news, tmp_path):
    first = tmp_path / "a.parquet"
    run(news, "--text-column", "headline", "--output", first)
    expected = parquet.read_table(first)
    given = first.with_name("plain.parquet")
    parquet.write_table(expected.select(["id", "headline", "ticker"]), given)
    lines = tmp_path / "b.jsonl.zst"
    run(given, "--text-column", "headline", "--output", lines)
    again = tmp_path / "c.csv.gz"
    run(lines, "--text-column", "headline", "--prefix", "new_", "--output", again)
    with gzip.open(again, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == expected["id"].to_pylist()
    for name in ("label", "new_label"):
        assert [row[name] for row in rows] == expected["label"].to_pylist()
    for name in ("score", "new_score"):
        scores = [float(row[name]) for row in rows]
        assert scores == pytest.approx(expected["score"].to_pylist(), abs=1e-6)


def test_standard_input_is_scored_too(run, news, tmp_path):
    output = tmp_path / "scored.jsonl"
    options = ("--text-column", "headline", "--input-format", "csv", "--output", output)
    run("-", *options, given=news.read_bytes())
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["headline"] for row in rows] == [headline(number) for number in range(300)]


def test_many_files_are_one_table_in_the_order_of_their_names(run, tmp_path):
    folder = tmp_path / "exported"
    folder.mkdir()
    for number in (2, 0, 1):
        write_csv(folder / f"part-{number}.csv", [headline(number), headline(number + 10)])
    output = tmp_path / "scored.csv"
    run(folder, "--text-column", "headline", "--output", output)
    with output.open(newline="") as file:
        found = [row["headline"] for row in csv.DictReader(file)]
    assert found == [headline(number) for number in (0, 10, 1, 11, 2, 12)]


def test_documents_get_their_sentences(run, tmp_path):
    given = tmp_path / "articles.jsonl"
    text = "Profit rose by 20 %. The loss of market share goes on."
    given.write_text(json.dumps({"text": text, "source": {"name": "wire"}}) + "\n")
    output = tmp_path / "scored.jsonl"
    run(given, "--documents", "--output", output)
    row = json.loads(output.read_text())
    assert row["source"] == {"name": "wire"}
    assert row["sentence_count"] == 2
    assert [text[each["start"] : each["end"]] for each in row["sentences"]] == [
        "Profit rose by 20 %.",
        "The loss of market share goes on.",
    ]


DIES = """
import os, signal
from sentiment.bulk import {module} as module
class Dying:
    count = 0
def dying(function):
    def call(*arguments, **named):
        Dying.count += 1
        if Dying.count == {at}:
            {before}
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call
{target} = dying({target})
"""


def dies(module, target, at=1, *, after=False):
    before = "function(*arguments, **named)" if after else "pass"
    return SMALL_WINDOWS + DIES.format(
        module=module, target=f"module.{target}", at=at, before=before
    )


MOMENTS = {
    "while it loads": dies("run", "Scorer.open"),
    "before the first window": dies("journal", "Journal.append"),
    "between windows": dies("journal", "Journal.append", 5),
    "behind the last window": dies("journal", "Journal.append", 12, after=True),
    "while it writes": dies("run", "Tally.add"),
    "before the list of bad rows is there": dies("run", "put"),
    "between list and output": dies("run", "put", after=True),
    "when the output is there": dies("run", "put", 2, after=True),
    "while it tidies up": dies("run_folder", "shutil.rmtree"),
}


@pytest.fixture(scope="module")
def unbroken(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    texts = [headline(number) for number in range(400)]
    texts[7] = texts[390] = texts[5]
    texts[200] = " "
    news = write_csv(folder / "news.csv", texts)
    run(*options(news, folder), first=SMALL_WINDOWS)
    return news, files(folder)


def options(news, folder):
    output = ("--output", folder / "scored.csv", "--report", folder / "report")
    return (news, "--text-column", "headline", "--on-error", "null", *output)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "news.csv"
    }


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_is_killed_and_goes_on_writes_what_an_unbroken_one_does(
    run, unbroken, tmp_path, moment
):
    news, expected = unbroken
    run(*options(news, tmp_path), first=MOMENTS[moment], code=-signal.SIGKILL)
    run(*options(news, tmp_path), "--resume", first=SMALL_WINDOWS)
    assert files(tmp_path) == expected


def test_an_unfinished_run_is_in_the_way_and_what_it_computed_is_not_computed_again(
    run, unbroken, tmp_path
):
    news, expected = unbroken
    killed = dies("journal", "Journal.append", 12, after=True)
    run(*options(news, tmp_path), first=killed, code=-signal.SIGKILL)
    line = one_line(run(*options(news, tmp_path), code=2))
    assert "holds an unfinished run: --resume goes on with it, --overwrite begins anew" in line
    said = run(*options(news, tmp_path), "--resume", "--json", first=SMALL_WINDOWS)
    assert "going on behind row 384" in said
    assert files(tmp_path) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_said_in_one_line_and_the_run_goes_on_later(
    run, unbroken, tmp_path, number
):
    news, expected = unbroken
    interrupts = dies("journal", "Journal.append", 5).replace("SIGKILL", number.name)
    said = run(*options(news, tmp_path), first=interrupts, code=128 + number)
    assert said.splitlines()[-1] == "error: interrupted: the same command with --resume goes on"
    run(*options(news, tmp_path), "--resume", first=SMALL_WINDOWS)
    assert files(tmp_path) == expected


def test_sigterm_while_it_loads_leaves_nothing(run, news, tmp_path):
    output = tmp_path / "scored.csv"
    ends = dies("run", "Scorer.open").replace("SIGKILL", "SIGTERM")
    said = run(news, "--text-column=headline", "--output", output, first=ends, code=143)
    assert one_line(said) == "error: interrupted: the same command with --resume goes on"
    assert left_in(tmp_path) == ["news.csv"]


@pytest.mark.parametrize("largest", [300, 20_000])
def test_a_full_disk_ends_it_with_5_and_it_goes_on_when_there_is_room(
    run, unbroken, tmp_path, largest
):
    news, expected = unbroken
    full = f"""
{SMALL_WINDOWS}
import atexit, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, before[1]))
# What measures the coverage writes at the end, behind this.
atexit.register(resource.setrlimit, resource.RLIMIT_FSIZE, before)
"""
    said = run(*options(news, tmp_path), first=full, code=5)
    assert "cannot be written: File too large" in said.splitlines()[-1]
    assert not (tmp_path / "scored.csv").exists()
    run(*options(news, tmp_path), "--resume", first=SMALL_WINDOWS)
    assert files(tmp_path) == expected


def test_the_module_itself_is_the_command(news, tmp_path, repository):
    output = tmp_path / "scored.csv"
    options = ("--text-column=headline", "--json", "--output", output)
    done = subprocess.run(
        [sys.executable, "-m", "sentiment", "score", news, *options],
        capture_output=True,
        env=ENVIRONMENT,
        cwd=repository,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scored"] == 300
    assert len(output.read_text().splitlines()) == 301


def test_resume_begins_where_nothing_was_begun_and_ends_well_where_all_is_done(run, news, tmp_path):
    output = tmp_path / "scored.csv"
    arguments = (news, "--text-column", "headline", "--output", output, "--resume")
    run(*arguments)
    before = output.stat()
    assert "nothing is left to do" in run(*arguments)
    assert output.stat().st_mtime_ns == before.st_mtime_ns


def test_an_output_that_is_there_is_replaced_only_when_asked(run, news, tmp_path):
    output = tmp_path / "scored.csv"
    output.write_text("precious")
    arguments = (news, "--text-column", "headline", "--output", output)
    assert "is there already; --overwrite replaces it" in one_line(run(*arguments, code=2))
    assert output.read_text() == "precious"
    output.with_name("scored.csv.errors.csv").write_text("of the one before")
    run(*arguments, "--overwrite")
    assert len(output.read_text().splitlines()) == 301
    assert left_in(tmp_path) == ["news.csv", "scored.csv"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--documents",), "documents: False, not 20000"),
        (("--precision", "bf16"), "engine: "),
        (("--text-column", "ticker"), "text_column: 'headline', not 'ticker'"),
    ],
)
def test_a_run_is_not_continued_by_another(run, news, tmp_path, change, said):
    output = tmp_path / "scored.csv"
    arguments = (news, "--text-column", "headline", "--output", output)
    run(*arguments, first=dies("journal", "Journal.append", 3), code=-signal.SIGKILL)
    line = run(*arguments, *change, "--resume", first=SMALL_WINDOWS, code=2).splitlines()[-1]
    assert f"{output}.run is another run: it has {said}" in line
    run(*arguments, "--resume", first=SMALL_WINDOWS)


def test_a_run_is_not_continued_on_another_file(run, news, tmp_path):
    output = tmp_path / "scored.csv"
    arguments = (news, "--text-column", "headline", "--output", output)
    run(*arguments, first=dies("journal", "Journal.append", 3), code=-signal.SIGKILL)
    news.write_text(news.read_text().replace("unit 7", "unit 8"))
    line = run(*arguments, "--resume", first=SMALL_WINDOWS, code=2).splitlines()[-1]
    assert "is another run: it has files: " in line


def test_a_file_that_changes_while_it_is_read_gives_no_output(run, news, tmp_path):
    grows = f"""
{SMALL_WINDOWS}
from sentiment.bulk import run
write_pass = run.write_pass
def growing(*arguments):
    tally = write_pass(*arguments)
    with open({str(news)!r}, "a") as file:
        file.write("300,One more,ACME\\n")
    return tally
run.write_pass = growing
"""
    output = tmp_path / "scored.csv"
    arguments = (news, "--text-column", "headline", "--output", output)
    assert "has changed while it was read" in run(*arguments, first=grows, code=4)
    assert not output.exists()


def test_two_processes_do_not_write_one_output(run, news, tmp_path):
    output = tmp_path / "scored.csv"
    arguments = (news, "--text-column", "headline", "--output", output)
    waits = f"""
{SMALL_WINDOWS}
import sys
from sentiment.bulk import journal
append = journal.Journal.append
def waiting(*arguments, **named):
    print("here", flush=True)
    sys.stdin.read()
    return append(*arguments, **named)
journal.Journal.append = waiting
"""
    with subprocess.Popen(
        command(*arguments, first=waits),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd=Path(__file__).parents[2],
    ) as first:
        assert first.stdout.readline() == b"here\n"
        line = one_line(run(*arguments, "--overwrite", code=2))
        assert "another process is scoring there" in line
        first.stdin.close()
        first.stdout.read()
    assert first.returncode == 0
    assert output.exists()


def test_closed_streams_are_no_reason_to_end(run, news, tmp_path):
    closed = "import os, sys\nfor number, name in enumerate(('stdin', 'stdout', 'stderr')):\n"
    closed += "    os.close(number); setattr(sys, name, None)"
    output = tmp_path / "scored.csv"
    assert run(news, "--text-column=headline", "--output", output, "--json", first=closed) == ""
    assert len(output.read_text().splitlines()) == 301


def test_a_summary_that_nobody_can_be_given_is_said_in_one_line(run, news, tmp_path):
    full = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
    output = tmp_path / "scored.csv"
    arguments = (news, "--text-column=headline", "--output", output, "--json")
    said = run(*arguments, first=full, code=5)
    assert said.splitlines()[-1] == (
        "error: standard output: cannot be written: No space left on device; the output is complete"
    )
    assert output.exists()


def test_a_record_without_what_it_needs_is_another_run(run, news, tmp_path):
    output = tmp_path / "scored.csv"
    arguments = (news, "--text-column", "headline", "--output", output)
    run(*arguments, first=dies("journal", "Journal.append", 3), code=-signal.SIGKILL)
    (tmp_path / "scored.csv.run" / "run.json").write_text("{}")
    assert "is another run" in run(*arguments, "--resume", code=2).splitlines()[-1]


@pytest.mark.parametrize("content", ["", "none\n", "[\n"])
def test_lines_of_json_without_a_row_become_a_table_without_scores(run, tmp_path, content):
    given = tmp_path / "news.jsonl"
    given.write_text(content)
    output = tmp_path / "scored.parquet"
    run(given, "--output", output, "--on-error", "skip")
    scored = parquet.read_table(output)
    assert scored.column_names == ["text", *ADDED]
    assert scored.num_rows == 0


def test_standard_input_is_kept_when_the_process_dies_while_it_loads(run, news, tmp_path):
    output = tmp_path / "scored.csv"
    arguments = ("-", "--text-column", "headline", "--output", output)
    killed = dies("run", "Scorer.open")
    run(*arguments, first=killed, given=news.read_bytes(), code=-signal.SIGKILL)
    run(*arguments, "--resume")
    assert len(output.read_text().splitlines()) == 301


@pytest.fixture
def with_bad_rows(tmp_path):
    given = tmp_path / "news.csv"
    lines = [
        b"id,text",
        b"1,Profit rose",
        b"2,",
        b"3,Loss widens,surplus",
        b"4,\xff\xfe",
        b"5,Sales fell",
    ]
    given.write_bytes(b"\n".join(lines) + b"\n")
    return given


def test_a_bad_row_ends_the_run_by_default_and_is_named(run, with_bad_rows, tmp_path):
    line = run(with_bad_rows, "--output", tmp_path / "scored.csv", code=4).splitlines()[-1]
    assert f"{with_bad_rows}:3: " in line
    assert "--on-error skip" in line
    assert left_in(tmp_path) == ["news.csv"]


def test_columns_that_are_there_already_are_said_and_nothing_is_left(run, tmp_path):
    given = write_csv(tmp_path / "news.csv", ["Profit rose"], column="label")
    output = tmp_path / "scored.csv"
    said = run(given, "--text-column=label", "--output", output, code=2)
    assert "the input has a column 'label' already: --prefix" in said.splitlines()[-1]
    assert left_in(tmp_path) == ["news.csv"]
    run(given, "--text-column=label", "--output", output, "--prefix", "new_")


@pytest.mark.parametrize(
    ("on_error", "ids"), [("skip", ["1", "5"]), ("null", ["1", "2", None, "4", "5"])]
)
def test_bad_rows_are_left_out_or_kept_without_a_score_and_listed(
    run, with_bad_rows, tmp_path, on_error, ids
):
    output = tmp_path / "scored.parquet"
    run(with_bad_rows, "--on-error", on_error, "--output", output)
    scored = parquet.read_table(output).to_pylist()
    assert [row["label"] for row in scored if row["label"]] == ["positive", "negative"]
    assert len(scored) == len(ids)
    with (tmp_path / "scored.parquet.errors.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [(row["file"], row["row"]) for row in listed] == [
        (str(with_bad_rows), number) for number in ("3", "4", "5")
    ]
    assert all(row["reason"] for row in listed)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("{news}", "--output", "{folder}/x.xlsx"), 2, "expected a name that ends in .csv"),
        (("{news}", "--output", "{folder}/x.parquet.gz"), 2, "leave the ending out"),
        (
            ("{news}", "--output", "{folder}/x.csv"),
            4,
            "expected a column named 'text'; there are",
        ),
        (("/no.csv", "--output", "{folder}/x.csv"), 4, "/no.csv"),
        (("{news}", "--output", "/proc/x/y.csv", "--text-column=headline"), 5, "/proc/x"),
        (
            ("{news}", "--output", "{folder}/x.csv", "--on-error=pass"),
            2,
            "on-error 'pass' is none of",
        ),
        (("{news}", "--output", "{folder}/x.csv", "--resume", "--overwrite"), 2, "begins anew"),
        (("{news}", "--output", "{folder}/x.csv", "--text-column=id", "--model=/no"), 3, "/no"),
        (("{news}", "--output", "{folder}/x.csv", "--precision=fp8"), 3, "SENTIMENT_PRECISION"),
        (
            ("{news}", "--output", "{folder}/x.csv", "--text-column=headline", "--date-column=day"),
            4,
            "--date-column",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_leaves_nothing(
    run, news, tmp_path, arguments, code, said
):
    given = [each.format(news=news, folder=tmp_path) for each in arguments]
    assert said in one_line(run(*given, code=code))
    assert left_in(tmp_path) == ["news.csv"]
