"""Every figure against a case worked out by hand, or against somebody else's implementation."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support

from sentiment.predictions import LABELS
from sentiment.training.datasets import Example
from sentiment.training.intervals import (
    counted_figures,
    counted_intervals,
    interval,
    wilson_interval,
)
from sentiment.training.measures import mcnemar, measure
from sentiment.training.thresholds import LEAST, MOST

POSITIVE, NEGATIVE, NEUTRAL = range(3)


def word(index):
    """Return a word that no other index has; a number would be masked."""
    return "".join("abcdefghij"[int(digit)] for digit in str(index))


def example(label, *, text="Profit rose.", agreement=None):
    target = tuple(float(index == label) for index in range(len(LABELS)))
    return Example(text, target, frozenset({"own"}), soft=False, agreement=agreement)


def taught(*target):
    return Example("Profit rose.", target, frozenset({"teacher"}), soft=True)


def random_set(texts, *, seed=5, right=0.7):
    """Return labels and probabilities of a model that is right more often than not."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=texts)
    logits = rng.normal(size=(texts, 3))
    logits[np.arange(texts), labels] += np.where(rng.random(texts) < right, 2.0, 0.0)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities


def measured(labels, probabilities):
    """Measure texts none of which resembles another."""
    examples = [example(label, text=word(index)) for index, label in enumerate(labels)]
    return measure(examples, probabilities)


FOUR = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]]
"""Of a positive, a negative, a negative and a neutral text: three are right."""
FOUR_LABELS = [POSITIVE, NEGATIVE, NEGATIVE, NEUTRAL]


@pytest.fixture(scope="module")
def four():
    return measured(FOUR_LABELS, FOUR)


# How right


