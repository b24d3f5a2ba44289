"""Traces, from a real server to a real collector: what is told, and what that may never cost."""

import itertools
import json
import re
import signal
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.collector import ERROR, SERVER_SPAN, collecting
from tests.conftest import REPOSITORY
from tests.e2e.conftest import GATED, running_server
from tests.e2e.test_lifecycle import no_tracebacks, serve_once
from tests.e2e.wire import connect, exchange, get, head, post, posting, take

CALLER = "00f067aa0ba902b7"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "20"}
"""Milliseconds until spans are sent: nobody should wait five seconds for a test."""

STAGES = ["tokenize", "queue", "infer"]


def new_trace():
    return uuid4().hex


def parent(trace_id, flags="01"):
    """Return the header of a caller that is tracing."""
    return f"traceparent: 00-{trace_id}-{CALLER}-{flags}"


@contextmanager
def traced_server(collector, *command, **settings):
    settings = {
        "SENTIMENT_TRACES": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        **QUICK,
        **settings,
    }
    with running_server(*command, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def collector():
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(collector):
    """The server as anybody starts it, with a cache."""
    with traced_server(collector, SENTIMENT_CACHE_TEXTS="100") as server:
        yield server
    no_tracebacks(server)


@pytest.fixture(scope="module")
def gated(collector):
    """The server around an engine that a test controls, and that fails on `poison`."""
    with traced_server(collector, *GATED) as server:
        yield server


@pytest.fixture
def trace(collector):
    """A trace that this test's request belongs to, and what is told of it."""
    trace_id = new_trace()
    return trace_id, lambda: collector.trace(trace_id)


def answer(server, data):
    with connect(server.address) as connection:
        connection.sendall(data)
        return take(connection)


def line_of(server, **fields):
    """Return the log line with these fields."""
    return next(line for line in reversed(server.log) if fields.items() <= line.items())


# What is told


def test_a_request_is_told_with_the_times_that_its_answer_tells(server, trace):
    trace_id, spans = trace
    given = answer(server, posting(b'["Profit rose", "Loss widens"]', parent(trace_id)))
    request, *stages = spans()
    assert (request.name, request.kind, request.status) == ("POST /", SERVER_SPAN, 0)
    assert [stage.name for stage in stages] == STAGES
    assert {stage.parent_id for stage in stages} == {request.span_id}
    said = dict(re.findall(r"(\w+);dur=([\d.]+)", given.headers["server-timing"]))
    for stage in stages:
        assert stage.duration_ms == pytest.approx(float(said[stage.name]), abs=0.006)
        assert stage.status == 0
    # One after the other, and within the request.
    assert request.start_ns <= stages[0].start_ns
    for before, after in itertools.pairwise(stages):
        assert before.end_ns == after.start_ns
    assert stages[-1].end_ns <= request.end_ns
    line = line_of(server, trace_id=trace_id)
    assert request.duration_ms == pytest.approx(line["duration_ms"], abs=0.001)


def test_a_request_is_told_by_its_route_and_by_how_much_it_asked(server, trace):
    trace_id, spans = trace
    long = json.dumps(["profit " * 600, "Net sales rose."]).encode()
    answer(server, posting(b'["Net sales rose."]'))
    answer(server, posting(long, parent(trace_id)))
    request, tokenize, queue, infer = spans()
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/",
        "url.path": "/",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
        "sentiment.texts": 2,
        "sentiment.tokens": 512,
        "sentiment.truncated": 1,
        "sentiment.cache_hits": 1,
    }
    assert tokenize.attributes == {"sentiment.texts": 1, "sentiment.tokens": 512}
    assert queue.attributes == {}
    assert infer.attributes == {"sentiment.batch.texts": 1}
    assert request.resource["service.name"] == "sentiment"
    assert request.resource["service.version"] == "0.1.0"


def test_what_the_cache_answers_has_no_stages(server, trace):
    trace_id, spans = trace
    answer(server, posting(b'["Remembered"]'))
    answer(server, posting(b'["Remembered"]', parent(trace_id)))
    (request,) = spans()
    assert request.attributes["sentiment.cache_hits"] == 1


