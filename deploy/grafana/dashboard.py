"""Write the Grafana dashboard: `python deploy/grafana/dashboard.py`.

A panel is a title, a sentence that says how to read it, a unit and its queries; where it lies
follows from the order. Grafana 10 and later import `dashboard.json` as it is.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("dashboard.json")

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

OURS = 'job=~"$job", instance=~"$instance"'
"""What every query is narrowed by."""

ROUTED = f'{OURS}, route=~"$route"'

COLUMNS = 24
HEIGHT = 8
STAT_HEIGHT = 4


@dataclass(frozen=True)
class Query:
    """One PromQL expression and what its lines are called."""

    expr: str
    legend: str = ""
    format: str = "time_series"
    instant: bool = False


@dataclass(frozen=True)
class Panel:
    """What is drawn, and how wide of the grid's 24 columns."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    width: int = 8
    kind: str = "timeseries"
    stacked: bool = False
    thresholds: Sequence[tuple[str, float]] = ()
    """Colour from which value on, for stats and lines; green before the first."""
    maximum: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def height(self) -> int:
        return STAT_HEIGHT if self.kind == "stat" else HEIGHT


def rate(metric: str, labels: str = OURS) -> str:
    """Return a counter's growth a second."""
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


def quantiles(metric: str, labels: str = OURS) -> list[Query]:
    """Return the median, the 90th and the 99th percentile of a histogram."""
    return [
        Query(
            f"histogram_quantile({q}, sum by (le) ({rate(f'sentiment_{metric}_bucket', labels)}))",
            f"p{q * 100:.0f}",
        )
        for q in (0.5, 0.9, 0.99)
    ]


def mean(metric: str, legend: str) -> Query:
    """Return the mean of what a histogram has observed."""
    total, count = (f"sum({rate(f'sentiment_{metric}_{part}')})" for part in ("sum", "count"))
    return Query(f"{total} / {count}", legend)


WORK = f'{ROUTED}, route!~"(GET|HEAD) .*"'
"""Requests that want something classified."""

