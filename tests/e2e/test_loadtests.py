"""Locust runs against real servers, in processes of their own: it patches the standard library."""

import csv
import json
import subprocess
import sys

import pytest

from loadtests.shapes import SHAPES
from tests.conftest import REPOSITORY
from tests.e2e.conftest import running_server
from tests.e2e.intermediary import Exchange, Gate, intermediary, lose, refuse

GOOD_USERS = ("HeadlineSingles", "AnalystArrays", "DocumentReaders", "Streamers")

BRIEFLY = ("--shape", "steady", "--rate", "40", "--stretch", "0.03", "--table-texts", "30")
"""About 40 requests."""


def load(folder, *arguments, url):
    """Run a load test; return its exit code and what it printed."""
    command = [sys.executable, "-m", "loadtests", "--host", url, "--output", str(folder)]
    done = subprocess.run(
        [*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=240
    )
    return done.returncode, done.stdout + done.stderr


def locust(*arguments, url):
    """Run Locust itself, without a shape; return its exit code and what it printed."""
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--host", url]
    done = subprocess.run(
        [*command, "--headless", "--only-summary", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def figures(folder):
    return json.loads((folder / "figures.json").read_text())


def failures(folder):
    with (folder / "locust_failures.csv").open() as file:
        return [row["Error"] for row in csv.DictReader(file)]


def test_a_short_load_fails_nowhere_and_leaves_a_summary(server, tmp_path):
    code, said = load(tmp_path, *BRIEFLY, *GOOD_USERS, url=server.url)
    assert code == 0, said
    assert failures(tmp_path) == []
    (step,) = figures(tmp_path)["steps"]
    assert step["answered_requests_s"] > 0
    assert {kind["kind"] for kind in figures(tmp_path)["kinds"]} <= set(GOOD_USERS)
    page = (tmp_path / "summary.md").read_text()
    assert "## By step" in page
    assert "Interrupted" not in page
    assert "knee" not in page.partition("## By step")[2]
    for name in ("plots.png", "steps.csv", "report.html", "locust_stats.csv"):
        assert (tmp_path / name).stat().st_size > 0


def test_an_answer_that_reaches_another_caller_is_a_failure(server, tmp_path):
    with intermediary(server.address, Exchange()) as url:
        code, said = load(tmp_path, *BRIEFLY, "HeadlineSingles", url=url)
    assert code == 1, said
    assert set(failures(tmp_path)) == {'LoadTestFailure("an answer that is not this text\'s")'}
    (kind,) = figures(tmp_path)["kinds"]
    assert kind["outcomes"]["wrong"] > 0


def test_an_answer_that_is_lost_is_a_failure(server, tmp_path):
    with intermediary(server.address, lose) as url:
        code, said = load(tmp_path, *BRIEFLY, "HeadlineSingles", url=url)
    assert code == 1, said
    (kind,) = figures(tmp_path)["kinds"]
    assert kind["outcomes"] == {"failed": kind["requests"]}
    assert kind["requests"] == figures(tmp_path)["arrivals"] > 0


@pytest.mark.parametrize(("options", "expected_code"), [((), 0), (("--give-up-fails",), 1)])
@pytest.mark.nightly
def test_an_arrival_that_is_refused_each_time_is_given_up(server, tmp_path, options, expected_code):
    with intermediary(server.address, refuse) as url:
        code, said = load(tmp_path, *BRIEFLY, *options, "HeadlineSingles", url=url)
    assert code == expected_code, said
    (kind,) = figures(tmp_path)["kinds"]
    assert kind["gave_up"] == kind["requests"] > 0


def test_a_server_that_is_not_there_is_said_in_one_line(tmp_path):
    code, said = locust("--users", "1", "--run-time", "60s", url="http://127.0.0.1:9")
    assert code == 1, said
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert "http://127.0.0.1:9" in line
    assert "Traceback" not in said


@pytest.mark.nightly
def test_arrivals_do_not_wait_for_answers(server, tmp_path):
    waiting = 40
    with intermediary(server.address, Gate(waiting)) as url:
        code, said = locust(
            *("--users", "1", "--rate-per-user", "20", "--run-time", "20s"),
            *("--table-texts", "30", "--results", str(tmp_path), "HeadlineSingles"),
            url=url,
        )
    assert code == 0, said  # the gate opened: one user had so many requests in flight
    (kind,) = figures(tmp_path)["kinds"]
    assert kind["outcomes"] == {"right": kind["requests"]}
    assert kind["requests"] >= waiting


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("shape", "stretch"), [("steady", 0.2), ("staircase", 0.05), ("spike", 0.15), ("soak", 0.005)]
)
def test_each_shape_runs_with_every_user_and_nothing_fails(server, tmp_path, shape, stretch):
    code, said = load(
        tmp_path,
        *("--shape", shape, "--stretch", str(stretch), "--table-texts", "200"),
        url=server.url,
    )
    assert code == 0, said
    assert [step["load"] for step in figures(tmp_path)["steps"]] == [
        step.load for step in SHAPES[shape]
    ]
    assert all(step["failed"] == 0 for step in figures(tmp_path)["steps"])


def test_every_shape_is_run_by_the_nightly_test():
    (parameters,) = (
        mark.args[1]
        for mark in test_each_shape_runs_with_every_user_and_nothing_fails.pytestmark
        if mark.name == "parametrize"
    )
    assert {shape for shape, _ in parameters} == set(SHAPES)


@pytest.mark.nightly
def test_refusals_are_waited_for_and_are_no_failures(tmp_path):
    with running_server(SENTIMENT_MAX_BACKLOG_S="0.2") as server:
        code, said = load(
            tmp_path,
            *("--shape", "steady", "--rate", "300", "--stretch", "0.1", "--table-texts", "100"),
            *GOOD_USERS,
            url=server.url,
        )
    assert code == 0, said
    (step,) = figures(tmp_path)["steps"]
    assert step["refused"] > 0
    assert step["came_back"] > 0
    assert step["failed"] == 0


@pytest.mark.nightly
def test_several_processes_share_a_load_and_one_tells_of_all(server, tmp_path):
    code, said = load(
        tmp_path,
        *("--shape", "steady", "--rate", "20", "--stretch", "0.2", "--table-texts", "50"),
        *("--processes", "2", *GOOD_USERS),
        url=server.url,
    )
    assert code == 0, said
    with (tmp_path / "locust_stats.csv").open() as file:
        (total,) = (row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
    assert sum(kind["requests"] for kind in figures(tmp_path)["kinds"]) == int(
        total["Request Count"]
    )
