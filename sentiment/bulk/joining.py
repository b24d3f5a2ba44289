"""Rows and their scores come together again: what is added to a table, and what becomes of rows
that cannot be scored."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from sentiment.bulk.chunks import Chunk
from sentiment.bulk.columns import RowScores, ScoredColumns, has_no_score
from sentiment.bulk.scoring import Scorer, Scores
from sentiment.bulk.windows import TextsOf, Window, fault_of, sentences_of, whole, windows
from sentiment.errors import DataError, OptionError
from sentiment.sentences import sentence_spans

OnError = Literal["fail", "skip", "null"]

MODEL_FAILS = "the model fails on the text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which text of a row is scored, how, and what becomes of a row that cannot be.

    Raises:
        OptionError: nothing known is to become of it.
    """

    text_column: str
    documents: bool = False
    """Whether the sentences of a text are scored, instead of its beginning as a whole."""
    max_sentence_chars: int = 20_000
    """A longer sentence is cut, as the server does it."""
    prefix: str = ""
    """Of the names of the columns that are added."""
    on_error: OnError = "fail"
    """End; leave the row out; or keep it without a score."""

    def __post_init__(self) -> None:
        if self.on_error not in (known := get_args(OnError)):
            raise OptionError(f"on-error {self.on_error!r} is none of {', '.join(known)}")

    @property
    def texts_of(self) -> TextsOf:
        """What of a row's text is computed."""
        return partial(sentences_of, max_chars=self.max_sentence_chars) if self.documents else whole


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row has no score."""

    file: str
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Some consecutive rows of the output."""

    rows: pa.RecordBatch
    """What was given, and the columns that were added."""
    scores: RowScores
    """Of the same rows."""
    faults: list[Fault]
    """Of rows that have no score, in the output or not."""


class ScoreStream:
    """The scores of window after window, of which so many texts are taken at a time."""

    def __init__(self, windows: Iterable[Scores], *, labels: int) -> None:
        self._windows = iter(windows)
        self._left = Scores(np.zeros((0, labels), np.float32), np.zeros(0, np.bool_))

    def pull(self) -> bool:
        """Wait for one more window; `False` after the last."""
        found = next(self._windows, None)
        if found is None:
            return False
        self._left = Scores(
            np.concatenate([self._left.probabilities, found.probabilities]),
            np.concatenate([self._left.truncated, found.truncated]),
        )
        return True

    def take(self, texts: int) -> Scores:
        """Return the scores of the next `texts`.

        Raises:
            DataError: there are fewer: what is read now is not what was scored.
        """
        while len(self._left.truncated) < texts:
            if not self.pull():
                raise DataError("the input has other rows than when it was scored")
        taken, self._left = (
            Scores(self._left.probabilities[part], self._left.truncated[part])
            for part in (slice(texts), slice(texts, None))
        )
        return taken


class Joiner:
    """Adds the scored columns to rows, in their order."""

    def __init__(self, rules: Rules, *, labels: tuple[str, ...], schema: pa.Schema) -> None:
        """Prepare for rows of `schema`.

        Raises:
            OptionError: it has one of the columns to add already.
        """
        self.labels = labels
        self._rules = rules
        self._columns = ScoredColumns(labels, prefix=rules.prefix, documents=rules.documents)
        self.schema: pa.Schema = self._columns.schema(schema)
        """Of the rows with what is added."""

    def join(self, chunk: Chunk, take: Callable[[int], Scores]) -> ScoredRows:
        """Add to a chunk's rows what was computed of their texts.

        Args:
            take: returns the scores of so many texts, the next ones.

        Raises:
            DataError: a row cannot be scored, and that is to end the run.
        """
        texts = chunk.columns[self._rules.text_column].to_pylist()
        reasons = [chunk.faults.get(index) or fault_of(text) for index, text in enumerate(texts)]
        spans = [
            self._spans(None if bad else text) for text, bad in zip(texts, reasons, strict=True)
        ]
        counts = np.fromiter(map(len, spans), np.int64, len(spans))
        scores = take(int(counts.sum()))
        rows = self._columns.of_rows(scores, counts)
        failed = has_no_score(rows.probabilities)
        numbers = chunk.numbers.tolist()
        faults = [
            Fault(chunk.file, numbers[index], reasons[index] or MODEL_FAILS)
            for index in np.flatnonzero(failed).tolist()
        ]
        if faults and self._rules.on_error == "fail":
            raise failure(str(faults[0]))
        arrays = self._columns.arrays(rows, scores, spans)
        batch = pa.RecordBatch.from_arrays([*chunk.columns, *arrays], schema=self.schema)
        if faults and self._rules.on_error == "skip":
            kept = ~failed
            batch = batch.filter(pa.array(kept))
            rows = RowScores(rows.probabilities[kept], rows.truncated[kept])
        return ScoredRows(batch, rows, faults)

    def _spans(self, text: str | None) -> list[tuple[int, int]]:
        if text is None:
            return []
        if self._rules.documents:
            return list(sentence_spans(text, max_chars=self._rules.max_sentence_chars))
        return [(0, len(text))]


def failure(fault: str) -> DataError:
    """Return the error of a row that ends the run."""
    return DataError(f"{fault}; --on-error skip leaves such rows out, null keeps them unscored")


def checked(found: Iterable[Window], rules: Rules) -> Iterator[Window]:
    """Pass windows on, up to the first bad row if that is to end the run.

    Raises:
        DataError: there is one; names file and row.
    """
    for window in found:
        if window.fault and rules.on_error == "fail":
            raise failure(window.fault)
        yield window


def score_chunks(
    chunks: Iterable[Chunk], scorer: Scorer, joiner: Joiner, rules: Rules
) -> Iterator[ScoredRows]:
    """Score rows as they come, in one pass; some windows of them are held in memory.

    Raises:
        DataError: a row cannot be scored, and that is to end the run.
    """
    waiting: deque[Chunk] = deque()

    def passing() -> Iterator[Chunk]:
        for chunk in chunks:
            waiting.append(chunk)
            yield chunk

    found = checked(windows(passing(), rules.text_column, rules.texts_of), rules)
    stream = ScoreStream(
        scorer.score_windows(window.texts for window in found), labels=len(scorer.labels)
    )
    while waiting or stream.pull():
        while waiting:
            yield joiner.join(waiting.popleft(), stream.take)
