"""Lines are the same however their bytes are cut into pieces, and little of them is held."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.api.lines import Line, LineSplitter

MAX_LINE_BYTES = 6

INPUTS = st.lists(st.sampled_from([b"\n", b"\r", b" ", b"a", b"\xff", b"bc", b"defg"])).map(
    b"".join
)


def lines_of(*pieces, max_line_bytes=MAX_LINE_BYTES):
    splitter = LineSplitter(max_line_bytes=max_line_bytes)
    found = []
    for piece in pieces:
        splitter.push(piece)
        found += splitter
    splitter.end()
    return [*found, *splitter]


@given(INPUTS, st.lists(st.integers(0, 40)))
def test_any_cut_gives_the_lines_of_the_whole(content, cuts):
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[start:stop] for start, stop in pairwise(edges)]
    expected = [
        Line(number, line if len(line) <= MAX_LINE_BYTES else None)
        for number, line in enumerate(content.split(b"\n"), start=1)
        if line.strip() or len(line) > MAX_LINE_BYTES
    ]
    assert lines_of(*pieces) == lines_of(content) == expected


@given(INPUTS)
def test_a_reader_may_stop_after_each_line_and_come_back(content):
    splitter = LineSplitter(max_line_bytes=MAX_LINE_BYTES)
    splitter.push(content)
    splitter.end()
    found = []
    while (line := next(iter(splitter), None)) is not None:
        found.append(line)
    assert found == lines_of(content)


def test_a_line_is_given_when_its_end_comes_and_not_when_the_next_one_does():
    splitter = LineSplitter(max_line_bytes=MAX_LINE_BYTES)
    splitter.push(b"ab")
    assert [*splitter] == []
    splitter.push(b"c\nd")
    assert [*splitter] == [Line(1, b"abc")]


def test_a_line_of_just_the_limit_is_whole_and_one_byte_more_is_too_long():
    assert lines_of(b"123456\n1234567\n1\n") == [Line(1, b"123456"), Line(2, None), Line(3, b"1")]


def test_a_line_that_is_too_long_is_told_before_its_end_and_not_held():
    splitter = LineSplitter(max_line_bytes=1000)
    splitter.push(b"a" * 1001)
    assert [*splitter] == [Line(1, None)]
    for _ in range(1000):
        splitter.push(b"a" * 1000)
        assert [*splitter] == []
        assert len(splitter._held) <= 1000
    splitter.push(b"a\nb\n")
    assert [*splitter] == [Line(2, b"b")]


def test_a_long_line_in_single_bytes_is_searched_once():
    splitter = LineSplitter(max_line_bytes=200_000)
    for _ in range(200_000):  # the square of this would take minutes
        splitter.push(b"a")
        assert [*splitter] == []
    splitter.push(b"\n")
    assert [*splitter] == [Line(1, b"a" * 200_000)]


class CountingBytes(bytearray):
    """Counts how often it is searched."""

    searches = 0

    def find(self, *args):
        self.searches += 1
        return super().find(*args)


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t\n"])
def test_blank_lines_are_passed_over_at_once_and_counted(blank):
    splitter = LineSplitter(max_line_bytes=MAX_LINE_BYTES)
    splitter._held = CountingBytes()
    splitter.push(blank * 100_000 + b"a\n")
    assert [*splitter] == [Line(100_001, b"a")]
    assert splitter._held.searches <= 3
