import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.cache import LogitsCache
from sentiment.tokenization import Truncation


def cache(capacity, *, model="model@1"):
    return LogitsCache(capacity, labels=3, model=model)


def logits(*values):
    return np.array([[value] * 3 for value in values], np.float32)


def remember(cache, **texts):
    keys = cache.keys(list(texts))
    cache.put(keys, logits(*texts.values()), np.zeros(len(texts), bool))


def known(cache, *texts):
    return cache.get(cache.keys(texts)).known.tolist()


def test_what_was_put_is_found_and_nothing_else():
    opened = cache(10)
    keys = opened.keys(["a", "b"])
    opened.put(keys, logits(1, 2), np.array([False, True]))
    found = opened.get(opened.keys(["b", "c", "a", "b"]))
    assert found.known.tolist() == [True, False, True, True]
    assert found.logits.tolist() == logits(2, 0, 1, 2).tolist()
    assert found.truncated.tolist() == [True, False, False, True]


def test_the_least_recently_used_is_forgotten_first():
    opened = cache(2)
    remember(opened, a=1, b=2)
    assert known(opened, "a") == [True]  # and thereby used
    remember(opened, c=3)
    assert known(opened, "a", "b", "c") == [True, False, True]
    assert len(opened) == 2


def test_what_is_put_twice_takes_one_place_and_the_newer_value():
    opened = cache(2)
    remember(opened, a=1, b=2)
    remember(opened, a=5)
    assert len(opened) == 2
    assert opened.get(opened.keys(["a"])).logits.tolist() == logits(5).tolist()


@pytest.mark.parametrize("asked", Truncation)
@pytest.mark.parametrize("given", Truncation)
def test_a_text_that_is_read_whole_has_one_answer_however_it_was_to_be_truncated(given, asked):
    opened = cache(2)
    keys = opened.keys(["whole"])
    opened.put(keys, logits(1), np.array([False]), truncation=given)
    found = opened.get(keys, asked)
    assert found.known.tolist() == [True]
    assert found.logits.tolist() == logits(1).tolist()
    assert found.truncated.tolist() == [False]


def test_a_text_that_is_truncated_has_an_answer_for_each_of_its_ends():
    opened = cache(4)
    keys = opened.keys(["long", "whole"])
    opened.put(keys, logits(1, 5), np.array([True, False]))
    assert opened.get(keys, Truncation.LEFT).known.tolist() == [False, True]
    opened.put(keys[:1], logits(2), np.array([True]), truncation=Truncation.LEFT)
    for truncation, value in ((Truncation.RIGHT, 1), (Truncation.LEFT, 2)):
        found = opened.get(keys, truncation)
        assert found.logits.tolist() == logits(value, 5).tolist()
        assert found.truncated.tolist() == [True, False]


def test_of_a_truncated_text_nothing_is_found_for_who_wants_it_refused():
    opened = cache(4)
    keys = opened.keys(["long"])
    for truncation in (Truncation.RIGHT, Truncation.LEFT):
        opened.put(keys, logits(1), np.array([True]), truncation=truncation)
    assert opened.get(keys, Truncation.REFUSE).known.tolist() == [False]


def test_the_ends_of_a_text_are_forgotten_as_any_other_text():
    opened = cache(2)
    keys = opened.keys(["long"])
    opened.put(keys, logits(1), np.array([True]), truncation=Truncation.LEFT)
    remember(opened, a=1)
    assert opened.get(keys, Truncation.LEFT).known.all()  # and thereby used
    remember(opened, b=2)
    assert opened.get(keys, Truncation.LEFT).known.all()
    assert known(opened, "a", "b") == [False, True]


def test_another_model_finds_nothing():
    assert cache(1).keys(["a"]) != cache(1, model="model@2").keys(["a"])


def test_nothing_is_asked_and_nothing_is_found():
    found = cache(2).get([])
    assert found.logits.shape == (0, 3)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), max_size=60))
def test_it_agrees_with_a_plain_list_of_what_was_used_last(rounds):
    opened, recent = cache(4), []
    for texts in rounds:
        names = [str(text) for text in texts]
        found = opened.get(opened.keys(names))
        assert found.known.tolist() == [name in recent for name in names]
        assert all(
            row[0] == text
            for row, text, seen in zip(found.logits, texts, found.known, strict=True)
            if seen
        )
        for name in names:
            if name in recent:
                recent.append(recent.pop(recent.index(name)))
        missing = [text for text, seen in zip(texts, found.known, strict=True) if not seen]
        opened.put(opened.keys([str(t) for t in missing]), logits(*missing), np.zeros(len(missing)))
        for text in missing:
            if str(text) in recent:
                recent.remove(str(text))
            recent = [*recent, str(text)][-4:]