ROWS: dict[str, Sequence[Panel]] = {
    "Now": (
        Panel(
            "Ready",
            "Processes that take requests. 0 is an outage.",
            "none",
            [Query(f"sum(sentiment_ready{{{OURS}}})")],
            width=3,
            kind="stat",
            thresholds=(("red", float("-inf")), ("green", 1)),
        ),
        Panel(
            "Alerts",
            "Alerts of deploy/prometheus/rules.yaml that fire.",
            "none",
            [Query('count(ALERTS{alertname=~"Sentiment.*", alertstate="firing"}) or vector(0)')],
            width=3,
            kind="stat",
            thresholds=(("red", 1),),
        ),
        Panel(
            "Requests",
            "Requests a second that want something classified, whatever the answer.",
            "reqps",
            [Query(f"sum({rate('sentiment_requests_total', WORK)})")],
            width=3,
            kind="stat",
        ),
        Panel(
            "Texts",
            "Texts classified a second.",
            "short",
            [Query(f"sum({rate('sentiment_texts_total')})")],
            width=3,
            kind="stat",
        ),
        Panel(
            "Failed",
            "Share of requests that failed by our fault (5xx) in five minutes; objective 0.1 %.",
            "percentunit",
            [Query('max(job:sentiment_failed_requests:ratio_rate5m{job=~"$job"})')],
            width=3,
            kind="stat",
            thresholds=(("orange", 0.001), ("red", 0.0144)),
        ),
        Panel(
            "Slow",
            "Share of answers that took longer than 2.5 s in five minutes; objective 1 %.",
            "percentunit",
            [Query('max(job:sentiment_slow_requests:ratio_rate5m{job=~"$job"})')],
            width=3,
            kind="stat",
            thresholds=(("orange", 0.01), ("red", 0.144)),
        ),
        Panel(
            "Refused",
            "Share of requests refused for want of room (429) in five minutes.",
            "percentunit",
            [Query('max(job:sentiment_refused_requests:ratio_rate5m{job=~"$job"})')],
            width=3,
            kind="stat",
            thresholds=(("orange", 0.05), ("red", 0.5)),
        ),
        Panel(
            "Backlog",
            "Predicted time until everything accepted is done, at the latest replica.",
            "s",
            [Query(f"max(sentiment_backlog_seconds{{{OURS}}})")],
            width=3,
            kind="stat",
            thresholds=(("orange", 5), ("red", 8)),
        ),
    ),
    "Requests": (
        Panel(
            "Requests by route",
            "Answers a second, probes and pages included.",
            "reqps",
            [Query(f"sum by (route) ({rate('sentiment_requests_total', ROUTED)})", "{{route}}")],
            stacked=True,
        ),
        Panel(
            "Requests by status",
            "4xx is the client's fault, 429 want of room, 499 a client that hung up, 5xx our fault.",
            "reqps",
            [Query(f"sum by (status) ({rate('sentiment_requests_total', ROUTED)})", "{{status}}")],
            stacked=True,
        ),
        Panel(
            "Error budget: share of failed requests",
            "The month's objective is 0.1 %. Over 1.44 % for an hour wakes somebody.",
            "percentunit",
            [
                Query(
                    f'job:sentiment_failed_requests:ratio_rate{window}{{job=~"$job"}}',
                    f"{window} {{{{namespace}}}} {{{{job}}}}",
                )
                for window in ("5m", "1h", "6h", "3d")
            ],
            thresholds=(("orange", 0.001), ("red", 0.0144)),
        ),
        Panel(
            "Latency",
            "From a request's head to its answer's end, streams aside, which last as they like.",
            "s",
            quantiles("request_seconds", f'{WORK}, route!~".*/v1/stream"'),
        ),
        Panel(
            "Latency by route, p99",
            "Routes whose requests hold many texts take longer.",
            "s",
            [
                Query(
                    "histogram_quantile(0.99, sum by (route, le) "
                    f"({rate('sentiment_request_seconds_bucket', WORK)}))",
                    "{{route}}",
                )
            ],
        ),
        Panel(
            "Latency budget: share of slow answers",
            "Over 2.5 s, streams and articles aside. The month's objective is 1 %.",
            "percentunit",
            [
                Query(
                    f'job:sentiment_slow_requests:ratio_rate{window}{{job=~"$job"}}',
                    f"{window} {{{{namespace}}}} {{{{job}}}}",
                )
                for window in ("5m", "1h", "6h", "3d")
            ],
            thresholds=(("orange", 0.01), ("red", 0.144)),
        ),
        Panel(
            "Latency, all of it",
            "How many requests took how long; two bands are two kinds of request.",
            "s",
            [
                Query(
                    "sum by (le) (increase("
                    f"sentiment_request_seconds_bucket{{{WORK}}}[$__rate_interval]))",
                    "{{le}}",
                    format="heatmap",
                )
            ],
            kind="heatmap",
        ),
        Panel(
            "Where the time goes",
            "Means of the three parts of an answer: tokenising and waiting are of a request, a pass "
            "is of a batch.",
            "s",
            [
                mean("tokenize_seconds", "tokenising"),
                mean("queue_seconds", "waiting"),
                mean("infer_seconds", "one pass"),
            ],
        ),
        Panel(
            "Refusals by reason",
            "Requests refused, by the error's code. docs/api.md says what each means.",
            "reqps",
            [Query(f"sum by (reason) ({rate('sentiment_rejected_total')})", "{{reason}}")],
            stacked=True,
        ),
    ),
    "Queue": (
        Panel(
            "Backlog and its limit",
            "Predicted seconds until all is done. At the limit new requests get 429. Scale on this.",
            "s",
            [
                Query(f"sentiment_backlog_seconds{{{OURS}}}", "{{instance}}"),
                Query(f"min(sentiment_max_backlog_seconds{{{OURS}}})", "limit"),
            ],
        ),
        Panel(
            "Waiting texts",
            "Texts that wait for a batch.",
            "short",
            [Query(f"sentiment_queue_texts{{{OURS}}}", "{{instance}}")],
            stacked=True,
        ),
        Panel(
            "Waiting tokens",
            "Tokens that wait for a batch, those still being tokenised included.",
            "short",
            [Query(f"sentiment_queue_tokens{{{OURS}}}", "{{instance}}")],
            stacked=True,
        ),
        Panel(
            "Time in the queue",
            "From a request's tokens to the start of its first batch.",
            "s",
            quantiles("queue_seconds"),
        ),
        Panel(
            "Tokenising",
            "Of one request, waiting for a thread included.",
            "s",
            quantiles("tokenize_seconds"),
        ),
        Panel(
            "Open streams",
            "SENTIMENT_MAX_STREAMS bounds them at each process.",
            "short",
            [Query(f"sentiment_streams{{{OURS}}}", "{{instance}}")],
            stacked=True,
        ),
    ),
    "Batches": (
        Panel(
            "Engine busy",
            "Share of time in which passes run. Near 100 % the engine is what is full.",
            "percentunit",
            [
                Query(
                    f"sum by (instance) ({rate('sentiment_infer_seconds_sum')})"
                    f" / sum by (instance) (sentiment_worker_processes{{{OURS}}})",
                    "{{instance}}",
                )
            ],
            maximum=1,
        ),
        Panel(
            "Texts in a batch",
            "One while idle; it grows with the load, and that is what batching is for.",
            "short",
            [mean("batch_texts", "mean"), *quantiles("batch_texts")[1:]],
        ),
        Panel(
            "Tokens in a batch",
            "Under load close to the budget, which falls when memory runs out.",
            "short",
            [
                mean("batch_tokens", "mean"),
                *quantiles("batch_tokens")[1:],
                Query(f"min(sentiment_token_budget{{{OURS}}})", "budget"),
            ],
        ),
        Panel(
            "Tokens a second",
            "What the engine computes, padding aside.",
            "short",
            [Query(f"sum by (instance) ({rate('sentiment_batch_tokens_sum')})", "{{instance}}")],
            stacked=True,
        ),
        Panel(
            "One pass",
            "How long a batch takes in the engine.",
            "s",
            quantiles("infer_seconds"),
        ),
        Panel(
            "Padding",
            "Share of a batch's computed tokens that is padding; 0 with the engines that pack.",
            "percentunit",
            [mean("padding_ratio", "mean")],
            maximum=1,
        ),
        Panel(
            "Error of the prediction",
            "How far the predicted time of a batch was off. Admission is as good as this.",
            "percentunit",
            quantiles("prediction_error_ratio"),
        ),
        Panel(
            "Failed passes",
            "Passes a second that failed, those of the search for the culprit included.",
            "short",
            [Query(f"sum by (instance) ({rate('sentiment_failed_batches_total')})", "{{instance}}")],
        ),
        Panel(
            "Engine restarts in an hour",
            "How often the engine was lost and opened again.",
            "short",
            [
                Query(
                    "sum by (instance) "
                    f"(increase(sentiment_worker_restarts_total{{{OURS}}}[1h]))",
                    "{{instance}}",
                )
            ],
            thresholds=(("red", 2),),
        ),
    ),
    "Texts": (
        Panel(
            "Labels",
            "Share of each label among the texts classified.",
            "percentunit",
            [
                Query(
                    f"sum by (label) ({rate('sentiment_texts_total')})"
                    f" / scalar(sum({rate('sentiment_texts_total')}))",
                    "{{label}}",
                )
            ],
            stacked=True,
            maximum=1,
        ),
        Panel(
            "Drift",
            "Share of a label in the last hour less its share in the week before. An alert at 15 %.",
            "percentunit",
            [
                Query(
                    'job_label:sentiment_texts:drift{job=~"$job"}',
                    "{{label}} {{namespace}} {{job}}",
                )
            ],
        ),
        Panel(
            "Truncated",
            "Share of texts longer than the model reads, in an hour.",
            "percentunit",
            [
                Query(
                    'job:sentiment_truncated_texts:share1h{job=~"$job"}', "{{namespace}} {{job}}"
                )
            ],
            thresholds=(("orange", 0.05),),
        ),
        Panel(
            "Not computed",
            "Share of texts that cost no pass: from the cache, or shared with an equal one in flight.",
            "percentunit",
            [
                Query(
                    f"sum({rate(f'sentiment_{name}_total')}) / sum({rate('sentiment_texts_total')})",
                    legend,
                )
                for name, legend in (("cache_hits", "from the cache"), ("coalesced", "shared"))
            ],
            maximum=1,
        ),
        Panel(
            "Remembered texts",
            "SENTIMENT_CACHE_TEXTS bounds them at each process.",
            "short",
            [Query(f"sentiment_cache_texts{{{OURS}}}", "{{instance}}")],
        ),
        Panel(
            "Models",
            "What is served, and by how many targets; two rows outside of a rollout are a mistake.",
            "none",
            [
                Query(
                    "count by (name, revision, engine, precision) "
                    f"(sentiment_model_info{{{OURS}}} == 1)",
                    format="table",
                    instant=True,
                )
            ],
            kind="table",
        ),
    ),
    "Processes": (
        Panel(
            "Event loop lag",
            "How late the loop wakes a sleeper. Every answer waits for that, probes too.",
            "s",
            quantiles("event_loop_lag_seconds"),
            thresholds=(("red", 0.25),),
        ),
        Panel(
            "Cores",
            "Cores in use, of all worker processes.",
            "short",
            [Query(f"sum by (instance) ({rate('sentiment_cpu_seconds_total')})", "{{instance}}")],
            width=8,
        ),
        Panel(
            "Memory",
            "Resident memory of all worker processes, shared pages counted in each.",
            "bytes",
            [Query(f"sentiment_memory_bytes{{{OURS}}}", "{{instance}}")],
        ),
        Panel(
            "Processes",
            "As many serve as --workers says, and all of them are ready.",
            "short",
            [
                Query(f"sum(sentiment_worker_processes{{{OURS}}})", "serve"),
                Query(f"sum(sentiment_ready{{{OURS}}})", "ready"),
            ],
            width=12,
        ),
        Panel(
            "Targets that cannot be scraped",
            "Of those that were this server's within the last hour.",
            "short",
            [
                Query(
                    f"up{{{OURS}}} == bool 0 and on (namespace, job, instance) "
                    f"present_over_time(sentiment_ready{{{OURS}}}[1h])",
                    "{{instance}}",
                )
            ],
            width=12,
        ),
    ),
}


