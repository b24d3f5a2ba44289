"""What happens to every request: an id, a log line, metrics, and an answer whatever fails.

Pure ASGI. Starlette's own error middleware would answer 500 in plain text and raise on.
"""

import logging
import re
import time
from collections.abc import Collection
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentiment.api.responses import ProblemResponse
from sentiment.errors import InternalError
from sentiment.metrics import Metrics

log = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""A client's id is echoed if it looks like one; anything else could forge log lines."""


QUIET_ROUTES = frozenset({"GET /livez", "GET /readyz", "GET /metrics"})
"""Asked every few seconds by machines: logged at level debug."""


CLIENT_CLOSED = 499
"""Logged and counted, never sent: nobody was there to take an answer."""


class Observation:
    """Wraps the application; the only place that logs or counts a request."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Collection[str]) -> None:
        """Observe `app`; what is not in `routes`, as `POST /`, is reported as `other`."""
        self._app = app
        self._metrics = metrics
        self._routes = frozenset(routes)

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
        status = 0

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except Exception:
            log.exception("unhandled exception", extra={"request_id": request_id})
            failure = InternalError("the server failed; its log has this request's id")
            log_fields["code"] = failure.code
            if not status:
                await ProblemResponse(failure, request_id)(scope, receive, send_observed)
        finally:
            self._report(scope, status, time.perf_counter() - began_at, log_fields)

    def _report(
        self, scope: Scope, status: int, duration_s: float, log_fields: dict[str, object]
    ) -> None:
        # Never what a client made up: it may hold text, and metrics want closed sets.
        route = f"{scope['method']} {scope['path']}"
        if route not in self._routes:
            route = "other"
        status = status or CLIENT_CLOSED
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(duration_s)
        if code := log_fields.get("code"):
            self._metrics.rejected.labels(code).inc()
        log.log(
            logging.DEBUG if route in QUIET_ROUTES and status < 400 else logging.INFO,
            "request",
            extra={
                "request_id": scope["state"]["request_id"],
                "route": route,
                "status": status,
                "duration_ms": round(duration_s * 1000, 3),
                **log_fields,
            },
        )


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid4().hex
