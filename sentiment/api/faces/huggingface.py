"""Hugging Face's and TEI's clients: `POST /predict`; their bodies are welcome at `POST /` too."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sentiment.api.answering import read_document
from sentiment.api.descriptions import Face, array, classifying, ref
from sentiment.api.predicting import LabelOutput, PredictRequest
from sentiment.api.predicting import predict as answer

TAG = "Hugging Face and TEI"


async def predict(request: Request) -> Response:
    """`POST /predict`: `{"inputs": ...}`, every label of each text."""
    return await answer(request, await read_document(request, members=("inputs",)))


_LABELS = array(ref("LabelOutput"))

FACE = Face(
    tag=TAG,
    description="For clients of Hugging Face's Inference API and of Text Embeddings Inference",
    routes=(Route("/predict", predict, methods=["POST"]),),
    paths={
        "/predict": {
            "post": classifying(
                TAG,
                "Every label of each text",
                request=ref("PredictRequest"),
                examples={
                    "TEI, one text": {"inputs": "Profit doubles"},
                    "TEI, several": {"inputs": [["Profit doubles"], ["Loss widens"]]},
                    "Hugging Face": {
                        "inputs": "Profit doubles",
                        "parameters": {"top_k": 1, "function_to_apply": "softmax"},
                    },
                    "Logits, of the end of long texts": {
                        "inputs": ["Profit doubles", "Loss widens"],
                        "raw_scores": True,
                        "truncation_direction": "Left",
                    },
                },
                answer={"anyOf": [_LABELS, array(_LABELS)]},
                answered="Labels and scores, best first: of one text, or an array for each",
            )
        }
    },
    models=[(PredictRequest, "validation"), (LabelOutput, "serialization")],
)
