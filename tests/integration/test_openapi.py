"""What the OpenAPI document promises is what the application does."""

import json

import pytest
import schemathesis
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from sentiment import Settings
from sentiment.api.app import create_app
from sentiment.api.routes import described

schemathesis.serializer.alias("application/x-ndjson", "text/plain")
schema = schemathesis.openapi.from_dict(described())


@pytest.fixture(scope="module")
def app():
    yield create_app(Settings(model="compact", threads=2))
    shutdown_lifespans()  # the first request starts it, and nothing else would stop it


@schema.parametrize()
@settings(max_examples=100, derandomize=True)
def test_every_answer_is_one_that_the_document_promises(case, app):
    check(case, app)


def examples():
    """Yield every example of a body: where it belongs, and what it is."""
    for path, operations in described()["paths"].items():
        for method, operation in operations.items():
            for media, content in operation.get("requestBody", {}).get("content", {}).items():
                for number, example in content.get("examples", {}).items():
                    name = f"{method}{path}-{number}"
                    yield pytest.param(method, path, media, example["value"], id=name)


@pytest.mark.parametrize(("method", "path", "media", "value"), [*examples()])
def test_every_example_in_the_document_is_answered(service, method, path, media, value):
    content = value if isinstance(value, str) else json.dumps(value)
    path = path.replace("{name}", service.get("/info").json()["model"]["name"])
    path = path.replace("{version}", "1")
    response = service.request(method, path, content=content, headers={"Content-Type": media})
    assert response.status_code == 200, response.text
    if path == "/v1/stream":
        *answers, end = map(json.loads, response.text.splitlines())
        assert answers
        assert not any("error" in answer for answer in answers)
        assert (end["done"], end["errors"]) == (True, 0)


def test_no_schema_names_a_value_in_two_spellings_of_one_name():
    # Generated clients make a constant of each.
    for name, choices in enumerations(described()):
        assert len({str(choice).lower() for choice in choices}) == len(choices), name


def enumerations(schema, name=""):
    """Yield every `enum` in a document, with its place."""
    if isinstance(schema, dict):
        if isinstance(choices := schema.get("enum"), list):
            yield name, choices
        for key, value in schema.items():
            yield from enumerations(value, f"{name}/{key}")
    elif isinstance(schema, list):
        for value in schema:
            yield from enumerations(value, name)


@pytest.mark.nightly
@schema.parametrize()
@settings(max_examples=1000)
def test_many_more_answers_are_ones_that_the_document_promises(case, app):
    check(case, app)


def check(case, app):
    response = case.call(app=app)
    # JSON Schema has no word for "visible" that every language reads alike, so a few texts
    # that the document lets through are refused, under a code of their own.
    invisible = response.status_code == 422 and response.json()["code"] == "text-empty"
    # Nor any for the parts of a tensor that must fit together, or for what bytes mean.
    unfit = response.status_code in (400, 413, 422) and case.path.endswith("/infer")
    # And a deadline of a millisecond is the client's own wish, though its answer begins with 5.
    too_late = response.status_code == 504 and "X-Timeout-Ms" in case.headers
    # Any bytes are a stream: what is wrong with a line is said in its answer.
    any_body = case.path == "/v1/stream"
    case.validate_response(
        response,
        excluded_checks=[positive_data_acceptance] * (invisible or unfit or too_late)
        + [negative_data_rejection] * (any_body and response.status_code == 200)
        + [not_a_server_error] * too_late,
    )
