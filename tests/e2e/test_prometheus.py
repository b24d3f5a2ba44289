"""A real Prometheus beside a real server: everything that we ask it has an answer."""

import json
import math
import re
import time
from contextlib import ExitStack, contextmanager
from itertools import count

import pytest
import yaml

from deploy.grafana import dashboard
from tests.e2e.conftest import running_server
from tests.e2e.test_stream import Client
from tests.e2e.wire import exchange, get, post, posting
from tests.prometheus import FOLDER, rules, running_prometheus
from tests.promql import unfiltered

PATIENCE_S = 60
"""No promise: only so that a test that waits in vain ends."""

NEED_A_WEEK = {
    "job_label:sentiment_texts:share7d",
    "job_label:sentiment_texts:drift",
    "SentimentLabelDrift",
}
NEED_A_DAY = {
    "SentimentErrorBudgetBurnsSlowly",
    "SentimentLatencyBudgetBurnsSlowly",
    "SentimentCacheUseless",
    "SentimentMemoryGrows",
}
NEED_AN_OUTAGE = {"SentimentAbsent", "SentimentDeploymentGone"}
EMPTY = NEED_A_WEEK | NEED_A_DAY | NEED_AN_OUTAGE
"""Rules that a server which has just started well cannot give a value: they look further back, and
are seen to work by deploy/prometheus/tests. That they are evaluated is tested here."""

EMPTY_PANELS = {"Drift"}

number = count()


def traffic(server, *, workers):
    """Send one request of each kind: right, known, wrong, too long, late, one too many."""
    address, texts = server.address, [f"Profit rose by {next(number)} %" for _ in range(4)]
    for _ in range(2):  # the second time from the cache
        assert post(address, json.dumps([*texts, texts[0]]).encode()).status == 200
    for path, body in (
        ("/analyze_sentiment", {"text": texts[0]}),
        ("/predict", {"inputs": texts[1]}),
        ("/v1/documents", [{"id": "a", "text": "Sales rose. Costs fell."}]),
        ("/", ["loss " * 600]),
    ):
        asked = posting(json.dumps(body).encode(), "Connection: close", to=path)
        assert exchange(address, asked)[0].status == 200, path
    assert post(address, b'[{"text": 1}]').status == 422
    assert get(address, "/nothing").status == 404
    late = json.dumps([f"{next(number)} " + "loss " * 300 for _ in range(20)]).encode()
    assert post(address, late, "X-Timeout-Ms: 1").status == 504
    with ExitStack() as stack:  # each worker lets one be open
        streams = [stack.enter_context(Client(server)) for _ in range(workers + 1)]
        answered = {stream.answer.status: stream for stream in streams}
        assert answered.keys() == {200, 429}
        answered[200].say("Sales rose.", "Sales fell.")
        answered[200].end()
        assert answered[200].rest()[-1]["done"]


def expression(text):
    """Return a dashboard's expression as Grafana would send it, with everything chosen."""
    interval = text.replace("$__rate_interval", "20s")
    return re.sub(r"\$(namespace|job|instance|route)\b", ".*", interval)


def alerts():
    return {rule["alert"]: rule["expr"] for rule in rules() if "alert" in rule}


def queries():
    """Return everything that is asked: what it is called -> the expression."""
    panels = {
        f"{panel['title']} / {target['refId']}": expression(target["expr"])
        for panel in dashboard.dashboard()["panels"]
        for target in panel.get("targets", ())
        if panel["title"] not in EMPTY_PANELS
    }
    recorded = {rule["record"]: rule["record"] for rule in rules() if "record" in rule}
    fired = {alert: unfiltered(asked) for alert, asked in alerts().items()}
    rest = {**recorded, **fired}
    return panels | {name: asked for name, asked in rest.items() if name not in EMPTY}


def without_answer(prometheus, asked):
    """Return the names of the queries that have no finite value now."""
    return {
        name
        for name, query in asked.items()
        if not any(math.isfinite(value) for value in prometheus.values(query))
    }


def pod(name, ip, *, port=9000, phase="Running", annotations=()):
    """Return what discovery says of one port of a pod; `annotations` are prometheus.io's."""
    labels = {"pod_name": name, "namespace": "prod", "pod_ip": ip, "pod_phase": phase}
    for key, value in annotations:
        labels[f"pod_annotation_prometheus_io_{key}"] = value
    return {
        "targets": [f"{ip}:{port}" if ip else "unknown"],
        "labels": {f"__meta_kubernetes_{key}": value for key, value in labels.items()},
    }


PODS = [
    pod("plain", "127.0.0.1"),
    pod("plain", "127.0.0.1", port=8000),
    pod("elsewhere", "127.0.0.2", annotations=[("scrape", "true"), ("port", "8000")]),
    pod("refusing", "127.0.0.3", annotations=[("scrape", "false")]),
    pod("finished", "127.0.0.4", phase="Succeeded"),
    pod("starting", "", phase="Pending"),
]


