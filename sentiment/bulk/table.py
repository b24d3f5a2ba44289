"""The same from Python: tables in memory, or batches that come one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from sentiment.bulk.chunks import Chunk, check_text_column
from sentiment.bulk.joining import Joiner, OnError, Rules, score_chunks
from sentiment.bulk.scoring import Scorer
from sentiment.errors import DataError
from sentiment.settings import Settings

CHUNK_ROWS = 16_384
"""Of a large batch that are scored and joined at a time."""


def score_table(
    rows: Any,
    *,
    text_column: str = "text",
    documents: bool = False,
    prefix: str = "",
    on_error: OnError = "fail",
    scorer: Scorer | None = None,
) -> pa.Table | Iterator[pa.RecordBatch]:
    """Add label, score, every label's probability and `truncated` to rows.

    Args:
        rows: a pyarrow Table, or what pyarrow takes for one, such as the DataFrames of pandas and
            polars; or record batches of one schema, of which any number can come.
        text_column: of strings.
        documents: score each sentence; the row gets their mean, their net sentiment, and a list
            of them.
        prefix: of the names of the columns that are added.
        on_error: what becomes of a row without a text: `fail` ends by an error, `skip` leaves it
            out, `null` keeps it without a score.
        scorer: a model that is loaded; else the one that SENTIMENT_MODEL names is, for this call.

    Returns:
        For a table a Table, for batches an iterator of as many batches or more, in order.

    Raises:
        DataError: no such column of strings, batches of different columns, or a row cannot be
            scored; rows count from 0.
        OptionError: one of the columns to add is there already, or `on_error` is none of these.
        ModelError: the model cannot be had or loaded.
    """
    rules = Rules(text_column=text_column, documents=documents, prefix=prefix, on_error=on_error)
    if isinstance(rows, pa.RecordBatchReader) or not _is_table(rows):
        return _scored_batches(iter(rows), rules, scorer)
    table = rows if isinstance(rows, pa.Table) else pa.table(rows)
    with _opened(scorer) as ready:
        joiner = _joiner(rules, ready, table.schema)
        batches = _scored(iter(table.to_batches(max_chunksize=CHUNK_ROWS)), ready, joiner, rules)
        return pa.Table.from_batches(batches, schema=joiner.schema)


def _scored_batches(
    batches: Iterator[pa.RecordBatch], rules: Rules, scorer: Scorer | None
) -> Iterator[pa.RecordBatch]:
    first = next(batches, None)
    if first is None:
        return
    if not isinstance(first, pa.RecordBatch):
        raise DataError(f"expected a table or record batches, found: {type(first).__name__}")
    with _opened(scorer) as ready:
        joiner = _joiner(rules, ready, first.schema)
        yield from _scored(chain([first], batches), ready, joiner, rules)


def _scored(
    batches: Iterator[pa.RecordBatch], scorer: Scorer, joiner: Joiner, rules: Rules
) -> Iterator[pa.RecordBatch]:
    for scored in score_chunks(_chunks(batches), scorer, joiner, rules):
        yield scored.rows


def _chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[Chunk]:
    first, schema = 0, None
    for batch in batches:
        schema = schema or batch.schema
        if not batch.schema.equals(schema):
            raise DataError(f"row {first}: a batch with other columns than the first")
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            part = batch.slice(start, CHUNK_ROWS)
            numbers = np.arange(first, first + part.num_rows)
            yield Chunk(file="row", numbers=numbers, columns=part, faults={})
            first += part.num_rows


def _joiner(rules: Rules, scorer: Scorer, schema: pa.Schema) -> Joiner:
    check_text_column(schema, rules.text_column, "the table")
    return Joiner(rules, labels=scorer.labels, schema=schema)


def _is_table(rows: Any) -> bool:
    """Whether rows come at once; of batches, pyarrow's reader can be taken for a table too."""
    return isinstance(rows, pa.Table) or hasattr(rows, "__arrow_c_stream__")


@contextmanager
def _opened(scorer: Scorer | None) -> Iterator[Scorer]:
    if scorer is not None:
        yield scorer
    else:
        with Scorer.open(Settings.from_env()) as opened:
            yield opened
