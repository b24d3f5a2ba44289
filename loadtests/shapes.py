"""Shapes of load, as tables: how long, and at what multiple of the full load.

The full load, 1, is `--rate` requests a second; without it, about what the server can do, which is
measured before the run (`capacity.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """A load, held for a while."""

    seconds: float
    load: float


SHAPES: Mapping[str, Sequence[Step]] = {
    "steady": (Step(60, 0.5),),
    "staircase": (
        Step(60, 0.25),
        Step(60, 0.5),
        Step(60, 0.7),
        Step(60, 0.85),
        Step(60, 1.0),
        Step(60, 1.2),
        Step(60, 1.5),
        Step(60, 2.0),
        Step(60, 0.5),  # whether it comes back
    ),
    "spike": (Step(30, 0.25), Step(10, 2.5), Step(50, 0.25)),
    "soak": (Step(300, 0.6),) * 12,
}


def step_at(steps: Sequence[Step], elapsed_s: float) -> int | None:
    """Return which step it is after so many seconds; `None` after the last."""
    for index, step in enumerate(steps):
        elapsed_s -= step.seconds
        if elapsed_s < 0:
            return index
    return None
