"""What a machine of a cluster does with an item: reads its rows, scores them, writes one part.

The part depends on the item alone: what is done again elsewhere gives the same bytes. So no text is
remembered from one item to the next. The token budget follows from the engine; machines that have
another tell so (`made_with`), and the run ends.
"""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pyarrow as pa

from sentiment.bulk.chunks import Reader, check_same_columns
from sentiment.bulk.csv_files import CsvReader
from sentiment.bulk.files import InputFile
from sentiment.bulk.items import Item
from sentiment.bulk.joining import Joiner, Rules, score_chunks
from sentiment.bulk.json_lines import JsonLinesReader
from sentiment.bulk.outputs import open_writer
from sentiment.bulk.parquet_files import ParquetReader
from sentiment.bulk.places import Drafts, Facts
from sentiment.bulk.run import FaultFile, model_record, scorer_record, see_unchanged
from sentiment.bulk.scoring import Scorer
from sentiment.bulk.tally import Tally
from sentiment.errors import ModelError
from sentiment.settings import Settings
from sentiment.storage import storage_errors

MODEL = ("model", "weights_sha256")
"""What of a record must be the same here as where the command runs, even before any work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRows:
    """Scores items, and writes parts. Goes by pickle."""

    files: Mapping[str, InputFile]
    """All of the input, by name."""
    schema: pa.Schema
    """Of all of them."""
    rules: Rules
    settings: Settings
    model: Mapping[str, Any]
    """`model_record` of the command's own machine."""
    output_format: str
    output_compression: str | None = None
    date_column: str | None = None
    ticker_column: str | None = None

    @contextmanager
    def open(self, *, threads: int) -> Iterator[Callable[[Item, Drafts], Facts]]:
        """Load the model, for one actor.

        Raises:
            ModelError: it cannot be had or loaded, or is another than on the command's machine.
        """
        settings = self.settings.model_copy(update={"threads": threads})
        with Scorer.open(settings) as scorer:
            self._check_model(scorer)
            actor = uuid4().hex
            made_with = scorer_record(scorer)

            def score(item: Item, drafts: Drafts) -> Facts:
                return {
                    **self._score(scorer, item, drafts),
                    "actor": actor,
                    "made_with": made_with,
                }

            yield score

    def _check_model(self, scorer: Scorer) -> None:
        here = model_record(scorer.model)
        for name in MODEL:
            if here[name] != self.model[name]:
                raise ModelError(
                    f"{socket.gethostname()} has another {self.settings.model} than the machine of "
                    f"the command: {name} is {here[name]}, not {self.model[name]}"
                )

    def _score(self, scorer: Scorer, item: Item, drafts: Drafts) -> Facts:
        before = (scorer.texts, scorer.computed_texts, scorer.engine_s)
        scorer.forget()
        file = self.files[item.file]
        see_unchanged([file])
        reader = self._open_reader(file, item)
        joiner = Joiner(self.rules, labels=scorer.labels, schema=self.schema)
        tally = Tally(
            labels=scorer.labels, date_column=self.date_column, ticker_column=self.ticker_column
        )
        rows = 0
        with (
            open_writer(
                drafts.part,
                output_format=self.output_format,
                compression=self.output_compression,
                schema=joiner.schema,
            ) as writer,
            FaultFile(drafts.faults) as faults,
        ):
            chunks = reader.chunks(self.schema.names)
            for joined in score_chunks(chunks, scorer, joiner, self.rules):
                writer.write(joined.rows)
                faults.write(joined.faults)
                tally.add(
                    joined.rows,
                    probabilities=joined.scores.probabilities,
                    truncated=joined.scores.truncated,
                )
                rows += joined.rows.num_rows
        see_unchanged([file])
        with storage_errors(drafts.tally):
            drafts.tally.write_text(json.dumps(tally.as_json()), encoding="utf-8")
            if not faults.count:
                drafts.faults.unlink()
        return {
            "rows": rows,
            "bad_rows": faults.count,
            "texts": scorer.texts - before[0],
            "computed_texts": scorer.computed_texts - before[1],
            "engine_s": scorer.engine_s - before[2],
        }

    def _open_reader(self, file: InputFile, item: Item) -> Reader:
        """Open an item's rows.

        Raises:
            DataError: the file cannot be read, or its columns are not those of the others.
        """
        text_column = self.rules.text_column
        if file.format == "jsonl":
            return JsonLinesReader(
                [file], text_column=text_column, for_format=self.output_format, schema=self.schema
            )
        reader: Reader
        if file.format == "parquet":
            reader = ParquetReader(
                [file],
                text_column=text_column,
                row_groups=item.row_groups,
                first_row=item.first_row,
            )
        else:
            reader = CsvReader([file], text_column=text_column)
        first = next(iter(self.files))
        check_same_columns(first, self.schema, file.name, reader.schema)
        return reader
