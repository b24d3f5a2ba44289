"""What the lines of a stream say, both ways: as models and as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from sentiment.api.identifiers import Identifier, identifier
from sentiment.api.json_bodies import parse_json
from sentiment.api.lines import Line
from sentiment.api.schemas import LabelScore, TextItem, best_labels, ranked_labels
from sentiment.api.texts import checked_texts, validated
from sentiment.errors import InvalidInput, ItemError, RequestError, TextTooLong
from sentiment.predictions import Predictions
from sentiment.settings import Settings

BYTES_A_CHARACTER = 12
"""Of a character in JSON at most: two escapes, such as `\\ud83d\\ude00`."""

MAX_CONTAINERS = 64
"""Arrays and objects in one line: lines come as fast as a client sends, and each is parsed on the
event loop."""

OTHER_BYTES = 4096
"""What a line may hold beside its text."""


class StreamedText(TextItem):
    """A line of a stream; a plain JSON string is one too. Other members are ignored."""

    id: Annotated[Identifier, Field(description="Comes back with the answer.")] = None


class LineError(BaseModel):
    """What is wrong with one line, or why a stream ended. No text is repeated."""

    code: Annotated[str, Field(description="Stable; meant for programs.", examples=["text-empty"])]
    detail: str
    pointer: Annotated[str | None, Field(description="Into the line (RFC 6901).")] = None


class StreamedAnswer(BaseModel):
    """The answer to one line: its label, or with `top_k` its labels, or an error."""

    index: Annotated[int, Field(ge=0, description="Of the line; blank ones do not count.")]
    id: Annotated[Identifier, Field(description="The line's own, if it has one.")] = None
    label: Annotated[str | None, Field(examples=["positive"])] = None
    score: Annotated[float | None, Field(ge=0, le=1, examples=[0.948])] = None
    labels: Annotated[list[LabelScore] | None, Field(description="Best first.")] = None
    truncated: Annotated[Literal[True] | None, Field(description="If the text was.")] = None
    line: Annotated[
        int | None, Field(ge=1, description="With an error: the line's number, all counted.")
    ] = None
    error: LineError | None = None


class StreamEnd(BaseModel):
    """The last line of every answer: one without it was cut."""

    done: Annotated[bool, Field(description="Whether everything was read and answered.")]
    texts: Annotated[int, Field(ge=0, description="Lines that got a label.")]
    errors: Annotated[int, Field(ge=0, description="Lines that got an error.")]
    error: Annotated[LineError | None, Field(description="Why the stream is not done.")] = None


@dataclass(frozen=True, slots=True)
class StreamedLine:
    """One line as it was read: a text, or what is wrong with it."""

    index: int
    number: int
    id: str | int | None
    text: str | None
    error: LineError | None = None


Answer = Mapping[str, Any] | LineError
"""What one text got: members of its answer, or an error."""

_TEXT = TypeAdapter(StreamedText)


def max_line_bytes(settings: Settings) -> int:
    """Return how long a line may be: enough for the longest text, however it is spelt."""
    return BYTES_A_CHARACTER * settings.max_text_chars + OTHER_BYTES


def parse_line(line: Line, index: int, settings: Settings) -> StreamedLine:
    """Return what a line holds: `{"text": "...", "id": ...}` or a plain string.

    Nothing is raised: what is wrong with one line must not end the stream.
    """
    identity = None
    try:
        if line.content is None:
            detail = f"more than {max_line_bytes(settings)} bytes"
            return _failed(line, index, None, LineError(code="line-too-long", detail=detail))
        document = parse_json(line.content, members=("text",), max_containers=MAX_CONTAINERS)
        if isinstance(document, str):
            (text,) = checked_texts([document], settings, pointer="")
        else:
            identity = _checked_id(document)
            (text,) = checked_texts([validated(_TEXT, document).text], settings, pointer="/text")
    except RequestError as refusal:
        return _failed(line, index, identity, line_error(refusal))
    return StreamedLine(index, line.number, identity, text)


def _failed(line: Line, index: int, identity: str | int | None, error: LineError) -> StreamedLine:
    return StreamedLine(index, line.number, identity, None, error)


def _checked_id(document: Any) -> str | int | None:
    """Return the id of a line that may not be an object at all.

    Raises:
        InvalidInput: it is none.
    """
    given = document.get("id") if isinstance(document, dict) else None
    try:
        return identifier(given)
    except PydanticCustomError as error:
        raise InvalidInput(
            "a wrong id", [ItemError("type", error.message(), pointer="/id")]
        ) from None


def line_error(refusal: RequestError) -> LineError:
    """Return in the form of a stream what elsewhere is a whole problem document."""
    if isinstance(refusal, InvalidInput | TextTooLong):
        item = refusal.errors[0]
        return LineError(code=refusal.code, detail=item.detail, pointer=item.pointer or None)
    # It is the only line of its document, but has another number in the stream.
    return LineError(code=refusal.code, detail=refusal.detail.removeprefix("line 1, "))


def answers(predictions: Predictions, top_k: int | None) -> list[Answer]:
    """Return what each text got."""
    if top_k is None:
        found = best_labels(predictions)
    else:
        found = [{"labels": labels} for labels in ranked_labels(predictions, top_k)]
    for index in predictions.truncated.nonzero()[0].tolist():
        found[index]["truncated"] = True
    return [*found]


def render_answer(line: StreamedLine, answer: Answer) -> bytes:
    """Return the line that answers `line`."""
    said: dict[str, Any] = {"index": line.index}
    if line.id is not None:
        said["id"] = line.id
    if isinstance(answer, LineError):
        said |= {"line": line.number, "error": answer.model_dump(exclude_none=True)}
    else:
        said |= answer
    return orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)


def render_end(*, texts: int, errors: int, why: RequestError | None) -> bytes:
    """Return the last line; `why` is the reason of a stream that ends before its time."""
    end = StreamEnd(
        done=why is None,
        texts=texts,
        errors=errors,
        error=None if why is None else line_error(why),
    )
    return orjson.dumps(end.model_dump(exclude_none=True), option=orjson.OPT_APPEND_NEWLINE)
