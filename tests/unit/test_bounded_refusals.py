"""Invariant: however much of a body is wrong, its refusal costs no more than twenty faults do.

A body of four MiB has room for two million wrong items; to make an error of each would hold the
event loop for seconds.
"""

import json
import tracemalloc

import pytest

from sentiment.api.faces.documents import parse_documents
from sentiment.api.faces.inference_schemas import parse_inference
from sentiment.api.json_bodies import parse_json
from sentiment.api.predicting import parse_predict
from sentiment.api.problems import MAX_LISTED_ERRORS
from sentiment.api.schemas import parse_text, parse_texts
from sentiment.errors import RequestError
from sentiment.settings import Settings

MANY = 20_000
MAX_BYTES = 2**20
"""Of memory beside the document itself; as many errors as items would take ten times that."""

WRONG = [
    *([wrong] * MANY for wrong in (1, [], {}, "")),
    *([right] + [wrong] * MANY for right in ("a", {"text": "a"}) for wrong in (1, [], {}, " ")),
]
"""Arrays of which nearly everything is wrong, whatever they should hold."""

whatever_is_wrong = pytest.mark.parametrize("wrong", WRONG, ids=lambda it: json.dumps(it)[:24])


def peak_bytes(act):
    """Return how much memory `act` needs at most."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refusal_bytes(parse, document, *, max_texts=4096):
    """Return how much memory a refusal needs at most; check how many items it names."""

    def refused():
        with pytest.raises(RequestError) as caught:
            parse(document, Settings(max_texts=max_texts, max_text_chars=10))
        assert len(getattr(caught.value, "errors", ())) <= MAX_LISTED_ERRORS

    return peak_bytes(refused)


@whatever_is_wrong
def test_an_array_of_texts(wrong):
    assert refusal_bytes(parse_texts, wrong) < MAX_BYTES


@whatever_is_wrong
def test_something_else_than_a_text(wrong):
    assert refusal_bytes(parse_texts, [{"text": wrong}]) < MAX_BYTES
    assert refusal_bytes(parse_text, {"text": wrong}) < MAX_BYTES


@whatever_is_wrong
def test_inputs_of_hugging_faces_clients(wrong):
    for inputs in (wrong, [wrong], [["a"], wrong], ["a", wrong]):
        assert refusal_bytes(parse_predict, {"inputs": inputs}) < MAX_BYTES


@whatever_is_wrong
@pytest.mark.parametrize("name", ["parameters", "raw_scores", "truncate", "truncation_direction"])
def test_options_of_hugging_faces_clients(wrong, name):
    assert refusal_bytes(parse_predict, {"inputs": "a", name: wrong}) < MAX_BYTES


TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}


@whatever_is_wrong
@pytest.mark.parametrize(
    "request_of",
    [
        lambda wrong: {"inputs": wrong},
        lambda wrong: {"inputs": [TENSOR | {"name": wrong}]},
        lambda wrong: {"inputs": [TENSOR | {"shape": wrong}]},
        lambda wrong: {"inputs": [TENSOR | {"shape": [wrong]}]},
        lambda wrong: {"inputs": [TENSOR | {"data": wrong}]},
        lambda wrong: {"inputs": [TENSOR | {"shape": [1, 1], "data": [wrong]}]},
        lambda wrong: {"inputs": [TENSOR | {"shape": [len(wrong)], "data": wrong}]},
        lambda wrong: {"inputs": [TENSOR], "outputs": wrong},
        lambda wrong: {"inputs": [TENSOR], "outputs": [wrong]},
        lambda wrong: {"inputs": [TENSOR], "id": wrong},
        lambda wrong: {"inputs": [TENSOR], "parameters": wrong},
    ],
)
def test_a_tensor(wrong, request_of):
    body = json.dumps(request_of(wrong)).encode()
    read = peak_bytes(lambda: parse_json(body, members=()))

    def parse(body, settings):
        return parse_inference(body, None, settings)

    assert refusal_bytes(parse, body) < read + MAX_BYTES


@whatever_is_wrong
def test_an_array_of_documents(wrong):
    body = json.dumps(wrong).encode()
    read = peak_bytes(lambda: parse_json(body, members=()))
    assert refusal_bytes(parse_documents, body, max_texts=2 * MANY) < read + 8 * MAX_BYTES


def test_texts_with_half_a_character():
    body = b'["' + b'","'.join([rb"\ud800"] * MANY) + b'"]'

    def parse(body, settings):
        return parse_json(body, members=())

    # As often as there are texts: where it stands, and what a slower parser makes of it.
    assert refusal_bytes(parse, body) < 8 * MAX_BYTES


@pytest.mark.parametrize("wrong", [1, " ", "a" * 11, {"text": 1}, {}])
def test_a_high_limit_of_texts_makes_no_more_errors(wrong):
    for parse, document in (
        (parse_texts, [wrong] * MANY),
        (parse_predict, {"inputs": [wrong] * MANY}),
        (parse_predict, {"inputs": [[wrong]] * MANY}),
    ):
        # A number for each wrong item, and a copy of the texts.
        assert refusal_bytes(parse, document, max_texts=MANY) < 8 * MAX_BYTES
