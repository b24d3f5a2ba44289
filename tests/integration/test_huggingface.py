"""`{"inputs": ...}` over the real application: `POST /predict`, and `POST /` beside its arrays."""

import json
import shutil

import numpy as np
import pytest
from starlette.testclient import TestClient

from sentiment import Settings
from sentiment.api.app import create_app
from sentiment.manifest import renew_entry
from sentiment.models import COMPACT_FOLDER, resolve_model
from sentiment.tokenization import load_tokenizer
from tests.application import metric
from tests.contract import NEGATIVE, POSITIVE, problem
from tests.texts import TEXTS, text_of

LABELS = ("positive", "negative", "neutral")
LONG = text_of(600)


@pytest.fixture(params=["/predict", "/"])
def ask(request, service):
    """Post a body to each of the routes that take it; return the answer."""

    def ask(inputs, **members):
        response = service.post(request.param, json={"inputs": inputs, **members})
        assert response.status_code == 200, response.text
        return response.json()

    return ask


@pytest.fixture(params=["/predict", "/"])
def refuse(request, service):
    """Post a body that is to be refused; return the problem."""

    def refuse(body, status=422, code="validation"):
        ran = metric(service, "sentiment_batch_texts_sum")
        document = problem(service.post(request.param, json=body), status, code)
        assert metric(service, "sentiment_batch_texts_sum") == ran  # nothing of it ran
        return document

    return refuse


def as_scores(labels):
    """Return one text's answer as a dictionary; check that it is ranked."""
    scores = [item["score"] for item in labels]
    assert scores == sorted(scores, reverse=True)
    return {item["label"]: item["score"] for item in labels}


def pointers(document):
    return [(item["pointer"], item["code"]) for item in document["errors"]]


def probabilities(service, *texts):
    """Return what `POST /?top_k=3` says of `texts`."""
    return [as_scores(labels) for labels in service.post("/?top_k=3", json=list(texts)).json()]


def test_one_text_gets_its_labels_in_a_flat_array(ask, service):
    (expected,) = probabilities(service, POSITIVE)
    assert as_scores(ask(POSITIVE)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("parameters", [{}, {"top_k": 3}, {"function_to_apply": None}])
def test_one_text_with_parameters_gets_an_array_around_its_labels(ask, parameters):
    assert ask(POSITIVE, parameters=parameters) == [ask(POSITIVE)]


def test_parameters_that_are_null_are_no_parameters(ask):
    assert ask(POSITIVE, parameters=None) == ask(POSITIVE)


@pytest.mark.parametrize("members", [{}, {"parameters": {}}])
@pytest.mark.parametrize("form", [list, lambda texts: [[text] for text in texts]])
@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS[:2], TEXTS])
def test_an_array_of_texts_gets_an_array_for_each_in_order(ask, service, texts, form, members):
    answer = ask(form(texts), **members)
    assert len(answer) == len(texts)
    for labels, expected in zip(answer, probabilities(service, *texts), strict=True):
        assert as_scores(labels) == pytest.approx(expected, abs=1e-6)


def test_two_strings_are_two_texts_and_no_pair(ask):
    first, second = ask([POSITIVE, NEGATIVE])
    assert [first[0]["label"], second[0]["label"]] == ["positive", "negative"]


def test_no_texts_get_an_empty_array(ask):
    assert ask([]) == []


def test_the_answer_says_what_every_answer_says(service):
    response = service.post("/predict", json={"inputs": [POSITIVE, LONG]})
    assert response.headers["x-model"].startswith("compact@")
    assert response.headers["x-truncated"] == "1"
    assert "infer;dur=" in response.headers["server-timing"]
    assert response.headers["cache-control"] == "no-store"


def test_top_k_keeps_the_best_labels(ask):
    every = ask(POSITIVE)
    for top_k in (1, 2, 3, 99):
        assert ask(POSITIVE, parameters={"top_k": top_k}) == [every[:top_k]]


def log_odds(scores):
    """Return the logarithm of each label's probability, less that of the first label."""
    first = np.log(scores[LABELS[0]])
    return {label: np.log(scores[label]) - first for label in LABELS}


def differences(logits):
    """Return each label's logit, less that of the first label."""
    return {label: logits[label] - logits[LABELS[0]] for label in LABELS}


def test_raw_scores_are_logits_whose_differences_are_log_odds_times_the_temperature(ask):
    logits = as_scores(ask(POSITIVE, raw_scores=True))
    odds = log_odds(as_scores(ask(POSITIVE)))
    temperature = resolve_model("compact").temperature
    expected = {label: temperature * each for label, each in odds.items()}
    assert differences(logits) == pytest.approx(expected, abs=1e-4)


