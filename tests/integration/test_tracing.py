"""Traces inside one process: what is traced, what the log says, and what OpenTelemetry is told."""

import asyncio
import json
import logging
import subprocess
import sys

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from sentiment.api.middleware import REFUSALS_LOGGED_PER_S, Observation
from sentiment.errors import Overloaded, SettingsError
from sentiment.logs import JsonFormatter
from sentiment.metrics import Metrics
from tests.collector import collecting

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


@pytest.fixture
def last_line(caplog):
    """Return the last line of the log that is about a request, as it is written."""
    caplog.set_level(logging.INFO)

    def last():
        ours = [record for record in caplog.records if record.getMessage() == "request"]
        return json.loads(JsonFormatter().format(ours[-1]))

    return last


def test_without_traces_a_client_s_trace_is_logged_beside_the_request_id(service, last_line):
    service.post("/", json=["a"], headers={**PARENT, "X-Request-Id": "r1"})
    line = last_line()
    assert (line["request_id"], line["trace_id"], line["span_id"]) == ("r1", TRACE, CALLER)
    service.post("/", json=["a"])
    assert "trace_id" not in last_line()


@pytest.mark.parametrize("forgery", ["\n", '","forged":"', "\x1b[2J", "\u2028", "\x00", "-", " x"])
def test_no_trace_context_forges_a_line_of_the_log(service, last_line, forgery):
    raw = (PARENT["traceparent"] + forgery).encode()
    service.post("/", json=["a"], headers={"traceparent": raw, "tracestate": raw})
    assert not last_line().keys() & {"trace_id", "span_id", "forged"}


class Recorder:
    """Stands in for the sender of traces."""

    def __init__(self, fails=False):
        self.fails = fails
        self.codes = []

    def record(self, scope, *, log_fields, **_):
        if self.fails:
            raise RuntimeError("a defect")
        self.codes.append(log_fields.get("code"))


def observed(traces, answer):
    """Return a client of one route behind the middleware, and its metrics."""
    metrics = Metrics()
    app = Starlette(routes=[Route("/", answer)])
    return TestClient(
        Observation(app, metrics=metrics, routes=["GET /", "HEAD /"], traces=traces)
    ), metrics


def test_a_request_that_cannot_be_traced_is_answered_logged_and_counted(last_line, caplog):
    client, metrics = observed(Recorder(fails=True), lambda _: Response("fine"))
    assert client.get("/", headers=PARENT).text == "fine"
    assert last_line()["trace_id"] == TRACE
    assert "a request could not be traced" in caplog.text
    assert metrics.requests.labels("GET /", "200")._value.get() == 1


def test_of_refusals_by_the_thousand_those_are_traced_that_are_logged():
    async def overloaded(request):
        request.state.log_fields["code"] = Overloaded.code
        return Response(status_code=429)

    recorder = Recorder()
    client, _ = observed(recorder, overloaded)
    asked = 20 * REFUSALS_LOGGED_PER_S
    for _ in range(asked):
        client.get("/")
    assert 0 < len(recorder.codes) < asked


def test_the_standard_variables_alone_switch_nothing_on(repository):
    script = (
        "import os, sys\n"
        "os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'] = 'http://127.0.0.1:9'\n"
        "os.environ['OTEL_TRACES_EXPORTER'] = 'otlp'\n"
        "from sentiment import Settings\n"
        "from sentiment.api.app import create_app\n"
        "create_app(Settings())\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("sampler", "share", "parent", "traced"),
    [
        ("parentbased_traceidratio", "0", PARENT, True),  # a stranger's word
        ("parentbased_traceidratio", "0", {}, False),
        ("traceidratio", "0", PARENT, False),
        ("traceidratio", "1", PARENT, True),
        ("traceidratio", "0.01", {"traceparent": f"00-{1:032x}-{CALLER}-01"}, True),  # ill will
    ],
)
def test_a_stranger_has_no_say_in_what_is_traced_where_the_sampler_asks_no_parent(
    monkeypatch, sampler, share, parent, traced
):
    from sentiment.api.tracing import Traces

    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
        traces = Traces()
        client, _ = observed(traces, lambda _: Response("fine"))
        client.get("/", headers=parent)
        asyncio.run(traces.close())
        if traced:  # answered is sooner than read
            collector.wait(lambda: collector.spans)
        assert len(collector.spans) == traced


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "expected http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "expected a URL"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector:4317", "expected a URL"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "sometimes"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "OTEL_BSP_MAX_QUEUE_SIZE"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "max_queue_size"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "zstd"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team", "team"),
    ],
)
def test_a_variable_that_would_not_be_heeded_ends_the_start(monkeypatch, variable, value, said):
    from sentiment.api.tracing import Traces

    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=said):
        Traces()


@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]
)
def test_an_empty_protocol_counts_as_unset(monkeypatch, variable):
    from sentiment.api.trace_variables import check_variables

    monkeypatch.setenv(variable, "")
    check_variables()


def test_a_wrong_header_for_the_collector_is_not_quoted(monkeypatch):
    from sentiment.api.tracing import Traces

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Bearer s3cret")
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_HEADERS") as refused:
        Traces()
    assert "s3cret" not in str(refused.value)
