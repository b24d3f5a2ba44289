"""The OpenAPI 3.1 document: schemas from `schemas.py`, errors from `errors.py`."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

import sentiment
from sentiment import errors
from sentiment.api.schemas import VISIBLE_TEXT, LabelScore, Problem, Sentiment, TextItem
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


def error_classes() -> Iterator[type[RequestError]]:
    """Yield every refusal that has a code, in the order of `errors.py`."""
    for item in vars(errors).values():
        if isinstance(item, type) and issubclass(item, RequestError) and hasattr(item, "code"):
            yield item


@cache
def openapi_document(*, operations: bool = True, api_keys: bool = False) -> dict[str, Any]:
    """Return the document; the same object every time.

    Args:
        operations: whether probes and metrics are on the documented port.
        api_keys: whether a key is asked for; Swagger UI then offers to enter one.
    """
    document = _document()
    if not operations:
        for path in ("/livez", "/readyz", "/metrics"):
            del document["paths"][path]
    if api_keys:
        document["components"]["securitySchemes"] = {
            "api_key": {"type": "http", "scheme": "bearer", "description": "An API key"}
        }
        for operations_of_path in document["paths"].values():
            for operation in operations_of_path.values():
                if str(errors.Unauthorized.status) in operation["responses"]:
                    operation["security"] = [{"api_key": []}]
    return document


def _document() -> dict[str, Any]:
    _, definitions = models_json_schema(
        [
            (TextItem, "validation"),
            (LabelScore, "serialization"),
            (Sentiment, "serialization"),
            (Problem, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    scores = _array(_ref("LabelScore"))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Financial sentiment",
            "version": sentiment.__version__,
            "summary": "Labels and scores for financial texts, batched across requests.",
        },
        "tags": [
            {"name": "classification", "description": "What the server is for"},
            {"name": "operations", "description": "Help, probes, metrics"},
        ],
        "paths": {
            "/": {
                "get": _reading("What this is and how to call it", "text/plain"),
                "post": _classifying(
                    "Classify texts",
                    # anyOf, because an empty array is both.
                    request={
                        "anyOf": [
                            _array(_ref("TextItem")),
                            _array({"type": "string", **VISIBLE_TEXT}),
                        ]
                    },
                    example=[
                        {"text": "Stocks rallied and the British pound gained."},
                        {"text": "The economy showed significant growth."},
                    ],
                    answer={"anyOf": [scores, _array(scores)]},
                    failures=CLASSIFYING,
                    parameters=[
                        {
                            "name": "top_k",
                            "in": "query",
                            "description": "Answer each text with its best `top_k` labels, as "
                            "an array. More than the model has gives all.",
                            "schema": {"type": "integer", "minimum": 1},
                        }
                    ],
                ),
            },
            "/analyze_sentiment": {
                "post": _classifying(
                    "Classify one text",
                    request=_ref("TextItem"),
                    example={"text": "The company announced record profits."},
                    answer=_ref("Sentiment"),
                    failures=CLASSIFYING,
                )
            },
            "/livez": {"get": _reading("Liveness", failures=NOT_WORKING)},
            "/readyz": {"get": _reading("Readiness", failures=(*NOT_WORKING, errors.Draining))},
            "/info": {
                "get": _reading(
                    "Model, its temperature, engine, limits, versions",
                    failures=(errors.Unauthorized,),
                )
            },
            "/metrics": {
                "get": _reading("Prometheus metrics", "text/plain", failures=(errors.Unauthorized,))
            },
            "/openapi.json": {"get": _reading("This document")},
            "/docs": {"get": _reading("Swagger UI", "text/html")},
        },
        "components": {"schemas": definitions["$defs"]},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _reading(
    summary: str,
    media_type: str = "application/json",
    failures: Sequence[type[RequestError]] = (),
) -> dict[str, Any]:
    schema = {"type": "object" if media_type == "application/json" else "string"}
    return {
        "summary": summary,
        "tags": ["operations"],
        "responses": {
            "200": {"description": "OK", "content": {media_type: {"schema": schema}}},
            **_problems((*READING, *failures)),
        },
    }


def _classifying(
    summary: str,
    *,
    request: dict[str, Any],
    example: Any,
    answer: dict[str, Any],
    failures: Sequence[type[RequestError]],
    parameters: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
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
        "tags": ["classification"],
        "parameters": [request_id, timeout, *parameters],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request, "example": example}},
        },
        "responses": {
            "200": {
                "description": "One answer for each text, in order",
                "headers": {
                    name: {"description": text, "schema": {"type": "string"}}
                    for name, text in ANSWER_HEADERS.items()
                },
                "content": {"application/json": {"schema": answer}},
            },
            **_problems(failures),
        },
    }


def _problems(failures: Sequence[type[RequestError]]) -> dict[str, Any]:
    by_status: dict[int, list[type[RequestError]]] = defaultdict(list)
    for failure in failures:
        by_status[failure.status].append(failure)
    return {
        str(status): {
            "description": "; ".join(f"`{each.code}`: {each.title}" for each in classes),
            **({"headers": RETRY_AFTER} if status in (429, 503) else {}),
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
        }
        for status, classes in sorted(by_status.items())
    }