@contextmanager
def watching(server, folder, *, pods=()):
    """Run Prometheus as the examples have it, but on this server and these pods, and in a hurry."""
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [
        server.url.removeprefix("http://")
    ]
    (in_cluster,) = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())["scrape_configs"]
    # Debian's Prometheus is built without the discovery of pods; what follows it is the same.
    assert in_cluster.pop("kubernetes_sd_configs")[0]["role"] == "pod"
    (folder / "pods.json").write_text(json.dumps(pods))
    in_cluster["file_sd_configs"] = [{"files": [str(folder / "pods.json")]}]
    config["scrape_configs"].append({**in_cluster, "job_name": "pods"})
    with running_prometheus(folder, config) as prometheus:
        yield prometheus


@contextmanager
def watched_server(folder, *command):
    settings = {"SENTIMENT_CACHE_TEXTS": "1000", "SENTIMENT_MAX_STREAMS": "1"}
    with (
        running_server(*command, **settings) as server,
        watching(server, folder, pods=PODS) as prometheus,
    ):
        yield server, prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with watched_server(tmp_path_factory.mktemp("prometheus")) as both:
        yield both


def until(condition, *, otherwise):
    """Ask until `condition` holds; every ask takes its time, so this needs no sleep."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, otherwise()


def check_answers(server, prometheus, *, workers=1):
    """Send requests of every kind until each query has a value."""
    asked, missing = queries(), set()

    def all_answered():
        nonlocal missing
        traffic(server, workers=workers)
        missing = without_answer(prometheus, asked)
        return not missing

    until(all_answered, otherwise=lambda: f"no value: {missing}")
    statuses = prometheus.get("label/status/values")
    assert {"200", "404", "422", "429", "504"} <= set(statuses)


def test_a_server_that_is_well_raises_no_alert(watched):
    server, prometheus = watched

    def seen():
        assert post(server.address).status == 200
        return prometheus.values("job:sentiment_valid_requests:rate5m > 0")

    until(seen, otherwise=lambda: "no request was seen")
    assert prometheus.values("ALERTS") == []


def test_every_panel_and_every_rule_has_a_value(watched):
    check_answers(*watched)


@pytest.mark.parametrize("title", EMPTY_PANELS)
def test_panels_that_need_a_week_are_evaluated_all_the_same(watched, title):
    panels = dashboard.dashboard()["panels"]
    (panel,) = [panel for panel in panels if panel["title"] == title]
    for target in panel["targets"]:
        watched[1].values(expression(target["expr"]))


def test_every_rule_is_loaded_and_healthy(watched):
    _, prometheus = watched

    def loaded():
        groups = prometheus.get("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    until(lambda: all(rule["health"] != "unknown" for rule in loaded()), otherwise=loaded)
    assert {(rule["health"], rule.get("lastError")) for rule in loaded()} == {("ok", None)}
    names = [rule.get("alert", rule.get("record")) for rule in rules()]
    assert sorted(rule["name"] for rule in loaded()) == sorted(names)
    assert set(names) >= EMPTY


def test_each_pod_that_runs_is_scraped_once_at_its_metrics_port(watched):
    _, prometheus = watched

    def scraped():
        targets = prometheus.get("targets")["activeTargets"]
        return sorted(
            (target["labels"]["instance"], target["scrapeUrl"])
            for target in targets
            if target["labels"]["job"] == "pods"
        )

    until(scraped, otherwise=scraped)
    assert scraped() == [
        ("elsewhere", "http://127.0.0.2:8000/metrics"),
        ("plain", "http://127.0.0.1:9000/metrics"),
    ]


def test_pods_bear_the_labels_that_the_rules_tell_them_apart_by(watched):
    _, prometheus = watched
    until(lambda: prometheus.values('up{job="pods"}'), otherwise=lambda: "no pod was scraped")
    for series in prometheus.get("query", query='up{job="pods"}')["result"]:
        labels = series["metric"]
        assert labels["namespace"] == "prod"
        assert labels["pod"] == labels["instance"]


@pytest.mark.nightly
def test_every_panel_and_every_rule_has_a_value_with_several_workers(tmp_path):
    command = ("-m", "sentiment", "serve", "--port", "0", "--workers", "2")
    with watched_server(tmp_path, *command) as (server, prometheus):
        server.wait_for_line("all workers are ready")
        check_answers(server, prometheus, workers=2)


@pytest.mark.nightly
def test_a_server_that_goes_is_missed(tmp_path):
    with watched_server(tmp_path) as (server, prometheus):

        def pending(alert):
            return prometheus.values(f'ALERTS{{alertname="{alert}"}}')

        until(lambda: prometheus.values("sentiment_ready") == [1], otherwise=lambda: "no scrape")
        assert not pending("SentimentTargetDown")
        server.stop()
        for alert in ("SentimentTargetDown", "SentimentAbsent", "SentimentDeploymentGone"):
            until(lambda alert=alert: pending(alert), otherwise=lambda alert=alert: alert)
        assert not pending("SentimentNoReplicaReady")
