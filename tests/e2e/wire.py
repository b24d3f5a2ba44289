"""HTTP by hand: bytes out, answers in. What no HTTP client would send, these tests do."""

import contextlib
import json
import re
import socket
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 30
"""No promise: only so that a test that waits in vain ends."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self):
        """The problem's code; `None` for an answer that is none."""
        if self.headers["content-type"] != "application/problem+json":
            return None
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["x-request-id"]
        return problem["code"]

    @property
    def closes(self):
        return self.headers.get("connection") == "close"


def answers(stream):
    """Return every answer that `stream` holds; it must hold nothing else."""
    found = []
    while stream:
        head, separator, stream = stream.partition(b"\r\n\r\n")
        assert separator, head
        lines = head.decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in lines[1:]]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), f"a header twice: {lines}"
        length = int(headers["content-length"])
        assert len(stream) >= length, "cut short"
        found.append(Answer(int(lines[0].split(" ")[1]), headers, stream[:length]))
        stream = stream[length:]
    return found


def connect(address):
    return socket.create_connection(address, timeout=PATIENCE_S)


def read(connection):
    """Return what comes until the other side closes."""
    received = b""
    # A reset after the answer is no loss; without one `answers` will say so.
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            received += data
    return received


def take(connection):
    """Return the next answer on a connection that stays open."""
    received = b""
    while True:
        received += connection.recv(65536)
        with contextlib.suppress(AssertionError):
            (answer,) = answers(received)
            return answer


def exchange(address, data):
    """Send `data`, whether or not it is still wanted; return all answers until the close."""
    with connect(address) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        return answers(read(connection))


def refusal(address, data):
    """Return the one answer to `data`, which must be a problem that ends the connection."""
    (answer,) = exchange(address, data)
    assert answer.closes
    assert answer.code
    assert len(answer.body) <= 8192
    return answer


def get(address, path="/livez", *fields):
    """Return the answer to one `GET`."""
    (answer,) = exchange(address, head("GET", path, *fields, "Connection: close"))
    return answer


def post(address, body=b'["a"]', *fields):
    """Return the answer to one `POST /`."""
    (answer,) = exchange(address, posting(body, *fields, "Connection: close"))
    return answer


def head(method, path, *fields, host="Host: x"):
    lines = [f"{method} {path} HTTP/1.1", *([host] if host else []), *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def posting(body, *fields, to="/"):
    json_fields = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    return head("POST", to, *json_fields, *fields) + body


def chunked(*chunks):
    """Return a `POST /` whose body are these bytes, sizes and line ends included."""
    fields = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    return head("POST", "/", *fields) + b"".join(chunks)


def metric(address, name, /, **wanted):
    """Return the sum of a metric's samples that bear the labels `wanted`."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(get(address, "/metrics").body.decode())
        for sample in family.samples
        if sample.name == name and wanted.items() <= sample.labels.items()
    )


def waiting(address):
    """Return how many texts wait in the queue or have been put into a batch, all told."""
    page = get(address, "/metrics").body.decode()  # both of one moment
    names = "sentiment_queue_texts|sentiment_batch_texts_sum"
    return sum(float(value) for value in re.findall(rf"^(?:{names}) (\S+)$", page, re.MULTILINE))
