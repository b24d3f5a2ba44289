"""What a dashboard is made of: panels, and queries for the usual ones.

A panel is a title, a sentence that says how to read it, a unit and its queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

DEPLOYMENT = 'namespace=~"$namespace", job=~"$job"'
"""What recorded series, which are of whole deployments, are narrowed by."""

OURS = f'{DEPLOYMENT}, instance=~"$instance"'
"""What every other query is narrowed by."""

FIRING = 'alertname=~"Sentiment.*", alertstate="firing", namespace=~"$namespace|", job=~"$job|"'
"""Alerts of what was chosen, and those that no deployment bears."""

ROUTED = f'{OURS}, route=~"$route"'

WORK = f'{ROUTED}, route!~"(GET|HEAD) .*"'
"""Requests that want something classified."""

ANSWERED = f'{WORK}, outcome="answered"'
"""Those that got it: refusals are quick, and would make an overloaded server look so."""


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
    minimum: float | None = 0
    maximum: float | None = None


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
