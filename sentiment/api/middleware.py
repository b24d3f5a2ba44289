"""What happens to every request: an id, a log line, metrics, and an answer whatever fails.

Pure ASGI. Starlette's own error middleware would answer 500 in plain text and raise on.
"""

import asyncio
import logging
import re
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentiment.api.responses import ProblemResponse
from sentiment.api.trace_context import trace_context
from sentiment.calls import Calls, follow_calls
from sentiment.errors import ClientClosed, Draining, InternalError, Overloaded, RequestError
from sentiment.logs import LineLimit
from sentiment.metrics import Metrics

if TYPE_CHECKING:
    from sentiment.api.tracing import Traces

log = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""A client's id is echoed if it looks like one; anything else could forge log lines."""


QUIET_ROUTES = frozenset(
    {
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
        "GET /v2/health/live",
        "GET /v2/health/ready",
        "GET /v2/models/{name}/ready",
    }
)
"""Asked every few seconds by machines: logged at level debug, and never traced."""


OTHER_ROUTE = "other"
"""What is reported for every request that met no known route."""


REFUSALS_LOGGED_PER_S = 10
"""Lines a second that say `overloaded`. The rest of them are only counted, by the metrics and in
the next such line: an overloaded server has better things to do than to write megabytes. Nor are
they traced."""


CLIENT_CLOSED = ClientClosed.status
"""Logged and counted, never sent: nobody was there to take an answer."""


class Observation:
    """Wraps the application; the only place that logs, counts or traces a request."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        routes: Collection[str],
        traces: "Traces | None" = None,
    ) -> None:
        """Observe `app`; what is not in `routes`, as `POST /`, is `OTHER_ROUTE`."""
        self._app = app
        self._metrics = metrics
        self._routes = frozenset(routes)
        self._traces = traces
        self._overloads = LineLimit(REFUSALS_LOGGED_PER_S)
        for route in sorted(self._routes):
            if route.startswith(("POST ", "PUT ")):  # others ask for no work
                metrics.expect(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at = time.perf_counter()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id = _request_id(scope)
        # What the handler knows and the log line should say, such as how many texts.
        log_fields: dict[str, object] = {}
        state["log_fields"] = log_fields
        calls = None if self._traces is None else follow_calls()
        status = 0

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except (Exception, asyncio.CancelledError) as error:
            failure = _failure(error, request_id)
            log_fields["code"] = failure.code
            if not status:  # what has begun to answer is cut
                await ProblemResponse(failure, request_id, path=scope["path"])(
                    scope, _gone, send_observed
                )
        finally:
            # Never what a client made up: it may hold text, and metrics want closed sets.
            matched = scope.get("route")
            route = f"{scope['method']} {matched.path}" if matched else OTHER_ROUTE
            route = route if route in self._routes else OTHER_ROUTE
            ended_at = time.perf_counter()
            unlogged: int | None = 0
            if log_fields.get("code") == Overloaded.code:
                unlogged = self._overloads.next(time.monotonic())
                if unlogged:
                    log_fields["unlogged"] = unlogged
            if unlogged is not None:
                log_fields |= self._trace(
                    scope,
                    route=route,
                    status=status or CLIENT_CLOSED,
                    calls=calls,
                    began_at=began_at,
                    ended_at=ended_at,
                )
            report_request(
                self._metrics,
                request_id=request_id,
                route=route,
                status=status or CLIENT_CLOSED,
                duration_s=ended_at - began_at,
                log_fields=log_fields,
                logged=unlogged is not None,
            )

    def _trace(
        self,
        scope: Scope,
        *,
        route: str,
        status: int,
        calls: Calls | None,
        began_at: float,
        ended_at: float,
    ) -> dict[str, str]:
        """Trace a request that has ended; return what its log line says of the trace.

        That is its own span where one was recorded, else the one that its client says it is of.
        """
        parent = trace_context(scope["headers"])
        own: tuple[str, str] | None = None
        if self._traces is not None and calls is not None and route not in QUIET_ROUTES:
            try:
                own = self._traces.record(
                    scope,
                    parent=parent,
                    route=route.partition(" ")[2] or None,
                    status=status,
                    log_fields=scope["state"]["log_fields"],
                    calls=calls,
                    began_at=began_at,
                    ended_at=ended_at,
                )
            except Exception:  # it is answered already, and must still be counted
                log.exception("a request could not be traced")
        if own is None and parent is not None:
            own = parent.trace_id, parent.span_id
        return {} if own is None else dict(zip(("trace_id", "span_id"), own, strict=True))


def report_request(
    metrics: Metrics,
    *,
    request_id: str,
    route: str,
    status: int,
    duration_s: float,
    log_fields: Mapping[str, object],
    logged: bool = True,
) -> None:
    """Count a request that has ended and log it in one line.

    Args:
        metrics: where it is counted.
        request_id: as in the answer.
        route: a known route or `OTHER_ROUTE`, never a client's own words.
        status: of the answer; `CLIENT_CLOSED` where there was none.
        duration_s: from the request's head to the answer's end.
        log_fields: more to log; `code` is the refusal's, and counted.
        logged: whether it gets a line; counted it is in any case.
    """
    metrics.count_request(route=route, status=status, duration_s=duration_s)
    if code := log_fields.get("code"):
        metrics.rejected.labels(code).inc()
    if not logged:
        return
    log.log(
        logging.DEBUG if route in QUIET_ROUTES and status < 400 else logging.INFO,
        "request",
        extra={
            "request_id": request_id,
            "route": route,
            "status": status,
            "duration_ms": round(duration_s * 1000, 3),
            **log_fields,
        },
    )


def _failure(error: BaseException, request_id: str) -> RequestError:
    """Return what a client is told of an exception that nobody answered."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        # The launcher cancels what is unanswered when the time to drain is over.
        return Draining("not answered before the server had to end; ask another")
    log.error("unhandled exception", exc_info=error, extra={"request_id": request_id})
    return InternalError("the server failed; its log has this request's id")


async def _gone() -> Message:
    """Stand in for `receive` where there is no time left to wait for a client."""
    return {"type": "http.disconnect"}


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid4().hex
