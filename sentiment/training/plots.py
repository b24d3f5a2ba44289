"""Plots of an evaluation."""

from collections.abc import Sequence
from math import ceil, floor, nan
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from sentiment.predictions import LABELS
from sentiment.training.evaluation import model_names
from sentiment.training.look import COLOURS, house_look, save
from sentiment.training.textsets import set_title

MARKERS = "osD^vP"
"""For prints in grey, and where there are more models than colours."""

FIGURE_NAMES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "weighted_f1": "Weighted F1"}
COLUMNS = 4
MARGIN = 0.03
"""Beyond 0 and 1, for markers that lie there."""
QUARTERS = (0, 0.25, 0.5, 0.75, 1)
FEW_TEXTS = 10
"""A bin of fewer is drawn pale: its accuracy is mostly chance."""


def draw_plots(folder: Path, evaluation: dict[str, Any]) -> dict[str, list[str]]:
    """Draw every plot of an evaluation into `folder`.

    Returns:
        File names by kind: `overview`, `labels`, `groups` (one each; `groups` none where nothing
        is known to group by), `confusion` and `reliability` (one a model, in their order).
    """
    drawn: dict[str, list[str]] = {"confusion": [], "reliability": []}
    with house_look():
        drawn["overview"] = [save(_overview(evaluation), folder / "overview.png")]
        drawn["labels"] = [save(_labels(evaluation), folder / "labels.png")]
        drawn["groups"] = [save(_groups(evaluation), folder / "groups.png")]
        for number, entry in enumerate(evaluation["models"], start=1):
            for kind, figure in (
                ("confusion", _confusion(evaluation, entry)),
                ("reliability", _reliability(evaluation, entry)),
            ):
                drawn[kind].append(save(figure, folder / f"{kind}-{number}.png"))
    return drawn


def _overview(evaluation: dict[str, Any]) -> Figure:
    """Draw the three figures of every set, a marker a model."""
    sets = evaluation["sets"]
    names = model_names(evaluation)
    height = 1.3 + len(sets) * (0.3 + 0.17 * len(names))
    figure = Figure(figsize=(11, height), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True, sharex=True)
    for panel, (key, title) in zip(panels, FIGURE_NAMES.items(), strict=True):
        for index, entry in enumerate(evaluation["models"]):
            parts = [entry["parts"][each["name"]] for each in sets]
            _dots(
                panel,
                [(part[key], part["intervals"][key]) for part in parts],
                index,
                count=len(names),
                name=names[index],
            )
        panel.set(title=title)
        _rows(panel, [f"{set_title(each['name'])}\n{each['texts']:,} texts" for each in sets])
        first = next((i for i, each in enumerate(sets) if each["kind"] == "benchmark"), 0)
        if first:
            panel.axhline(first - 0.5, color="0.6", linewidth=0.8, linestyle=":")
    lowest = min(
        part["intervals"][key][0]
        for entry in evaluation["models"]
        for part in entry["parts"].values()
        for key in FIGURE_NAMES
    )
    panels[0].set_xlim(floor(10 * lowest) / 10 - MARGIN, 1 + MARGIN)
    _legend(figure, panels[0], names)
    return figure


def _labels(evaluation: dict[str, Any]) -> Figure:
    """Draw F1 of each label in a panel a set, a marker a model."""
    sets = evaluation["sets"]
    names = model_names(evaluation)
    figure, panels = _grid(len(sets), width=2.9, height=1.3 + 0.5 * len(names))
    for panel, each in zip(panels, sets, strict=False):
        for index, entry in enumerate(evaluation["models"]):
            labels = entry["parts"][each["name"]]["labels"].values()
            _dots(
                panel,
                # Of a label that a set does not have there is no F1.
                [
                    (of["f1"], of["f1_interval"]) if of["texts"] else (nan, (nan, nan))
                    for of in labels
                ],
                index,
                count=len(names),
                name=names[index],
            )
        panel.set(title=set_title(each["name"]), xlim=(-MARGIN, 1 + MARGIN), xticks=QUARTERS)
        _rows(panel, [f"{label} ({each['labels'][label]:,})" for label in LABELS])
    for panel in panels[max(0, len(sets) - COLUMNS) : len(sets)]:
        panel.set_xlabel("F1")
        panel.tick_params(labelbottom=True)  # though an unseen panel lies below
    _legend(figure, panels[0], names)
    return figure


