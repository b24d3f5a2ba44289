"""W3C Trace Context, to the letter: what does not follow it is as if it had not come."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.api.trace_context import TraceContext, trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def read(*parents, states=()):
    return trace_context(
        [
            (b"host", b"x"),
            *((b"traceparent", parent.encode()) for parent in parents),
            *((b"tracestate", state.encode()) for state in states),
        ]
    )


def state(*states):
    return read(PARENT, states=states).state


def test_a_request_says_the_trace_and_the_span_that_it_comes_from():
    assert read(PARENT) == TraceContext(TRACE, SPAN, 1, ())


@pytest.mark.parametrize(("sent", "read_as"), [("00", 0), ("01", 1), ("03", 3), ("ff", 3)])
def test_of_the_flags_those_count_that_have_a_meaning(sent, read_as):
    assert read(PARENT[:-2] + sent).flags == read_as


def test_blanks_around_the_value_are_no_part_of_it():
    assert read(f" \t{PARENT} ") == read(PARENT)


def test_a_later_version_is_read_as_far_as_it_is_known():
    later = "cc" + PARENT[2:]
    assert read(later) == read(f"{later}-what-the-future-holds") == read(PARENT)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        PARENT[:-1],
        PARENT + "0",
        PARENT + "-",
        PARENT + "-00",
        PARENT.upper(),
        PARENT.replace("-", "_"),
        PARENT.replace("4b", "4g"),
        PARENT.replace("00-", "0-"),
        PARENT.replace("00-", "ff-"),
        "cc" + PARENT[2:] + ".what",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1g",
        f"{PARENT}\n",
        f"{PARENT}\x00",
        f'{PARENT}"',
        f"{PARENT},{PARENT}",
        "00-" + "\u0661" * 32 + f"-{SPAN}-01",
        "0" * 8000,
    ],
    ids=lambda parent: ascii(parent)[:40],
)
def test_what_is_not_to_the_letter_is_ignored(parent):
    assert read(parent) is None


def test_of_two_parents_neither_is_believed():
    assert read(PARENT, PARENT) is None
    assert read() is None


def test_the_notes_of_tracing_systems_go_along_in_their_order():
    assert state("b=2, a=1", "", "3x@c=%5b ]!,,") == (("b", "2"), ("a", "1"), ("3x@c", "%5b ]!"))


def test_notes_without_a_parent_mean_nothing():
    assert read(states=["a=1"]) is None


@pytest.mark.parametrize(
    "wrong",
    [
        "a",
        "=1",
        "a=",
        "a=1=2",
        "A=1",
        "1a=1",
        "a b=1",
        "a=1,a=2",
        "a=\x7f",
        "a=\xe9",
        f"{'a' * 257}=1",
        f"a={'1' * 257}",
        ",".join(f"k{number}=1" for number in range(33)),
        ",".join(f"key{number}={'1' * 200}" for number in range(3)),
    ],
    ids=lambda wrong: ascii(wrong)[:40],
)
def test_wrong_notes_are_left_out_whole_and_their_trace_goes_on(wrong):
    assert read(PARENT, states=["good=1", wrong]) == read(PARENT)


@given(st.lists(st.binary(max_size=80)), st.lists(st.binary(max_size=80)))
def test_whatever_comes_what_is_read_is_safe_to_write(parents, states):
    prefix = PARENT.encode()
    found = trace_context(
        [
            *((b"traceparent", each) for each in parents[:1] or [prefix]),
            *((b"tracestate", each) for each in states),
        ]
    )
    if found is not None:
        assert re.fullmatch("[0-9a-f]{32}", found.trace_id)
        assert re.fullmatch("[0-9a-f]{16}", found.span_id)
        assert all((key + value).isascii() for key, value in found.state)
        assert all((key + value).isprintable() for key, value in found.state)
