"""Published sets of labelled financial texts, measured on and never trained on.

Each has its own idea of a label; what cannot be said with one of `LABELS` is left out.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentiment.errors import DataError
from sentiment.predictions import LABELS
from sentiment.training.datasets import Example, read_examples

TWITTER_LABELS = {"0": "negative", "1": "positive", "2": "neutral"}
"""Bearish, bullish, neutral: another order than FinBERT's."""


def read_benchmark(path: Path) -> tuple[Example, ...]:
    """Read one published file, in its order.

    FiQA 2018, task 1 (`.json`): the sign of a sentence's score; sentences whose targets have
    different signs are left out. Twitter Financial News (`.csv` with labels 0, 1, 2). SEntFiN
    (`.csv` with `Decisions`): headlines with one entity. Any other `.csv` as `read_examples`.

    Raises:
        DataError: the file cannot be read, or holds no labelled text.
    """
    try:
        if path.suffix == ".json":
            rows = list(_fiqa(json.loads(path.read_text(encoding="utf-8"))))
        else:
            table = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
            records = list(table)
            columns = set(table.fieldnames or ())
            if {"Title", "Decisions"} <= columns:
                rows = list(_sentfin(records))
            elif records and {row.get("label") for row in records} <= TWITTER_LABELS.keys():
                rows = [(row["text"], TWITTER_LABELS[row["label"]]) for row in records]
            else:
                return read_examples([path]).examples
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (csv.Error, KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: not a benchmark that is known: {error}") from error
    if not rows:
        raise DataError(f"{path}: no labelled text")
    return tuple(
        Example(
            text,
            tuple(float(name == label) for name in LABELS),
            sources=frozenset({path.name}),
            soft=False,
        )
        for text, label in rows
    )


def _fiqa(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for item in content.values():
        scores = [float(each["sentiment_score"]) for each in item["info"]]
        labels = {
            "positive" if score > 0 else "negative" if score < 0 else "neutral" for score in scores
        }
        if len(labels) == 1:
            yield item["sentence"], labels.pop()


def _sentfin(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for row in rows:
        labels = re.findall(r"['\"]: *'(positive|negative|neutral)'", row["Decisions"])
        if len(labels) == 1:
            yield row["Title"], labels[0]
