"""The Open Inference Protocol, version 2, over HTTP: what clients of KServe and Triton speak."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import sentiment
from sentiment import errors
from sentiment.api.answering import (
    analyzer_of,
    answer_headers,
    check_ready,
    classify,
    read_json,
    settings_of,
)
from sentiment.api.bodies import BINARY
from sentiment.api.descriptions import (
    CLASSIFYING,
    NOT_WORKING,
    Face,
    classifying,
    reading,
    ref,
)
from sentiment.api.faces.inference_schemas import (
    InferenceAnswer,
    InferenceRequest,
    ModelMetadata,
    ServerMetadata,
    TensorMetadata,
    output_tensor,
    parse_inference,
)
from sentiment.api.responses import JSONBytes
from sentiment.api.tensors import LENGTH_HEADER, render_tensors
from sentiment.errors import BadHeader, NotFound
from sentiment.predictions import Predictions

TAG = "Open Inference Protocol"

ALIAS = "sentiment"
"""A name that the model has on every server, whichever model that is."""

VERSION = "1"
"""The only one: clients want a number. The revision is among the model's parameters."""


async def server_metadata(request: Request) -> Response:
    """`GET /v2`: which server this is."""
    return JSONResponse(
        ServerMetadata(
            name="sentiment",
            version=sentiment.__version__,
            extensions=["binary_tensor_data", "classification"],
        ).model_dump()
    )


async def live(request: Request) -> Response:
    """Whether this process can still answer."""
    analyzer_of(request).check_running()
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """Whether requests should come here."""
    check_ready(request)
    return JSONResponse({"ready": True})


async def model_ready(request: Request) -> Response:
    """Whether requests for the model should come here."""
    name = model_name(request)
    check_ready(request)
    return JSONResponse({"name": name, "ready": True})


async def model_metadata(request: Request) -> Response:
    """What the model takes and gives."""
    name, analyzer = model_name(request), analyzer_of(request)
    labels = analyzer.model.labels
    metadata = ModelMetadata(
        name=name,
        versions=[VERSION],
        platform=f"sentiment_{analyzer.engine.name}",
        inputs=[TensorMetadata(name="text", datatype="BYTES", shape=[-1])],
        outputs=[
            TensorMetadata(name="label", datatype="BYTES", shape=[-1]),
            TensorMetadata(name="score", datatype="FP32", shape=[-1]),
            TensorMetadata(name="probabilities", datatype="FP32", shape=[-1, len(labels)]),
        ],
        parameters={
            "revision": analyzer.model.revision,
            "max_tokens": analyzer.model.max_tokens,
            # One by one, because a parameter is a string, a number or a boolean.
            **{f"label_{index}": label for index, label in enumerate(labels)},
        },
    )
    return JSONResponse(metadata.model_dump())


async def infer(request: Request) -> Response:
    """Classify the texts of a tensor."""
    name = model_name(request)
    body = await read_json(request, then_binary=True)
    asked = parse_inference(body, json_bytes(request), settings_of(request))
    predictions = await classify(request, asked.texts)
    tensors = [output_tensor(each, predictions, binary=asked.binary) for each in asked.outputs]
    content, length = render_tensors(_head(name, asked.id, predictions), tensors)
    headers = answer_headers(request, predictions)
    if length is None:
        return JSONBytes(content, headers=headers)
    headers[LENGTH_HEADER] = str(length)
    return Response(content, media_type=BINARY, headers=headers)


def model_name(request: Request) -> str:
    """Return the model's name as the path has it.

    Raises:
        NotFound: the path names another model, or another version.
    """
    name: str = request.path_params["name"]
    # The last part of a Hub name: a slash in a name would be one more step of the path.
    own = analyzer_of(request).model.name.rpartition("/")[2]
    if name not in (own, ALIAS):
        raise NotFound(f"the only model here is {own}, or {ALIAS}")
    if request.path_params.get("version", VERSION) != VERSION:
        raise NotFound(f"the model's only version is {VERSION}")
    return name


def json_bytes(request: Request) -> str | None:
    """Return the header that says how much of the body is JSON, or `None` where it is absent.

    Raises:
        BadHeader: there are two of them.
    """
    values = request.headers.getlist(LENGTH_HEADER)
    if len(values) > 1:
        raise BadHeader(f"more than one {LENGTH_HEADER} header")
    return values[0] if values else None


