"""What scored rows come to, however they are cut into chunks."""

import io
import json
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.bulk import tally as tally_module
from sentiment.bulk.keys import NAME_CHARACTERS, check_columns
from sentiment.bulk.periods import periods
from sentiment.bulk.summary import Group, Speed, duration, print_summary
from sentiment.bulk.tally import Tally
from sentiment.errors import DataError
from sentiment.predictions import LABELS

SPEED = Speed(texts=8, computed_texts=6, seconds=4.0, engine_seconds=3.8)

SURE_OF = {
    "+": (0.8, 0.1, 0.1),
    "-": (0.2, 0.5, 0.3),
    "0": (0.0, 0.0, 1.0),
    ".": (np.nan, np.nan, np.nan),
}
"""A sign for what the model says of a row; the dot for a row without a score."""


def said(signs):
    return np.array([SURE_OF[sign] for sign in signs], np.float32).reshape(-1, len(LABELS))


def tallied(signs, *, labels=LABELS, truncated=None, **columns):
    kinds = {f"{name}_column": name for name in columns}
    tally = Tally(labels=labels, **kinds)
    tally.add(
        pa.RecordBatch.from_pydict(columns or {"text": list(signs)}),
        probabilities=said(signs),
        truncated=np.zeros(len(signs), bool) if truncated is None else np.array(truncated),
    )
    return tally.summary(SPEED, bad_rows=signs.count("."))


def by_day(values, kind=None):
    """Return the days of a column's values and how many rows have none."""
    grouping = tallied("+" * len(values), date=pa.array(values, kind)).by_day
    return {each.name: each.rows for each in grouping.groups}, grouping.nameless_rows


# Figures


def test_rows_without_a_score_count_as_rows_and_for_nothing_else():
    summary = tallied("+-.0+", truncated=[True, False, True, False, False])
    assert (summary.rows, summary.scored, summary.bad_rows, summary.truncated) == (5, 4, 1, 1)
    assert [(each.label, each.rows, each.share) for each in summary.labels] == [
        ("positive", 2, 0.5),
        ("negative", 1, 0.25),
        ("neutral", 1, 0.25),
    ]
    assert summary.labels[0].mean_probability == pytest.approx((0.8 + 0.2 + 0.8) / 4)
    assert summary.net == pytest.approx((0.7 - 0.3 + 0.7) / 4)
    assert summary.mean_score == pytest.approx((0.8 + 0.5 + 1.0 + 0.8) / 4)


def test_a_certain_score_is_in_the_last_bin_and_an_edge_in_the_bin_that_it_begins():
    histogram = tallied("0-").score_histogram
    assert {place: count for place, count in enumerate(histogram) if count} == {10: 1, 19: 1}


def test_of_no_rows_there_are_no_means():
    summary = tallied("")
    assert (summary.scored, summary.net, summary.mean_score) == (0, None, None)
    assert [(each.share, each.mean_probability) for each in summary.labels] == [(None, None)] * 3


def test_a_model_without_positive_and_negative_has_no_net_sentiment():
    summary = tallied("+-", labels=("joy", "anger", "neutral"), ticker=["A", "B"])
    assert summary.net is None
    assert [each.net for each in summary.by_ticker.groups] == [None, None]


def test_as_json_the_figures_stand_under_their_names():
    shown = tallied("+-.", date=["2026-11-21", "no day", "2026-11-21"]).as_dict()
    assert shown["labels"]["positive"] == {"rows": 1, "share": 0.5, "mean_probability": 0.5}
    assert shown["by_day"] == {
        "column": "date",
        "groups": [
            {
                "name": "2026-11-21",
                "rows": 1,
                "net": 0.7,
                "labels": {"positive": 1, "negative": 0, "neutral": 0},
            }
        ],
        "others": None,
        "nameless_rows": 1,
    }
    assert shown["speed"]["texts_per_s"] == 2.0
    assert shown["speed"]["engine_share"] == 0.95


@given(st.data())
def test_where_chunks_end_changes_no_digit(data):
    count = data.draw(st.integers(0, 40))
    numbers = np.random.default_rng(data.draw(st.integers(0, 99)))
    probabilities = numbers.dirichlet((1, 1, 1), count).astype(np.float32)
    probabilities[numbers.random(count) < 0.1] = np.nan
    rows = pa.RecordBatch.from_pydict(
        {
            "date": pa.array(numbers.choice(["2026-11-21", "2026-11-22", "soon"], count)),
            "ticker": pa.array(numbers.choice(["A", "B", "C", " "], count)),
        }
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=6)))
    summaries = []
    for edges in ([0, count], [0, *cuts, count]):
        tally = Tally(labels=LABELS, date_column="date", ticker_column="ticker")
        for start, end in pairwise(edges):
            tally.add(
                rows.slice(start, end - start),
                probabilities=probabilities[start:end],
                truncated=np.zeros(end - start, bool),
            )
        summaries.append(tally.summary(SPEED))
    assert summaries[0] == summaries[1]


