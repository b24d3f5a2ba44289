"""The main job: `POST /` and `POST /analyze_sentiment`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sentiment.api.answering import answer_headers, classify, read_json, settings_of
from sentiment.api.descriptions import Face, array, classifying, ref
from sentiment.api.responses import JSONBytes
from sentiment.api.schemas import (
    LabelScore,
    Sentiment,
    TextItem,
    parse_text,
    parse_texts,
    parse_top_k,
    render_predictions,
    render_sentiment,
)
from sentiment.api.texts import VISIBLE_TEXT

TAG = "classification"


async def root(request: Request) -> Response:
    """`POST /`: an array of texts, an answer for each."""
    top_k = parse_top_k(request.query_params.get("top_k"))
    texts = parse_texts(await read_json(request), settings_of(request))
    predictions = await classify(request, texts)
    body = render_predictions(predictions, top_k)
    return JSONBytes(body, headers=answer_headers(request, predictions))


async def analyze_sentiment(request: Request) -> Response:
    """`POST /analyze_sentiment`: one text, the flat answer."""
    text = parse_text(await read_json(request), settings_of(request))
    predictions = await classify(request, [text])
    return JSONBytes(render_sentiment(predictions), headers=answer_headers(request, predictions))


_SCORES = array(ref("LabelScore"))

FACE = Face(
    tag=TAG,
    description="What the server is for",
    routes=(
        Route("/", root, methods=["POST"]),
        Route("/analyze_sentiment", analyze_sentiment, methods=["POST"]),
    ),
    paths={
        "/": {
            "post": classifying(
                TAG,
                "Classify texts",
                # anyOf, because an empty array is both.
                request={
                    "anyOf": [array(ref("TextItem")), array({"type": "string", **VISIBLE_TEXT})]
                },
                examples={
                    "Objects": [
                        {"text": "Stocks rallied and the British pound gained."},
                        {"text": "The economy showed significant growth."},
                    ],
                    "Strings": ["Profit doubles", "Loss widens"],
                },
                answer={"anyOf": [_SCORES, array(_SCORES)]},
                parameters=[
                    {
                        "name": "top_k",
                        "in": "query",
                        "description": "Answer each text with its best `top_k` labels, as "
                        "an array. More than the model has gives all.",
                        "schema": {"type": "integer", "minimum": 1},
                    }
                ],
            )
        },
        "/analyze_sentiment": {
            "post": classifying(
                TAG,
                "Classify one text",
                request=ref("TextItem"),
                examples={"A headline": {"text": "The company announced record profits."}},
                answer=ref("Sentiment"),
            )
        },
    },
    models=[
        (TextItem, "validation"),
        (LabelScore, "serialization"),
        (Sentiment, "serialization"),
    ],
)
