"""Bodies of every wrong kind: each gets its documented answer, and the next request its own.

The limits themselves, characters included, are in `test_limits.py`.
"""

from contextlib import asynccontextmanager

import orjson
import pytest
from starlette.testclient import TestClient

from sentiment import Settings
from sentiment.analyzer import Analyzer
from sentiment.api.app import create_app
from sentiment.api.routes import ROUTES, route_names
from tests.contract import NEGATIVE, POSITIVE, assert_answers_right, problem
from tests.doubles import GatedEngine

JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def still_answers_right(request):
    """Whatever a test sent, the golden request is answered as ever."""
    yield
    if "service" in request.fixturenames:
        assert_answers_right(request.getfixturevalue("service"))


@pytest.fixture(scope="module")
def recorded():
    """The application around an engine that records what reaches it."""
    engine = GatedEngine()

    @asynccontextmanager
    async def open_analyzer(settings, metrics):
        async with Analyzer.open(settings, metrics, open_engine=lambda *_: engine) as analyzer:
            yield analyzer

    settings = Settings(model="compact", cache_texts=0)
    app = create_app(settings, open_analyzer=open_analyzer)
    with TestClient(app) as client:
        yield engine, client


def post(client, body, path="/"):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return client.post(path, content=content, headers=JSON)


# What is no JSON


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"NaN",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b'[{"text": NaN}]',
        b'[{"text": "a", "id": Infinity}]',
        b'[{"text": ' + b"9" * 5000 + b"}]",
        b"[1e400]",
        b"[-1e400]",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"[0x10]",
        b"['a']",
        b'["a",]',
        b'["a" "b"]',
        b'["a"]]',
        b'["a"]["b"]',
        b'["a"] // said',
        b'["a"]\0',
        b'["a',
        b'[{"text": "a"',
        b'[{"text"}]',
        b'[{text: "a"}]',
        b'["\\u12"]',
        b'["\\uD83D\\u"]',
        b'["\\q"]',
        b'["a\tb"]',
        b'["a\x00b"]',
        b"text=a&text=b",
        b"<texts><text>a</text></texts>",
        b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94.",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_json_is_refused_as_such(service, body):
    code = "invalid-encoding" if body.startswith(b"\x80") else "invalid-json"
    problem(post(service, body), 400, code)
    problem(post(service, body, "/analyze_sentiment"), 400, code)


@pytest.mark.parametrize(
    "body",
    [
        '["a"]'.encode("utf-16-le"),
        '["a"]'.encode("utf-16-be"),
        '["a"]'.encode("utf-16"),
        '["a"]'.encode("utf-32"),
        b'\xef\xbb\xbf["a"]',
        b'["\xc0\xaf"]',
        b'["\xc1\x81"]',
        b'["\xe0\x80\xaf"]',
        b'["\xf0\x80\x80\xaf"]',
        b'["\xe2\x82"]',
        b'["\xe2\x82',
        b'["\xf0\x9f\x93"]',
        b'["\x80"]',
        b'["\xfe\xff"]',
        b'["\xf4\x90\x80\x80"]',
        b'["\xf5\x80\x80\x80"]',
        b'["\xed\xa0\x80"]',
        b'["\xed\xa0\xbd\xed\xb3\x88"]',
        '["Zürich"]'.encode("latin-1"),
        '["€"]'.encode("cp1252"),
        b'[{"t\xffxt": "a"}]',
    ],
    ids=repr,
)
def test_what_is_not_utf_8_is_refused_as_such(service, body):
    document = post(service, body)
    # UTF-16 and UTF-32 without a mark are good UTF-8 that happens to be full of NULs.
    plain = body.decode("utf-8", "ignore").encode() == body and not body.startswith(b"\xef")
    problem(document, 400, "invalid-json" if plain else "invalid-encoding")


