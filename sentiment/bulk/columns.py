"""Probabilities become the columns that are added to a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiment.bulk.scoring import Scores
from sentiment.documents import NEGATIVE, POSITIVE
from sentiment.errors import OptionError

Spans = Sequence[tuple[int, int]]
"""Where a row's sentences stand in its text, in Unicode code points."""

SENTENCE = {"start": pa.int32(), "end": pa.int32(), "label": pa.string(), "score": pa.float32()}


@dataclass(frozen=True, slots=True)
class RowScores:
    """What the model says of each row."""

    probabilities: npt.NDArray[np.float32]
    """`[rows, labels]`; not a number where a row has no score."""
    truncated: npt.NDArray[np.bool_]
    """`[rows]`: of the row's texts at least one had more tokens than the model reads."""


class ScoredColumns:
    """The columns that scoring adds, in their order."""

    def __init__(self, labels: Sequence[str], *, prefix: str = "", documents: bool = False) -> None:
        """Name the columns.

        Args:
            labels: of the model, in the order of the columns of probabilities.
            prefix: of every name.
            documents: whether a row's texts are the sentences of a document.
        """
        self._labels = tuple(labels)
        self._prefix = prefix
        self._documents = documents
        types = {"label": pa.string(), "score": pa.float32()}
        types |= dict.fromkeys(self._labels, pa.float32())
        types["truncated"] = pa.bool_()
        if documents:
            if self._has_net:
                types["net"] = pa.float32()
            types["sentence_count"] = pa.int32()
            types["sentences"] = pa.list_(pa.struct(SENTENCE))
        self.fields = [pa.field(f"{prefix}{name}", kind) for name, kind in types.items()]

    @property
    def _has_net(self) -> bool:
        return POSITIVE in self._labels and NEGATIVE in self._labels

    def schema(self, given: pa.Schema) -> pa.Schema:
        """Return the schema of a table with these columns added.

        Raises:
            OptionError: it has one of them already.
        """
        if taken := [field.name for field in self.fields if field.name in given.names]:
            raise OptionError(
                f"the input has a column {taken[0]!r} already: --prefix gives the new ones "
                "other names, such as --prefix sentiment_"
            )
        return pa.schema([*given, *self.fields])

    def of_rows(self, scores: Scores, counts: npt.NDArray[np.int64]) -> RowScores:
        """Put together what belongs to a row: the mean over its texts.

        Args:
            scores: of the texts of all rows, one row after the other.
            counts: `[rows]`: how many of them are a row's.
        """
        rows = np.flatnonzero(counts)
        probabilities = np.full((len(counts), len(self._labels)), np.nan, dtype=np.float32)
        truncated = np.zeros(len(counts), dtype=np.bool_)
        if len(rows):
            starts = (np.cumsum(counts) - counts)[rows]
            # As the server's: means of double precision.
            sums = np.add.reduceat(scores.probabilities.astype(np.float64), starts, axis=0)
            probabilities[rows] = sums / counts[rows, None]
            truncated[rows] = np.logical_or.reduceat(scores.truncated, starts)
        return RowScores(probabilities, truncated)

    def arrays(
        self, rows: RowScores, scores: Scores, spans: Sequence[Spans] = ()
    ) -> list[pa.Array]:
        """Return the columns, in the order of `fields`.

        Args:
            rows: what `of_rows` answered.
            scores: what it was asked for.
            spans: of documents: for each row where its sentences stand.
        """
        without = has_no_score(rows.probabilities)
        label, score = self._best(rows.probabilities, without)
        columns = [label, score]
        columns += [pa.array(column, mask=without) for column in rows.probabilities.T]
        columns.append(pa.array(rows.truncated, mask=without))
        if self._documents:
            if self._has_net:
                positive, negative = map(self._labels.index, (POSITIVE, NEGATIVE))
                net = rows.probabilities[:, positive] - rows.probabilities[:, negative]
                columns.append(pa.array(net, mask=without))
            counts = np.array([len(each) for each in spans], dtype=np.int32)
            columns.append(pa.array(counts, mask=without))
            columns.append(self._sentences(scores, counts, spans, without))
        return columns

    def _best(
        self, probabilities: npt.NDArray[np.float32], without: npt.NDArray[np.bool_]
    ) -> tuple[pa.Array, pa.Array]:
        """Return labels and scores of `probabilities [rows, labels]`."""
        known = np.where(without[:, None], np.float32(0), probabilities)
        best = known.argmax(axis=1).astype(np.int32)
        labels = pa.DictionaryArray.from_arrays(pa.array(best, mask=without), list(self._labels))
        return labels.cast(pa.string()), pa.array(known.max(axis=1), mask=without)

    def _sentences(
        self,
        scores: Scores,
        counts: npt.NDArray[np.int32],
        spans: Sequence[Spans],
        without: npt.NDArray[np.bool_],
    ) -> pa.Array:
        places = np.array([span for each in spans for span in each], dtype=np.int32).reshape(-1, 2)
        label, score = self._best(scores.probabilities, has_no_score(scores.probabilities))
        sentences = pa.StructArray.from_arrays(
            [pa.array(places[:, 0]), pa.array(places[:, 1]), label, score], names=list(SENTENCE)
        )
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), sentences, mask=pa.array(without))


def has_no_score(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return `[rows]`: whether a row of `probabilities [rows, labels]` is none."""
    return np.asarray(np.isnan(probabilities).any(axis=1), np.bool_)