def test_a_document_is_told_by_its_sentences(server, trace):
    trace_id, spans = trace
    body = b'[{"text": "Profit rose. Sales fell. Costs grew."}]'
    answer(server, posting(body, parent(trace_id), to="/v1/documents"))
    request, *stages = spans()
    assert request.name == "POST /v1/documents"
    assert request.attributes["sentiment.texts"] == 3
    assert [stage.name for stage in stages] == STAGES


def test_a_stream_is_told_call_by_call(gated, trace):
    trace_id, spans = trace
    lines = b"".join(b'"Line %d of a stream"\n' % number for number in range(600))
    length = f"Content-Length: {len(lines)}"
    with connect(gated.address) as connection:
        connection.sendall(head("POST", "/v1/stream", length, parent(trace_id)) + lines)
        answers = connection.makefile("rb")
        while b'"done":true' not in answers.readline():
            pass
    request, *stages = spans()
    assert request.name == "POST /v1/stream"
    assert request.attributes["sentiment.texts"] == 600
    calls = request.attributes["sentiment.calls"]
    assert calls >= 3  # no window holds more than 256 lines
    told = sorted((stage.attributes["sentiment.call"], stage.start_ns) for stage in stages)
    assert [number for number, _ in told] == sorted([*range(1, calls + 1)] * 3)
    assert all(request.start_ns <= stage.start_ns <= stage.end_ns for stage in stages)
    assert max(stage.end_ns for stage in stages) <= request.end_ns


def test_probes_and_scrapes_are_not_told(server, collector, trace):
    trace_id, spans = trace
    for path in ("/livez", "/readyz", "/metrics"):
        get(server.address, path, parent(trace_id))
    get(server.address, "/info", parent(trace_id))
    assert [span.name for span in spans()] == ["GET /info"]


# Whose trace it is


def test_a_client_s_trace_goes_on_in_the_spans_and_in_the_log(server, trace):
    trace_id, spans = trace
    fields = (parent(trace_id), "tracestate: vendor=a1", "tracestate: other=2", "X-Request-Id: r7")
    answer(server, posting(b'["a"]', *fields))
    request, *stages = spans()
    assert request.parent_id == CALLER
    assert {span.trace_state for span in (request, *stages)} == {"vendor=a1,other=2"}
    assert line_of(server, trace_id=trace_id)["span_id"] == request.span_id
    assert line_of(server, trace_id=trace_id)["request_id"] == "r7"


def test_a_request_without_a_trace_begins_one(server, collector):
    request_id = uuid4().hex
    answer(server, posting(b'["a"]', f"X-Request-Id: {request_id}"))
    collector.wait(lambda: any(line.get("request_id") == request_id for line in server.log))
    line = line_of(server, request_id=request_id)
    request, *_ = collector.trace(line["trace_id"])
    assert (request.parent_id, request.span_id) == ("", line["span_id"])


@pytest.mark.parametrize(
    "hostile",
    [
        lambda trace_id: [parent(trace_id), parent(trace_id)],
        lambda trace_id: [parent(trace_id.upper())],
        lambda trace_id: [parent(trace_id) + "-more"],
        lambda trace_id: [parent(f'{trace_id[:-1]}"')],
        lambda trace_id: ["traceparent: " + "0" * 8000],
        lambda trace_id: ["traceparent:", f"tracestate: a={trace_id}"],
    ],
    ids=["two", "upper case", "longer", "a quote", "8000 characters", "only a state"],
)
def test_what_is_no_trace_context_is_ignored_and_the_request_answered(server, collector, hostile):
    trace_id, request_id = "a" + new_trace()[1:], uuid4().hex
    given = answer(server, posting(b'["a"]', *hostile(trace_id), f"X-Request-Id: {request_id}"))
    assert given.status == 200
    collector.wait(lambda: any(line.get("request_id") == request_id for line in server.log))
    line = line_of(server, request_id=request_id)
    request, *_ = collector.trace(line["trace_id"])
    assert (request.parent_id, request.trace_state) == ("", "")
    assert trace_id.encode() not in b"".join(collector.bodies)