def _head(name: str, request_id: str | None, predictions: Predictions) -> dict[str, Any]:
    """Return the members of an answer beside its outputs."""
    head: dict[str, Any] = {"model_name": name, "model_version": VERSION}
    if request_id is not None:
        head["id"] = request_id
    # Said in a header too, which the usual clients do not show.
    if truncated := predictions.truncated_count:
        head["parameters"] = {"truncated_texts": truncated}
    return head


MODEL_PATHS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")

_PARAMETERS = {
    "{name}": {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "The last part of the model's name, or `sentiment`.",
        "schema": {"type": "string"},
        "example": ALIAS,
    },
    "{version}": {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "`1`",
        "schema": {"type": "string"},
        "example": VERSION,
    },
}

_INFERENCE_LENGTH = {
    "description": "How many bytes of the body are JSON; without it all of them.",
    "schema": {"type": "integer", "minimum": 1},
}

_BEHIND_JSON = {"schema": {"type": "string", "format": "binary"}}
"""What is declared as bytes: JSON, and the binary data of tensors behind it."""


def _parameters(path: str) -> list[dict[str, Any]]:
    return [parameter for part, parameter in _PARAMETERS.items() if part in path]


def _reading(path: str, summary: str, *, schema: dict[str, Any], ready: bool) -> dict[str, Any]:
    """Return the path item of a route that answers what is known of the model."""
    failures = (errors.Unauthorized, errors.NotFound, *(_NOT_READY if ready else ()))
    operation = reading(TAG, summary, schema=schema, failures=failures)
    return {"get": {**operation, "parameters": _parameters(path)}}


def _infer(path: str) -> dict[str, Any]:
    """Return the path item of a route that classifies."""
    operation = classifying(
        TAG,
        "Classify the texts of a tensor",
        request=ref("InferenceRequest"),
        examples=_EXAMPLES,
        answer=ref("InferenceAnswer"),
        answered="A row of each output for each text, in order",
        failures=(*CLASSIFYING, errors.NotFound),
        parameters=[
            *_parameters(path),
            {"name": LENGTH_HEADER, "in": "header", **_INFERENCE_LENGTH},
        ],
    )
    answer = operation["responses"]["200"]
    answer["headers"][LENGTH_HEADER] = _INFERENCE_LENGTH
    for content in (operation["requestBody"]["content"], answer["content"]):
        content[BINARY] = _BEHIND_JSON
    return {"post": operation}


_NOT_READY = (*NOT_WORKING, errors.Draining)

_INPUT = {
    "name": "text",
    "shape": [2],
    "datatype": "BYTES",
    "data": ["Profit doubles", "Loss widens"],
}

_EXAMPLES = {
    "Two texts": {"inputs": [_INPUT]},
    "A column of them, and the best two labels": {
        "id": "42",
        "inputs": [{**_INPUT, "shape": [2, 1], "data": [["Profit doubles"], ["Loss widens"]]}],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
    },
}

_YES = {"type": "object", "required": ["ready"], "properties": {"ready": {"const": True}}}

FACE = Face(
    tag=TAG,
    description="Version 2, as KServe's and Triton's clients speak it",
    routes=(
        Route("/v2", server_metadata),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        *(Route(path, model_metadata) for path in MODEL_PATHS),
        *(Route(f"{path}/ready", model_ready) for path in MODEL_PATHS),
        *(Route(f"{path}/infer", infer, methods=["POST"]) for path in MODEL_PATHS),
    ),
    paths={
        "/v2": {
            "get": reading(
                TAG,
                "Which server this is",
                schema=ref("ServerMetadata"),
                failures=(errors.Unauthorized,),
            )
        },
        "/v2/health/live": {"get": reading(TAG, "Liveness", failures=NOT_WORKING)},
        "/v2/health/ready": {"get": reading(TAG, "Readiness", schema=_YES, failures=_NOT_READY)},
        **{
            path: _reading(
                path,
                "What the model takes and gives",
                schema=ref("ModelMetadata"),
                ready=False,
            )
            for path in MODEL_PATHS
        },
        **{
            f"{path}/ready": _reading(path, "Readiness of the model", schema=_YES, ready=True)
            for path in MODEL_PATHS
        },
        **{f"{path}/infer": _infer(path) for path in MODEL_PATHS},
    },
    models=[
        (InferenceRequest, "validation"),
        (InferenceAnswer, "serialization"),
        (ServerMetadata, "serialization"),
        (ModelMetadata, "serialization"),
    ],
)