def steps(panel: Panel) -> list[dict[str, Any]]:
    """Return Grafana's thresholds: the first step has no value."""
    given = [{"color": colour, "value": value} for colour, value in panel.thresholds]
    if given and given[0]["value"] == float("-inf"):
        return [{"color": given[0]["color"], "value": None}, *given[1:]]
    return [{"color": "green", "value": None}, *given]


def drawing(panel: Panel) -> dict[str, Any]:
    """Return what depends on the kind of a panel: its options and how its fields are drawn."""
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    match panel.kind:
        case "stat":
            options: dict[str, Any] = {
                "colorMode": "value",
                "graphMode": "area",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            }
            custom: dict[str, Any] = {}
        case "heatmap":
            options = {
                "calculate": False,
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                "yAxis": {"unit": panel.unit},
                "tooltip": {"mode": "single", "show": True},
            }
            custom = {}
        case "table":
            options = {"showHeader": True}
            custom = {"align": "auto"}
        case _:
            options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
            custom = {
                "drawStyle": "line",
                "fillOpacity": 20 if panel.stacked else 0,
                "lineWidth": 1,
                "showPoints": "never",
                "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
            }
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "custom": custom,
        "thresholds": {"mode": "absolute", "steps": steps(panel)},
    }
    if panel.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        if "-" not in panel.title and panel.title != "Drift":
            defaults["min"] = 0
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    return {"options": options, "fieldConfig": {"defaults": defaults, "overrides": []}}