def test_right_answers_are_counted(four):
    assert four["texts"] == 4
    assert four["accuracy"] == 0.75
    assert four["confusion"]["counts"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_each_label_has_its_own_figures(four):
    # Positive: one found, one wrongly so named. Negative: one of two found.
    positive, negative, neutral = (four["labels"][label] for label in LABELS)
    assert [positive[name] for name in ("precision", "recall", "f1", "texts")] == [
        0.5,
        1,
        0.6667,
        1,
    ]
    assert [negative[name] for name in ("precision", "recall", "f1", "texts")] == [
        1,
        0.5,
        0.6667,
        2,
    ]
    assert [neutral[name] for name in ("precision", "recall", "f1", "texts")] == [1, 1, 1, 1]


def test_macro_f1_counts_labels_alike_and_weighted_f1_counts_texts_alike(four):
    assert four["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3, abs=5e-5)
    assert four["weighted_f1"] == pytest.approx((2 / 3 + 2 * 2 / 3 + 1) / 4, abs=5e-5)


def test_figures_are_scikit_learns():
    labels, probabilities = random_set(300)
    found, predicted = measured(labels, probabilities), probabilities.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=5e-5)
    for average in ("macro", "weighted"):
        expected = f1_score(labels, predicted, average=average)
        assert found[f"{average}_f1"] == pytest.approx(expected, abs=5e-5)
    by_label = precision_recall_fscore_support(labels, predicted)
    for index, label in enumerate(LABELS):
        row = [found["labels"][label][name] for name in ("precision", "recall", "f1", "texts")]
        assert row == pytest.approx([figure[index] for figure in by_label], abs=5e-5)
    assert found["log_loss"] == pytest.approx(log_loss(labels, probabilities), abs=5e-5)


def test_a_label_that_does_not_occur_is_no_failure():
    found = measured([POSITIVE, NEGATIVE], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    assert found["macro_f1"] == 1
    assert found["intervals"]["macro_f1"] == [1, 1]


def test_counted_figures_of_many_matrices_are_those_of_each():
    matrices = np.random.default_rng(2).integers(0, 9, size=(20, 3, 3))
    together = counted_figures(matrices)
    for index, matrix in enumerate(matrices):
        pairs = [(i, j) for (i, j), count in np.ndenumerate(matrix) for _ in range(count)]
        expected, predicted = zip(*pairs, strict=True)
        assert together["macro_f1"][index] == pytest.approx(
            f1_score(expected, predicted, average="macro", zero_division=0)
        )


def test_figures_are_kept_unrounded_beside_the_rounded(four):
    assert four["unrounded"]["macro_f1"] == pytest.approx(7 / 9, abs=1e-15)
    assert four["unrounded"].keys() == {*LEAST, *MOST}
    for name, figure in four["unrounded"].items():
        assert four[name] == round(figure, 4)


# How well it knows


def test_brier_score_is_the_squared_distance_from_probabilities_to_label(four):
    distances = [0.3**2 + 0.2**2 + 0.1**2, 0.6**2 + 0.7**2 + 0.1**2]
    distances += [0.2**2 + 0.3**2 + 0.1**2, 0.1**2 + 0.1**2 + 0.2**2]
    assert four["brier"] == pytest.approx(sum(distances) / 4, abs=5e-5)


def test_brier_score_goes_from_0_to_2():
    assert measured([POSITIVE], [[1, 0, 0]])["brier"] == 0
    assert measured([POSITIVE], [[0, 1, 0]])["brier"] == 2


def test_log_loss_is_the_cross_entropy_in_nats(four):
    expected = -sum(map(math.log, (0.7, 0.3, 0.7, 0.8))) / 4
    assert four["log_loss"] == pytest.approx(expected, abs=5e-5)


def test_a_probability_of_0_for_the_label_is_not_infinitely_bad():
    assert measured([POSITIVE], [[0, 1, 0]])["log_loss"] == pytest.approx(
        -math.log(2**-23), abs=1e-4
    )


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_texts(four):
    # Bins of 1/15: two at 0.7, both right, in (10/15, 11/15]; 0.6 wrong in (8/15, 9/15]; 0.8 right.
    assert four["ece"] == pytest.approx((2 * 0.3 + 0.6 + 0.2) / 4, abs=5e-5)
    assert four["reliability"] == [
        {"from": 0.5333, "to": 0.6, "texts": 1, "confidence": 0.6, "accuracy": 0},
        {"from": 0.6667, "to": 0.7333, "texts": 2, "confidence": 0.7, "accuracy": 1},
        {"from": 0.7333, "to": 0.8, "texts": 1, "confidence": 0.8, "accuracy": 1},
    ]


def test_a_bin_holds_its_upper_edge():
    top = measured([POSITIVE], [[1, 0, 0]])["reliability"]
    assert [(each["from"], each["to"]) for each in top] == [(0.9333, 1)]


@given(st.floats(0.35, 1), st.integers(1, 30))
@settings(max_examples=8)
def test_a_model_that_is_always_right_lacks_only_confidence(confidence, texts):
    rest = (1 - confidence) / 2
    found = measured([POSITIVE] * texts, [[confidence, rest, rest]] * texts)
    assert found["accuracy"] == found["macro_f1"] == found["weighted_f1"] == 1
    assert found["ece"] == pytest.approx(1 - confidence, abs=1e-4)


def test_a_calibrated_model_shows_the_error_that_chance_explains():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet([0.5, 0.5, 1], size=2000)
    labels = [rng.choice(3, p=row) for row in probabilities]
    found = measured(labels, probabilities)
    assert found["ece"] == pytest.approx(found["ece_when_calibrated"], abs=0.015)
    overconfident = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    assert measured(labels, overconfident)["ece"] > 0.1


def test_chance_explains_less_the_more_texts_there_are():
    few, many = (measured(*random_set(texts))["ece_when_calibrated"] for texts in (50, 5000))
    assert many < few / 5


def test_a_teachers_probabilities_are_the_target():
    found = measure([taught(0.5, 0.3, 0.2)], [[0.4, 0.3, 0.3]])
    assert found["accuracy"] == 1
    assert found["brier"] == pytest.approx(0.02)
    assert found["mean_absolute_error"] == pytest.approx(0.2 / 3, abs=5e-5)
    expected = -(0.5 * math.log(0.4) + 0.3 * math.log(0.3) + 0.2 * math.log(0.3))
    assert found["log_loss"] == pytest.approx(expected, abs=5e-5)


# How sure we are


def test_the_interval_of_accuracy_is_that_of_a_share():
    labels, probabilities = random_set(2000)
    found = measured(labels, probabilities)
    share = found["accuracy"]
    margin = 1.96 * math.sqrt(share * (1 - share) / 2000)
    assert found["intervals"]["accuracy"] == pytest.approx(
        [share - margin, share + margin], abs=2e-3
    )


def test_drawing_cells_is_drawing_texts():
    labels, probabilities = random_set(400)
    predicted = probabilities.argmax(axis=1)
    rng = np.random.default_rng(9)
    drawn = [rng.integers(400, size=400) for _ in range(300)]
    scores = [f1_score(labels[rows], predicted[rows], average="macro") for rows in drawn]
    found = measured(labels, probabilities)["intervals"]["macro_f1"]
    assert found == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.02)


@given(st.integers(1, 80), st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=12)
def test_every_interval_holds_its_point(texts, seed, right):
    found = measured(*random_set(texts, seed=seed, right=right))
    for name, (low, high) in found["intervals"].items():
        assert 0 <= low <= found[name] <= high <= 1, name
    for label in found["labels"].values():
        assert label["f1_interval"][0] <= label["f1"] <= label["f1_interval"][1]


def test_more_texts_narrow_every_interval():
    few, many = (measured(*random_set(texts))["intervals"] for texts in (100, 5_000))
    for name in few:
        assert np.ptp(many[name]) < np.ptp(few[name]) / 3, name


@given(st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_the_order_of_the_texts_makes_no_difference(random):
    labels, probabilities = random_set(60)
    examples = [
        example(
            label,
            text=f"{word(index // 2)} profit " * (index % 20 + 1),
            agreement=(None, 50, 66, 75, 100)[index % 5],
        )
        for index, label in enumerate(labels)
    ]
    order = list(range(60))
    random.shuffle(order)
    assert measure([examples[i] for i in order], probabilities[order]) == measure(
        examples, probabilities
    )


def test_ten_thousand_texts_take_well_under_a_second_of_processor_time():
    labels, probabilities = random_set(10_000)
    examples = [example(label, text=word(index)) for index, label in enumerate(labels)]
    began_s = time.process_time()
    measure(examples, probabilities)
    assert time.process_time() - began_s < 2  # measured: 0.3; a loop over resamples: 20


# Groups


def test_levels_of_agreement_hold_the_ones_before_them():
    labels, probabilities = random_set(50)
    levels = (100, 75, 66, 50, None)
    examples = [
        example(label, text=word(index), agreement=levels[index % 5])
        for index, label in enumerate(labels)
    ]
    groups = measure(examples, probabilities)["by_agreement"]
    assert {key: group["texts"] for key, group in groups.items()} == {
        "100": 10,
        "75": 20,
        "66": 30,
        "50": 40,
    }
    certain = [index for index, each in enumerate(examples) if each.agreement == 100]
    alone = measured(labels[certain], probabilities[certain])
    assert groups["100"]["accuracy"] == alone["accuracy"]
    assert groups["100"]["macro_f1"] == alone["macro_f1"]
    assert groups["100"]["intervals"]["accuracy"] == alone["intervals"]["accuracy"]


def test_without_agreement_there_are_no_levels(four):
    assert four["by_agreement"] == {}


def test_lengths_are_counted_in_words():
    lengths = [1, 10, 11, 20, 21, 30, 31, 200]
    examples = [example(POSITIVE, text="profit\n " * words) for words in lengths]
    groups = measure(examples, [[0.8, 0.1, 0.1]] * len(lengths))["by_words"]
    assert {key: group["texts"] for key, group in groups.items()} == {
        "1 to 10": 2,
        "11 to 20": 2,
        "21 to 30": 2,
        "31 or more": 2,
    }


# Two models


def test_few_texts_that_differ_are_tossed_like_coins():
    # 1 against 9 of 10: twice the chance of one head or none in ten tosses, 11 / 1024.
    found = mcnemar([True] * 5 + [True] + [False] * 9, [True] * 5 + [False] + [True] * 9)
    assert found == {
        "only_first_right": 1,
        "only_second_right": 9,
        "test": "exact binomial",
        "p_value": pytest.approx(22 / 1024, rel=1e-3),
    }


def test_many_texts_that_differ_are_a_chi_square_with_continuity_correction():
    found = mcnemar([True] * 30 + [False] * 15, [False] * 30 + [True] * 15)
    assert found["test"] == "chi-square with continuity correction"
    assert found["p_value"] == pytest.approx(chi2.sf(14**2 / 45, df=1), rel=1e-3)


def test_the_two_tests_meet_where_one_takes_over():
    exact = mcnemar([True] * 16 + [False] * 8, [False] * 16 + [True] * 8)
    approximate = mcnemar([True] * 17 + [False] * 8, [False] * 17 + [True] * 8)
    assert exact["test"] != approximate["test"]
    assert exact["p_value"] == pytest.approx(approximate["p_value"], abs=0.05)


@pytest.mark.parametrize("texts", [0, 10, 100])
def test_models_that_differ_evenly_are_not_told_apart(texts):
    found = mcnemar([True] * texts + [False] * texts, [False] * texts + [True] * texts)
    assert found["p_value"] == 1


def test_who_comes_first_makes_no_difference_to_p():
    first, second = np.random.default_rng(4).random((2, 80)) < [[0.9], [0.7]]
    there, back = mcnemar(first, second), mcnemar(second, first)
    assert there["p_value"] == back["p_value"]
    assert there["only_first_right"] == back["only_second_right"]


@pytest.mark.parametrize(
    ("right", "ends"), [(True, [12 / (12 + 1.96**2), 1]), (False, [0, 1.96**2 / (12 + 1.96**2)])]
)
def test_twelve_of_twelve_is_no_certainty(right, ends):
    given = [[0.9, 0.1, 0] if right else [0.1, 0.9, 0]] * 12
    assert measured([POSITIVE] * 12, given)["intervals"]["accuracy"] == pytest.approx(
        ends, abs=5e-5
    )


def test_wilsons_interval_is_scipys():
    for right in (0, 3, 12):
        expected = binomtest(right, 12).proportion_ci(method="wilson")
        assert wilson_interval(right / 12, 12) == pytest.approx([expected.low, expected.high])


def test_texts_that_resemble_each_other_are_no_more_evidence_than_one():
    labels, probabilities = random_set(100)
    once = measured(labels, probabilities)
    examples = [
        example(label, text=f"{word(index)} {copy}")
        for copy in range(4)
        for index, label in enumerate(labels)
    ]
    copied = measure(examples, np.tile(probabilities, (4, 1)))
    assert copied["accuracy"] == once["accuracy"]
    for name, ends in copied["intervals"].items():
        assert ends == pytest.approx(once["intervals"][name], abs=0.01), name
    assert copied["labels"]["positive"]["f1_interval"] == pytest.approx(
        once["labels"]["positive"]["f1_interval"], abs=0.01
    )
    assert copied["by_words"]["1 to 10"]["intervals"] == once["by_words"]["1 to 10"]["intervals"]


def test_drawing_clusters_by_their_matrices_is_drawing_them_one_by_one():
    rng = np.random.default_rng(6)
    confusions = rng.poisson(0.4, size=(60, 3, 3))
    drawn = confusions[rng.integers(60, size=(4000, 60))].sum(axis=1)
    expected = np.quantile(counted_figures(drawn)["macro_f1"], [0.025, 0.975])
    assert counted_intervals(confusions)["macro_f1"] == pytest.approx(expected, abs=0.02)


def test_what_resampling_adds_to_a_figure_is_taken_off_its_interval():
    resampled = np.linspace(0.4, 0.6, 1001)  # around 0.5, where the figure itself is 0.3
    assert interval(resampled, 0.3) == pytest.approx([0.205, 0.395])
    assert interval(resampled, 0.02)[0] == 0
