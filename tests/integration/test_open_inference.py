"""The Open Inference Protocol over the real application with the bundled model."""

import logging
import math
import struct
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from sentiment import Settings
from sentiment.analyzer import Analyzer
from sentiment.api.app import create_app
from sentiment.api.lifecycle import Lifecycle
from tests.application import metric
from tests.contract import NEGATIVE, POSITIVE, assert_answers_right, assert_problem, problem
from tests.texts import MIXED_LENGTHS, TEXTS, text_of

INFER = "/v2/models/compact/infer"
LENGTH = "Inference-Header-Content-Length"
CANARY = "canary7f3a"
LABELS = ["positive", "negative", "neutral"]


@pytest.fixture(scope="module")
def client():
    # Without a cache: equal numbers are computed, not remembered.
    settings = Settings(model="compact", precision="fp32", max_texts=300, threads=2, cache_texts=0)
    with TestClient(create_app(settings)) as client:
        yield client


def tensor(texts, **members):
    return {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts, **members}


def packed(texts):
    encoded = [text if isinstance(text, bytes) else text.encode() for text in texts]
    return b"".join(struct.pack("<I", len(each)) + each for each in encoded)


def post(client, document, *, path=INFER):
    return client.post(path, json=document)


def post_binary(client, texts, *, binary=None, declared="application/octet-stream", **members):
    """Send texts behind the JSON; `members` go into the JSON."""
    binary = packed(texts) if binary is None else binary
    sent = tensor(texts, parameters={"binary_data_size": len(binary)})
    del sent["data"]
    document = orjson.dumps({"inputs": [{**sent, **members.pop("tensor", {})}], **members})
    headers = {LENGTH: str(len(document)), "Content-Type": declared}
    return client.post(INFER, content=document + binary, headers=headers)


def outputs(response):
    """Return name -> elements of an answer, whichever way they were sent."""
    assert response.status_code == 200, response.text
    length = response.headers.get(LENGTH)
    document = orjson.loads(response.content[: int(length)] if length else response.content)
    binary = response.content[int(length) :] if length else b""
    found = {}
    for output in document["outputs"]:
        elements = output.get("data")
        if elements is None:
            size = output["parameters"]["binary_data_size"]
            elements, binary = unpacked(output["datatype"], binary[:size]), binary[size:]
        assert len(elements) == math.prod(output["shape"])
        found[output["name"]] = elements
    assert binary == b""
    return found


def unpacked(datatype, binary):
    if datatype == "FP32":
        return np.frombuffer(binary, "<f4").tolist()
    elements = []
    while binary:
        (length,) = struct.unpack_from("<I", binary)
        elements.append(binary[4 : 4 + length].decode())
        binary = binary[4 + length :]
    return elements


def refusal(response, status, code):
    """Return the pointer and detail of the only wrong item."""
    (error,) = problem(response, status, code)["errors"]
    return error["pointer"], error["detail"]


# Server and model


def test_the_server_says_what_it_is(client):
    document = client.get("/v2").json()
    assert document["name"] == "sentiment"
    assert document["extensions"] == ["binary_tensor_data", "classification"]


def test_health_is_that_of_the_probes(client):
    for path, probe in (("/v2/health/live", "/livez"), ("/v2/health/ready", "/readyz")):
        assert client.get(path).status_code == client.get(probe).status_code == 200
    assert client.get("/v2/models/compact/ready").json() == {"name": "compact", "ready": True}


def test_a_server_that_ends_is_live_and_not_ready():
    lifecycle = Lifecycle()
    settings = Settings(model="compact", threads=2)
    with TestClient(create_app(settings, lifecycle=lifecycle)) as client:
        lifecycle.drain()
        assert client.get("/v2/health/live").json() == {"live": True}
        for path in ("/v2/health/ready", "/v2/models/compact/ready"):
            assert problem(client.get(path), 503, "draining")["error"]


@pytest.mark.parametrize("path", ["/v2/models/compact", "/v2/models/sentiment/versions/1"])
def test_the_model_says_what_it_takes_and_gives(client, path):
    document = client.get(path).json()
    info = client.get("/info").json()["model"]
    assert document["name"] == path.split("/")[3]
    assert document["versions"] == ["1"]
    assert document["platform"] == "sentiment_openvino"
    assert document["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert document["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "score", "datatype": "FP32", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    ]
    parameters = document["parameters"]
    assert [parameters[f"label_{index}"] for index in range(3)] == info["labels"]
    assert parameters["revision"] == info["revision"]


