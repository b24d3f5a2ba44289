"""HTTP over the real application with the bundled model."""

import gzip
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from sentiment import Settings
from sentiment.api.app import create_app
from sentiment.api.openapi import error_classes
from sentiment.api.routes import ROUTES, described, route_names
from sentiment.errors import ModelError
from sentiment.models import COMPACT_FOLDER, read_model
from tests.application import metric
from tests.contract import NEGATIVE, POSITIVE, problem
from tests.texts import TEXTS, text_of


@pytest.fixture(scope="module")
def client():
    settings = Settings(
        model="compact",
        precision="fp32",
        max_body_bytes=100_000,
        max_texts=300,
        threads=2,
        cache_texts=0,
    )
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(autouse=True)
def still_answers(request):
    """Whatever a test sent, the next good request is answered."""
    yield
    if "client" in request.fixturenames:
        client = request.getfixturevalue("client")
        assert labels(client.post("/", json=[POSITIVE])) == ["positive"]


def labels(response):
    assert response.status_code == 200, response.text
    return [item["label"] for item in response.json()]


def test_an_array_of_objects_is_answered_in_its_order(client):
    response = client.post("/", json=[{"text": POSITIVE}, {"text": NEGATIVE}])
    assert labels(response) == ["positive", "negative"]
    for item in response.json():
        assert set(item) == {"label", "score"}
        assert 1 / 3 < item["score"] <= 1


def test_an_array_of_strings_gets_the_same_answer(client):
    objects = client.post("/", json=[{"text": text} for text in TEXTS])
    strings = client.post("/", json=list(TEXTS))
    assert labels(objects) == labels(strings)


def test_an_empty_array_gets_an_empty_answer(client):
    response = client.post("/", json=[])
    assert response.json() == []
    assert response.headers["x-model"]


def test_top_k_ranks_every_label_of_every_text(client):
    response = client.post("/?top_k=3", json=[POSITIVE, NEGATIVE])
    for ranked in response.json():
        assert sorted(item["label"] for item in ranked) == ["negative", "neutral", "positive"]
        scores = [item["score"] for item in ranked]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-6)
    assert [len(item) for item in client.post("/?top_k=1", json=["a", "b"]).json()] == [1, 1]
    assert len(client.post("/?top_k=99", json=["a"]).json()[0]) == 3


def test_a_single_text_has_its_own_route(client):
    response = client.post("/analyze_sentiment", json={"text": POSITIVE})
    answer = response.json()
    assert list(answer) == ["sentiment", "confidence_score"]
    (batch,) = client.post("/", json=[POSITIVE]).json()
    assert answer["sentiment"] == batch["label"] == "positive"
    assert answer["confidence_score"] == pytest.approx(batch["score"], abs=1e-6)


def test_every_answer_says_who_gave_it_and_how_long_it_took(client):
    response = client.post("/", json=["a text that nobody has sent before"])
    info = client.get("/info").json()["model"]
    assert response.headers["x-model"] == f"{info['name']}@{info['revision']}"
    timing = dict(
        re.fullmatch(r"(\w+);dur=([\d.]+)", part).groups()
        for part in response.headers["server-timing"].split(", ")
    )
    assert list(timing) == ["queue", "tokenize", "infer"]
    assert float(timing["infer"]) > 0
    assert response.headers["cache-control"] == "no-store"
    assert "x-truncated" not in response.headers


def test_truncation_is_said_and_counted(client):
    before = metric(client, "sentiment_truncated_total")
    response = client.post("/", json=["short", text_of(600), text_of(700)])
    assert response.headers["x-truncated"] == "2"
    assert metric(client, "sentiment_truncated_total") == before + 2


