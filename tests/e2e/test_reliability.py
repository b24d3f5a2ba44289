"""Short slices of the reliability benchmark, and at night all of it.

The default run asserts what no machine may miss: answers, counts, what is kept. Figures in
seconds have generous bounds here; `make reliability` measures them.
"""

import pytest
import uvloop

from benchmarks.reliability import (
    fairness,
    faults,
    invariance,
    overload,
    recipients,
    resources,
    shutdown,
    slow_clients,
)

pytestmark = pytest.mark.undisturbed


def run(part):
    return uvloop.run(part)


def failures(report, *timed):
    """Return what a part missed, apart from checks whose names hold one of the words `timed`."""
    return [each for each in report.failures() if not any(word in each for word in timed)]


def figure(report, name):
    (check,) = (check for check in report.checks if check.name == name)
    return check.figure


def test_at_three_times_its_capacity_the_server_does_its_work_and_refuses_the_rest():
    report = run(overload.overload(multiples=[3], seconds=5, capacity_s=2.5))
    assert failures(report, "goodput", "p99") == []
    assert figure(report, "3x goodput / peak") >= 0.25
    point = report.figures["points"]["3x"]
    assert point["statuses"].keys() == {"200", "429"}
    assert point["accepted"]["p50_ms"] <= 3000


def test_after_a_burst_all_requests_are_answered_again():
    report = run(overload.recovery(calm_s=3.5, calm=0.25))
    assert failures(report, "p99") == []
    assert figure(report, "p99 from 2 s on / baseline") <= 20


def test_no_text_is_lost_doubled_or_answered_for_another_while_engines_die():
    report = run(recipients.recipients(texts=20_000, kill_every_s=0.5, kills=2))
    assert failures(report) == []
    assert report.figures["left"] > 0
    assert report.figures["answered"]["500"] > 0


def test_the_memory_of_ten_thousand_requests_is_given_back():
    report = run(resources.memory(requests=10_000, warm_up=2_000))
    assert failures(report) == []


@pytest.mark.nightly
def test_the_check_of_memory_finds_a_leak():
    assert failures(run(resources.leaking_memory(requests=5_000, warm_up=500))) == []


def test_nothing_stays_of_a_thousand_aborted_connections():
    assert failures(run(resources.connections(count=1_000))) == []


def test_an_idle_server_uses_no_processor():
    report = run(resources.idle(seconds=3))
    assert figure(report, "processor's share of one core") <= 0.03


def test_a_reader_of_logs_that_is_stuck_holds_up_no_request():
    report = run(faults.stuck_logs(seconds=3))
    assert failures(report, "slowest") == []
    assert figure(report, "slowest probe s") <= 2


def test_sigterm_under_load_loses_nothing_that_was_accepted():
    assert failures(run(shutdown.shutdown(runs=2))) == []


@pytest.mark.nightly
def test_clients_that_dawdle_are_cut_and_told_why_while_others_are_served():
    report = run(
        slow_clients.slow_clients(
            attackers=50,
            seconds=2,
            limits_s=(0.5, 1.5),
            head_timeout_s=0.5,
            body_timeout_s=1.5,
        )
    )
    assert failures(report, "p99") == []


@pytest.mark.nightly
@pytest.mark.parametrize(
    "part",
    [
        overload.retries,
        fairness.giants_beside_one,
        faults.stuck_logs,
        faults.full_disk,
        faults.no_descriptors,
        faults.tiny_chunks,
        invariance.invariance,
        recipients.recipients,
        resources.bad_memory,
        resources.connections,
        resources.memory,
        resources.real_memory,
        shutdown.shutdown,
        slow_clients.slow_clients,
    ],
    ids=lambda part: part.__name__,
)
def test_the_whole_of_this_part_holds(part):
    assert failures(run(part())) == []


@pytest.mark.nightly
def test_probes_stay_green_on_an_overloaded_machine():
    report = run(overload.real_overload(rounds=1, seconds=30))
    assert failures(report, "goodput", "accepted", "refused") == []


@pytest.mark.nightly
def test_a_stream_of_poison_costs_only_the_poisoned(record_property):
    report = run(faults.poison_stream())
    record_property("goodput_of_clean", report.figures["goodput_of_clean"])
    assert failures(report) == []
