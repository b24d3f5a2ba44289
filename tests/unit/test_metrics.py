"""The metrics of several processes that share a folder; those of one are tested where they grow."""

import os
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sentiment.metrics import SHARED_FOLDER, Metrics, forget_gauges


@pytest.fixture
def process(repository, tmp_path):
    """Run a script as process `number` of those that share a folder; return what it exposes."""

    def run(number, script):
        prelude = "from sentiment.metrics import *\nshare_as({})\nmetrics = Metrics()\n"
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"{prelude.format(number)}{script}\nprint(metrics.exposition().decode())",
            ],
            cwd=repository,
            env={**os.environ, SHARED_FOLDER: str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return {
            sample.name.removeprefix("sentiment_"): sample.value
            for family in text_string_to_metric_families(done.stdout)
            for sample in family.samples
        }

    return run


def test_counters_and_histograms_of_all_processes_add_up(process):
    process(1, "metrics.cache_hits.inc(2); metrics.infer_seconds.observe(1)")
    shown = process(2, "metrics.cache_hits.inc(3); metrics.infer_seconds.observe(2)")
    assert shown["cache_hits_total"] == 5
    assert shown["infer_seconds_sum"] == 3
    assert shown["infer_seconds_count"] == 2


FOLLOW = """
for gauge in (metrics.backlog_seconds, metrics.token_budget, metrics.queue_texts):
    metrics.follow(gauge, lambda: {})
metrics.publish()
metrics.model.labels("a", "b", "c", "d").set(1)
"""


def test_each_gauge_of_several_processes_means_what_it_meant_of_one(process):
    process(1, FOLLOW.format(5))
    shown = process(2, FOLLOW.format(3))
    assert shown["backlog_seconds"] == 5  # the latest answer comes after five seconds
    assert shown["queue_texts"] == 8
    assert shown["token_budget"] == 3  # one of them ran out of memory
    assert shown["model_info"] == 1


def test_a_process_that_still_loads_does_not_pass_for_one_without_memory(process):
    process(1, FOLLOW.format(1024))
    assert process(2, "")["token_budget"] == 1024


def test_what_a_gauge_follows_is_looked_at_when_it_is_shown(process):
    shown = process(1, "now = 1; metrics.follow(metrics.queue_texts, lambda: now); now = 2")
    assert shown["queue_texts"] == 2


def test_the_gauges_of_a_dead_process_go_and_its_counters_stay(process, tmp_path):
    process(1, FOLLOW.format(5) + "metrics.cache_hits.inc(2)")
    process(2, FOLLOW.format(3) + "metrics.cache_hits.inc(3)")
    forget_gauges(1, str(tmp_path))
    shown = process(2, FOLLOW.format(3))
    assert (shown["backlog_seconds"], shown["queue_texts"]) == (3, 3)
    assert shown["cache_hits_total"] == 5


def test_whoever_takes_a_dead_process_place_goes_on_with_its_counters(process, tmp_path):
    process(1, "metrics.cache_hits.inc(2)")
    files = sorted(tmp_path.iterdir())
    assert process(1, "metrics.cache_hits.inc(2)")["cache_hits_total"] == 4
    assert sorted(tmp_path.iterdir()) == files


def test_memory_and_time_of_cores_are_those_of_all_processes(process):
    alone = process(1, "sum(range(10**6)); metrics.publish()")
    both = process(2, "sum(range(10**6))")
    assert both["memory_bytes"] > 1.5 * alone["memory_bytes"]
    assert both["cpu_seconds_total"] > 1.5 * alone["cpu_seconds_total"]


def test_what_is_of_one_process_is_not_shown_of_several(process):
    ours = ("python_", "process_")
    assert not [name for name in process(1, "") if name.startswith(ours)]
    assert [line for line in Metrics().exposition().decode().split("\n") if line.startswith(ours)]
