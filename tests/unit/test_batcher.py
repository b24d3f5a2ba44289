import asyncio

import numpy as np
import pytest

from sentiment.batching.batcher import Batcher
from sentiment.engines.batches import PaddedBatch
from sentiment.errors import InferenceFailed, Overloaded, Unavailable
from sentiment.metrics import Metrics
from tests.doubles import POISON, GatedEngine, expected_logits, until

BUDGET = 100


def encoding(*ids):
    return np.array(ids, dtype=np.int64)


@pytest.fixture
def engine():
    return GatedEngine()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
async def batcher(engine, metrics):
    async with Batcher(
        engine, token_budget=BUDGET, max_queue_tokens=50, metrics=metrics
    ) as batcher:
        yield batcher


def gauge(metrics, name):
    return metrics.registry.get_sample_value(f"sentiment_{name}")


async def test_a_submission_is_answered_row_by_row_in_its_own_order(batcher):
    encodings = [encoding(1, 2), encoding(3), encoding(4, 5, 6)]
    answer = await batcher.submit(encodings)
    assert answer.logits.tolist() == [expected_logits(ids).tolist() for ids in encodings]
    assert answer.queue_s >= 0
    assert answer.infer_s > 0


async def test_submissions_that_wait_together_run_together(batcher, engine, metrics):
    async with engine.held():
        first = asyncio.create_task(batcher.submit([encoding(1)]))
        await engine.entered()
        others = [asyncio.create_task(batcher.submit([encoding(i)])) for i in range(2, 12)]
        await until(lambda: gauge(metrics, "queue_texts") == 10)
    await asyncio.gather(first, *others)
    assert [len(batch) for batch in engine.batches] == [1, 10]


async def test_a_batch_begins_at_once_when_the_engine_is_free(batcher, engine):
    async with engine.held():
        submitted = asyncio.create_task(batcher.submit([encoding(1)]))
        await engine.entered()  # though nothing else came
    await submitted


async def test_a_large_submission_is_spread_over_batches_within_the_budget(batcher, engine):
    encodings = [encoding(*range(i, i + 30)) for i in range(10)]
    answer = await batcher.submit(encodings)
    assert answer.logits.tolist() == [expected_logits(ids).tolist() for ids in encodings]
    assert [len(batch) for batch in engine.batches] == [3, 3, 3, 1]


async def test_every_answer_reaches_its_own_caller(engine, metrics):
    rng = np.random.default_rng(3)

    async def call():
        encodings = [rng.integers(1, 600, rng.integers(1, 9)) for _ in range(rng.integers(1, 7))]
        answer = await batcher.submit(encodings)
        assert answer.logits.tolist() == [expected_logits(ids).tolist() for ids in encodings]

    async with Batcher(
        engine, token_budget=BUDGET, max_queue_tokens=100_000, metrics=metrics
    ) as batcher:
        await asyncio.gather(*(call() for _ in range(500)))
    assert len(engine.batches) > 20


async def test_a_failing_batch_fails_its_submissions_and_no_others(batcher, engine):
    with pytest.raises(InferenceFailed):
        await batcher.submit([encoding(1), encoding(POISON)])
    answer = await batcher.submit([encoding(1)])
    assert answer.logits.tolist() == [expected_logits(encoding(1)).tolist()]
    assert batcher.running


async def test_the_rest_of_a_failed_submission_is_not_run(batcher, engine):
    poisoned = [encoding(POISON), *(encoding(*range(90)) for _ in range(5))]
    with pytest.raises(InferenceFailed):
        await batcher.submit(poisoned)
    await batcher.submit([encoding(7)])
    assert len(engine.batches) == 2


@pytest.mark.parametrize(
    "tamper",
    [
        lambda logits: logits[:-1],
        lambda logits: np.concatenate([logits, logits[:1]]),
        lambda logits: np.full_like(logits, np.nan),
        lambda logits: np.full_like(logits, np.inf),
    ],
    ids=["a row too few", "a row too many", "NaN", "infinity"],
)
async def test_an_engine_that_answers_nonsense_answers_nobody(batcher, engine, tamper):
    engine.tamper = tamper
    with pytest.raises(InferenceFailed):
        await batcher.submit([encoding(1), encoding(2)])
    engine.tamper = lambda logits: logits
    await batcher.submit([encoding(1)])


async def test_a_cancelled_submission_never_reaches_the_engine(batcher, engine, metrics):
    async with engine.held():
        busy = asyncio.create_task(batcher.submit([encoding(1)]))
        await engine.entered()
        abandoned = asyncio.create_task(batcher.submit([encoding(2)]))
        await until(lambda: gauge(metrics, "queue_texts") == 1)
        abandoned.cancel()
    await busy
    await batcher.submit([encoding(3)])
    assert engine.batches == [[(1,)], [(3,)]]


