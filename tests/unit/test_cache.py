import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentiment.cache import LogitsCache


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
