"""A report: a page and its plots, safe from what the input holds."""

import re
import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from sentiment.bulk.report import check_report, write_report
from sentiment.bulk.summary import Speed
from sentiment.bulk.tally import Tally
from sentiment.errors import OptionError, StorageError
from sentiment.predictions import LABELS

HOSTILE = ["A|B", "<img src=x onerror=alert(1)>", "[x](http://y)", "two\nlines", "$x^2$", "字" * 60]


def summary_of(
    count, *, labels=LABELS, days=2, tickers=("AAPL",), bad=0, seconds=1.0, with_columns=True
):
    """Return the summary of rows whose days and tickers take turns."""
    numbers = np.random.default_rng(7)
    probabilities = numbers.dirichlet([1] * len(labels), count).astype(np.float32)
    probabilities[:bad] = np.nan
    columns = {"date": "date_column", "ticker": "ticker_column"} if with_columns else {}
    tally = Tally(labels=labels, **{option: name for name, option in columns.items()})
    first = date(2025, 1, 1)
    tally.add(
        pa.RecordBatch.from_pydict(
            {
                "date": [
                    (first + timedelta(days=row % days)).isoformat() if days else "soon"
                    for row in range(count)
                ],
                "ticker": [tickers[row % len(tickers)] if tickers else "" for row in range(count)],
            }
        ),
        probabilities=probabilities,
        truncated=np.zeros(count, bool),
    )
    speed = Speed(texts=count, computed_texts=count, seconds=seconds, engine_seconds=0.9)
    return tally.summary(speed, bad_rows=bad)


def write(folder, summary):
    write_report(folder, summary, title="news.csv", model="compact@1")
    return (folder / "report.md").read_text()


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_plot_is_a_picture_on_the_page(tmp_path):
    page = write(tmp_path / "report", summary_of(300, days=20, tickers=("AAPL", "MSFT"), bad=3))
    drawn = re.findall(r"!\[[^\]]+\]\((\w+\.png)\)", page)
    assert drawn == ["labels.png", "scores.png", "days.png", "tickers.png"]
    for name in drawn:
        assert (tmp_path / "report" / name).read_bytes().startswith(b"\x89PNG")
    assert "297 of 300 rows were scored by compact\\@1; 3 could not be." in page
    assert "| MSFT | 149 |" in page


