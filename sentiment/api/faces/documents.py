"""Whole documents: `POST /v1/documents`.

All sentences of a request are classified together, as if they had been posted as an array; what
they add up to is in `sentiment.documents`.
"""

import asyncio
import math
import time
from collections.abc import Generator, Sequence
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sentiment.api.answering import analyzer_of, answer_headers, read_json, settings_of
from sentiment.api.clients import WhileConnected, timeout_s
from sentiment.api.descriptions import Face, array, classifying, ref
from sentiment.api.identifiers import Identifier
from sentiment.api.json_bodies import parse_json
from sentiment.api.responses import JSONBytes
from sentiment.api.schemas import parse_flag
from sentiment.api.texts import VISIBLE_TEXT, check_count, validated_items
from sentiment.api.turns import Turns
from sentiment.documents import summaries
from sentiment.errors import DeadlineExceeded, ItemError, TextEmpty, TooManyTexts
from sentiment.predictions import Predictions
from sentiment.sentences import Span, sentence_steps
from sentiment.settings import Settings

TAG = "documents"

COUNTED = 16
"""Times `max_texts`: further than so many sentences nobody counts what will be refused."""

MAX_STEPS = 2**17
"""Lines, pieces and sentences that are looked at for one request: at 5 to 10 us each, they take a
second. 4,096 sentences of wrapped prose take 15,000."""

Score = Annotated[float, Field(ge=0, le=1, examples=[0.948])]
Scores = dict[str, Score]


class Document(BaseModel):
    """One document to classify. Other members are ignored."""

    model_config = ConfigDict(strict=True)

    id: Annotated[
        Identifier, Field(description="Comes back with the answer.", examples=["reuters-4711"])
    ] = None
    text: Annotated[
        str,
        Field(
            description="Of any length, with something visible.",
            examples=["Profit rose to EUR 13.1 mn. The outlook is unchanged."],
            # Said, not checked here: a text of nothing but controls passes it too.
            json_schema_extra=VISIBLE_TEXT,
        ),
    ]


class Sentence(BaseModel):
    """One sentence of a document: where it stands and what the model says of it."""

    start: Annotated[int, Field(ge=0, description="In Unicode code points, from 0.")]
    end: Annotated[int, Field(ge=1, description="Of the first character behind it.")]
    label: Annotated[str, Field(examples=["positive"])]
    score: Score
    probabilities: Scores
    truncated: Annotated[bool, Field(description="It was longer than the model reads.")]


class StrongSentence(BaseModel):
    """A sentence that stands out."""

    index: Annotated[int, Field(ge=0, description="Among the document's sentences, from 0.")]
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]
    score: Score


class DocumentSentiment(BaseModel):
    """What a document's sentences say, alone and together."""

    id: Annotated[str | int | None, Field(description="As sent; null if none was.")]
    label: Annotated[
        str, Field(description="With the highest mean probability.", examples=["positive"])
    ]
    score: Annotated[Score, Field(description="That mean.")]
    net: Annotated[
        float | None,
        Field(ge=-1, le=1, description="Mean of positive less mean of negative."),
    ]
    probabilities: Annotated[Scores, Field(description="Mean over the sentences.")]
    shares: Annotated[Scores, Field(description="Of the sentences, by label.")]
    label_counts: Annotated[dict[str, int], Field(description="Sentences by label.")]
    sentence_count: Annotated[int, Field(ge=1)]
    truncated_count: Annotated[int, Field(ge=0)]
    most_positive: Annotated[
        list[StrongSentence] | None, Field(description="Up to three, strongest first.")
    ]
    most_negative: Annotated[
        list[StrongSentence] | None, Field(description="Up to three, strongest first.")
    ]
    sentences: Annotated[
        list[Sentence] | None,
        Field(description="In their order; absent with `sentences=false`."),
    ] = None


async def documents(request: Request) -> Response:
    """`POST /v1/documents`: an array of documents, sentences and their sum for each."""
    with_sentences = parse_flag("sentences", request.query_params.get("sentences"))
    settings, turns = settings_of(request), turns_of(request)
    allowed_s = min(timeout_s(request) or math.inf, settings.deadline_s)
    body = await read_json(request)
    deadline_at = time.perf_counter() + allowed_s
    posted = parse_documents(body, settings)
    del body
    async with WhileConnected(request):
        with turns.admitted(sum(len(document.text) for document in posted)):
            try:
                async with asyncio.timeout(deadline_at - time.perf_counter()):
                    spans = await turns.run(splitting(posted, settings))
            except TimeoutError as error:
                raise DeadlineExceeded(f"not answered within {allowed_s:g} s") from error
        texts = [
            document.text[start:end]
            for document, own in zip(posted, spans, strict=True)
            for start, end in own
        ]
        request.state.log_fields["texts"] = len(texts)
        left_s = round(deadline_at - time.perf_counter(), 3)
        predictions = await analyzer_of(request).classify(texts, timeout_s=max(left_s, 0.001))
        ids = [document.id for document in posted]
        answer = await turns.run(rendering(ids, spans, predictions, with_sentences=with_sentences))
    return JSONBytes(answer, headers=answer_headers(request, predictions))


def turns_of(request: Request) -> Turns:
    """Return where documents take turns."""
    turns: Turns = request.state.turns
    return turns


_DOCUMENT = TypeAdapter(Document)


