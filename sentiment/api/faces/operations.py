"""What machines and operators ask: probes, metrics, what is served."""

from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sentiment import errors
from sentiment.api.answering import analyzer_of, check_ready, settings_of
from sentiment.api.descriptions import NOT_WORKING, Face, reading
from sentiment.metrics import Metrics

TAG = "operations"


async def livez(request: Request) -> Response:
    """Whether this process can still answer; if not, restart it."""
    analyzer_of(request).check_running()
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether to send requests here."""
    check_ready(request)
    return JSONResponse({"status": "ok"})


async def info(request: Request) -> Response:
    """What is served, within which limits."""
    analyzer, settings = analyzer_of(request), settings_of(request)
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


PROBES = (
    Route("/livez", livez),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
)
"""What machines ask every few seconds; `SENTIMENT_METRICS_PORT` gives them their own port."""

FACE = Face(
    tag=TAG,
    description="Probes, metrics, what is served",
    routes=(*PROBES, Route("/info", info)),
    paths={
        "/livez": {"get": reading(TAG, "Liveness", failures=NOT_WORKING)},
        "/readyz": {"get": reading(TAG, "Readiness", failures=(*NOT_WORKING, errors.Draining))},
        "/metrics": {
            "get": reading(TAG, "Prometheus metrics", "text/plain", failures=(errors.Unauthorized,))
        },
        "/info": {
            "get": reading(
                TAG,
                "Model, its temperature, engine, limits, versions",
                failures=(errors.Unauthorized,),
            )
        },
    },
)
