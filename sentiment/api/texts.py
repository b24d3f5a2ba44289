"""What a document must hold: checked against a model, then text by text.

All of it comes before anything is queued, so a request is taken whole or not at all.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from sentiment.api.problems import MAX_LISTED_ERRORS
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
        adapter: of the type; of an array without an end see `validated_items`.
        document: what to check.
        example: an object of that type, for whoever sent none.

    Raises:
        InvalidInput: it is something else; says where, and what was expected there.
    """
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        errors = [*_faults(error, example)]
    raise InvalidInput(f"faults in the body: {len(errors)}", errors)


def validated_items(adapter: TypeAdapter[T], document: Any) -> list[T]:
    """Return `document`, an array, with each item as `adapter`'s type.

    One by one, because pydantic makes an error of every wrong item, and here they are counted.

    Raises:
        InvalidInput: it is none, or items are something else; says which, up to 20 of them.
    """
    if not isinstance(document, list):
        raise InvalidInput("faults in the body: 1", [ItemError("type", "expected an array", "")])
    items: list[T] = []
    errors: list[ItemError] = []
    for index, item in enumerate(document):
        try:
            items.append(adapter.validate_python(item))
        except ValidationError as error:
            if len(errors) < MAX_LISTED_ERRORS:
                errors += _faults(error, '{"text": "..."}', pointer=f"/{index}")
    if errors:
        wrong = len(document) - len(items)
        raise InvalidInput(f"wrong: {wrong} of {len(document)} items", errors[:MAX_LISTED_ERRORS])
    return items


def strings(items: Sequence[Any], *, pointer: str) -> list[str]:
    """Return `items`, which should be strings.

    Args:
        pointer: JSON Pointer to an item, with `{}` for its index.

    Raises:
        InvalidInput: some are something else; says which, up to 20 of them.
    """
    if wrong := [index for index, item in enumerate(items) if not isinstance(item, str)]:
        errors = listed(wrong, pointer, code="type", detail="expected a string")
        raise InvalidInput(f"wrong: {len(wrong)} of {len(items)} items", errors)
    return list(items)


def listed(wrong: Sequence[int], pointer: str, *, code: str, detail: str) -> list[ItemError]:
    """Return what a refusal names of the items with the indices `wrong`, all wrong alike.

    Args:
        wrong: indices; only the first 20 are made into errors.
        pointer: JSON Pointer to an item, with `{}` for its index.
        code: of all.
        detail: of all.
    """
    return [
        ItemError(code, detail, pointer=pointer.format(index))
        for index in wrong[:MAX_LISTED_ERRORS]
    ]


def _faults(error: ValidationError, example: str, *, pointer: str = "") -> Iterator[ItemError]:
    """Yield pydantic's findings in a value to which `pointer` points."""
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        where = "".join(f"/{key}" for key in item["loc"])
        yield ItemError(*_fault(item, example), pointer=pointer + where)


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
    limit = settings.max_text_chars
    if too_long := [index for index, text in enumerate(texts) if len(text) > limit]:
        detail = f"more than {limit} characters"
        errors = listed(too_long, pointer, code="text-too-long", detail=detail)
        raise TextTooLong(f"too long: {len(too_long)} of {len(texts)} texts", errors)
    if empty := [index for index, text in enumerate(texts) if not is_visible(text)]:
        errors = listed(empty, pointer, code="text-empty", detail="nothing visible")
        raise TextEmpty(f"nothing visible: {len(empty)} of {len(texts)} texts", errors)
    return list(texts)
