"""What of a text can be seen: without it there is nothing to classify."""

import unicodedata

FIRST_CHARACTERS = 64
"""Of a text, where something visible is looked for first."""


def is_visible(text: str) -> bool:
    """Whether any character is more than a separator, a control or a combining mark.

    Those are Unicode's categories Z, C and M: a text of nothing else leaves the tokenizer
    nothing, and the model would classify the empty string.
    """
    if text.isspace():  # the same answer, sooner
        return False
    first, rest = text[:FIRST_CHARACTERS], text[FIRST_CHARACTERS:]
    # Each character once: a text of nothing but marks repeats a few of them.
    return any(map(_stands_out, first)) or any(map(_stands_out, set(rest)))


def _stands_out(character: str) -> bool:
    return unicodedata.category(character)[0] not in "ZCM"
