"""Streams over real sockets: lines go out while others come in, and nothing piles up."""

import contextlib
import json
import signal
import socket
import subprocess
import threading
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.e2e.conftest import GATED, running_server
from tests.e2e.test_edge import resident_bytes
from tests.e2e.test_hang_ups import finish, occupied, reset
from tests.e2e.test_lifecycle import no_tracebacks, wait_until
from tests.e2e.wire import (
    PATIENCE_S,
    connect,
    get,
    head,
    metric,
    post,
    posting,
    refusal,
    take,
    waiting,
)


class Client:
    """One stream: what it says goes out at once, what it hears comes line by line."""

    def __init__(self, server, query="", *fields, buffer_bytes=None):
        self.connection = socket.socket()
        self.connection.settimeout(PATIENCE_S)
        if buffer_bytes is not None:  # of this side's kernel
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        self.connection.connect(server.address)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        chunked = ("Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
        self.connection.sendall(head("POST", f"/v1/stream{query}", *chunked, *fields))
        self._answer = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._answer is not None:
            self._answer.close()
        self.connection.close()

    def say(self, *lines):
        self.send(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def send(self, data):
        self.connection.sendall(chunk(data))

    def end(self):
        self.connection.sendall(b"0\r\n\r\n")

    @property
    def answer(self):
        if self._answer is None:
            self._answer = HTTPResponse(self.connection)
            self._answer.begin()
        return self._answer

    def hear(self):
        """Return the next line of the answer; `None` after the last."""
        line = self.answer.readline()
        return json.loads(line) if line else None

    def rest(self):
        """Return all lines to the answer's end."""
        return [json.loads(line) for line in self.answer]

    def is_closed(self):
        return self.connection.recv(1) == b""


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def converse(server, *lines, query=""):
    """Return all that is answered to a stream of these lines, given as bytes."""
    with Client(server, query) as client:
        client.send(b"\n".join(lines))
        client.end()
        assert client.answer.status == 200
        return client.rest()


def open_streams(server):
    return metric(server.address, "sentiment_streams")


@pytest.fixture(scope="module")
def shared():
    with running_server(*GATED, SENTIMENT_THREADS="2") as server:
        yield server
        assert server.stop() == -signal.SIGTERM
    told_to_fail = "sentiment.batching.dispatcher"
    assert {line["logger"] for line in server.log if "exception" in line} <= {told_to_fail}


@pytest.fixture
def gated(shared):
    """A server around the double, which afterwards has nothing left of what a test did."""
    yield shared
    wait_until(lambda: open_streams(shared) == 0)
    for gauge in ("queue_texts", "queue_tokens", "backlog_seconds"):
        assert metric(shared.address, f"sentiment_{gauge}") == 0


@pytest.fixture(scope="module")
def hasty():
    """A server whose deadlines a test can wait for."""
    with running_server(
        *GATED,
        SENTIMENT_BODY_TIMEOUT_S="0.3",
        SENTIMENT_WRITE_TIMEOUT_S="0.3",
        SENTIMENT_STREAM_IDLE_S="0.5",
    ) as server:
        yield server
    no_tracebacks(server)


# Line by line


def test_a_line_is_answered_before_the_next_one_is_sent(gated):
    with Client(gated) as client:
        for index in range(20):
            client.say({"text": f"Profit rose {index} %", "id": f"line {index}"})
            answer = client.hear()
            assert (answer["index"], answer["id"]) == (index, f"line {index}")
            assert answer["label"] in ("positive", "negative", "neutral")
        client.end()
        assert client.rest() == [{"done": True, "texts": 20, "errors": 0}]


def test_the_answer_begins_before_the_first_line(gated):
    with Client(gated) as client:
        assert client.answer.status == 200
        assert client.answer.headers["Content-Type"] == "application/x-ndjson"
        assert client.answer.headers["X-Model"].startswith("compact@")
        client.end()
        assert client.rest() == [{"done": True, "texts": 0, "errors": 0}]


def test_a_client_that_asks_whether_to_go_on_is_told_so_first(gated):
    with Client(gated, "", "Expect: 100-continue") as client:
        told = b""
        while b"HTTP/1.1 200" not in told:
            told += client.connection.recv(65536)
        assert told.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


def test_a_text_in_pieces_is_one_text_and_a_last_line_needs_no_end(gated):
    with Client(gated) as client:
        for byte in '{"text": "Umsatz fällt", "id": 1}\n"Verlust'.encode():
            client.send(bytes([byte]))
        client.send(b'"')
        client.end()
        first, second, end = client.rest()
    assert (first["index"], first["id"], second["index"]) == (0, 1, 1)
    assert end == {"done": True, "texts": 2, "errors": 0}


def test_the_connection_serves_another_request_after_a_stream(gated):
    with Client(gated) as client:
        client.say("Profit rose")
        client.end()
        assert client.rest()[-1]["done"]
        client.connection.sendall(head("GET", "/livez"))
        assert take(client.connection).status == 200


def test_ten_thousand_lines_get_what_an_array_of_them_gets(gated):
    texts = [f"Sales of unit {index} rose by {index % 97} %" for index in range(10_000)]
    expected = []
    for start in range(0, len(texts), 2500):
        body = json.dumps(texts[start : start + 2500]).encode()
        expected += json.loads(post(gated.address, body).body)
    *answered, end = converse(gated, *(json.dumps(text).encode() for text in texts))
    assert end == {"done": True, "texts": 10_000, "errors": 0}
    assert [line.pop("index") for line in answered] == [*range(10_000)]
    assert answered == expected


def test_all_labels_come_where_they_are_asked_for(gated):
    ((answer), _) = converse(gated, b'"Profit rose"', query="?top_k=2")
    first, second = answer["labels"]
    assert first["score"] >= second["score"]
    assert answer.keys() == {"index", "labels"}


def test_a_text_that_was_truncated_says_so(gated):
    long, short, _ = converse(gated, json.dumps("profit " * 600).encode(), b'"profit"')
    assert long["truncated"] is True
    assert "truncated" not in short


# curl


def test_curl_gets_answers_while_its_pipe_is_still_open(gated):
    with subprocess.Popen(
        ["curl", "-sS", "--no-buffer", "-T", ".", f"{gated.url}/v1/stream"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as curl:
        for index in range(3):
            curl.stdin.write(b'"Profit rose"\n')
            curl.stdin.flush()
            assert json.loads(curl.stdout.readline())["index"] == index
        curl.stdin.close()
        assert json.loads(curl.stdout.readline()) == {"done": True, "texts": 3, "errors": 0}
    assert curl.returncode == 0


@pytest.mark.parametrize("options", [["-T", "-"], ["--data-binary", "@-"], ["-0", "-d", '"a"']])
def test_curl_may_send_it_all_at_once(gated, options):
    done = subprocess.run(
        ["curl", "-sS", *options, f"{gated.url}/v1/stream"],
        input=b'"a"\n',
        capture_output=True,
        check=True,
    )
    answer, end = map(json.loads, done.stdout.splitlines())
    assert answer["index"] == 0
    assert end == {"done": True, "texts": 1, "errors": 0}


def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(gated):
    with connect(gated.address) as connection:
        connection.sendall(b'POST /v1/stream HTTP/1.0\r\nContent-Length: 3\r\n\r\n"a"')
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    begin, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in begin
    assert b"transfer-encoding" not in begin
    assert [json.loads(line) for line in body.splitlines()][-1]["done"]


# Order


@pytest.mark.parametrize("ordered", [True, False])
def test_answers_come_in_order_unless_it_is_not_wanted(gated, ordered):
    wrong = 256  # fill a window, so that none of them waits for the text behind them
    with Client(gated, "" if ordered else "?ordered=false") as client:
        gated.tell("hold", until="held")
        client.say("This one takes its time.")
        gated.hear("entered")
        before = waiting(gated.address)
        client.send(b"wrong\n" * wrong + b'"This one waits."\n')
        wait_until(lambda: waiting(gated.address) == before + 1)  # so all have been read
        got = [] if ordered else [client.hear() for _ in range(wrong)]
        gated.tell("release", until="released")
        client.end()
        got += client.rest()
    order = [line["index"] for line in got[:-1]]
    assert order == ([0, *range(1, 258)] if ordered else [*range(1, 257), 0, 257])
    assert got[-1] == {"done": True, "texts": 2, "errors": wrong}


# Bad lines

BAD_LINES = {
    b"not json": ("invalid-json", None),
    b"NaN": ("invalid-json", None),
    b'"two" "texts"': ("invalid-json", None),
    b'"\xff"': ("invalid-encoding", None),
    b'\xef\xbb\xbf"a"': ("invalid-encoding", None),
    b'{"text": "\\ud83d"}': ("invalid-unicode", "/text"),
    b'{"text": "a", "x": [' + b"[]," * 63 + b"[]]}": ("too-many-texts", None),
    b'{"text": ""}': ("text-empty", "/text"),
    b'" "': ("text-empty", None),
    b'{"text": 1}': ("validation", "/text"),
    b'{"title": "a"}': ("validation", "/text"),
    b"17": ("validation", None),
    b"null": ("validation", None),
    b'["a"]': ("validation", None),
    b'{"text": "a", "id": []}': ("validation", "/id"),
    b'{"text": "a", "id": true}': ("validation", "/id"),
    b'{"text": "a", "id": 1.5}': ("validation", "/id"),
    b'{"text": "a", "id": "%s"}' % (b"x" * 257): ("validation", "/id"),
    b'"%s"' % (b"a" * 20_001): ("text-too-long", None),
    b'{"text": "%s"}' % (b"a" * 20_001): ("text-too-long", "/text"),
    b'"%s"' % (b"a" * 300_000): ("line-too-long", None),
}


@pytest.mark.parametrize(
    ("line", "code", "pointer"),
    [(line, *wrong) for line, wrong in BAD_LINES.items()],
    ids=[line[:24].decode("latin-1") for line in BAD_LINES],
)
def test_a_bad_line_gets_an_error_and_its_neighbours_their_labels(gated, line, code, pointer):
    before, wrong, after, end = converse(gated, b'"before"', b"", line, b'"after"')
    assert "label" in before
    assert "label" in after
    assert wrong.keys() == {"index", "line", "error"}
    assert (wrong["index"], wrong["line"]) == (1, 3)
    assert wrong["error"]["code"] == code
    assert wrong["error"].get("pointer") == pointer
    assert end == {"done": True, "texts": 2, "errors": 1}


def test_an_error_bears_the_id_of_its_line_and_none_of_its_text(gated):
    canary = "CANARY"
    (wrong, *_) = converse(gated, json.dumps({"text": [canary], "id": "mine", canary: 1}).encode())
    assert wrong["id"] == "mine"
    for line in (canary, f'{{"text": "{canary}', f'{{"id": ["{canary}"]}}'):
        assert canary not in json.dumps(converse(gated, line.encode()))
    assert canary not in json.dumps(gated.log)


def test_blank_lines_are_skipped(gated):
    *answered, end = converse(gated, b"", b"  \t", b'"a"\r', b"\r", b'"b"', b"", b"")
    assert [line["index"] for line in answered] == [0, 1]
    assert end == {"done": True, "texts": 2, "errors": 0}


def test_only_the_text_on_which_the_model_fails_gets_an_error(gated):
    texts = [f"text {index}" for index in range(40)]
    texts[17] += " poison"
    *answered, end = converse(gated, *(json.dumps(text).encode() for text in texts))
    assert [line["index"] for line in answered if "error" in line] == [17]
    assert answered[17]["error"]["code"] == "inference-failed"
    assert end == {"done": True, "texts": 39, "errors": 1}


def test_a_deadline_is_that_of_each_line_and_not_of_the_stream(gated):
    with Client(gated, "", "X-Timeout-Ms: 200") as client:
        gated.tell("hold", until="held")
        client.say("too late")
        gated.hear("entered")
        assert client.hear()["error"]["code"] == "deadline-exceeded"
        gated.tell("release", until="released")
        client.say("in time")
        assert "label" in client.hear()


# What is no stream


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        (["Content-Type: application/x-ndjson"], True),
        (["Content-Type: application/jsonl; charset=UTF-8", "Origin: http://x"], True),
        (["Content-Type: application/json-lines"], True),
        (["Content-Type: text/plain"], True),
        (["Content-Type: application/x-www-form-urlencoded"], True),
        ([], True),
        (["Origin: http://x"], False),
        (["Content-Type: text/plain", "Origin: http://x"], False),
        (["Content-Type: text/plain", "Sec-Fetch-Site: cross-site"], False),
        (["Content-Type: application/x-www-form-urlencoded", "Origin: null"], False),
        (["Content-Type: multipart/form-data; boundary=x"], False),
        (["Content-Type: application/json"], False),
        (["Content-Type: application/x-ndjson; charset=latin-1"], False),
        (["Content-Type: application/x-ndjson", "Content-Encoding: gzip"], False),
    ],
)
def test_a_stream_is_declared_as_one_and_no_website_sends_it_unasked(gated, fields, taken):
    with connect(gated.address) as connection:
        connection.sendall(head("POST", "/v1/stream", "Content-Length: 3", *fields) + b'"a"')
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == (200 if taken else 415)
        if not taken and "Content-Encoding: gzip" not in fields:
            assert answer.headers["Accept-Post"] == "application/x-ndjson"


@pytest.mark.parametrize("query", ["?top_k=0", "?ordered=maybe"])
def test_a_wrong_parameter_is_refused_before_the_stream_begins(gated, query):
    with Client(gated, query) as client:
        assert client.answer.status == 422


def test_more_streams_than_may_be_open_are_refused():
    with running_server(*GATED, SENTIMENT_MAX_STREAMS="1") as server:
        with Client(server) as first:
            assert first.answer.status == 200
            with Client(server) as second:
                assert second.answer.status == 429
                assert json.loads(second.answer.read())["code"] == "overloaded"
        wait_until(lambda: open_streams(server) == 0)
        assert converse(server, b'"a"')[-1]["done"]


# Loss of the engine


def test_a_stream_outlives_the_engine():
    with (
        running_server(*GATED, SENTIMENT_ENGINE_TIMEOUT_S="0.5") as server,
        Client(server) as client,
    ):
        server.tell("hold", until="held")
        client.say("runs when the engine is lost")
        server.hear("entered")
        wait_until(lambda: get(server.address).code == "worker-down")
        server.tell("release", until="released")
        client.say("comes later")
        client.end()
        assert client.rest()[-1] == {"done": True, "texts": 2, "errors": 0}


# Memory

WRONG = b"wrong" * 20 + b"\n"
"""A line that costs the server nothing but its answer."""


PATIENT_ANSWERS = 20
"""So many answers to others, and nothing taken meanwhile: the server does not want any more."""


def send_until_it_blocks(server, client, line):
    """Send a line again and again until the server takes no more.

    Returns:
        How many lines went out whole, a thousand at a time, and the rest of a thousand begun.
    """
    data = chunk(line * 1000)
    sent = answers = 0
    client.connection.setblocking(False)
    while answers < PATIENT_ANSWERS and sent < 100 * 2**20:
        try:
            sent += client.connection.send(data[sent % len(data) :])
            answers = 0
        except BlockingIOError:
            get(server.address)
            answers += 1
    client.connection.settimeout(PATIENCE_S)
    chunks, part = divmod(sent, len(data))
    return 1000 * chunks, data[part:] if part else b""


def test_a_client_that_does_not_read_is_not_read_and_loses_nothing(gated):
    status = Path(f"/proc/{gated.process.pid}/status")
    before = resident_bytes(status)
    with Client(gated, buffer_bytes=65536) as client:
        lines, remainder = send_until_it_blocks(gated, client, WRONG)
        assert lines * len(WRONG) < 50 * 2**20  # the server did not take all that was to be sent
        assert resident_bytes(status) - before < 16 * 2**20
        assert metric(gated.address, "sentiment_queue_texts") == 0

        def go_on():
            client.connection.sendall(remainder)
            client.end()

        going_on = threading.Thread(target=go_on)
        going_on.start()
        *answered, end = client.rest()
        going_on.join()
    lines += 1000 * bool(remainder)
    assert len(answered) == lines
    assert end == {"done": True, "texts": 0, "errors": lines}


def test_a_client_that_reads_nothing_at_all_is_dropped(hasty):
    with Client(hasty) as client:
        with contextlib.suppress(OSError):
            send_until_it_blocks(hasty, client, WRONG)
        hasty.wait_for_line("does not read its answer")
        wait_until(lambda: open_streams(hasty) == 0)


# Hang-ups


@pytest.mark.parametrize("lines", [3, 40_000], ids=["it listens", "it reads no more"])
@pytest.mark.parametrize("hang_up", [finish, reset])
def test_who_hangs_up_frees_everything(gated, hang_up, lines):
    with occupied(gated):
        before = waiting(gated.address)
        client = Client(gated)
        client.say(*(f"{index}" for index in range(lines)))
        wait_until(lambda: waiting(gated.address) >= before + 3)
        hang_up(client.connection)
        wait_until(lambda: open_streams(gated) == 0)
        assert metric(gated.address, "sentiment_queue_texts") == 0
        assert metric(gated.address, "sentiment_queue_tokens") == 0


def test_a_body_that_is_cut_ends_its_stream(gated):
    with Client(gated) as client:
        client.say("Profit rose")
        assert "label" in client.hear()
        closed = metric(gated.address, "sentiment_rejected_total", reason="client-closed")
    wait_until(
        lambda: metric(gated.address, "sentiment_rejected_total", reason="client-closed") > closed
    )
    (line,) = [line for line in gated.log if line.get("code") == "client-closed"][-1:]
    assert (line["route"], line["texts"], line["errors"]) == ("POST /v1/stream", 1, 0)


def test_a_broken_chunk_ends_the_stream_after_what_came_before_it(gated):
    with Client(gated) as client:
        client.say("Profit rose")
        client.connection.sendall(b"this is no chunk\r\n")
        answer, end = client.rest()
        assert "label" in answer
        assert end["done"] is False
        assert end["error"]["code"] == "malformed-http"
        assert client.is_closed()


# Time


def test_a_stream_may_take_longer_than_a_body(hasty):
    with Client(hasty) as client:
        client.say("first")
        assert "label" in client.hear()
        assert refusal(hasty.address, posting(b'["a"]')[:-1]).status == 408
        client.say("second")
        assert "label" in client.hear()


def test_a_client_that_neither_sends_nor_waits_is_told_so_and_dropped(hasty):
    with Client(hasty) as client:
        client.say("first")
        answer, end = client.rest()
        assert "label" in answer
        assert (end["done"], end["texts"]) == (False, 1)
        assert end["error"]["code"] == "request-timeout"
        assert client.is_closed()


def test_a_client_that_waits_for_its_answer_is_not_idle(hasty):
    with Client(hasty) as client:
        hasty.tell("hold", until="held")
        client.say("takes its time")
        hasty.hear("entered")
        for _ in range(2):
            with Client(hasty) as idle:
                assert idle.rest()[-1]["error"]["code"] == "request-timeout"
        hasty.tell("release", until="released")
        assert "label" in client.hear()
        client.say("and goes on")
        assert "label" in client.hear()


# The end of the server


def test_a_drain_answers_what_has_come_and_says_that_it_is_not_all():
    with running_server(*GATED, SENTIMENT_DRAIN_S="600") as server, Client(server) as client:
        server.tell("hold", until="held")
        client.say("one", "two")
        server.hear("entered")
        client.say("three")
        client.send(b'"half a')
        wait_until(lambda: waiting(server.address) == 4 + 3)  # the warm-up's and these
        server.signal(signal.SIGTERM)
        server.wait_for_line("draining")
        server.tell("release", until="released")
        *answered, end = client.rest()
        assert [line["index"] for line in answered] == [0, 1, 2]
        assert (end["done"], end["texts"], end["errors"]) == (False, 3, 0)
        assert end["error"]["code"] == "draining"
        assert client.is_closed()
        assert server.wait() == -signal.SIGTERM
    no_tracebacks(server)
    (line,) = [line for line in server.log if line.get("route") == "POST /v1/stream"]
    assert (line["texts"], line["code"]) == (3, "draining")


def test_a_stream_that_is_unanswered_when_the_drain_is_over_is_told_so():
    with running_server(*GATED, SENTIMENT_DRAIN_S="0.3") as server, Client(server) as client:
        server.tell("hold", until="held")
        client.say("one")
        server.hear("entered")
        server.signal(signal.SIGTERM)
        (end,) = client.rest()
        assert (end["done"], end["texts"]) == (False, 0)
        assert end["error"]["code"] == "draining"
        server.tell("release", until="released")
        server.wait()
