"""Every body of JSONTestSuite, where that collection lies beside this repository.

Its names begin with what JSON's definition says: `n_` is no JSON, `y_` is JSON, and `i_` is
left to each parser, so that what this one does is written down here.
"""

import pytest

from tests.conftest import REPOSITORY
from tests.contract import assert_answers_right, assert_problem

CORPUS = REPOSITORY.parent / "shared" / "corpora" / "JSONTestSuite" / "test_parsing"

NO_JSON, NO_UTF_8 = (400, "invalid-json"), (400, "invalid-encoding")
WRONG_SHAPE, LONE_SURROGATE = (422, "validation"), (422, "invalid-unicode")
LEFT_TO_THE_PARSER = {
    "i_number_double_huge_neg_exp.json": WRONG_SHAPE,
    "i_number_huge_exp.json": NO_JSON,
    "i_number_neg_int_huge_exp.json": NO_JSON,
    "i_number_pos_double_huge_exp.json": NO_JSON,
    "i_number_real_neg_overflow.json": NO_JSON,
    "i_number_real_pos_overflow.json": NO_JSON,
    "i_number_real_underflow.json": WRONG_SHAPE,
    "i_number_too_big_neg_int.json": WRONG_SHAPE,
    "i_number_too_big_pos_int.json": WRONG_SHAPE,
    "i_number_very_big_negative_int.json": WRONG_SHAPE,
    "i_object_key_lone_2nd_surrogate.json": NO_JSON,
    "i_string_1st_surrogate_but_2nd_missing.json": LONE_SURROGATE,
    "i_string_1st_valid_surrogate_2nd_invalid.json": LONE_SURROGATE,
    "i_string_UTF-16LE_with_BOM.json": NO_UTF_8,
    "i_string_UTF-8_invalid_sequence.json": NO_UTF_8,
    "i_string_UTF8_surrogate_U+D800.json": NO_UTF_8,
    "i_string_incomplete_surrogate_and_escape_valid.json": LONE_SURROGATE,
    "i_string_incomplete_surrogate_pair.json": LONE_SURROGATE,
    "i_string_incomplete_surrogates_escape_valid.json": LONE_SURROGATE,
    "i_string_invalid_lonely_surrogate.json": LONE_SURROGATE,
    "i_string_invalid_surrogate.json": LONE_SURROGATE,
    "i_string_invalid_utf-8.json": NO_UTF_8,
    "i_string_inverted_surrogates_U+1D11E.json": LONE_SURROGATE,
    "i_string_iso_latin_1.json": NO_UTF_8,
    "i_string_lone_second_surrogate.json": LONE_SURROGATE,
    "i_string_lone_utf8_continuation_byte.json": NO_UTF_8,
    "i_string_not_in_unicode_range.json": NO_UTF_8,
    "i_string_overlong_sequence_2_bytes.json": NO_UTF_8,
    "i_string_overlong_sequence_6_bytes.json": NO_UTF_8,
    "i_string_overlong_sequence_6_bytes_null.json": NO_UTF_8,
    "i_string_truncated-utf-8.json": NO_UTF_8,
    "i_string_utf16BE_no_BOM.json": NO_UTF_8,
    "i_string_utf16LE_no_BOM.json": NO_UTF_8,
    "i_structure_500_nested_arrays.json": WRONG_SHAPE,
    "i_structure_UTF-8_BOM_empty_object.json": NO_UTF_8,
}


def corpus(kind):
    paths = sorted(CORPUS.glob(f"{kind}_*.json"))
    if not paths:
        absent = pytest.mark.skip(reason="no JSONTestSuite beside this repository")
        return [pytest.param(None, marks=absent, id=kind)]
    return [pytest.param(path, id=path.stem) for path in paths]


@pytest.fixture(autouse=True)
def still_answers_right(service):
    yield
    assert_answers_right(service)


def post(client, path):
    headers = {"Content-Type": "application/json"}
    return client.post("/", content=path.read_bytes(), headers=headers)


@pytest.mark.parametrize("path", corpus("n"))
def test_what_is_no_json_is_refused(service, path):
    response = post(service, path)
    assert response.status_code == 400
    assert assert_problem(response)["code"] in ("invalid-json", "invalid-encoding")


@pytest.mark.parametrize("path", corpus("y"))
def test_what_is_json_is_never_called_otherwise(service, path):
    response = post(service, path)
    if response.status_code != 200:
        assert assert_problem(response)["code"] in (
            "validation",
            "text-empty",
            "text-too-long",
            "too-many-texts",
        )


@pytest.mark.parametrize("path", corpus("i"))
def test_what_json_leaves_open_is_answered_as_written_down(service, path):
    response = post(service, path)
    assert (response.status_code, assert_problem(response)["code"]) == LEFT_TO_THE_PARSER[path.name]


def test_the_collection_is_whole_where_it_lies(service):
    if not CORPUS.is_dir():
        pytest.skip("no JSONTestSuite beside this repository")
    counts = [len(list(CORPUS.glob(f"{kind}_*.json"))) for kind in "nyi"]
    assert counts == [188, 95, 35]
    assert {path.name for path in CORPUS.glob("i_*.json")} == LEFT_TO_THE_PARSER.keys()