async def test_a_caller_who_leaves_during_the_batch_harms_nobody(batcher, engine):
    async with engine.held():
        leaving = asyncio.create_task(batcher.submit([encoding(1)]))
        await engine.entered()
        leaving.cancel()
    answer = await batcher.submit([encoding(2)])
    assert answer.logits.tolist() == [expected_logits(encoding(2)).tolist()]


async def test_a_full_queue_refuses_and_says_when_to_come_back(batcher, engine, metrics):
    await batcher.submit([encoding(1)])  # a rate to predict from
    async with engine.held():
        running = asyncio.create_task(batcher.submit([encoding(1)]))
        await engine.entered()
        waiting = asyncio.create_task(batcher.submit([encoding(*range(1, 61))]))
        await until(lambda: gauge(metrics, "queue_tokens") == 60)
        with pytest.raises(Overloaded, match="60 tokens wait, more than 50") as refusal:
            await batcher.submit([encoding(2)])
    assert refusal.value.retry_after_s > 0
    await asyncio.gather(running, waiting)
    await batcher.submit([encoding(2)])


async def test_an_idle_batcher_takes_a_submission_larger_than_its_queue(batcher):
    answer = await batcher.submit([encoding(*range(1, 80)) for _ in range(4)])
    assert len(answer.logits) == 4


async def test_closing_answers_what_was_accepted_and_refuses_what_comes(engine, metrics):
    batcher = Batcher(engine, token_budget=BUDGET, max_queue_tokens=50, metrics=metrics)
    async with engine.held(), batcher:
        accepted = [asyncio.create_task(batcher.submit([encoding(1)]))]
        await engine.entered()
        accepted.append(asyncio.create_task(batcher.submit([encoding(2)])))
        await until(lambda: gauge(metrics, "queue_texts") == 1)
        closing = asyncio.create_task(batcher.__aexit__(None, None, None))
        await until(lambda: not batcher.running)
        with pytest.raises(Unavailable):
            await batcher.submit([encoding(3)])
        engine.release()
        await closing
    answers = await asyncio.gather(*accepted)
    assert [answer.logits.tolist() for answer in answers] == [
        [expected_logits(encoding(1)).tolist()],
        [expected_logits(encoding(2)).tolist()],
    ]


async def test_when_the_loop_dies_everybody_hears_of_it(batcher, engine, metrics, monkeypatch):
    async with engine.held():
        running = asyncio.create_task(batcher.submit([encoding(1)]))
        await engine.entered()
        waiting = asyncio.create_task(batcher.submit([encoding(2)]))
        await until(lambda: gauge(metrics, "queue_texts") == 1)
        # A defect outside the engine: what `except Exception` around a batch does not see.
        monkeypatch.setattr(
            "sentiment.batching.batcher.smoothed", lambda *_: (_ for _ in ()).throw(MemoryError())
        )
    for caller in (running, waiting):
        with pytest.raises(Unavailable):
            await caller
    assert not batcher.running
    with pytest.raises(Unavailable):
        await batcher.submit([encoding(3)])


async def test_an_empty_submission_is_refused_and_harms_nobody(batcher):
    with pytest.raises(ValueError, match="nothing to classify"):
        await batcher.submit([])
    await batcher.submit([encoding(1)])


async def test_padding_is_counted_where_the_engine_pads(metrics):
    class PaddingEngine(GatedEngine):
        batch_type = PaddedBatch

        def infer(self, batch):
            return np.zeros((len(batch.ids), 3), np.float32)

    async with Batcher(
        PaddingEngine(), token_budget=BUDGET, max_queue_tokens=50, metrics=metrics
    ) as batcher:
        await batcher.submit([encoding(1, 2, 3), encoding(4)])
    assert metrics.registry.get_sample_value("sentiment_padding_ratio_sum") == pytest.approx(2 / 6)


async def test_a_cancelled_loop_leaves_nobody_waiting(batcher, engine):
    async with engine.held():
        waiting = asyncio.create_task(batcher.submit([encoding(1)]))
        await engine.entered()
        batcher._task.cancel()
        with pytest.raises(Unavailable):
            await waiting
    assert not batcher.running


async def test_batches_are_counted_by_texts_tokens_and_padding(batcher, metrics):
    await batcher.submit([encoding(1, 2, 3), encoding(4)])
    value = metrics.registry.get_sample_value
    assert value("sentiment_batch_texts_sum") == 2
    assert value("sentiment_batch_tokens_sum") == 4
    assert value("sentiment_padding_ratio_sum") == 0
    assert value("sentiment_infer_seconds_count") == 1
    assert value("sentiment_queue_seconds_count") == 1
