"""A document becomes sentences: where in it they stand.

What ends a sentence inside a line decides `sentencex`. What is here is what it does not know:
lines, lists and tables, a few abbreviations, and how to split any text in linear time.
`docs/documents.md` says why this library and which rules.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from sentencex import get_sentence_boundaries

from sentiment.visible import is_visible

LANGUAGE = "en"
"""Whose abbreviations count. Full stops of other scripts end sentences all the same."""

WINDOW_CHARS = 2048
"""Given to the library at once. Its time can grow with the square of that, and it holds the
interpreter's lock meanwhile: 2 ms at worst for so much."""

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
    r"\.(?:(?<=\bMay\.)|(?<=\bFed\.)|(?<=\bOK\.)|(?<=\bme\.)|(?<=\bno\.)|(?<=\bill\.))\s+(?=[A-Z])"
)
"""The end of a sentence after a word that the library takes for an abbreviation."""

LINE = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
OTHER_SPACE = re.compile(r"[^\S ]")
FIRST_WORD = re.compile(r"\S+")
LETTER_OR_DIGIT = re.compile(r"[^\W_]")

ITEM = re.compile(
    r"[-*\u2013\u2014•·‣▪■●○◦]\s|\d{1,3}[.)]\s|\(\d{1,3}\)\s|\(?(?:[A-Za-z]|[ivx]{2,4})\)\s"
)
"""What a list's items begin with: `- `, `• `, `1. `, `1) `, `(1) `, `a) `, `(iv) `."""

ROW = re.compile(r"\t|\|.*\||\S {3,}\S")
"""What a table's rows have in them."""

LAST_WORD = re.compile(r"([\w']+)\.$")
GOES_ON_BEFORE = ",-/&(\N{EN DASH}\N{EM DASH}"
GOES_ON_AFTER = ",;:)]}"


class Span(NamedTuple):
    """Where something stands in a text, in Unicode code points."""

    start: int
    end: int
    """Of the first character that does not belong to it."""


def sentence_spans(text: str, *, max_chars: int) -> Iterator[Span]:
    """Yield where the sentences of `text` stand, in order.

    They do not overlap, each has something visible, and what lies between them has not. A text
    with nothing visible has none. Takes any text, in time that grows with its length.

    Args:
        text: of any length and in any language.
        max_chars: of a sentence; a longer one is cut at white space, or where there is none.
    """
    for span in _joined(text, _pieces(text)):
        yield from _cut(text, span, max_chars)


def _pieces(text: str) -> Iterator[tuple[Span, bool]]:
    """Yield what may be sentences, and whether each begins a block; see `_blocks`."""
    for block in _blocks(text):
        first = True
        for span in _split(text, block):
            ends = [match.end() for match in WORDS_END.finditer(text, *span)]
            for start, end in pairwise([span.start, *ends, span.end]):
                piece = _trimmed(text, start, end)
                if piece.start < piece.end:
                    yield piece, first
                    first = False


def _blocks(text: str) -> Iterator[Span]:
    """Yield paragraphs, headings, items of lists and rows of tables: no sentence leaves one."""
    for lines in _paragraphs(text):
        width = max(NARROWEST, max(end - start for start, end in lines))
        breaks = list(pairwise(lines))
        full = [_no_room(text, line, following, width) for line, following in breaks]
        # Among lines of any length, the longest has no room either: that says nothing.
        wrapped = 2 * sum(full) >= len(full)
        start = lines[0].start
        for (line, following), is_full in zip(breaks, full, strict=True):
            if _ends(text, line, following, wrapped=wrapped and is_full):
                yield Span(start, line.end)
                start = following.start
        yield Span(start, lines[-1].end)


def _paragraphs(text: str) -> Iterator[list[Span]]:
    """Yield the lines of each paragraph; between two paragraphs is an empty line."""
    lines: list[Span] = []
    for match in LINE.finditer(text):
        line = _trimmed(text, *match.span())
        if line.start == line.end:
            continue
        if lines and len(LINE_BREAK.findall(text, lines[-1].end, line.start)) > 1:
            yield lines
            lines = []
        lines.append(line)
    if lines:
        yield lines