def written(panel: Panel, *, number: int, x: int, y: int) -> dict[str, Any]:
    """Return a panel in Grafana's form, at a place of the grid."""
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "format": query.format,
                "instant": query.instant,
                "range": not query.instant,
            }
            for index, query in enumerate(panel.queries)
        ],
        **drawing(panel),
    }


def laid_out() -> list[dict[str, Any]]:
    """Return all rows and panels, from left to right and from top to bottom."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        head = {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place}
        panels.append({**head, "collapsed": False, "panels": []})
        y += 1
        x = height = 0
        for panel in row:
            if x + panel.width > COLUMNS:
                x, y = 0, y + height
            panels.append(written(panel, number=len(panels) + 1, x=x, y=y))
            x, height = x + panel.width, panel.height
        y += height
    return panels


def variable(name: str, label: str, query: str) -> dict[str, Any]:
    """Return a variable that is filled by what Prometheus has, all of it at first."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard."""
    return {
        "uid": "sentiment",
        "title": "Financial sentiment",
        "description": "The batch server for financial sentiment: docs/metrics.md, docs/runbook.md",
        "tags": ["sentiment"],
        "schemaVersion": 38,  # Grafana 10's; later ones bring it up to date by themselves
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource"}
                | {"query": "prometheus", "current": {}, "refresh": 1},
                variable("job", "Job", "label_values(sentiment_ready, job)"),
                variable(
                    "instance", "Instance", 'label_values(sentiment_ready{job=~"$job"}, instance)'
                ),
                variable(
                    "route", "Route", 'label_values(sentiment_requests_total{job=~"$job"}, route)'
                ),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "datasource": DATASOURCE,
                    "enable": True,
                    "iconColor": "red",
                    "expr": 'ALERTS{alertname=~"Sentiment.*", alertstate="firing"}',
                    "titleFormat": "{{alertname}}",
                    "textFormat": "{{instance}} {{job}}",
                    "step": "60s",
                }
            ]
        },
        "links": [],
        "panels": laid_out(),
    }


def text() -> str:
    """Return what `dashboard.json` holds."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write it beside this file."""
    TARGET.write_text(text())


if __name__ == "__main__":
    main()
