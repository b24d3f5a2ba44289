"""Hugging Face's text classification: what `{"inputs": ...}` asks, and the answer to it.

`POST /predict` takes nothing else, and `POST /` takes it beside its own arrays: two faces need it,
and faces do not import each other, so it stands beside them.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from sentiment.api.answering import answer_headers, classify, settings_of
from sentiment.api.identifiers import WHOLE
from sentiment.api.problems import MAX_LISTED_ERRORS
from sentiment.api.responses import JSONBytes
from sentiment.api.schemas import ranked_labels
from sentiment.api.texts import VISIBLE_TEXT, check_count, checked_texts, strings, validated
from sentiment.errors import InvalidInput, ItemError
from sentiment.predictions import Predictions, sigmoid
from sentiment.settings import Settings
from sentiment.tokenization import Truncation

Function = Literal["softmax", "sigmoid", "none"]
Inputs = str | list[str] | list[list[str]]

SCORES: dict[Function, Callable[[Predictions], npt.NDArray[np.float32]]] = {
    "softmax": lambda predictions: predictions.probabilities,
    "sigmoid": lambda predictions: sigmoid(predictions.logits),
    "none": lambda predictions: predictions.logits,
}
"""What becomes of the logits; each keeps the order of a text's labels."""


_TEXT = TypeAdapter(Annotated[str, Field(strict=True)])


def _read_inputs(inputs: Any) -> Inputs:
    """Return `inputs`; the first item decides the form, so that an error can say what it lacks.

    Raises:
        ValidationError: it is neither a string nor an array.
        InvalidInput: an array's items are wrong; which.
    """
    if isinstance(inputs, str):
        return inputs
    if not isinstance(inputs, list):
        return _TEXT.validate_python(inputs)
    if inputs and isinstance(inputs[0], list):
        return _single_texts(inputs)
    return strings(inputs, pointer="/inputs/{}")


def _single_texts(inputs: list[Any]) -> list[list[str]]:
    """Return `inputs`, each of which should be an array of one text.

    Raises:
        InvalidInput: some are not; which, and why.
    """
    wrong = [index for index, item in enumerate(inputs) if not _is_single_text(item)]
    if wrong:
        errors = [_not_a_single_text(inputs[i], f"/inputs/{i}") for i in wrong[:MAX_LISTED_ERRORS]]
        raise InvalidInput(f"wrong: {len(wrong)} of {len(inputs)} items", errors)
    return inputs