@pytest.mark.parametrize(
    "path",
    [
        f"/v2/models/{CANARY}",
        f"/v2/models/{CANARY}/versions/1",
        f"/v2/models/compact/versions/{CANARY}",
        "/v2/models/compact/versions/2",
        "/v2/models/ProsusAI/finbert",
        "/v2/models/ProsusAI%2Ffinbert",
    ],
)
def test_another_model_or_version_is_not_found_and_not_quoted(client, path):
    for response in (
        client.get(path),
        client.get(f"{path}/ready"),
        post(client, {"inputs": [tensor([POSITIVE])]}, path=f"{path}/infer"),
    ):
        document = problem(response, 404, "not-found")
        assert document["error"] == document["detail"]
        assert CANARY not in response.text


def test_a_model_of_the_hub_goes_by_the_last_part_of_its_name():
    @asynccontextmanager
    async def open_as_finbert(*arguments):
        async with Analyzer.open(*arguments) as analyzer:
            analyzer.model = replace(analyzer.model, name="ProsusAI/finbert")
            yield analyzer

    settings = Settings(model="compact", threads=2)
    with TestClient(create_app(settings, open_analyzer=open_as_finbert)) as client:
        for name in ("finbert", "sentiment"):
            assert client.get(f"/v2/models/{name}").json()["name"] == name
        document = problem(client.get("/v2/models/compact"), 404, "not-found")
        assert document["error"] == "the only model here is finbert, or sentiment"


# What is answered


def test_every_output_has_a_row_for_each_text(client):
    response = post(client, {"id": "some id", "inputs": [tensor([POSITIVE, NEGATIVE])]})
    document = response.json()
    assert response.headers["content-type"] == "application/json"
    assert LENGTH not in response.headers
    assert (document["model_name"], document["model_version"]) == ("compact", "1")
    assert document["id"] == "some id"
    shapes = {each["name"]: (each["datatype"], each["shape"]) for each in document["outputs"]}
    assert shapes == {
        "label": ("BYTES", [2]),
        "score": ("FP32", [2]),
        "probabilities": ("FP32", [2, 3]),
    }
    assert outputs(response)["label"] == ["positive", "negative"]


@pytest.mark.parametrize("send", ["JSON", "binary"])
@pytest.mark.parametrize("answer", ["JSON", "binary"])
def test_the_numbers_are_those_of_the_main_route(client, send, answer):
    parameters = {"binary_data_output": answer == "binary"}
    if send == "binary":
        response = post_binary(client, MIXED_LENGTHS, parameters=parameters)
    else:
        response = post(client, {"inputs": [tensor(MIXED_LENGTHS)], "parameters": parameters})
    got = outputs(response)
    rows = np.array(got["probabilities"]).reshape(-1, 3)
    expected = client.post("/?top_k=3", json=list(MIXED_LENGTHS)).json()
    for label, score, row, ranked in zip(got["label"], got["score"], rows, expected, strict=True):
        assert label == ranked[0]["label"]
        assert score == pytest.approx(ranked[0]["score"], abs=1e-5)
        assert score == pytest.approx(row.max(), abs=1e-7)
        for each in ranked:
            assert row[LABELS.index(each["label"])] == pytest.approx(each["score"], abs=1e-5)


def test_binary_answers_are_declared_as_bytes_with_the_length_of_their_json(client):
    response = post_binary(client, TEXTS, parameters={"binary_data_output": True})
    assert response.headers["content-type"] == "application/octet-stream"
    assert 0 < int(response.headers[LENGTH]) < len(response.content)
    assert response.headers["x-model"]
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([2], [POSITIVE, NEGATIVE]),
        ([2, 1], [POSITIVE, NEGATIVE]),
        ([1, 2], [POSITIVE, NEGATIVE]),
        ([2, 1], [[POSITIVE], [NEGATIVE]]),
        ([1, 2], [[POSITIVE, NEGATIVE]]),
    ],
)
def test_texts_come_in_a_row_or_in_a_column(client, shape, data):
    response = post(client, {"inputs": [tensor(data, shape=shape)]})
    assert outputs(response)["label"] == ["positive", "negative"]
    texts = [POSITIVE, NEGATIVE]
    response = post_binary(client, texts, tensor={"shape": shape})
    assert outputs(response)["label"] == ["positive", "negative"]


