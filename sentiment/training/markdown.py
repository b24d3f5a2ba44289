"""Markdown of text that others wrote: headlines, names of files and models."""

import unicodedata
from collections.abc import Iterable, Sequence

SPECIAL = str.maketrans({character: "\\" + character for character in "\\`*_{}[]<>()|~$#!&:@"})
"""What Markdown, its tables, HTML or GitHub's additions (links, formulas, mentions) could read as
more than itself. Any of ASCII's punctuation may stand behind a backslash."""

LONGEST = 400
"""Characters of a text that a table shows."""


def escaped(text: str) -> str:
    """Return `text` such that Markdown shows it as it is, in one line and without effect.

    What has no shape of its own (control characters, marks that turn the direction of
    writing, lone surrogates) becomes U+FFFD: a text must not rearrange the page it stands on.
    """
    shown = "".join(map(_visible, " ".join(text.split())))
    cut = shown if len(shown) <= LONGEST else shown[:LONGEST] + " ..."
    return cut.translate(SPECIAL)


def _visible(character: str) -> str:
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character)[0] == "C" else character


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 1) -> str:
    """Return a table, its cells as they are given: Markdown already.

    Args:
        numbers_from: columns from this one on stand on the right.
    """
    rules = ["---" if index < numbers_from else "---:" for index in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rules, *rows))
