"""`POST /v1/documents` over the real application with the bundled model."""

import json

import pytest
from starlette.testclient import TestClient

from sentiment import Settings
from sentiment.api.app import create_app
from sentiment.api.faces.documents import COUNTED, MAX_STEPS
from sentiment.api.identifiers import EXPECTED, MAX_WHOLE
from sentiment.manifest import renew_entry
from sentiment.models import COMPACT_FOLDER
from tests.application import metric
from tests.contract import NEGATIVE, POSITIVE, problem
from tests.texts import text_of

NEUTRAL = "The annual general meeting will be held in Helsinki on 14 April."
ARTICLE = f"{POSITIVE} {NEGATIVE}\n\n• {NEUTRAL}"
SENTENCES = [POSITIVE, NEGATIVE, f"• {NEUTRAL}"]


@pytest.fixture(scope="module")
def client():
    settings = Settings(
        model="compact", precision="fp32", max_texts=400, max_text_chars=4000, threads=2
    )
    with TestClient(create_app(settings)) as client:
        yield client


def post(client, *documents, query="", **options):
    return client.post(f"/v1/documents{query}", json=list(documents), **options)


def answers(client, *documents, query=""):
    response = post(client, *documents, query=query)
    assert response.status_code == 200, response.text
    return response.json()


def texts_of(document, answer):
    return [document[each["start"] : each["end"]] for each in answer["sentences"]]


def test_each_sentence_gets_what_it_gets_when_it_is_posted_alone(client):
    (answer,) = answers(client, {"text": ARTICLE})
    assert texts_of(ARTICLE, answer) == SENTENCES
    alone = client.post("/?top_k=3", json=SENTENCES).json()
    for sentence, ranked in zip(answer["sentences"], alone, strict=True):
        assert sentence["label"] == ranked[0]["label"]
        assert sentence["score"] == pytest.approx(ranked[0]["score"], abs=1e-5)
        assert sentence["probabilities"] == pytest.approx(
            {each["label"]: each["score"] for each in ranked}, abs=1e-5
        )
        assert sentence["truncated"] is False


def test_a_document_is_the_mean_of_its_sentences(client):
    (answer,) = answers(client, {"text": ARTICLE})
    rows = [each["probabilities"] for each in answer["sentences"]]
    means = {label: sum(row[label] for row in rows) / len(rows) for label in rows[0]}
    assert answer["probabilities"] == pytest.approx(means)
    assert answer["net"] == pytest.approx(means["positive"] - means["negative"])
    assert answer["score"] == max(answer["probabilities"].values())
    assert answer["probabilities"][answer["label"]] == answer["score"]
    assert answer["label_counts"] == {"positive": 1, "negative": 1, "neutral": 1}
    assert answer["shares"] == pytest.approx(dict.fromkeys(means, 1 / 3))
    assert (answer["sentence_count"], answer["truncated_count"]) == (3, 0)


def test_the_strongest_sentences_are_named_with_their_place(client):
    (answer,) = answers(client, {"text": ARTICLE})
    for name, index in (("most_positive", 0), ("most_negative", 1)):
        sentence = answer["sentences"][index]
        assert answer[name] == [
            {"index": index, **{key: sentence[key] for key in ("start", "end", "score")}}
        ]


def test_sentences_can_be_left_out(client):
    (answer,) = answers(client, {"text": ARTICLE}, query="?sentences=false")
    (whole,) = answers(client, {"text": ARTICLE}, query="?sentences=true")
    del whole["sentences"]
    assert answer == whole


@pytest.mark.parametrize("value", ["", "0", "no", "False", "true,false"])
def test_a_wrong_query_is_refused(client, value):
    response = post(client, {"text": POSITIVE}, query=f"?sentences={value}")
    document = problem(response, 422, "validation")
    assert document["errors"] == [
        {"code": "value", "detail": "expected true or false", "parameter": "sentences"}
    ]


def test_documents_keep_their_order_and_their_sentences(client):
    documents = [
        {"id": number, "text": " ".join([text] * count)}
        for number, (text, count) in enumerate([(POSITIVE, 2), (NEGATIVE, 1), (NEUTRAL, 3)] * 5)
    ]
    got = answers(client, *documents)
    assert [answer["id"] for answer in got] == list(range(15))
    assert [answer["sentence_count"] for answer in got] == [2, 1, 3] * 5
    assert [answer["label"] for answer in got] == ["positive", "negative", "neutral"] * 5


@pytest.mark.parametrize("given", ["reuters-4711", "", "Ü 📈", 0, -1, MAX_WHOLE, -MAX_WHOLE, None])
def test_an_id_comes_back_as_it_was_sent(client, given):
    assert answers(client, {"id": given, "text": POSITIVE})[0]["id"] == given


def test_a_whole_number_may_be_written_with_a_point(client):
    response = client.post(
        "/v1/documents",
        content=b'[{"id": 12.0, "text": "a"}]',
        headers={"Content-Type": "application/json"},
    )
    assert response.json()[0]["id"] == 12


