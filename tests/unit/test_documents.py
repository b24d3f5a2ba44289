"""Sums over sentences, against numbers computed by hand."""

import numpy as np
import pytest

from sentiment.documents import STRONGEST, summaries
from sentiment.predictions import Predictions, Timing

FINBERT = ("positive", "negative", "neutral")

ARTICLE = [
    [0.7, 0.1, 0.2],
    [0.1, 0.8, 0.1],
    [0.6, 0.1, 0.3],
    [0.1, 0.1, 0.8],
]


def predictions(rows, labels=FINBERT):
    probabilities = np.array(rows, dtype=np.float32).reshape(-1, len(labels))
    return Predictions(
        labels,
        np.log(probabilities),  # a softmax of which gives them back
        temperature=1,
        truncated=np.zeros(len(rows), dtype=bool),
        timing=Timing(0, 0, 0),
    )


def summary_of(rows, labels=FINBERT):
    (summary,) = summaries(predictions(rows, labels), [len(rows)])
    return summary


def about(value):
    return pytest.approx(value, abs=1e-6)


def test_an_article_is_the_mean_of_its_sentences():
    summary = summary_of(ARTICLE)
    assert summary.probabilities == about({"positive": 0.375, "negative": 0.275, "neutral": 0.35})
    assert (summary.label, summary.score) == ("positive", about(0.375))
    assert summary.net == about(0.1)


def test_labels_are_counted_and_shared():
    summary = summary_of(ARTICLE)
    assert summary.label_counts == {"positive": 2, "negative": 1, "neutral": 1}
    assert summary.shares == {"positive": 0.5, "negative": 0.25, "neutral": 0.25}


def test_the_strongest_sentences_come_first():
    summary = summary_of(ARTICLE)
    assert summary.most_positive == [0, 2]
    assert summary.most_negative == [1]


def test_a_sentence_of_another_label_is_not_among_the_strongest():
    summary = summary_of([[0.4, 0.1, 0.5], [0.3, 0.3, 0.4]])
    assert summary.most_positive == summary.most_negative == []


def test_of_equal_sentences_the_earlier_is_the_stronger_and_only_a_few_are_named():
    rows = [[0.7, 0.2, 0.1], [0.8, 0.1, 0.1]] * 500
    assert summary_of(rows).most_positive == [1, 3, 5]
    assert STRONGEST == 3


def test_a_single_sentence_is_its_own_mean():
    summary = summary_of([[0.2, 0.7, 0.1]])
    assert (summary.label, summary.score, summary.net) == ("negative", about(0.7), about(-0.5))
    assert summary.probabilities == about({"positive": 0.2, "negative": 0.7, "neutral": 0.1})


def test_every_document_has_its_own_sentences():
    both = summaries(predictions([*ARTICLE, [0.2, 0.7, 0.1], *ARTICLE]), [4, 1, 4])
    assert list(both) == [summary_of(ARTICLE), summary_of([[0.2, 0.7, 0.1]]), summary_of(ARTICLE)]


def test_no_documents_have_no_summaries():
    assert list(summaries(predictions([]), [])) == []


def test_the_labels_of_a_model_may_stand_in_another_order():
    shuffled = [[neutral, positive, negative] for positive, negative, neutral in ARTICLE]
    summary = summary_of(shuffled, ("neutral", "positive", "negative"))
    wanted = summary_of(ARTICLE)
    assert summary.net == about(wanted.net)
    assert summary.probabilities == about(wanted.probabilities)
    assert summary.most_negative == wanted.most_negative


@pytest.mark.parametrize(
    ("labels", "most_positive", "most_negative"),
    [
        (("bullish", "bearish", "neutral"), None, None),
        (("positive", "other", "neutral"), [0, 2], None),
        (("other", "negative", "neutral"), None, [1]),
    ],
)
def test_what_a_model_has_no_label_for_is_none(labels, most_positive, most_negative):
    summary = summary_of(ARTICLE, labels)
    assert summary.net is None
    assert summary.most_positive == most_positive
    assert summary.most_negative == most_negative
    assert set(summary.shares) == set(labels)


def test_means_of_many_sentences_lose_no_digits():
    summary = summary_of([[0.7, 0.1, 0.2]] * 4096)
    assert summary.probabilities["positive"] == pytest.approx(
        summary_of([[0.7, 0.1, 0.2]]).probabilities["positive"], abs=1e-12
    )
