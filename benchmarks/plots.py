"""Plots of what was measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from benchmarks.scaling import Sweep

TITLES = {
    "texts": "Number of texts",
    "length": "Length of a text",
    "array": "Size of an array, one request at a time",
    "clients": "Single texts, so many requests at a time",
}


def draw(sweeps: Mapping[str, "Sweep"], path: Path, *, title: str) -> None:
    """Draw a panel for each sweep, with a line of slope 1 through its last point."""
    matplotlib.use("Agg")
    figure, panels = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    figure.suptitle(title)
    for panel, (name, sweep) in zip(panels.flat, sweeps.items(), strict=True):
        sizes, costs = sweep.sizes, sweep.costs
        linear = [costs[-1] * size / sizes[-1] for size in sizes]
        panel.plot(sizes, linear, "--", color="0.6", label="linear (slope 1)")
        panel.plot(sizes, costs, "o-", label=f"measured (slope {sweep.slope:.2f})")
        panel.axvspan(sweep.linear_from, sizes[-1], color="0.95", zorder=0)
        panel.set(
            xscale="log",
            yscale="log",
            title=TITLES[name],
            xlabel=sweep.x_name,
            ylabel=sweep.y_name,
            ylim=(min(costs) / 2, max(costs) * 2),
        )
        panel.grid(which="major", color="0.9")
        panel.legend(loc="upper left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
