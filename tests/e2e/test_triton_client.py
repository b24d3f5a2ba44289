"""Triton's own client, as NVIDIA publishes it, against a real server process."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
from urllib.request import Request, urlopen

import numpy as np
import pytest
import tritonclient.http.aio
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.conftest import REPOSITORY
from tests.texts import MIXED_LENGTHS, TEXTS

OUTPUTS = ("label", "score", "probabilities")


@pytest.fixture
def client(server):
    with InferenceServerClient(server.url.removeprefix("http://"), concurrency=4) as client:
        yield client


@pytest.fixture(scope="module")
def expected(server):
    """Return what `POST /` says of texts: labels, and `{label: score}` of each."""

    def expected(texts):
        body = json.dumps(list(texts)).encode()
        request = Request(f"{server.url}/?top_k=3", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            ranked = json.load(answer)
        scores = [{each["label"]: each["score"] for each in row} for row in ranked]
        return [row[0]["label"] for row in ranked], scores

    return expected


def texts_input(texts, *, binary=True):
    array = np.array([text.encode() for text in texts], dtype=np.object_)
    tensor = InferInput("text", list(array.shape), "BYTES")
    return tensor.set_data_from_numpy(array, binary_data=binary)


def wanted(*names, **options):
    return [InferRequestedOutput(name, **options) for name in names]


def assert_agrees(result, expected):
    labels, scores = expected
    assert [label.decode() for label in as_bytes(result, "label")] == labels
    best = [row[label] for row, label in zip(scores, labels, strict=True)]
    np.testing.assert_allclose(result.as_numpy("score"), best, atol=1e-5)
    rows = [[row[label] for label in ("positive", "negative", "neutral")] for row in scores]
    probabilities = result.as_numpy("probabilities")
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, rows, atol=1e-5)


def as_bytes(result, name):
    """Return a BYTES output; in JSON the client leaves text as text."""
    return [each if isinstance(each, bytes) else each.encode() for each in result.as_numpy(name)]


def test_the_client_finds_server_and_model_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    for name in ("compact", "sentiment"):
        assert client.is_model_ready(name)
        assert client.is_model_ready(name, "1")
    assert not client.is_model_ready("compact", "2")
    assert not client.is_model_ready("ProsusAI/finbert")


def test_the_client_reads_the_metadata(client):
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("sentiment")
    assert [each["name"] for each in metadata["inputs"]] == ["text"]
    assert [each["name"] for each in metadata["outputs"]] == list(OUTPUTS)
    assert metadata["parameters"]["label_0"] == "positive"
    assert client.get_model_metadata("compact", "1")["versions"] == ["1"]


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False, None])
def test_the_client_gets_the_numbers_of_the_main_route(
    client, expected, binary_input, binary_output
):
    outputs = None if binary_output is None else wanted(*OUTPUTS, binary_data=binary_output)
    result = client.infer(
        "sentiment",
        [texts_input(MIXED_LENGTHS, binary=binary_input)],
        outputs=outputs,
        request_id="42",
    )
    assert result.get_response()["id"] == "42"
    assert_agrees(result, expected(MIXED_LENGTHS))


def test_the_client_asks_for_classes(client):
    outputs = wanted("probabilities", class_count=2)
    result = client.infer("sentiment", [texts_input(TEXTS)], outputs=outputs)
    classes = result.as_numpy("probabilities")
    assert classes.shape == (len(TEXTS), 2)
    for best, second in classes:
        assert re.fullmatch(rb"0\.\d{6}:[012]:(positive|negative|neutral)", best)
        assert best.split(b":")[0] >= second.split(b":")[0]


def test_the_client_sends_many_requests_at_once(client, expected):
    requests = [client.async_infer("sentiment", [texts_input([text])]) for text in TEXTS]
    for text, request in zip(TEXTS, requests, strict=True):
        assert_agrees(request.get_result(), expected([text]))


def test_the_client_sends_a_thousand_texts(client, expected):
    texts = [f"{TEXTS[index % len(TEXTS)]} {index}" for index in range(1000)]
    assert_agrees(client.infer("sentiment", [texts_input(texts)]), expected(texts))


def test_the_client_shows_why_it_is_refused(client):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("sentiment", [texts_input(["Profit doubles", " "])])
    assert caught.value.status() == "422"
    assert caught.value.message() == (
        "nothing visible: 1 of 2 texts; /inputs/0/data/1: nothing visible"
    )
    with pytest.raises(InferenceServerException, match="the only model here is compact"):
        client.infer("finbert", [texts_input(["Profit doubles"])])
    with pytest.raises(InferenceServerException, match="'label', 'score' or 'probabilities'"):
        client.infer("compact", [texts_input(["Profit doubles"])], outputs=wanted("logits"))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_the_client_is_told_that_a_body_must_not_be_compressed(client, algorithm):
    with pytest.raises(InferenceServerException, match="without Content-Encoding"):
        client.infer(
            "sentiment",
            [texts_input(["Profit doubles"])],
            request_compression_algorithm=algorithm,
        )


def test_the_client_may_shorten_the_deadline(client):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("sentiment", [texts_input(TEXTS * 40)], headers={"X-Timeout-Ms": "1"})
    assert caught.value.status() == "504"


@pytest.mark.parametrize("binary", [True, False])
def test_the_asynchronous_client_is_answered_too(server, expected, binary):
    async def infer():
        address = server.url.removeprefix("http://")
        async with tritonclient.http.aio.InferenceServerClient(address) as client:
            return await client.infer("sentiment", [texts_input(TEXTS, binary=binary)])

    assert_agrees(asyncio.run(infer()), expected(TEXTS))


def documented():
    """Return the documentation's section on these clients."""
    page = (REPOSITORY / "docs/api.md").read_text()
    return page.partition("## Open Inference Protocol clients\n")[2].partition("\n## ")[0]


def test_the_documented_script_prints_what_stands_below_it(server):
    ((script, output),) = re.findall(
        r"```python\n(.*?)```.*?```text\n(.*?)```", documented(), re.DOTALL
    )
    script = script.replace("localhost:8000", server.url.removeprefix("http://"))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == output


def test_the_documented_curl_answers_what_stands_below_it(server):
    ((command, output),) = re.findall(
        r"```console\n\$ (curl .*?')\n({.*?})\n```", documented(), re.DOTALL
    )
    command = command.replace("http://localhost:8000", server.url)
    done = subprocess.run(
        [*shlex.split(command), "--silent"], capture_output=True, text=True, check=True, timeout=60
    )
    answer, shown = json.loads(done.stdout), json.loads(output)
    scores, shown_scores = answer["outputs"][0].pop("data"), shown["outputs"][0].pop("data")
    assert scores == pytest.approx(shown_scores, abs=6e-5)
    assert answer == shown