def _groups(evaluation: dict[str, Any]) -> Figure:
    """Draw accuracy by agreement of the annotators and by length, on the main set."""
    main, names = evaluation["main_set"], model_names(evaluation)
    kinds = {
        "by_agreement": "Agreement of the annotators, at least",
        "by_words": "Words of the text",
    }
    parts = [entry["parts"][main] for entry in evaluation["models"]]
    known = {kind: title for kind, title in kinds.items() if parts[0][kind]}
    figure = Figure(figsize=(5.2 * len(known), 3.8), layout="constrained")
    panels = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
    for panel, (kind, title) in zip(panels, known.items(), strict=True):
        groups = parts[0][kind]
        for index, part in enumerate(parts):
            _dots(
                panel,
                [
                    (part[kind][key]["accuracy"], part[kind][key]["intervals"]["accuracy"])
                    for key in groups
                ],
                index,
                count=len(names),
                name=names[index],
                upright=True,
            )
        unit = " %" if kind == "by_agreement" else ""
        panel.set(xlabel=title, xlim=(-0.5, len(groups) - 0.5))
        panel.set_xticks(
            range(len(groups)),
            [f"{key}{unit}\n{group['texts']:,} texts" for key, group in groups.items()],
        )
        panel.grid(axis="y")
    panels[0].set_ylabel(f"Accuracy ({set_title(main)})")
    _legend(figure, panels[0], names)
    return figure


