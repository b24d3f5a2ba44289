"""Invariant: whatever the body, the outcome is texts or a `RequestError` that quotes none."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.api.json_bodies import MAX_CONTAINERS, parse_json
from sentiment.api.problems import render_problem
from sentiment.api.schemas import parse_flag, parse_text, parse_texts, parse_top_k
from sentiment.errors import (
    InvalidEncoding,
    InvalidInput,
    InvalidJson,
    InvalidUnicode,
    Overloaded,
    RequestError,
    TextEmpty,
    TextTooLong,
    TooManyTexts,
)
from sentiment.settings import Settings
from sentiment.visible import FIRST_CHARACTERS

SETTINGS = Settings(max_texts=10, max_text_chars=50)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.just("text"), inner, max_size=3)
    ),
    max_leaves=12,
)


def body(document):
    return json.dumps(document).encode()


def read_texts(content, settings):
    return parse_texts(parse_json(content, members=("text",)), settings)


def read_text(content, settings):
    return parse_text(parse_json(content, members=("text",)), settings)


def refusal(document, error=InvalidInput):
    with pytest.raises(error) as caught:
        read_texts(document if isinstance(document, bytes) else body(document), SETTINGS)
    assert type(caught.value) is error
    return caught.value


def pointers(error):
    return [(item.pointer, item.code) for item in error.errors]


def test_objects_with_a_text_are_read_in_order():
    assert read_texts(body([{"text": "a"}, {"text": "b"}]), SETTINGS) == ["a", "b"]


def test_plain_strings_are_read_in_order():
    assert read_texts(body(["a", "b"]), SETTINGS) == ["a", "b"]


def test_an_empty_array_holds_no_texts():
    assert read_texts(b"[]", SETTINGS) == []


def test_other_members_are_ignored():
    item = {"text": "a", "id": 7, "text_pair": "b", "max_length": 3, "__class__": "x"}
    assert read_texts(body([item]), SETTINGS) == ["a"]


def test_of_a_repeated_member_the_last_counts():
    assert read_texts(b'[{"text": "a", "text": "b"}]', SETTINGS) == ["b"]


@pytest.mark.parametrize("document", [{}, {"text": "a"}, "a", 1, 1.5, True, None, ""])
def test_anything_but_an_array_is_refused_as_a_whole(document):
    assert pointers(refusal(document)) == [("", "type")]


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    ("item", "where", "code"),
    [
        (None, "", "type"),
        (1, "", "type"),
        ([], "", "type"),
        ({}, "/text", "missing"),
        ({"Text": "a"}, "/text", "missing"),
        ({"text": None}, "/text", "type"),
        ({"text": 1}, "/text", "type"),
        ({"text": True}, "/text", "type"),
        ({"text": ["a"]}, "/text", "type"),
        ({"text": {"text": "a", "text_pair": "b"}}, "/text", "type"),
    ],
)
def test_a_wrong_item_is_named_by_its_pointer(item, where, code, position):
    items = [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    items[position] = item
    assert pointers(refusal(items)) == [(f"/{position}{where}", code)]


def test_an_array_may_not_mix_strings_and_objects():
    assert pointers(refusal(["a", {"text": "b"}])) == [("/1", "type")]
    assert pointers(refusal([{"text": "b"}, "a"])) == [("/1", "type")]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[",
        b"[NaN]",
        b"[Infinity]",
        b'[{"text": -Infinity}]',
        b"{'text': 'a'}",
        b'["a",]',
        b'["a"] x',
        b'["\\x"]',
        b'["a\nb"]',
        b"[" * 100_000,
        b'[{"text":' * 1001 + b"1" + b"}]" * 1001,
        b"[" + b"1" * 5000 + b"e",
    ],
    ids=lambda broken: repr(broken[:12]),
)
def test_what_is_not_json_is_refused_as_such(broken):
    assert "column" in refusal(broken, InvalidJson).detail


@pytest.mark.parametrize(
    "encoded",
    [
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        '["a"]'.encode("utf-16"),
        b"\xef\xbb\xbf" + b'["a"]',
    ],
    ids=["stray byte", "encoded surrogate", "UTF-16", "byte order mark"],
)
def test_json_must_be_utf_8_without_a_mark(encoded):
    refusal(encoded, InvalidEncoding)


@pytest.mark.parametrize("surrogate", ["\\ud800", "\\udfff", "\\udc00\\ud800"])
def test_a_lone_surrogate_is_named_by_its_pointer(surrogate):
    wrong = refusal(f'[{{"text": "a"}}, {{"text": "b{surrogate}"}}]'.encode(), InvalidUnicode)
    assert pointers(wrong) == [("/1/text", "invalid-unicode")]
    wrong = refusal(f'["{surrogate}"]'.encode(), InvalidUnicode)
    assert pointers(wrong) == [("/0", "invalid-unicode")]


def test_a_surrogate_where_no_text_stands_is_no_json_of_ours():
    refusal(b'[{"text": "a", "id": "\\ud800"}]', InvalidJson)


def test_a_pair_of_surrogates_is_one_character():
    assert read_texts(b'["\\ud83d\\udcc8"]', SETTINGS) == ["\N{CHART WITH UPWARDS TREND}"]


@pytest.mark.parametrize(
    "text", ["", " ", "\t\n", "\u00a0", "\u200b", "\u3000", "\u0301\u0302", "\0", "\u2028\ufeff"]
)
def test_a_text_without_anything_visible_is_refused(text):
    assert pointers(refusal(["a", text], TextEmpty)) == [("/1", "text-empty")]


@pytest.mark.parametrize("text", [".", "a\0", "\u00e9", "e\u0301", "株", "📈", "\ufdfa", "\uffff!"])
def test_a_text_with_anything_visible_is_taken_as_it_is(text):
    assert read_texts(body([text]), SETTINGS) == [text]


def test_the_longest_text_is_taken_and_one_character_more_is_not():
    limit = SETTINGS.max_text_chars
    assert read_texts(body(["📈" * limit]), SETTINGS)
    wrong = refusal([{"text": "a"}, {"text": "📈" * (limit + 1)}], TextTooLong)
    assert pointers(wrong) == [("/1/text", "text-too-long")]


def test_the_largest_array_is_taken_and_one_text_more_is_not():
    assert len(read_texts(body(["a"] * SETTINGS.max_texts), SETTINGS)) == SETTINGS.max_texts
    assert "11 texts; at most 10" in refusal(["a"] * 11, TooManyTexts).detail


@pytest.mark.parametrize("container", ["[]", "{}"])
def test_a_body_that_is_little_but_brackets_is_refused_before_it_is_read(container):
    def document(containers):
        ignored = ",".join([container] * (containers - 3))
        return f'[{{"text": "a", "id": [{ignored}]}}]'.encode()

    assert read_texts(document(MAX_CONTAINERS), SETTINGS) == ["a"]
    assert str(MAX_CONTAINERS) in refusal(document(MAX_CONTAINERS + 1), TooManyTexts).detail


@pytest.mark.parametrize("text", ["[" * 10, '"[' * 5, '\\"[' * 3, "{\\" * 5])
def test_brackets_inside_texts_are_no_arrays(text):
    texts = [text] * (MAX_CONTAINERS // 3)
    assert read_texts(body(texts), Settings(max_texts=MAX_CONTAINERS)) == texts


def test_a_lone_surrogate_is_not_looked_for_among_too_many_values():
    refusal(b'["\\ud800"' + b",1" * (MAX_CONTAINERS + 1) + b"]", InvalidJson)


@pytest.mark.parametrize("invisible", ["\u0301", "\u200b\u0301 "])
def test_something_visible_is_found_wherever_it_stands(invisible):
    settings = Settings()
    text = invisible * FIRST_CHARACTERS
    for found in (f"a{text}", f"{text}a", f"{text}a{text}"):
        assert read_texts(body([found]), settings) == [found]
    with pytest.raises(TextEmpty):
        read_texts(body([text]), settings)


def test_a_single_text_is_found_and_its_faults_are_named():
    assert read_text(b'{"text": "a"}', SETTINGS) == "a"
    for wrong, error, pointer in (
        (b"[]", InvalidInput, ""),
        (b"{}", InvalidInput, "/text"),
        (b'{"text": " "}', TextEmpty, "/text"),
        (b'{"text": "\\ud800"}', InvalidUnicode, "/text"),
    ):
        with pytest.raises(error) as caught:
            read_text(wrong, SETTINGS)
        assert [item.pointer for item in caught.value.errors] == [pointer]


@pytest.mark.parametrize(("value", "top_k"), [(None, None), ("1", 1), ("3", 3), ("9" * 30, None)])
def test_top_k_is_a_whole_number_or_absent(value, top_k):
    assert parse_top_k(value) == (999_999_999 if value == "9" * 30 else top_k)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", "", "٣", "+1", " 1"])
def test_a_wrong_top_k_is_named_as_a_parameter(value):
    with pytest.raises(InvalidInput) as caught:
        parse_top_k(value)
    assert [item.parameter for item in caught.value.errors] == ["top_k"]


@pytest.mark.parametrize(("value", "flag"), [(None, True), ("true", True), ("false", False)])
def test_a_flag_is_true_or_false_or_absent(value, flag):
    assert parse_flag("sentences", value) is flag


@pytest.mark.parametrize("value", ["", "1", "True", " true", "no"])
def test_a_wrong_flag_is_named_as_a_parameter(value):
    with pytest.raises(InvalidInput) as caught:
        parse_flag("sentences", value)
    assert [item.parameter for item in caught.value.errors] == ["sentences"]


def test_a_problem_lists_at_most_twenty_items_and_counts_them_all():
    error = InvalidInput(*_many_errors())
    problem = orjson.loads(render_problem(error, "id"))
    assert len(problem["errors"]) == 20
    assert problem["detail"] == "wrong: 30 of 30 items"


def _many_errors():
    settings = Settings(max_texts=100)
    with pytest.raises(InvalidInput) as caught:
        read_texts(body([{"text": 1}] * 30), settings)
    return caught.value.detail, caught.value.errors


def test_a_problem_has_the_members_that_clients_rely_on():
    problem = orjson.loads(render_problem(Overloaded("full", retry_after_s=2.6), "some-id"))
    assert problem == {
        "type": "urn:sentiment:problem:overloaded",
        "title": "Too much work lies ahead",
        "status": 429,
        "detail": "full",
        "code": "overloaded",
        "request_id": "some-id",
        "retry_after_ms": 2600,
    }


@given(JSON.map(json.dumps).map(str.encode) | st.binary(max_size=40))
def test_any_body_gives_texts_or_a_typed_refusal(document):
    try:
        texts = read_texts(document, SETTINGS)
    except RequestError as error:
        orjson.loads(render_problem(error, "id"))
    else:
        assert all(isinstance(text, str) for text in texts)


@given(st.text(min_size=4, alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_a_refusal_never_quotes_the_input(text):
    canary = f"canary{text}canary"
    for document in ({"text": canary}, [{canary: 1}], [canary, 1], [{"text": [canary]}]):
        with pytest.raises(RequestError) as caught:
            read_texts(body(document), SETTINGS)
        assert "canary" not in render_problem(caught.value, "id").decode()