def test_no_texts_get_no_rows(client):
    for response in (
        post(client, {"inputs": [tensor([])]}),
        post_binary(client, [], parameters={"binary_data_output": True}),
    ):
        assert outputs(response) == {"label": [], "score": [], "probabilities": []}


def test_only_what_is_wanted_is_answered_in_its_order_and_form(client):
    wanted = [
        {"name": "score", "parameters": {"binary_data": False}},
        {"name": "label", "parameters": {"binary_data": True}},
    ]
    for default in (True, False):
        response = post(
            client,
            {
                "inputs": [tensor([POSITIVE])],
                "outputs": wanted,
                "parameters": {"binary_data_output": default},
            },
        )
        document = orjson.loads(response.content[: int(response.headers[LENGTH])])
        assert [list(each) for each in document["outputs"]] == [
            ["name", "datatype", "shape", "data"],
            ["name", "datatype", "shape", "parameters"],
        ]
        assert list(outputs(response)) == ["score", "label"]


@pytest.mark.parametrize(("classes", "given"), [(1, 1), (2, 2), (3, 3), (99, 3)])
def test_classes_are_ranked_with_their_scores_and_indices(client, classes, given):
    wanted = [{"name": "probabilities", "parameters": {"classification": classes}}]
    response = post(client, {"inputs": [tensor([POSITIVE, NEGATIVE])], "outputs": wanted})
    (output,) = response.json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, given])
    expected = client.post(f"/?top_k={classes}", json=[POSITIVE, NEGATIVE]).json()
    for text, each in zip(output["data"], [item for row in expected for item in row], strict=True):
        score, index, label = text.split(":")
        assert label == LABELS[int(index)] == each["label"]
        assert float(score) == pytest.approx(each["score"], abs=1e-5)


def test_numbers_are_whole_as_json_schema_has_it(client):
    wanted = [{"name": "probabilities", "parameters": {"classification": 2.0}}]
    response = post(client, {"inputs": [GOOD | {"shape": [1.0]}], "outputs": wanted})
    assert len(outputs(response)["probabilities"]) == 2
    binary = packed([POSITIVE])
    size = {"binary_data_size": float(len(binary))}
    response = post_binary(client, [POSITIVE], tensor={"parameters": size})
    assert outputs(response)["label"] == ["positive"]


def test_an_id_of_256_characters_comes_back(client):
    name = "📈" * 256
    assert post(client, {"id": name, "inputs": [GOOD]}).json()["id"] == name


def test_truncation_is_said_in_the_document_too(client):
    response = post(client, {"inputs": [tensor(["short", text_of(600), text_of(700)])]})
    assert response.headers["x-truncated"] == "2"
    assert response.json()["parameters"] == {"truncated_texts": 2}
    assert "parameters" not in post(client, {"inputs": [tensor(["short"])]}).json()


def test_parameters_and_members_that_nobody_knows_change_nothing(client):
    document = {
        "inputs": [tensor([POSITIVE], parameters={"content_type": "str"}, extra=1)],
        "outputs": [{"name": "label", "parameters": {"extra": [1]}}],
        "parameters": {"priority": 1, "sequence_id": 7},
        "extra": {},
    }
    assert outputs(post(client, document)) == {"label": ["positive"]}


@pytest.mark.parametrize("declared", [None, "application/json", "application/octet-stream"])
def test_a_body_may_be_declared_as_json_as_bytes_or_not_at_all(client, declared):
    headers = {"Content-Type": declared} if declared else {}
    body = orjson.dumps({"inputs": [tensor([POSITIVE])]})
    assert outputs(client.post(INFER, content=body, headers=headers))["label"] == ["positive"]


# What is refused


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://example.com"},
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
    ],
)
def test_what_a_page_on_any_website_can_send_is_refused(client, headers):
    body = orjson.dumps({"inputs": [tensor([POSITIVE])]})
    response = client.post(INFER, content=body, headers=headers)
    problem(response, 415, "media-type")
    assert response.headers["accept-post"] == "application/json, application/octet-stream"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_body_is_refused(client, coding):
    body = orjson.dumps({"inputs": [tensor([POSITIVE])]})
    response = client.post(INFER, content=body, headers={"Content-Encoding": coding})
    problem(response, 415, "content-encoding")


def test_bytes_are_taken_on_no_other_route(client):
    headers = {"Content-Type": "application/octet-stream"}
    problem(client.post("/", content=b'["a"]', headers=headers), 415, "media-type")


