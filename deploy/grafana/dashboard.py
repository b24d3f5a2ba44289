"""Write the Grafana dashboard: `python -m deploy.grafana.dashboard`.

Where a panel lies follows from the order. Grafana 10 and later import `dashboard.json` as it is.
"""

import json
from pathlib import Path
from typing import Any

from deploy.grafana.engine import ENGINE_ROWS
from deploy.grafana.panels import DEPLOYMENT, FIRING, Panel
from deploy.grafana.service import SERVICE_ROWS

TARGET = Path(__file__).with_name("dashboard.json")

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

COLUMNS = 24
HEIGHT = 8
STAT_HEIGHT = 4


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
        defaults["min"] = panel.minimum
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
        "gridPos": {
            "h": STAT_HEIGHT if panel.kind == "stat" else HEIGHT,
            "w": panel.width,
            "x": x,
            "y": y,
        },
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
    for title, row in {**SERVICE_ROWS, **ENGINE_ROWS}.items():
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        head = {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place}
        panels.append({**head, "collapsed": False, "panels": []})
        y += 1
        x = height = 0
        for panel in row:
            if x + panel.width > COLUMNS:
                x, y = 0, y + height
            panels.append(written(panel, number=len(panels) + 1, x=x, y=y))
            x, height = x + panel.width, panels[-1]["gridPos"]["h"]
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
                variable("namespace", "Namespace", "label_values(sentiment_ready, namespace)"),
                variable(
                    "job", "Job", 'label_values(sentiment_ready{namespace=~"$namespace"}, job)'
                ),
                variable(
                    "instance",
                    "Instance",
                    f"label_values(sentiment_ready{{{DEPLOYMENT}}}, instance)",
                ),
                variable(
                    "route",
                    "Route",
                    f"label_values(sentiment_requests_total{{{DEPLOYMENT}}}, route)",
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
                    "expr": f"ALERTS{{{FIRING}}}",
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
