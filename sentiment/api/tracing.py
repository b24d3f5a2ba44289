"""Traces of requests, sent to an OpenTelemetry collector: `SENTIMENT_TRACES=otlp`.

The only module that imports OpenTelemetry, and imported only where the setting asks for it. A
request is told in spans once it has ended, from the times that were measured anyway, so that
nothing of it waits for a trace: spans go to a queue with a bound, and a thread sends them. Which
spans there are, and which of OpenTelemetry's own variables hold, is in `docs/tracing.md`.

No span holds anything that a client made up, but for the identifiers of the trace that it began and
what tracing systems noted beside them.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Thread

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.http_attributes import (
    HTTP_REQUEST_METHOD,
    HTTP_RESPONSE_STATUS_CODE,
    HTTP_ROUTE,
)
from opentelemetry.semconv.attributes.network_attributes import NETWORK_PROTOCOL_VERSION
from opentelemetry.semconv.attributes.url_attributes import URL_PATH, URL_SCHEME
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from starlette.types import Scope

import sentiment
from sentiment.api.trace_context import TraceContext
from sentiment.api.trace_variables import check_variables, complaints_refused
from sentiment.calls import Call, Calls

log = logging.getLogger(__name__)

METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
"""What may stand in a span as it came; any other method is a client's own word."""

FLUSH_S = 1.0
"""How long the end of the server waits for the last spans to be sent: half of what the launcher
gives the application to close."""

COMPLAINT_S = 60.0
"""There is one log line in so long about spans that cannot be sent."""


Attributes = dict[str, str | int]


class Traces:
    """Tells requests that have ended in spans, and sends those to a collector."""

    def __init__(self) -> None:
        """Read OpenTelemetry's variables and start the thread that sends.

        Raises:
            SettingsError: one of them has a value that would not be heeded.
        """
        check_variables()
        with complaints_refused():
            self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self._tracer = self._provider.get_tracer("sentiment", sentiment.__version__)
        # In place of one for each batch, and of what the SDK says of headers, which are a client's.
        library = logging.getLogger("opentelemetry")
        library.handlers = [_RareComplaints()]
        library.propagate = False

    def record(
        self,
        scope: Scope,
        *,
        parent: TraceContext | None,
        route: str | None,
        status: int,
        log_fields: Mapping[str, object],
        calls: Calls,
        began_at: float,
        ended_at: float,
    ) -> tuple[str, str] | None:
        """Tell a request that has ended.

        Args:
            scope: of the request.
            parent: the trace that it belongs to; without one it begins its own.
            route: the template of a known route's path, such as `/docs/{file}`.
            status: of the answer.
            log_fields: what its log line says: `texts`, `code`.
            calls: what it asked of the analyzer.
            began_at: as `time.perf_counter` says it.
            ended_at: the same.

        Returns:
            Identifiers of the trace and of the request's span, `None` if it is not sampled.
        """
        method = scope["method"] if scope["method"] in METHODS else None
        wall = _WallClock()
        span = self._tracer.start_span(
            " ".join(filter(None, (method or "HTTP", route))),
            _context(parent),
            SpanKind.SERVER,
            _attributes(scope, method=method, route=route, status=status),
            start_time=wall.ns(began_at),
        )
        if not span.is_recording():
            return None
        span.set_attributes(_findings(log_fields.get("texts"), calls))
        code = log_fields.get("code")
        if isinstance(code, str):
            span.set_attribute("sentiment.code", code)
            # A client's own mistake, or that it left, is no error of the server.
            if status >= 500 or status < 400:
                span.set_attribute(ERROR_TYPE, code)
                span.set_status(StatusCode.ERROR)
        inside = set_span_in_context(span, Context())
        for number, call in enumerate(calls.computed, start=1):
            for stage in _stages(call, ended_at):
                child = self._tracer.start_span(
                    stage.name,
                    inside,
                    attributes=stage.attributes,
                    start_time=wall.ns(stage.began_at),
                )
                if calls.count > 1:
                    child.set_attribute("sentiment.call", number)
                if stage.failed:
                    child.set_attribute(ERROR_TYPE, call.code or str(code))
                    child.set_status(StatusCode.ERROR)
                child.end(wall.ns(stage.ended_at))
        span.end(wall.ns(ended_at))
        own = span.get_span_context()
        return f"{own.trace_id:032x}", f"{own.span_id:016x}"

    async def close(self) -> None:
        """Send what waits, for `FLUSH_S` at most; what is not sent by then is lost."""
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()

        def send() -> None:
            self._provider.shutdown()  # waits for as long as the collector makes it wait
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                loop.call_soon_threadsafe(sent.set)

        Thread(target=send, name="last traces", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_S):
                await sent.wait()
        except TimeoutError:
            log.warning("the last traces could not be sent in time")