def test_tallies_that_are_merged_through_json_are_one_of_all_rows():
    signs = "+-.0+-0+"
    tickers, days = [*"ABCABDA", None], ["2026-11-20", "2026-11-21", None, "no day"] * 2
    whole = tallied(signs, date=days, ticker=tickers)
    merged = Tally(labels=LABELS, date_column="date", ticker_column="ticker")
    for part in (slice(0, 3), slice(3, 3), slice(3, 8)):
        tally = Tally(labels=LABELS, date_column="date", ticker_column="ticker")
        tally.add(
            pa.RecordBatch.from_pydict(
                {
                    "date": pa.array(days[part], pa.string()),
                    "ticker": pa.array(tickers[part], pa.string()),
                }
            ),
            probabilities=said(signs[part]),
            truncated=np.zeros(len(signs[part]), bool),
        )
        merged.merge(json.loads(json.dumps(tally.as_json())))
    assert merged.summary(SPEED, bad_rows=1) == whole


def test_a_chunk_of_more_rows_than_are_summed_up_at_once_is_summed_up_whole(monkeypatch):
    whole = tallied("+-0.+-", ticker=list("ABCABC"))
    monkeypatch.setattr(tally_module, "SLICE_ROWS", 2)
    assert tallied("+-0.+-", ticker=list("ABCABC")) == whole


# Days


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([date(2026, 11, 21)], None),
        ([date(2026, 11, 21)], pa.date64()),
        ([datetime(2026, 11, 21, 23, 59, 59, 999)], pa.timestamp("us")),
        (["2026-11-21"], pa.string()),
        (["2026-11-21"], pa.large_string()),
        (["2026-11-21"], pa.string_view()),
        (["2026-11-21"], pa.dictionary(pa.int32(), pa.string())),
        (["2026-11-21T23:59:59+05:30"], None),
        (["2026-11-21 23:59"], None),
        (["20261121"], None),
        (["20261121T2359"], None),
    ],
)
def test_a_day_is_found_in_dates_timestamps_and_text(values, kind):
    assert by_day([*values, None], kind) == ({"2026-11-21": 1}, 1)


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-02-30", "21.11.2026", "2026-11-211", "2026-11", "é\0", "9" * 11]
)
def test_text_that_is_no_day_is_counted_and_not_fatal(text):
    assert by_day([text, "2026-11-21"]) == ({"2026-11-21": 1}, 1)


def test_a_timestamp_is_of_the_day_that_it_is_in_its_own_zone():
    late = datetime(2026, 11, 21, 20, tzinfo=UTC)
    assert by_day([late], pa.timestamp("us", "Asia/Tokyo")) == ({"2026-11-22": 1}, 0)
    assert by_day([late], pa.timestamp("us", "UTC")) == ({"2026-11-21": 1}, 0)


def test_a_day_outside_of_the_calendar_is_none():
    assert by_day([2**31 - 1, -(2**31), 0], pa.date32()) == ({"1970-01-01": 1}, 2)


def test_days_come_in_their_order():
    days, _ = by_day(["2026-11-22", "2026-11-21", "2025-12-31", "2026-11-22"])
    assert list(days.items()) == [("2025-12-31", 1), ("2026-11-21", 1), ("2026-11-22", 2)]


# Tickers


def test_tickers_are_trimmed_and_come_most_rows_first():
    grouping = tallied("+-0.+0", ticker=["A", " B ", "B", "B", "", None]).by_ticker
    assert [(each.name, each.rows, each.label_counts) for each in grouping.groups] == [
        ("B", 2, (0, 1, 1)),
        ("A", 1, (1, 0, 0)),
    ]
    assert grouping.groups[0].net == pytest.approx(-0.15)
    assert grouping.nameless_rows == 2


def test_tickers_may_be_numbers():
    grouping = tallied("++", ticker=pa.array([7203, None])).by_ticker
    assert [each.name for each in grouping.groups] == ["7203"]


def test_a_column_without_any_value_groups_nothing():
    summary = tallied("++", ticker=pa.nulls(2), date=pa.nulls(2))
    assert summary.by_ticker.groups == summary.by_day.groups == ()
    assert summary.by_ticker.nameless_rows == summary.by_day.nameless_rows == 2