def test_raw_scores_and_sigmoids_know_nothing_of_the_temperature(service, tmp_path):
    folder = shutil.copytree(COMPACT_FOLDER, tmp_path / "calibrated")
    model = resolve_model(str(folder))
    fitted = {"temperature": 2 * model.temperature, "weights_sha256": model.weights_sha256}
    (folder / "temperature.json").write_text(json.dumps(fitted))
    renew_entry(folder / "temperature.json")
    settings = Settings(model=str(folder), threads=2, precision="fp32")
    with TestClient(create_app(settings)) as calibrated:
        asked = [
            {"inputs": POSITIVE},
            {"inputs": POSITIVE, "raw_scores": True},
            {"inputs": [POSITIVE], "parameters": {"function_to_apply": "sigmoid"}},
        ]
        cooler, raw, sigmoids = (calibrated.post("/predict", json=body) for body in asked)
        plain, *others = (service.post("/predict", json=body).json() for body in asked)
        assert [raw.json(), sigmoids.json()] == others
        halved = {label: odds / 2 for label, odds in log_odds(as_scores(plain)).items()}
        assert log_odds(as_scores(cooler.json())) == pytest.approx(halved, abs=1e-4)


@pytest.mark.parametrize("members", [{}, {"raw_scores": False}, {"raw_scores": True}])
def test_the_function_none_gives_raw_scores(ask, members):
    raw = ask([POSITIVE], raw_scores=True)
    assert ask([POSITIVE], parameters={"function_to_apply": "none"}, **members) == raw


def test_the_function_sigmoid_takes_each_logit_for_itself(ask):
    logits = as_scores(ask(POSITIVE, raw_scores=True))
    (labels,) = ask(POSITIVE, parameters={"function_to_apply": "sigmoid"})
    expected = {label: 1 / (1 + np.exp(-logit)) for label, logit in logits.items()}
    assert as_scores(labels) == pytest.approx(expected, abs=1e-6)


def test_the_function_softmax_is_what_is_applied_unless_asked_otherwise(ask):
    assert ask([POSITIVE], parameters={"function_to_apply": "softmax"}) == ask([POSITIVE])


def ends(text, *, max_tokens=512):
    """Return the beginning and the end of `text` that fit, by the tokenizer's own offsets."""
    tokenizer = load_tokenizer(COMPACT_FOLDER)
    tokenizer.no_truncation()
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    fitting = max_tokens - tokenizer.num_special_tokens_to_add(is_pair=False)
    assert len(offsets) > fitting
    return text[: offsets[fitting - 1][1]], text[offsets[-fitting][0] :]


@pytest.mark.parametrize("members", [{}, {"truncate": True}, {"truncate": None}])
@pytest.mark.parametrize(
    ("direction", "end"), [(None, 0), ("Right", 0), ("right", 0), ("Left", 1), ("left", 1)]
)
def test_a_long_text_is_read_from_the_end_that_is_asked_for(ask, service, direction, end, members):
    text = f"{NEGATIVE} {LONG} {POSITIVE}"
    if direction is not None:
        members = {**members, "truncation_direction": direction}
    (expected,) = probabilities(service, ends(text)[end])
    (labels,) = ask([text], **members)
    assert as_scores(labels) == pytest.approx(expected, abs=1e-5)
    other, this = probabilities(service, ends(text)[1 - end], ends(text)[end])
    assert this != pytest.approx(other, abs=1e-3)  # or the test could not tell them apart


def test_a_text_that_is_truncated_left_is_said_to_be_truncated(service):
    body = {"inputs": ["short", LONG], "truncation_direction": "Left"}
    assert service.post("/predict", json=body).headers["x-truncated"] == "1"


@pytest.mark.parametrize(
    ("inputs", "pointer"),
    [
        ("word " * 511, "/inputs"),
        (["short", "word " * 511], "/inputs/1"),
        ([["short"], ["word " * 511]], "/inputs/1/0"),
    ],
)
@pytest.mark.parametrize("direction", ["Left", "Right"])
def test_a_long_text_that_may_not_be_truncated_is_refused(refuse, inputs, pointer, direction):
    body = {"inputs": inputs, "truncate": False, "truncation_direction": direction}
    document = refuse(body, 413, "text-too-long")
    assert document["errors"] == [
        {"code": "text-too-long", "detail": "513 tokens, of which 512 fit", "pointer": pointer}
    ]


def test_a_text_that_just_fits_may_be_one_that_may_not_be_truncated(ask):
    assert len(ask(["word " * 510], truncate=False)) == 1


def test_a_pair_of_texts_is_refused_for_what_it_is(refuse):
    document = refuse({"inputs": [["a"], ["a", "b"], [], ["b"]]})
    assert pointers(document) == [("/inputs/1", "length"), ("/inputs/2", "length")]
    assert document["errors"][0]["detail"] == (
        "expected one text, found 2; the model takes no pairs of texts"
    )


def test_each_item_is_named_for_what_it_lacks(refuse):
    document = refuse({"inputs": [["a"], "b", [1], ["a", "b"], None, ["c"]]})
    assert pointers(document) == [
        ("/inputs/1", "type"),
        ("/inputs/2/0", "type"),
        ("/inputs/3", "length"),
        ("/inputs/4", "type"),
    ]
    assert document["detail"] == "wrong: 4 of 6 items"