def _no_room(text: str, line: Span, following: Span, width: int) -> bool:
    """Whether the first word of the following line did not fit into a line so wide."""
    length = line.end - line.start
    word = FIRST_WORD.match(text, following.start, following.start + WIDEST)
    return length <= WIDEST and length + 1 + len(word[0] if word else "") > width


def _ends(text: str, line: Span, following: Span, *, wrapped: bool) -> bool:
    """Whether a line was ended on purpose, not because it was full."""
    if any(
        ROW.search(text, *each) or not LETTER_OR_DIGIT.search(text, *each)
        for each in (line, following)
    ):
        return True
    if ITEM.match(text, *following):
        return True
    goes_on = text[following.start].islower() or text[line.end - 1] in GOES_ON_BEFORE
    return not (goes_on or wrapped)


def _split(text: str, block: Span) -> Iterator[Span]:
    """Yield the library's sentences of a block, without a gap between them.

    The library sees a window at a time. The last sentence of a window may go on behind it, so the
    next window begins with that one; or, if it alone fills half a window, inside it.
    """
    sentence_start = start = block.start
    if item := ITEM.match(text, *block):
        start = item.end()  # the library would take `1.` for a sentence
    while start < block.end:
        window_end = min(start + WINDOW_CHARS, block.end)
        # Of a letter, white space other than this and a full stop the library panics.
        window = OTHER_SPACE.sub(" ", text[start:window_end])
        ends = [start + each["end_index"] for each in get_sentence_boundaries(LANGUAGE, window)]
        if window_end < block.end:
            ends.pop()
        for end in ends:
            yield Span(sentence_start, end)
            sentence_start = start = end
        if window_end < block.end and window_end - start > WINDOW_CHARS // 2:
            start = _white_space_before(text, window_end, window_end - WINDOW_CHARS // 4)


def _joined(text: str, pieces: Iterable[tuple[Span, bool]]) -> Iterator[Span]:
    """Yield sentences: a piece that is none goes with the one before, or with the one after."""
    last: Span | None = None
    last_has_words = False
    for piece, begins_block in pieces:
        has_words = LETTER_OR_DIGIT.search(text, *piece) is not None
        if not has_words and not is_visible(text[piece.start : piece.end]):
            continue
        if last is None:
            last, last_has_words = piece, has_words
        elif not (has_words and last_has_words) or (
            not begins_block and _continues(text, last, piece)
        ):
            last, last_has_words = Span(last.start, piece.end), last_has_words or has_words
        else:
            yield last
            last, last_has_words = piece, has_words
    if last is not None:
        yield last


def _continues(text: str, last: Span, piece: Span) -> bool:
    """Whether the library saw a full stop that ended no sentence."""
    first = text[piece.start]
    if first in GOES_ON_AFTER:
        return True
    word = LAST_WORD.search(text[max(last.start, last.end - 16) : last.end])
    if word is None:
        return False
    abbreviation = word[1].lower()
    return abbreviation in ABBREVIATIONS or (abbreviation in UNITS and first.islower())


def _cut(text: str, span: Span, max_chars: int) -> Iterator[Span]:
    """Yield a sentence in parts of at most `max_chars` that have something visible."""
    if span.end - span.start <= max_chars:
        yield span
        return
    start = span.start
    while start < span.end:
        end = min(start + max_chars, span.end)
        if end < span.end:
            end = _white_space_before(text, end, start + 1)
        part = _trimmed(text, start, end)
        if is_visible(text[part.start : part.end]):
            yield part
        start = end


def _white_space_before(text: str, end: int, lowest: int) -> int:
    """Return the last place from `lowest` to `end` with white space, or `end`."""
    return next((at for at in range(end, lowest - 1, -1) if text[at].isspace()), end)


def _trimmed(text: str, start: int, end: int) -> Span:
    """Return the part from `start` to `end` without the white space and controls around it."""
    while start < end and _is_blank(text[start]):
        start += 1
    while start < end and _is_blank(text[end - 1]):
        end -= 1
    return Span(start, end)


def _is_blank(character: str) -> bool:
    """Whether it is of Unicode's categories Z or C."""
    return character == " " or not character.isprintable()
