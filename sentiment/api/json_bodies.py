"""Bytes become a JSON document, or a refusal that says why not."""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

import orjson

from sentiment.api.problems import MAX_LISTED_ERRORS
from sentiment.errors import InvalidEncoding, InvalidJson, InvalidUnicode, ItemError, TooManyTexts

SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a pair in JSON's own spelling; in UTF-8 itself it is no character."""

MAX_CONTAINERS = 2**17
"""Arrays and objects in one body. Four MiB hold two million, and to make so many of Python's
holds the event loop for two thirds of a second."""


def parse_json(
    body: bytes, *, members: Collection[str], max_containers: int = MAX_CONTAINERS
) -> Any:
    """Return what a body of JSON says.

    Args:
        members: names under which a string is a text of ours. A pointer to a fault shows no other
            name: it may be the client's own words.
        max_containers: most arrays and objects in it.

    Raises:
        InvalidJson, InvalidEncoding: it is not JSON, or not in UTF-8.
        InvalidUnicode: a text holds half a surrogate pair; which, by JSON Pointer.
        TooManyTexts: it is little but brackets.
    """
    _check_containers(body, max_containers)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _refuse_json(body, error, members)


def _check_containers(body: bytes, most: int) -> None:
    """Refuse a body that is little but brackets, before it is made into objects."""
    if body.count(b"[") + body.count(b"{") <= most:
        return
    # Those inside strings do not count, as far as so many strings go.
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = unescaped.split(b'"', 2 * MAX_CONTAINERS)[::2]
    containers = sum(part.count(b"[") + part.count(b"{") for part in outside)
    if containers > most:
        raise TooManyTexts(f"more than {most} arrays and objects in one document")


def _refuse_json(body: bytes, error: orjson.JSONDecodeError, members: Collection[str]) -> NoReturn:
    """Say what orjson did not like: the encoding, the syntax, or a lone surrogate."""
    try:
        source = body.decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise InvalidEncoding(f"byte {wrong.start} is not UTF-8") from None
    if source.startswith("\ufeff"):
        raise InvalidEncoding("the body begins with a byte order mark") from None
    broken = InvalidJson(f"line {error.lineno}, column {error.colno}: not JSON")
    # Finding where they stand takes a slower parser, which must not hold the event loop.
    if SURROGATE_ESCAPE.search(body) is None or body.count(b",") > MAX_CONTAINERS:
        raise broken from None
    try:
        # The standard library takes lone surrogates, which tells us where they stand.
        document = json.loads(source, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise broken from None
    pointers = [where for where, text in _texts(document, members) if not _encodable(text)]
    if not pointers:  # it stands elsewhere, or orjson minds something else
        raise broken from None
    errors = [
        ItemError("invalid-unicode", "a lone surrogate", pointer=where)
        for where in pointers[:MAX_LISTED_ERRORS]
    ]
    raise InvalidUnicode(f"a lone surrogate in each of {len(pointers)} texts", errors) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


def _texts(document: Any, members: Collection[str], pointer: str = "") -> Iterator[tuple[str, str]]:
    """Yield pointer and value of the strings that stand in arrays and under `members`."""
    if isinstance(document, str):
        yield pointer, document
    elif isinstance(document, dict):
        for name in document.keys() & members:
            yield from _texts(document[name], members, f"{pointer}/{name}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from _texts(value, members, f"{pointer}/{index}")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
