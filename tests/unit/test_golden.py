"""Golden sentences: what finds a model whose labels do not mean what they say."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from sentiment.errors import DataError, ModelError
from sentiment.predictions import LABELS
from sentiment.training.datasets import RESERVED_TEXTS, Example, comparison_key
from sentiment.training.golden import check_golden, read_golden

SENTENCES = read_golden(None, trained_on=())
EXPECTED = [sentence.label for sentence in SENTENCES]


def answers(predicted):
    """Return probabilities whose most probable labels are `predicted`."""
    return np.eye(3, dtype=np.float32)[predicted] * 0.7 + 0.1


def test_the_bundled_ones_are_a_dozen_of_each_label_and_nothing_else():
    assert Counter(LABELS[label] for label in EXPECTED) == dict.fromkeys(LABELS, 12)
    keys = {comparison_key(sentence.text) for sentence in SENTENCES}
    assert len(keys) == len(SENTENCES)
    assert keys.isdisjoint(map(comparison_key, RESERVED_TEXTS))


def test_a_model_that_is_right_passes():
    assert check_golden(SENTENCES, answers(EXPECTED)) == dict.fromkeys(LABELS, "12 of 12")


@pytest.mark.parametrize("order", list(permutations(range(3)))[1:])
def test_any_swap_of_labels_is_found_although_the_model_errs_now_and_then(order):
    predicted = [order[label] for label in EXPECTED]
    predicted[0], predicted[15], predicted[30] = 1, 2, 0
    with pytest.raises(ModelError, match="would be if its labels were not swapped") as found:
        check_golden(SENTENCES, answers(predicted))
    for label in range(3):
        says = f"{LABELS[order[label]]} for {LABELS[label]}"
        assert (says in str(found.value)) is (order[label] != label)


@pytest.mark.parametrize(("wrong", "passes"), [(4, True), (5, False)])
@pytest.mark.parametrize("label", range(3))
def test_two_thirds_of_a_labels_sentences_must_be_right(label, wrong, passes):
    predicted = list(EXPECTED)
    for index in [i for i, each in enumerate(EXPECTED) if each == label][:wrong]:
        predicted[index] = (label + 1) % 3
    if passes:
        assert check_golden(SENTENCES, answers(predicted))[LABELS[label]] == "8 of 12"
    else:
        with pytest.raises(ModelError, match=f"12 golden sentences that are {LABELS[label]} only"):
            check_golden(SENTENCES, answers(predicted))


@pytest.mark.parametrize("label", range(3))
def test_a_model_that_always_says_the_same_does_not_pass(label):
    with pytest.raises(ModelError, match="golden sentences that are"):
        check_golden(SENTENCES, answers([label] * len(SENTENCES)))


def test_answers_that_are_no_numbers_do_not_pass():
    with pytest.raises(ModelError, match="not finite"):
        check_golden(SENTENCES, np.full((len(SENTENCES), 3), np.nan, np.float32))


def test_a_sentence_that_was_trained_on_does_not_count():
    known = Example(SENTENCES[0].text.upper(), (1, 0, 0), frozenset(), soft=False)
    assert read_golden(None, trained_on=[known]) == SENTENCES[1:]


def test_sentences_of_ones_own_need_one_of_each_label_at_least(tmp_path):
    path = tmp_path / "golden.csv"
    path.write_text("text,label\nJa,positive\nNein,negative\n")
    with pytest.raises(DataError, match=r"golden\.csv: no neutral sentence"):
        read_golden(path, trained_on=())
    path.write_text("text,label\nJa,positive\nNein,negative\nNa,neutral\n")
    assert [example.text for example in read_golden(path, trained_on=())] == ["Ja", "Nein", "Na"]
