"""Invariant: whatever is sent, the answer is right or a problem that quotes nothing of it."""

import json

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract import assert_answers_right, assert_problem

CANARY = "canary7f3a"
"""Stands in every string that is sent, and must stand in no answer."""

STRINGS = st.text(max_size=20).map(lambda text: f"{CANARY}{text}")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | STRINGS
STRUCTURES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.just("text") | STRINGS, inner, max_size=4)
        | st.fixed_dictionaries({"text": inner})
    ),
    max_leaves=20,
)
VALID = st.lists(STRINGS, max_size=8) | st.lists(
    st.fixed_dictionaries({"text": STRINGS}, optional={"id": SCALARS}), max_size=8
)
FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *(b"[", b"]", b"{", b"}", b",", b":", b'"', b'"text"', b" ", b"\n", b"\0", b"\\"),
            *(
                b"\\ud83d",
                b"\\udcc8",
                b"\\u0000",
                b"\\u",
                b"\xed\xa0\x80",
                b"\xff",
                b"\xef\xbb\xbf",
            ),
            *(b"NaN", b"-Infinity", b"1e999", b"-0", b"0" * 30, b"9" * 500, b"null", b"true"),
            *(b"[" * 50, b'{"text":', b'["%s",' % CANARY.encode(), b'"%s"' % CANARY.encode()),
        ]
    ),
    max_size=30,
).map(b"".join)


@st.composite
def mutated(draw):
    """A valid body with a few of its bytes replaced, added, dropped or repeated."""
    body = encoded(draw(VALID))  # integers of any size, unlike orjson
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        until = min(len(body), at + draw(st.integers(0, 6)))
        replacement = draw(st.binary(max_size=4) | st.just(body[at:until] * 2))
        body = body[:at] + replacement + body[until:]
    return body


def encoded(document):
    """As JSON of whatever kind the standard library writes, NaN and lone surrogates included."""
    return json.dumps(document).encode()


BODIES = STRUCTURES.map(encoded) | VALID.map(encoded) | mutated() | FRAGMENTS | st.binary()
QUERIES = st.sampled_from(["", "", "", "?top_k=2", "?top_k=0", f"?top_k={CANARY}", "?%ff=%00"])
HEADERS = st.fixed_dictionaries(
    {
        "Content-Type": st.sampled_from(
            [
                *["application/json"] * 12,
                "application/x-www-form-urlencoded",
                "application/json; charset=utf-8",
                f"application/json; charset={CANARY}",
                f"text/{CANARY}",
                "",
            ]
        )
    },
    optional={
        "X-Request-Id": st.sampled_from(["some-id", f"{CANARY} {CANARY}", "{}", "é", "a" * 65]),
        "Content-Encoding": st.sampled_from(["identity", "identity", "gzip", CANARY]),
    },
)
REQUESTS = st.tuples(
    st.sampled_from(["/", "/", "/analyze_sentiment"]), QUERIES, HEADERS, BODIES
).map(lambda parts: (parts[0] + parts[1], *parts[2:]))


@settings(max_examples=300, derandomize=True, suppress_health_check=list(HealthCheck))
@given(request=REQUESTS)
def test_whatever_is_sent_is_answered_by_the_contract(service, request):
    check(service, request)


@pytest.mark.nightly
@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(request=REQUESTS)
def test_much_more_of_whatever_is_sent_is_answered_by_the_contract(service, request):
    check(service, request)


def check(client, request):
    path, headers, body = request
    headers = {name: value.encode("latin-1") for name, value in headers.items()}
    response = client.post(path, content=body, headers=headers)
    assert CANARY not in response.text
    assert CANARY not in str(response.headers)
    if response.status_code == 200:
        answers = orjson.loads(response.content)
        sent = orjson.loads(body)
        assert isinstance(sent, list) == isinstance(answers, list)
        assert not isinstance(sent, list) or len(sent) == len(answers)
    else:
        assert 400 <= response.status_code < 500
        assert_problem(response)
    assert_answers_right(client)
