"""What load tests reckon; nothing here imports Locust, which would patch the standard library."""

import itertools
import math
import random

import pytest

from loadtests.answers import AnswerTable, Known
from loadtests.figures import GRACE_S, knee, step_figures, tail_of
from loadtests.lengths import quantiles
from loadtests.samples import ProcessorTime, Recording, Sample, Stage
from loadtests.shapes import SHAPES, Step, step_at
from loadtests.texts import Lengths, numbered_texts

STAGE = Stage(began_at=100.0, ended_at=110.0, load=1.0, rate=1.0)


def sample(scheduled_at, *, latency_s=0.1, outcome="right", texts=1, attempt=1, **other):
    kind = other.get("kind", "HeadlineSingles")
    ended_at = scheduled_at + latency_s
    return Sample(kind, scheduled_at, scheduled_at, ended_at, outcome, texts, attempt)


def known(text, positive):
    return Known(text, {"positive": positive, "negative": 1 - positive})


def figures_of(samples, stages=(STAGE,)):
    return step_figures(Recording(samples=list(samples), stages=list(stages)))


def steps_of(*shares):
    """Return steps of rising load in which these shares of ten texts were answered in time."""
    stages = [Stage(100.0 * n, 100.0 * n + 10, float(n), 1.0) for n in range(1, len(shares) + 1)]
    samples = [
        sample(stage.began_at + index, latency_s=0.1 if index < share * 10 else 50)
        for stage, share in zip(stages, shares, strict=True)
        for index in range(10)
    ]
    return figures_of(samples, stages)


def test_a_latency_counts_from_when_the_request_was_to_begin():
    late_start = Sample("HeadlineSingles", 100.0, 103.0, 103.5, "right", 1, 1)
    (step,) = figures_of([late_start])
    assert step.p50_ms == pytest.approx(3500)


def test_what_is_offered_counts_by_its_schedule_and_what_is_answered_by_its_end():
    before = sample(99.0, latency_s=2.0, texts=30)
    after = sample(109.0, latency_s=2.0, texts=50)
    (step,) = figures_of([before, after])
    assert (step.offered_texts_s, step.answered_texts_s) == (5.0, 3.0)


def test_an_arrival_that_comes_back_is_offered_once():
    refused = sample(101.0, outcome="refused", texts=10)
    answered = sample(101.0, latency_s=5.0, texts=10, attempt=2)
    (step,) = figures_of([refused, answered])
    assert (step.offered_requests_s, step.refused, step.came_back) == (0.1, 1.0, 1)
    assert step.tail.samples == 0  # its latency is what it was told to wait


def test_hostile_clients_are_no_load_but_their_failures_count():
    bad = sample(101.0, kind="HostileClients", outcome="failed")
    (step,) = figures_of([bad])
    assert (step.offered_requests_s, step.failed) == (0.0, 1)


def test_the_knee_is_the_last_step_before_the_first_that_was_too_much():
    assert knee(steps_of(1, 1, 0.5, 1)) == 1


def test_a_first_step_that_is_too_much_leaves_no_knee():
    assert knee(steps_of(0.5, 1)) is None


def test_a_load_that_never_is_too_much_puts_the_knee_at_its_highest_step():
    assert knee(steps_of(1, 1, 1)) == 2


def test_a_text_that_has_its_answer_soon_after_the_step_is_not_left_over():
    soon, late = sample(109.0, latency_s=GRACE_S), sample(109.0, latency_s=GRACE_S + 2)
    (step,) = figures_of([soon, late])
    assert step.left_over == 0.5


def test_an_arrival_that_gave_up_is_left_over():
    attempts = [sample(101.0, outcome="refused", attempt=n) for n in (1, 2)]
    (step,) = figures_of([*attempts, sample(101.0, outcome="gave up", attempt=3)])
    assert (step.left_over, step.gave_up, step.attempts_s) == (1.0, 1, 0.3)


def simulated_steps(*loads, seconds=60.0, texts_s=500.0):
    """Return the steps of a server with one queue that does so many texts a second."""
    source, free_at = random.Random(7), 0.0
    samples, stages = [], []
    for number, load in enumerate(loads):
        stages.append(Stage(number * seconds, (number + 1) * seconds, load, load))
        at = stages[-1].began_at
        # A text in most requests, up to 500 in some: 7 on average, as in the mix of users.
        while (at := at + source.expovariate(load * texts_s / 7)) < stages[-1].ended_at:
            texts = 1 if source.random() < 0.95 else round(math.exp(source.uniform(2.3, 6.2)))
            free_at = max(free_at, at) + texts / texts_s
            samples.append(sample(at, latency_s=free_at - at, texts=texts))
    return figures_of(samples, stages)


def test_a_server_that_does_what_is_asked_of_it_keeps_up_though_chance_brings_large_requests():
    assert [step.keeps_up for step in simulated_steps(0.5, 0.7, 0.85)] == [True] * 3


def test_a_server_that_does_less_than_is_asked_of_it_does_not_keep_up():
    assert [step.keeps_up for step in simulated_steps(0.5, 1.2, 1.5)] == [True, False, False]


def test_p99_is_told_from_a_thousand_samples_and_p95_from_two_hundred():
    assert [tail_of(range(n)).name for n in (0, 199, 200, 999, 1000)] == [
        *("max", "max", "p95", "p95", "p99")
    ]


