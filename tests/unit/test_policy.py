import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.batching.policy import (
    MAX_RESTART_DELAY_S,
    QUANTUM_TOKENS,
    WHOLE_TOKENS,
    Backlog,
    BatchFill,
    restart_delay_s,
    retry_after_s,
    sorted_batches,
)

LENGTHS = st.lists(st.integers(1, 512), max_size=50)
BUDGETS = st.integers(1, 4096)
WAITING = st.lists(st.floats(0.5, 200_000), max_size=60)


def batch_length(lengths, budget, *, pads):
    """How many texts from the head of `lengths` make a batch."""
    fill = BatchFill(budget, pads)
    for length in lengths:
        if not fill.fits(length):
            break
        fill.add(length)
    return fill.texts


def cost(lengths, *, pads):
    return max(lengths) * len(lengths) if pads else sum(lengths)


@given(LENGTHS, BUDGETS, st.booleans())
def test_a_batch_of_several_never_exceeds_its_budget(lengths, budget, pads):
    taken = lengths[: batch_length(lengths, budget, pads=pads)]
    assert len(taken) <= 1 or cost(taken, pads=pads) <= budget


@given(LENGTHS, BUDGETS, st.booleans())
def test_a_batch_stops_only_where_one_more_text_would_exceed_the_budget(lengths, budget, pads):
    count = batch_length(lengths, budget, pads=pads)
    if count < len(lengths):
        assert cost(lengths[: count + 1], pads=pads) > budget


def test_a_text_over_budget_is_taken_alone():
    assert batch_length([5000, 1], 100, pads=False) == 1


def test_padding_counts_for_an_engine_that_pads():
    assert batch_length([10, 100], 110, pads=False) == 2
    assert batch_length([10, 100], 110, pads=True) == 1


@given(LENGTHS, BUDGETS)
def test_a_sorted_window_is_cut_into_every_text_once_within_the_budget(lengths, budget):
    batches = sorted_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or cost([lengths[i] for i in batch], pads=True) <= budget


@given(LENGTHS.filter(bool), BUDGETS)
def test_the_oldest_text_of_a_window_is_in_its_first_batch(lengths, budget):
    assert 0 in sorted_batches(lengths, budget)[0]


def test_sorting_a_window_saves_padding():
    mixed = [10, 100] * 10
    assert len(sorted_batches(mixed, 500)) == 3
    assert [len(batch) for batch in sorted_batches(mixed, 500)] == [10, 5, 5]


@given(WAITING, st.floats(0.5, 200_000))
def test_what_lies_ahead_is_never_underestimated_nor_more_than_doubled(waiting, own):
    backlog = Backlog()
    for tokens in waiting:
        backlog.change(0, tokens)
    share = max(own, QUANTUM_TOKENS)
    exact = sum(tokens if tokens < WHOLE_TOKENS else min(tokens, share) for tokens in waiting)
    assert exact <= backlog.ahead_of(own) * (1 + 1e-9)
    assert backlog.ahead_of(own) <= 2 * exact * (1 + 1e-9)
    assert backlog.tokens == pytest.approx(sum(waiting))


def test_four_thousand_texts_of_somebody_else_do_not_lie_ahead_of_one():
    backlog = Backlog()
    backlog.change(0, 120_000)
    assert backlog.ahead_of(30) == QUANTUM_TOKENS
    assert backlog.ahead_of(120_000) == 120_000


def test_small_requests_lie_ahead_whole():
    backlog = Backlog()
    for _ in range(10):
        backlog.change(0, 240)
    assert backlog.ahead_of(30) == 2400


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6))))
def test_a_backlog_that_everybody_left_is_exactly_empty(changes):
    backlog = Backlog()
    for first, then in changes:
        backlog.change(0, first)
        backlog.change(first, then)
    for _, then in changes:
        backlog.change(then, 0)
    assert backlog.tokens == 0
    assert backlog.ahead_of(1e9) == 0


@given(st.floats(0, 1000), st.floats(0.1, 100), st.floats(0, 1))
def test_who_is_refused_comes_back_when_half_the_limit_is_free(backlog_s, limit_s, jitter):
    wait_s = retry_after_s(backlog_s, max_backlog_s=limit_s, jitter=jitter)
    assert wait_s >= max(backlog_s - limit_s / 2, 0.5)
    assert wait_s <= 2 * max(backlog_s - limit_s / 2, 0.5)


def test_callers_who_were_refused_together_do_not_come_back_together():
    waits = {retry_after_s(12, max_backlog_s=10, jitter=jitter / 10) for jitter in range(10)}
    assert len(waits) == 10


def test_restarts_are_soon_at_first_and_never_rarer_than_twice_a_minute():
    delays = [restart_delay_s(failures) for failures in range(1, 50)]
    assert delays[0] <= 0.2
    assert delays == sorted(delays)
    assert delays[-1] == MAX_RESTART_DELAY_S == 30


def test_an_engine_that_was_lost_for_days_is_still_opened_twice_a_minute():
    assert restart_delay_s(100_000) == MAX_RESTART_DELAY_S
