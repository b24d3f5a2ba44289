"""Tables to score in bulk: as many different headlines as are wanted, with id, date and ticker.

There are fewer real headlines than rows to measure with. More are made of the same words: in
another order, which costs an engine exactly as much, or with the row's number behind them.
"""

import csv
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

from benchmarks.measurement import BenchmarkError
from benchmarks.texts import financial_texts, read_texts, spelling

TEXT_COLUMN = "headline"
TEXT_COLUMNS = (TEXT_COLUMN, "title", "text", "sentence")
"""What a file of headlines may call them, whatever the case; the first that is there counts."""

FIRST_DAY = date(2020, 1, 1)
DAYS = 1500
TICKERS = tuple("".join(letters) for letters in itertools.product("ACEGI", "KLMNO", "RSTUV"))


def read_headlines(paths: Sequence[Path]) -> list[str]:
    """Return the headlines of all files, no two of which a tokenizer takes for the same.

    A `.csv` file has a column for them; any other is as `read_texts` wants it.

    Raises:
        BenchmarkError: a file cannot be read or holds no headline.
    """
    found: dict[str, str] = {}
    for path in paths:
        for text in _read_column(path) if path.suffix == ".csv" else read_texts(path):
            found.setdefault(spelling(text), text)
    return list(found.values())


def different_headlines(texts: Sequence[str], count: int) -> list[str]:
    """Return `count` different headlines: first those given, then the same words in turned order.

    The second time each begins with its second word and ends with its first, and so on. Words are
    cut into tokens one by one, so a turned headline has as many as before.

    Raises:
        BenchmarkError: there are too few words to make so many.
    """
    seen: set[str] = set()
    made: list[str] = []
    words = [text.split() for text in texts]
    for turn in range(max(map(len, words), default=0)):
        for text, own in zip(texts, words, strict=True):
            if len(made) == count:
                return made
            if turn >= len(own):
                continue
            variant = " ".join([*own[turn:], *own[:turn]]) if turn else text
            form = spelling(variant)
            if form not in seen:
                seen.add(form)
                made.append(variant)
    if len(made) < count:
        raise BenchmarkError(f"{len(texts)} headlines make {len(made)} of the {count} wanted")
    return made


def numbered_headlines(texts: Sequence[str], count: int) -> Iterator[str]:
    """Yield `count` headlines, different by the number behind each; holds no more than `texts`."""
    for row, text in zip(range(1, count + 1), itertools.cycle(texts), strict=False):
        yield f"{text} ({row})"


def headlines(paths: Sequence[Path] | None, count: int) -> list[str]:
    """Return `count` different headlines: those of the files, or invented ones where none are.

    Mixed, always in the same way: each file has one kind of text, and so one length.
    """
    if not paths:
        return financial_texts(count)
    found = read_headlines(paths)
    random.Random(0).shuffle(found)
    return different_headlines(found, count)


def write_table(path: Path, texts: Iterable[str], *, bad_row_every: int = 0) -> None:
    """Write a CSV file of a row for each text: id from 1, date, ticker and headline.

    Args:
        bad_row_every: 500 gives every 500th row a field too many; 0 none.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "date", "ticker", TEXT_COLUMN])
        for row, text in enumerate(texts, start=1):
            day = FIRST_DAY + timedelta(days=row * 7 % DAYS)
            surplus = ["surplus"] if bad_row_every and row % bad_row_every == 0 else []
            ticker = TICKERS[row % len(TICKERS)]
            writer.writerow([row, day.isoformat(), ticker, text, *surplus])


def _read_column(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            names = {name.lower(): name for name in rows.fieldnames or ()}
            column = next((names[name] for name in TEXT_COLUMNS if name in names), None)
            if column is None:
                raise BenchmarkError(f"{path}: no column named {', '.join(TEXT_COLUMNS)}")
            yield from (text for row in rows if (text := (row[column] or "").strip()))
    except OSError as error:
        raise BenchmarkError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path}: not UTF-8") from error
