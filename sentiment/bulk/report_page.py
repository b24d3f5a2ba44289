"""The page of a report on scored rows: tables, plots, and what they mean."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sentiment.bulk.periods import Periods
from sentiment.bulk.summary import SCORE_BINS, Group, Grouping, Summary
from sentiment.bulk.tally import MAX_GROUPS
from sentiment.training.markdown import escaped, table

SURE = (0.9, 0.7, 0.5, 0.0)
"""Where classes of the score begin; each the edge of a bin of the histogram."""

NAME_CHARACTERS = 40

FEW_ROWS = 30
"""Fewer say little of a day or a ticker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What of the days and tickers the page shows."""

    plotted: Periods | None
    """`None` where no row has a day."""
    listed: Periods | None
    """The same days in longer periods, few enough for a table."""
    tickers: Sequence[Group]


def page(
    summary: Summary, shown: Shown, plots: Mapping[str, str], *, title: str, model: str
) -> str:
    """Return the page. It tells nothing of speed: the same rows give the same page.

    Args:
        summary: of the run.
        shown: of its days and tickers.
        plots: file names by kind, as `draw_plots` answers them; none where no row was scored.
        title: what was scored, such as the name of a file.
        model: name and revision.
    """
    return "\n\n".join(_sections(summary, shown, plots, title=title, model=model)) + "\n"


def _sections(
    summary: Summary, shown: Shown, plots: Mapping[str, str], *, title: str, model: str
) -> Iterator[str]:
    yield f"# Sentiment: {_name(title)}"
    yield "\n".join(f"- {each}" for each in _findings(summary, model))
    if not summary.scored:
        return
    yield "## Labels"
    yield f"![Share of each label]({plots['labels']})"
    yield _labels(summary)
    yield "## How sure the model was"
    yield (
        "The score is the probability that the model itself gives to the label. It is no promise: "
        "how often it comes true depends on the model and on the texts."
    )
    yield f"![Histogram of the score]({plots['scores']})"
    yield _scores(summary)
    if summary.by_day is not None:
        yield "## By day"
        yield from _by_day(summary, summary.by_day, shown, plots)
    if summary.by_ticker is not None:
        yield "## By ticker"
        yield from _by_ticker(summary, summary.by_ticker, shown, plots)


def _findings(summary: Summary, model: str) -> Iterator[str]:
    scored = f"{summary.scored:,} of {summary.rows:,} rows were scored by {escaped(model)}"
    bad = f"; {summary.bad_rows:,} could not be" if summary.bad_rows else ""
    yield f"{scored}{bad}."
    if not summary.scored:
        return
    commonest = max(summary.labels, key=lambda each: each.rows)
    yield f"The most frequent label is {escaped(commonest.label)}: {_share(commonest.share)}."
    if summary.net is not None:
        yield (
            f"The net sentiment is **{summary.net:+.3f}**: the mean probability of positive less "
            "that of negative, from -1 to +1."
        )
    if summary.truncated:
        one = summary.truncated == 1
        yield (
            f"{summary.truncated:,} {'text is' if one else 'texts are'} longer than the model "
            f"reads: what is beyond did not count."
        )


def _labels(summary: Summary) -> str:
    return table(
        ["Label", "Rows", "Share", "Mean probability"],
        [
            [
                escaped(each.label),
                f"{each.rows:,}",
                _share(each.share),
                "-" if each.mean_probability is None else f"{each.mean_probability:.3f}",
            ]
            for each in summary.labels
        ],
    )


def _scores(summary: Summary) -> str:
    rows = []
    for start, end in zip(SURE, (1.0, *SURE), strict=False):
        bins = slice(round(start * SCORE_BINS), round(end * SCORE_BINS))
        count = sum(summary.score_histogram[bins])
        name = f"{start:g} to {end:g}" if start else f"below {end:g}"
        rows.append([name, f"{count:,}", _share(count / summary.scored)])
    return table(["Score", "Rows", "Share"], rows)


def _by_day(
    summary: Summary, grouping: Grouping, shown: Shown, plots: Mapping[str, str]
) -> Iterator[str]:
    yield from _left_out(grouping, "day", "has no date, or none in ISO 8601,")
    if shown.plotted is None or shown.listed is None:
        yield f"No row has a day in {_name(grouping.column)}."
        return
    if "days" in plots:
        unit = shown.plotted.unit
        if unit != "day":
            yield f"Put together by {unit}{', each named by its Monday' * (unit == 'week')}."
        drawn = "Rows" if summary.net is None else "Net sentiment and rows"
        yield f"![{drawn} by {unit}]({plots['days']})"
    title = "Week of" if shown.listed.unit == "week" else shown.listed.unit.capitalize()
    yield _groups(summary, shown.listed.groups, title)


def _by_ticker(
    summary: Summary, grouping: Grouping, shown: Shown, plots: Mapping[str, str]
) -> Iterator[str]:
    yield from _left_out(grouping, "ticker", "names none")
    if not shown.tickers:
        yield f"No row has a ticker in {_name(grouping.column)}."
        return
    if len(shown.tickers) < len(grouping.groups):
        yield f"The {len(shown.tickers)} of {len(grouping.groups):,} tickers with the most rows."
    if summary.net is not None and any(each.rows < FEW_ROWS for each in shown.tickers):
        yield f"Where there are fewer than {FEW_ROWS} rows the net sentiment is mostly chance."
    drawn = "Rows" if summary.net is None else "Net sentiment"
    yield f"![{drawn} by ticker]({plots['tickers']})"
    yield _groups(summary, shown.tickers, "Ticker")


def _left_out(grouping: Grouping, what: str, why: str) -> Iterator[str]:
    if count := grouping.nameless_rows:
        said = f"{count:,} scored row{'s' * (count != 1)} without"
        yield f"{said}: the column {_name(grouping.column)} {why} there."
    if grouping.others is not None:
        yield (
            f"{grouping.others.rows:,} scored rows are of a {what} beyond the first "
            f"{MAX_GROUPS:,}, and not shown."
        )


def _groups(summary: Summary, groups: Sequence[Group], title: str) -> str:
    with_net = summary.net is not None
    return table(
        [
            title,
            "Rows",
            *(["Net sentiment"] if with_net else []),
            *(escaped(each.label.capitalize()) for each in summary.labels),
        ],
        [
            [
                _name(group.name),
                f"{group.rows:,}",
                *([f"{group.net:+.3f}"] if group.net is not None else []),
                *(_share(count / group.rows) for count in group.label_counts),
            ]
            for group in groups
        ],
    )


def _name(name: str) -> str:
    """Return a name of the input, which may hold anything, for a line of Markdown."""
    flat = " ".join(name.split())
    return escaped(flat if len(flat) <= NAME_CHARACTERS else f"{flat[: NAME_CHARACTERS - 3]}...")


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
