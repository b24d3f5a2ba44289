"""What the OpenAPI document promises is what the application does."""

import pytest
import schemathesis
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import positive_data_acceptance

from sentiment import Settings
from sentiment.api.app import create_app
from sentiment.api.openapi import openapi_document

schema = schemathesis.openapi.from_dict(openapi_document())


@pytest.fixture(scope="module")
def app():
    yield create_app(Settings(model="compact", threads=2))
    shutdown_lifespans()  # the first request starts it, and nothing else would stop it


@schema.parametrize()
@settings(max_examples=100, derandomize=True)
def test_every_answer_is_one_that_the_document_promises(case, app):
    check(case, app)


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
    # And a deadline of a millisecond is the client's own wish, though its answer begins with 5.
    too_late = response.status_code == 504 and "X-Timeout-Ms" in case.headers
    case.validate_response(
        response,
        excluded_checks=[positive_data_acceptance] * (invisible or too_late)
        + [not_a_server_error] * too_late,
    )
