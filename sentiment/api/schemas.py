"""Bytes become texts, predictions become bytes. Everything a client can get wrong ends here.

Bodies are parsed by orjson and checked by pydantic; both come before anything is queued, so
a request is taken whole or not at all.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.config import JsonDict

from sentiment.errors import (
    DeadlineExceeded,
    InvalidEncoding,
    InvalidInput,
    InvalidJson,
    InvalidUnicode,
    ItemError,
    RequestError,
    TextEmpty,
    TextTooLong,
    TooManyTexts,
)
from sentiment.predictions import Predictions
from sentiment.settings import Settings

SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a pair in JSON's own spelling; in UTF-8 itself it is no character."""

MAX_LISTED_ERRORS = 20
"""A refusal names this many wrong items; the count is always complete."""

MAX_CONTAINERS = 2**17
"""Arrays and objects in one body. Four MiB hold two million, and to make so many of Python's
holds the event loop for two thirds of a second."""

FIRST_CHARACTERS = 64
"""Of a text, where something visible is looked for first."""


VISIBLE_TEXT: JsonDict = {"minLength": 1, "pattern": r"\S"}
"""What JSON Schema can say of a text in every language; `_visible` is the whole rule."""


class TextItem(BaseModel):
    """One text to classify. Other members are ignored."""

    model_config = ConfigDict(strict=True)

    text: Annotated[
        str,
        Field(
            description="With something visible: more than white space, controls and marks.",
            examples=["The economy showed significant growth."],
            # Said, not checked here: a text of nothing but controls passes it too.
            json_schema_extra=VISIBLE_TEXT,
        ),
    ]


class LabelScore(BaseModel):
    """A label and its probability."""

    label: Annotated[str, Field(examples=["positive"])]
    score: Annotated[float, Field(ge=0, le=1, examples=[0.948])]


class Sentiment(BaseModel):
    """Answer of `POST /analyze_sentiment`."""

    sentiment: Annotated[str, Field(examples=["positive"])]
    confidence_score: Annotated[float, Field(ge=0, le=1, examples=[0.948])]


class ProblemItem(BaseModel):
    """One wrong item, found by `pointer` (RFC 6901) in the body or `parameter` in the query."""

    code: str
    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(BaseModel):
    """Every answer other than 2xx: RFC 9457 problem details."""

    type: Annotated[str, Field(examples=["urn:sentiment:problem:validation"])]
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable; meant for programs.")]
    request_id: str
    errors: list[ProblemItem] | None = None
    retry_after_ms: int | None = None
    texts_that_fit: int | None = None


T = TypeVar("T")

_OBJECT = TypeAdapter(TextItem)
_OBJECTS = TypeAdapter(list[TextItem])
_STRINGS = TypeAdapter(list[Annotated[str, Field(strict=True)]])
_EXPECTED = {
    "missing": ("missing", "expected a member named text"),
    "string_type": ("type", "expected a string"),
    "model_type": ("type", 'expected an object {"text": "..."}'),
    "list_type": ("type", "expected an array"),
}


def parse_texts(body: bytes, settings: Settings) -> list[str]:
    """Return the texts of a body `[{"text": "..."}, ...]` or `["...", ...]`.

    Raises:
        RequestError: see `docs/api.md`; names up to 20 wrong items by JSON Pointer.
    """
    document = _parse_json(body, settings)
    _check_count(document, settings)
    # The first item decides the form, so that an error can say what the others should be.
    if isinstance(document, list) and document and isinstance(document[0], str):
        texts = _validated(_STRINGS, document)
        return _checked(texts, settings, pointer="/{}")
    items = _validated(_OBJECTS, document)
    return _checked([item.text for item in items], settings, pointer="/{}/text")


def parse_text(body: bytes, settings: Settings) -> str:
    """Return the text of a body `{"text": "..."}`.

    Raises:
        RequestError: as `parse_texts`.
    """
    item = _validated(_OBJECT, _parse_json(body, settings))
    return _checked([item.text], settings, pointer="/text")[0]


def parse_top_k(value: str | None) -> int | None:
    """Return the query parameter `top_k`, or `None` where it is absent.

    Raises:
        InvalidInput: not a whole number from 1.
    """
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and int(value[:9]) > 0):
        error = ItemError("range", "expected a whole number from 1", parameter="top_k")
        raise InvalidInput("the query parameter top_k is wrong", [error])
    return int(value[:9])


def render_predictions(predictions: Predictions, top_k: int | None) -> bytes:
    """Return `[{"label", "score"}, ...]`; with `top_k` an array of them for each text."""
    if top_k is None:
        return orjson.dumps(
            [{"label": label, "score": score} for label, score in predictions.top()]
        )
    return orjson.dumps(
        [
            [{"label": label, "score": score} for label, score in predictions.ranked(i, top_k)]
            for i in range(len(predictions))
        ]
    )