def test_the_interval_of_a_percentile_holds_it_in_nineteen_of_twenty_runs():
    source = random.Random(1)
    tails = [tail_of([source.expovariate(1) for _ in range(1000)]) for _ in range(300)]
    held = sum(tail.low_ms <= math.log(100) <= tail.high_ms for tail in tails)
    assert 0.92 < held / len(tails) < 0.99


def test_a_step_is_marked_in_which_the_load_generator_was_late():
    on_time = Sample("HeadlineSingles", 101.0, 101.001, 101.1, "right", 1, 1)
    late = Sample("HeadlineSingles", 102.0, 102.08, 102.1, "right", 1, 1)
    assert [figures_of([each])[0].late_start_matters for each in (on_time, late)] == [False, True]


def test_the_busiest_process_of_the_load_generator_is_told():
    times = [ProcessorTime(name, at, at * share) for at in (99.0, 101.0, 109.0)
             for name, share in (("a", 0.25), ("b", 0.75))]  # fmt: skip
    recording = Recording(stages=[STAGE], processor_times=times)
    assert step_figures(recording)[0].generator_cpu == pytest.approx(0.75)


def test_a_stage_ends_where_the_next_begins():
    recording = Recording()
    recording.begin_stage(1.0, rate=5.0, at=100.0)
    recording.begin_stage(2.0, rate=10.0, at=121.5)
    recording.end_stage(140.0)
    recording.end_stage(150.0)  # it has ended
    ends = [(stage.began_at, stage.ended_at) for stage in recording.stages]
    assert ends == [(100.0, 121.5), (121.5, 140.0)]


def test_an_arrival_without_a_sample_is_lost():
    recording = Recording(arrivals=2, workers_arrivals={"worker": 1})
    recording.samples += [sample(101.0, outcome="refused"), sample(101.0, attempt=2)]
    assert recording.lost == 2


def test_a_single_failure_is_too_much():
    (step,) = figures_of([sample(101.0), sample(102.0, outcome="wrong", texts=0)])
    assert step.left_over == 0
    assert not step.keeps_up


def test_exchanged_answers_of_an_array_show():
    asked = [known("a", 0.9), known("b", 0.8)]
    table = AnswerTable({"headline": asked}, tolerance=0.01)
    right = [{"label": "positive", "score": 0.9}, {"label": "positive", "score": 0.8}]
    assert table.wrong(asked, right) == ""
    assert table.wrong(asked, right[::-1]) == "an answer that is not this text's"
    assert table.wrong(asked, right[:1]) == "not one answer for each text"


def test_a_score_may_move_as_far_as_the_precision_lets_it():
    table = AnswerTable({"headline": [known("a", 0.5)]}, tolerance=0.01)
    undecided = [{"label": "negative", "score": 0.505}]
    assert table.wrong([known("a", 0.501)], undecided) == ""


def test_a_label_must_be_about_as_likely_as_the_best_one():
    table = AnswerTable({"headline": [known("a", 0.9)]}, tolerance=0.01)
    its_own_but_not_the_best = [{"label": "negative", "score": 0.1}]
    assert table.wrong([known("a", 0.9)], its_own_but_not_the_best) != ""


def test_a_table_says_how_many_exchanges_would_show():
    alike = AnswerTable({"headline": [known("a", 0.9), known("b", 0.9)]}, tolerance=0.01)
    unlike = AnswerTable({"headline": [known("a", 0.9), known("b", 0.8)]}, tolerance=0.01)
    assert (alike.told_apart(), unlike.told_apart()) == (0.0, 1.0)


def test_no_text_comes_back_before_all_others_have_been_asked():
    table = AnswerTable({"headline": [known(str(n), 0.9) for n in range(10)]}, tolerance=0.01)
    taken = [one.text for one in table.take("headline", 10)]
    assert len(set(taken)) == 10


def test_every_text_has_its_number_and_no_sentence_ends_inside_it():
    texts = list(itertools.islice(numbered_texts("sentence"), 500))
    assert [text.split()[-2:] for text in texts] == [["note", str(n)] for n in range(500)]
    assert not any(word.endswith((".", "!", "?")) for text in texts for word in text.split())


def test_two_processes_do_not_ask_for_the_same_texts():
    first, second = (set(itertools.islice(numbered_texts("headline", n), 500)) for n in (0, 1))
    assert not first & second


@pytest.mark.parametrize("kind", ["headline", "sentence", "article"])
def test_drawn_lengths_have_the_quantiles_of_the_table(kind):
    source = random.Random(1)
    lengths = Lengths.read()
    drawn = [lengths.draw(kind, source) for _ in range(20_000)]
    for expected, found in zip(lengths._words[kind][1:-1], quantiles(drawn)[1:-1], strict=True):
        assert found == pytest.approx(expected, rel=0.15, abs=1)


def test_a_step_lasts_until_the_next_begins():
    steps = [Step(10, 1), Step(5, 2)]
    assert [step_at(steps, at) for at in (0, 9.9, 10, 14.9, 15)] == [0, 0, 1, 1, None]


def test_the_spike_is_ten_times_what_goes_before():
    before, spike, after = SHAPES["spike"]
    assert spike.load == 10 * before.load == 10 * after.load