def _confusion(evaluation: dict[str, Any], entry: dict[str, Any]) -> Figure:
    """Draw a model's confusion matrices, coloured by the share of the expected label."""
    sets = evaluation["sets"]
    figure, panels = _grid(len(sets), width=2.9, height=3.0)
    for position, (panel, each) in enumerate(zip(panels, sets, strict=False)):
        counts = np.array(entry["parts"][each["name"]]["confusion"]["counts"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            panel.text(
                column,
                row,
                f"{100 * share:.0f} %\n{counts[row, column]:,}",
                ha="center",
                va="center",
                color="white" if share > 0.6 else "black",
            )
        panel.set(title=f"{set_title(each['name'])} ({each['texts']:,})")
        panel.set_xticks(range(len(LABELS)), LABELS)
        panel.set_yticks(range(len(LABELS)), LABELS, rotation=90, va="center")
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        if position % COLUMNS == 0:
            panel.set_ylabel("expected")
        if position + COLUMNS >= len(sets):
            panel.set_xlabel("predicted")
            panel.tick_params(labelbottom=True)  # though an unseen panel lies below
    return figure


def _reliability(evaluation: dict[str, Any], entry: dict[str, Any]) -> Figure:
    """Draw accuracy against confidence, and below how often each confidence occurs."""
    sets = evaluation["sets"]
    columns, rows = min(COLUMNS, len(sets)), ceil(len(sets) / COLUMNS)
    figure = Figure(figsize=(0.5 + 2.9 * columns, 3.9 * rows), layout="constrained")
    panels = figure.subplots(
        2 * rows, columns, sharex=True, squeeze=False, height_ratios=[3, 1] * rows
    )
    for panel in panels.flat:
        panel.set_visible(False)
    for position, each in enumerate(sets):
        row, column = divmod(position, COLUMNS)
        diagram, histogram = panels[2 * row, column], panels[2 * row + 1, column]
        part = entry["parts"][each["name"]]
        _diagram(diagram, part)
        _histogram(histogram, part)
        diagram.set(title=f"{set_title(each['name'])} ({each['texts']:,})")
        if column == 0:
            diagram.set_ylabel("accuracy")
            histogram.set_ylabel("texts")
        if position + COLUMNS >= len(sets):
            histogram.set_xlabel("confidence")
            histogram.tick_params(labelbottom=True)
    tallest = max(
        each["texts"] / part["texts"]
        for part in entry["parts"].values()
        for each in part["reliability"]
    )
    for histogram in panels[1::2].flat:
        histogram.set_ylim(0, 1.05 * tallest)
    handles = [
        Patch(color=COLOURS[0], label="accuracy"),
        Patch(color=(COLOURS[0], 0.3), label=f"of fewer than {FEW_TEXTS} texts"),
        Patch(facecolor="none", edgecolor=COLOURS[1], hatch="////", label="gap to confidence"),
        Line2D([], [], color="0.3", linestyle="--", linewidth=1, label="confidence = accuracy"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=(1, 2, 2, 4)[columns - 1])
    return figure


def _diagram(panel: Axes, part: dict[str, Any]) -> None:
    bins = part["reliability"]
    lefts = [each["from"] for each in bins]
    width = bins[0]["to"] - bins[0]["from"]
    accuracies = np.array([each["accuracy"] for each in bins])
    confidences = np.array([each["confidence"] for each in bins])
    bars = {"x": lefts, "width": width, "align": "edge"}
    alphas = [1.0 if each["texts"] >= FEW_TEXTS else 0.3 for each in bins]
    colours = [(COLOURS[0], alpha) for alpha in alphas]
    panel.bar(height=accuracies, color=colours, edgecolor="white", **bars)
    panel.bar(
        height=confidences - accuracies,
        bottom=accuracies,
        color="none",
        edgecolor=[(COLOURS[1], alpha) for alpha in alphas],
        hatch="////",
        linewidth=0.8,
        **bars,
    )
    panel.plot([0, 1], [0, 1], "--", color="0.3", linewidth=1)
    panel.text(
        0.05,
        0.95,
        f"ECE {part['ece']:.3f}",
        transform=panel.transAxes,
        va="top",
        weight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2},
    )
    panel.set(xlim=(0.3, 1), ylim=(0, 1.02), visible=True)
    panel.grid(axis="y")


def _histogram(panel: Axes, part: dict[str, Any]) -> None:
    bins = part["reliability"]
    panel.bar(
        [each["from"] for each in bins],
        [each["texts"] / part["texts"] for each in bins],
        width=bins[0]["to"] - bins[0]["from"],
        align="edge",
        color="0.65",
        edgecolor="white",
    )
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.set(visible=True)
    panel.grid(axis="y")


def _dots(
    panel: Axes,
    points: Sequence[tuple[float, Sequence[float]]],
    index: int,
    *,
    count: int,
    name: str,
    upright: bool = False,
) -> None:
    """Draw one model's values with their intervals, beside those of the other models."""
    offset = (index - (count - 1) / 2) * min(0.2, 0.7 / count)
    places = np.arange(len(points)) + offset
    values = np.array([value for value, _ in points])
    ends = np.array([interval for _, interval in points])
    errors = np.abs(ends.T - values)
    x, y = (places, values) if upright else (values, places)
    panel.errorbar(
        x,
        y,
        **{"yerr" if upright else "xerr": errors},
        fmt=MARKERS[index % len(MARKERS)],
        color=COLOURS[index % len(COLOURS)],
        markersize=6,
        elinewidth=1.6,
        capsize=3,
        label=name,
    )


def _rows(panel: Axes, titles: Sequence[str]) -> None:
    panel.set_yticks(range(len(titles)), titles)
    panel.set_ylim(len(titles) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x")


def _legend(figure: Figure, panel: Axes, names: Sequence[str]) -> None:
    if len(names) > 1:
        handles, labels = panel.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(names)))


def _grid(count: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of at least `count` panels, four in a row; the others are not shown."""
    columns, rows = min(COLUMNS, count), ceil(count / COLUMNS)
    figure = Figure(figsize=(0.5 + width * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten().tolist()
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels
