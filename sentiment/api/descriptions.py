"""What OpenAPI says of routes, in parts: a face describes its own with these."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from starlette.routing import Route

from sentiment import errors
from sentiment.errors import RequestError

READING = (
    errors.MalformedHttp,
    errors.MethodNotAllowed,
    errors.RequestTimeout,
    errors.HeadersTooLarge,
    errors.InternalError,
)
NOT_WORKING = (errors.Unavailable, errors.WorkerDown)
CLASSIFYING = (
    *READING,
    errors.Unauthorized,
    errors.InvalidJson,
    errors.InvalidEncoding,
    errors.BodyIncomplete,
    errors.BadHeader,
    errors.BodyTooLarge,
    errors.TooManyTexts,
    errors.TextTooLong,
    errors.UnsupportedMedia,
    errors.UnsupportedEncoding,
    errors.InvalidInput,
    errors.TextEmpty,
    errors.InvalidUnicode,
    errors.Overloaded,
    errors.InferenceFailed,
    *NOT_WORKING,
    errors.OutOfMemory,
    errors.Draining,
    errors.DeadlineExceeded,
)

ANSWER_HEADERS = {
    "X-Request-Id": "The request's id: the client's own if it is well-formed, else a new one.",
    "X-Model": "`name@revision` of the model that answered.",
    "Server-Timing": "Milliseconds in the queue, in the tokenizer and in the model.",
    "X-Truncated": "How many texts were longer than the model reads; absent if none.",
}

RETRY_AFTER = {
    "Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "integer"}}
}

TOP_K = {
    "name": "top_k",
    "in": "query",
    "description": "Answer each text with an array of its best `top_k` labels, best first. More "
    "than the model has gives all.",
    "schema": {"type": "integer", "minimum": 1},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """Routes that belong together, with what the OpenAPI document says of them."""

    tag: str
    """Under which its operations stand."""

    description: str
    routes: Sequence[Route]
    paths: Mapping[str, Mapping[str, Any]]
    """Path -> method in lower case -> operation object."""

    models: Sequence[tuple[type[BaseModel], Literal["validation", "serialization"]]] = ()
    """What `ref` may name: requests as they are validated, answers as they are written."""


def ref(name: str) -> dict[str, Any]:
    """Return a reference to a schema that a `Face` names among its models."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def reading(
    tag: str,
    summary: str,
    *media_types: str,
    schema: dict[str, Any] | None = None,
    failures: Sequence[type[RequestError]] = (),
) -> dict[str, Any]:
    """Return the operation object of a route that asks nothing of the model.

    It answers JSON unless it has other `media_types`, of which a client's `Accept` chooses.
    """
    schema = schema or {"type": "string" if media_types else "object"}
    content = {each: {"schema": schema} for each in media_types or ("application/json",)}
    return {
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "OK", "content": content},
            **problems((*READING, *failures)),
        },
    }


def classifying(
    tag: str,
    summary: str,
    *,
    request: dict[str, Any],
    examples: Mapping[str, Any],
    answer: dict[str, Any],
    answered: str = "One answer for each text, in order",
    media_type: str = "application/json",
    headers: Sequence[str] = tuple(ANSWER_HEADERS),
    failures: Sequence[type[RequestError]] = CLASSIFYING,
    parameters: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Return the operation object of a route that takes texts and classifies them.

    Args:
        tag: of its face.
        summary: one line.
        request: JSON Schema of the body.
        examples: summary -> body; a test posts each of them.
        answer: JSON Schema of the answer.
        answered: what the answer is.
        media_type: of the body and of the answer.
        headers: of the answer, among `ANSWER_HEADERS`.
        failures: every refusal of its own.
        parameters: parameter objects beside the headers that all of them take.
    """
    request_id = {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Echoed and logged if it is 1 to 64 of `A-Z a-z 0-9 . _ -`; else replaced.",
        "schema": {"type": "string"},  # no pattern: no request is refused for it
    }
    timeout = {
        "name": "X-Timeout-Ms",
        "in": "header",
        "description": "Answer 504 after so many milliseconds, if the server's own deadline "
        "does not come first; at once if it is predicted to be too short.",
        "schema": {"type": "integer", "minimum": 1},
    }
    return {
        "summary": summary,
        "tags": [tag],
        "parameters": [request_id, timeout, *parameters],
        "requestBody": {
            "required": True,
            "content": {
                media_type: {
                    "schema": request,
                    "examples": {
                        str(number): {"summary": text, "value": value}
                        for number, (text, value) in enumerate(examples.items(), start=1)
                    },
                }
            },
        },
        "responses": {
            "200": {
                "description": answered,
                "headers": {
                    name: {"description": ANSWER_HEADERS[name], "schema": {"type": "string"}}
                    for name in headers
                },
                "content": {media_type: {"schema": answer}},
            },
            **problems(failures),
        },
    }


def problems(failures: Sequence[type[RequestError]]) -> dict[str, Any]:
    """Return the response objects of refusals, by status."""
    by_status: dict[int, list[type[RequestError]]] = defaultdict(list)
    for failure in failures:
        by_status[failure.status].append(failure)
    return {
        str(status): {
            "description": "; ".join(f"`{each.code}`: {each.title}" for each in classes),
            **({"headers": RETRY_AFTER} if status in (429, 503) else {}),
            "content": {"application/problem+json": {"schema": ref("Problem")}},
        }
        for status, classes in sorted(by_status.items())
    }
