"""The OpenAPI 3.1 document: what every face says of itself, errors from `errors.py`."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

import sentiment
from sentiment import errors
from sentiment.api.descriptions import Face
from sentiment.api.problems import Problem
from sentiment.errors import RequestError

PROBE_PATHS = ("/livez", "/readyz", "/metrics")


def error_classes() -> Iterator[type[RequestError]]:
    """Yield every refusal that has a code, in the order of `errors.py`."""
    for item in vars(errors).values():
        if isinstance(item, type) and issubclass(item, RequestError) and hasattr(item, "code"):
            yield item


def openapi_document(
    faces: Sequence[Face], *, probes: bool = True, api_keys: bool = False
) -> dict[str, Any]:
    """Return the document.

    Args:
        faces: in the order of their tags.
        probes: whether probes and metrics are on the documented port.
        api_keys: whether a key is asked for; Swagger UI then offers to enter one.
    """
    paths: dict[str, dict[str, Any]] = {}
    for face in faces:
        for path, operations in face.paths.items():
            if probes or path not in PROBE_PATHS:
                paths.setdefault(path, {}).update(
                    {
                        method: {"operationId": _operation_id(face, path, method), **operation}
                        for method, operation in operations.items()
                    }
                )
    _, definitions = models_json_schema(
        [(Problem, "serialization"), *(model for face in faces for model in face.models)],
        ref_template="#/components/schemas/{model}",
    )
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Financial sentiment",
            "version": sentiment.__version__,
            "summary": "Labels and scores for financial texts, batched across requests.",
        },
        "tags": [{"name": face.tag, "description": face.description} for face in faces],
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }
    if api_keys:
        _ask_for_keys(document)
    return document


def _operation_id(face: Face, path: str, method: str) -> str:
    """Return the name under which generated clients know an operation: its handler's."""
    (name,) = {
        route.endpoint.__name__
        for route in face.routes
        if route.path == path and method.upper() in (route.methods or ())
    }
    name += "_of_version" if "{version}" in path else ""
    return name + ("_by_put" if method == "put" else "")


def _ask_for_keys(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {
        "api_key": {"type": "http", "scheme": "bearer", "description": "An API key"}
    }
    for path, operations in document["paths"].items():
        document["paths"][path] = {
            method: {**operation, "security": [{"api_key": []}]}
            if str(errors.Unauthorized.status) in operation["responses"]
            else operation
            for method, operation in operations.items()
        }
