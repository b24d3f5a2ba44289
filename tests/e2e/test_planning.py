"""What a plan predicts, beside what real replicas do."""

import pytest

from benchmarks.planning import TOLERANCE, double_subject, edge_cost, real_subject, validate
from sentiment.settings import Settings

SETTINGS = Settings(model="compact", precision="fp32", threads=1)

FIGURES = ("p50_ms", "p99_ms", "texts_per_s")


@pytest.fixture(scope="module")
def edge():
    """What a server of this machine costs, and the tokens of its texts."""
    return edge_cost(SETTINGS)


QUIET_CORES = 0.25
"""Where other programs took more, the client and the replicas waited for cores: no plan knows."""


def judge(points):
    """See that every figure was predicted, on a machine that was there for it."""
    taken = max(point.neighbour_cores for point in points)
    if taken > QUIET_CORES:
        pytest.skip(f"other programs took {taken:.1f} cores: nothing can be judged")
    for point in points:
        for figure in FIGURES:
            assert point.ratios[figure] == pytest.approx(1, abs=TOLERANCE), (figure, point)
        assert point.measured.refused == point.predicted.refused == 0


@pytest.mark.nightly
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_latency_and_throughput_are_predicted_for_requests_of_many_sizes(edge, replicas):
    cost, _ = edge
    judge(validate(double_subject(cost), replicas=[replicas], shares=(0.5, 0.8), requests=3000))


@pytest.mark.nightly
def test_the_bundled_model_is_predicted_on_one_replica(edge):
    cost, pool = edge
    real = real_subject(SETTINGS, cost, pool)
    judge(validate(real, replicas=[1], shares=[0.3], requests=3000))