def parse_documents(body: bytes, settings: Settings) -> list[Document]:
    """Return the documents of a body `[{"id": ..., "text": "..."}, ...]`.

    Raises:
        RequestError: see `docs/api.md`; names up to 20 wrong items by JSON Pointer.
    """
    document = parse_json(body, members=("id", "text"))
    if isinstance(document, list):
        check_count(document, settings)
    return validated_items(_DOCUMENT, document)


def splitting(
    posted: Sequence[Document], settings: Settings
) -> Generator[None, None, list[list[Span]]]:
    """Return where the sentences of each document stand; one or more in each.

    Yields wherever it may pause.

    Raises:
        TextEmpty: documents have nothing visible; which.
        TooManyTexts: they have more sentences than a request may, how many; or more lines and
            pieces than anybody's sentences are made of.
    """
    spans: list[list[Span]] = []
    count = steps = 0
    for document in posted:
        own: list[Span] = []
        spans.append(own)
        yield
        for span in sentence_steps(document.text, max_chars=settings.max_text_chars):
            steps += 1
            if steps > MAX_STEPS:
                raise _too_many(f"more than {MAX_STEPS} lines and pieces of them", settings)
            if span is not None:
                count += 1
                if count >= COUNTED * settings.max_texts:
                    raise _too_many(f"{count} or more sentences", settings)
                if count <= settings.max_texts or not own:  # others are only counted
                    own.append(span)
            yield
    if empty := [index for index, own in enumerate(spans) if not own]:
        errors = [
            ItemError("text-empty", "nothing visible", pointer=f"/{index}/text") for index in empty
        ]
        raise TextEmpty(f"nothing visible: {len(empty)} of {len(posted)} documents", errors)
    if count > settings.max_texts:
        raise _too_many(f"{count} sentences in {len(posted)} documents", settings)
    return spans


def _too_many(found: str, settings: Settings) -> TooManyTexts:
    return TooManyTexts(
        f"{found}; at most {settings.max_texts} in one request: "
        "send fewer or shorter documents at a time"
    )


def rendering(
    ids: Sequence[str | int | None],
    spans: Sequence[Sequence[Span]],
    predictions: Predictions,
    *,
    with_sentences: bool,
) -> Generator[None, None, bytes]:
    """Return an array of `DocumentSentiment`. Yields wherever it may pause.

    Args:
        ids: of the documents.
        spans: of each document's sentences.
        predictions: of all sentences, one document after the other.
        with_sentences: whether each sentence's answer is wanted too.
    """
    tops = list(predictions.top())
    rows = predictions.probabilities.tolist()
    truncated = predictions.truncated.tolist()
    yield
    answers: list[bytes] = []
    first = 0
    summed = summaries(predictions, [len(own) for own in spans])
    for identifier, own, summary in zip(ids, spans, summed, strict=True):
        last = first + len(own)
        scores = [score for _, score in tops[first:last]]
        answer = orjson.dumps(
            {
                "id": identifier,
                "label": summary.label,
                "score": summary.score,
                "net": summary.net,
                "probabilities": summary.probabilities,
                "shares": summary.shares,
                "label_counts": summary.label_counts,
                "sentence_count": len(own),
                "truncated_count": sum(truncated[first:last]),
                "most_positive": _strong(own, scores, summary.most_positive),
                "most_negative": _strong(own, scores, summary.most_negative),
            }
        )
        if with_sentences:
            sentences = []
            for index, (start, end) in enumerate(own, first):
                label, score = tops[index]
                sentences.append(
                    orjson.dumps(
                        {
                            "start": start,
                            "end": end,
                            "label": label,
                            "score": score,
                            "probabilities": dict(
                                zip(predictions.labels, rows[index], strict=True)
                            ),
                            "truncated": truncated[index],
                        }
                    )
                )
                yield
            answer = b'%b,"sentences":[%b]}' % (answer[:-1], b",".join(sentences))
        answers.append(answer)
        first = last
        yield
    return b"[%b]" % b",".join(answers)


def _strong(
    spans: Sequence[Span], scores: Sequence[float], places: Sequence[int] | None
) -> list[dict[str, Any]] | None:
    if places is None:
        return None
    return [
        {
            "index": place,
            "start": spans[place].start,
            "end": spans[place].end,
            "score": scores[place],
        }
        for place in places
    ]


FACE = Face(
    tag=TAG,
    description="Whole documents, sentence by sentence",
    routes=(Route("/v1/documents", documents, methods=["POST"]),),
    paths={
        "/v1/documents": {
            "post": classifying(
                TAG,
                "Classify documents by their sentences",
                request=array(ref("Document")),
                examples={
                    "Two documents": [
                        {
                            "id": "a1",
                            "text": "Acme Inc. raised its dividend. Sales rose to EUR 3.5 bn.",
                        },
                        {"id": 2, "text": "Bolt cuts jobs\n\nLosses widened in the U.S. unit."},
                    ],
                    "Without ids": [{"text": "Profit doubled. The outlook is unchanged."}],
                },
                answer=array(ref("DocumentSentiment")),
                answered="One answer for each document, in order",
                parameters=[
                    {
                        "name": "sentences",
                        "in": "query",
                        "description": "`false` leaves out the sentences.",
                        "schema": {"type": "boolean", "default": True},
                    }
                ],
            )
        }
    },
    models=[(Document, "validation"), (DocumentSentiment, "serialization")],
)
