"""A run on a cluster with the bundled model: `python -m benchmarks.cluster_run OUTPUT FILE ...`.

Says `done N` for each item, and ends as the command line does: an error is one line and a code.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from sentiment.bulk.cluster import ClusterOptions, score_on_cluster
from sentiment.bulk.items import Item, cut_items
from sentiment.bulk.places import Facts, Place
from sentiment.cli import EXIT_CODES
from sentiment.engines import open_engine
from sentiment.errors import DataError, SentimentError
from sentiment.models import resolve_model
from sentiment.predictions import softmax
from sentiment.tokenization import Tokenization, load_tokenizer

BATCH_TEXTS = 32

POISON = "a text that ends its process, as one does for want of memory"


@dataclass(frozen=True)
class GivenFile:
    """A local file, as the cut sees it."""

    name: str
    compression: None = None

    @property
    def format(self) -> str:
        """As the name says."""
        return Path(self.name).suffix.removeprefix(".")

    @property
    def size_bytes(self) -> int:
        """As it lies there."""
        return Path(self.name).stat().st_size

    def open_for_seeking(self) -> BinaryIO:
        """Return a stream that can seek."""
        return Path(self.name).open("rb")


@dataclass(frozen=True)
class CompactModel:
    """Adds `label` and `score`; keeps a ledger of what it was given."""

    ledger: str
    """A line for each item that is computed, with the process that does."""

    @contextmanager
    def open(self, *, threads: int) -> Iterator[Callable[[Item, Path], Facts]]:
        """Load the model for one actor."""
        model = resolve_model("compact")
        engine = open_engine(model, engine="auto", device="cpu", threads=threads)
        self._note({"opened": os.getpid()})
        with Tokenization(load_tokenizer(model.folder), max_tokens=512, threads=1) as tokenization:

            def score(item: Item, part: Path) -> Facts:
                self._note({"item": item.number, "process": os.getpid()})
                table = rows_of(item)
                if POISON in table["text"].to_pylist():
                    os.kill(os.getpid(), signal.SIGKILL)
                ids = tokenization.encode_now(table["text"].to_pylist()).ids
                logits = np.concatenate(
                    [
                        engine.infer(engine.batch_type.collate(ids[at : at + BATCH_TEXTS]))
                        for at in range(0, len(ids), BATCH_TEXTS)
                    ]
                )
                shares = softmax(logits)
                labels = [model.labels[best] for best in shares.argmax(axis=1)]
                table = table.append_column("label", pa.array(labels))
                table = table.append_column("score", pa.array(shares.max(axis=1)))
                parquet.write_table(table, part)
                return {"rows": len(table)}

            yield score

    def _note(self, line: dict[str, int]) -> None:
        with Path(self.ledger).open("a") as ledger:
            ledger.write(json.dumps(line) + "\n")


def rows_of(item: Item) -> pa.Table:
    """Return an item's rows.

    Raises:
        DataError: they have no column `text`.
    """
    if item.format == "csv":
        return csv.read_csv(item.file)
    with parquet.ParquetFile(item.file) as opened:
        if "text" not in opened.schema_arrow.names:
            raise DataError(f"{item.file}: no column 'text'")
        groups = item.row_groups or (0, opened.num_row_groups)
        return opened.read_row_groups(range(*groups))


def main() -> None:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--address")
    parser.add_argument("--ledger", default=os.devnull)
    parser.add_argument("--actors", type=int)
    parser.add_argument("--item-rows", type=int, default=100)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--patience", type=float, default=600)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    try:
        items = cut_items(
            [GivenFile(name) for name in arguments.files],
            item_rows=arguments.item_rows,
            cut_bytes=0,
        )
        place = Place.at(arguments.output, suffix=".parquet", items=len(items))
        plan = {"items": [item.as_json() for item in items]}
        done = place.begin(plan, resume=arguments.resume, overwrite=False)
        facts = score_on_cluster(
            items,
            work=CompactModel(arguments.ledger),
            place=place,
            done=done,
            options=ClusterOptions(
                address=arguments.address,
                actors=arguments.actors,
                cpus_per_actor=arguments.cpus,
                patience_s=arguments.patience,
            ),
            on_done=lambda item, facts: print(f"done {item.number}", flush=True),
        )
        place.finish({"rows": sum(each["rows"] for each in facts.values())})
    except SentimentError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_CODES.get(type(error), 1))


if __name__ == "__main__":
    main()
