"""The ASGI application, assembled."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypedDict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentiment.analyzer import Analyzer
from sentiment.api.middleware import Observation
from sentiment.api.responses import ProblemResponse
from sentiment.api.routes import ROUTES, route_names
from sentiment.errors import (
    InternalError,
    MethodNotAllowed,
    ModelError,
    NotFound,
    RequestError,
)
from sentiment.metrics import Metrics
from sentiment.settings import Settings

log = logging.getLogger(__name__)

AnalyzerOpener = Callable[[Settings, Metrics], AbstractAsyncContextManager[Analyzer]]


class State(TypedDict):
    """What the lifespan owns and every request sees."""

    analyzer: Analyzer
    settings: Settings
    metrics: Metrics


def create_app(settings: Settings, *, open_analyzer: AnalyzerOpener = Analyzer.open) -> ASGIApp:
    """Return the application; its lifespan loads the model, and fails if there is none."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        async with open_analyzer(settings, metrics) as analyzer:
            yield {"analyzer": analyzer, "settings": settings, "metrics": metrics}

    app = Starlette(
        routes=ROUTES,
        lifespan=lifespan,
        middleware=[Middleware(Observation, metrics=metrics, routes=route_names())],
        exception_handlers={RequestError: _refuse, HTTPException: _refuse_http},
    )
    app.router.redirect_slashes = False  # a redirected POST loses its body in many clients
    return _PlainLifespanFailure(app)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    request.state.log_fields["code"] = error.code
    return ProblemResponse(error, request.state.request_id)


async def _refuse_http(request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses, in our own form."""
    assert isinstance(error, HTTPException)
    refusal: RequestError
    if error.status_code == 404:
        refusal = NotFound("see GET / for the routes")
    elif error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        refusal = MethodNotAllowed(f"this route takes {allow}", allow=allow)
    else:
        refusal = InternalError(f"unexpected status {error.status_code}")
    return await _refuse(request, refusal)


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
        except Exception:
            log.critical(failed, exc_info=True)
