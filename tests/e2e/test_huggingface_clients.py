"""Clients that were written for other servers, unmodified, against this one."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.contract import NEGATIVE, POSITIVE
from tests.e2e.conftest import running_server
from tests.texts import TEXTS, text_of

LABELS = ["negative", "neutral", "positive"]


@pytest.fixture(params=["", "/", "/predict"])
def url(request, server):
    """The server's address and nothing else, or the route."""
    return server.url + request.param


@pytest.fixture
def client(url):
    return InferenceClient(model=url)


def test_inference_client_gets_every_label_best_first(client):
    answer = client.text_classification(POSITIVE)
    assert answer[0].label == "positive"
    assert sorted(each.label for each in answer) == LABELS
    assert sum(each.score for each in answer) == pytest.approx(1, abs=1e-6)
    scores = [each.score for each in answer]
    assert scores == sorted(scores, reverse=True)


def test_inference_client_gets_the_top_k(client):
    (best,) = client.text_classification(NEGATIVE, top_k=1)
    assert best.label == "negative"


def test_inference_client_gets_the_function_that_it_asks_for(client):
    logits = client.text_classification(POSITIVE, function_to_apply="none")
    assert min(each.score for each in logits) < 0
    sigmoids = client.text_classification(POSITIVE, function_to_apply="sigmoid")
    assert sum(each.score for each in sigmoids) != pytest.approx(1, abs=1e-3)
    softmax = client.text_classification(POSITIVE, function_to_apply="softmax")
    assert softmax == client.text_classification(POSITIVE)


def test_inference_client_reads_what_was_wrong(client):
    with pytest.raises(HfHubHTTPError) as caught:
        client.text_classification(" ")
    assert "nothing visible: 1 of 1 texts" in str(caught.value)
    assert caught.value.response.json()["errors"][0]["pointer"] == "/inputs"


def test_inference_client_reads_of_any_other_refusal_too(client):
    with pytest.raises(HfHubHTTPError) as caught:
        client.text_classification("a" * 20_001)
    assert caught.value.response.status_code == 413
    document = caught.value.response.json()
    assert document["detail"] == "too long: 1 of 1 texts"
    assert document["request_id"] == caught.value.request_id


async def test_the_asynchronous_inference_client_gets_the_same(client, url):
    async with AsyncInferenceClient(model=url) as asynchronous:
        assert await asynchronous.text_classification(POSITIVE) == (
            client.text_classification(POSITIVE)
        )


def test_answers_find_their_callers(client):
    expected = {text: client.text_classification(text) for text in TEXTS}

    def call(index):
        text = TEXTS[index % len(TEXTS)]
        for got, wanted in zip(client.text_classification(text), expected[text], strict=True):
            assert got.label == wanted.label
            assert got.score == pytest.approx(wanted.score, abs=1e-5)

    with ThreadPoolExecutor(16) as clients:
        list(clients.map(call, range(160)))


def test_an_api_key_is_what_a_token_is_to_these_clients():
    with running_server(SENTIMENT_API_KEYS="right") as server:
        InferenceClient(model=server.url, token="right").text_classification(POSITIVE)
        with pytest.raises(HfHubHTTPError) as caught:
            InferenceClient(model=server.url, token="wrong").text_classification(POSITIVE)
    assert caught.value.response.status_code == 401


def curl(url, body, *arguments):
    """Post as Text Embeddings Inference's documentation does."""
    json_declared = ("-H", "Content-Type: application/json")
    done = subprocess.run(
        ["curl", "-s", f"{url}/predict", "-X", "POST", "-d", body, *json_declared, *arguments],
        capture_output=True,
        check=True,
        timeout=30,
    )
    return json.loads(done.stdout)


def assert_labels(answer):
    """Check that an answer is what TEI documents for one text: every label, best first."""
    assert sorted(item["label"] for item in answer) == LABELS
    assert all(item.keys() == {"score", "label"} for item in answer)
    scores = [item["score"] for item in answer]
    assert scores == sorted(scores, reverse=True)


def test_what_tei_documents_for_one_text_is_answered_as_there(server):
    answer = curl(server.url, '{"inputs":"I like you."}')
    assert_labels(answer)


def test_what_tei_documents_for_a_batch_is_answered_as_there(server):
    answer = curl(server.url, '{"inputs":[["I like you."],["I hate pineapples"]]}')
    assert len(answer) == 2
    for labels in answer:
        assert_labels(labels)


def test_every_option_of_tei_is_understood(server):
    body = {
        "inputs": [["I like you."], [text_of(600)]],
        "raw_scores": True,
        "truncate": True,
        "truncation_direction": "Left",
    }
    answer = curl(server.url, json.dumps(body))
    assert len(answer) == 2
    for labels in answer:
        assert_labels(labels)
        assert labels[-1]["score"] < 0
    refused = curl(server.url, json.dumps({**body, "truncate": False}))
    assert (refused["status"], refused["code"]) == (413, "text-too-long")