class _WallClock:
    """Tells the time of day of moments of `time.perf_counter`, all in the same way.

    So no span is longer than what it tells took, and none leaves its parent, though the time of day
    may be set meanwhile.
    """

    def __init__(self) -> None:
        self._zero_ns = time.time_ns() - time.perf_counter_ns()

    def ns(self, moment: float) -> int:
        """Return nanoseconds since 1970."""
        return self._zero_ns + int(moment * 1e9)


@dataclass(slots=True)
class _Stage:
    """A part of a call, from when to when; `time.perf_counter` says both."""

    name: str
    began_at: float
    ended_at: float
    attributes: Attributes
    failed: bool


def _stages(call: Call, request_ended_at: float) -> Iterator[_Stage]:
    """Yield what a call went through, up to the stage in which it failed, if it did."""
    moment = call.computing_at
    if moment is None:
        return
    tokenized: Attributes = {"sentiment.texts": call.texts - call.cached_texts}
    if call.lengths is not None:
        tokenized["sentiment.tokens"] = call.tokens
    batch: Attributes = {"sentiment.batch.texts": call.batch_texts} if call.batch_texts else {}
    for name, seconds, attributes in (
        ("tokenize", call.tokenize_s, tokenized),
        ("queue", call.queue_s, {}),
        ("infer", call.infer_s, batch),
    ):
        if seconds is None:
            yield _Stage(name, moment, min(call.ended_at, request_ended_at), attributes, True)
            return
        yield _Stage(name, moment, moment + seconds, attributes, False)
        moment += seconds


def _attributes(scope: Scope, *, method: str | None, route: str | None, status: int) -> Attributes:
    """Return what HTTP's semantic conventions say of a request, without what a client made up."""
    attributes: Attributes = {
        HTTP_REQUEST_METHOD: method or "_OTHER",
        HTTP_RESPONSE_STATUS_CODE: status,
        URL_SCHEME: scope["scheme"],
        NETWORK_PROTOCOL_VERSION: scope["http_version"],
    }
    if route is not None:
        attributes[HTTP_ROUTE] = route
        if "{" not in route:
            attributes[URL_PATH] = route
    return attributes


def _findings(texts: object, calls: Calls) -> Attributes:
    """Return how many texts and tokens a request was about, as far as that became known."""
    found: Attributes = {"sentiment.texts": texts} if isinstance(texts, int) else {}
    if calls.count:
        found["sentiment.tokens"] = calls.tokens
        found["sentiment.cache_hits"] = calls.cached_texts
        found["sentiment.truncated"] = calls.truncated_texts
    if calls.count > 1:
        found["sentiment.calls"] = calls.count
    return found


def _context(parent: TraceContext | None) -> Context:
    if parent is None:
        return Context()
    remote = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
        trace_state=TraceState(parent.state),
    )
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _resource() -> Resource:
    """Return what is said of this process with every span."""
    resource = Resource.create({SERVICE_VERSION: sentiment.__version__})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "sentiment"}))
    return resource


class _RareComplaints(logging.Handler):
    """Passes on what the exporter complains of, a line every `COMPLAINT_S` at most."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next_at = 0.0
        self._unlogged = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(("opentelemetry.exporter.", "opentelemetry.sdk.")):
            return
        now = time.monotonic()
        if now < self._next_at:
            self._unlogged += 1
            return
        self._next_at = now + COMPLAINT_S
        unlogged, self._unlogged = self._unlogged, 0
        extra: dict[str, object] = {"reason": record.getMessage()}
        if unlogged:
            extra["unlogged"] = unlogged
        log.warning("traces cannot be sent", extra=extra)