def _is_single_text(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 1 and isinstance(item[0], str)


def _not_a_single_text(item: Any, pointer: str) -> ItemError:
    """Return why `item` is no array of one text: it may be a pair, which other models compare."""
    if not isinstance(item, list):
        return ItemError("type", "expected an array", pointer)
    if len(item) != 1:
        found = f"expected one text, found {len(item)}; the model takes no pairs of texts"
        return ItemError("length", found, pointer)
    return ItemError("type", "expected a string", f"{pointer}/0")


def _capitalized(direction: Any) -> Any:
    """Return a direction as the schema has it: there in one spelling only.

    Generated clients name a constant after each, and `Left` and `left` would be the same.
    """
    return direction.capitalize() if direction in ("left", "right") else direction


_VISIBLE = {"type": "string", **VISIBLE_TEXT}


class PredictParameters(BaseModel):
    """What Hugging Face's clients may ask beside the texts. Other members are ignored."""

    model_config = ConfigDict(strict=True)

    top_k: Annotated[
        int | None,
        Field(ge=1, description="How many labels, best first; more than the model has gives all."),
        WHOLE,
    ] = None
    function_to_apply: Annotated[
        Function | None,
        Field(description="To the logits: `softmax` unless given; `none` as `raw_scores`."),
    ] = None


class PredictRequest(BaseModel):
    """One or more texts, as Hugging Face's and TEI's clients send them."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            # No document may ask for two functions.
            "not": {
                "required": ["raw_scores", "parameters"],
                "properties": {
                    "raw_scores": {"const": True},
                    "parameters": {
                        "type": "object",
                        "required": ["function_to_apply"],
                        "properties": {"function_to_apply": {"enum": ["softmax", "sigmoid"]}},
                    },
                },
            }
        },
    )

    inputs: Annotated[
        Inputs,
        PlainValidator(_read_inputs),
        Field(
            description="A text, or an array of texts, each of them in an array of its own or not.",
            # Said, not checked here, as `VISIBLE_TEXT` is: the error should say what a pair is.
            json_schema_extra={
                "anyOf": [
                    _VISIBLE,
                    {"type": "array", "items": _VISIBLE},
                    {
                        "type": "array",
                        "items": {
                            "type": "array",
                            "items": _VISIBLE,
                            "minItems": 1,
                            "maxItems": 1,
                        },
                    },
                ]
            },
        ),
    ]
    parameters: Annotated[
        PredictParameters | None,
        Field(description="Present, even if empty, it makes an array of the answer to one text."),
    ] = None
    raw_scores: Annotated[bool, Field(description="Answer logits, not probabilities.")] = False
    truncate: Annotated[
        bool | None, Field(description="`false` refuses texts longer than the model reads.")
    ] = None
    truncation_direction: Annotated[
        Literal["Left", "Right"],
        BeforeValidator(_capitalized),
        Field(description="Which end of a longer text is left out; in lower case too."),
    ] = "Right"

    @property
    def texts(self) -> list[str]:
        """The texts, whatever their form."""
        if isinstance(self.inputs, str):
            return [self.inputs]
        return [each if isinstance(each, str) else each[0] for each in self.inputs]

    @property
    def pointer(self) -> str:
        """JSON Pointer to a text, with `{}` for its index."""
        if isinstance(self.inputs, str):
            return "/inputs"
        return "/inputs/{}/0" if self.nested else "/inputs/{}"

    @property
    def nested(self) -> bool:
        """Whether each text stands in an array of its own."""
        return bool(self.inputs) and isinstance(self.inputs[0], list)

    @property
    def flat(self) -> bool:
        """Whether the answer is one text's labels, as TEI gives them, not an array of those."""
        return isinstance(self.inputs, str) and self.parameters is None

    @property
    def function(self) -> Function:
        """What to apply to the logits."""
        asked = self.parameters and self.parameters.function_to_apply
        return asked or ("none" if self.raw_scores else "softmax")

    @property
    def truncation(self) -> Truncation:
        """What becomes of texts with more tokens than the model reads."""
        if self.truncate is False:
            return Truncation.REFUSE
        return Truncation(self.truncation_direction.lower())


class LabelOutput(BaseModel):
    """A label and what `function_to_apply` made of its logit: by default its probability."""

    label: Annotated[str, Field(examples=["positive"])]
    score: Annotated[float, Field(examples=[0.948])]


_REQUEST = TypeAdapter(PredictRequest)


async def predict(request: Request, document: Any) -> Response:
    """Answer a body that is, or should be, `{"inputs": ...}`."""
    asked = parse_predict(document, settings_of(request))
    predictions = await classify(
        request, asked.texts, truncation=asked.truncation, pointer=asked.pointer
    )
    body = render_predict(asked, predictions)
    return JSONBytes(body, headers=answer_headers(request, predictions))


def parse_predict(document: Any, settings: Settings) -> PredictRequest:
    """Return what `document` asks.

    Raises:
        RequestError: see `docs/api.md`; names up to 20 wrong items by JSON Pointer.
    """
    if isinstance(document, dict) and isinstance(inputs := document.get("inputs"), list):
        check_count(inputs, settings)
    asked = validated(_REQUEST, document, example='{"inputs": "..."}')
    if asked.raw_scores and asked.function != "none":
        error = ItemError("value", "asks for logits; function_to_apply does not", "/raw_scores")
        raise InvalidInput(f"either raw_scores or function_to_apply {asked.function}", [error])
    checked_texts(asked.texts, settings, pointer=asked.pointer)
    return asked


def render_predict(asked: PredictRequest, predictions: Predictions) -> bytes:
    """Return `[{"label", "score"}, ...]`, best first, for each text; flat where that is asked."""
    scores = SCORES[asked.function](predictions)
    top_k = (asked.parameters and asked.parameters.top_k) or len(predictions.labels)
    answers = ranked_labels(predictions, top_k, scores=scores)
    return orjson.dumps(answers[0] if asked.flat else answers)
