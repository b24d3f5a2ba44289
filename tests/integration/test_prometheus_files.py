"""Rules, scrape examples and resources, as Prometheus' own checker sees them."""

import logging
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import yaml

from deploy.grafana import dashboard
from deploy.prometheus.resources import FOLDER, resources
from sentiment.logs import JsonFormatter
from sentiment.metrics import Metrics
from tests.prometheus import promtool, recorded, rules
from tests.promql import strangers

ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
TESTS = sorted((FOLDER / "tests").glob("*.yaml"))
SEVERITIES = {"critical", "warning", "info"}


def test_the_rules_are_sound():
    assert not promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")


@pytest.fixture(scope="module")
def verdicts():
    """What is wrong with each file of cases; they take seconds, so several run at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return dict(zip(TESTS, threads.map(partial(promtool, "test", "rules"), TESTS), strict=True))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(verdicts, path):
    assert not verdicts[path]


def test_every_alert_is_seen_to_fire_and_to_be_silent():
    seen = {
        (case["alertname"], bool(case.get("exp_alerts")))
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
    }
    assert seen == {(alert, fires) for alert in ALERTS for fires in (True, False)}


def test_groups_are_tested_in_the_order_in_which_they_are_written():
    groups = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]
    for path in TESTS:
        order = yaml.safe_load(path.read_text())["group_eval_order"]
        assert order == [group["name"] for group in groups], path.name


def test_the_scrape_example_is_sound():
    assert not promtool("check", "config", "prometheus.yaml")


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_how_bad_it_is_what_happens_and_what_to_do(repository, alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in SEVERITIES
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url"}
    page, _, anchor = notes["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    assert anchor == alert.lower()
    section = sections(repository)[alert]
    assert section.startswith(f"**{rule['labels']['severity']}**")


def test_the_runbook_has_a_section_for_every_alert_and_no_other(repository):
    alerts = [title for title in sections(repository) if title.startswith("Sentiment")]
    assert sorted(alerts) == sorted(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_section_of_the_runbook_says_how_to_look_and_what_to_do(repository, alert):
    section = sections(repository)[alert]
    for part in ("Look:", "Causes:", "Do:"):
        assert part in section
    assert "`" in section.partition("Look:")[2]


def test_queries_of_the_runbook_name_what_there_is(repository):
    page = runbook(repository)
    queries = re.findall(r"```promql\n(.*?)```", page, re.DOTALL)
    assert queries
    for query in queries:
        for line in query.strip().splitlines():
            assert not strangers(line, recorded()), line


def runbook(repository):
    return (repository / "docs/runbook.md").read_text()


def sections(repository):
    """Return the text of each section of the runbook by its title."""
    found = re.split(r"^##+ (.+)\n+", runbook(repository), flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def test_the_first_command_of_the_runbook_finds_the_lines_that_matter(repository):
    (pattern,) = re.findall(r"kubectl logs .* grep -E '(.+)'", runbook(repository))
    lines = [
        JsonFormatter().format(logging.makeLogRecord({"levelname": level, "msg": level.lower()}))
        for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    ]
    found = subprocess.run(
        ["grep", "-E", pattern], input="\n".join(lines), capture_output=True, text=True
    )
    assert found.stdout.splitlines() == lines[2:]


def test_every_bound_that_is_named_is_one_that_the_server_writes(repository):
    metrics = Metrics()
    metrics.request_seconds.labels(*metrics.request_seconds._labelnames)
    shown = metrics.exposition().decode()
    written = set(re.findall(r'sentiment_request_seconds_bucket{.*le="([^"]+)"', shown))
    for name, text in {
        "the runbook": runbook(repository),
        "the rules": (FOLDER / "rules.yaml").read_text(),
        "the dashboard": dashboard.text().replace(r"\"", '"'),
        **{path.name: path.read_text() for path in TESTS},
    }.items():
        named = set(re.findall(r'\ble="([^"]+)"', text))
        assert not named - written, name
    assert "5.0" in written
    assert "5" not in written


def test_resources_of_kubernetes_hold_the_same_rules():
    rules_themselves = yaml.safe_load((FOLDER / "rules.yaml").read_text())
    for path, text in resources().items():
        assert (FOLDER / path).read_text() == text, "python -m deploy.prometheus.resources"
        assert yaml.safe_load(text)["spec"] == rules_themselves


@pytest.mark.parametrize("path", resources())
def test_each_resource_is_listed_beside_it(path):
    listed = yaml.safe_load((FOLDER / path).with_name("kustomization.yaml").read_text())
    assert listed["resources"] == [(FOLDER / path).name]


def test_the_checker_finds_a_mistake(tmp_path):
    broken = tmp_path / "rules.yaml"
    broken.write_text("groups: [{name: a, rules: [{record: a, expr: sum(}]}]")
    assert "parse error" in promtool("check", "rules", broken)