def test_a_caller_that_does_not_record_is_not_told_on_and_its_trace_is_logged(server, collector):
    unsampled, sampled = new_trace(), new_trace()
    answer(server, posting(b'["a"]', parent(unsampled, "00")))
    answer(server, posting(b'["a"]', parent(sampled)))
    assert collector.trace(sampled)
    assert not [span for span in collector.spans if span.trace_id == unsampled]
    assert line_of(server, trace_id=unsampled)["span_id"] == CALLER


# What went wrong


@pytest.mark.parametrize(
    ("data", "name", "status", "code"),
    [
        (lambda *fields: posting(b"[1]", *fields), "POST /", 422, "validation"),
        (lambda *fields: head("GET", "/secret", *fields), "GET", 404, "not-found"),
        (lambda *fields: head("DELETE", "/", *fields), "DELETE", 405, "method-not-allowed"),
        (lambda *fields: head("PROPFIND", "/", *fields), "HTTP", 405, "method-not-allowed"),
    ],
)
def test_a_client_s_mistake_is_told_and_is_no_error(server, trace, data, name, status, code):
    trace_id, spans = trace
    assert answer(server, data(parent(trace_id))).status == status
    (request,) = spans()
    assert (request.name, request.status) == (name, 0)
    assert request.attributes["http.response.status_code"] == status
    assert request.attributes["sentiment.code"] == code
    assert "error.type" not in request.attributes


def test_a_text_that_the_model_fails_on_is_an_error_of_its_pass(gated, trace):
    trace_id, spans = trace
    assert answer(gated, posting(b'["poison"]', parent(trace_id))).status == 500
    request, *stages = spans()
    assert [stage.name for stage in stages] == STAGES
    assert [stage.status for stage in (request, *stages)] == [ERROR, 0, 0, ERROR]
    for failed in (request, stages[-1]):
        assert failed.attributes["error.type"] == "inference-failed"
    assert request.attributes["http.response.status_code"] == 500


def test_a_deadline_that_passes_in_the_queue_ends_there(gated, trace):
    trace_id, spans = trace
    with connect(gated.address) as occupying:
        gated.tell("hold", until="held")
        occupying.sendall(posting(b'["this runs"]'))
        gated.hear("entered")
        given = answer(gated, posting(b'["a"]', parent(trace_id), "X-Timeout-Ms: 100"))
        assert given.status == 504
        gated.tell("release", until="released")
        assert take(occupying).status == 200
    request, *stages = spans()
    assert request.status == ERROR
    assert [(stage.name, stage.status) for stage in stages] == [("tokenize", 0), ("queue", ERROR)]
    assert stages[-1].attributes["error.type"] == "deadline-exceeded"
    assert stages[-1].end_ns <= request.end_ns


def test_a_client_that_leaves_is_no_error_of_the_server(gated, trace):
    trace_id, spans = trace
    with connect(gated.address) as leaving:
        gated.tell("hold", until="held")
        leaving.sendall(posting(b'["gone"]', parent(trace_id)))
        gated.hear("entered")
    request, *stages = spans()
    gated.tell("release", until="released")
    assert (request.attributes["sentiment.code"], request.status) == ("client-closed", 0)
    assert stages[-1].attributes["error.type"] == "client-closed"


# What is never told


def test_no_byte_that_is_sent_holds_a_client_s_text_or_names(server, collector):
    canary = "canary4f1b"
    hostile = (f"User-Agent: {canary}", f"Referer: http://{canary}/", f"X-Request-Id: {canary}")
    requests = [
        (b'["%s and more"]', "/"),
        (b'["%s", 1]', f"/?top_k={canary}"),
        (b'["%s"', "/"),
        (b'[{"id": "%s", "text": "%s."}]', "/v1/documents"),
        (b'{"inputs": "%s"}', "/predict"),
        (b'{"id": "%s"}', f"/v2/models/{canary}/infer"),
        (b'["%s"]', f"/{canary}?{canary}={canary}"),
    ]
    for body, path in requests:
        trace_id = new_trace()
        data = body.replace(b"%s", canary.encode())
        answer(server, posting(data, parent(trace_id), *hostile, to=path))
        assert collector.trace(trace_id)
    trace_id = new_trace()
    answer(server, head("MKCOL", f"/docs/{canary}", parent(trace_id), host=f"Host: {canary}"))
    assert collector.trace(trace_id)
    assert canary.encode() not in b"".join(collector.bodies).lower()


