"""API keys over the real application: who is let in, and that nobody learns a key."""

import ast
import logging

import pytest
from starlette.testclient import TestClient

from sentiment import Settings
from sentiment.api.app import create_app
from sentiment.api.routes import described, route_names
from sentiment.errors import SettingsError

KEYS = ("first-key", "Second.Key_~+/==")
OPEN = {"GET /", "GET /docs", "GET /docs/{file}", "GET /openapi.json", "GET /livez", "GET /readyz"}
OPEN |= {"GET /v2/health/live", "GET /v2/health/ready", "GET /playground/{file}"}
OPEN |= {name.replace("GET", "HEAD") for name in OPEN}


@pytest.fixture(scope="module")
def client():
    settings = Settings(model="compact", api_keys=KEYS, threads=2)
    with TestClient(create_app(settings)) as client:
        yield client


def post(client, *authorization, path="/", content=b'["a"]'):
    headers = [(b"Content-Type", b"application/json")]
    headers += [(b"Authorization", value) for value in authorization]
    return client.post(path, content=content, headers=headers)


@pytest.mark.parametrize(
    "given",
    [
        b"Bearer first-key",
        b"Bearer Second.Key_~+/==",
        b"bearer first-key",
        b"BEARER first-key",
        b"Bearer  first-key ",
    ],
)
def test_a_known_key_opens(client, given):
    assert post(client, given).status_code == 200


@pytest.mark.parametrize(
    "given",
    [
        [],
        [b""],
        [b"Bearer"],
        [b"Bearer "],
        [b"first-key"],
        [b"Basic first-key"],
        [b"Bearer:first-key"],
        [b"Bearer first"],
        [b"Bearer first-key1"],
        [b"Bearer first-ke"],
        [b"Bearer FIRST-KEY"],
        [b"Bearer first-key,Second.Key_~+/=="],
        [b"Bearer first-key Second.Key_~+/=="],
        [b"Bearer first-key\0"],
        [b"Bearer \0"],
        [b"Bearer \xff\xfe"],
        ["Bearer schlüssel".encode()],
        [b"Bearer " + b"a" * 2**20],
        [b"Bearer first-key", b"Bearer first-key"],
        [b"Bearer wrong", b"Bearer first-key"],
    ],
    ids=lambda given: str(given)[:40],
)
def test_anything_else_does_not(client, given):
    response = post(client, *given)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    document = response.json()
    assert document["code"] == "unauthorized"
    assert document["request_id"] == response.headers["x-request-id"]
    assert "key" not in document["detail"].replace("<key>", "").replace("valid key", "")


def test_a_key_in_the_query_or_body_is_none(client):
    assert post(client, path="/?key=first-key&access_token=first-key").status_code == 401
    assert post(client, content=b'{"text": "first-key"}').status_code == 401


def test_the_body_of_a_stranger_is_not_read(client):
    read, sent = [], []

    async def receive():
        read.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"",
        "state": dict(client.app_state),
    }  # fmt: skip
    client.portal.call(client.app, scope, receive, send)
    assert sent[0]["status"] == 401
    assert read == []


def test_exactly_the_harmless_routes_are_open(client):
    opened = {
        name
        for name in route_names()
        if client.request(
            name.split(" ")[0], name.split(" ")[1].replace("{file}", "docs.js")
        ).status_code
        != 401
    }
    assert opened == OPEN & route_names()


@pytest.mark.parametrize(
    "path",
    [
        "/info",
        "//info",
        "/info/",
        "/%69nfo",
        "/nothing",
        "/livez/../info",
        "/metrics",
        "/docs%2F../info",
    ],
)
@pytest.mark.parametrize("host", ["x", "x/livez?y=", "x/docs/", "livez"])
def test_no_host_and_no_spelling_of_a_path_gets_past_the_keys(client, path, host):
    response = client.get(f"http://testserver{path}", headers={"Host": host})
    assert response.status_code in (401, 404)
    assert b"limits" not in response.content
    assert "first-key" not in response.text


def test_a_stranger_is_told_nothing_about_routes(client):
    for method, path in (("PUT", "/"), ("OPTIONS", "/"), ("GET", "/x"), ("DELETE", "/livez")):
        assert client.request(method, path).status_code == 401


def test_no_key_is_ever_shown(client, caplog):
    caplog.set_level(logging.DEBUG)
    post(client, b"Bearer first-key")
    post(client, b"Bearer canary-key")
    known = {"Authorization": "Bearer first-key"}
    shown = [
        client.get("/info", headers=known).text,
        client.get("/metrics", headers=known).text,
        repr(Settings(api_keys=KEYS)),
        str(Settings(api_keys=KEYS).model_dump()),
        Settings(api_keys=KEYS).model_dump_json(),
        *(str(vars(record)) for record in caplog.records),
    ]
    for text in shown:
        for key in (*KEYS, "canary-key"):
            assert key not in text


@pytest.mark.parametrize("value", ["secret key", "", "a,,b", "gehe\u00efm", "a,b c", '["a"]', ","])
def test_a_wrong_list_of_keys_ends_the_start_without_showing_it(monkeypatch, value):
    monkeypatch.setenv("SENTIMENT_API_KEYS", value)
    with pytest.raises(SettingsError, match=r"SENTIMENT_API_KEYS=\*\*\*: ") as caught:
        Settings.from_env()
    assert caught.value.__cause__ is None
    assert not value.strip(",") or value not in str(caught.value)


def test_several_keys_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SENTIMENT_API_KEYS", "one, two,three")
    keys = Settings.from_env().api_keys
    assert [key.get_secret_value() for key in keys] == ["one", "two", "three"]


def test_the_document_says_where_a_key_is_needed(client):
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
    keyed = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation.get("security")
    }
    served = {name for name in route_names() if not name.startswith("HEAD")}
    assert keyed == served - OPEN
    assert "securitySchemes" not in described()["components"]


def test_secrets_are_compared_in_constant_time_only(repository):
    tree = ast.parse((repository / "sentiment/api/auth.py").read_text())
    compared = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for name in ast.walk(node)
        if isinstance(name, ast.Name)
    }
    assert not compared & {"digest", "known", "key", "keys", "match"}
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "compare_digest" in called