def test_a_report_depends_on_the_rows_and_not_on_the_run(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    write(first, summary_of(200, days=9, seconds=1.0))
    write(second, summary_of(200, days=9, seconds=2.0))
    assert files(first) == files(second)


def test_without_dates_and_tickers_there_is_nothing_about_them(tmp_path):
    page = write(tmp_path / "report", summary_of(50, with_columns=False))
    assert "ticker" not in page
    assert "day" not in page
    assert sorted(files(tmp_path / "report")) == ["labels.png", "report.md", "scores.png"]


def test_columns_without_a_day_or_a_ticker_are_said_to_have_none(tmp_path):
    page = write(tmp_path / "report", summary_of(50, days=0, tickers=()))
    assert "50 scored rows without: the column date has no date, or none in ISO 8601" in page
    assert "No row has a day in date." in page
    assert "No row has a ticker in ticker." in page


def test_where_no_row_was_scored_the_page_says_that(tmp_path):
    page = write(tmp_path / "report", summary_of(5, bad=5))
    assert "0 of 5 rows were scored" in page
    assert sorted(files(tmp_path / "report")) == ["report.md"]


def test_names_from_the_input_have_no_effect_on_the_page(tmp_path):
    summary = summary_of(60, tickers=HOSTILE)
    write_report(tmp_path / "report", summary, title="# <b>|\n", model="evil|`model`")
    page = (tmp_path / "report" / "report.md").read_text()
    assert "<" not in page.replace("\\<", "")
    assert "| A\\|B | 10 |" in page
    assert "| two lines | 10 |" in page
    assert "| " + "字" * 37 + "... | 10 |" in page
    for table in re.findall(r"(?:^\|.*\|$\n?)+", page, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1


def test_many_days_are_told_by_week_and_few_tickers_of_many(tmp_path):
    tickers = [f"T{number:03}" for number in range(50)]
    page = write(tmp_path / "report", summary_of(2000, days=200, tickers=tickers))
    assert "Put together by week, each named by its Monday." in page
    assert "| Week of | Rows |" in page
    assert "The 20 of 50 tickers with the most rows." in page
    assert len(re.findall(r"^\| T\d", page, re.MULTILINE)) == 20


@pytest.mark.parametrize("days", [2, 1500, 20_000])
def test_any_number_of_days_can_be_drawn(tmp_path, days):
    write(tmp_path / "report", summary_of(days, days=days))
    assert (tmp_path / "report" / "days.png").exists()


def test_one_day_is_listed_and_not_drawn(tmp_path):
    page = write(tmp_path / "report", summary_of(20, days=1))
    assert "| 2025-01-01 | 20 |" in page
    assert "days.png" not in page
    assert not (tmp_path / "report" / "days.png").exists()


def test_a_model_of_other_labels_has_a_report_without_a_net_sentiment(tmp_path):
    labels = ("joy", "anger", "fear", "calm")
    page = write(tmp_path / "report", summary_of(80, labels=labels, days=5))
    assert "net sentiment" not in page.lower()
    assert "| Day | Rows | Joy | Anger | Fear | Calm |" in page


def test_a_report_takes_the_place_of_an_older_one(tmp_path):
    write(tmp_path / "report", summary_of(50))
    write(tmp_path / "report", summary_of(50, with_columns=False))
    assert sorted(files(tmp_path / "report")) == ["labels.png", "report.md", "scores.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_what_a_killed_process_moved_aside_is_put_back_and_replaced(tmp_path):
    write(tmp_path / "report", summary_of(50))
    (tmp_path / "report").rename(tmp_path / ".report.replaced")
    (tmp_path / ".report.writing").mkdir()
    write(tmp_path / "report", summary_of(60))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.unit.test_bulk_report import summary_of, write_report
from sentiment.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    write_report(Path(sys.argv[1]), summary_of(50), title="news.csv", model="compact@1")
except StorageError as error:
    print(error)
"""


def run(script, *arguments, folder):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_full_disk_leaves_the_older_report_as_it_was(tmp_path, repository):
    write(tmp_path / "report", summary_of(50, with_columns=False))
    before = files(tmp_path / "report")
    said = run(FULL_DISK, tmp_path / "report", folder=repository)
    assert "cannot be written: File too large" in said
    assert files(tmp_path / "report") == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


WITHOUT_MATPLOTLIB = """
import importlib.abc, sys
from pathlib import Path
from sentiment.bulk.report import check_report
from sentiment.errors import LibraryError
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        return None
# As in an environment without site-packages.
sys.meta_path[:] = [Missing()]
sys.path_importer_cache.clear()
try:
    check_report(Path(sys.argv[1]))
except LibraryError as error:
    print(error)
"""


def test_without_matplotlib_it_is_said_what_to_install(tmp_path, repository):
    said = run(WITHOUT_MATPLOTLIB, tmp_path / "report", folder=repository)
    assert said == "matplotlib not installed: pip install -r requirements-bulk.txt\n"


def test_nothing_but_a_report_may_be_lost(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "news.csv").touch()
    with pytest.raises(OptionError, match=r"holds news\.csv, which is no part of a report"):
        check_report(tmp_path / "report")


def test_a_report_in_place_of_a_file_is_a_wrong_option(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "report"):
        with pytest.raises(OptionError, match="is a file; --report names a folder"):
            check_report(folder)


def test_a_folder_that_cannot_be_written_to_is_told_at_once(tmp_path):
    with pytest.raises(StorageError, match="cannot be written to"):
        check_report(tmp_path.__class__("/proc/self/report"))


def test_a_summary_needs_no_plotting_library(repository):
    script = (
        "import sys, sentiment.bulk.tally, sentiment.bulk.progress, sentiment.bulk.report\n"
        "print(*sorted({'matplotlib', 'torch', 'transformers', 'scipy'} & set(sys.modules)))"
    )
    assert run(script, folder=repository).split() == []