# What it may never cost


def complaints(server):
    return [line for line in server.log if line["message"] == "traces cannot be sent"]


def test_a_collector_that_fails_or_hangs_costs_no_answer_and_one_line():
    with collecting() as collector, traced_server(collector, *GATED) as server:
        collector.answer(400)
        for refusals in range(1, 4):
            assert post(server.address).status == 200
            collector.wait(lambda wanted=refusals: collector.refusals >= wanted)
        server.wait_for_line("traces cannot be sent")
        collector.hang()
        assert post(server.address).status == 200
        collector.wait_until_it_holds()
        assert {post(server.address).status for _ in range(20)} == {200}
        assert server.stop() == -signal.SIGTERM  # though the collector still hangs
    no_tracebacks(server)
    (line,) = complaints(server)
    assert (line["level"], line["logger"]) == ("WARNING", "sentiment.api.tracing")
    said = [line["message"] for line in server.log]
    assert "the last traces could not be sent in time" in said
    assert "the application did not close in time" not in said


def test_without_a_collector_requests_are_answered():
    with collecting() as collector:
        pass  # its port is free again
    full = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
    with traced_server(collector, *GATED, **full) as server:
        assert {post(server.address).status for _ in range(20)} == {200}
        server.wait_for_line("traces cannot be sent")
        assert server.stop() == -signal.SIGTERM
    assert len(complaints(server)) == 1


def test_what_is_not_sent_yet_is_sent_at_the_end():
    hour = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    trace_id = new_trace()
    with collecting() as collector, traced_server(collector, *GATED, **hour) as server:
        post(server.address, b'["a"]', parent(trace_id))
        assert not collector.spans
        assert server.stop() == -signal.SIGTERM
        assert len(collector.trace(trace_id)) == 4
    assert not complaints(server)


def test_each_of_several_workers_tells_what_it_answers():
    command = ("-m", "sentiment", "serve", "--port", "0", "--workers", "2")
    # A budget that is measured at the start takes each worker its time.
    budget = {"SENTIMENT_TOKEN_BUDGET": "512"}
    with collecting() as collector, traced_server(collector, *command, **budget) as server:
        server.wait_for_line("all workers are ready")
        spans = []
        while len({span.resource["service.instance.id"] for span in spans}) < 2:
            assert len(spans) < 1000, "a thousand connections went to one worker"
            trace_id = new_trace()
            exchange(server.address, head("GET", "/info", parent(trace_id), "Connection: close"))
            spans += collector.trace(trace_id)
        lines = {line["trace_id"]: line for line in server.log if "trace_id" in line}
        assert {lines[span.trace_id]["worker"] for span in spans} == {1, 2}
        assert server.stop() == -signal.SIGTERM


# What it needs

WITHOUT = "import sys; sys.modules['opentelemetry'] = None; "
CLI = "from sentiment.cli import main; sys.argv[1:] = {}; main()"


@pytest.mark.parametrize(
    "start",
    [
        CLI.format(["serve", "--port", "0"]),
        CLI.format(["serve", "--port", "0", "--workers", "2"]),
        "import batch_server",
    ],
    ids=["serve", "workers", "uvicorn"],
)
def test_traces_that_are_asked_for_and_not_installed_end_the_start_in_one_line(start, tmp_path):
    # Workers are fresh interpreters: what is not installed is not installed for them either.
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    done = serve_once(
        "-c", WITHOUT + start, SENTIMENT_TRACES="otlp", PYTHONPATH=f"{tmp_path}:{REPOSITORY}"
    )
    assert done.returncode == 3
    (said,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert said.startswith("error: SENTIMENT_TRACES=otlp: ")
    assert said.endswith(": pip install -r requirements-otel.txt")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SENTIMENT_TRACES", "jaeger", "'off' or 'otlp'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "expected http/protobuf"),
    ],
)
def test_a_wrong_variable_ends_the_start_in_one_line(variable, value, said):
    wrong = {"SENTIMENT_TRACES": "otlp", variable: value}
    done = serve_once("-m", "sentiment", "serve", "--port", "0", **wrong)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert variable in line
    assert said in line
