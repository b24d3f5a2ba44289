"""The ASGI application, assembled."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, TypedDict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from sentiment.analyzer import Analyzer
from sentiment.api.auth import ApiKeys
from sentiment.api.bodies import Bodies
from sentiment.api.faces.operations import PROBES
from sentiment.api.faces.streaming import Streams
from sentiment.api.lifecycle import Lifecycle, measure_event_loop_lag
from sentiment.api.middleware import Observation
from sentiment.api.responses import ProblemResponse
from sentiment.api.routes import ROUTES, route_names
from sentiment.api.security_headers import SecurityHeaders
from sentiment.api.turns import Turns
from sentiment.errors import (
    InternalError,
    MethodNotAllowed,
    ModelError,
    NotFound,
    RequestError,
    SettingsError,
    first_line,
)
from sentiment.metrics import Metrics
from sentiment.settings import Settings

if TYPE_CHECKING:
    from sentiment.api.tracing import Traces

log = logging.getLogger(__name__)

AnalyzerOpener = Callable[[Settings, Metrics], AbstractAsyncContextManager[Analyzer]]


class State(TypedDict):
    """What the lifespan owns and every request sees."""

    analyzer: Analyzer
    settings: Settings
    metrics: Metrics
    lifecycle: Lifecycle
    bodies: Bodies
    streams: Streams
    turns: Turns


def create_app(
    settings: Settings,
    *,
    metrics: Metrics | None = None,
    lifecycle: Lifecycle | None = None,
    open_analyzer: AnalyzerOpener = Analyzer.open,
) -> ASGIApp:
    """Return the application; its lifespan loads the model, and fails if there is none.

    Args:
        settings: with `metrics_port` the application leaves probes and metrics to
            `create_operations_app`.
        metrics: shared with the launcher, which counts what never gets this far.
        lifecycle: told by the launcher when the end begins.
        open_analyzer: makes the analyzer; tests bring their own engine.

    Raises:
        SettingsError: traces are asked for, and OpenTelemetry is not installed or its variables
            are wrong.
    """
    metrics = metrics or Metrics()
    lifecycle = lifecycle or Lifecycle()
    traces = None if settings.traces == "off" else _open_traces()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        async with open_analyzer(settings, metrics) as analyzer:
            lag = asyncio.create_task(measure_event_loop_lag(metrics), name="event-loop-lag")
            metrics.worker_processes.set(1)
            metrics.follow(metrics.ready, lambda: analyzer.running and not lifecycle.draining)
            metrics.publish()
            try:
                yield {
                    "analyzer": analyzer,
                    "settings": settings,
                    "metrics": metrics,
                    "lifecycle": lifecycle,
                    "bodies": Bodies(max_body_bytes=settings.max_body_bytes),
                    "streams": Streams(max_streams=settings.max_streams, metrics=metrics),
                    "turns": Turns(max_body_bytes=settings.max_body_bytes),
                }
            finally:
                metrics.worker_processes.set(0)
                lag.cancel()
                if traces is not None:
                    await traces.close()

    app = _starlette(
        metrics,
        [r for r in ROUTES if settings.metrics_port is None or r not in PROBES],
        lifespan=lifespan,
        api_keys=[key.get_secret_value() for key in settings.api_keys or ()],
        traces=traces,
    )
    return _PlainLifespanFailure(app)


def create_operations_app(metrics: Metrics) -> ASGIApp:
    """Return what `SENTIMENT_METRICS_PORT` serves: probes and metrics, without a key.

    It has no lifespan: whoever runs it hands it the state of `create_app`'s.
    """
    return _starlette(metrics, PROBES)


def _starlette(
    metrics: Metrics,
    routes: Sequence[Route],
    *,
    lifespan: Lifespan[Starlette] | None = None,
    api_keys: Sequence[str] = (),
    traces: "Traces | None" = None,
) -> Starlette:
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Observation, metrics=metrics, routes=route_names(routes), traces=traces),
            Middleware(ApiKeys, keys=api_keys),
        ],
        exception_handlers={RequestError: _refuse, HTTPException: _refuse_http},
    )
    app.router.redirect_slashes = False  # a redirected POST loses its body in many clients
    return app


def _open_traces() -> "Traces":
    try:
        # Here, because it costs time and memory that only those who ask for traces should pay.
        from sentiment.api.tracing import Traces
    except ImportError as error:
        raise SettingsError(
            f"SENTIMENT_TRACES=otlp: {first_line(error)}: pip install -r requirements-otel.txt"
        ) from error
    return Traces()


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    request.state.log_fields["code"] = error.code
    return ProblemResponse(error, request.state.request_id, path=request.scope["path"])


async def _refuse_http(request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses, in our own form."""
    assert isinstance(error, HTTPException)
    refusal: RequestError
    if error.status_code == 404:
        refusal = NotFound("see GET / for the routes")
    elif error.status_code == 405:
        allow = ", ".join(_allowed(request))
        refusal = MethodNotAllowed(f"this route takes {allow}", allow=allow)
    else:
        refusal = InternalError(f"unexpected status {error.status_code}")
    return await _refuse(request, refusal)


def _allowed(request: Request) -> list[str]:
    """Return the methods of every route of the request's path: two may share it."""
    return sorted(
        {
            method
            for route in request.app.routes
            if route.matches(request.scope)[0] is not Match.NONE
            for method in route.methods
        }
    )


class _PlainLifespanFailure:
    """Ends a failed start with one log line in place of a traceback; uvicorn then exits 3."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        failed = "cannot start"

        async def send_plain(message: Message) -> None:
            nonlocal failed
            if message["type"] == "lifespan.startup.complete":
                failed = "cannot stop cleanly"
            # Starlette puts the whole traceback into the message, and uvicorn logs it.
            if "message" in message:
                message["message"] = ""
            await send(message)

        try:
            await self._app(scope, receive, send_plain)
        except ModelError as error:
            log.critical("%s: %s", failed, error)
            raise  # uvicorn says no more of it, and what waits for the start must not wait on
        except Exception:
            log.critical(failed, exc_info=True)
            raise
