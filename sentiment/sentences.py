"""A document becomes sentences: where in it they stand.

What ends a sentence inside a line decides `sentencex`. What is here is what it does not know:
lines, lists and tables, a few abbreviations, and how to split any text in linear time.
`docs/documents.md` says why this library and which rules.
"""

import re
from collections.abc import Generator, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from sentencex import get_sentence_boundaries

from sentiment.visible import is_visible

LANGUAGE = "en"
"""Whose abbreviations count. Full stops of other scripts end sentences all the same."""

WINDOW_CHARS = 1024
"""Given to the library at once, and looked at of a line. The library's time can grow with the
square of that, and it holds the interpreter's lock meanwhile: 0.8 ms at worst for so much."""

SCAN_CHARS = 2**15
"""Searched at once for the end of a line, in 0.5 ms at worst."""

LINES_TOGETHER = 256
"""Lines of a paragraph that decide together whether they are wrapped."""

NARROWEST, WIDEST = 40, 120
"""Characters between which text is wrapped: nobody wraps sooner, and longer lines are none that
were wrapped."""

ABBREVIATIONS = frozenset(
    {"approx", "avg", "cos", "eq", "excl", "exh", "incl", "int'l", "intl", "thurs", "tues", "vol"}
)
"""Beyond those of the library: a full stop after one of them ends no sentence."""

UNITS = frozenset(
    {"bn", "cum", "est", "hrs", "llc", "mio", "mln", "mn", "oyj", "pct", "plc", "pty", "qtr", "tn"}
    | {"yr", "yrs"}
)
"""A full stop after one of them ends no sentence if a small letter follows."""

WORDS_END = re.compile(
    # What follows comes first: to look back at every full stop would cost more than all else.
    r"\.(?=\s+[A-Z])"
    r"(?:(?<=\bMay\.)|(?<=\bFed\.)|(?<=\bOK\.)|(?<=\bme\.)|(?<=\bno\.)|(?<=\bill\.))\s+"
)
"""The end of a sentence after a word that the library takes for an abbreviation."""

LINE_END = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
WHITE_SPACE = re.compile(r"\s")
OTHER_SPACE = re.compile(r"[^\S ]")
NOT_SPACE = re.compile(r"\S")
FIRST_WORD = re.compile(r"\S+")
LETTER_OR_DIGIT = re.compile(r"[^\W_]")

ITEM = re.compile(
    r"[-*\u2013\u2014•·‣▪■●○◦]\s|\d{1,3}[.)]\s|\(\d{1,3}\)\s|\(?(?:[A-Za-z]|[ivx]{2,4})\)\s"
)
"""What a list's items begin with: `- `, `• `, `1. `, `1) `, `(1) `, `a) `, `(iv) `."""

ROW = re.compile(r"\t|\|.*\||\S {3,}\S")
"""What a table's rows have in them."""

FEWEST_CHARS = 2
"""Of a sentence and the end of one before it."""

LAST_WORD = re.compile(r"([\w']+)\.$")
GOES_ON_BEFORE = ",-/&(\N{EN DASH}\N{EM DASH}"
GOES_ON_AFTER = ",;:)]}"


class Span(NamedTuple):
    """Where something stands in a text, in Unicode code points."""

    start: int
    end: int
    """Of the first character that does not belong to it."""


class _Line(NamedTuple):
    """A line with something in it, without what is blank around that."""

    start: int
    end: int
    begins_paragraph: bool
    stands_alone: bool
    """It is the row of a table, or a rule."""


class _Piece(NamedTuple):
    """What may be a sentence."""

    start: int
    end: int
    has_words: bool
    is_visible: bool
    begins_block: bool
    """See `_blocks`."""


def sentence_spans(text: str, *, max_chars: int) -> Iterator[Span]:
    """Yield where the sentences of `text` stand, in order.

    They do not overlap, each has something visible, and what lies between them has not. A text
    with nothing visible has none. Takes any text, in time that grows with its length.

    Args:
        text: of any length and in any language.
        max_chars: of a sentence; a longer one is cut at white space, or where there is none.
    """
    return (span for span in sentence_steps(text, max_chars=max_chars) if span is not None)


def sentence_steps(text: str, *, max_chars: int) -> Iterator[Span | None]:
    """Yield what `sentence_spans` does, and `None` wherever it may pause.

    A step takes some microseconds, 3 ms at worst. There is one for each line, each piece that the
    library finds and each sentence; so their number says what a text has cost.
    """
    for span in _joined(text, _pieces(text)):
        if span is None:
            yield None
        else:
            yield from _cut(text, span, max_chars)


