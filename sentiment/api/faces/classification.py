"""The main job: `POST /` and `POST /analyze_sentiment`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sentiment.api.answering import answer_headers, classify, read_document, settings_of
from sentiment.api.descriptions import TOP_K, Face, array, classifying, ref
from sentiment.api.predicting import predict
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


async def classify_texts(request: Request) -> Response:
    """`POST /`: an array of texts, an answer for each; or what `POST /predict` takes.

    Hugging Face's client posts to the very address that it is given, which for a server is this.
    """
    top_k = parse_top_k(request.query_params.get("top_k"))
    document = await read_document(request, members=("text", "inputs"))
    if isinstance(document, dict) and "inputs" in document:
        return await predict(request, document)
    texts = parse_texts(document, settings_of(request))
    predictions = await classify(request, texts)
    body = render_predictions(predictions, top_k)
    return JSONBytes(body, headers=answer_headers(request, predictions))


async def analyze_sentiment(request: Request) -> Response:
    """`POST /analyze_sentiment`: one text, the flat answer."""
    document = await read_document(request, members=("text",))
    text = parse_text(document, settings_of(request))
    predictions = await classify(request, [text])
    return JSONBytes(render_sentiment(predictions), headers=answer_headers(request, predictions))


_SCORES = array(ref("LabelScore"))
_LABELS = array(ref("LabelOutput"))
"""Of what `POST /predict` takes; its scores need not be probabilities."""

FACE = Face(
    tag=TAG,
    description="What the server is for",
    routes=(
        Route("/", classify_texts, methods=["POST"]),
        Route("/analyze_sentiment", analyze_sentiment, methods=["POST"]),
    ),
    paths={
        "/": {
            "post": classifying(
                TAG,
                "Classify texts",
                # anyOf, because an empty array is both.
                request={
                    "anyOf": [
                        array(ref("TextItem")),
                        array({"type": "string", **VISIBLE_TEXT}),
                        ref("PredictRequest"),
                    ]
                },
                examples={
                    "Objects": [
                        {"text": "Stocks rallied and the British pound gained."},
                        {"text": "The economy showed significant growth."},
                    ],
                    "Strings": ["Profit doubles", "Loss widens"],
                    "As `POST /predict`": {"inputs": "Profit doubles", "parameters": {}},
                },
                answer={"anyOf": [_SCORES, array(_SCORES), _LABELS, array(_LABELS)]},
                parameters=[TOP_K],
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
