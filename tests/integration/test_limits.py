"""The limits of a request and the edges of Unicode, through the real model.

Each limit is met from both sides: the last value that is taken, the first that is refused.
"""

import itertools
import math

import orjson
import pytest

from sentiment import Settings
from tests.contract import assert_answers_right, problem
from tests.naughty import NAUGHTY
from tests.texts import MIXED_LENGTHS, text_of

JSON = {"Content-Type": "application/json"}
LIMITS = Settings(model="compact")


@pytest.fixture(autouse=True)
def still_answers_right(service):
    yield
    assert_answers_right(service)


def post(client, texts):
    return client.post("/", content=orjson.dumps(texts), headers=JSON)


def scores(response):
    assert response.status_code == 200, response.text
    return [answer["score"] for answer in response.json()]


# Limits


@pytest.mark.parametrize(
    "character", ["a", "株", "📈", "e\u0301", "\U000e0100"], ids=lambda text: f"{ord(text[0]):x}"
)
def test_the_longest_text_is_taken_and_one_character_more_is_not(service, character):
    longest = (character * LIMITS.max_text_chars)[: LIMITS.max_text_chars - 1]
    assert scores(post(service, ["!" + longest]))
    refused = problem(post(service, ["a", "!" + longest + "a"]), 413, "text-too-long")
    assert [item["pointer"] for item in refused["errors"]] == ["/1"]


def test_the_largest_array_is_taken_and_one_text_more_is_not(service):
    texts = [f"{index}" for index in range(LIMITS.max_texts)]
    assert len(scores(post(service, texts))) == LIMITS.max_texts
    refused = problem(post(service, [*texts, "a"]), 413, "too-many-texts")
    assert "4097 texts; at most 4096" in refused["detail"]


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_the_largest_body_is_taken_and_one_byte_more_is_not(service, declared):
    def send(length):
        body = b'["a"]'.ljust(length)
        chunks = (body[start : start + 2**16] for start in range(0, length, 2**16))
        return service.post("/", content=body if declared else chunks, headers=JSON)

    assert scores(send(LIMITS.max_body_bytes - 1))
    assert scores(send(LIMITS.max_body_bytes))
    response = send(LIMITS.max_body_bytes + 1)
    problem(response, 413, "body-too-large")
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("words", [509, 510, 511, 514])
def test_a_text_counts_as_truncated_from_the_first_token_that_is_not_read(service, words):
    # Each word is one token, and two special ones make 512 of 510.
    response = post(service, ["profit " * words])
    read = post(service, ["profit " * min(words, 510)])
    assert scores(response) == pytest.approx(scores(read), abs=1e-6)
    assert response.headers.get("x-truncated") == ("1" if words > 510 else None)


# Unicode

INVISIBLE = [
    "",
    " ",
    " \t\r\n",
    "\v\f\x1c\x1f\x85",
    "\u00a0",
    "\u200b\u200c\u200d\u2060",
    "\u2028\u2029",
    "\u3000",
    "\ufeff",
    "\u0301\u0302",
    "\u20dd",
    "\0",
    "\0\0\0",
    "\x1b",
    "\x7f",
    "\u202e\u2066\u2069",
    "\ufe0f",
    "\uffff",
    "\ue000",
    "\U0010ffff",
    "\U000e0001\U000e007f",
    "\u00ad",
    "\u0378",  # not assigned
]


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_a_text_without_anything_visible_is_refused(service, text):
    problem(post(service, [text]), 422, "text-empty")
    refused = problem(post(service, ["a", text]), 422, "text-empty")
    assert [item["pointer"] for item in refused["errors"]] == ["/1"]


@pytest.mark.parametrize(
    "escaped",
    [
        b"\\ud800",
        b"\\uDBFF",
        b"\\udc00",
        b"\\uDFFF",
        b"\\udc00\\ud800",
        b"\\ud83d\\ud83d\\udcc8",
        b"\\ud83dx\\udcc8",
        b"\\ud83d\\\\udcc8",
        b"\\ud83d\\n\\udcc8",
    ],
    ids=lambda escaped: escaped.decode(),
)
def test_half_a_pair_of_surrogates_is_named(service, escaped):
    for body, pointer in (
        (b'["a", "profit %s"]' % escaped, "/1"),
        (b'[{"text": "a"}, {"text": "%s profit"}]' % escaped, "/1/text"),
    ):
        response = service.post("/", content=body, headers=JSON)
        refused = problem(response, 422, "invalid-unicode")
        assert [item["pointer"] for item in refused["errors"]] == [pointer]


def test_what_looks_like_a_surrogate_and_is_none_is_a_text(service):
    for body in (b'["\\\\ud800"]', b'["\\ud83d\\udcc8"]', b'["\\\\\\ud83d\\udcc8"]'):
        assert scores(service.post("/", content=body, headers=JSON))


def test_strange_texts_score_as_they_do_alone(service):
    together = scores(post(service, NAUGHTY))
    alone = [scores(post(service, [text]))[0] for text in NAUGHTY]
    assert together == pytest.approx(alone, abs=1e-5)
    assert all(math.isfinite(score) and 1 / 3 <= score <= 1 for score in together)


def test_strange_neighbours_do_not_move_a_plain_text(service):
    alone = scores(post(service, list(MIXED_LENGTHS)))
    mixed = [text for pair in zip(MIXED_LENGTHS, itertools.cycle(NAUGHTY)) for text in pair]
    assert scores(post(service, mixed))[::2] == pytest.approx(alone, abs=1e-5)


def test_what_the_tokenizer_takes_for_its_own_is_only_text(service):
    special = ["[CLS]", "[SEP] [SEP]", "[MASK] rose", "[PAD]", "[UNK]", "[unused1]", "##ing"]
    assert len(scores(post(service, special))) == len(special)
    assert scores(post(service, [text_of(20) + " [SEP] " + text_of(20)]))