def test_two_documents_may_have_one_id_or_none(client):
    got = answers(client, {"id": 1, "text": POSITIVE}, {"id": 1, "text": NEGATIVE}, {"text": "a"})
    assert [answer["id"] for answer in got] == [1, 1, None]


def test_offsets_count_unicode_code_points_of_the_text_as_sent(client):
    text = "  📈📈 Be\u0301ne\u0301fice en hausse.\r\n\r\n\u3000亏损扩大。 𝐏𝐫𝐨𝐟𝐢𝐭 fell."
    (answer,) = answers(client, {"text": text})
    assert texts_of(text, answer) == [
        "📈📈 Be\u0301ne\u0301fice en hausse.",
        "亏损扩大。",
        "𝐏𝐫𝐨𝐟𝐢𝐭 fell.",
    ]


def test_no_documents_get_an_empty_answer(client):
    response = post(client)
    assert response.json() == []
    assert response.headers["x-model"]


def test_an_answer_has_the_headers_of_any_other(client):
    response = post(client, {"text": f"{POSITIVE} Unlike any sent before."})
    assert response.headers["x-model"].startswith("compact@")
    assert "infer;dur=" in response.headers["server-timing"]
    assert response.headers["cache-control"] == "no-store"


def test_sentences_longer_than_the_model_reads_are_marked_and_counted(client):
    long = text_of(600).replace(". ", ", ").replace("!", ",").replace("?", ",")
    long = long.replace("\u2026", ",").replace(".", "")
    (answer,) = answers(client, {"text": f"{POSITIVE} {long}"})
    truncated = [sentence["truncated"] for sentence in answer["sentences"]]
    assert answer["truncated_count"] == sum(truncated) >= 1
    assert not truncated[0]
    response = post(client, {"text": f"{POSITIVE} {long}"})
    assert response.headers["x-truncated"] == str(answer["truncated_count"])


def test_a_text_may_be_longer_than_a_single_text_may(client):
    text = " ".join([POSITIVE] * 100)
    assert len(text) > 4000
    (answer,) = answers(client, {"text": text})
    assert answer["sentence_count"] == 100


def test_a_sentence_longer_than_a_text_may_be_is_cut_at_white_space(client):
    text = "word " * 1000
    (answer,) = answers(client, {"text": text})
    assert [(each["start"], each["end"]) for each in answer["sentences"]] == [
        (0, 3999),
        (4000, 4999),
    ]


def test_an_article_of_6000_words_is_one_request(service):
    sentences = [
        f"Sales of unit {number} rose by {number} percent in May." for number in range(600)
    ]
    text = " ".join(sentences)
    assert len(text.split()) == 6000
    before = metric(service, "sentiment_requests_total", route="POST /v1/documents")
    (answer,) = answers(service, {"id": "long", "text": text})
    assert texts_of(text, answer) == sentences
    assert answer["label"] == "positive"
    after = metric(service, "sentiment_requests_total", route="POST /v1/documents")
    assert after == before + 1


@pytest.mark.parametrize(
    ("documents", "code", "errors"),
    [
        (["a text"], "validation", [("type", "/0")]),
        ([{"text": "a"}, {}], "validation", [("missing", "/1/text")]),
        ([{"text": "a"}, {"id": 1, "text": None}], "validation", [("type", "/1/text")]),
        ([{"id": 1.5, "text": "a"}], "validation", [("value", "/0/id")]),
        ([{"id": True, "text": "a"}], "validation", [("value", "/0/id")]),
        ([{"id": [], "text": "a"}], "validation", [("value", "/0/id")]),
        ([{"id": MAX_WHOLE + 1, "text": "a"}], "validation", [("value", "/0/id")]),
        ([{"text": "a"}, {"text": ""}], "text-empty", [("text-empty", "/1/text")]),
        ([{"text": " \n\n\t"}], "text-empty", [("text-empty", "/0/text")]),
        (
            [{"text": "\u200b"}, {"text": "a"}, {"text": "\u0301"}],
            "text-empty",
            [("text-empty", "/0/text"), ("text-empty", "/2/text")],
        ),
    ],
)
def test_a_wrong_document_is_named_and_the_whole_request_is_refused(
    client, documents, code, errors
):
    before = metric(client, "sentiment_batch_texts_count")
    document = problem(post(client, *documents), 422, code)
    assert [(item["code"], item["pointer"]) for item in document["errors"]] == errors
    assert metric(client, "sentiment_batch_texts_count") == before


def test_a_wrong_id_is_told_what_would_be_right(client):
    document = problem(post(client, {"id": {"a": 1}, "text": "a"}), 422, "validation")
    assert document["errors"][0]["detail"] == EXPECTED


@pytest.mark.parametrize("member", ["id", "text"])
def test_half_a_surrogate_pair_is_named(client, member):
    body = json.dumps([{"id": "a", "text": "a"} | {member: "\ud800"}])
    response = client.post(
        "/v1/documents", content=body, headers={"Content-Type": "application/json"}
    )
    document = problem(response, 422, "invalid-unicode")
    assert document["errors"][0]["pointer"] == f"/0/{member}"


