"""Whole documents: `POST /v1/documents`.

All sentences of a request are classified together, as if they had been posted as an array; what
they add up to is in `sentiment.documents`.
"""

import asyncio
from collections.abc import Sequence
from itertools import chain, islice
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sentiment.api.answering import answer_headers, classify, read_json, settings_of
from sentiment.api.descriptions import Face, array, classifying, ref
from sentiment.api.identifiers import Identifier
from sentiment.api.json_bodies import parse_json
from sentiment.api.responses import JSONBytes
from sentiment.api.schemas import parse_flag
from sentiment.api.texts import VISIBLE_TEXT, check_count, validated_items
from sentiment.documents import summaries
from sentiment.errors import ItemError, TextEmpty, TooManyTexts
from sentiment.predictions import Predictions
from sentiment.sentences import Span, sentence_spans
from sentiment.settings import Settings

TAG = "documents"

OFF_LOOP_CHARS = 2000
"""More than so much is split in a thread. To go there and back takes 0.05 ms, to split so much
prose 0.1 ms; at worst, when every line is a sentence of a letter, it takes 5 ms."""

COUNTED = 16
"""Times `max_texts`: further than so many sentences nobody counts what will be refused."""

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
    settings = settings_of(request)
    posted = parse_documents(await read_json(request), settings)
    if sum(len(document.text) for document in posted) > OFF_LOOP_CHARS:
        spans = await asyncio.to_thread(split, posted, settings)
    else:
        spans = split(posted, settings)
    texts = [
        document.text[start:end]
        for document, own in zip(posted, spans, strict=True)
        for start, end in own
    ]
    predictions = await classify(request, texts)
    ids = [document.id for document in posted]
    body = render_documents(ids, spans, predictions, with_sentences=with_sentences)
    return JSONBytes(body, headers=answer_headers(request, predictions))


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


def split(posted: Sequence[Document], settings: Settings) -> list[list[Span]]:
    """Return where the sentences of each document stand; one or more in each.

    Raises:
        TextEmpty: documents have nothing visible; which.
        TooManyTexts: they have more sentences than a request may; how many.
    """
    room = COUNTED * settings.max_texts
    spans: list[list[Span]] = []
    for document in posted:
        found = sentence_spans(document.text, max_chars=settings.max_text_chars)
        spans.append(list(islice(found, room)))
        room -= len(spans[-1])
        if not room:
            raise _too_many(f"{COUNTED * settings.max_texts} or more sentences", settings)
    if empty := [index for index, own in enumerate(spans) if not own]:
        errors = [
            ItemError("text-empty", "nothing visible", pointer=f"/{index}/text") for index in empty
        ]
        raise TextEmpty(f"nothing visible: {len(empty)} of {len(posted)} documents", errors)
    if (count := sum(map(len, spans))) > settings.max_texts:
        raise _too_many(f"{count} sentences in {len(posted)} documents", settings)
    return spans


def _too_many(found: str, settings: Settings) -> TooManyTexts:
    return TooManyTexts(
        f"{found}; at most {settings.max_texts} in one request: "
        "send fewer or shorter documents at a time"
    )


def render_documents(
    ids: Sequence[str | int | None],
    spans: Sequence[Sequence[Span]],
    predictions: Predictions,
    *,
    with_sentences: bool,
) -> bytes:
    """Return an array of `DocumentSentiment`.

    Args:
        ids: of the documents.
        spans: of each document's sentences.
        predictions: of all sentences, one document after the other.
        with_sentences: whether each sentence's answer is wanted too.
    """
    counts = [len(own) for own in spans]
    sentences = [
        {
            "start": start,
            "end": end,
            "label": label,
            "score": score,
            "probabilities": dict(zip(predictions.labels, row, strict=True)),
            "truncated": truncated,
        }
        for (start, end), (label, score), row, truncated in zip(
            chain.from_iterable(spans),
            predictions.top(),
            predictions.probabilities.tolist(),
            predictions.truncated.tolist(),
            strict=True,
        )
    ]
    answer = []
    first = 0
    for identifier, count, summary in zip(ids, counts, summaries(predictions, counts), strict=True):
        own = sentences[first : first + count]
        first += count
        answer.append(
            {
                "id": identifier,
                "label": summary.label,
                "score": summary.score,
                "net": summary.net,
                "probabilities": summary.probabilities,
                "shares": summary.shares,
                "label_counts": summary.label_counts,
                "sentence_count": count,
                "truncated_count": sum(sentence["truncated"] for sentence in own),
                "most_positive": _strong(own, summary.most_positive),
                "most_negative": _strong(own, summary.most_negative),
                **({"sentences": own} if with_sentences else {}),
            }
        )
    return orjson.dumps(answer)


def _strong(
    sentences: Sequence[dict[str, Any]], places: Sequence[int] | None
) -> list[dict[str, Any]] | None:
    if places is None:
        return None
    return [
        {"index": place, **{name: sentences[place][name] for name in ("start", "end", "score")}}
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
