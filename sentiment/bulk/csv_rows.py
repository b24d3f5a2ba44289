"""Where the rows of CSV begin and end: quotes decide which line ends are part of a cell.

The rules are those of Arrow's parser, which reads the cells afterwards: a quote opens a cell at
its first character only and is a character like others elsewhere, two quotes in a quoted cell
are one, and `\\n`, `\\r\\n` or `\\r` ends a line.
"""

import re
from dataclasses import dataclass

import numpy as np

from sentiment.bulk.chunks import Indices

QUOTE, LINE_FEED, RETURN = b'"\n\r'


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Of the complete rows at the start of a block of bytes."""

    row_ends: Indices
    """`[rows]`: the first byte after each row and its line end, blank lines among them."""
    line_ends: Indices
    """`[lines]`: the same for every line, also those that end inside a quoted cell."""


class Splitter:
    """Finds the rows of a delimiter's CSV."""

    def __init__(self, delimiter: str) -> None:
        self._before_cell = np.frombuffer(f'{delimiter}\n\r"'.encode(), np.uint8)
        plain = rf"[^{delimiter}\r\n]*+"
        cell = rf'(?:"[^"]*+(?:""[^"]*+)*+"{plain}|(?!"){plain})'
        # A return at the end of a block may be half a line end.
        self._row = re.compile(rf"{cell}(?:{delimiter}{cell})*+(?:\n|\r\n|\r(?!\Z))".encode())

    def split(self, block: bytes, *, final: bool) -> Boundaries:
        """Find the complete rows at the start of `block`, which begins with a row.

        Args:
            block: bytes of the file.
            final: the file ends with it. Then the last row has a line end as well.
        """
        if final and block.endswith(b"\r"):
            block = block[:-1] + b"\n"  # the same row to the pattern, which cannot know the end
        characters = np.frombuffer(block, np.uint8)
        line_ends = _line_ends(block, characters)
        quotes = np.flatnonzero(characters == QUOTE)
        if not len(quotes):
            return Boundaries(line_ends, line_ends)
        # Where every second quote opens a cell or doubles the one before, they are what they
        # seem: a line end is inside a cell if an odd number of them is before it.
        openers = quotes[::2]
        before = characters[openers - 1]
        if openers[0] == 0:
            before[0] = LINE_FEED
        if np.isin(before, self._before_cell).all():
            inside = np.searchsorted(quotes, line_ends) % 2 == 1
            return Boundaries(line_ends[~inside], line_ends)
        return Boundaries(self._row_ends(block), line_ends)

    def _row_ends(self, block: bytes) -> Indices:
        """Find the ends of the rows one by one, in a block with quotes inside plain cells."""
        ends: list[int] = []
        at = 0
        while row := self._row.match(block, at):
            at = row.end()
            ends.append(at)
        return np.array(ends, np.int64)


def _line_ends(block: bytes, characters: np.ndarray) -> Indices:
    ends = np.flatnonzero(characters == LINE_FEED) + 1
    if b"\r" in block:
        returns = np.flatnonzero(characters[:-1] == RETURN)
        alone = returns[characters[returns + 1] != LINE_FEED] + 1
        if len(alone):
            ends = np.sort(np.concatenate([ends, alone]))
    return ends