def render_sentiment(predictions: Predictions) -> bytes:
    """Return `{"sentiment", "confidence_score"}` of the only text."""
    ((label, score),) = predictions.top()
    return orjson.dumps({"sentiment": label, "confidence_score": score})


def render_problem(error: RequestError, request_id: str) -> bytes:
    """Return an RFC 9457 problem document."""
    problem: dict[str, Any] = {
        "type": f"urn:sentiment:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if isinstance(error, InvalidInput | TextTooLong):
        problem["errors"] = [
            ProblemItem(
                code=item.code, detail=item.detail, pointer=item.pointer, parameter=item.parameter
            ).model_dump(exclude_none=True)
            for item in error.errors[:MAX_LISTED_ERRORS]
        ]
    if error.retry_after_s is not None:
        problem["retry_after_ms"] = round(error.retry_after_s * 1000)
    if isinstance(error, DeadlineExceeded) and error.texts_that_fit is not None:
        problem["texts_that_fit"] = error.texts_that_fit
    return orjson.dumps(problem)


def _check_count(document: Any, settings: Settings) -> None:
    if isinstance(document, list) and len(document) > settings.max_texts:
        raise TooManyTexts(f"{len(document)} texts; at most {settings.max_texts} in one request")


def _check_containers(body: bytes) -> None:
    """Refuse a body that is little but brackets, before it is made into objects."""
    if body.count(b"[") + body.count(b"{") <= MAX_CONTAINERS:
        return
    # Those inside strings do not count, as far as so many strings go.
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = unescaped.split(b'"', 2 * MAX_CONTAINERS)[::2]
    containers = sum(part.count(b"[") + part.count(b"{") for part in outside)
    if containers > MAX_CONTAINERS:
        raise TooManyTexts(f"more than {MAX_CONTAINERS} arrays and objects in one body")


def _parse_json(body: bytes, settings: Settings) -> Any:
    _check_containers(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _refuse_json(body, error, settings)


def _refuse_json(body: bytes, error: orjson.JSONDecodeError, settings: Settings) -> NoReturn:
    """Say what orjson did not like: the encoding, the syntax, or a lone surrogate."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise InvalidEncoding(f"byte {wrong.start} is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise InvalidEncoding("the body begins with a byte order mark") from None
    broken = InvalidJson(f"line {error.lineno}, column {error.colno}: not JSON")
    # Finding where they stand takes a slower parser, which must not hold the event loop.
    if SURROGATE_ESCAPE.search(body) is None or body.count(b",") > MAX_CONTAINERS:
        raise broken from None
    try:
        # The standard library takes lone surrogates, which tells us where they stand.
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise broken from None
    _check_count(document, settings)
    items, pointer = (document, "/{}") if isinstance(document, list) else ([document], "")
    errors = [
        ItemError("invalid-unicode", "a lone surrogate", pointer=where)
        for where, string in _strings(items, pointer)
        if not _encodable(string)
    ]
    if not errors:  # it stands elsewhere, or orjson minds something else
        raise broken from None
    raise InvalidUnicode(f"lone surrogates: {len(errors)} of {len(items)} items", errors) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


def _strings(items: Sequence[Any], pointer: str) -> Iterator[tuple[str, str]]:
    """Yield pointer and value of the strings that a request may hold."""
    for index, item in enumerate(items):
        if isinstance(item, str):
            yield pointer.format(index), item
        elif isinstance(item, dict) and isinstance(item.get("text"), str):
            yield pointer.format(index) + "/text", item["text"]


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _validated(adapter: TypeAdapter[T], document: Any) -> T:
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        errors = [
            ItemError(*_EXPECTED[item["type"]], pointer="".join(f"/{key}" for key in item["loc"]))
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        count = len(document) if isinstance(document, list) else 1
        raise InvalidInput(f"wrong: {len(errors)} of {count} items", errors) from None


def _checked(texts: Sequence[str], settings: Settings, *, pointer: str) -> list[str]:
    """Return `texts` if each has something visible and none is too long."""

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
    if empty := failing(lambda text: not _visible(text), "text-empty", "nothing visible"):
        raise TextEmpty(f"nothing visible: {len(empty)} of {len(texts)} texts", empty)
    return list(texts)


def _visible(text: str) -> bool:
    """Whether any character is more than a separator, a control or a combining mark.

    Those are Unicode's categories Z, C and M: a text of nothing else leaves the tokenizer
    nothing, and the model would classify the empty string.
    """
    if text.isspace():  # the same answer, sooner
        return False
    first, rest = text[:FIRST_CHARACTERS], text[FIRST_CHARACTERS:]
    # Each character once: a text of nothing but marks repeats a few of them.
    return any(map(_is_visible, first)) or any(map(_is_visible, set(rest)))


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "ZCM"
