"""The simulator, with queueing theory and counting as its judges."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment.errors import OptionError
from sentiment.planning.autoscaling import Autoscaler, Behavior
from sentiment.planning.costs import ReplicaCost
from sentiment.planning.plan import Goal, make_plan, with_autoscaler, working_replicas
from sentiment.planning.simulation import BALANCERS, Scenario, simulate
from sentiment.planning.workload import Burst, Workload
from sentiment.settings import Settings

COST = ReplicaCost(
    model="compact@0",
    engine="openvino",
    precision="fp32",
    layout="packed",
    machine="a machine",
    measured_on="2026-11-21",
    load_average=0.0,
    cores=2,
    threads=1,
    batch_s=0.01,
    token_s=0.0,
    pair_s=0.0,
    request_s=0.0,
    text_s=0.0,
    token_budget=1,
    token_budgets=(1,),
    memory_bytes=400_000_000,
)
"""10 ms a pass, and a budget that makes every text a pass of its own: batching is off."""

BATCHING = replace(COST, token_s=0.0005, token_budget=256, token_budgets=(128, 256))

PATIENT = Settings(max_backlog_s=1e6, deadline_s=3600)


def scenario(cost=COST, limits=PATIENT, **changes):
    return Scenario(cost=cost, settings=limits, token_budget=cost.token_budget, **changes)


def load(rate, requests=1000, *, pool=(10,), sizes=None, seed=1, **changes):
    return Workload.draw(
        rate=rate,
        seconds=requests / rate,
        pool=np.array(pool),
        sizes=sizes or {1: 1.0},
        seed=seed,
        **changes,
    )


def draws(rate, requests=1000, **changes):
    return lambda seed: load(rate, requests, seed=seed + 1, **changes)


def mean_wait_s(run, service_s):
    return run.latencies_s.mean() - service_s


@pytest.mark.nightly
@pytest.mark.parametrize("utilization", [0.3, 0.6, 0.8])
def test_without_batching_constant_passes_wait_as_in_an_m_d_1_queue(utilization):
    run = simulate(load(utilization / 0.01, 20_000), scenario(), replicas=1)
    waits = utilization * 0.01 / (2 * (1 - utilization))
    assert mean_wait_s(run, 0.01) == pytest.approx(waits, rel=0.1)


@pytest.mark.nightly
@pytest.mark.parametrize("utilization", [0.5, 0.7])
def test_without_batching_random_passes_wait_as_pollaczek_and_khinchine_say(utilization):
    lengths = np.random.default_rng(0).geometric(0.02, 5000).clip(1, 400)
    cost = replace(COST, batch_s=0.0, token_s=0.0002)
    service_s = lengths * cost.token_s
    rate = utilization / service_s.mean()
    run = simulate(load(rate, 20_000, pool=lengths), scenario(cost), replicas=1)
    waits = rate * (service_s**2).mean() / (2 * (1 - utilization))
    assert mean_wait_s(run, service_s.mean()) == pytest.approx(waits, rel=0.15)


@pytest.mark.nightly
def test_random_balancing_splits_a_poisson_stream_into_independent_queues():
    run = simulate(load(4 * 70, 30_000), scenario(), replicas=4)
    assert mean_wait_s(run, 0.01) == pytest.approx(0.7 * 0.01 / (2 * 0.3), rel=0.1)


def test_requests_in_the_system_are_rate_times_time_in_it():
    workload = load(60)
    run = simulate(workload, scenario(), replicas=1)
    busy = 60 * 0.01  # Little's law for the engine alone: in the pass are rate * its time
    assert run.utilization == pytest.approx(busy, rel=0.05)


def test_a_batch_carries_more_texts_the_more_wait():
    calm, busy = (simulate(load(rate), scenario(BATCHING), replicas=1) for rate in (20.0, 150.0))
    assert busy.tokens / busy.passes > 2 * calm.tokens / calm.passes


def test_an_idle_replica_answers_in_one_pass_and_its_own_work_beside_it():
    cost = replace(BATCHING, request_s=0.002, text_s=0.001)
    run = simulate(load(0.1, 200), scenario(cost), replicas=1)
    assert run.quantile_s(0.5) == pytest.approx(0.002 + 0.001 + 0.01 + 10 * 0.0005, rel=1e-3)


def test_a_pass_that_needs_every_core_stands_still_while_the_event_loop_works():
    cost = replace(BATCHING, request_s=0.004, text_s=0.002)
    apart = simulate(load(60), scenario(cost), replicas=1)
    sharing = simulate(load(60), scenario(replace(cost, threads=2)), replicas=1)
    assert sharing.busy_s > apart.busy_s * 1.1
    assert sharing.quantile_s(0.99) > apart.quantile_s(0.99)


def test_the_next_pass_waits_until_the_answers_of_the_last_are_written():
    at_no_cost, written = (
        simulate(load(400), scenario(replace(BATCHING, request_s=each)), replicas=1).utilization
        for each in (0.0, 0.004)
    )
    assert at_no_cost > 0.97
    assert written < 0.93


@settings(max_examples=25)
@given(
    rate=st.floats(20, 2000),
    replicas=st.integers(1, 4),
    size=st.integers(1, 20),
    balance=st.sampled_from(sorted(BALANCERS)),
    backlog_s=st.sampled_from([0.05, 1.0]),
    deadline_s=st.sampled_from([0.1, 10.0]),
)
def test_every_request_is_answered_or_refused_once(
    rate, replicas, size, balance, backlog_s, deadline_s
):
    workload = load(rate, 200, sizes={1: 1.0, size: 0.5}, pool=(5, 40, 200))
    limits = Settings(max_backlog_s=backlog_s, deadline_s=deadline_s)
    run = simulate(workload, scenario(BATCHING, limits, balance=balance), replicas=replicas)
    assert run.answered + sum(run.refused.values()) == len(workload.arrivals)
    assert run.refused.keys() <= {"overloaded", "deadline-exceeded"}
    assert run.answered_texts <= workload.texts.sum()
    assert len(run.latencies_s) + run.refused_counted == run.counted
    if len(run.latencies_s):
        assert run.latencies_s.min() > 0
        assert run.latencies_s.max() <= deadline_s + 0.2  # the pass that ran when it passed


@pytest.mark.nightly
@settings(max_examples=8)
@given(rate=st.floats(50, 400), balance=st.sampled_from(sorted(BALANCERS)))
def test_twice_the_replicas_are_not_worse(rate, balance):
    workload = load(rate, 300)
    few, many = (
        simulate(workload, scenario(BATCHING, balance=balance), replicas=count) for count in (2, 4)
    )
    assert many.quantile_s(0.99) <= few.quantile_s(0.99) * 1.1 + 0.005


@pytest.mark.nightly
def test_more_load_is_not_answered_sooner():
    p99 = [
        simulate(load(rate), scenario(BATCHING), replicas=1).quantile_s(0.99)
        for rate in (20, 60, 100, 140, 180)
    ]
    assert p99 == sorted(p99)


def test_fewest_in_flight_beats_chance():
    workload = load(4 * 80)
    by_chance, by_load = (
        simulate(workload, scenario(balance=name), replicas=4).quantile_s(0.99)
        for name in ("random", "least")
    )
    assert by_load < by_chance / 2


def test_overload_is_refused_and_the_rest_waits_no_longer_than_the_backlog_limit():
    strict = Settings(max_backlog_s=0.5)
    run = simulate(load(1000), scenario(BATCHING, strict), replicas=1)
    assert run.refused["overloaded"] > 200
    assert run.quantile_s(0.99) < 0.5 + 3 * (0.01 + 256 * 0.0005)


def test_the_same_seed_gives_the_same_run():
    first, second = (simulate(load(300), scenario(BATCHING, seed=5), replicas=2) for _ in range(2))
    assert np.array_equal(first.latencies_s, second.latencies_s)


@pytest.mark.nightly
def test_a_plan_is_the_fewest_replicas_that_reach_the_goal_in_three_draws():
    draw, goal = draws(400), Goal(p99_s=0.1)
    made = make_plan(draw, scenario(BATCHING), goal)
    assert made.met

    def reached(replicas):
        return [
            goal.met_by(simulate(draw(seed), scenario(BATCHING, seed=seed), replicas=replicas))
            for seed in range(3)
        ]

    assert all(reached(made.chosen.replicas))
    assert not all(reached(made.chosen.replicas - 1))


def test_a_number_of_replicas_that_one_draw_in_three_does_not_allow_is_too_low():
    # All but the first draw bring twice the load.
    def draw(seed):
        return load(150 if seed == 0 else 300, 400)

    made = make_plan(draw, scenario(BATCHING), Goal(p99_s=0.2))
    assert simulate(draw(0), scenario(BATCHING), replicas=1).quantile_s(0.99) < 0.2
    assert made.chosen.replicas > 1
    assert len(made.confirmed) == 2
    assert {trial.replicas for trial in made.confirmed} == {made.chosen.replicas}


def test_a_plan_never_has_fewer_replicas_than_the_work_alone_keeps_busy():
    draw = draws(400, 300)
    fixed = replace(BATCHING, token_budgets=(256,))
    working = working_replicas(draw(0), BATCHING, 256)
    assert working == pytest.approx(draw(0).rate * 10 * (0.0005 + 0.01 / 256))
    for headroom in (0.0, 0.5):
        made = make_plan(draw, scenario(fixed), Goal(p99_s=30.0, headroom=headroom))
        assert made.chosen.replicas == math.ceil(working / (1 - headroom))


# Full batches of 4,096 tokens run for two seconds: nobody wants to wait behind one.
LARGE = replace(COST, token_s=0.0005, token_budget=4096, token_budgets=(256, 4096))


@pytest.mark.nightly
def test_another_token_budget_is_chosen_where_it_answers_sooner():
    draw = draws(420, 5_000, sizes={1: 0.97, 100: 0.03})
    made = make_plan(draw, scenario(LARGE), Goal(p99_s=20.0), replicas=3)
    assert made.chosen.token_budget == 256


def test_another_token_budget_is_not_chosen_where_it_leaves_too_little_room():
    draw = draws(420, 500, sizes={1: 0.97, 100: 0.03})
    large, small = (working_replicas(draw(0), LARGE, budget) / 10 for budget in (4096, 256))
    between = Goal(p99_s=20.0, headroom=1 - (large + small) / 2)
    made = make_plan(draw, scenario(LARGE), between, replicas=10)
    assert made.chosen.token_budget == 4096
    assert made.met


def test_a_number_of_replicas_that_leaves_too_little_room_does_not_meet_the_goal():
    made = make_plan(draws(150), scenario(BATCHING), Goal(p99_s=30, headroom=0.5), replicas=1)
    assert made.goal.met_by(made.chosen.run)
    assert not made.met


def test_another_token_budget_is_chosen_where_it_needs_fewer_replicas():
    # In passes of 20 tokens one replica cannot do what it does in passes of 4,096.
    cost = replace(COST, token_s=0.0001, token_budget=20, token_budgets=(20, 4096))
    made = make_plan(draws(300, 200), scenario(cost), Goal(p99_s=1.0))
    assert (made.chosen.replicas, made.chosen.token_budget) == (1, 4096)


def test_more_replicas_than_can_be_simulated_are_refused_before_the_first_trial(caplog):
    caplog.set_level("INFO")
    with pytest.raises(OptionError, match=r"the work alone needs 5,\d+ replicas"):
        make_plan(draws(1e6), scenario(BATCHING), Goal(p99_s=1.0))
    assert not caplog.records


def test_spare_replicas_are_deployed_but_not_counted_on():
    made = make_plan(draws(50, 100), scenario(BATCHING), Goal(p99_s=1.0), spare=2)
    assert (made.chosen.replicas, made.replicas) == (1, 3)


def test_what_no_number_of_replicas_can_do_is_said():
    with pytest.raises(OptionError, match="one that is idle needs 15 ms"):
        make_plan(draws(100, 300), scenario(BATCHING), Goal(p99_s=0.012))


def test_memory_to_request_is_more_than_was_measured_in_whole_steps():
    made = make_plan(draws(50, 300), scenario(BATCHING), Goal(p99_s=1.0), replicas=1)
    assert made.memory_bytes == 512 * 2**20
    assert made.cpu == 2


@pytest.mark.nightly
def test_an_autoscaler_does_not_take_away_what_the_planned_load_needs():
    slow = replace(BATCHING, batch_s=0.1, token_s=0.005, token_budgets=(256,))
    made = make_plan(draws(30), scenario(slow), Goal(p99_s=1.0), spare=1)
    # So high a target would take all but one away.
    scaler = Autoscaler(minimum=1, maximum=9, target_s=5.0)
    steady = load(30, 30 * 900)
    made = with_autoscaler(made, scenario(slow), scaler, steady=steady, workload=load(30))
    assert made.scaled.minimum > 1
    assert made.goal.met_by(made.scaled.steady)
    blind = simulate(steady, scenario(slow), replicas=made.chosen.replicas, autoscaler=scaler)
    assert min(blind.replicas) == 1
    assert not made.goal.met_by(blind)


@pytest.mark.nightly
def test_an_autoscaler_adds_replicas_in_a_burst_once_it_sees_and_has_started_them():
    workload = load(100, 24_000, burst=Burst(4, 60.0))
    scaler = Autoscaler(minimum=2, maximum=20, target_s=0.05, delay_s=10, start_s=5)
    run = simulate(workload, scenario(BATCHING), replicas=2, autoscaler=scaler)
    begins_s = (workload.seconds - 60) / 2
    at = [run.sample_s * index for index, count in enumerate(run.replicas) if count > 2]
    assert at[0] >= begins_s + 10 + 5
    assert max(run.replicas) > 2
    fixed = simulate(workload, scenario(BATCHING), replicas=2)
    assert run.quantile_s(0.99) < fixed.quantile_s(0.99)
    assert run.replica_s > fixed.replica_s


class TestAutoscaler:
    def scaler(self, *seen, ready=4, **changes):
        made = Autoscaler(minimum=1, maximum=50, target_s=1.0, delay_s=30, **changes)
        for at, backlog_s in seen:
            made.observe(at, backlog_s, ready=ready)
        return made

    def test_it_wants_replicas_in_proportion_to_the_backlog(self):
        assert self.scaler((0, 1.5)).wanted(30, 4) == 6

    def test_replicas_that_are_not_ready_yet_have_no_backlog(self):
        assert self.scaler((0, 3.0), ready=3).wanted(30, 7) == 9

    def test_replicas_that_are_not_ready_yet_are_no_reason_to_have_fewer(self):
        fast = Behavior(down_window_s=0, down_pods=50)
        assert self.scaler((0, 0.5), behavior=fast).wanted(30, 10) == 8

    def test_it_does_not_know_yet_what_came_within_the_delay(self):
        assert self.scaler((0, 1.0), (10, 9.0)).wanted(39, 4) == 4

    def test_near_the_target_it_changes_nothing(self):
        assert self.scaler((0, 1.09), ready=10).wanted(30, 10) == 10

    def test_it_adds_only_what_it_wanted_for_half_a_minute(self):
        scaler = self.scaler((0, 1.0), (15, 2.0))
        assert [scaler.wanted(now, 4) for now in (30, 45, 60)] == [4, 4, 8]

    def test_in_a_minute_it_doubles_at_most(self):
        scaler = self.scaler((0, 40.0), ready=2)
        counts = [2]
        for now in (30, 45, 60, 75, 90, 105):
            counts.append(scaler.wanted(now, counts[-1]))
        assert counts == [2, 4, 4, 4, 4, 8, 8]

    def test_it_takes_away_one_a_minute_and_only_what_nobody_wanted_for_five_minutes(self):
        scaler = self.scaler((0, 2.0), ready=5)
        assert scaler.wanted(30, 5) == 10
        scaler.observe(31, 0.2, ready=10)
        assert scaler.wanted(61, 10) == 10
        assert scaler.wanted(329, 10) == 10
        counts = [10]
        for now in (331, 346, 361, 376, 391, 406):
            counts.append(scaler.wanted(now, counts[-1]))
        assert counts == [10, 9, 9, 9, 9, 8, 8]

    def test_it_keeps_its_bounds(self):
        assert self.scaler((0, 0.0), ready=1).wanted(30, 1) == 1
        assert self.scaler((0, 90.0), ready=40).wanted(30, 40) == 50

    def test_it_behaves_as_the_deployed_one(self):
        documents = yaml.safe_load_all(Path("deploy_model.yaml").read_text())
        (deployed,) = (each for each in documents if each["kind"] == "HorizontalPodAutoscaler")
        up, down = (deployed["spec"]["behavior"][name] for name in ("scaleUp", "scaleDown"))
        ours = Behavior()
        percent = {"type": "Percent", "value": ours.up_percent, "periodSeconds": ours.up_period_s}
        pods = {"type": "Pods", "value": ours.down_pods, "periodSeconds": ours.down_period_s}
        assert up == {"stabilizationWindowSeconds": ours.up_window_s, "policies": [percent]}
        assert down == {"stabilizationWindowSeconds": ours.down_window_s, "policies": [pods]}

    def test_pods_that_start_slowly_are_not_ordered_twice(self):
        scaler = self.scaler((0, 3.0), ready=3, behavior=Behavior(up_window_s=0))
        counts = [3]
        for now in (30, 45, 60, 75, 90, 105):
            counts.append(scaler.wanted(now, counts[-1]))
        assert counts[-1] == 9
