import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats

from sentiment.predictions import Prediction, Predictions, Timing, sigmoid, softmax

LABELS = ("positive", "negative", "neutral")
LOGITS = arrays(np.float32, (4, 3), elements=floats(-80, 80, width=32))


def predictions(*rows, truncated=None):
    """Return the predictions whose probabilities are `rows`."""
    logits = np.log(np.array(rows, dtype=np.float32).reshape(-1, 3))
    cut = np.zeros(len(rows), bool) if truncated is None else np.array(truncated)
    return Predictions(LABELS, logits, temperature=1, truncated=cut, timing=Timing(0, 0, 0))


@given(LOGITS)
def test_probabilities_sum_to_one_and_keep_the_order_of_logits(logits):
    probabilities = softmax(logits)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert (probabilities.argmax(axis=1) == logits.argmax(axis=1)).all() or (
        # two logits so close that their probabilities are one number
        np.isclose(np.sort(probabilities, axis=1)[:, -1], probabilities.max(axis=1)).all()
    )


def test_softmax_survives_logits_that_overflow_an_exponential():
    assert softmax(np.array([[1000.0, 0.0, 0.0]], np.float32)).tolist() == [[1, 0, 0]]


@given(LOGITS)
def test_a_sigmoid_is_the_inverse_of_the_log_odds_and_keeps_the_order_of_logits(logits):
    probabilities = sigmoid(logits)
    assert probabilities.dtype == np.float32
    exact = logits.astype(np.float64)
    assert probabilities == pytest.approx(1 / (1 + np.exp(-exact)), rel=1e-5)
    order = logits.argsort(axis=1)
    assert (np.diff(np.take_along_axis(probabilities, order, axis=1)) >= 0).all()


def test_a_sigmoid_survives_logits_that_overflow_an_exponential():
    assert sigmoid(np.array([[1000.0, 0.0, -1000.0]], np.float32)).tolist() == [[1, 0.5, 0]]


def test_the_temperature_makes_probabilities_less_certain_and_leaves_the_logits():
    logits = np.array([[4.0, 2.0, 0.0]], np.float32)
    cut = np.zeros(1, bool)
    warm = Predictions(LABELS, logits, temperature=2, truncated=cut, timing=Timing(0, 0, 0))
    assert warm.probabilities == pytest.approx(softmax(logits / 2))
    assert warm.logits.tolist() == logits.tolist()


def test_labels_are_ranked_by_other_scores_on_request():
    scores = np.array([[-3.0, 1.0, 5.0]], np.float32)
    ranked = predictions([0.2, 0.7, 0.1]).ranked(0, 2, scores=scores)
    assert ranked == [("neutral", 5.0), ("negative", 1.0)]


def test_a_prediction_names_the_best_label_and_ranks_all():
    assert predictions([0.2, 0.7, 0.1], truncated=[True])[0] == Prediction(
        label="negative",
        score=pytest.approx(0.7),
        probabilities={
            "negative": pytest.approx(0.7),
            "positive": pytest.approx(0.2),
            "neutral": pytest.approx(0.1),
        },
        truncated=True,
    )


def test_equal_scores_keep_the_order_of_the_model():
    assert [label for label, _ in predictions([0.3, 0.4, 0.3]).ranked(0, 3)] == [
        "negative",
        "positive",
        "neutral",
    ]


def test_top_k_beyond_the_labels_gives_all_of_them():
    assert len(predictions([0.2, 0.7, 0.1]).ranked(0, 99)) == 3


def test_predictions_are_a_sequence():
    both = predictions([0.8, 0.1, 0.1], [0.1, 0.1, 0.8])
    assert len(both) == 2
    assert [each.label for each in both] == ["positive", "neutral"]
    assert [each.label for each in both[1:]] == ["neutral"]
    assert both[-1].label == "neutral"
    with pytest.raises(IndexError):
        both[2]


def test_labels_are_counted_and_none_is_missing():
    assert predictions([0.8, 0.1, 0.1], [0.7, 0.2, 0.1]).label_counts() == {
        "positive": 2,
        "negative": 0,
        "neutral": 0,
    }


def test_no_texts_make_no_predictions():
    none = predictions()
    assert len(none) == 0
    assert list(none.top()) == []
    assert none.truncated_count == 0
    assert sum(none.label_counts().values()) == 0
