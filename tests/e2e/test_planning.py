"""What a plan predicts, beside what real replicas do."""

import statistics

import pytest

from benchmarks.planning import TOLERANCE, double_subject, edge_cost, validate
from sentiment.settings import Settings


@pytest.mark.nightly
def test_latency_and_throughput_are_predicted_for_one_two_and_three_replicas():
    cost, _ = edge_cost(Settings(model="compact", precision="fp32", threads=1))
    points = validate(double_subject(cost), replicas=(1, 2, 3), shares=(0.5, 0.8), seconds=20)
    for figure in ("p50_ms", "p99_ms", "texts_per_s"):
        # The median: on a machine that others share, any one load may be held up.
        ratio = statistics.median(point.ratios[figure] for point in points)
        assert ratio == pytest.approx(1, abs=TOLERANCE), (figure, points)
    assert all(point.measured.refused == point.predicted.refused == 0 for point in points)
