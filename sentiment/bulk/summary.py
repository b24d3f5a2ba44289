"""What a run came to: its figures, printed for a person and as JSON."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

SCORE_BINS = 20
"""Of the histogram of the score, from 0 to 1."""

DECIMALS = 6
"""Of a figure in JSON: more than single precision holds is noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast this process was; what an earlier one did of the same run is not in it."""

    texts: int
    """Scored, each as often as it occurs."""
    computed_texts: int
    """Of these, what the engine computed: equal ones once."""
    seconds: float
    """From the first row read to the output written."""
    engine_seconds: float
    """Of these, how long the engine was busy."""
    resumed: bool = False
    """An earlier process began the run."""
    engines: int = 1
    """How many shared the work; `engine_seconds` are those of all together."""

    @property
    def texts_per_s(self) -> float:
        """Texts a second of the whole run; 0 where it took no time."""
        return self.texts / self.seconds if self.seconds > 0 else 0.0

    @property
    def engine_share(self) -> float:
        """Share of the time in which the engine was busy, 0 to 1; of several, on the average."""
        available = self.seconds * self.engines
        return self.engine_seconds / available if available > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFigures:
    """One label over all scored rows."""

    label: str
    rows: int
    """With this label."""
    share: float | None
    """Of the scored rows; `None` where none was scored."""
    mean_probability: float | None
    """Over the scored rows, whatever their label."""


@dataclass(frozen=True, slots=True)
class Group:
    """The scored rows of one day or of one ticker."""

    name: str
    rows: int
    net: float | None
    """Mean probability of positive less that of negative, -1 to 1; `None` for a model that has
    not both of these labels."""
    label_counts: tuple[int, ...]
    """In the order of the summary's labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """The scored rows by the values of one column."""

    column: str
    groups: tuple[Group, ...]
    """Days in their order; tickers by their rows, most first."""
    others: Group | None
    """All rows of the values that came when there were too many already."""
    nameless_rows: int
    """Scored rows that are in no group: nothing that can be read is in the column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of a run. All but `speed` depend on nothing but the rows in their order."""

    rows: int
    """In the output."""
    scored: int
    bad_rows: int
    """Rows of the input that could not be scored, left out of the output or not."""
    truncated: int
    """Scored rows whose text had more tokens than the model reads."""
    labels: tuple[LabelFigures, ...]
    """In the model's order."""
    net: float | None
    """Mean probability of positive less that of negative, -1 to 1; `None` for a model that has
    not both of these labels, or without a scored row."""
    mean_score: float | None
    score_histogram: tuple[int, ...]
    """Rows in each of `SCORE_BINS` bins of equal width; a score of 1 is in the last."""
    by_day: Grouping | None
    by_ticker: Grouping | None
    speed: Speed

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON has it."""
        names = [each.label for each in self.labels]
        return {
            "rows": self.rows,
            "scored": self.scored,
            "bad_rows": self.bad_rows,
            "truncated": self.truncated,
            "labels": {
                each.label: {
                    "rows": each.rows,
                    "share": _rounded(each.share),
                    "mean_probability": _rounded(each.mean_probability),
                }
                for each in self.labels
            },
            "net": _rounded(self.net),
            "score": {"mean": _rounded(self.mean_score), "histogram": list(self.score_histogram)},
            "by_day": _grouping(self.by_day, names),
            "by_ticker": _grouping(self.by_ticker, names),
            "speed": {
                "texts": self.speed.texts,
                "computed_texts": self.speed.computed_texts,
                "seconds": _rounded(self.speed.seconds),
                "texts_per_s": _rounded(self.speed.texts_per_s),
                "engine_seconds": _rounded(self.speed.engine_seconds),
                "engine_share": _rounded(self.speed.engine_share),
                "resumed": self.speed.resumed,
                "engines": self.speed.engines,
            },
        }


def _grouping(grouping: Grouping | None, labels: Sequence[str]) -> dict[str, Any] | None:
    if grouping is None:
        return None
    return {
        "column": grouping.column,
        "groups": [_group(each, labels) for each in grouping.groups],
        "others": None if grouping.others is None else _group(grouping.others, labels),
        "nameless_rows": grouping.nameless_rows,
    }


def _group(group: Group, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "name": group.name,
        "rows": group.rows,
        "net": _rounded(group.net),
        "labels": dict(zip(labels, group.label_counts, strict=True)),
    }


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, DECIMALS)


def print_summary(summary: Summary, *, stream: TextIO | None = None) -> None:
    """Print a short summary, in plain text, to standard error or to `stream`."""
    facts = list(_facts(summary))
    width = max(len(name) for name, _ in facts)
    with suppress(OSError):  # nobody who reads it is no failure of the run
        for name, value in facts:
            print(f"{name:{width}}  {value}", file=sys.stderr if stream is None else stream)


def _facts(summary: Summary) -> Iterator[tuple[str, str]]:
    counts = [f"{summary.rows:,}", f"{summary.scored:,} scored", f"{summary.bad_rows:,} bad"]
    yield "Rows", ", ".join([*counts, f"{summary.truncated:,} truncated"])
    for each in summary.labels:
        share = "" if each.share is None else f" ({100 * each.share:.1f} %)"
        yield each.label.capitalize(), f"{each.rows:,}{share}"
    if summary.net is not None:
        yield "Net sentiment", f"{summary.net:+.3f} (mean positive less mean negative)"
    if summary.mean_score is not None:
        yield "Mean score", f"{summary.mean_score:.3f}"
    yield "Speed", _speed(summary.speed)


def _speed(speed: Speed) -> str:
    engines = "engine" if speed.engines == 1 else f"{speed.engines:,} engines"
    said = (
        f"{speed.texts_per_s:,.0f} texts/s, {engines} busy {100 * speed.engine_share:.0f} % of "
        f"{duration(speed.seconds)}; {speed.texts:,} texts"
    )
    if repeated := speed.texts - speed.computed_texts:
        said += f", {repeated:,} of them repeated and computed once"
    return f"{said}; the others by an earlier process" if speed.resumed else said


def duration(seconds: float) -> str:
    """Return a time as a person says it: `4.2 s`, `40 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"
