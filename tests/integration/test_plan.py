"""`plan`, as a user types it."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from sentiment.cli import main
from sentiment.models import COMPACT_FOLDER, resolve_model
from sentiment.planning.costs import ReplicaCost
from tests.unit.test_planning import BATCHING


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """Run `plan` with a cost file and a sample; options are added, or take their place."""
    monkeypatch.setenv("SENTIMENT_MODEL", "compact")
    monkeypatch.setenv("SENTIMENT_PRECISION", "fp32")
    sample = tmp_path / "sample.txt"
    sample.write_text("Profit rose.\nThe company is based in Espoo.\nSales fell by a third.\n")
    reference = resolve_model("compact").reference
    replace(BATCHING, model=reference).write(tmp_path / "cost.json")

    def run(*arguments, **options):
        given = {"rate": 300, "lengths": sample, "p99": "200ms", "cost": tmp_path / "cost.json"}
        given |= {name.replace("_", "-"): value for name, value in options.items()}
        named = [f"--{name}={value}" for name, value in given.items() if value is not None]
        monkeypatch.setattr(sys, "argv", ["sentiment", "plan", *named, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, ended.value.code or 0, said.out, said.err)

    return run


def test_a_plan_says_what_to_deploy(plan):
    done = plan(price_per_replica_hour=0.1, rate=100, seconds=12)
    assert done.returncode == 0, done.stderr
    for said in (
        "p99 at most 200 ms",
        "chosen",
        "SENTIMENT_TOKEN_BUDGET",
        "cpu 2, memory 512 MiB",
        "s of sentiment_backlog_seconds, mean of the pods",
        "1 may be away",
        "p99 of three draws",
        "at 0.1 an hour",
    ):
        assert said in done.stdout, said
    assert " texts/s in " in done.stdout


def test_json_says_the_same_twice_and_adds_up(plan):
    first, second = (
        plan("--json", price_per_replica_hour=0.5, seconds=3, burst="2x:1s", replicas=3)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    made = json.loads(first.stdout)
    assert made["met"]
    assert made["outcome"]["p99_s"] <= 0.2
    assert made["price_per_million_texts"] == pytest.approx(
        0.5 * 3 / (made["load"]["texts_per_s"] * 3600) * 1e6
    )
    assert {trial["replicas"] for trial in made["trials"]} == {3}


def test_texts_that_are_refused_do_not_make_a_million_cheaper(plan, monkeypatch):
    monkeypatch.setenv("SENTIMENT_MAX_BACKLOG_S", "0.05")
    done = plan("--json", price_per_replica_hour=0.5, rate=2000, seconds=1, replicas=1)
    made = json.loads(done.stdout)
    assert made["outcome"]["refused_share"] > 0.5
    answered_texts = made["outcome"]["texts_per_s"] * made["load"]["seconds"]
    assert made["price_per_million_texts"] == pytest.approx(0.5 / 3600 / answered_texts * 1e6)


@pytest.mark.nightly
def test_an_autoscaler_meets_the_burst_that_the_replicas_are_not_planned_for(plan):
    done = plan(
        *("--json", "--autoscale=2:9"),
        burst="12x:120s",
        seconds=300,
        rate=40,
        pod_start="5s",
        price_per_replica_hour=0.5,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["autoscaled"]["most_replicas"] > made["replicas"]
    assert made["outcome"]["texts_per_s"] < made["autoscaled"]["texts_per_s"]
    assert made["steady"]["p99_s"] <= 0.2
    assert made["autoscaled_price_per_million_texts"] > 0


def test_a_trace_is_met_as_it_came(plan, tmp_path):
    (tmp_path / "trace").write_text("".join(f"{second / 100},3\n" for second in range(200)))
    done = plan("--json", rate=None, trace=tmp_path / "trace")
    assert done.returncode == 0, done.stderr
    load = json.loads(done.stdout)["load"]
    assert load["requests"] == 200
    assert load["texts_per_s"] == pytest.approx(600 / 1.99)


def test_too_few_replicas_are_said_to_be_too_few(plan):
    done = plan(replicas=1, rate=1500, seconds=1)
    assert done.returncode == 1
    assert "1: too few" in done.stdout
    assert done.stderr.splitlines()[-1] == (
        "error: --replicas 1 miss the p99 of 200ms, refuse too much, or leave no headroom"
    )


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"p99": "200"}, 2, "--p99 '200': expected a time such as 200ms"),
        ({"p99": "1ms"}, 2, "no number of replicas reaches a p99 of 1 ms"),
        ({"burst": "10"}, 2, "--burst '10': expected such as 10x:30s"),
        ({"burst": "2x:9s", "seconds": 5}, 2, "--seconds 5 leaves no time around --burst"),
        ({"rate": 10, "seconds": 5}, 2, "requests in 5 s tell nothing of a p99"),
        ({"rate": 1e7}, 2, "the work alone needs"),
        ({"rate": 5000, "seconds": 86_400}, 2, "are more than can be simulated"),
        ({"rate": None}, 2, "--rate is needed"),
        ({"trace": "x"}, 2, "--trace stands instead of --rate"),
        ({"balance": "best"}, 2, "--balance 'best' is none of random, least, round-robin"),
        ({"autoscale": "9:2"}, 2, "--autoscale '9:2': expected least and most"),
        ({"texts_per_request": "0"}, 2, "--texts-per-request '0': expected a number"),
        ({"save_cost": "x"}, 2, "--save-cost saves what is measured"),
        ({"cost": None, "save_cost": "/absent/x"}, 2, "--save-cost /absent/x: cannot be written"),
        ({"lengths": "/absent"}, 4, "/absent: No such file or directory"),
        ({"cost": "/absent"}, 4, "/absent: No such file or directory"),
        ({"cost": "README.md"}, 4, "README.md: not JSON"),
    ],
)
def test_a_mistake_is_said_in_one_line(plan, options, code, said):
    done = plan(**options)
    assert done.returncode == code
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_the_cost_of_another_model_is_refused(plan, tmp_path):
    BATCHING.write(tmp_path / "cost.json")
    done = plan()
    assert done.returncode == 2
    assert "was measured with compact@0, and SENTIMENT_MODEL is compact@" in done.stderr


def test_a_server_that_does_not_start_cannot_be_measured(plan, monkeypatch):
    monkeypatch.setenv("SENTIMENT_PRECISION", "fp16")
    done = plan(cost=None)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "fp16" in done.stderr.splitlines()[-1]


@pytest.mark.nightly
def test_the_cost_of_this_machine_is_measured_and_kept(plan, tmp_path):
    done = plan(cost=None, save_cost=tmp_path / "here.json", rate=20, p99="20s")
    assert done.returncode == 0, done.stderr
    cost = ReplicaCost.read(tmp_path / "here.json")
    assert cost.model == resolve_model(str(COMPACT_FOLDER)).reference
    assert cost.engine == "openvino"
    assert 1e-4 < cost.pass_s(tokens=500, width=10) < 10
    assert 1e-6 < cost.request_s + cost.text_s < 1
    assert cost.memory_bytes > 100 * 2**20
    assert plan(cost=tmp_path / "here.json", rate=20, p99="20s").returncode == 0
