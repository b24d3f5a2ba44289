"""The token budget: the smallest that is as good as any."""

import pytest

from sentiment.batching.tuning import best_token_budget
from sentiment.engines.batches import PackedBatch


class TimedEngine:
    """Takes a time that depends on the tokens, on a clock of its own."""

    batch_type = PackedBatch

    def __init__(self, seconds, budgets=(256, 512, 1024, 2048)):
        self.token_budgets = budgets
        self.now = 0.0
        self.passes = []
        self._seconds = seconds

    def infer(self, batch):
        self.passes.append(batch.tokens)
        self.now += self._seconds(batch.tokens)

    def clock(self):
        return self.now


def best(engine):
    return best_token_budget(engine, engine.clock)


def test_where_each_token_costs_the_same_the_smallest_is_best():
    assert best(TimedEngine(lambda tokens: tokens * 1e-5)) == 256


def test_a_price_for_each_pass_is_worth_larger_batches():
    assert best(TimedEngine(lambda tokens: 0.01 + tokens * 1e-6)) == 2048


def test_what_falls_out_of_cache_is_not_taken():
    engine = TimedEngine(lambda tokens: 0.002 + tokens * (1e-5 if tokens <= 512 else 2e-5))
    assert best(engine) == 512


def test_a_gain_that_nobody_notices_does_not_make_everybody_wait():
    engine = TimedEngine(lambda tokens: 1e-4 + tokens * 1e-5, budgets=(512, 1024))
    assert best(engine) == 512


def test_a_slow_engine_is_not_measured_to_the_end():
    engine = TimedEngine(lambda tokens: 0.5 + tokens * 1e-4)
    best(engine)
    assert engine.passes == [256, 256]


def test_what_does_not_fit_into_memory_is_none():
    def seconds(tokens):
        if tokens > 512:
            raise MemoryError
        return 0.01 + tokens * 1e-6

    assert best(TimedEngine(seconds)) == 512


def test_an_engine_with_one_budget_is_not_measured():
    engine = TimedEngine(lambda tokens: 1, budgets=(1024,))
    assert best(engine) == 1024
    assert engine.passes == []


@pytest.mark.parametrize("budgets", [(64,), (64, 128)])
def test_a_budget_is_one_of_the_engines(budgets):
    assert best(TimedEngine(lambda tokens: tokens * 1e-5, budgets)) in budgets