def _pieces(text: str) -> Iterator[_Piece | None]:
    """Yield what may be sentences, without the white space around them."""
    for block in _blocks(text):
        if block is None:
            yield None
            continue
        begins_block = True
        start = end = -1
        has_words = visible = False
        for part, ends in _split(text, block):
            inner = yield from _trimmed(text, *part)
            if inner.start < inner.end:
                start, end = (inner.start if start < 0 else start), inner.end
                has_words = has_words or LETTER_OR_DIGIT.search(text, *inner) is not None
                visible = visible or has_words or is_visible(text[inner.start : inner.end])
            if not ends or start < 0:
                yield None
                continue
            yield _Piece(start, end, has_words, visible, begins_block)
            begins_block = has_words = visible = False
            start = -1


def _blocks(text: str) -> Iterator[Span | None]:
    """Yield paragraphs, headings, items of lists and rows of tables: no sentence leaves one."""
    start = end = -1
    for lines in _paragraphs(text):
        if lines is None:
            yield None
            continue
        if lines[0].begins_paragraph:
            if start >= 0:
                yield Span(start, end)
            start = lines[0].start
        width = max(NARROWEST, max(line.end - line.start for line in lines))
        breaks = list(pairwise(lines))
        full = [_no_room(text, line, following, width) for line, following in breaks]
        # Among lines of any length, the longest has no room either: that says nothing.
        wrapped = 2 * sum(full) >= len(full)
        for (line, following), is_full in zip(breaks, full, strict=True):
            if _ends(text, line, following, wrapped=wrapped and is_full):
                yield Span(start, line.end)
                start = following.start
        end = lines[-1].end
    if start >= 0:
        yield Span(start, end)


def _paragraphs(text: str) -> Iterator[list[_Line] | None]:
    """Yield the lines of each paragraph; between two paragraphs is an empty line.

    Of a long one they come in parts, each of which begins with the last line of the one before.
    """
    lines: list[_Line] = []
    for line in _lines(text):
        yield None
        if line is None:
            continue
        if line.begins_paragraph and lines:
            yield lines
            lines = []
        elif len(lines) == LINES_TOGETHER:
            yield lines
            lines = [lines[-1]._replace(begins_paragraph=False)]
        lines.append(line)
    if lines:
        yield lines


def _lines(text: str) -> Iterator[_Line | None]:
    """Yield the lines with something in them."""
    last_end = -1
    at = 0
    while (at := (yield from _found(NOT_SPACE, text, at, len(text)))) < len(text):
        start = at
        at = yield from _found(LINE_END, text, start, len(text))
        line = yield from _trimmed(text, start, at)
        if line.start == line.end:
            yield None
            continue
        apart = last_end < 0 or (yield from _apart(text, last_end, line.start))
        shown_end = min(line.end, line.start + WINDOW_CHARS)
        yield _Line(
            line.start,
            line.end,
            begins_paragraph=apart,
            stands_alone=ROW.search(text, line.start, shown_end) is not None
            or LETTER_OR_DIGIT.search(text, line.start, shown_end) is None,
        )
        last_end = line.end


def _apart(text: str, end: int, start: int) -> Generator[None, None, bool]:
    """Whether between the end of a line and the start of the next is more than one line break."""
    at = yield from _found(LINE_END, text, end, start)
    if line_break := LINE_BREAK.match(text, at, start):
        return (yield from _found(LINE_END, text, line_break.end(), start)) < start
    return False


def _found(pattern: re.Pattern[str], text: str, start: int, end: int) -> Generator[None, None, int]:
    """Return where the first character stands that matches, or `end`."""
    while True:
        scan_end = min(start + SCAN_CHARS, end)
        if match := pattern.search(text, start, scan_end):
            return match.start()
        if scan_end >= end:
            return end
        start = scan_end
        yield None


def _no_room(text: str, line: _Line, following: _Line, width: int) -> bool:
    """Whether the first word of the following line did not fit into a line so wide."""
    length = line.end - line.start
    word = FIRST_WORD.match(text, following.start, following.start + WIDEST)
    return length <= WIDEST and length + 1 + len(word[0] if word else "") > width


def _ends(text: str, line: _Line, following: _Line, *, wrapped: bool) -> bool:
    """Whether a line was ended on purpose, not because it was full."""
    if line.stands_alone or following.stands_alone:
        return True
    if ITEM.match(text, following.start, following.end):
        return True
    goes_on = text[following.start].islower() or text[line.end - 1] in GOES_ON_BEFORE
    return not (goes_on or wrapped)


