"""A collector of traces: a real HTTP server that takes what OTLP sends, and can be made to fail."""

import contextlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SERVER_SPAN = 2
ERROR = 2
"""As OTLP numbers the kinds and the states of spans."""


@dataclass(frozen=True)
class Span:
    """One span, as it came over the wire."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    status: int
    trace_state: str
    attributes: dict[str, object]
    resource: dict[str, object]

    @property
    def duration_ms(self):
        return (self.end_ns - self.start_ns) / 1e6


@dataclass
class Collector:
    """What has come so far, and how the next request is met."""

    url: str
    spans: list[Span] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """Every byte that was sent, headers included."""
    refusals: int = 0
    _status: int = 200

    def __post_init__(self):
        self._changed = threading.Condition()
        self._open = threading.Event()
        self._open.set()
        self._held = 0

    def answer(self, status):
        """Answer every request with this status; spans are taken with 200 only."""
        self._status = status

    def hang(self):
        """Answer nobody until `release`."""
        self._open.clear()

    def release(self):
        self._open.set()

    def wait(self, condition):
        """Return the first true value of `condition()`, asked whenever something came."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout=30), self.names
            return condition()

    @property
    def names(self):
        return [span.name for span in self.spans]

    def wait_until_it_holds(self):
        """Wait until a request hangs."""
        self.wait(lambda: self._held)

    def trace(self, trace_id):
        """Return the spans of one request, its own first, as soon as they have come."""

        def whole():
            found = [span for span in self.spans if span.trace_id == trace_id]
            # Children end before it, so it is the last that is sent.
            return (
                sorted(found, key=lambda span: span.kind != SERVER_SPAN)
                if any(span.kind == SERVER_SPAN for span in found)
                else None
            )

        return self.wait(whole)

    def take(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._changed:
            self._held += 1
            self._changed.notify_all()
        self._open.wait(timeout=60)
        status = self._status
        with contextlib.suppress(OSError):  # its sender has given up
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        with self._changed:
            self._held -= 1
            self.bodies.append(bytes(handler.headers) + body)
            if status == 200 and handler.path == "/v1/traces":
                self.spans += spans(ExportTraceServiceRequest.FromString(body))
            else:
                self.refusals += 1
            self._changed.notify_all()


def spans(request):
    """Yield the spans of one OTLP request."""
    for group in request.resource_spans:
        resource = values(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    kind=span.kind,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    status=span.status.code,
                    trace_state=span.trace_state,
                    attributes=values(span.attributes),
                    resource=resource,
                )


def values(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def collecting():
    """Run a collector on a free port for the time of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            collector.take(self)

        def log_message(self, *_):
            """Say nothing: the tests ask."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield collector
        finally:
            collector.release()
            server.shutdown()
