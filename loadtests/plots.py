"""One picture of a run: rates and latencies by step, and what happened second by second."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from loadtests.figures import HOSTILE, LATENCIES_OF, StepFigures
from loadtests.samples import Sample, Stage

DPI = 80


def draw(
    path: Path,
    *,
    samples: Sequence[Sample],
    stages: Sequence[Stage],
    steps: Sequence[StepFigures],
    knee: int | None,
    title: str,
) -> None:
    """Draw four panels into a PNG."""
    matplotlib.use("Agg")
    figure, panels = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    figure.suptitle(title)
    _rates(panels[0, 0], steps)
    _latencies(panels[0, 1], steps)
    if knee is not None:
        for panel in panels[0]:
            panel.axvline(knee, color="0.6", linestyle=":", zorder=0)
            panel.text(knee, 0.02, " knee", transform=panel.get_xaxis_transform(), color="0.4")
    _throughput_over_time(panels[1, 0], samples, stages)
    _latency_over_time(panels[1, 1], samples, stages)
    for panel in panels.flat:
        panel.grid(which="major", color="0.9")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _rates(panel: Axes, steps: Sequence[StepFigures]) -> None:
    places = _label_steps(panel, steps)
    panel.plot(places, [step.offered_texts_s for step in steps], "--", color="0.6", label="offered")
    panel.plot(places, [step.answered_texts_s for step in steps], "o-", label="answered")
    panel.set(title="Texts a second", ylim=(0, None))
    refusals = panel.twinx()
    refusals.bar(places, [step.refused * 100 for step in steps], 0.4, color="tab:red", alpha=0.4)
    refusals.set(ylabel="% of requests refused", ylim=(0, 100))
    panel.legend(loc="upper left", frameon=False)


def _latencies(panel: Axes, steps: Sequence[StepFigures]) -> None:
    places = _label_steps(panel, steps)
    panel.plot(places, [step.p50_ms or math.nan for step in steps], "o-", label="p50")
    tails = [step.tail for step in steps]
    around = [[each.ms - each.low_ms for each in tails], [each.high_ms - each.ms for each in tails]]
    panel.errorbar(
        places,
        [each.ms or math.nan for each in tails],
        yerr=around,
        fmt="o-",
        capsize=3,
        label=", ".join(sorted({each.name for each in tails})),
    )
    panel.set(title="Latency of single headlines, ms", yscale="log")
    panel.legend(loc="upper left", frameon=False)


def _label_steps(panel: Axes, steps: Sequence[StepFigures]) -> range:
    places = range(len(steps))
    panel.set_xticks(places, [f"{step.load:g}" for step in steps])
    panel.set_xlabel("load, step by step")
    return places


def _throughput_over_time(panel: Axes, samples: Sequence[Sample], stages: Sequence[Stage]) -> None:
    began_at = stages[0].began_at if stages else min((s.scheduled_at for s in samples), default=0.0)
    counted = [sample for sample in samples if sample.kind != HOSTILE]
    first = [sample for sample in counted if sample.attempt == 1]
    right = [sample for sample in counted if sample.outcome == "right"]
    refused = [sample for sample in counted if sample.outcome == "refused"]
    panel.plot(
        *_by_second(first, began_at, lambda each: each.scheduled_at), color="0.6", label="offered"
    )
    panel.plot(*_by_second(right, began_at, lambda each: each.ended_at), label="answered")
    panel.plot(
        *_by_second(refused, began_at, lambda each: each.ended_at), color="tab:red", label="refused"
    )
    panel.set(title="Requests a second", xlabel="s", ylim=(0, None))
    panel.legend(loc="upper left", frameon=False)


def _latency_over_time(panel: Axes, samples: Sequence[Sample], stages: Sequence[Stage]) -> None:
    began_at = stages[0].began_at if stages else min((s.scheduled_at for s in samples), default=0.0)
    timed = [
        sample
        for sample in samples
        if sample.kind == LATENCIES_OF and sample.outcome == "right" and sample.attempt == 1
    ]
    panel.plot(
        [sample.scheduled_at - began_at for sample in timed],
        [sample.latency_s * 1000 for sample in timed],
        ".",
        markersize=2,
    )
    panel.set(title="Each single headline, ms", xlabel="s", yscale="log")


def _by_second(
    samples: Sequence[Sample], began_at: float, when: Callable[[Sample], float]
) -> tuple[list[int], list[int]]:
    counts = Counter(int(when(sample) - began_at) for sample in samples)
    seconds = list(range(max(counts, default=0) + 1))
    return seconds, [counts[second] for second in seconds]
