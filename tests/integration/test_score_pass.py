"""The first pass over the input: what is told of it while it goes on."""

import os

import pytest

from sentiment import Scorer, Settings
from sentiment.bulk import windows
from sentiment.bulk.inputs import find_inputs, open_reader
from sentiment.bulk.joining import Rules
from sentiment.bulk.journal import Journal
from sentiment.bulk.progress import Progress
from sentiment.bulk.run import score_pass

ROWS = 100


class Told(Progress):
    """Keeps what it is told."""

    def begin(self, phase, *, total_bytes, rows, bytes_read):
        self.at_first = (rows, bytes_read)
        self.later = []
        self.total_bytes = total_bytes

    def update(self, *, rows, bytes_read, texts):
        self.later.append((rows, bytes_read, texts))


@pytest.fixture
def score(tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW_ROWS", 30)
    path = tmp_path / "news.csv"
    path.write_text("text\n" + "".join(f"Sales of unit {at % 95:02} fell\n" for at in range(ROWS)))
    files = find_inputs([str(path)], input_format=None, run_folder=tmp_path / "out.run")
    settings = Settings(model="compact", precision="fp32", token_budget=512)

    def run():
        told = Told()
        reader = open_reader(files, text_column="text", for_format="csv")
        with (
            Scorer.open(settings) as scorer,
            Journal.open(tmp_path / "scores.journal", labels=len(scorer.labels)) as journal,
        ):
            score_pass(reader, scorer, journal, Rules(text_column="text"), told)
            told.computed = journal.computed
        return told

    return run


def test_what_is_read_ahead_is_not_told_as_done(score):
    told = score()
    assert told.at_first == (0, 0)
    rows_told = [rows for rows, _, _ in told.later]
    assert rows_told == sorted(rows_told)
    assert {30, 60, 90, 100} <= set(rows_told)
    for rows, bytes_read, _ in told.later:
        assert bytes_read / told.total_bytes == pytest.approx(rows / ROWS, abs=0.01)


def test_what_an_earlier_process_did_is_told_at_first(score):
    whole = score()
    again = score()
    assert again.at_first == (ROWS, whole.total_bytes)
    assert again.later == []


def test_what_an_earlier_process_computed_is_known_when_it_occurs_again(score, tmp_path):
    assert score().computed == 95
    journal = tmp_path / "scores.journal"
    os.truncate(journal, journal.stat().st_size - 1)  # the last window is torn
    again = score()
    assert again.at_first[0] == 90
    assert again.computed == 95