def test_twenty_wrong_items_are_named_and_all_are_counted(refuse):
    for wrong in (["a"] + [1] * 30, [["a"]] + [[]] * 30):
        document = refuse({"inputs": wrong})
        assert len(document["errors"]) == 20
        assert document["detail"] == "wrong: 30 of 31 items"


@pytest.mark.parametrize("inner", [[1] * 2_000_000, ["a"] * 1_000_000])
def test_an_inner_array_as_large_as_a_body_is_one_wrong_item(refuse, inner):
    document = refuse({"inputs": [inner]})
    assert pointers(document) == [("/inputs/0", "length")]


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
def test_raw_scores_of_a_function_are_a_contradiction(refuse, function):
    body = {"inputs": "a", "raw_scores": True, "parameters": {"function_to_apply": function}}
    assert pointers(refuse(body)) == [("/raw_scores", "value")]


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"inputs": None}, "/inputs", "type"),
        ({"inputs": 1}, "/inputs", "type"),
        ({"inputs": {"text": "a"}}, "/inputs", "type"),
        ({"inputs": ["a", 1]}, "/inputs/1", "type"),
        ({"inputs": ["a", ["b"]]}, "/inputs/1", "type"),
        ({"inputs": [{"text": "a"}]}, "/inputs/0", "type"),
        ({"inputs": [["a"], "b"]}, "/inputs/1", "type"),
        ({"inputs": [["a"], [1]]}, "/inputs/1/0", "type"),
        ({"inputs": "a", "parameters": []}, "/parameters", "type"),
        ({"inputs": "a", "parameters": {"top_k": 0}}, "/parameters/top_k", "value"),
        ({"inputs": "a", "parameters": {"top_k": "1"}}, "/parameters/top_k", "value"),
        ({"inputs": "a", "parameters": {"top_k": True}}, "/parameters/top_k", "value"),
        (
            {"inputs": "a", "parameters": {"function_to_apply": "relu"}},
            "/parameters/function_to_apply",
            "value",
        ),
        ({"inputs": "a", "raw_scores": 1}, "/raw_scores", "value"),
        ({"inputs": "a", "truncate": "no"}, "/truncate", "value"),
        ({"inputs": "a", "truncation_direction": "Up"}, "/truncation_direction", "value"),
        ({"inputs": "a", "truncation_direction": []}, "/truncation_direction", "value"),
        ({"inputs": "a", "truncation_direction": {}}, "/truncation_direction", "value"),
        ({"inputs": "a", "truncation_direction": None}, "/truncation_direction", "value"),
    ],
    ids=json.dumps,
)
def test_what_is_wrong_is_named_by_its_pointer(refuse, body, pointer, code):
    assert pointers(refuse(body)) == [(pointer, code)]


@pytest.mark.parametrize(
    ("inputs", "pointer"),
    [(" ", "/inputs"), (["a", " "], "/inputs/1"), ([["a"], [" "]], "/inputs/1/0")],
)
def test_a_text_with_nothing_visible_is_refused(refuse, inputs, pointer):
    document = refuse({"inputs": inputs}, code="text-empty")
    assert pointers(document) == [(pointer, "text-empty")]


def test_the_limits_hold_here_too(refuse):
    refuse({"inputs": "a" * 20_001}, 413, "text-too-long")
    refuse({"inputs": ["a"] * 4097}, 413, "too-many-texts")
    refuse({"inputs": [["a"]] * 4097}, 413, "too-many-texts")


@pytest.mark.parametrize("path", ["/predict", "/"])
def test_half_a_surrogate_pair_is_found_where_it_stands(service, path):
    headers = {"Content-Type": "application/json"}
    response = service.post(path, content=rb'{"inputs": [["a"], ["\ud800"]]}', headers=headers)
    document = problem(response, 422, "invalid-unicode")
    assert pointers(document) == [("/inputs/1/0", "invalid-unicode")]


@pytest.mark.parametrize("body", [[], ["a"], "a", None, 1])
def test_what_has_no_inputs_is_told_what_has(service, body):
    headers = {"Content-Type": "application/json"}
    response = service.post("/predict", content=json.dumps(body), headers=headers)
    document = problem(response, 422, "validation")
    assert document["errors"] == [
        {"code": "type", "detail": 'expected an object {"inputs": "..."}', "pointer": ""}
    ]


def test_an_object_without_inputs_is_told_so(service):
    document = problem(service.post("/predict", json={"text": "a"}), 422, "validation")
    assert document["errors"] == [
        {"code": "missing", "detail": "expected a member named inputs", "pointer": "/inputs"}
    ]


def test_other_members_change_nothing(ask):
    options = {"options": {"wait_for_model": True}, "parameters": {"return_all_scores": True}}
    assert ask(POSITIVE, **options) == [ask(POSITIVE)]


def test_requests_are_counted_by_the_route_that_they_came_to(service):
    for path in ("/predict", "/"):
        labels = {"route": f"POST {path}", "status": "200"}
        before = metric(service, "sentiment_requests_total", **labels)
        service.post(path, json={"inputs": "a"})
        assert metric(service, "sentiment_requests_total", **labels) == before + 1
