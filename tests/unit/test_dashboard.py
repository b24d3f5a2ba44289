"""The dashboard is complete and in order, and names nothing that is not there."""

import json

import pytest

from deploy.grafana import dashboard
from tests.prometheus import recorded, rules
from tests.promql import exported, named, strangers, unfiltered

WRITTEN = json.loads(dashboard.text())
PANELS = [panel for panel in WRITTEN["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"] for variable in WRITTEN["templating"]["list"]}
KINDS = {"timeseries", "stat", "heatmap", "table"}
"""Panels that Grafana 10, 11 and 12 all bring along."""


def titled(panel):
    return panel["title"]


def test_the_dashboard_is_what_its_program_writes():
    assert dashboard.TARGET.read_text() == dashboard.text(), "python -m deploy.grafana.dashboard"


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_every_panel_says_what_it_shows_and_in_which_unit(panel):
    assert panel["type"] in KINDS
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert "libraryPanel" not in panel


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_every_panel_asks_the_data_source_that_was_chosen(panel):
    for asked in (panel, *panel["targets"]):
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    names = [target["refId"] for target in panel["targets"]]
    assert names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_lines_of_one_panel_can_be_told_apart(panel):
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends)
    if panel["type"] == "timeseries":
        assert "__auto" not in legends


def test_no_two_panels_overlap_or_leave_the_grid():
    taken = {}
    for panel in WRITTEN["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in WRITTEN["panels"]}) == len(WRITTEN["panels"])


def test_every_row_is_full():
    for row, following in zip(WRITTEN["panels"], WRITTEN["panels"][1:], strict=False):
        if following["type"] == "row":
            assert row["gridPos"]["x"] + row["gridPos"]["w"] == 24, row["title"]


def test_titles_are_unique():
    titles = [panel["title"] for panel in WRITTEN["panels"] if panel["type"] != "row"]
    assert len(set(titles)) == len(titles)


def test_variables_are_those_that_the_queries_use():
    asked = json.dumps([WRITTEN["panels"], WRITTEN["templating"]])
    assert {"datasource", "namespace", "job", "instance", "route"} == VARIABLES
    assert all(f"${name}" in asked or f"${{{name}}}" in asked for name in VARIABLES)


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_every_panel_shows_the_namespace_and_the_job_that_were_chosen(panel):
    for target in panel["targets"]:
        for name, labels in named(target["expr"]).selectors:
            assert labels >= {"namespace", "job"}, name


def test_alerts_that_no_deployment_bears_are_shown_whatever_was_chosen():
    # Such as that Prometheus sees none at all: a label that is not there matches what is empty.
    (shown,) = WRITTEN["annotations"]["list"]
    (counted,) = [panel for panel in PANELS if panel["title"] == "Alerts"]
    for expression in (shown["expr"], counted["targets"][0]["expr"]):
        for label in ("namespace", "job"):
            assert f'{label}=~"${label}|"' in expression


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_no_quantile_is_of_a_histogram_that_begins_with_whole_numbers(panel):
    # Between 0 and its first bound Prometheus interpolates: half a text in a batch.
    for target in panel["targets"]:
        if "histogram_quantile" in target["expr"]:
            assert "sentiment_batch_texts" not in target["expr"]


def test_the_backlog_is_held_against_its_own_limit():
    (panel,) = [panel for panel in PANELS if panel["title"] == "Backlog"]
    assert "/ sentiment_max_backlog_seconds{" in panel["targets"][0]["expr"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, 0.5, 0.8]


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_no_panel_names_a_metric_or_label_that_nobody_exports(panel):
    for target in panel["targets"]:
        assert not strangers(target["expr"], recorded()), target["expr"]


def test_no_variable_names_a_metric_or_label_that_nobody_exports():
    for variable in WRITTEN["templating"]["list"]:
        if variable["type"] == "query":
            expression, _, label = (
                variable["definition"].removeprefix("label_values(")[:-1].rpartition(", ")
            )
            assert not strangers(f"sum by ({label}) ({expression})", recorded())


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("record", rule.get("alert")))
def test_no_rule_names_a_metric_or_label_that_nobody_exports(rule):
    assert not strangers(rule["expr"], recorded())


def test_every_metric_of_the_server_is_looked_at():
    looked_at = {
        name
        for expression in (
            *(target["expr"] for panel in PANELS for target in panel["targets"]),
            *(rule["expr"] for rule in rules()),
        )
        for name, _ in named(expression).selectors
    }
    families = {name.removesuffix("_sum").removesuffix("_count") for name in exported()}
    missed = {
        family
        for family in families - {f for f in families if f.endswith("_bucket")}
        if not any(name.startswith(family) for name in looked_at)
    }
    assert not missed


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("sum(rate(sentiment_text_total[5m]))", {"sentiment_text_total"}),
        ('sentiment_texts_total{lable="x"}', {"sentiment_texts_total{lable}"}),
        ("sum by (lable) (rate(sentiment_texts_total[5m]))", {"lable"}),
        ("sum by (label, job) (rate(sentiment_texts_total[$__rate_interval]))", set()),
        ("job:sentiment_texts:rate9m", {"job:sentiment_texts:rate9m"}),
        (
            'up{job="a"} == 0 and on (job) sentiment_ready{status="a:b c{d}"}',
            {"sentiment_ready{status}"},
        ),
        ("sentiment_backlog_seconds offset 5m > 1000 or vector(0)", set()),
    ],
)
def test_what_nobody_exports_is_found(expression, found):
    assert strangers(expression, recorded()) == found


@pytest.mark.parametrize(
    ("expression", "changed"),
    [
        ('a > 1 and b{c=~"d", e!="f"} >= 2', 'a > bool 1 and b{c=~"d", e!="f"} >= bool 2'),
        ("a == 0 or b < bool c", "a == bool 0 or b < bool c"),
    ],
)
def test_comparisons_that_filter_become_answers(expression, changed):
    assert unfiltered(expression) == changed