@pytest.mark.parametrize("depth", [64, 999])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"text":', b"}")])
def test_nesting_that_json_allows_is_of_the_wrong_shape(service, depth, opening, closing):
    body = b"[" + opening * depth + b'"a"' + closing * depth + b"]"
    problem(post(service, body), 422, "validation")


@pytest.mark.parametrize("depth", [1025, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"text":', b"}")])
@pytest.mark.parametrize("closed", [True, False])
def test_nesting_without_end_is_no_json(service, depth, opening, closing, closed):
    body = opening * depth + (b'"a"' + closing * depth if closed else b"")
    problem(post(service, body), 400, "invalid-json")


@pytest.mark.parametrize("depth", [1001, 100_000])
def test_a_lone_surrogate_in_deep_nesting_is_no_way_around(service, depth):
    body = b'["\\ud800",' + b"[" * depth + b"]" * depth + b"]"
    response = post(service, body)
    assert (response.status_code, response.json()["code"]) in {
        (422, "invalid-unicode"),
        (400, "invalid-json"),  # deeper than either parser goes
    }


# JSON of the wrong shape


@pytest.mark.parametrize("document", [{}, {"text": "a"}, "a", "", 0, 1.5, True, False, None])
def test_anything_but_an_array_is_refused_as_a_whole(service, document):
    refused = problem(post(service, document), 422, "validation")
    assert [item["pointer"] for item in refused["errors"]] == [""]


WRONG_ITEMS = [
    (None, ""),
    (1, ""),
    (1.5, ""),
    (True, ""),
    ([], ""),
    (["a"], ""),
    ({}, "/text"),
    ({"Text": "a"}, "/text"),
    ({" text": "a"}, "/text"),
    ({"text": None}, "/text"),
    ({"text": 1}, "/text"),
    ({"text": 10**18}, "/text"),
    ({"text": True}, "/text"),
    ({"text": []}, "/text"),
    ({"text": ["a"]}, "/text"),
    ({"text": {}}, "/text"),
    # What a tokenizer would take as its keywords.
    ({"text": {"text": "a", "text_pair": "b"}}, "/text"),
    ({"text": {"text": "a", "is_split_into_words": True}}, "/text"),
    ({"text": {"text": "a", "padding": "max_length", "max_length": 10**9}}, "/text"),
    ({"text": {"text": "a", "return_tensors": "pt"}}, "/text"),
    ({"text": [["a", "b"], ["c", "d"]]}, "/text"),
]


@pytest.mark.parametrize("position", [0, 17, 31])
@pytest.mark.parametrize(("item", "where"), WRONG_ITEMS, ids=repr)
def test_one_wrong_item_is_named_and_nothing_of_its_request_runs(recorded, item, where, position):
    engine, client = recorded
    items = [{"text": f"text {index}"} for index in range(32)]
    items[position] = item
    engine.batches.clear()
    refused = problem(post(client, items), 422, "validation")
    assert [item["pointer"] for item in refused["errors"]] == [f"/{position}{where}"]
    assert engine.batches == []
    assert post(client, ["text"]).status_code == 200
    assert len(engine.batches) == 1


@pytest.mark.parametrize(
    ("items", "code"),
    [
        (["a", " "], "text-empty"),
        ([{"text": "a"}, {"text": ""}], "text-empty"),
        (["a", "a" * 20_001], "text-too-long"),
        (["a"] * 4097, "too-many-texts"),
        (b'["a", "\\ud800"]', "invalid-unicode"),
    ],
    ids=["blank", "empty", "long", "many", "surrogate"],
)
def test_whatever_the_fault_nothing_of_the_request_runs(recorded, items, code):
    engine, client = recorded
    engine.batches.clear()
    assert post(client, items).json()["code"] == code
    assert engine.batches == []


def test_wrong_items_beyond_twenty_are_counted_and_not_listed(service):
    refused = problem(post(service, [{"text": 1}] * 4096), 422, "validation")
    assert refused["detail"] == "wrong: 4096 of 4096 items"
    assert [item["pointer"] for item in refused["errors"]] == [f"/{i}/text" for i in range(20)]


# Members beside the text


@pytest.mark.parametrize(
    "extra",
    [
        {"id": 7},
        {f"key {index}": index for index in range(10_000)},
        {"__proto__": {"text": "b"}, "constructor": {"prototype": {"text": "b"}}},
        {"__class__": "builtins.str", "__init__": {"__globals__": {"SETTINGS": 1}}},
        {"text_pair": "b", "max_length": 1, "truncation": False, "top_k": 1},
        {"label": "positive", "score": 1},
        {"Text": "b", "TEXT": "c", "text\0": "d", "": "e"},
        {"model": "other/model", "revision": "main", "url": "http://192.0.2.1/"},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_members_beside_the_text_change_nothing(service, extra):
    (plain,) = post(service, [{"text": NEGATIVE}]).json()
    (answer,) = post(service, [{**extra, "text": NEGATIVE}]).json()
    assert answer["label"] == plain["label"]
    assert answer["score"] == pytest.approx(plain["score"], abs=1e-6)
    assert set(answer) == {"label", "score"}


def test_of_a_repeated_member_the_last_counts(service):
    def item(*texts):
        return b"[{%s}]" % b",".join(b'"text":' + orjson.dumps(text) for text in texts)

    (first,), (last,) = (
        post(service, item(*texts)).json() for texts in ((NEGATIVE, POSITIVE), (POSITIVE, NEGATIVE))
    )
    assert (first["label"], last["label"]) == ("positive", "negative")
    problem(post(service, item(POSITIVE, 1)), 422, "validation")
    assert post(service, item(1, POSITIVE)).status_code == 200


def test_an_empty_array_is_answered_with_an_empty_array(service):
    for body in (b"[]", b" [ ] ", b"\n[\t]\r\n"):
        response = post(service, body)
        assert (response.status_code, response.json()) == (200, [])


# Declarations, methods and paths


def test_a_body_declared_twice_is_refused(service):
    for declared in (["application/json", "text/plain"], ["application/json"] * 2):
        headers = [("Content-Type", each) for each in declared]
        problem(service.post("/", content=b'["a"]', headers=headers), 415, "media-type")


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO")


@pytest.mark.parametrize("path", [route.path for route in ROUTES if "{" not in route.path])
def test_a_method_that_a_route_does_not_serve_is_told_which_ones_it_does(service, path):
    allowed = {name.split()[0] for name in route_names() if name.split()[1] == path}
    for method in METHODS:
        response = service.request(method, path, headers=JSON)
        if method in allowed:
            assert response.status_code != 405
        else:
            assert response.status_code == 405
            assert set(response.headers["allow"].split(", ")) == allowed
            if method != "HEAD":  # whose answer has no body
                problem(response, 405, "method-not-allowed")


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "/%2e%2e/",
        "/..%2f..%2fetc%2fpasswd",
        "/docs/..%2f..%2fapp.py",
        "/docs/%2e%2e%2fapp.py",
        "/analyze_sentiment/",
        "/ANALYZE_SENTIMENT",
        "/openapi.yaml",
        "/%00",
        "/%ff",
        "/livez;x",
        "/debug",
        "/admin",
        "/.env",
        "/" + "a" * 60_000,
    ],
    ids=lambda path: path[:24],
)
def test_a_path_that_is_not_served_is_not_found_and_leads_nowhere_else(service, path):
    for method in ("GET", "POST"):
        response = service.request(method, f"http://testserver{path}", follow_redirects=False)
        problem(response, 404, "not-found")


def test_a_query_that_nobody_reads_changes_nothing(service):
    query = "&".join(f"a{index}=%00%ff" for index in range(5000))
    assert service.post(f"/?{query}", json=["a"]).status_code == 200
    refused = service.post("/?top_k=" + "9" * 60_000, json=["a"])
    assert refused.status_code == 200  # more than there are gives all
    problem(service.post("/?top_k=" + "x" * 60_000, json=["a"]), 422, "validation")
