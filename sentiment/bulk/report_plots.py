"""Plots of a report on scored rows."""

import unicodedata
from collections.abc import Sequence
from math import ceil, floor
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from sentiment.bulk.periods import Periods
from sentiment.bulk.summary import SCORE_BINS, Group, Summary
from sentiment.documents import NEGATIVE, POSITIVE
from sentiment.training.look import COLOURS, house_look, save

GREEN, VERMILION, GREY = "#009E73", "#D55E00", "#B0B5BA"
LABEL_COLOURS = {POSITIVE: GREEN, NEGATIVE: VERMILION, "neutral": GREY}
"""Told apart with any colour vision, as `COLOURS` are."""

NETS = LinearSegmentedColormap.from_list("net", [VERMILION, "#D9DCDF", GREEN])
"""From a net sentiment of the plot's least to its greatest, zero in the middle."""

WIDTH = 9.0
NAME_CHARACTERS = 18
TICKS = 8
FEW_POINTS = 40
"""So many get a marker each."""


def draw_plots(
    folder: Path, summary: Summary, *, periods: Periods | None, tickers: Sequence[Group]
) -> dict[str, str]:
    """Draw what there is to see into `folder`.

    Args:
        folder: that is there.
        summary: with at least one scored row.
        periods: of the days; `None` where no row has one.
        tickers: to show, in their order.

    Returns:
        File names by kind: `labels`, `scores`; `days` where there are several periods, and
        `tickers` where there are any.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    names = [each.label for each in summary.labels]
    colours = label_colours(names)
    with house_look():
        drawn = {
            "labels": save(_labels(summary, colours), folder / "labels.png"),
            "scores": save(_scores(summary), folder / "scores.png"),
        }
        if periods is not None and len(periods.groups) > 1:
            drawn["days"] = save(_days(periods, names, colours), folder / "days.png")
        if tickers:
            drawn["tickers"] = save(_tickers(tickers), folder / "tickers.png")
    return drawn


def label_colours(labels: Sequence[str]) -> list[str]:
    """Return a colour for each label: those of sentiment are fixed, others get any."""
    return [
        LABEL_COLOURS.get(label, COLOURS[index % len(COLOURS)])
        for index, label in enumerate(labels)
    ]


def _labels(summary: Summary, colours: Sequence[str]) -> Figure:
    """Draw a bar a label, its length the share of rows."""
    figure = Figure(figsize=(WIDTH, 0.7 + 0.42 * len(summary.labels)), layout="constrained")
    panel = figure.subplots()
    shares = [each.share or 0.0 for each in summary.labels]
    panel.barh(range(len(shares)), shares, height=0.68, color=colours)
    for place, each in enumerate(summary.labels):
        said = f" {100 * shares[place]:.1f} %, {each.rows:,}"
        panel.text(shares[place], place, said, va="center")
    panel.set_yticks(range(len(shares)), [shown(each.label) for each in summary.labels])
    panel.tick_params(axis="y", length=0)
    panel.set(ylim=(len(shares) - 0.5, -0.5), xlim=(0, 1.22 * max(shares)))
    panel.set_xlabel("share of the scored rows")
    _in_per_cent(panel, "x")
    panel.grid(axis="x")
    return figure


def _scores(summary: Summary) -> Figure:
    """Draw how often the model was how sure."""
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    panel = figure.subplots()
    shares = np.array(summary.score_histogram) / summary.scored
    width = 1 / SCORE_BINS
    edges = np.arange(SCORE_BINS) * width
    panel.bar(edges, shares, width=width, align="edge", color=COLOURS[0], edgecolor="white")
    # A score is at least the reciprocal of the number of labels: to its left there is nothing.
    first = int(np.flatnonzero(shares)[0])
    panel.set(xlim=(min(edges[first], 0.3), 1), xlabel="score: probability of the label")
    panel.set_ylabel("share of rows")
    _in_per_cent(panel, "y")
    panel.grid(axis="y")
    return figure


def _days(periods: Periods, labels: Sequence[str], colours: Sequence[str]) -> Figure:
    """Draw the net sentiment over time, and below it the rows by label."""
    nets = [each.net for each in periods.groups]
    with_net = None not in nets
    figure = Figure(figsize=(WIDTH, 4.6 if with_net else 2.2), layout="constrained")
    ratios = [2, 1] if with_net else [1]
    panels = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)
    if with_net:
        _net_over_time(panels[0, 0], periods)
    counts = panels[-1, 0]
    lengths = np.diff([*periods.starts, periods.starts[-1] + _last_length(periods)])
    widths = 0.85 * float(lengths.min())
    bottom = np.zeros(len(periods.groups))
    for index, (label, colour) in enumerate(zip(labels, colours, strict=True)):
        heights = np.array([each.label_counts[index] for each in periods.groups])
        counts.bar(periods.starts, heights, widths, bottom=bottom, color=colour, label=shown(label))
        bottom += heights
    counts.set_ylabel(f"rows a {periods.unit}")
    counts.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    counts.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    counts.grid(axis="y")
    margin = 0.6 * float(lengths.min()) + 0.01 * (periods.starts[-1] - periods.starts[0])
    counts.set_xlim(periods.starts[0] - margin, periods.starts[-1] + margin)
    ticks = _spread(periods.starts)
    counts.set_xticks(
        [periods.starts[place] for place in ticks], [periods.groups[place].name for place in ticks]
    )
    handles, names = counts.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(labels))
    return figure


def _net_over_time(panel: Axes, periods: Periods) -> None:
    marker = "o" if len(periods.groups) <= FEW_POINTS else ""
    panel.axhline(0, color="0.6", linewidth=0.8)
    panel.plot(
        periods.starts,
        [each.net for each in periods.groups if each.net is not None],
        color=COLOURS[0],
        marker=marker,
        markersize=4,
        linewidth=1.4,
    )
    panel.set_ylabel(f"net sentiment of a {periods.unit}")
    _signed(panel, "y")
    panel.tick_params(axis="x", length=0)
    panel.grid(axis="y")


def _last_length(periods: Periods) -> int:
    return {"day": 1, "week": 7, "month": 28, "year": 365}[periods.unit]


def _spread(starts: Sequence[int]) -> list[int]:
    """Return the places of some, far enough apart for their names to stand side by side."""
    gap = (starts[-1] - starts[0]) / TICKS
    chosen = [0]
    for place in range(1, len(starts)):
        if starts[place] - starts[chosen[-1]] >= gap:
            chosen.append(place)
    return chosen


def _tickers(tickers: Sequence[Group]) -> Figure:
    """Draw a bar a ticker: its net sentiment, or its rows for a model that has none."""
    figure = Figure(figsize=(WIDTH, 0.8 + 0.27 * len(tickers)), layout="constrained")
    panel = figure.subplots()
    places = range(len(tickers))
    nets = [each.net for each in tickers if each.net is not None]
    if nets:
        # In tenths: a plot of hardly any sentiment should look like it.
        least, most = min(0, floor(10 * min(nets))) / 10, max(0, ceil(10 * max(nets))) / 10
        reach = max(-least, most) or 0.1
        panel.barh(places, nets, height=0.72, color=[NETS(0.5 + net / reach / 2) for net in nets])
        panel.axvline(0, color="0.4", linewidth=0.8)
        panel.set(xlim=(least, most if most > least else reach), xlabel="net sentiment")
        _signed(panel, "x")
    else:
        panel.barh(places, [each.rows for each in tickers], height=0.72, color=COLOURS[0])
        panel.set(xlabel="rows")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    panel.set_yticks(places, [shown(each.name) for each in tickers])
    panel.tick_params(axis="y", length=0)
    panel.set(ylim=(len(tickers) - 0.4, -0.6))
    counts = panel.secondary_yaxis("right")
    counts.set_yticks(places, [f"{each.rows:,}" for each in tickers])
    counts.tick_params(axis="y", length=0, labelcolor="0.35")
    counts.set_ylabel("rows", color="0.35")
    counts.spines["right"].set_visible(False)
    panel.grid(axis="x")
    return figure


def _signed(panel: Axes, axis: str) -> None:
    which = panel.xaxis if axis == "x" else panel.yaxis
    which.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    # Three digits, because what a tick is off in floating point is no digit of it.
    which.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:+.3g}" if abs(value) > 1e-9 else "0")
    )


def _in_per_cent(panel: Axes, axis: str) -> None:
    which = panel.xaxis if axis == "x" else panel.yaxis
    which.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def shown(name: str) -> str:
    """Return a name in one short line, without what has no shape."""
    flat = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(each)[0] == "C" else each
        for each in " ".join(name.split())
    )
    return flat if len(flat) <= NAME_CHARACTERS else f"{flat[: NAME_CHARACTERS - 3]}..."
