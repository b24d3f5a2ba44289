"""The figures of a run, summed up chunk by chunk in bounded memory.

Probabilities are summed as integers, so a sum is exact and does not depend on where one chunk ends
and the next begins: a run that was interrupted and resumed comes to the same digits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment.bulk.keys import days_of, plain, tickers_of
from sentiment.bulk.summary import SCORE_BINS, Group, Grouping, LabelFigures, Speed, Summary
from sentiment.documents import NEGATIVE, POSITIVE
from sentiment.predictions import Probabilities

MAX_GROUPS = 100_000
"""Days or tickers that are told apart; rows of any that come later are summed up together."""

ONE = 2**30
"""A probability of 1 as an integer: a sum of eight billion fits in 64 bits, and the error of a
probability, 2**-31, is far below that of single precision."""

SLICE_ROWS = 2**20
"""Rows summed up at once: few enough for `np.bincount`, whose weights are doubles, to be exact."""

Integers = npt.NDArray[np.int64]


class Tally:
    """Sums over the rows of a run. Grows by the days and tickers that it meets, up to a bound."""

    def __init__(
        self,
        *,
        labels: Sequence[str],
        date_column: str | None = None,
        ticker_column: str | None = None,
    ) -> None:
        """Begin with no rows.

        Args:
            labels: in the order of the columns of the probabilities.
            date_column: by whose days to group; a date, a timestamp, or text in ISO 8601.
            ticker_column: by whose texts or integers to group.
        """
        self._labels = tuple(labels)
        self._has_net = {POSITIVE, NEGATIVE} <= set(labels)
        self._rows = 0
        self._truncated = 0
        self._label_counts = np.zeros(len(labels), np.int64)
        self._probability_sums = np.zeros(len(labels), np.int64)
        self._score_sum = 0
        self._score_bins = np.zeros(SCORE_BINS, np.int64)
        self._days = None if date_column is None else _Sums(date_column, days_of, len(labels))
        self._tickers = (
            None if ticker_column is None else _Sums(ticker_column, tickers_of, len(labels))
        )

    def add(
        self,
        rows: pa.RecordBatch,
        *,
        probabilities: Probabilities,
        truncated: npt.NDArray[np.bool_],
    ) -> None:
        """Add some consecutive rows.

        Args:
            rows: `[rows]`, the named columns among theirs.
            probabilities: `float32 [rows, labels]`, NaN where a row has no score.
            truncated: `bool [rows]`; of a row without a score it does not count.

        Raises:
            DataError: a column is not what `check_columns` accepts.
        """
        for start in range(0, rows.num_rows, SLICE_ROWS):
            part = slice(start, start + SLICE_ROWS)
            self._add(rows.slice(start, SLICE_ROWS), probabilities[part], truncated[part])

    def _add(
        self,
        rows: pa.RecordBatch,
        probabilities: Probabilities,
        truncated: npt.NDArray[np.bool_],
    ) -> None:
        self._rows += rows.num_rows
        scored = ~np.isnan(probabilities).any(axis=1)
        given = probabilities[scored]
        integers = np.rint(given.astype(np.float64) * ONE).astype(np.int64)
        best = given.argmax(axis=1)
        scores = given.max(axis=1).astype(np.float64)
        self._truncated += int(truncated[scored].sum())
        self._label_counts += np.bincount(best, minlength=len(self._labels))
        self._probability_sums += integers.sum(axis=0)
        self._score_sum += int(integers.max(axis=1).sum())
        bins = np.minimum((scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        self._score_bins += np.bincount(bins, minlength=SCORE_BINS)
        nets = (
            integers[:, self._labels.index(POSITIVE)] - integers[:, self._labels.index(NEGATIVE)]
            if self._has_net
            else np.zeros(len(given), np.int64)
        )
        for sums in filter(None, (self._days, self._tickers)):
            column = plain(rows.column(rows.schema.get_field_index(sums.column)))
            sums.add(column.filter(pa.array(scored)), best=best, nets=nets)

    def as_json(self) -> dict[str, Any]:
        """Return all sums as members that JSON knows, for `merge`."""
        return {
            "rows": self._rows,
            "truncated": self._truncated,
            "label_counts": self._label_counts.tolist(),
            "probability_sums": self._probability_sums.tolist(),
            "score_sum": self._score_sum,
            "score_bins": self._score_bins.tolist(),
            "days": None if self._days is None else self._days.as_json(),
            "tickers": None if self._tickers is None else self._tickers.as_json(),
        }

    def merge(self, later: Mapping[str, Any]) -> None:
        """Add the rows that another tally of the same columns has summed up.

        Args:
            later: its `as_json`.
        """
        self._rows += later["rows"]
        self._truncated += later["truncated"]
        self._label_counts += np.array(later["label_counts"], np.int64)
        self._probability_sums += np.array(later["probability_sums"], np.int64)
        self._score_sum += later["score_sum"]
        self._score_bins += np.array(later["score_bins"], np.int64)
        for sums, name in ((self._days, "days"), (self._tickers, "tickers")):
            if sums is not None:
                sums.merge(later[name])

    def summary(self, speed: Speed, *, bad_rows: int = 0) -> Summary:
        """Return the figures of all rows so far."""
        scored = int(self._label_counts.sum())
        means = [_mean(int(total), scored) for total in self._probability_sums]
        net = _mean(self._net_sum(), scored) if self._has_net else None
        return Summary(
            rows=self._rows,
            scored=scored,
            bad_rows=bad_rows,
            truncated=self._truncated,
            labels=tuple(
                LabelFigures(
                    label=label,
                    rows=count,
                    share=count / scored if scored else None,
                    mean_probability=mean,
                )
                for label, count, mean in zip(
                    self._labels, self._label_counts.tolist(), means, strict=True
                )
            ),
            net=net,
            mean_score=_mean(self._score_sum, scored),
            score_histogram=tuple(self._score_bins.tolist()),
            by_day=self._grouping(self._days, lambda group: group.name),
            by_ticker=self._grouping(self._tickers, lambda group: (-group.rows, group.name)),
            speed=speed,
        )

    def _net_sum(self) -> int:
        positive, negative = (self._labels.index(label) for label in (POSITIVE, NEGATIVE))
        return int(self._probability_sums[positive]) - int(self._probability_sums[negative])

    def _grouping(self, sums: "_Sums | None", order: Callable[[Group], Any]) -> Grouping | None:
        if sums is None:
            return None
        others, *groups = sums.groups(with_net=self._has_net)
        return Grouping(
            column=sums.column,
            groups=tuple(sorted(groups, key=order)),
            others=others if others.rows else None,
            nameless_rows=sums.nameless_rows,
        )


def _mean(total: int, count: int) -> float | None:
    return total / (count * ONE) if count else None


class _Sums:
    """Counts of labels and sums of the net sentiment by the values of one column."""

    def __init__(self, column: str, keys: Callable[[pa.Array], pa.Array], labels: int) -> None:
        self.column = column
        self.nameless_rows = 0
        self._keys = keys
        self._places: dict[str, int] = {}
        self._label_counts = np.zeros((1, labels), np.int64)
        """`[groups, labels]`; the first is of the values beyond `MAX_GROUPS`."""
        self._nets = np.zeros(1, np.int64)

    def add(self, values: pa.Array, *, best: Integers, nets: Integers) -> None:
        """Add rows: their values in the column, `plain`; labels; net sentiment in `ONE`s."""
        keys = self._keys(values).dictionary_encode()
        named = np.asarray(keys.is_valid())
        self.nameless_rows += int(len(named) - named.sum())
        indices = keys.indices.drop_null().to_numpy()
        # In the order of the rows, so which values come too late does not depend on the chunks.
        places = np.array([self._place(name) for name in keys.dictionary.to_pylist()], np.int64)
        self._grow()
        labels = self._label_counts.shape[1]
        counts = np.bincount(indices * labels + best[named], minlength=len(places) * labels)
        sums = np.bincount(indices, weights=nets[named], minlength=len(places))
        # Not `+=`, which would count but one of several values in the same place.
        np.add.at(self._label_counts, places, counts.reshape(-1, labels))
        np.add.at(self._nets, places, sums.astype(np.int64))

    def as_json(self) -> dict[str, Any]:
        groups = len(self._places) + 1
        return {
            "names": list(self._places),
            "label_counts": self._label_counts[:groups].tolist(),
            "nets": self._nets[:groups].tolist(),
            "nameless_rows": self.nameless_rows,
        }

    def merge(self, later: Mapping[str, Any]) -> None:
        places = np.array([0, *map(self._place, later["names"])], np.int64)
        self._grow()
        np.add.at(self._label_counts, places, np.array(later["label_counts"], np.int64))
        np.add.at(self._nets, places, np.array(later["nets"], np.int64))
        self.nameless_rows += later["nameless_rows"]

    def _place(self, name: str) -> int:
        place = self._places.get(name)
        if place is None:
            place = len(self._places) + 1 if len(self._places) < MAX_GROUPS else 0
            if place:
                self._places[name] = place
        return place

    def _grow(self) -> None:
        if (missing := len(self._places) + 1 - len(self._nets)) > 0:
            more = max(missing, len(self._nets))
            self._label_counts = np.pad(self._label_counts, ((0, more), (0, 0)))
            self._nets = np.pad(self._nets, (0, more))

    def groups(self, *, with_net: bool) -> list[Group]:
        """Return the group of the others, which may have no row, and then all that have a name."""
        counts = self._label_counts.tolist()
        nets = self._nets.tolist()
        return [
            Group(
                name=name,
                rows=sum(counts[place]),
                net=_mean(nets[place], sum(counts[place])) if with_net else None,
                label_counts=tuple(counts[place]),
            )
            for place, name in enumerate(("", *self._places))
        ]
