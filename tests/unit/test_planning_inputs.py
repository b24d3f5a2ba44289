"""What `plan` is given: quantities, samples, traces, cost files; and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sentiment.errors import DataError, OptionError
from sentiment.planning.costs import ReplicaCost
from sentiment.planning.quantities import parse_bounds, parse_burst, parse_duration, parse_sizes
from sentiment.planning.workload import Burst, Workload, read_sample, read_trace
from tests.unit.test_planning import COST


@pytest.mark.parametrize(
    ("given", "seconds"), [("200ms", 0.2), ("1.5s", 1.5), ("2m", 120), (".5h", 1800)]
)
def test_times_have_a_unit(given, seconds):
    assert parse_duration(given, "--p99") == pytest.approx(seconds)


@pytest.mark.parametrize("given", ["", "200", "0ms", "-1s", "1e3ms", "1 s", "nan", "٣s", "1d"])
def test_what_is_no_time_is_refused(given):
    with pytest.raises(OptionError, match="expected a time such as 200ms"):
        parse_duration(given, "--p99")


def test_a_burst_is_a_factor_and_a_time():
    assert parse_burst("10x:30s") == Burst(10, 30)


@pytest.mark.parametrize("given", ["10:30s", "x:30s", "0x:30s", "10x:", "10x:30", "-1x:2s"])
def test_what_is_no_burst_is_refused(given):
    with pytest.raises(OptionError):
        parse_burst(given)


def test_sizes_of_requests_are_a_number_or_shares():
    assert parse_sizes("32") == {32: 1.0}
    assert parse_sizes("1:0.9,256:0.1") == {1: 0.9, 256: 0.1}


@pytest.mark.parametrize("given", ["", "0", "1:0", "1:", "a", "1:0.5,1:0.5", "9999999", "1:-1"])
def test_what_are_no_sizes_is_refused(given):
    with pytest.raises(OptionError, match="--texts-per-request"):
        parse_sizes(given)


def test_bounds_of_an_autoscaler_are_least_and_most():
    assert parse_bounds("2:40") == (2, 40)


@pytest.mark.parametrize("given", ["", "2", "0:4", "4:2", "2:40000", "2:4:6"])
def test_what_are_no_bounds_is_refused(given):
    with pytest.raises(OptionError, match="--autoscale"):
        parse_bounds(given)


def test_a_sample_is_a_text_a_line(tmp_path):
    path = tmp_path / "sample.txt"
    path.write_text("Profit rose.\n\n  Sales fell in Espoo @ home.\n", encoding="utf-8")
    assert read_sample(path) == ["Profit rose.", "Sales fell in Espoo @ home."]


def test_a_sample_may_be_phrasebank_as_it_is_published(tmp_path):
    path = tmp_path / "Sentences_AllAgree.txt"
    path.write_bytes("Sepp\xe4l\xe4 is up .@positive\nIt is flat .@neutral\n".encode("latin-1"))
    assert read_sample(path) == ["Seppälä is up .", "It is flat ."]


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "no text in it"), (b"\xff\xfe", "neither UTF-8 nor PhraseBank")]
)
def test_a_sample_without_texts_is_refused(tmp_path, content, said):
    path = tmp_path / "sample.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_sample(path)


def test_a_trace_begins_with_its_first_request(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("100.5,1\n101,32\n\n103,1\n")
    arrivals, texts = read_trace(path)
    assert arrivals.tolist() == [0, 0.5, 2.5]
    assert texts.tolist() == [1, 32, 1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1\n0.5\n", ":2: seconds must be finite and not fall"),
        ("1\nnan\n", ":2: seconds must be finite"),
        ("1\n2,3\n", ":2: every line has a number of texts"),
        ("1,1\n2,0\n", ":2: every line has a number of texts"),
        ("when\n", ":1: expected seconds"),
        ("1,2,3\n", ":1: every line"),
        ("1\n", "fewer than two requests"),
    ],
)
def test_a_trace_that_makes_no_sense_is_refused_with_its_line(tmp_path, content, said):
    path = tmp_path / "trace.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        read_trace(path)


def test_poisson_arrivals_come_at_the_rate_and_as_irregularly_as_they_should():
    workload = Workload.draw(
        rate=1000, seconds=100, pool=np.array([10]), sizes={1: 3.0, 4: 1.0}, seed=0
    )
    gaps = np.diff(workload.arrivals)
    assert workload.rate == pytest.approx(1000, rel=0.02)
    assert gaps.mean() == pytest.approx(1.75 / 1000, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    assert (workload.texts == 1).mean() == pytest.approx(0.75, abs=0.01)


def test_a_burst_multiplies_what_comes_in_the_middle():
    workload = Workload.draw(
        rate=200,
        seconds=90,
        pool=np.array([10]),
        sizes={1: 1.0},
        burst=Burst(10, 30),
        seed=0,
    )
    inside = ((workload.arrivals >= 30) & (workload.arrivals < 60)).sum()
    assert inside == pytest.approx(60_000, rel=0.02)
    assert len(workload.arrivals) - inside == pytest.approx(12_000, rel=0.03)
    assert (np.diff(workload.arrivals) >= 0).all()


def test_a_cost_file_gives_back_what_was_written(tmp_path):
    path = tmp_path / "cost.json"
    cost = replace(COST, spread=(0.9, 1.0, 1.3), pair_s=1e-9)
    cost.write(path)
    assert ReplicaCost.read(path) == cost


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "not a cost file of version 1"),
        ({"threads": 0}, "threads is 0, which it cannot be"),
        ({"threads": True}, "threads is True"),
        ({"batch_s": -1}, "batch_s is -1"),
        ({"batch_s": float("nan")}, "batch_s is nan"),
        ({"batch_s": 0, "token_s": 0, "pair_s": 0}, "takes no time"),
        ({"spread": []}, "spread is"),
        ({"token_budgets": ["many"]}, "token_budgets is"),
        ({"token_budgets": [0.5]}, "token_budgets is"),
        ({"layout": "loose"}, "layout is 'loose'"),
        ({"model": None}, "model is None"),
        ({"surprise": 1}, "surprise is unknown"),
    ],
)
def test_a_cost_file_that_makes_no_sense_is_refused(tmp_path, changes, said):
    path = tmp_path / "cost.json"
    COST.write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DataError, match=said):
        ReplicaCost.read(path)


def test_a_cost_file_that_lacks_something_is_refused(tmp_path):
    path = tmp_path / "cost.json"
    COST.write(path)
    given = json.loads(path.read_text())
    del given["request_s"]
    path.write_text(json.dumps(given))
    with pytest.raises(DataError, match="request_s is missing"):
        ReplicaCost.read(path)
    path.write_text("[")
    with pytest.raises(DataError, match="not JSON"):
        ReplicaCost.read(path)
