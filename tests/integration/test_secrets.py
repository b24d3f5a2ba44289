"""What a client sends comes back in its own scores and nowhere else: no error, log or metric."""

import json
import logging

import pytest
from starlette.testclient import TestClient

from sentiment import Settings
from sentiment.api.app import create_app
from sentiment.logs import JsonFormatter
from tests.contract import POSITIVE, assert_answers_right, assert_problem, problem
from tests.integration.test_bad_input import METHODS

CANARY = "canary-2f9d6c1e"
JSON = {"Content-Type": "application/json", "User-Agent": CANARY, "Referer": f"http://{CANARY}/"}

REFUSED = [
    (400, "invalid-json", b'["%s"'),
    (400, "invalid-json", b"%s"),
    (400, "invalid-json", b'["%s", NaN]'),
    (400, "invalid-encoding", b'["%s\xff"]'),
    (413, "too-many-texts", b"[" + b'"%s",' * 4096 + b'"a"]'),
    (413, "text-too-long", b'["%s' + b"a" * 20_000 + b'"]'),
    (413, "body-too-large", b'["%s"]' + b" " * 4 * 2**20),
    (422, "validation", b'["%s", 1]'),
    (422, "validation", b'[{"%s": "a"}]'),
    (422, "validation", b'[{"text": {"%s": "%s"}}]'),
    (422, "validation", b'{"text": "%s"}'),
    (422, "validation", b'"%s"'),
    (422, "text-empty", b'[{"text": " ", "id": "%s"}]'),
    (422, "invalid-unicode", b'["%s\\ud800"]'),
    (422, "invalid-unicode", b'[{"text": "%s\\ud800", "%s": 1}]'),
]


@pytest.fixture
def lines(caplog):
    """Return the log as it is written, by the formatter that writes it."""
    caplog.set_level(logging.DEBUG)

    def written():
        ours = (record for record in caplog.records if not record.name.startswith("httpx"))
        return [JsonFormatter().format(record) for record in ours]  # not the test client's own

    return written


@pytest.mark.parametrize(
    ("status", "code", "body"), REFUSED, ids=lambda value: str(value)[:32].strip("b'")
)
def test_a_refusal_quotes_nothing(service, lines, status, code, body):
    response = service.post(
        f"/?{CANARY}={CANARY}", content=body.replace(b"%s", CANARY.encode()), headers=JSON
    )
    problem(response, status, code)
    assert_nowhere(service, lines, response)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", f"/{CANARY}", {}),
        ("GET", f"/docs/{CANARY}", {}),
        ("POST", f"/?top_k={CANARY}", {}),
        ("POST", "/", {"Content-Type": f"text/{CANARY}"}),
        ("POST", "/", {"Content-Type": f"application/json; charset={CANARY}"}),
        ("POST", "/", {"Content-Encoding": CANARY}),
        ("POST", "/", {"X-Request-Id": f"{CANARY} "}),
        ("POST", "/", {"X-Request-Id": f"{CANARY}\x7f"}),
        ("POST", "/", {"Host": CANARY, "Cookie": f"a={CANARY}", "Authorization": CANARY}),
        (CANARY.upper(), "/", {}),
    ],
)
def test_nothing_of_path_query_and_headers_is_quoted(service, lines, method, path, headers):
    response = service.request(method, path, content=b'["a"]', headers={**JSON, **headers})
    if response.status_code != 200:
        assert_problem(response)
    assert_nowhere(service, lines, response)


def test_texts_that_are_answered_stand_in_no_log_and_no_metric(service, lines):
    response = service.post("/", json=[{"text": f"{CANARY} {POSITIVE}", CANARY: CANARY}])
    assert response.status_code == 200
    assert_nowhere(service, lines, response)


def assert_nowhere(client, lines, response):
    found = [response.text, str(response.headers), client.get("/metrics").text, *lines()]
    assert not [where for where in found if CANARY in where.lower()]
    assert_answers_right(client)


FORGERIES = ["a\nb", "a\r\nb", 'a","forged":"b', "\x1b[2Ja", "a\u2028b", "a\\", "\x00", "{}"]


@pytest.mark.parametrize("forgery", FORGERIES, ids=ascii)
def test_no_client_can_forge_a_line_of_the_log(service, lines, forgery):
    raw = forgery.encode()
    service.post("/", json=[forgery + "a"], headers={"X-Request-Id": raw, "User-Agent": raw})
    service.get("/" + "".join(f"%{byte:02x}" for byte in raw))
    written = lines()
    assert any('"request"' in line for line in written)
    for line in written:
        assert line.isprintable()
        assert isinstance(json.loads(line), dict)
        assert "forged" not in json.loads(line)
        assert "route" not in json.loads(line) or json.loads(line)["route"] in ("POST /", "other")


def test_a_defect_of_ours_tells_the_client_nothing_and_the_log_no_text(lines, monkeypatch):
    def broken(texts, *_):
        raise KeyError(f"{CANARY}: {texts!r}")

    monkeypatch.setattr("sentiment.api.faces.classification.parse_texts", broken)
    with TestClient(create_app(Settings(model="compact", threads=2))) as client:
        response = client.post("/", json=[CANARY], headers=JSON)
        document = problem(response, 500, "internal")
        assert "server" not in response.headers
        for word in ("Traceback", "KeyError", "sentiment/", ".py", CANARY):
            assert word not in response.text
        written = lines()
        assert not any(CANARY in line for line in written)
        (said,) = (json.loads(line) for line in written if "unhandled" in line)
        assert said["request_id"] == document["request_id"]
        assert said["exception"].endswith("KeyError")
        monkeypatch.undo()
        assert_answers_right(client)


def test_no_method_makes_the_application_tell_more(service):
    for method in METHODS:
        response = service.request(method, "/", headers={"Accept": "text/html", "X-Debug": "1"})
        assert "server" not in response.headers
        assert "Traceback" not in response.text
