import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.batching.cost import CostModel

SIZES = [(8, 8), (30, 30), (120, 40), (500, 60), (900, 100), (1024, 512), (1000, 50)]


def true_s(tokens, width, *, base=0.002, token=1e-4, pair=5e-8):
    return base + tokens * (token + width * pair)


def learned(samples=200, *, seconds=true_s, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    cost = CostModel()
    for index in range(samples):
        tokens, width = SIZES[index % len(SIZES)]
        observed = seconds(tokens, width) * (1 + noise * rng.standard_normal())
        cost.observe(tokens=tokens, width=width, seconds=max(observed, 1e-6))
    return cost


def test_nothing_is_predicted_before_the_first_batch():
    cost = CostModel()
    assert cost.batch_s(tokens=100, width=10) == 0
    assert cost.backlog_s(100, token_budget=1024) == 0


def test_the_coefficients_of_a_steady_machine_are_found():
    coefficients = learned().coefficients
    assert coefficients.batch_s == pytest.approx(0.002, rel=0.01)
    assert coefficients.token_s == pytest.approx(1e-4, rel=0.01)
    assert coefficients.pair_s == pytest.approx(5e-8, rel=0.01)


def test_a_noisy_machine_is_predicted_within_a_tenth():
    cost = learned(noise=0.2)
    for tokens, width in SIZES:
        predicted = cost.batch_s(tokens=tokens, width=width)
        assert predicted == pytest.approx(true_s(tokens, width), rel=0.25)


def test_a_machine_that_slows_down_is_believed_after_twenty_batches():
    cost = learned()
    for _ in range(20):
        cost.observe(tokens=1000, width=50, seconds=2 * true_s(1000, 50))
    assert cost.batch_s(tokens=1000, width=50) == pytest.approx(2 * true_s(1000, 50), rel=0.15)


def test_an_hour_of_single_headlines_does_not_forget_what_a_full_batch_costs():
    cost = learned()
    for _ in range(10_000):
        cost.observe(tokens=30, width=30, seconds=true_s(30, 30))
    assert cost.batch_s(tokens=1000, width=50) == pytest.approx(true_s(1000, 50), rel=0.05)
    assert cost.backlog_s(10_000, token_budget=1000) == pytest.approx(10 * 0.108, rel=0.2)


def test_one_batch_that_a_busy_machine_held_up_does_not_spoil_the_others():
    cost = learned()
    cost.observe(tokens=900, width=100, seconds=20 * true_s(900, 100))
    assert cost.batch_s(tokens=30, width=30) == pytest.approx(true_s(30, 30), rel=0.35)


@given(
    st.lists(
        st.tuples(st.integers(1, 300_000), st.integers(1, 512), st.floats(1e-6, 100)),
        min_size=1,
        max_size=40,
    )
)
def test_no_prediction_is_ever_negative_or_falls_as_work_grows(observed):
    cost = CostModel()
    for tokens, width, seconds in observed:
        cost.observe(tokens=tokens, width=width, seconds=seconds)
    predictions = [
        cost.backlog_s(tokens, token_budget=1024) for tokens in (0, 1, 100, 10**4, 10**6)
    ]
    assert predictions == sorted(predictions)
    assert predictions[0] == 0
    assert min(cost.batch_s(tokens=1, width=1), *predictions) >= 0
    assert np.isfinite(predictions).all()


def test_the_first_pass_of_a_size_is_forgotten_with_the_second():
    cost = CostModel()
    for seconds in (3.0, 0.1):
        cost.observe(tokens=512, width=512, seconds=seconds)
    assert cost.batch_s(tokens=512, width=512) == pytest.approx(0.1)
