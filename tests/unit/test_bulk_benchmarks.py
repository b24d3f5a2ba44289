"""What the benchmarks of bulk scoring make and compute, without scoring anything."""

import csv
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.bulk_data import (
    different_headlines,
    numbered_headlines,
    read_headlines,
    write_table,
)
from benchmarks.bulk_kills import (
    JOURNAL,
    OUTPUT,
    RUN_FOLDER,
    WRITTEN,
    different,
    digests,
    kill_moments,
    phase,
)
from benchmarks.bulk_memory import Watched, high_water_mib
from benchmarks.bulk_pipeline import agreement, ratios
from benchmarks.bulk_runs import Ended, Run, finished
from benchmarks.bulk_share import judged, shares
from benchmarks.measurement import BenchmarkError
from benchmarks.texts import financial_texts
from sentiment.models import COMPACT_FOLDER
from sentiment.tokenization import Tokenization, load_tokenizer

KILLED = Ended(code=-9, seconds=1.0, cpu_s=1.0, peak_mib=1.0, foreign_cores=0.0, said="")


def python(script):
    return [sys.executable, "-c", script]


def test_headlines_come_from_every_file_once(tmp_path):
    lines, table = tmp_path / "titles.txt", tmp_path / "titles.csv"
    lines.write_text("Profit rose\nSales fell\n")
    table.write_text('No,Title\n1,"PROFIT, rose"\n2,"Sales  FELL"\n3,\n')
    assert read_headlines([lines, table]) == ["Profit rose", "Sales fell", "PROFIT, rose"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"a,b\n1,2\n", "no column named headline"), (b"text\n\xff\n", "not UTF-8")],
)
def test_a_table_without_headlines_is_an_error_in_one_line(tmp_path, content, reason):
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=rf"odd\.csv: {reason}"):
        read_headlines([path])


def test_turned_headlines_are_different_and_cost_as_many_tokens():
    texts = financial_texts(300)
    made = different_headlines(texts, 900)
    with Tokenization(load_tokenizer(COMPACT_FOLDER), max_tokens=512, threads=1) as tokenization:
        encodings = tokenization.encode_now(made).ids
    assert made[:300] == texts
    assert len({tuple(ids) for ids in encodings}) == 900
    assert [len(ids) for ids in encodings] == [len(ids) for ids in encodings[:300]] * 3


def test_too_few_words_for_so_many_headlines_are_an_error():
    assert different_headlines(["Profit rose"], 2) == ["Profit rose", "rose Profit"]
    with pytest.raises(BenchmarkError, match="1 headlines make 2 of the 3 wanted"):
        different_headlines(["Profit rose"], 3)


def test_numbers_make_as_many_headlines_as_wanted():
    numbered = list(numbered_headlines(["Profit rose", "Sales fell"], 5))
    assert numbered[3:] == ["Sales fell (4)", "Profit rose (5)"]
    assert len(set(numbered)) == 5


def test_a_table_keeps_texts_as_they_are_and_has_bad_rows_where_wanted(tmp_path):
    texts = ['He said "up",\nthen left', "Sales fell", "Profit rose", "Orders, down"]
    write_table(tmp_path / "table.csv", texts, bad_row_every=2)
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "date", "ticker", "headline"]
    assert [row[3] for row in rows[1:]] == texts
    assert [len(row) for row in rows[1:]] == [4, 5, 4, 5]
    assert len({row[1] for row in rows[1:]}) == 4


def test_a_run_ends_with_its_time_and_its_last_words():
    with Run(python("import sys; sys.exit('no such\\nfile: x')"), {}) as run:
        ended = run.wait()
    assert (ended.code, ended.said) == (1, "file: x")
    assert ended.seconds > 0
    assert ended.peak_mib > 1
    with pytest.raises(BenchmarkError, match="ended with code 1: oh"):
        finished(python("import sys; sys.exit('oh')"), {})


def test_a_run_gets_the_settings_it_is_given_and_no_others(monkeypatch):
    monkeypatch.setenv("SENTIMENT_MODEL", "other")
    script = "import os, sys; sys.exit(str({k for k in os.environ if 'SENTIMENT_' in k}))"
    with Run(python(script), {"SENTIMENT_PRECISION": "fp32"}) as run:
        assert run.wait().said == "{'SENTIMENT_PRECISION'}"


