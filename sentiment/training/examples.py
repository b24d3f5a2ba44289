"""One labelled text, and what a cell of a file must be to become part of it."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sentiment.errors import DataError
from sentiment.predictions import LABELS

MAX_TEXT_CHARS = 131_072
"""The longest text that a file may hold: the `csv` module's own limit, for every format. Hundreds
of times what a model reads, so more is a defect of the file."""

PROBABILITY_TOLERANCE = 1e-3
"""How far from 1 probabilities may sum. Published ones carry 4 digits or more."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text."""

    text: str
    target: tuple[float, ...]
    """A probability for each of `LABELS`; sums to 1."""
    sources: frozenset[str]
    """Names of the files that it stands in; the nested files of PhraseBank are one."""
    soft: bool
    """The target is a teacher's, probabilities or a label, and not an annotator's label."""
    agreement: int | None = None
    """Of Financial PhraseBank: at least this percentage of the annotators chose the label, 50, 66,
    75 or 100."""

    @property
    def label(self) -> int:
        """Index into `LABELS` of the most probable label."""
        return max(range(len(LABELS)), key=self.target.__getitem__)


def comparison_key(text: str) -> str:
    """Return `text` without what makes no difference: case, punctuation, white space."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words)


def parse_text(cell: Any) -> str:
    """Return the text of a cell, without white space around it.

    Raises:
        DataError: no string, nothing visible, too long, not valid Unicode; does not say where.
    """
    if not isinstance(cell, str | None):
        raise DataError(f"the text is no string but {_kind(cell)}")
    text = (cell or "").strip()
    # As the server: separators, controls and combining marks leave a tokenizer nothing.
    if all(unicodedata.category(character)[0] in "ZCM" for character in text):
        raise DataError("the text is empty, or has nothing visible")
    if len(text) > MAX_TEXT_CHARS:
        raise DataError(f"the text has {len(text):,} characters; at most {MAX_TEXT_CHARS:,}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a character: "\ud83d"
        raise DataError("the text holds half of a surrogate pair, which is no character") from error
    return text


def hard_target(cell: Any) -> tuple[float, ...]:
    """Return the distribution that is certain of the label in a cell, `[labels]`.

    Raises:
        DataError: no label of `LABELS`; does not say where.
    """
    name = cell.strip().lower() if isinstance(cell, str) else None
    if name not in LABELS:
        raise DataError(f"unknown label {_shown(cell)}; expected {', '.join(LABELS)}")
    return tuple(float(candidate == name) for candidate in LABELS)


def soft_target(cells: Sequence[Any]) -> tuple[float, ...]:
    """Return the probabilities in cells, `[labels]`, scaled to sum to 1 exactly.

    Raises:
        DataError: not a distribution; does not say where.
    """
    target = [parse_number(cell) for cell in cells]
    total = sum(target)  # not `math.fsum`, which raises on infinities
    # NaN fails both comparisons.
    if not (min(target) >= 0 and abs(total - 1) <= PROBABILITY_TOLERANCE):
        shown = ", ".join(f"{p:.6g}" for p in target)
        raise DataError(
            f"the probabilities do not sum to 1, or one is negative or no number: {shown}"
        )
    return tuple(p / total for p in target)


def parse_number(cell: Any) -> float:
    """Return the number in a cell; it may be NaN or infinite.

    Raises:
        DataError: no number; does not say where.
    """
    if isinstance(cell, str | int | float | Decimal) and not isinstance(cell, bool):
        try:
            return float(cell)
        except (ValueError, OverflowError):
            pass
    raise DataError(f"expected a number, not {_shown(cell)}")


def _kind(cell: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(cell), f"of type {type(cell).__name__}")


def _shown(cell: Any) -> str:
    """Return a cell as one short line."""
    shown = ascii(cell)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
