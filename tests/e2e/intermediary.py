"""A small HTTP server before a real one, which spoils the answers to single texts on purpose."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SINGLE = ("/", "/analyze_sentiment")
"""Not `/?top_k=...`, by which load tests ask for the answers beforehand."""


class Refusal(bytes):
    """Of 429, to come back at once."""


class Half(bytes):
    """The first half of a body of which the other never comes."""


Spoil = Callable[[str, bytes], bytes | None]
"""Given the path and the right body of an answer, what is sent in its place; `None` hangs up."""


def lose(path: str, body: bytes) -> Half | None:
    """Hang up on one route, and in the middle of the answer on the other."""
    return None if path == "/" else Half(body[: len(body) // 2])


def refuse(path: str, body: bytes) -> Refusal:
    """Refuse, and let everybody come back at once."""
    return Refusal()


class Exchange:
    """Gives each of two callers of a route the other one's answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[threading.Event, list[bytes]]] = {}

    def __call__(self, path: str, body: bytes) -> bytes:
        with self._lock:
            partner = self._waiting.pop(path, None)
            if partner is None:
                met, exchanged = threading.Event(), [body]
                self._waiting[path] = (met, exchanged)
        if partner is not None:
            met, exchanged = partner
            exchanged.append(body)
            met.set()
            return exchanged[0]
        met.wait(timeout=1)  # the last one may have no partner
        return exchanged[-1]


class Gate:
    """Holds answers back until so many wait at once."""

    def __init__(self, waiting: int) -> None:
        self._all_here = threading.Barrier(waiting)

    def __call__(self, path: str, body: bytes) -> bytes:
        if not self._all_here.broken:
            self._all_here.wait(timeout=30)
            self._all_here.abort()  # open for good
        return body


@contextmanager
def intermediary(address: tuple[str, int], spoil: Spoil) -> Iterator[str]:
    """Give the URL of a server that passes requests on to `address` and spoils the answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["content-length"])))

        def _pass_on(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(*address)
            try:
                connection.request(
                    self.command, self.path, body, {"Content-Type": "application/json"}
                )
                response = connection.getresponse()
                answer = response.read()
            finally:
                connection.close()
            if self.path in SINGLE:
                spoiled = spoil(self.path, answer)
                self.close_connection = spoiled is None or isinstance(spoiled, Half)
                if spoiled is None:
                    return
                answer = spoiled
            refused = isinstance(answer, Refusal)
            self.send_response(429 if refused else response.status)
            if refused:
                self.send_header("Retry-After", "0")
            self.send_header("Content-Type", response.getheader("content-type", ""))
            length = len(answer) * (2 if isinstance(answer, Half) else 1)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield "http://{}:{}".format(*server.server_address)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
