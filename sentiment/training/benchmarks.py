"""Published test sets of other domains, each read as its authors meant it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentiment.errors import DataError, first_line
from sentiment.training.examples import Example, hard_target, parse_number, parse_text
from sentiment.training.rows import Row, at_row, check_file, read_rows

NEUTRAL_SCORE = 0.1
"""FiQA's scores, from -1 to 1, are neutral up to here on either side. By the sign alone 11 of
1,111 sentences would be neutral, too few to measure anything on; at 0.1 it is 81."""

TWITTER_LABELS = {"0": "negative", "1": "positive", "2": "neutral"}
"""Bearish, bullish, neutral; not the order of `LABELS`."""

MAX_JSON_BYTES = 2**26
"""The largest .json file, 64 MiB: it is one value, so it is read whole. FiQA's have 0.2 MB."""


def read_benchmark(path: Path) -> tuple[Example, ...]:
    """Read a published benchmark, recognised by what is in the file; repeated texts stay.

    - FiQA 2018 task 1, a training file (`.json`): a sentence is positive or negative when all
      its annotations score beyond `NEUTRAL_SCORE` on that side, neutral when none does. One
      whose annotations differ says different things of different companies: it is left out.
    - Twitter Financial News Sentiment (`.csv`, header `text,label`): `TWITTER_LABELS`.
    - SEntFiN 1.0 (`.csv`, header `S No.,Title,Decisions,Words`): the headlines with exactly one
      entity, whose sentiment is then the headline's.

    Raises:
        DataError: none of these, or a row makes no sense; names file and row.
    """
    try:
        examples = tuple(_read_fiqa(path) if path.suffix.lower() == ".json" else _read_csv(path))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if not examples:
        raise DataError(f"{path}: no text with one label")
    return examples


def _read_fiqa(path: Path) -> Iterator[Example]:
    check_file(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise DataError(f"{path}: over {MAX_JSON_BYTES:,} bytes, so none of FiQA's files")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected FiQA's sentences, an object by number")
    for key, entry in content.items():
        with at_row(path, f"sentence {ascii(key)[:40]}"):
            text = parse_text(_member(entry, "sentence", str))
            labels = {_sign(annotation) for annotation in _member(entry, "info", list)}
            target = hard_target(min(labels)) if len(labels) == 1 else None
        if target is not None:
            yield Example(text, target, frozenset({path.name}), soft=False)


def _member(entry: Any, name: str, kind: type) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        raise DataError(f"expected FiQA's {{sentence, info}}, but there is no `{name}`")
    return value


def _sign(annotation: Any) -> str:
    """Return the label of one annotation."""
    if not isinstance(annotation, dict) or "sentiment_score" not in annotation:
        raise DataError("an annotation has no `sentiment_score`; FiQA's test files have none")
    score = parse_number(annotation["sentiment_score"])
    if not -1 <= score <= 1:  # NaN neither
        raise DataError(f"`sentiment_score` is {score}; expected -1 to 1")
    if abs(score) <= NEUTRAL_SCORE:
        return "neutral"
    return "positive" if score > 0 else "negative"


def _read_csv(path: Path) -> Iterator[Example]:
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path}: expected a benchmark, .json or .csv")
    for row in read_rows(path, {"text", "label", "Title", "Decisions"}):
        with at_row(path, row.number):
            found = _sentfin(row) if "Decisions" in row.columns else _twitter(row)
        if found is not None:
            text, target = found
            yield Example(text, target, frozenset({path.name}), soft=False)


def _twitter(row: Row) -> tuple[str, tuple[float, ...]]:
    if set(row.columns) != {"text", "label"}:
        raise DataError(
            "expected the columns text,label of Twitter Financial News or S No.,Title,Decisions,"
            f"Words of SEntFiN; there are {ascii(','.join(row.columns))[:300]}"
        )
    label = str(row.cells.get("label")).strip()
    if label not in TWITTER_LABELS:
        raise DataError(f"unknown label {ascii(label)[:40]}; expected 0, 1 or 2")
    return parse_text(row.cells.get("text")), hard_target(TWITTER_LABELS[label])


def _sentfin(row: Row) -> tuple[str, tuple[float, ...]] | None:
    # Not read as the Python literal that it is meant to be: apostrophes in names break it.
    labels: list[str] = re.findall(
        r"': *'(positive|negative|neutral)'", row.cells.get("Decisions") or ""
    )
    if not labels:
        raise DataError("expected `Decisions` such as {'Nokia': 'positive'}")
    text = parse_text(row.cells.get("Title"))
    return (text, hard_target(labels[0])) if len(labels) == 1 else None
