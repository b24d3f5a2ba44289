"""The routes. Each handler reads: parse, ask, answer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sentiment.analyzer import Analyzer
from sentiment.api.bodies import Bodies
from sentiment.api.clients import WhileConnected, timeout_s
from sentiment.api.openapi import openapi_document
from sentiment.api.responses import JSONBytes
from sentiment.api.schemas import (
    parse_text,
    parse_texts,
    parse_top_k,
    render_predictions,
    render_sentiment,
)
from sentiment.errors import (
    Draining,
    NotFound,
)
from sentiment.metrics import Metrics
from sentiment.predictions import Predictions
from sentiment.settings import Settings

STATIC_FOLDER = Path(__file__).parent / "static"

HELP = """\
Financial sentiment, batched.

  curl -X POST -H "Content-Type: application/json" \\
    -d '[{{"text": "The economy showed significant growth."}}]' {url}

answers a label and a score for each text, in order: [{{"label": "positive", "score": 0.9}}]

  POST /                   an array of {{"text": "..."}} or of strings; ?top_k=3 for every label
  POST /analyze_sentiment  one {{"text": "..."}}
  GET  /docs               every route, tried in the browser
  GET  /info               model, limits, versions
  GET  /livez /readyz      probes
  GET  /metrics            Prometheus
"""


class Root(HTTPEndpoint):
    """`/`: the main job, and a word of help for those who look."""

    async def get(self, request: Request) -> Response:
        return PlainTextResponse(HELP.format(url=request.base_url))

    async def post(self, request: Request) -> Response:
        top_k = parse_top_k(request.query_params.get("top_k"))
        texts = parse_texts(await _read_json(request), _settings(request))
        predictions = await _classify(request, texts)
        body = render_predictions(predictions, top_k)
        return JSONBytes(body, headers=_answer_headers(request, predictions))


async def analyze_sentiment(request: Request) -> Response:
    """`POST /analyze_sentiment`: one text, the flat answer."""
    text = parse_text(await _read_json(request), _settings(request))
    predictions = await _classify(request, [text])
    return JSONBytes(render_sentiment(predictions), headers=_answer_headers(request, predictions))


async def livez(request: Request) -> Response:
    """Whether this process can still answer; if not, restart it."""
    _analyzer(request).check_running()
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether to send requests here. The port opens after warm-up, so alive is ready."""
    if request.state.lifecycle.draining:
        raise Draining("the server was told to end and answers what it has accepted")
    return await livez(request)


async def info(request: Request) -> Response:
    """What is served, within which limits."""
    analyzer, settings = _analyzer(request), _settings(request)
    return JSONResponse(
        {
            "model": {
                "name": analyzer.model.name,
                "revision": analyzer.model.revision,
                "architecture": analyzer.model.architecture,
                "labels": analyzer.model.labels,
                "max_tokens": analyzer.model.max_tokens,
                "temperature": analyzer.model.temperature,
            },
            "engine": {
                "name": analyzer.engine.name,
                "device": analyzer.engine.device,
                "precision": analyzer.engine.precision,
                "token_budget": analyzer.token_budget,
            },
            "limits": settings.model_dump(
                include={
                    "max_body_bytes",
                    "max_texts",
                    "max_text_chars",
                    "max_backlog_s",
                    "deadline_s",
                }
            ),
            "versions": VERSIONS,
        }
    )


def _versions() -> Iterator[tuple[str, str]]:
    for name in ("openvino", "torch", "transformers", "tokenizers", "starlette"):
        with suppress(PackageNotFoundError):  # OpenVINO is not made for every machine
            yield name, version(name)


VERSIONS = dict(_versions())


async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    served: Metrics = request.state.metrics
    return Response(served.exposition(), media_type=served.content_type)


async def openapi(request: Request) -> Response:
    """The OpenAPI 3.1 document."""
    settings = _settings(request)
    return JSONResponse(
        openapi_document(
            operations=settings.metrics_port is None, api_keys=settings.api_keys is not None
        )
    )


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


DOCS_FILES: Mapping[str, Path] = {
    "docs.js": STATIC_FOLDER / "docs.js",
    "swagger-ui.css": _swagger_ui_folder() / "swagger-ui.css",
    "swagger-ui-bundle.js": _swagger_ui_folder() / "swagger-ui-bundle.js",
    "favicon.png": _swagger_ui_folder() / "favicon-32x32.png",
}

OPERATIONS = (
    Route("/livez", livez),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
)
"""What machines ask every few seconds; `SENTIMENT_METRICS_PORT` gives them their own port."""

ROUTES = (
    Route("/", Root),
    Route("/analyze_sentiment", analyze_sentiment, methods=["POST"]),
    *OPERATIONS,
    Route("/info", info),
    Route("/openapi.json", openapi),
    Route("/docs", docs),
    Route("/docs/{file}", docs_file),
)


def route_names(routes: Sequence[Route] = ROUTES) -> set[str]:
    """Return every method and path of `routes`, such as `POST /`."""
    names = set()
    for route in routes:
        methods = route.methods or {
            method for method in ("GET", "POST") if hasattr(route.endpoint, method.lower())
        }
        names |= {f"{method} {route.path}" for method in methods}
        if "GET" in methods:  # Starlette answers HEAD wherever it answers GET
            names.add(f"HEAD {route.path}")
    return names


async def _classify(request: Request, texts: list[str]) -> Predictions:
    request.state.log_fields["texts"] = len(texts)
    allowed_s = timeout_s(request)
    async with WhileConnected(request):
        return await _analyzer(request).classify(texts, timeout_s=allowed_s)


def _answer_headers(request: Request, predictions: Predictions) -> dict[str, str]:
    timing = predictions.timing
    headers = {
        "Cache-Control": "no-store",
        "X-Model": _analyzer(request).model.reference,
        "Server-Timing": (
            f"queue;dur={timing.queue_s * 1000:.2f}, "
            f"tokenize;dur={timing.tokenize_s * 1000:.2f}, "
            f"infer;dur={timing.infer_s * 1000:.2f}"
        ),
    }
    if truncated := predictions.truncated_count:
        headers["X-Truncated"] = str(truncated)
    return headers


async def _read_json(request: Request) -> bytes:
    # What would be refused for want of time is refused before it is read.
    _analyzer(request).check_admission()
    bodies: Bodies = request.state.bodies
    return await bodies.read_json(request)


def _analyzer(request: Request) -> Analyzer:
    analyzer: Analyzer = request.state.analyzer
    return analyzer


def _settings(request: Request) -> Settings:
    settings: Settings = request.state.settings
    return settings
