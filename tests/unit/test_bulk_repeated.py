"""Texts that occur again are not computed again; which ones depends on the texts alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentiment.bulk.repeated import RepeatedTexts


def result(text):
    """What the model of this file says of a text: `[labels]`, and whether it is truncated."""
    return [float(len(text)), float(sum(text.encode()))], len(text) > 2


def settle(repeated, texts, lookup):
    new = [result(texts[index]) for index in lookup.new]
    probabilities = np.array([each for each, _ in new], np.float32).reshape(-1, 2)
    return repeated.settle(lookup, probabilities, np.array([cut for _, cut in new], np.bool_))


def score(repeated, windows, *, ahead=1):
    """Score windows as a run does: looked up `ahead` of the one that is settled."""
    waiting, found = [], []
    for texts in windows:
        waiting.append((texts, repeated.look_up(texts)))
        if len(waiting) > ahead:
            found.append(settle(repeated, *waiting.pop(0)))
    return found + [settle(repeated, *each) for each in waiting]


def computed(repeated, windows):
    return [[texts[index] for index in repeated.look_up(texts).new] for texts in windows]


WINDOWS = st.lists(st.lists(st.text("abc", max_size=3), max_size=12), max_size=8)


@given(windows=WINDOWS, capacity=st.integers(1, 6), ahead=st.integers(0, 2))
def test_every_text_gets_its_own_result(windows, capacity, ahead):
    repeated = RepeatedTexts(labels=2, capacity=capacity)
    for texts, (probabilities, truncated) in zip(
        windows, score(repeated, windows, ahead=ahead), strict=True
    ):
        assert probabilities.tolist() == [result(text)[0] for text in texts]
        assert truncated.tolist() == [result(text)[1] for text in texts]


def test_a_text_is_computed_once_within_a_window_and_over_windows():
    windows = [["a", "b", "a"], ["c", "b", "a"], ["d", "c", "d"]]
    assert computed(RepeatedTexts(labels=2), windows) == [["a", "b"], ["c"], ["d"]]


def test_of_too_many_the_first_is_forgotten_first():
    windows = [["a", "b"], ["c"], ["a"], ["c"]]
    assert computed(RepeatedTexts(labels=2, capacity=2), windows) == [["a", "b"], ["c"], ["a"], []]


def test_of_more_new_ones_than_fit_the_last_are_remembered():
    windows = [["a", "b", "c"], ["b", "c", "a"]]
    assert computed(RepeatedTexts(labels=2, capacity=2), windows) == [["a", "b", "c"], ["a"]]


@given(windows=WINDOWS, capacity=st.integers(1, 6))
def test_what_is_computed_does_not_depend_on_how_far_looking_up_is_ahead(windows, capacity):
    alone = computed(RepeatedTexts(labels=2, capacity=capacity), windows)
    repeated = RepeatedTexts(labels=2, capacity=capacity)
    found = []
    for texts in windows:
        lookup = repeated.look_up(texts)
        settle(repeated, texts, lookup)
        found.append([texts[index] for index in lookup.new])
    assert found == alone
