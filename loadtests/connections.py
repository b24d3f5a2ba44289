"""HTTP to one server, for greenlets: exchanges on kept-alive connections, and raw ones.

Imported by Locust's users, after Locust has patched the standard library for gevent.
"""

import http.client
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import gevent
import gevent.socket
import gevent.ssl
import orjson
from geventhttpclient import HTTPClient

MOST_CONNECTIONS = 10_000
"""Far more than a server takes: an arrival must never wait for another one's connection."""

TIMEOUT_S = 90.0
"""Without a byte; longer than any deadline of the server."""

JSON_HEADERS = {"Content-Type": "application/json"}

REFUSALS = (429, 503)
"""With `Retry-After` they say: not now. Without it they are undocumented."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    media_type: str
    body: bytes
    retry_after_s: float | None

    @property
    def refused(self) -> bool:
        """Whether the server said when to come back."""
        return self.status in REFUSALS and self.retry_after_s is not None

    @property
    def code(self) -> str:
        """The code of a problem document; empty if the body is none."""
        if self.media_type != "application/problem+json":
            return ""
        problem = self.document()
        return str(problem.get("code", "")) if isinstance(problem, dict) else ""

    def document(self) -> Any:
        """Return the JSON of the body; `None` if it is not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


class Connections:
    """Kept-alive connections to one server, as many as requests are in flight."""

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        """Connect to `url` when asked to; send `headers` with every request."""
        self.url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._client = HTTPClient.from_url(
            self.url,
            concurrency=MOST_CONNECTIONS,
            connection_timeout=TIMEOUT_S,
            network_timeout=TIMEOUT_S,
            headers=self._headers,
        )

    def get(self, path: str) -> Answer:
        """Return the answer to a `GET`.

        Raises:
            OSError: there is none, or it is not HTTP.
        """
        return self._exchange("GET", path, b"", {})

    def post(self, path: str, document: object) -> Answer:
        """Return the answer to a document in JSON.

        Raises:
            OSError: there is none, or it is not HTTP.
        """
        return self._exchange("POST", path, orjson.dumps(document), JSON_HEADERS)

    def post_bytes(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a body of any bytes.

        Raises:
            OSError: there is none, or it is not HTTP.
        """
        return self._exchange("POST", path, body, headers)

    def open(self) -> "Conversation":
        """Return a new connection for what no ordinary client does.

        Raises:
            OSError: it cannot be opened.
        """
        return Conversation(self.url, self._headers)

    def close(self) -> None:
        """Hang up everywhere."""
        self._client.close()

    def _exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            response = self._client.request(method, path, body=body, headers=dict(headers))
            try:
                content = bytes(response.read())
            finally:
                response.release()
        except http.client.HTTPException as error:  # a hang-up, or not HTTP: no `OSError` there
            raise ConnectionError(f"no answer: {error!r}") from error
        return Answer(
            response.status_code,
            _media_type(response.get("content-type")),
            content,
            _seconds(response.get("retry-after")),
        )


class Conversation:
    """One connection of its own: a body is sent piece by piece while the answer is read."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self._headers = dict(headers)
        secure = parts.scheme == "https"
        address = (parts.hostname or "", parts.port or (443 if secure else 80))
        self._socket = gevent.socket.create_connection(address, timeout=TIMEOUT_S)
        if secure:
            context = gevent.ssl.create_default_context()
            self._socket = context.wrap_socket(self._socket, server_hostname=address[0])
        self._writer: gevent.Greenlet | None = None

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def send_head(self, path: str, headers: Mapping[str, str]) -> None:
        """Send the head of a `POST`.

        Raises:
            OSError: the server has hung up.
        """
        fields = {"Host": self._host, **self._headers, **headers}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes) -> None:
        """Send bytes as they are.

        Raises:
            OSError: the server has hung up.
        """
        self._socket.sendall(data)

    def send_meanwhile(self, pieces: Iterable[bytes], *, pause_s: float = 0) -> None:
        """Send pieces while the answer is read, `pause_s` apart, until the server hangs up."""
        self._writer = gevent.spawn(self._send_all, pieces, pause_s)

    def response(self) -> http.client.HTTPResponse:
        """Return the answer, of which the head has been read.

        Raises:
            OSError: the server hung up without one, or it is not HTTP.
        """
        response = http.client.HTTPResponse(self._socket, method="POST")
        try:
            response.begin()
        except http.client.HTTPException as error:
            raise ConnectionError(f"no answer: {error!r}") from error
        return response

    def answer(self) -> Answer:
        """Return the whole answer.

        Raises:
            OSError: the server hung up before its end.
        """
        response = self.response()
        try:
            body = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"half an answer: {error!r}") from error
        return Answer(
            response.status,
            _media_type(response.getheader("content-type")),
            body,
            _seconds(response.getheader("retry-after")),
        )

    def hang_up(self) -> None:
        """Close the connection, whatever is under way."""
        if self._writer is not None:
            self._writer.kill()
        self._socket.close()

    def _send_all(self, pieces: Iterable[bytes], pause_s: float) -> None:
        try:
            for piece in pieces:
                self._socket.sendall(piece)
                gevent.sleep(pause_s)
        except OSError:
            pass  # what the server thinks of it is in its answer


def chunked(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """Yield the pieces as the chunks of a body, and its end."""
    framed = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return itertools.chain(framed, [b"0\r\n\r\n"])


def _media_type(field: str | None) -> str:
    return (field or "").partition(";")[0].strip().lower()


def _seconds(field: str | None) -> float | None:
    return float(field) if field is not None and field.isdigit() else None
