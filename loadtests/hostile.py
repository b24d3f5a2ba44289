"""What a client that means no good sends, and the refusals that the API documents for it."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from loadtests.connections import JSON_HEADERS, Answer, Connections

SLOW_PAUSE_S = 1.0
"""Between the bytes of a body that never gets ready."""

PIECE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of bad request."""

    name: str
    perform: Callable[[Connections, Mapping[str, Any]], Answer | None]
    """Do it, given the server's limits; `None` where no answer can be expected."""
    expected: frozenset[tuple[int, str]]
    """The documented refusals, each a status and a code; empty where none can be expected."""


def posted(body: bytes, headers: Mapping[str, str] = JSON_HEADERS) -> Callable[..., Answer]:
    """Return an attack that posts these bytes."""
    return lambda connections, limits: connections.post_bytes("/", body, headers)


def too_many_bytes(connections: Connections, limits: Mapping[str, Any]) -> Answer:
    """Announce and send a body above the limit."""
    size = limits["max_body_bytes"] + PIECE_BYTES
    with connections.open() as conversation:
        conversation.send_head("/", {**JSON_HEADERS, "Content-Length": str(size)})
        conversation.send_meanwhile(itertools.repeat(b" " * PIECE_BYTES, size // PIECE_BYTES))
        return conversation.answer()


def too_many_texts(connections: Connections, limits: Mapping[str, Any]) -> Answer:
    """Send more texts than are taken."""
    return connections.post("/", ["a"] * (limits["max_texts"] + 1))


def too_long_a_text(connections: Connections, limits: Mapping[str, Any]) -> Answer:
    """Send a text of more characters than are taken."""
    return connections.post("/", ["a" * (limits["max_text_chars"] + 1)])


def slow_bytes(connections: Connections, limits: Mapping[str, Any]) -> Answer:
    """Send a byte a second of a body that would take minutes."""
    with connections.open() as conversation:
        conversation.send_head("/", {**JSON_HEADERS, "Content-Length": "600"})
        conversation.send_meanwhile(_bytes_of(b"[" + b" " * 598 + b"]"), pause_s=SLOW_PAUSE_S)
        return conversation.answer()


def hang_up_inside_the_body(connections: Connections, limits: Mapping[str, Any]) -> None:
    """Send half of what was announced and go."""
    with connections.open() as conversation:
        conversation.send_head("/", {**JSON_HEADERS, "Content-Length": "1000"})
        conversation.send(b'[{"text": "Profit')


def hang_up_before_the_answer(connections: Connections, limits: Mapping[str, Any]) -> None:
    """Send a whole good request and go."""
    body = orjson.dumps([{"text": f"Nobody waits for this answer, note {_number()}"}] * 16)
    with connections.open() as conversation:
        conversation.send_head("/", {**JSON_HEADERS, "Content-Length": str(len(body))})
        conversation.send(body)


def no_http(connections: Connections, limits: Mapping[str, Any]) -> Answer:
    """Speak another protocol."""
    with connections.open() as conversation:
        conversation.send(b"EHLO mail.example.com\r\n\r\n")
        return conversation.answer()


ATTACKS = (
    Attack("broken JSON", posted(b'[{"text": "Profit'), frozenset({(400, "invalid-json")})),
    Attack("not UTF-8", posted(b'["\xff"]'), frozenset({(400, "invalid-encoding")})),
    Attack("wrong type", posted(b'[{"text": 1}]'), frozenset({(422, "validation")})),
    Attack("wrong shape", posted(b'{"texts": []}'), frozenset({(422, "validation")})),
    Attack("empty text", posted(b'[" "]'), frozenset({(422, "text-empty")})),
    Attack("lone surrogate", posted(rb'["\ud800"]'), frozenset({(422, "invalid-unicode")})),
    Attack("no JSON declared", posted(b"[]", {"Content-Type": "image/png"}),
           frozenset({(415, "media-type")})),
    Attack("too many bytes", too_many_bytes, frozenset({(413, "body-too-large")})),
    Attack("too many texts", too_many_texts, frozenset({(413, "too-many-texts")})),
    Attack("too long a text", too_long_a_text, frozenset({(413, "text-too-long")})),
    Attack("slow bytes", slow_bytes, frozenset({(408, "request-timeout")})),
    Attack("no HTTP", no_http, frozenset({(400, "malformed-http")})),
    Attack("hang-up inside the body", hang_up_inside_the_body, frozenset()),
    Attack("hang-up before the answer", hang_up_before_the_answer, frozenset()),
)  # fmt: skip


def unexpected(attack: Attack, answer: Answer, *, behind_proxy: bool) -> str:
    """Say how an answer is not what is documented for an attack; empty if it is.

    Args:
        attack: what was done.
        answer: what came back; 429 and 503 with `Retry-After` are not asked about.
        behind_proxy: whether a status is enough where the answer is no problem document.
    """
    found = (answer.status, answer.code)
    if found in attack.expected:
        return ""
    if behind_proxy and not answer.code and answer.status in {each for each, _ in attack.expected}:
        return ""
    documented = ", ".join(f"{status} {code}" for status, code in sorted(attack.expected))
    return f"{answer.status} {answer.code or answer.media_type} in place of {documented}"


def _bytes_of(body: bytes) -> Iterator[bytes]:
    return (body[index : index + 1] for index in range(len(body)))


def _number() -> int:
    return random.randrange(10**9)
