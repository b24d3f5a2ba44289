"""Rows become windows by what is in them, not by how they come."""

import numpy as np
import pyarrow as pa
import pytest

from sentiment.bulk import windows as module
from sentiment.bulk.chunks import Chunk
from sentiment.bulk.windows import sentences_of, whole, windows

ROWS = ["Profit rose.", None, " ", "Sales fell. Debt grew.", "", "Up.", "Down. Up. Down.", "Flat."]


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(module, "WINDOW_ROWS", 3)
    monkeypatch.setattr(module, "WINDOW_CHARS", 30)


def chunks(rows, size, faults=None):
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        inside = range(start, start + len(part))
        yield Chunk(
            file="news.csv",
            numbers=np.array(inside, np.int64) + 2,
            columns=pa.RecordBatch.from_pydict({"text": pa.array(part, pa.string())}),
            faults={at - start: what for at, what in (faults or {}).items() if at in inside},
        )


def cut(rows, *, size=100, texts_of=whole, faults=None):
    return list(windows(chunks(rows, size, faults), "text", texts_of))


def sentences(text):
    return sentences_of(text, max_chars=1000)


def test_a_window_ends_with_its_last_row_or_when_it_has_its_characters():
    assert [len(each.counts) for each in cut(["a"] * 7)] == [3, 3, 1]
    assert [len(each.counts) for each in cut(["a" * 20, "b" * 10, "c" * 29, "d", "e"])] == [2, 2, 1]
    assert [len(each.counts) for each in cut(["a" * 99, "b"])] == [1, 1]
    assert cut([]) == []


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("texts_of", [whole, sentences])
def test_the_chunks_in_which_rows_come_do_not_matter(size, texts_of):
    faults = {0: "torn", 5: "torn"}
    assert cut(ROWS, size=size, texts_of=texts_of, faults=faults) == cut(
        ROWS, texts_of=texts_of, faults=faults
    )


def test_a_bad_row_has_no_text_and_the_first_of_a_window_is_named():
    first, second, third = cut(ROWS, faults={4: "torn"})
    assert (first.texts, first.counts) == (["Profit rose."], [1, 0, 0])
    assert first.fault == "news.csv:3: no text"
    assert (second.counts, second.fault) == ([1, 0, 1], "news.csv:6: torn")
    assert third.fault is None


def test_what_is_not_visible_is_no_text():
    (window,) = cut(["\u200b", "\u0301", "."])
    assert (window.texts, window.fault) == (["."], "news.csv:2: nothing visible in the text")


def test_a_text_is_found_in_its_row():
    (*_, window) = cut([None, "Up it went. Down it came.", "e"], texts_of=sentences)
    assert window.counts == [0, 2, 1]
    assert [window.place_of(text) for text in range(3)] == [
        "news.csv:3",
        "news.csv:3",
        "news.csv:4",
    ]