GOOD = tensor([POSITIVE])


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [
        ([], "", "expected an object as the Open Inference Protocol has it"),
        ({}, "/inputs", "expected a member named inputs"),
        ({"inputs": {}}, "/inputs", "expected an array"),
        ({"inputs": []}, "/inputs", "List should have at least 1 item"),
        ({"inputs": [GOOD, GOOD]}, "/inputs", "List should have at most 1 item"),
        ({"inputs": [CANARY]}, "/inputs/0", "expected an object"),
        ({"inputs": [GOOD | {"name": CANARY}]}, "/inputs/0/name", "Input should be 'text'"),
        ({"inputs": [GOOD | {"datatype": "FP32"}]}, "/inputs/0/datatype", "should be 'BYTES'"),
        ({"inputs": [GOOD | {"shape": [-1]}]}, "/inputs/0/shape/0", "greater than or equal to 0"),
        ({"inputs": [GOOD | {"shape": [1.5]}]}, "/inputs/0/shape/0", "valid integer"),
        ({"inputs": [GOOD | {"shape": [2**53]}]}, "/inputs/0/shape/0", "less than or equal"),
        ({"inputs": [GOOD | {"shape": [2**63]}]}, "/inputs/0/shape/0", "less than or equal"),
        ({"inputs": [GOOD | {"shape": [1, 2**64 - 1]}]}, "/inputs/0/shape/1", "less than or equal"),
        ({"inputs": [GOOD | {"shape": [1e300]}]}, "/inputs/0/shape/0", "less than or equal"),
        ({"inputs": [GOOD | {"shape": [-(2**63)]}]}, "/inputs/0/shape/0", "greater than or equal"),
        ({"inputs": [GOOD | {"shape": [-1e300]}]}, "/inputs/0/shape/0", "greater than or equal"),
        ({"inputs": [GOOD | {"shape": [True]}]}, "/inputs/0/shape/0", "valid integer"),
        ({"inputs": [GOOD | {"shape": []}]}, "/inputs/0/shape", "at least 1 item"),
        ({"inputs": [GOOD | {"shape": [1, 1, 1]}]}, "/inputs/0/shape", "at most 2 items"),
        ({"inputs": [GOOD | {"shape": [2, 2]}]}, "/inputs/0/shape", "expected [n], [n, 1]"),
        ({"inputs": [GOOD | {"shape": [2**52, 2**52]}]}, "/inputs/0/shape", "expected [n], [n, 1]"),
        ({"inputs": [GOOD | {"shape": [1] * 2_000_000}]}, "/inputs/0/shape", "at most 2 items"),
        ({"inputs": [GOOD | {"shape": ["a"] * 900_000}]}, "/inputs/0/shape", "at most 2 items"),
        ({"inputs": [GOOD | {"data": [1] * 900_000}]}, "/inputs/0/data", "the shape says 1"),
        ({"inputs": [1] * 2_000_000}, "/inputs", "at most 1 item"),
        ({"inputs": [GOOD], "outputs": [1] * 900_000}, "/outputs", "at most 3 items"),
        ({"inputs": [GOOD | {"shape": [2]}]}, "/inputs/0/data", "1 elements; the shape says 2"),
        ({"inputs": [GOOD | {"data": CANARY}]}, "/inputs/0/data", "expected an array"),
        ({"inputs": [GOOD | {"data": [1]}]}, "/inputs/0/data/0", "expected a string"),
        ({"inputs": [GOOD | {"data": [[CANARY]]}]}, "/inputs/0/data/0", "expected a string"),
        ({"inputs": [GOOD | {"data": None}]}, "/inputs/0", "expected a member named data"),
        (
            {"inputs": [GOOD | {"shape": [1, 1], "data": [[7]]}]},
            "/inputs/0/data/0/0",
            "expected a string",
        ),
        (
            {"inputs": [GOOD | {"parameters": {"binary_data_size": 0}}]},
            "/inputs/0",
            "expected either data or binary_data_size",
        ),
        (
            {"inputs": [GOOD | {"parameters": {"binary_data_size": -1}}]},
            "/inputs/0/parameters/binary_data_size",
            "greater than or equal to 0",
        ),
        (
            {"inputs": [GOOD | {"data": None, "parameters": {"binary_data_size": 9}}]},
            "/inputs/0/parameters/binary_data_size",
            f"0 bytes behind the JSON, whose length {LENGTH} says",
        ),
        (
            {"inputs": [GOOD | {"parameters": {"shared_memory_region": CANARY}}]},
            "/inputs/0/parameters/shared_memory_region",
            "not served here: leave it out",
        ),
        ({"inputs": [GOOD], "id": 1}, "/id", "expected a string"),
        ({"inputs": [GOOD], "id": CANARY * 26}, "/id", "at most 256 characters"),
        (
            {"inputs": [GOOD], "parameters": {"binary_data_output": "yes"}},
            "/parameters/binary_data_output",
            "valid boolean",
        ),
        (
            {"inputs": [GOOD], "outputs": [{"name": CANARY}]},
            "/outputs/0/name",
            "Input should be 'label', 'score' or 'probabilities'",
        ),
        (
            {"inputs": [GOOD], "outputs": [{"name": "label"}, {"name": "label"}]},
            "/outputs/1/name",
            "expected each output once",
        ),
        (
            {
                "inputs": [GOOD],
                "outputs": [{"name": "label", "parameters": {"classification": 1}}],
            },
            "/outputs/0/parameters/classification",
            "expected it of the output probabilities only",
        ),
        (
            {
                "inputs": [GOOD],
                "outputs": [{"name": "probabilities", "parameters": {"classification": 0}}],
            },
            "/outputs/0/parameters/classification",
            "greater than or equal to 1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named_and_not_quoted(client, document, pointer, detail):
    before = metric(client, "sentiment_batch_texts_count")
    response = post(client, document)
    where, what = refusal(response, 422, "validation")
    assert where == pointer
    assert detail in what
    assert CANARY not in response.text
    assert metric(client, "sentiment_batch_texts_count") == before  # nothing of it ran


def test_the_error_member_says_the_first_wrong_item(client):
    document = post(client, {"inputs": [tensor(["a", " ", ""])]}).json()
    assert document["error"] == ("nothing visible: 2 of 3 texts; /inputs/0/data/1: nothing visible")
    assert post(client, []).json()["error"].startswith("faults in the body: 1; the body: ")


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/", "/v2/models/compact/infer/x"])
def test_every_problem_under_v2_has_the_error_member(client, path):
    assert problem(client.get(path), 404, "not-found")["error"]
    assert problem(client.get(INFER), 405, "method-not-allowed")["error"]
    assert "error" not in problem(client.get("/v2x"), 404, "not-found")


def test_a_stranger_gets_the_error_member_too():
    settings = Settings(model="compact", api_keys=("some-key",), threads=2)
    with TestClient(create_app(settings)) as client:
        assert problem(client.get("/v2"), 401, "unauthorized")["error"]


@pytest.mark.parametrize(
    ("texts", "status", "code", "pointer"),
    [
        (["a", " "], 422, "text-empty", "/inputs/0/data/1"),
        (["a", "a" * 20_001], 413, "text-too-long", "/inputs/0/data/1"),
        (["a", b"\xff"], 422, "invalid-unicode", "/inputs/0/data/1"),
    ],
)
def test_a_wrong_text_behind_the_json_is_named_as_if_it_stood_there(
    client, texts, status, code, pointer
):
    where, _ = refusal(post_binary(client, texts, tensor={}), status, code)
    assert where == pointer


def test_a_lone_surrogate_is_found_in_the_tensor(client):
    body = b'{"inputs":[{"name":"text","shape":[2],"datatype":"BYTES","data":["a","\\ud800"]}]}'
    response = client.post(INFER, content=body)
    assert refusal(response, 422, "invalid-unicode")[0] == "/inputs/0/data/1"


@pytest.mark.parametrize("count", [301, 2**40, 2**53 - 1])
def test_too_many_texts_are_refused_by_their_shape(client, count):
    problem(post(client, {"inputs": [GOOD | {"shape": [count]}]}), 413, "too-many-texts")
    response = post_binary(client, [], tensor={"shape": [1, count]})
    problem(response, 413, "too-many-texts")


@pytest.mark.parametrize(
    ("binary", "detail"),
    [
        (b"", "inside element 0 of 1"),
        (b"\5\0\0\0abc", "inside element 0 of 1"),
        (b"\1\0\0\0abc", "2 bytes of binary data behind the last of 1 elements"),
    ],
)
def test_binary_data_that_does_not_add_up_is_refused(client, binary, detail):
    response = post_binary(client, [""], binary=binary)
    where, what = refusal(response, 422, "validation")
    assert where == "/inputs/0"
    assert detail in what


@pytest.mark.parametrize("size", [0, 5, 100])
def test_a_size_that_is_not_that_of_the_binary_data_is_refused(client, size):
    response = post_binary(
        client, ["ab"], binary=packed(["ab"]), tensor={"parameters": {"binary_data_size": size}}
    )
    where, _ = refusal(response, 422, "validation")
    assert where == "/inputs/0/parameters/binary_data_size"


def test_binary_data_that_no_tensor_has_is_refused(client):
    document = orjson.dumps({"inputs": [GOOD]})
    response = client.post(INFER, content=document + b"more", headers={LENGTH: str(len(document))})
    assert refusal(response, 422, "validation") == (
        "/inputs/0",
        "4 bytes behind the JSON belong to no tensor",
    )


@pytest.mark.parametrize(
    "headers",
    [
        [(LENGTH, "1000")],
        [(LENGTH, "-1")],
        [(LENGTH, "1.5")],
        [(LENGTH, "")],
        [(LENGTH, "10"), (LENGTH, "10")],
    ],
)
def test_an_impossible_length_of_the_json_is_refused(client, headers):
    body = orjson.dumps({"inputs": [GOOD]})
    problem(client.post(INFER, content=body, headers=headers), 400, "bad-header")


@pytest.mark.parametrize("length", ["0", "1", "20"])
def test_a_length_that_cuts_the_json_leaves_no_json(client, length):
    body = orjson.dumps({"inputs": [GOOD]})
    problem(client.post(INFER, content=body, headers={LENGTH: length}), 400, "invalid-json")


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/compact/ready"]
)
def test_what_machines_ask_every_few_seconds_is_logged_for_debugging_only(client, caplog, path):
    caplog.set_level(logging.DEBUG, logger="sentiment")
    client.get(path)
    (line,) = (record for record in caplog.records if record.message == "request")
    assert line.levelname == "DEBUG"


def test_neither_log_nor_metrics_hold_what_was_sent(client, caplog):
    caplog.set_level(logging.DEBUG, logger="sentiment")
    post(client, {"id": CANARY, "inputs": [tensor([CANARY])]})
    client.get(f"/v2/models/{CANARY}")
    lines = [record for record in caplog.records if record.message == "request"]
    assert [line.route for line in lines] == [
        "POST /v2/models/{name}/infer",
        "GET /v2/models/{name}",
    ]
    assert not any(CANARY in str(vars(record)) for record in caplog.records)
    assert CANARY not in client.get("/metrics").text


PARTS = st.sampled_from(
    [
        *(None, 0, 1, -1, 2**64 - 1, 1.5, True, "", CANARY, [], {}, [CANARY], [[CANARY]]),
        *("text", "BYTES", "FP32", "label", "probabilities", [1], [0], [1, 1], [2**62, 4]),
        *({"binary_data_size": 14}, {"binary_data": True}, {"classification": 2}),
    ]
)
INPUTS = st.fixed_dictionaries(
    {"name": st.just("text") | PARTS, "shape": st.just([1]) | PARTS, "datatype": st.just("BYTES")},
    optional={
        "data": st.just([CANARY]) | PARTS,
        "parameters": st.just({"binary_data_size": 14}) | PARTS,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"inputs": st.lists(INPUTS, min_size=1, max_size=1) | st.lists(PARTS, max_size=2)},
    optional={
        "id": PARTS,
        "parameters": PARTS,
        "outputs": st.lists(
            st.fixed_dictionaries({"name": PARTS}, optional={"parameters": PARTS}), max_size=2
        ),
    },
)
BINARIES = st.just(b"") | st.just(packed([CANARY])) | st.binary(max_size=20)


@settings(max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
@given(document=DOCUMENTS, binary=BINARIES, off_by=st.sampled_from([0, 0, 0, 0, -1, 1, 99]))
def test_whatever_is_sent_is_answered_by_the_contract(service, document, binary, off_by):
    body = orjson.dumps(document)
    headers = {LENGTH: str(max(0, len(body) + off_by))}
    response = service.post(INFER, content=body + binary, headers=headers)
    if response.status_code == 200:
        # Only the id is the client's own.
        assert CANARY not in response.text.replace(f'"id":"{CANARY}"', "")
        assert outputs(response)
    else:
        assert 400 <= response.status_code < 500
        assert CANARY not in response.text
        assert_problem(response)
    assert_answers_right(service)
