"""Labelled texts from files: Financial PhraseBank as published, or CSV.

Every reader answers `Example`s whose target is a distribution over `LABELS`: a hard label is
a distribution with one certain outcome, a teacher's output is one without. So one loss
trains on both.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sentiment.errors import DataError
from sentiment.models import file_sha256
from sentiment.predictions import LABELS

RESERVED_TEXTS = (
    "Stocks rallied and the British pound gained.",
    "The economy showed significant growth.",
    "Investors are optimistic about the market.",
    "The company announced record profits and expansion plans.",
)
"""The documentation's examples. Never trained on, so that what the README shows is a
prediction and not a memory."""

TEXT_COLUMNS = ("text", "sentence")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text."""

    text: str
    target: tuple[float, ...]
    """A probability for each of `LABELS`; sums to 1."""
    sources: frozenset[str]
    """Names of the files that it stands in."""
    soft: bool
    """The target is a teacher's probabilities, not an annotator's label."""
    agreement: int | None = None
    """Of Financial PhraseBank: at least this percentage of the annotators chose the label, 50, 66,
    75 or 100."""

    @property
    def label(self) -> int:
        """Index into `LABELS` of the most probable label."""
        return max(range(len(LABELS)), key=self.target.__getitem__)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What `read_examples` made of the files, and what it left out."""

    examples: tuple[Example, ...]
    sha256: dict[str, str]
    """Digest of each file, by name."""
    rows: int
    duplicates: int
    """Rows whose text (case, punctuation and white space aside) stood in an earlier row."""
    conflicts: int
    """Duplicates with another label than the row that was kept."""
    reserved: int
    """Rows left out because they are `RESERVED_TEXTS`."""


def comparison_key(text: str) -> str:
    """Return `text` without what makes no difference: case, punctuation, white space."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words)


def read_examples(paths: Sequence[Path]) -> Dataset:
    """Read labelled files, in order; of a text that occurs twice the first row counts.

    A hard label therefore wins over a teacher's if its file is named first.

    Raises:
        DataError: a file cannot be read, or a row makes no sense; names file and line.
    """
    names = [path.name for path in paths]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"two files are named {', '.join(repeated)}; records go by name")
    reserved_keys = {comparison_key(text) for text in RESERVED_TEXTS}
    kept: dict[str, Example] = {}
    rows = conflicts = reserved = 0
    for path in paths:
        for example in _read_file(path):
            rows += 1
            key = comparison_key(example.text)
            if key in reserved_keys:
                reserved += 1
            elif (first := kept.setdefault(key, example)) is not example:
                conflicts += first.label != example.label
                kept[key] = replace(first, sources=first.sources | example.sources)
    if not kept:
        raise DataError(f"no labelled text in {', '.join(map(str, paths)) or 'no file'}")
    return Dataset(
        examples=tuple(kept.values()),
        sha256={path.name: file_sha256(path) for path in paths},
        rows=rows,
        duplicates=rows - reserved - len(kept),
        conflicts=conflicts,
        reserved=reserved,
    )


def _read_file(path: Path) -> Iterator[Example]:
    readers = {".txt": _read_phrasebank, ".csv": _read_csv}
    reader = readers.get(path.suffix)
    if reader is None:
        raise DataError(f"{path}: expected a {' or '.join(readers)} file")
    try:
        yield from reader(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error


def _read_phrasebank(path: Path) -> Iterator[Example]:
    """Read `sentence@label` lines, ISO-8859-1 as the authors published them.

    The last `@` separates: a sentence may hold one. Some sentences hold damaged Finnish
    letters ("Sepp+ñl+ñ"); they stay, because FinBERT was trained on them as they are.
    """
    with path.open(encoding="iso-8859-1") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            text, separator, label = line.rstrip().rpartition("@")
            if not separator or not text.strip():
                raise DataError(f"{path}:{number}: expected `sentence@label`")
            yield _hard_example(text.strip(), label, path, number)


def _read_csv(path: Path) -> Iterator[Example]:
    """Read UTF-8 CSV with a header: `text` or `sentence`, then a label or probabilities.

    A row with a number in each of `positive`, `negative` and `neutral` is a soft label; a
    row without them needs `label`.
    """
    # Decoded whole, so that an error's position is one in the file.
    content = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        columns = reader.fieldnames or ()
        text_column = next((name for name in TEXT_COLUMNS if name in columns), None)
        if text_column is None:
            raise DataError(f"{path}:1: expected a column named {' or '.join(TEXT_COLUMNS)}")
        for row in reader:
            text = (row[text_column] or "").strip()
            if not text:
                raise DataError(f"{path}:{reader.line_num}: the text is empty")
            if None in row:
                raise DataError(f"{path}:{reader.line_num}: more cells than columns")
            cells = [row.get(label) for label in LABELS]
            if all(cells):
                yield _soft_example(text, [cell or "" for cell in cells], path, reader.line_num)
            elif row.get("label"):
                yield _hard_example(text, row["label"], path, reader.line_num)
            else:
                raise DataError(
                    f"{path}:{reader.line_num}: expected a `label`, or a number in each of "
                    f"{', '.join(LABELS)}"
                )
    except csv.Error as error:
        # Not `DictReader.line_num`, which a broken header leaves at 0.
        line = reader.reader.line_num
        raise DataError(f"{path}:{line}: not a CSV file: {error}") from error


def _hard_example(text: str, label: str, path: Path, line: int) -> Example:
    name = label.strip().lower()
    if name not in LABELS:
        raise DataError(f"{path}:{line}: unknown label {name!r}; expected {', '.join(LABELS)}")
    target = tuple(float(candidate == name) for candidate in LABELS)
    return Example(text, target, sources=frozenset({path.name}), soft=False)


def _soft_example(text: str, cells: Iterable[str], path: Path, line: int) -> Example:
    try:
        target = tuple(float(cell) for cell in cells)
    except ValueError as error:
        raise DataError(f"{path}:{line}: a probability is not a number") from error
    total = sum(target)  # not `math.fsum`, which raises on infinities
    # NaN fails both comparisons. Published probabilities carry 9 digits: 1e-3 is generous.
    if not (min(target) >= 0 and abs(total - 1) <= 1e-3):
        raise DataError(f"{path}:{line}: the probabilities do not sum to 1")
    return Example(
        text, tuple(p / total for p in target), sources=frozenset({path.name}), soft=True
    )