@pytest.mark.parametrize("given", ["abc-123_X.y", "a" * 64])
def test_a_well_formed_request_id_is_echoed(client, given):
    assert client.get("/livez", headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", '{"a":1}', "<b>", "é".encode("latin-1")])
def test_any_other_request_id_is_replaced(client, given):
    got = client.get("/livez", headers={"X-Request-Id": given}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", got)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'[{"text": 1}]', 422, "validation"),
        (b'[{"text": "\\ud800"}]', 422, "invalid-unicode"),
        (b'[" "]', 422, "text-empty"),
        (b"{}", 422, "validation"),
        (b"[NaN]", 400, "invalid-json"),
        (b'[{"text": "a"', 400, "invalid-json"),
        (b"", 400, "invalid-json"),
        (b'["\xff"]', 400, "invalid-encoding"),
        (json.dumps(["a" * 20_001]).encode(), 413, "text-too-long"),
        (json.dumps(["a"] * 301).encode(), 413, "too-many-texts"),
        (b" " * 100_001, 413, "body-too-large"),
    ],
    ids=lambda value: value[:16].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_bad_input_gets_its_documented_problem(client, body, status, code):
    before = metric(client, "sentiment_batch_texts_count")
    response = client.post("/", content=body, headers={"Content-Type": "application/json"})
    problem(response, status, code)
    assert metric(client, "sentiment_batch_texts_count") == before  # nothing of it ran
    assert metric(client, "sentiment_rejected_total", reason=code) >= 1


def test_a_wrong_item_is_named_and_the_whole_request_is_refused(client):
    document = problem(client.post("/", json=[{"text": "a"}, {"text": 1}]), 422, "validation")
    assert document["errors"] == [
        {"code": "type", "detail": "expected a string", "pointer": "/1/text"}
    ]


def test_a_body_of_unknown_length_is_cut_at_the_limit(client):
    def endless():
        for _ in range(1000):
            yield b" " * 1000

    response = client.post("/", content=endless(), headers={"Content-Type": "application/json"})
    problem(response, 413, "body-too-large")
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("top_k", ["0", "x", "-1", "1.5", ""])
def test_a_wrong_top_k_is_refused(client, top_k):
    document = problem(client.post(f"/?top_k={top_k}", json=["a"]), 422, "validation")
    assert document["errors"][0]["parameter"] == "top_k"


@pytest.mark.parametrize(
    "declared",
    [
        "application/json",
        "application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/json; profile=x; charset = utf-8",
        "application/x-www-form-urlencoded",  # what `curl -d` says unless told otherwise
    ],
)
def test_json_may_be_declared_in_these_ways(client, declared):
    assert client.post("/", content=b'["a"]', headers={"Content-Type": declared}).is_success


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json-seq"},
        # What a browser sends for a form on somebody's website.
        {"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://example.com"},
        {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_any_other_declaration_is_refused(client, headers):
    response = client.post("/", content=b'["a"]', headers=headers)
    problem(response, 415, "media-type")
    assert response.headers["accept-post"] == "application/json"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "identity, gzip"])
