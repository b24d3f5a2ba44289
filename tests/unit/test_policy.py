from hypothesis import given
from hypothesis import strategies as st

from sentiment.batching.policy import (
    MAX_ATTENTION_SLOTS,
    batch_length,
    retry_after_s,
    smoothed,
)

LENGTHS = st.lists(st.integers(1, 512), max_size=50)
BUDGETS = st.integers(1, 4096)


def cost(lengths, *, pads):
    rectangle = max(lengths) * len(lengths)
    return rectangle if pads else max(sum(lengths), rectangle / MAX_ATTENTION_SLOTS)


@given(LENGTHS, BUDGETS, st.booleans())
def test_a_batch_of_several_never_exceeds_its_budget(lengths, budget, pads):
    taken = lengths[: batch_length(lengths, budget, pads=pads)]
    assert len(taken) <= 1 or cost(taken, pads=pads) <= budget


@given(LENGTHS, BUDGETS, st.booleans())
def test_a_batch_stops_only_where_one_more_text_would_exceed_the_budget(lengths, budget, pads):
    count = batch_length(lengths, budget, pads=pads)
    if count < len(lengths):
        assert cost(lengths[: count + 1], pads=pads) > budget


@given(LENGTHS.filter(bool), BUDGETS, st.booleans())
def test_something_is_taken_whenever_something_waits(lengths, budget, pads):
    assert batch_length(lengths, budget, pads=pads) >= 1


def test_nothing_is_taken_from_an_empty_queue():
    assert batch_length([], 1024, pads=False) == 0


def test_padding_counts_for_an_engine_that_pads():
    assert batch_length([10, 100], 110, pads=False) == 2
    assert batch_length([10, 100], 110, pads=True) == 1


def test_a_long_text_does_not_drag_a_hundred_short_ones_through_its_attention():
    assert batch_length([512] + [5] * 100, 1024, pads=False) == 8
    assert batch_length([5] * 100, 1024, pads=False) == 100


def test_lengths_are_read_only_as_far_as_the_budget_goes():
    read = []

    def lengths():
        for length in (40, 40, 40, 40):
            read.append(length)
            yield length

    assert batch_length(lengths(), 100, pads=False) == 2
    assert len(read) == 3


def test_retry_after_is_the_time_that_the_backlog_needs():
    assert retry_after_s(5000, 1000.0) == 5


def test_retry_after_is_a_second_before_anything_was_measured():
    assert retry_after_s(5000, None) == 1


def test_the_smoothed_rate_begins_with_the_first_value_and_follows_later_ones():
    rate = None
    for _ in range(3):
        rate = smoothed(rate, 100.0)
    assert rate == 100
    for _ in range(10):
        rate = smoothed(rate, 200.0)
    assert 185 < rate < 200
