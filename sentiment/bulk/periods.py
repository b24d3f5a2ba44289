"""Days become weeks, months or years where there are too many to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
import numpy.typing as npt

from sentiment.bulk.summary import Group

UNITS = {"day": "D", "week": "W", "month": "M", "year": "Y"}
"""What a period is called -> numpy's letter for it, shortest first."""

MONDAY_TO_THURSDAY = 3
"""Days. numpy's weeks begin on Thursdays, as 1970 did."""

Dates = npt.NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Periods:
    """Days put together to periods of one length, in their order."""

    unit: str
    """`day`, `week`, `month` or `year`."""
    groups: tuple[Group, ...]
    """Named as `2026-11-16`, which is the Monday of a week, as `2026-11` or as `2026`."""
    starts: tuple[int, ...]
    """The first day of each, counted from 1970-01-01."""


def periods(days: Sequence[Group], *, most: int) -> Periods:
    """Return the shortest periods of which there are at most `most`; years however many.

    Args:
        days: at least one, in their order, named in ISO 8601.
        most: periods that have a row; the others do not count and are left out.
    """
    dates = np.array([each.name for each in days], "datetime64[D]")
    unit = next((each for each in UNITS if len(np.unique(_starts(dates, each))) <= most), "year")
    starts, firsts = np.unique(_starts(dates, unit), return_index=True)
    ends = [*firsts[1:].tolist(), len(days)]
    named = starts if unit == "week" else starts.astype(f"datetime64[{UNITS[unit]}]")
    return Periods(
        unit=unit,
        groups=tuple(
            _together(days[first:end], str(name))
            for first, end, name in zip(firsts.tolist(), ends, named, strict=True)
        ),
        starts=tuple(starts.astype(np.int64).tolist()),
    )


def _starts(dates: Dates, unit: str) -> Dates:
    """Return the first day of the period that each day is in."""
    shift = MONDAY_TO_THURSDAY if unit == "week" else 0
    within = (dates + np.timedelta64(shift, "D")).astype(f"datetime64[{UNITS[unit]}]")
    firsts = within.astype("datetime64[D]").astype(np.int64)
    return (firsts - shift).astype("datetime64[D]")


def _together(groups: Sequence[Group], name: str) -> Group:
    rows = sum(each.rows for each in groups)
    # Of one model, so all have a net sentiment or none.
    weighted = [each.net * each.rows for each in groups if each.net is not None]
    counts = zip(*(each.label_counts for each in groups), strict=True)
    return Group(
        name=name,
        rows=rows,
        net=fsum(weighted) / rows if weighted else None,
        label_counts=tuple(map(sum, counts)),
    )