def _split(text: str, block: Span) -> Iterator[tuple[Span, bool]]:
    """Yield a block in parts without a gap between them, and whether a sentence ends with each.

    The library sees a window at a time. The last sentence of a window may go on behind it, so the
    next window begins with that one; or, if it alone fills half a window, inside it.
    """
    part_start = start = block.start
    if item := ITEM.match(text, *block):
        start = item.end()  # the library would take `1.` for a sentence
    while start < block.end:
        window_end = min(start + WINDOW_CHARS, block.end)
        whole = window_end == block.end
        for end in _ends_in(text, start, window_end):
            if end == window_end and not whole:
                break
            yield from _parts(text, Span(part_start, end), ends=True)
            part_start = start = end
        if not whole and window_end - start > WINDOW_CHARS // 2:
            start = _white_space_before(text, window_end, window_end - WINDOW_CHARS // 4)
            yield from _parts(text, Span(part_start, start), ends=False)
            part_start = start


def _ends_in(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where the library sees sentences end in a window; the last is the window's end."""
    # Calls are dear, and short blocks and those without words are what a text can have most of.
    if end - start < FEWEST_CHARS or LETTER_OR_DIGIT.search(text, start, end) is None:
        yield end
        return
    # Of a letter, white space other than this and a full stop the library panics.
    window = OTHER_SPACE.sub(" ", text[start:end])
    for each in get_sentence_boundaries(LANGUAGE, window):
        yield start + each["end_index"]


def _parts(text: str, part: Span, *, ends: bool) -> Iterator[tuple[Span, bool]]:
    """Yield a part, or several if a sentence ends inside it."""
    start = part.start
    # The part before may have ended with the full stop.
    for match in WORDS_END.finditer(text, max(0, start - 1), part.end):
        yield Span(start, match.end()), True
        start = match.end()
    yield Span(start, part.end), ends


def _joined(text: str, pieces: Iterable[_Piece | None]) -> Iterator[Span | None]:
    """Yield sentences: a piece that is none goes with the one before, or with the one after."""
    last: Span | None = None
    last_has_words = False
    for piece in pieces:
        if piece is None or not piece.is_visible:
            yield None
            continue
        if last is None:
            yield None
            last, last_has_words = Span(piece.start, piece.end), piece.has_words
        elif not (piece.has_words and last_has_words) or (
            not piece.begins_block and _continues(text, last, piece)
        ):
            yield None
            last = Span(last.start, piece.end)
            last_has_words = last_has_words or piece.has_words
        else:
            yield last
            last, last_has_words = Span(piece.start, piece.end), piece.has_words
    if last is not None:
        yield last


def _continues(text: str, last: Span, piece: _Piece) -> bool:
    """Whether the library saw a full stop that ended no sentence."""
    first = text[piece.start]
    if first in GOES_ON_AFTER:
        return True
    word = LAST_WORD.search(text[max(last.start, last.end - 16) : last.end])
    if word is None:
        return False
    abbreviation = word[1].lower()
    return abbreviation in ABBREVIATIONS or (abbreviation in UNITS and first.islower())


def _cut(text: str, span: Span, max_chars: int) -> Iterator[Span | None]:
    """Yield a sentence in parts of at most `max_chars` that have something visible."""
    if span.end - span.start <= max_chars:
        yield span
        return
    start = span.start
    while start < span.end:
        end = min(start + max_chars, span.end)
        if end < span.end:
            end = _white_space_before(text, end, start + 1)
        part = yield from _trimmed(text, start, end)
        yield part if is_visible(text[part.start : part.end]) else None
        start = end


def _white_space_before(text: str, end: int, lowest: int) -> int:
    """Return the last place from `lowest` to `end` with white space, or `end`."""
    match = WHITE_SPACE.search(text[lowest : end + 1][::-1])
    return end if match is None else end - match.start()


def _trimmed(text: str, start: int, end: int) -> Generator[None, None, Span]:
    """Return the part from `start` to `end` without the white space and controls around it."""
    while start < end and _is_blank(text[start]):
        start += 1
        if start % WINDOW_CHARS == 0:
            yield None
    while start < end and _is_blank(text[end - 1]):
        end -= 1
        if end % WINDOW_CHARS == 0:
            yield None
    return Span(start, end)


def _is_blank(character: str) -> bool:
    """Whether it is of Unicode's categories Z or C."""
    return character == " " or not character.isprintable()
