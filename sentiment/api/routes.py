"""The routes: every face of the server, and help for those who look."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sentiment.api.answering import settings_of
from sentiment.api.descriptions import Face, reading
from sentiment.api.faces import (
    classification,
    documents,
    huggingface,
    open_inference,
    operations,
    playground,
    streams,
)
from sentiment.api.openapi import openapi_document
from sentiment.errors import NotFound

TAG = "help"

STATIC_FOLDER = Path(__file__).parent / "static"

HELP = """\
Financial sentiment, batched.

  curl -X POST -H "Content-Type: application/json" \\
    -d '[{{"text": "The economy showed significant growth."}}]' {url}

answers a label and a score for each text, in order: [{{"label": "positive", "score": 0.9}}]

  POST /                   an array of {{"text": "..."}} or of strings; ?top_k=3 for every label
  POST /analyze_sentiment  one {{"text": "..."}}
  POST /v1/documents       an array of {{"id": ..., "text": "..."}}, sentence by sentence
  POST /v1/stream          a line for each text, answered while the next ones come
  POST /predict            {{"inputs": "..."}}, as Hugging Face's and TEI's clients send it
  GET  /v2                 for clients of the Open Inference Protocol (KServe, Triton)
  GET  /                   this help; in a browser a page to try it
  GET  /docs               every route, tried in the browser
  GET  /info               model, limits, versions
  GET  /livez /readyz      probes
  GET  /metrics            Prometheus
"""


async def help_page(request: Request) -> Response:
    """`GET /`: the page for a browser; for others what this is and how to call it."""
    if playground.prefers_page(request.headers.get("accept", "")):
        answer = playground.page()
    else:
        answer = PlainTextResponse(HELP.format(url=request.base_url))
    answer.headers["Vary"] = "Accept"
    return answer


async def openapi(request: Request) -> Response:
    """The OpenAPI 3.1 document."""
    settings = settings_of(request)
    document = described(
        probes=settings.metrics_port is None, api_keys=settings.api_keys is not None
    )
    return JSONResponse(document)


@cache
def described(*, probes: bool = True, api_keys: bool = False) -> dict[str, Any]:
    """Return the OpenAPI document of all faces; arguments as of `openapi_document`."""
    return openapi_document(FACES, probes=probes, api_keys=api_keys)


async def docs(request: Request) -> Response:
    """Swagger UI."""
    return FileResponse(STATIC_FOLDER / "docs.html")


async def docs_file(request: Request) -> Response:
    """One of Swagger UI's files, from the installed package: no CDN."""
    path = DOCS_FILES.get(request.path_params["file"])
    if path is None:
        raise NotFound("no such file")
    return FileResponse(path)


def _swagger_ui_folder() -> Path:
    spec = find_spec("swagger_ui")  # found, not imported: only its files are wanted
    if spec is None or spec.origin is None:
        raise RuntimeError("swagger-ui-py is not installed: pip install -r requirements.txt")
    return Path(spec.origin).parent / "static"


DOCS_FILES = {
    "docs.js": STATIC_FOLDER / "docs.js",
    "swagger-ui.css": _swagger_ui_folder() / "swagger-ui.css",
    "swagger-ui-bundle.js": _swagger_ui_folder() / "swagger-ui-bundle.js",
    "favicon.png": _swagger_ui_folder() / "favicon-32x32.png",
}

HELP_FACE = Face(
    tag=TAG,
    description="How to call the server",
    routes=(
        Route("/", help_page),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Route("/docs/{file}", docs_file),
    ),
    paths={
        "/": {
            "get": reading(TAG, "The playground, or how to call this", "text/html", "text/plain")
        },
        "/openapi.json": {"get": reading(TAG, "This document")},
        "/docs": {"get": reading(TAG, "Swagger UI", "text/html")},
    },
)

FACES = (
    classification.FACE,
    documents.FACE,
    streams.FACE,
    huggingface.FACE,
    open_inference.FACE,
    operations.FACE,
    playground.FACE,
    HELP_FACE,
)
"""In the order in which `/docs` shows them."""

ROUTES = tuple(route for face in FACES for route in face.routes)


def route_names(routes: Sequence[Route] = ROUTES) -> set[str]:
    """Return every method and path of `routes`, such as `POST /`."""
    # Starlette answers HEAD wherever it answers GET, and says so itself.
    return {f"{method} {route.path}" for route in routes for method in route.methods or ()}
