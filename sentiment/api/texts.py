"""What a document must hold: checked against a model, then text by text.

All of it comes before anything is queued, so a request is taken whole or not at all.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from sentiment.errors import InvalidInput, ItemError, TextEmpty, TextTooLong, TooManyTexts
from sentiment.settings import Settings
from sentiment.visible import is_visible

VISIBLE_TEXT: JsonDict = {"minLength": 1, "pattern": r"\S"}
"""What JSON Schema can say of a text in every language; `is_visible` is the whole rule."""

T = TypeVar("T")

_EXPECTED = {
    "string_type": ("type", "expected a string"),
    "list_type": ("type", "expected an array"),
    "none_required": ("value", "not served here: leave it out"),
}


def validated(adapter: TypeAdapter[T], document: Any, *, example: str = '{"text": "..."}') -> T:
    """Return `document` as `adapter`'s type.

    Args:
        adapter: of the type.
        document: what to check.
        example: an object of that type, for whoever sent none.

    Raises:
        InvalidInput: it is something else; says where, and what was expected there.
    """
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        errors = [
            ItemError(*_fault(item, example), pointer="".join(f"/{key}" for key in item["loc"]))
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        if isinstance(document, list) and document:
            raise InvalidInput(f"wrong: {len(errors)} of {len(document)} items", errors) from None
        raise InvalidInput(f"faults in the body: {len(errors)}", errors) from None


def _fault(item: ErrorDetails, example: str) -> tuple[str, str]:
    """Return code and detail of one of pydantic's findings."""
    kind = item["type"]
    if kind == "model_type":
        of_a_member = isinstance((item["loc"] or (0,))[-1], str)
        return "type", "expected an object" if of_a_member else f"expected an object {example}"
    if kind == "missing":
        return "missing", f"expected a member named {item['loc'][-1]}"
    return _EXPECTED.get(kind) or ("value", item["msg"])


def check_count(texts: Sequence[Any], settings: Settings) -> None:
    """Return if a request may hold so many texts.

    Raises:
        TooManyTexts: it may not.
    """
    if len(texts) > settings.max_texts:
        raise TooManyTexts(f"{len(texts)} texts; at most {settings.max_texts} in one request")


def checked_texts(texts: Sequence[str], settings: Settings, *, pointer: str) -> list[str]:
    """Return `texts` if each has something visible and none is too long.

    Args:
        pointer: JSON Pointer to a text, with `{}` for its index.

    Raises:
        TextTooLong, TextEmpty: which are not so.
    """

    def failing(wrong: Callable[[str], bool], code: str, detail: str) -> list[ItemError]:
        return [
            ItemError(code, detail, pointer=pointer.format(index))
            for index, text in enumerate(texts)
            if wrong(text)
        ]

    limit = settings.max_text_chars
    if too_long := failing(
        lambda text: len(text) > limit, "text-too-long", f"more than {limit} characters"
    ):
        raise TextTooLong(f"too long: {len(too_long)} of {len(texts)} texts", too_long)
    if empty := failing(lambda text: not is_visible(text), "text-empty", "nothing visible"):
        raise TextEmpty(f"nothing visible: {len(empty)} of {len(texts)} texts", empty)
    return list(texts)
