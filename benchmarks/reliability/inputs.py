"""Whatever is sent, the next good request is answered right: corpora and generated requests.

The corpora lie outside the repository and are skipped, saying so, where they are absent.
"""

import http.client
import json
import socket
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from benchmarks.reliability.report import Report
from benchmarks.reliability.server import REAL, REPOSITORY, Server, serving
from tests.integration.test_fuzzed_bodies import REQUESTS
from tests.naughty import NAUGHTY
from tests.texts import TEXTS

CORPORA = REPOSITORY.parent / "shared" / "corpora"

GOLDEN = json.dumps([TEXTS[0], TEXTS[3]])
JSON_FIELD = {"Content-Type": "application/json"}


def inputs(*, generated: int = 10_000) -> Report:
    """Send everything once to the bundled model; after each, the golden request."""
    report = Report("inputs")
    with serving(REAL) as server:
        ward = _Ward(server)
        for path in sorted(CORPORA.glob("JSONTestSuite/test_*/*.json")):
            ward.post("JSONTestSuite", "/", path.read_bytes(), JSON_FIELD)
        for path in sorted(CORPORA.glob("gunicorn-http/**/*.http")):
            ward.raw("gunicorn", _unescaped(path))
        for text in NAUGHTY:
            ward.post("naughty texts", "/", json.dumps([text]).encode(), JSON_FIELD)

        @settings(
            max_examples=generated,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(request=REQUESTS)
        def send(request: tuple[str, dict[str, str], bytes]) -> None:
            path, fields, body = request
            ward.post("generated", path, body, fields)

        send()
        ward.close()
    report.figures = {"sent": dict(ward.sent), "statuses": dict(sorted(ward.statuses.items()))}
    report.check("good requests that failed after one", ward.failures, "==", 0)
    report.check("answers 5xx", ward.statuses["5xx"], "==", 0)
    report.check("generated requests", ward.sent["generated"], ">=", generated)
    return report


class _Ward:
    """Sends things to a server and asks after each whether it is well."""

    def __init__(self, server: Server) -> None:
        self.sent: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.failures = 0
        self._server = server
        self._good = http.client.HTTPConnection(*server.address, timeout=30)
        self._bad = http.client.HTTPConnection(*server.address, timeout=30)
        self._golden = self._ask()

    def post(self, kind: str, path: str, body: bytes, fields: dict[str, str]) -> None:
        """Send a body over HTTP."""
        try:
            encoded = {name: value.encode("latin-1") for name, value in fields.items()}
            self._bad.request("POST", path, body, encoded)
            answer = self._bad.getresponse()
            answer.read()
            self._count(kind, answer.status)
        except (http.client.HTTPException, OSError):
            self._bad.close()
            self._count(kind, 0)
        self._check()

    def raw(self, kind: str, data: bytes) -> None:
        """Send bytes that may be no HTTP."""
        with socket.create_connection(self._server.address, timeout=30) as connection:
            received = b""
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while more := connection.recv(65536):
                    received += more
            except OSError:
                pass
        self._count(kind, int(received[9:12] or 0))
        self._check()

    def close(self) -> None:
        self._good.close()
        self._bad.close()

    def _count(self, kind: str, status: int) -> None:
        self.sent[kind] += 1
        self.statuses[f"{status // 100}xx" if status else "none"] += 1

    def _ask(self) -> list[tuple[str, float]]:
        self._good.request("POST", "/", GOLDEN, JSON_FIELD)
        answer = self._good.getresponse()
        body = answer.read()
        if answer.status != 200:
            return []
        return [(each["label"], round(each["score"], 5)) for each in json.loads(body)]

    def _check(self) -> None:
        try:
            got = self._ask()
        except (http.client.HTTPException, OSError):
            self._good.close()
            got = []
        same = [label for label, _ in got] == [label for label, _ in self._golden] and all(
            abs(one - other) <= 2e-5 for (_, one), (_, other) in zip(got, self._golden, strict=True)
        )
        self.failures += not same


def _unescaped(path: Path) -> bytes:
    """Return the bytes that a file stands for: line ends are written out in it."""
    text = path.read_bytes().replace(b"\n", b"").decode("latin-1")
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")
