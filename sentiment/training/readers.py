"""Labelled texts from files: Financial PhraseBank, CSV, TSV, JSON Lines, Parquet.

Every reader answers `Example`s whose target is a distribution over `LABELS`: a hard label is
a distribution with one certain outcome, a teacher's output is one without. So one loss
trains on both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentiment.errors import DataError
from sentiment.predictions import LABELS
from sentiment.training.examples import Example, hard_target, parse_text, soft_target
from sentiment.training.phrasebank import AGREEMENTS, read_agreements, read_sentences
from sentiment.training.rows import Row, at_row, read_rows

TEXT_COLUMNS = ("text", "sentence")
LABEL_COLUMNS = ("label", "sentiment")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of a table's columns; `None` leaves the choice to the file.

    A column that is named must be there, in every table read. Otherwise the text is in `text`,
    else in `sentence`; the label in `label`, else in `sentiment`; a probability in the column
    of the label's own name. Names are compared as they are, case included.
    """

    text: str | None = None
    label: str | None = None
    positive: str | None = None
    negative: str | None = None
    neutral: str | None = None
    or_usual: bool = False
    """Read a table that lacks a named column by the usual names instead."""

    @property
    def wanted(self) -> set[str]:
        """Every name that could be of use."""
        named = (self.text, self.label, self.positive, self.negative, self.neutral)
        return {*filter(None, named), *TEXT_COLUMNS, *LABEL_COLUMNS, *LABELS}


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a table keeps what."""

    text: str
    label: str | None
    probabilities: tuple[str, ...]
    """In the order of `LABELS`, or none."""

    @property
    def needed(self) -> str:
        """What a row without a target lacks."""
        wants = [f"a label in {self.label!r}"] if self.label else []
        if self.probabilities:
            wants.append(f"a number in each of {', '.join(self.probabilities)}")
        return f"expected {', or '.join(wants)}"


def read_file(path: Path, columns: Columns | None = None) -> Iterator[tuple[int, Example]]:
    """Yield row and example of a labelled file, one at a time.

    A `.txt` file is PhraseBank's `sentence@label`, in ISO-8859-1, and has no columns. A table
    (`.csv`, `.tsv`, `.jsonl`, all UTF-8, or `.parquet`) has a text and a label, or a number in
    each of three probabilities, which count more than a label beside them. A table with those
    three columns is a teacher's: a row where one of them is empty needs the label, and that is
    the teacher's too, a soft example whose target is certain.

    Raises:
        DataError: the file cannot be read, or a row makes no sense; names file and row.
    """
    suffix = path.suffix.lower()
    if suffix not in (".txt", *TABLES):
        raise DataError(f"{path}: expected a .txt, {', '.join(TABLES[:-1])} or {TABLES[-1]} file")
    empty = True
    try:
        reader = _phrasebank(path) if suffix == ".txt" else _table(path, columns or Columns())
        for found in reader:
            empty = False
            yield found
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if empty:
        raise DataError(f"{path}: no labelled text")


def _phrasebank(path: Path) -> Iterator[tuple[int, Example]]:
    agreements = read_agreements(path)
    own = AGREEMENTS.get(path.name)
    sources = frozenset({path.name})
    for number, sentence, label in read_sentences(path):
        with at_row(path, number):
            text, target = parse_text(sentence), hard_target(label)
        agreement = agreements.get((sentence, label), own)
        yield number, Example(text, target, sources, soft=False, agreement=agreement)


def _table(path: Path, columns: Columns) -> Iterator[tuple[int, Example]]:
    sources = frozenset({path.name})
    names: tuple[str, ...] | None = None
    for row in read_rows(path, columns.wanted):
        if row.columns != names:  # each object of JSON Lines may have its own
            names, found = row.columns, _find_columns(path, row, columns)
        with at_row(path, row.number):
            text = parse_text(row.cells.get(found.text))
            cells = [row.cells.get(name) for name in found.probabilities]
            label = row.cells.get(found.label) if found.label else None
            if cells and all(cell is not None and cell != "" for cell in cells):
                target = soft_target(cells)
            elif label is not None and label != "":
                target = hard_target(label)
            else:
                raise DataError(found.needed)
        yield row.number, Example(text, target, sources, soft=bool(cells))


def _find_columns(path: Path, row: Row, columns: Columns) -> _Found:
    """Choose the columns of a table.

    Raises:
        DataError: one is missing; says which are there.
    """
    names = row.columns

    def choose(named: str | None, usual: tuple[str, ...]) -> str | None:
        if named in names:
            return named
        if named is not None and not columns.or_usual:
            raise missing(repr(named))
        return next((name for name in usual if name in names), None)

    def missing(what: str) -> DataError:
        there = ", ".join(map(repr, names)) or "none"
        if len(there) > 300:
            there = f"{there[:297]}..."
        return DataError(
            f"{path}:{row.header or row.number}: expected a column named {what}; there are {there}"
        )

    text = choose(columns.text, TEXT_COLUMNS)
    label = choose(columns.label, LABEL_COLUMNS)
    chosen = [choose(getattr(columns, name), (name,)) for name in LABELS]
    probabilities = tuple(name for name in chosen if name is not None)
    if text is None:
        raise missing(" or ".join(TEXT_COLUMNS))
    if len(probabilities) < len(LABELS):
        if label is None:
            raise missing(f"{' or '.join(LABEL_COLUMNS)}, or {', '.join(LABELS)}")
        probabilities = ()
    return _Found(text, label, probabilities)