def test_no_ticker_is_kept_longer_than_a_name_is():
    grouping = tallied("++", ticker=["A" * 10**6, "A" * 10**6 + "B"]).by_ticker
    assert [(each.name, each.rows) for each in grouping.groups] == [("A" * NAME_CHARACTERS, 2)]


def test_tickers_that_come_when_there_are_too_many_are_summed_up_together(monkeypatch):
    monkeypatch.setattr(tally_module, "MAX_GROUPS", 2)
    grouping = tallied("+-+--+", ticker=["A", "B", "C", "D", "A", ""]).by_ticker
    assert [(each.name, each.rows) for each in grouping.groups] == [("A", 2), ("B", 1)]
    assert (grouping.others.rows, grouping.others.label_counts) == (2, (1, 1, 0))
    assert grouping.others.net == pytest.approx((0.7 - 0.3) / 2)
    assert grouping.nameless_rows == 1


# Columns


SCHEMA = pa.schema(
    {
        "day": pa.date32(),
        "time": pa.time32("s"),
        "zone": pa.timestamp("us", "Moon/Crater"),
        "price": pa.float64(),
        "tags": pa.list_(pa.string()),
    }
)


def test_columns_that_can_be_grouped_by_are_accepted():
    check_columns(SCHEMA, date_column="day")
    check_columns(pa.schema({"s": pa.string()}), date_column="s", ticker_column="s")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"date_column": "Day"}, r"^expected one column named 'Day' \(--date-column\); there are"),
        ({"date_column": "price"}, r"^column 'price' \(--date-column\): expected dates, .*double"),
        ({"date_column": "time"}, r"expected dates, timestamps or text in ISO 8601.*time32"),
        ({"date_column": "zone"}, r"^column 'zone' \(--date-column\): .*Moon/Crater"),
        ({"ticker_column": "price"}, r"\(--ticker-column\): expected text or integers.*double"),
        ({"ticker_column": "tags"}, r"expected text or integers, it is of type list"),
    ],
)
def test_a_column_that_cannot_be_grouped_by_is_told_before_anything_is_scored(columns, message):
    with pytest.raises(DataError, match=message):
        check_columns(SCHEMA, **columns)


# Periods


def day(name, *, net=0.5, rows=2):
    return Group(name, rows, net, (rows, 0, 0))


def test_few_days_stay_days():
    found = periods([day("1970-01-01"), day("1970-01-03")], most=2)
    assert (found.unit, found.starts) == ("day", (0, 2))
    assert [each.name for each in found.groups] == ["1970-01-01", "1970-01-03"]


@pytest.mark.parametrize(
    ("names", "unit", "expected"),
    [
        (["2026-11-15", "2026-11-16", "2026-11-22"], "week", ["2026-11-09", "2026-11-16"]),
        (["2026-10-01", "2026-10-31", "2026-11-30"], "month", ["2026-10", "2026-11"]),
        (
            ["2024-01-01", "2025-06-01", "2025-12-31", "2026-01-01"],
            "year",
            ["2024", "2025", "2026"],
        ),
    ],
)
def test_many_days_are_put_together_to_the_shortest_periods_that_are_few(names, unit, expected):
    found = periods(list(map(day, names)), most=2)
    assert (found.unit, [each.name for each in found.groups]) == (unit, expected)


def test_the_net_sentiment_of_a_period_is_that_of_its_rows():
    days = [day("2026-11-16", net=0.4, rows=1), day("2026-11-17", net=-0.2, rows=3)]
    (week,) = periods(days, most=1).groups
    assert (week.rows, week.label_counts) == (4, (4, 0, 0))
    assert week.net == pytest.approx((0.4 - 3 * 0.2) / 4)
    (without,) = periods([day("2026-11-16", net=None)], most=1).groups
    assert without.net is None


# Printed


def test_a_printed_summary_is_plain_text():
    stream = io.StringIO()
    print_summary(tallied("+-.", labels=("positive", "negative", "[red]x[/red]")), stream=stream)
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert lines == [
        "Rows 3, 2 scored, 1 bad, 0 truncated",
        "Positive 1 (50.0 %)",
        "Negative 1 (50.0 %)",
        "[red]x[/red] 0 (0.0 %)",
        "Net sentiment +0.200 (mean positive less mean negative)",
        "Mean score 0.650",
        "Speed 2 texts/s, engine busy 95 % of 4.0 s; 8 texts, 2 of them repeated and computed once",
    ]


def test_a_run_that_took_no_time_has_no_speed():
    speed = Speed(texts=0, computed_texts=0, seconds=0.0, engine_seconds=0.0)
    assert (speed.texts_per_s, speed.engine_share) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (3599.7, "1 h"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_time_is_said_as_a_person_says_it(seconds, text):
    assert duration(seconds) == text
