"""The error contract of `docs/api.md`, and proof that a server still answers right."""

import orjson
import pytest

from sentiment.api.openapi import error_classes
from tests.texts import TEXTS

POSITIVE, NEGATIVE = TEXTS[0], TEXTS[3]

MAX_PROBLEM_BYTES = 8192
REQUIRED = {"type", "title", "status", "detail", "code", "request_id"}
OPTIONAL = {"errors", "retry_after_ms", "texts_that_fit", "error"}
CODES = {(error.status, error.code): error.title for error in error_classes()}


def assert_problem(response):
    """Check the contract of every answer other than 2xx and return the document."""
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert len(response.content) <= MAX_PROBLEM_BYTES
    document = orjson.loads(response.content)  # strict, unlike the standard library
    assert REQUIRED <= set(document) <= REQUIRED | OPTIONAL
    assert document["status"] == response.status_code
    assert document["title"] == CODES[response.status_code, document["code"]]
    assert document["type"] == f"urn:sentiment:problem:{document['code']}"
    assert document["detail"]
    assert document["request_id"] == response.headers["x-request-id"]
    if "errors" in document:
        assert response.status_code in (413, 422)
        assert 1 <= len(document["errors"]) <= 20
        for item in document["errors"]:
            assert {"code", "detail"} < set(item) <= {"code", "detail", "pointer", "parameter"}
    # Clients of the Open Inference Protocol look for the reason there.
    assert ("error" in document) == f"{response.url.path}/".startswith("/v2/")
    assert "texts_that_fit" not in document or response.status_code == 504
    assert ("retry_after_ms" in document) == ("retry-after" in response.headers)
    return document


def problem(response, status, code):
    """Check that the answer is the problem `code` and return the document."""
    assert response.status_code == status, response.text
    document = assert_problem(response)
    assert document["code"] == code
    return document


def assert_answers_right(client):
    """Check the golden request: whatever came before, a good request is answered right."""
    response = client.post("/", json=[{"text": POSITIVE}, {"text": NEGATIVE}])
    assert response.status_code == 200, response.text
    answers = response.json()
    assert [answer["label"] for answer in answers] == ["positive", "negative"]
    known = vars(client).setdefault("golden_scores", [answer["score"] for answer in answers])
    assert [answer["score"] for answer in answers] == pytest.approx(known, abs=1e-5)