def test_a_single_document_must_stand_in_an_array(client):
    response = client.post("/v1/documents", json={"text": "a"})
    document = problem(response, 422, "validation")
    assert document["errors"] == [{"code": "type", "detail": "expected an array", "pointer": ""}]


def test_too_many_sentences_are_counted(client):
    assert answers(client, {"text": "A b.\n\n" * 400})[0]["sentence_count"] == 400
    response = post(client, {"text": "A b.\n\n" * 400}, {"text": "One. Two."})
    document = problem(response, 413, "too-many-texts")
    assert document["detail"] == (
        "402 sentences in 2 documents; at most 400 in one request: "
        "send fewer or shorter documents at a time"
    )


def test_far_too_many_sentences_are_not_counted_to_the_end(client):
    response = post(client, {"text": "A b.\n\n" * (COUNTED * 400 + 1)})
    document = problem(response, 413, "too-many-texts")
    assert document["detail"].startswith(f"{COUNTED * 400} or more sentences; at most 400")


def test_a_text_of_countless_lines_is_refused_though_it_has_few_sentences(client):
    response = post(client, {"text": "!\n" * (MAX_STEPS + 1)})
    document = problem(response, 413, "too-many-texts")
    assert document["detail"].startswith(f"more than {MAX_STEPS} lines and pieces")


def test_a_deadline_counts_the_splitting_too(client):
    before = metric(client, "sentiment_batch_texts_count")
    response = post(client, {"text": "a\n" * 60_000}, headers={"X-Timeout-Ms": "5"})
    document = problem(response, 504, "deadline-exceeded")
    assert document["detail"] == "not answered within 0.005 s"
    assert metric(client, "sentiment_batch_texts_count") == before


def test_more_documents_than_texts_are_refused_unread(client):
    response = post(client, *[{"text": "a"}] * 401)
    problem(response, 413, "too-many-texts")


def test_texts_and_ids_are_in_no_error_and_no_log_line(client, caplog):
    caplog.set_level("INFO", logger="sentiment")
    response = post(client, {"id": ["canary"], "text": "canary"}, {"text": ["canary"]})
    assert "canary" not in response.text
    answers(client, {"id": "canary", "text": "The canary sings. It sings well."})
    lines = [record for record in caplog.records if record.message == "request"]
    assert [line.route for line in lines] == ["POST /v1/documents"] * 2
    assert lines[-1].texts == 2
    assert not any("canary" in str(vars(record)) for record in lines)


def test_a_deadline_that_cannot_be_kept_is_refused(client):
    text = " ".join(f"{NEUTRAL[:-1]} {number}." for number in range(390))
    response = post(client, {"text": text}, headers={"X-Timeout-Ms": "1"})
    problem(response, 504, "deadline-exceeded")


@pytest.fixture
def model_with_labels(tmp_path):
    """Make a model like the bundled one whose labels have other names, in this order."""

    def make(*labels):
        folder = tmp_path / "-".join(labels)
        folder.mkdir()
        for file in COMPACT_FOLDER.iterdir():
            if file.is_file() and file.name != "config.json":
                (folder / file.name).symlink_to(file)
        config = json.loads((COMPACT_FOLDER / "config.json").read_text())
        config["id2label"] = {str(index): label for index, label in enumerate(labels)}
        config["label2id"] = {label: index for index, label in enumerate(labels)}
        (folder / "config.json").write_text(json.dumps(config))
        renew_entry(folder / "config.json")
        return str(folder)

    return make


def test_net_follows_the_labels_names_and_not_their_order(model_with_labels, client):
    (wanted,) = answers(client, {"text": ARTICLE})
    settings = Settings(
        model=model_with_labels("neutral", "positive", "negative"), threads=2, precision="fp32"
    )
    with TestClient(create_app(settings)) as other:
        (got,) = answers(other, {"text": ARTICLE})
    renamed = {"neutral": "positive", "positive": "negative", "negative": "neutral"}
    probabilities = {
        label: wanted["probabilities"][renamed[label]] for label in got["probabilities"]
    }
    assert list(got["probabilities"]) == ["neutral", "positive", "negative"]
    assert got["probabilities"] == pytest.approx(probabilities, abs=1e-5)
    assert got["net"] == pytest.approx(
        probabilities["positive"] - probabilities["negative"], abs=1e-5
    )
    assert [each["index"] for each in got["most_positive"]] == [1]
    assert [each["index"] for each in got["most_negative"]] == [2]


def test_a_model_of_other_labels_has_no_net(model_with_labels):
    settings = Settings(model=model_with_labels("bullish", "bearish", "flat"), threads=2)
    with TestClient(create_app(settings)) as other:
        (got,) = answers(other, {"text": ARTICLE})
    assert got["net"] is got["most_positive"] is got["most_negative"] is None
    assert got["label_counts"] == {"bullish": 1, "bearish": 1, "flat": 1}
