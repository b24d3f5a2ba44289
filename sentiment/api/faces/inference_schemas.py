"""What the Open Inference Protocol's routes take and give: JSON as models, tensors checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema

from sentiment.api.identifiers import MAX_CHARS, MAX_WHOLE, WHOLE
from sentiment.api.json_bodies import parse_json
from sentiment.api.tensors import (
    LENGTH_HEADER,
    Tensor,
    flat_data,
    split_body,
    text_count,
    unpacked_texts,
    wrong,
)
from sentiment.api.texts import VISIBLE_TEXT, check_count, checked_texts, strings, validated
from sentiment.predictions import Predictions
from sentiment.settings import Settings

OutputName = Literal["label", "score", "probabilities"]

OUTPUTS: tuple[OutputName, ...] = ("label", "score", "probabilities")
"""What is answered if nothing is asked for, in this order."""

_TEXT = {"type": "string", **VISIBLE_TEXT}
_TEXTS = {"type": "array", "items": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _NoSharedMemory(_Strict):
    shared_memory_region: Annotated[None, Field(description="Not served.")] = None


class InputParameters(_NoSharedMemory):
    """Of the input. Other parameters are ignored."""

    binary_data_size: Annotated[
        int | None,
        Field(ge=0, description="Bytes behind the JSON that take the place of `data`."),
        WHOLE,
    ] = None


class InputTensor(_Strict):
    """The texts."""

    name: Literal["text"]
    shape: Annotated[
        list[Annotated[int, Field(ge=0, le=MAX_WHOLE), WHOLE]],
        Field(min_length=1, max_length=2, description="`[n]`, `[n, 1]` or `[1, n]`."),
    ]
    datatype: Literal["BYTES"]
    data: Annotated[
        Annotated[list[Any], WithJsonSchema(_TEXTS)] | None,
        Field(description="The texts in one array, or in an array for each row of the shape."),
    ] = None
    parameters: InputParameters | None = None


class OutputParameters(_NoSharedMemory):
    """Of a wanted output. Other parameters are ignored."""

    binary_data: Annotated[
        bool | None, Field(description="Send it behind the JSON; goes before `binary_data_output`.")
    ] = None
    classification: Annotated[
        int | None,
        Field(
            ge=1, description="Of `probabilities` only the best so many, as `score:index:label`."
        ),
        WHOLE,
    ] = None


class WantedOutput(_Strict):
    """An output that is wanted."""

    name: OutputName
    parameters: OutputParameters | None = None


class RequestParameters(_Strict):
    """Of the whole request. Other parameters are ignored."""

    binary_data_output: Annotated[
        bool | None, Field(description="Send every output behind the JSON.")
    ] = None


class InferenceRequest(_Strict):
    """Texts to classify, as a tensor."""

    id: Annotated[str | None, Field(max_length=MAX_CHARS, description="Echoed.")] = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[
        list[WantedOutput] | None,
        Field(max_length=len(OUTPUTS), description="None, or an empty array: all of them."),
    ] = None


class OutputTensor(BaseModel):
    """One output, row by row."""

    name: OutputName
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]
    data: list[str] | list[float]


class InferenceAnswer(BaseModel):
    """What the model says of each text, as tensors."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: Annotated[
        dict[str, int] | None,
        Field(description="`truncated_texts`: how many were longer than the model reads."),
    ] = None
    outputs: list[OutputTensor]


class ServerMetadata(BaseModel):
    """Which server this is, and what it knows beyond the protocol."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor that the model takes or gives; -1 in a shape is the number of texts."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]


class ModelMetadata(BaseModel):
    """What the model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: Annotated[
        dict[str, str | int],
        Field(description="`label_0`, `label_1`...: the columns of `probabilities`."),
    ]


