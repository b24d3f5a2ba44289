"""What load tests reckon; nothing here imports Locust, which would patch the standard library."""

import itertools
import random

import pytest

from loadtests.answers import AnswerTable, Known
from loadtests.figures import knee, step_figures
from loadtests.lengths import quantiles
from loadtests.samples import Sample, Stage
from loadtests.shapes import SHAPES, Step, step_at
from loadtests.texts import Lengths, numbered_texts

STAGE = Stage(began_at=100.0, ended_at=110.0, load=1.0, rate=1.0)


def sample(scheduled_at, *, latency_s=0.1, outcome="right", texts=1, attempt=1, **other):
    kind = other.get("kind", "HeadlineSingles")
    ended_at = scheduled_at + latency_s
    return Sample(kind, scheduled_at, scheduled_at, ended_at, outcome, texts, attempt)


def known(text, positive):
    return Known(text, {"positive": positive, "negative": 1 - positive})


def steps_of(*shares):
    """Return steps of rising load in which these shares of ten texts were answered in time."""
    stages = [Stage(100.0 * n, 100.0 * n + 10, float(n), 1.0) for n in range(1, len(shares) + 1)]
    samples = [
        sample(stage.began_at + index, latency_s=0.1 if index < share * 10 else 50)
        for stage, share in zip(stages, shares, strict=True)
        for index in range(10)
    ]
    return step_figures(samples, stages)


def test_a_latency_counts_from_when_the_request_was_to_begin():
    late_start = Sample("HeadlineSingles", 100.0, 103.0, 103.5, "right", 1, 1)
    (step,) = step_figures([late_start], [STAGE])
    assert step.p50_ms == pytest.approx(3500)


def test_what_is_offered_counts_by_its_schedule_and_what_is_answered_by_its_end():
    before = sample(99.0, latency_s=2.0, texts=30)
    after = sample(109.0, latency_s=2.0, texts=50)
    (step,) = step_figures([before, after], [STAGE])
    assert (step.offered_texts_s, step.answered_texts_s) == (5.0, 3.0)


def test_an_arrival_that_comes_back_is_offered_once():
    refused = sample(101.0, outcome="refused", texts=10)
    answered = sample(101.0, latency_s=5.0, texts=10, attempt=2)
    (step,) = step_figures([refused, answered], [STAGE])
    assert (step.offered_requests_s, step.refused, step.came_back) == (0.1, 1.0, 1)
    assert step.timed == 0  # its latency is what it was told to wait


def test_hostile_clients_are_no_load_but_their_failures_count():
    bad = sample(101.0, kind="HostileClients", outcome="failed")
    (step,) = step_figures([bad], [STAGE])
    assert (step.offered_requests_s, step.failed) == (0.0, 1)


def test_the_knee_is_the_last_step_before_the_first_that_was_too_much():
    assert knee(steps_of(1, 1, 0.5, 1)) == 1


def test_a_first_step_that_is_too_much_leaves_no_knee():
    assert knee(steps_of(0.5, 1)) is None


def test_a_load_that_never_is_too_much_puts_the_knee_at_its_highest_step():
    assert knee(steps_of(1, 1, 1)) == 2


def test_a_single_failure_is_too_much():
    (step,) = step_figures([sample(101.0), sample(102.0, outcome="wrong", texts=0)], [STAGE])
    assert step.answered_texts_s == step.offered_texts_s
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
