"""A `transformers` pipeline that scores a CSV file: `python -m benchmarks.pipeline_child`.

Written as its documentation reads a file: texts come from a generator, answers are written as they
come, and the pipeline makes the batches. `Child` starts it with a model folder, a `dtype` of torch
or `default`, and the texts in a batch; each line of JSON with `table` and `output` is a file to
score.
"""

import csv
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bulk_data import TEXT_COLUMN
from sentiment.errors import first_line


class Pipeline:
    """A loaded pipeline."""

    def __init__(self, folder: Path, *, dtype: str, batch_texts: int) -> None:
        """Load the model; `default` leaves its precision to the library."""
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        chosen = {} if dtype == "default" else {"dtype": getattr(torch, dtype)}
        self._classify: Any = transformers.pipeline(
            "text-classification",
            model=str(folder),
            batch_size=batch_texts,
            truncation=True,  # a text over the model's length would end it
            **chosen,
        )
        self.facts = {
            "dtype": str(self._classify.model.dtype).removeprefix("torch."),
            "batch_texts": batch_texts,
        }
        list(self._classify(text for text in ["Profit rose"] * batch_texts))

    def score(self, table: Path, output: Path) -> float:
        """Write label and score of each row of `table`; return the seconds it took."""
        began_at = time.perf_counter()
        with output.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["label", "score"])
            for answer in self._classify(read_texts(table)):
                writer.writerow([answer["label"], answer["score"]])
        return time.perf_counter() - began_at


def read_texts(table: Path) -> Iterator[str]:
    """Yield the text of each row of a CSV file."""
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row[TEXT_COLUMN]


def main() -> None:
    """Load the pipeline, say so, and score the files that standard input names."""
    folder, dtype, batch_texts = sys.argv[1:]
    # Libraries print to standard output too: it becomes standard error for all but the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(document: dict[str, Any]) -> None:
        print(json.dumps(document), file=answers, flush=True)

    began_at = time.perf_counter()
    try:
        loaded = Pipeline(Path(folder), dtype=dtype, batch_texts=int(batch_texts))
    except Exception as error:
        answer({"unavailable": f"{type(error).__name__}: {first_line(error)}"})
        return
    answer({"load_s": time.perf_counter() - began_at, **loaded.facts})
    for line in sys.stdin:
        command = json.loads(line)
        answer({"seconds": loaded.score(Path(command["table"]), Path(command["output"]))})


if __name__ == "__main__":
    main()