def test_a_compressed_body_is_refused_by_name(client, coding):
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    response = client.post("/", content=gzip.compress(b'["a"]'), headers=headers)
    problem(response, 415, "content-encoding")
    assert response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/", {"GET", "HEAD", "POST"}),
        ("GET", "/analyze_sentiment", {"POST"}),
        ("POST", "/livez", {"GET", "HEAD"}),
        ("DELETE", "/metrics", {"GET", "HEAD"}),
        ("BREW", "/docs", {"GET", "HEAD"}),
    ],
)
def test_an_unknown_method_is_told_the_known_ones(client, method, path, allow):
    response = client.request(method, path)
    problem(response, 405, "method-not-allowed")
    assert set(response.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize("path", ["/nothing", "/docs/", "/livez/", "/docs/app.py", "/docs/..%2Fx"])
def test_an_unknown_path_is_no_redirect(client, path):
    problem(client.get(path, follow_redirects=False), 404, "not-found")


def test_a_start_that_fails_fails_whoever_waits_for_it(tmp_path):
    with (
        pytest.raises(ModelError),
        TestClient(create_app(Settings(model=str(tmp_path), threads=2))),
    ):
        pytest.fail("it started without a model")


def test_probes_are_green(client):
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    assert client.head("/livez").status_code == 200


def test_the_root_says_how_to_curl_it(client):
    response = client.get("/", headers={"Host": "sentiment.example:8080"})
    assert response.headers["content-type"].startswith("text/plain")
    assert "http://sentiment.example:8080/" in response.text


def test_info_names_model_engine_limits_and_versions(client):
    info = client.get("/info").json()
    assert info["model"]["labels"] == ["positive", "negative", "neutral"]
    assert info["model"]["max_tokens"] == 512
    assert info["model"]["temperature"] == read_model(COMPACT_FOLDER, name="m").temperature
    budget = info["engine"].pop("token_budget")
    assert budget in (512, 1024)
    assert info["engine"] == {"name": "openvino", "device": "cpu", "precision": "fp32"}
    assert info["limits"]["max_texts"] == 300
    assert set(info["versions"]) >= {"torch", "tokenizers"}


def test_metrics_say_what_was_done(client):
    texts = metric(client, "sentiment_texts_total")
    positive = metric(client, "sentiment_texts_total", label="positive")
    requests = metric(client, "sentiment_requests_total", route="POST /", status="200")
    client.post("/", json=[POSITIVE, NEGATIVE])
    assert metric(client, "sentiment_texts_total") == texts + 2
    assert metric(client, "sentiment_texts_total", label="positive") == positive + 1
    assert metric(client, "sentiment_requests_total", route="POST /", status="200") == requests + 1
    assert metric(client, "sentiment_model_info", name="compact", engine="openvino") == 1
    assert metric(client, "sentiment_queue_texts") == 0


def test_what_a_stranger_makes_up_does_not_become_a_metric(client):
    for method, path in (("GET", "/a"), ("GET", "/b"), ("AAA", "/"), ("PROPFIND", "/livez")):
        client.request(method, path)
    routes = set(re.findall(r'route="([^"]*)"', client.get("/metrics").text))
    assert "other" in routes
    assert routes - {"other"} <= route_names()


def test_single_texts_of_many_clients_find_their_callers(client):
    expected = {text: client.post("/?top_k=3", json=[text]).json()[0] for text in TEXTS}

    def call(index):
        text = TEXTS[index % len(TEXTS)]
        (got,) = client.post("/?top_k=3", json=[text]).json()
        for answer, wanted in zip(got, expected[text], strict=True):
            assert answer["label"] == wanted["label"]
            assert answer["score"] == pytest.approx(wanted["score"], abs=1e-5)

    with ThreadPoolExecutor(32) as clients:
        list(clients.map(call, range(320)))


def test_requests_are_logged_without_their_texts(client, caplog):
    caplog.set_level(logging.INFO, logger="sentiment")
    client.post("/?canary=1", json=["canary text"], headers={"User-Agent": "canary"})
    client.post("/canary", json=["canary"])
    client.post("/", json=[{"canary": 1}])
    lines = [record for record in caplog.records if record.message == "request"]
    assert [(line.route, line.status) for line in lines] == [
        ("POST /", 200),
        ("other", 404),
        ("POST /", 422),
    ]
    assert lines[0].texts == 1
    assert lines[0].duration_ms > 0
    assert not any("canary" in str(vars(record)) for record in lines)


def test_the_openapi_document_is_valid_and_complete(client):
    document = client.get("/openapi.json").json()
    validate(document)
    served = {route.path for route in ROUTES} - {"/docs/{file}", "/playground/{file}"}
    assert set(document["paths"]) == served
    assert document == described()


def test_every_error_is_in_the_openapi_document_with_its_status():
    documented = {}
    for path in described()["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                documented.setdefault(status, set()).update(
                    re.findall("`(.*?)`", response["description"])
                )
    for error in error_classes():
        if error.code not in ("not-found", "client-closed"):  # of no route; never sent
            assert error.code in documented[str(error.status)], error


def test_swagger_ui_comes_from_this_server_alone(client):
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    files = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(files) == 4
    for file in files:
        assert not file.startswith(("http", "//", "/"))
        assert client.get(f"/{file}").status_code == 200
    assert "http" not in client.get("/docs/docs.js").text


def test_a_deadline_that_is_predicted_to_pass_is_refused_with_how_many_texts_would_fit(client):
    texts = [f"{text} {i}" for i, text in enumerate(TEXTS * 12)]
    response = client.post("/", json=texts, headers={"X-Timeout-Ms": "100"})
    document = problem(response, 504, "deadline-exceeded")
    assert 0 <= document["texts_that_fit"] < len(texts)
    assert metric(client, "sentiment_backlog_seconds") == 0


@pytest.mark.parametrize("given", ["0", "-1", "abc", "1.5", "", "٣", "1e3"])
def test_an_impossible_deadline_is_refused(client, given):
    headers = {"X-Timeout-Ms": given.encode()}
    problem(client.post("/", json=["a"], headers=headers), 400, "bad-header")