_REQUEST = TypeAdapter(InferenceRequest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """A request that is in order."""

    id: str | None
    texts: Sequence[str]
    outputs: Sequence[WantedOutput]
    """What is wanted, in this order; at least one."""

    binary: bool
    """Whether an output is sent in binary that does not say so itself."""


def parse_inference(body: bytes, json_bytes: str | None, settings: Settings) -> Inference:
    """Return what a body asks for.

    Args:
        body: JSON, and binary data behind it or not.
        json_bytes: value of the header `LENGTH_HEADER`, if there is one.
        settings: say how many texts there may be, and how long.

    Raises:
        RequestError: see `docs/api.md`; names what is wrong by JSON Pointer.
    """
    document, binary = split_body(body, json_bytes)
    request = validated(
        _REQUEST,
        parse_json(document, members=("inputs", "data")),
        example="as the Open Inference Protocol has it",
    )
    outputs = request.outputs or [WantedOutput(name=name) for name in OUTPUTS]
    _check_outputs(outputs)
    return Inference(
        id=request.id,
        texts=_texts(request.inputs[0], binary, settings),
        outputs=outputs,
        binary=bool(request.parameters and request.parameters.binary_data_output),
    )


def _texts(tensor: InputTensor, binary: bytes, settings: Settings) -> list[str]:
    """Return the texts of the input, wherever they stand."""
    count = text_count(tensor.shape)
    check_count(range(count), settings)
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if tensor.data is not None:
        if size is not None:
            raise wrong("expected either data or binary_data_size", "/inputs/0")
        if binary:
            raise wrong(f"{len(binary)} bytes behind the JSON belong to no tensor", "/inputs/0")
        data, pointer = flat_data(tensor.data, tensor.shape)
        return checked_texts(strings(data, pointer=pointer), settings, pointer=pointer)
    if size is None:
        raise wrong("expected a member named data, or binary data", "/inputs/0", code="missing")
    if size != len(binary):
        detail = f"{len(binary)} bytes behind the JSON, whose length {LENGTH_HEADER} says"
        raise wrong(detail, "/inputs/0/parameters/binary_data_size")
    return checked_texts(unpacked_texts(binary, count), settings, pointer="/inputs/0/data/{}")


def _check_outputs(outputs: Sequence[WantedOutput]) -> None:
    """Refuse outputs that are named twice, and classes of what has none."""
    for index, output in enumerate(outputs):
        if any(output.name == other.name for other in outputs[:index]):
            raise wrong("expected each output once", f"/outputs/{index}/name")
        classification = output.parameters and output.parameters.classification
        if classification and output.name != "probabilities":
            pointer = f"/outputs/{index}/parameters/classification"
            raise wrong("expected it of the output probabilities only", pointer)


def output_tensor(wanted: WantedOutput, predictions: Predictions, *, binary: bool) -> Tensor:
    """Return one output of a request.

    Args:
        wanted: which, and in what form.
        predictions: of the request's texts.
        binary: its form, if `wanted` does not say.
    """
    parameters = wanted.parameters or OutputParameters()
    if parameters.binary_data is not None:
        binary = parameters.binary_data
    probabilities, labels = predictions.probabilities, predictions.labels
    texts = len(predictions)
    if wanted.name == "label":
        elements = [label for label, _ in predictions.top()]
        return Tensor(name="label", shape=(texts,), elements=elements, binary=binary)
    if wanted.name == "score":
        best = probabilities.max(axis=1)
        return Tensor(name="score", shape=(texts,), elements=best, binary=binary)
    if parameters.classification is None:
        return Tensor(
            name="probabilities",
            shape=probabilities.shape,
            elements=np.ravel(probabilities),
            binary=binary,
        )
    # A stable sort of the negated rows: equal scores keep the model's label order.
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : parameters.classification]
    classes = [
        f"{row[index]:f}:{index}:{labels[index]}"
        for row, indices in zip(probabilities.tolist(), order.tolist(), strict=True)
        for index in indices
    ]
    return Tensor(name="probabilities", shape=order.shape, elements=classes, binary=binary)
