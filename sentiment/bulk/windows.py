"""Rows become windows of texts: what is computed together, kept together and done again together.

Where a window ends depends on the rows alone. So a run that goes on cuts the same windows, and
gets the same bits.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from sentiment.bulk.chunks import Chunk
from sentiment.sentences import sentence_spans
from sentiment.visible import is_visible

WINDOW_ROWS = 4096
"""What a run that is killed does again: of headlines 4 s of work for the bundled model on two
cores, half a minute for BERT-base."""

WINDOW_CHARS = 2**22
"""After so many characters a window ends sooner: some thousand long articles."""

NO_TEXT = "no text"
NOTHING_VISIBLE = "nothing visible in the text"

TextsOf = Callable[[str], list[str]]
"""What of a row's text is computed: itself, or its sentences."""


@dataclass(slots=True)
class Window:
    """Some consecutive rows, as texts to compute."""

    texts: list[str] = field(default_factory=list)
    """Of all rows, one row after the other."""
    counts: list[int] = field(default_factory=list)
    """`[rows]`: how many of the texts are a row's; 0 for a bad row."""
    places: list[tuple[str, int]] = field(default_factory=list)
    """`[rows]`: file and number, as an error names them."""
    fault: str | None = None
    """Of the first bad row: where it is, and what is wrong."""

    def place_of(self, text: int) -> str:
        """Return the row of a text, as an error names it."""
        row = int(np.searchsorted(np.cumsum(self.counts), text, side="right"))
        file, number = self.places[row]
        return f"{file}:{number}"


def whole(text: str) -> list[str]:
    """Return the text itself."""
    return [text]


def sentences_of(text: str, *, max_chars: int) -> list[str]:
    """Return the text's sentences; at least one, if anything in it is visible."""
    return [text[start:end] for start, end in sentence_spans(text, max_chars=max_chars)]


def windows(chunks: Iterable[Chunk], text_column: str, texts_of: TextsOf) -> Iterator[Window]:
    """Cut rows into windows; the chunks in which they come do not matter."""
    window, chars = Window(), 0
    for chunk in chunks:
        texts = chunk.columns[text_column].to_pylist()
        for index, (text, number) in enumerate(zip(texts, chunk.numbers.tolist(), strict=True)):
            fault = chunk.faults.get(index) or fault_of(text)
            found = [] if fault else texts_of(text)
            if fault and window.fault is None:
                window.fault = f"{chunk.file}:{number}: {fault}"
            window.texts.extend(found)
            window.counts.append(len(found))
            window.places.append((chunk.file, number))
            chars += len(text or "")
            if len(window.counts) == WINDOW_ROWS or chars >= WINDOW_CHARS:
                yield window
                window, chars = Window(), 0
    if window.counts:
        yield window


def fault_of(text: str | None) -> str | None:
    """Return why a text cannot be scored; `None` where it can be."""
    if text is None:
        return NO_TEXT
    return None if is_visible(text) else NOTHING_VISIBLE
