"""Streams on a server that cannot take them as they come: they wait, and lose nothing."""

import asyncio
import json
import socket
import threading

import pytest
import uvicorn
from starlette.requests import Request
from uvicorn.server import ServerState

from sentiment import Settings
from sentiment.api.clients import let_body_last
from sentiment.api.lifecycle import Lifecycle
from sentiment.api.protocol import Edge, protocol_class
from sentiment.batching.admission import Admission
from sentiment.errors import Overloaded
from sentiment.metrics import Metrics
from tests.application import Application, answers, wait_for
from tests.doubles import until

LINES = [f"line {number} of a report on sales, profit, debt and cash" for number in range(250)]
"""About 14 tokens each, and all of them one window."""


def streaming(application, *texts, timeout_ms=None):
    """Send a stream from another thread; return the future of all lines of its answer."""
    headers = {"Content-Type": "application/x-ndjson"}
    if timeout_ms is not None:
        headers["X-Timeout-Ms"] = str(timeout_ms)
    content = b"".join(json.dumps(text).encode() + b"\n" for text in texts)

    def stream():
        answer = application.client.post("/v1/stream?top_k=3", content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    return application._clients.submit(stream)


def all_answered(lines, texts):
    *answered, end = lines
    assert end == {"done": True, "texts": len(texts), "errors": 0}
    assert [line["index"] for line in answered] == list(range(len(texts)))
    assert [
        {item["label"]: item["score"] for item in line["labels"]} for line in answered
    ] == answers(*texts)


@pytest.fixture
def refused(monkeypatch):
    """Set as soon as the scheduler has refused a request for want of room."""
    refused = threading.Event()
    check = Admission.check

    def check_and_tell(*arguments):
        try:
            check(*arguments)
        except Overloaded:
            refused.set()
            raise

    monkeypatch.setattr(Admission, "check", check_and_tell)
    return refused


def test_overload_makes_a_stream_wait_and_loses_no_line(refused):
    token_s = 0.0001
    # With a request of many texts the engine is shared: one text passes it, and many do not.
    with Application(cache_texts=0, max_backlog_s=2000 * token_s) as application:
        application.predict(token_s=token_s)
        with application.occupied():
            ahead = application.spawn(*(f"lies ahead {number}" for number in range(1000)))
            application.wait_until_waiting(1000)
            stream = streaming(application, *LINES)
            assert refused.wait(30)
            assert application.metric("streams") == 1
            application.wait_until_waiting(1000)
        assert ahead.result().status_code == 200
        all_answered(stream.result(), LINES)


def test_lines_behind_more_work_than_their_deadline_wait_for_it(monkeypatch):
    asked = threading.Event()
    admit = Admission.admit

    def admit_and_tell(*arguments, **options):
        try:
            return admit(*arguments, **options)
        except Exception:
            asked.set()
            raise

    monkeypatch.setattr(Admission, "admit", admit_and_tell)
    with Application(cache_texts=0, deadline_s=3600, max_backlog_s=3600) as application:
        application.predict(token_s=10.0)
        with application.occupied():  # for 80 s, it is believed
            stream = streaming(application, *LINES[:3], timeout_ms=75_000)
            assert asked.wait(30)
            assert application.metric("queue_texts") == 0
        all_answered(stream.result(), LINES[:3])


def test_lines_that_do_not_fit_a_deadline_together_are_classified_in_parts():
    with Application(cache_texts=0, deadline_s=3600, max_backlog_s=3600) as application:
        application.predict(token_s=10.0)
        with application.occupied():
            stream = streaming(application, *LINES[:50], timeout_ms=600_000)
            wait_for(lambda: application.metric("queue_texts"))
            assert application.metric("queue_texts") < 50
        all_answered(stream.result(), LINES[:50])


async def flooding(scope, receive, send):
    """Answer until the client hangs up."""
    hung_up = asyncio.Event()
    let_body_last(Request(scope), hung_up.set)
    await send({"type": "http.response.start", "status": 200})
    while not hung_up.is_set():
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})


async def test_a_client_that_reads_slowly_is_dropped_only_when_it_stops():
    edge = Edge(settings=Settings(write_timeout_s=3600), metrics=Metrics(), lifecycle=Lifecycle())
    config = uvicorn.Config(flooding, log_config=None)
    config.load()
    protocol = protocol_class(edge)(config, ServerState(), {})
    ours, theirs = socket.socketpair()
    with theirs:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, ours)
        theirs.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await until(lambda: protocol._unread_since is not None)
        for _ in range(3):
            theirs.recv(65536)  # the event loop stands still: nothing takes its place
            protocol._drop_slow_reader()  # the time to write is over
            assert not protocol.transport.is_closing()
        protocol._drop_slow_reader()
        assert protocol.transport.is_closing()
        await until(lambda: not protocol.server_state.tasks)
