"""What `POST /` and `POST /analyze_sentiment` take and give, as models and as bytes."""

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sentiment.api.texts import (
    VISIBLE_TEXT,
    check_count,
    checked_texts,
    strings,
    validated,
    validated_items,
)
from sentiment.errors import InvalidInput, ItemError
from sentiment.predictions import Predictions
from sentiment.settings import Settings


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


_OBJECT = TypeAdapter(TextItem)


def parse_texts(document: Any, settings: Settings) -> list[str]:
    """Return the texts of a document `[{"text": "..."}, ...]` or `["...", ...]`.

    Raises:
        RequestError: see `docs/api.md`; names up to 20 wrong items by JSON Pointer.
    """
    if isinstance(document, list):
        check_count(document, settings)
    # The first item decides the form, so that an error can say what the others should be.
    if isinstance(document, list) and document and isinstance(document[0], str):
        return checked_texts(strings(document, pointer="/{}"), settings, pointer="/{}")
    items = validated_items(_OBJECT, document)
    return checked_texts([item.text for item in items], settings, pointer="/{}/text")


def parse_text(document: Any, settings: Settings) -> str:
    """Return the text of a document `{"text": "..."}`.

    Raises:
        RequestError: as `parse_texts`.
    """
    item = validated(_OBJECT, document)
    return checked_texts([item.text], settings, pointer="/text")[0]


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


def parse_flag(name: str, value: str | None) -> bool:
    """Return the query parameter `name`; `True` where it is absent.

    Raises:
        InvalidInput: neither `true` nor `false`.
    """
    if value not in (None, "true", "false"):
        error = ItemError("value", "expected true or false", parameter=name)
        raise InvalidInput(f"the query parameter {name} is wrong", [error])
    return value != "false"


def best_labels(predictions: Predictions) -> list[dict[str, Any]]:
    """Return `{"label", "score"}` of the most probable label of each text."""
    return [{"label": label, "score": score} for label, score in predictions.top()]


def ranked_labels(
    predictions: Predictions, top_k: int, *, scores: npt.NDArray[np.float32] | None = None
) -> list[list[dict[str, Any]]]:
    """Return `[{"label", "score"}, ...]` of each text; arguments as of `Predictions.ranked`."""
    return [
        [
            {"label": label, "score": score}
            for label, score in predictions.ranked(index, top_k, scores=scores)
        ]
        for index in range(len(predictions))
    ]


def render_predictions(predictions: Predictions, top_k: int | None) -> bytes:
    """Return `[{"label", "score"}, ...]`; with `top_k` an array of them for each text."""
    if top_k is None:
        return orjson.dumps(best_labels(predictions))
    return orjson.dumps(ranked_labels(predictions, top_k))


def render_sentiment(predictions: Predictions) -> bytes:
    """Return `{"sentiment", "confidence_score"}` of the only text."""
    ((label, score),) = predictions.top()
    return orjson.dumps({"sentiment": label, "confidence_score": score})
