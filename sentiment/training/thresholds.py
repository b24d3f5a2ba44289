"""Figures that a model must reach, for pipelines: `--fail-below macro_f1=0.83`."""

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sentiment.errors import OptionError, ThresholdMissed
from sentiment.training.textsets import BENCHMARK

LEAST = ("accuracy", "macro_f1", "weighted_f1")
MOST = ("ece", "brier", "log_loss")

TOLERANCE = 1e-9
"""What arithmetic may take off a figure that reaches its threshold exactly."""

THRESHOLD = re.compile(r"(?:benchmark:(?P<benchmark>.+)\.)?(?P<figure>\w+)=(?P<value>[^=]+)")


@dataclass(frozen=True, slots=True)
class Threshold:
    """One figure of one set of texts, and what it may not pass."""

    figure: str
    value: float
    least: bool
    """The figure fails below the value, else above it."""
    benchmark: str | None
    """A benchmark's name; without one the annotators' texts of the test part count."""

    def missed(self, evaluation: dict[str, Any]) -> str | None:
        """Say what is worse than it may be, of an evaluation's first model; else nothing."""
        judged = evaluation["models"][0]
        name = evaluation["main_set"] if self.benchmark is None else BENCHMARK + self.benchmark
        if self.benchmark is None and name.endswith("_teacher"):
            return f"{self.figure}: no text with an annotator's label is held out"
        part = judged["parts"][name]
        found = part["unrounded"][self.figure]  # what is rounded may pass where it fails
        by = self.value - found if self.least else found - self.value
        if by <= TOLERANCE:
            return None
        return (
            f"{judged['model']}: {self.figure} on {name} ({part['texts']:,} texts) is {found:.8g}, "
            f"{'below' if self.least else 'above'} {self.value:g}"
        )


def check_thresholds(thresholds: Iterable[Threshold], evaluation: dict[str, Any]) -> None:
    """Hold `thresholds` against what `evaluate_models` answered.

    Raises:
        ThresholdMissed: a figure is worse; names each such figure, its texts and its value.
    """
    if missed := [said for each in thresholds if (said := each.missed(evaluation))]:
        raise ThresholdMissed("; ".join(missed))


def parse_thresholds(
    below: Iterable[str], above: Iterable[str], *, benchmarks: Collection[str]
) -> list[Threshold]:
    """Read `macro_f1=0.83` or `benchmark:NAME.macro_f1=0.7`, as the options have them.

    Raises:
        OptionError: no such figure or benchmark, or the value is no number.
    """
    return [
        _parse(given, option=option, least=option == "--fail-below", benchmarks=benchmarks)
        for option, group in (("--fail-below", below), ("--fail-above", above))
        for given in group
    ]


def _parse(given: str, *, option: str, least: bool, benchmarks: Collection[str]) -> Threshold:
    match = THRESHOLD.fullmatch(given)
    if match is None:
        raise OptionError(f"{option} {given}: expected FIGURE=VALUE, such as macro_f1=0.83")
    known = LEAST if least else MOST
    if match["figure"] not in known:
        raise OptionError(f"{option} {given}: the figure is none of {', '.join(known)}")
    if match["benchmark"] is not None and match["benchmark"] not in benchmarks:
        names = ", ".join(sorted(benchmarks)) or "none"
        raise OptionError(f"{option} {given}: no such benchmark; there are: {names}")
    try:
        value = float(match["value"])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise OptionError(f"{option} {given}: {match['value']} is no number")
    return Threshold(match["figure"], value, least=least, benchmark=match["benchmark"])
