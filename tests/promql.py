"""What PromQL expressions name: as much of the grammar as this project's own expressions use."""

import re
from dataclasses import dataclass
from functools import cache

from sentiment.metrics import Metrics

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
GROUPING = re.compile(r"\b(?:by|on|group_left)\s*\(([^)]*)\)")
TIMES = re.compile(r"\[[^]]*\]|\boffset \w+")
NAME = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^{}]*\})?(\s*\()?")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
OPERATORS = {"and", "or", "unless", "bool"}

COMPARISON = re.compile(r"(?<![=!<>])(==|<|>=|>)(?![=~])(?!\s*bool)")
"""One that filters; inside braces `=~`, `!~` and `=` are none."""

TARGET_LABELS = {"job", "instance", "namespace", "pod"}
"""What Prometheus adds to whatever is scraped, here and in a cluster."""

OF_PROMETHEUS = {
    "up": TARGET_LABELS,
    "ALERTS": {"alertname", "alertstate", "severity"} | TARGET_LABELS,
}

LEVELS = {
    "job": {"namespace", "job"},
    "job_label": {"namespace", "job", "label"},
    "instance": TARGET_LABELS,
}
"""What recorded series are called by: the labels that they have."""


@dataclass(frozen=True)
class Named:
    """What an expression names."""

    selectors: tuple[tuple[str, frozenset[str]], ...]
    """Each metric, with the labels that it is narrowed by."""
    grouping: frozenset[str]


def named(expression: str) -> Named:
    """Return the metrics and labels of an expression."""
    bare = TIMES.sub("", STRING.sub('""', expression))
    grouping = {label.strip() for found in GROUPING.findall(bare) for label in found.split(",")}
    selectors = [
        (name, frozenset(MATCHER.findall(braces)))
        for name, braces, call in NAME.findall(GROUPING.sub("", bare))
        if not call and name not in OPERATORS
    ]
    return Named(tuple(selectors), frozenset(grouping - {""}))


def unfiltered(expression: str) -> str:
    """Return the expression with comparisons that say 0 or 1 in place of those that filter.

    It has a value wherever both sides of each comparison have one: what is empty in good times
    can so be told from what is always empty.
    """
    return COMPARISON.sub(r"\1 bool", expression)


@cache
def exported() -> dict[str, set[str]]:
    """Return the labels of every series that the server exports, those of targets included."""
    series: dict[str, set[str]] = {}
    for metric in vars(Metrics()).values():
        name = getattr(metric, "_name", None)
        if name is None:
            continue
        labels = {*metric._labelnames, *TARGET_LABELS}
        match metric._type:
            case "counter":
                series[f"{name}_total"] = labels
            case "histogram":
                series[f"{name}_sum"] = series[f"{name}_count"] = labels
                series[f"{name}_bucket"] = labels | {"le"}
            case _:
                series[name] = labels
    return series


def strangers(expression: str, recorded: set[str]) -> set[str]:
    """Return the metrics and labels that an expression names and nobody exports or records."""
    known = {
        **exported(),
        **OF_PROMETHEUS,
        **{name: LEVELS[name.partition(":")[0]] for name in recorded},
    }
    found = named(expression)
    strange = {name for name, _ in found.selectors if name not in known}
    for name, labels in found.selectors:
        strange |= {f"{name}{{{label}}}" for label in labels - known.get(name, labels)}
    had = set().union(*(known.get(name, set()) for name, _ in found.selectors))
    return strange | (found.grouping - had)