def test_a_paused_run_stands_still_and_so_does_its_clock():
    began_at = time.perf_counter()
    with Run(python("import time; time.sleep(60)"), {}) as run:
        run.pause()
        paused_at = time.perf_counter()
        stat = Path(f"/proc/{run.process_id}/stat")
        while "T" not in stat.read_text().rpartition(")")[2]:
            assert run.wait(0.01) is None
        assert run.wait(0.1) is None
        paused_s = time.perf_counter() - paused_at
        run.go_on()
        ended = run.kill()
    assert ended.code == -9
    assert 0 < ended.seconds < time.perf_counter() - began_at - paused_s


def test_killing_a_run_kills_its_children():
    script = (
        "import subprocess, sys; "
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    with Run(python(script), {}) as run:
        while len(run.tree()) < 2:
            assert run.wait(0.01) is None
        watched = Watched()
        watched.look(run.process_id, run.tree())
        child = os.pidfd_open(run.tree()[1])
        assert run.kill().code == -9
    ended = select.poll()
    ended.register(child, select.POLLIN)
    assert ended.poll(60_000)
    os.close(child)
    assert watched.processes == 2
    assert watched.samples == 1
    assert watched.high_water_mib >= watched.rss_mib - 0.1  # one of them is rounded
    assert watched.rss_mib >= watched.pss_mib > 1


def test_the_kernels_peak_is_read_in_mib():
    assert high_water_mib("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n") == 2
    assert high_water_mib("Name:\tx\nState:\tZ (zombie)\n") == 0


def test_a_share_is_of_the_engines_speed_with_and_without_the_start():
    turns = [{"texts": 900, "seconds": 9}, {"texts": 100, "seconds": 1}]
    found = shares(1000, whole_s=12.5, start_s=2.5, turns=turns)
    assert found["engine_texts_s"] == 100
    assert found["share"] == pytest.approx(0.8)
    assert found["share_without_start"] == pytest.approx(1)


@pytest.mark.parametrize(("middle", "kept"), [(0.96, True), (0.94, False)])
def test_the_median_round_decides_the_share(middle, kept):
    rounds = [{"share_without_start": share} for share in (0.5, 0.99, middle)]
    assert judged(rounds)["kept"] is kept


def test_every_score_is_compared_with_every_pipeline():
    rates = {"pipeline": 10, "pipeline bf16": 20, "score auto": 100, "score bf16": 80}
    measured = {way: [{"texts_s": rate}] for way, rate in rates.items()}
    assert ratios(measured) == {
        "score auto": {"pipeline": 10, "pipeline bf16": 5},
        "score bf16": {"pipeline": 8, "pipeline bf16": 4},
    }


def test_labels_agree_row_by_row():
    expected = [("positive", 0.9), ("negative", 0.5), ("neutral", 0.4), ("neutral", 0.8)]
    given = [("positive", 0.88), ("neutral", 0.5), ("neutral", 0.4), ("neutral", 0.7)]
    found = agreement(expected, given)
    assert found["same_label"] == 0.75
    assert found["score_apart_at_most"] == pytest.approx(0.1)


def test_every_part_of_a_run_has_a_moment_to_be_killed_at():
    moments = kill_moments(20, 10.0, seed=3)
    assert [int(run[0] / 0.5) for run in moments] == list(range(20))
    assert [len(run) for run in moments] == [1, 2] * 10
    assert moments == kill_moments(20, 10.0, seed=3) != kill_moments(20, 10.0, seed=4)


def test_what_a_killed_run_left_says_how_far_it_had_come(tmp_path):
    assert phase(KILLED, tmp_path) == "start"
    journal = tmp_path / RUN_FOLDER / JOURNAL
    journal.parent.mkdir()
    journal.touch()
    assert phase(KILLED, tmp_path) == "start"
    journal.write_bytes(b"window")
    assert phase(KILLED, tmp_path) == "scoring"
    (tmp_path / RUN_FOLDER / WRITTEN).touch()
    assert phase(KILLED, tmp_path) == "writing"
    (tmp_path / OUTPUT).touch()
    assert phase(KILLED, tmp_path) == "after the rename"


def test_outputs_are_compared_file_by_file_but_for_the_runs_own_folder(tmp_path):
    (tmp_path / RUN_FOLDER).mkdir()
    (tmp_path / RUN_FOLDER / "journal").write_bytes(b"1")
    (tmp_path / OUTPUT).write_bytes(b"table")
    (tmp_path / "report.md").write_bytes(b"page")
    before = digests(tmp_path)
    assert sorted(before) == ["report.md", OUTPUT]
    (tmp_path / "report.md").write_bytes(b"another page")
    (tmp_path / "bad.csv").write_bytes(b"row")
    assert different(before, digests(tmp_path)) == ["bad.csv", "report.md"]


def test_an_unknown_part_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bulk", "speed"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no such part: speed" in done.stderr
