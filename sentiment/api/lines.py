"""Bytes become lines, as they come: pure, and never more than one line and one piece is held."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank."""

    number: int
    """From 1, blank lines counted."""
    content: bytes | None
    """Without its line feed; `None` where it was longer than a line may be."""


class LineSplitter:
    """Takes pieces of any size and gives the lines in them, the same for any cut into pieces.

    Lines end with a line feed, the last one also with the end of the input. One that is too long
    is given without its content as soon as that is known; the rest of it is dropped as it comes.
    """

    def __init__(self, *, max_line_bytes: int) -> None:
        """Give lines of up to `max_line_bytes`, the line feed not counted."""
        self._max_line_bytes = max_line_bytes
        # Passed over at once: one by one a megabyte of them would hold the event loop.
        self._blank_lines = re.compile(rb"(?:[ \t\r\v\f]{0,%d}\n)+" % max_line_bytes)
        self._held = bytearray()
        self._at = 0  # where the line that is looked for begins
        self._searched = 0  # up to where there is no line feed in it
        self._number = 1
        self._skipping = False  # the rest of a line that was too long
        self._ended = False

    def push(self, piece: bytes) -> None:
        """Take the next piece."""
        del self._held[: self._at]
        self._searched -= self._at
        self._at = 0
        self._held += piece

    def end(self) -> None:
        """Learn that no further piece comes."""
        self._ended = True

    def __iter__(self) -> Iterator[Line]:
        """Yield the lines that are there; go on with the next ones after the next piece."""
        while True:
            if self._searched == self._at and not self._skipping:
                self._pass_over_blank_lines()
            line_feed = self._held.find(b"\n", self._searched)
            whole = line_feed >= 0
            stop = line_feed if whole else len(self._held)
            too_long = stop - self._at > self._max_line_bytes
            if not (whole or too_long or self._skipping or self._ended):
                self._searched = stop
                return
            number, content = self._number, None if too_long else bytes(self._held[self._at : stop])
            given = not self._skipping and (content is None or bool(content.strip()))
            # Of a line without an end as yet the rest belongs to it too.
            self._skipping = not whole and not self._ended
            self._number += whole
            self._at = self._searched = stop + whole
            if given:
                yield Line(number, content)
            if not whole:
                return

    def _pass_over_blank_lines(self) -> None:
        if blank := self._blank_lines.match(self._held, self._at):
            self._number += self._held.count(b"\n", self._at, blank.end())
            self._at = self._searched = blank.end()
