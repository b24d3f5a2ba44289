"""The batcher around a real thread: what it promises to each caller."""

import asyncio
import gc
import threading

import numpy as np
import pytest

from sentiment.batching.batcher import Batcher
from sentiment.batching.worker import Outcome
from sentiment.engines.batches import PaddedBatch
from sentiment.errors import InferenceFailed, Unavailable, WorkerDown
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


def open_batcher(engine, metrics, **changes):
    options = {
        "reopen": lambda: engine,
        "token_budget": BUDGET,
        "max_backlog_s": 1000,
        "engine_timeout_s": 30,
        "metrics": metrics,
    }
    return Batcher(engine, **options | changes)


@pytest.fixture
async def batcher(engine, metrics):
    async with open_batcher(engine, metrics) as batcher:
        yield batcher


async def submit(batcher, *encodings, timeout_s=1000):
    lengths = np.array([float(len(ids)) for ids in encodings])
    with batcher.admit(lengths, timeout_s=timeout_s) as entry:
        return await batcher.submit(entry, encodings)


def metric(metrics, name):
    return metrics.registry.get_sample_value(f"sentiment_{name}")


async def test_a_submission_is_answered_row_by_row_in_its_own_order(batcher):
    encodings = [encoding(1, 2), encoding(3), encoding(4, 5, 6)]
    answer = await submit(batcher, *encodings)
    assert answer.logits.tolist() == [expected_logits(ids).tolist() for ids in encodings]
    assert answer.queue_s >= 0
    assert answer.infer_s > 0


async def test_submissions_that_wait_together_run_together(batcher, engine, metrics):
    async with engine.held():
        first = asyncio.create_task(submit(batcher, encoding(1)))
        await engine.entered()
        others = [asyncio.create_task(submit(batcher, encoding(i))) for i in range(2, 12)]
        await until(lambda: metric(metrics, "queue_tokens") == 10)
    await asyncio.gather(first, *others)
    assert sorted(map(len, engine.batches)) in ([1, 10], [1, 1, 9])


async def test_a_batch_begins_at_once_when_the_engine_is_free(batcher, engine):
    async with engine.held():
        submitted = asyncio.create_task(submit(batcher, encoding(1)))
        await engine.entered()  # though nothing else came
    await submitted


async def test_a_look_at_the_queue_does_not_take_from_the_loop_what_has_woken_it(batcher, metrics):
    # Between the arrival and the loop's own turn: then nothing else would wake it.
    looked = []
    submitted = asyncio.create_task(submit(batcher, encoding(1)))
    asyncio.get_running_loop().call_soon(lambda: looked.append(metric(metrics, "queue_texts")))
    async with asyncio.timeout(10):
        await submitted
    assert looked == [1]


async def test_a_large_submission_is_spread_over_batches_within_the_budget(batcher, engine):
    encodings = [encoding(*range(i, i + 30)) for i in range(10)]
    answer = await submit(batcher, *encodings)
    assert answer.logits.tolist() == [expected_logits(ids).tolist() for ids in encodings]
    assert [len(batch) for batch in engine.batches] == [3, 3, 3, 1]


async def test_every_answer_reaches_its_own_caller(batcher, engine):
    rng = np.random.default_rng(3)

    async def call():
        encodings = [rng.integers(1, 600, rng.integers(1, 9)) for _ in range(rng.integers(1, 7))]
        answer = await submit(batcher, *encodings)
        assert answer.logits.tolist() == [expected_logits(ids).tolist() for ids in encodings]

    await asyncio.gather(*(call() for _ in range(500)))
    assert len(engine.batches) > 20


async def test_a_poisonous_text_costs_its_own_submission_and_no_other(batcher, engine):
    async with engine.held():
        first = asyncio.create_task(submit(batcher, encoding(1)))
        await engine.entered()
        calls = [
            asyncio.create_task(submit(batcher, encoding(POISON if i == 20 else i)))
            for i in range(2, 34)
        ]
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(first, *calls, return_exceptions=True)
    failed = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
    assert failed == [19]
    assert isinstance(outcomes[19], InferenceFailed)
    assert batcher.running


async def test_the_rest_of_a_failed_submission_is_not_run(batcher, engine):
    poisoned = [encoding(POISON), *(encoding(*range(i, i + 90)) for i in range(5))]
    with pytest.raises(InferenceFailed):
        await submit(batcher, *poisoned)
    assert len({text for batch in engine.batches for text in batch}) <= 3  # ran, or stood ready
    await submit(batcher, encoding(7))


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
        await submit(batcher, encoding(1), encoding(2))
    engine.tamper = lambda logits: logits
    await submit(batcher, encoding(1))


async def test_a_cancelled_submission_never_reaches_the_engine(batcher, engine, metrics):
    async with engine.held():
        busy = asyncio.create_task(submit(batcher, encoding(1)))
        await engine.entered()
        abandoned = asyncio.create_task(submit(batcher, encoding(2)))
        await until(lambda: metric(metrics, "queue_tokens") == 1)
        abandoned.cancel()
        await until(abandoned.done)
        assert metric(metrics, "queue_tokens") == 0
    await busy
    await submit(batcher, encoding(3))
    assert engine.batches == [[(1,)], [(3,)]]


async def test_who_leaves_before_the_loop_has_looked_never_reaches_the_engine(batcher, engine):
    async with engine.held():
        busy = asyncio.create_task(submit(batcher, encoding(1)))
        await engine.entered()
        abandoned = asyncio.create_task(submit(batcher, encoding(2)))
        await until(lambda: batcher._arrivals.qsize() == 1)
        abandoned.cancel()
        await until(abandoned.done)
        assert batcher._arrivals.qsize() == 1
    await busy
    await submit(batcher, encoding(3))
    assert engine.batches == [[(1,)], [(3,)]]


async def test_a_caller_who_leaves_during_the_batch_harms_nobody(batcher, engine):
    async with engine.held():
        leaving = asyncio.create_task(submit(batcher, encoding(1)))
        await engine.entered()
        leaving.cancel()
    answer = await submit(batcher, encoding(2))
    assert answer.logits.tolist() == [expected_logits(encoding(2)).tolist()]


async def test_a_failure_that_meets_a_caller_who_just_left_is_no_reason_to_complain(
    engine, metrics
):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with open_batcher(engine, metrics) as batcher:
        with batcher.admit(np.array([1.0]), timeout_s=1000) as entry:
            waiting = asyncio.ensure_future(batcher.submit(entry, [encoding(1)]))
            entry.fail(InferenceFailed("poison"))
            waiting.cancel()
            await asyncio.wait([waiting])
    del entry, waiting
    gc.collect()
    assert complaints == []


async def test_a_request_begins_with_the_first_of_its_batches(batcher, engine, metrics):
    answer = await submit(batcher, *(encoding(*range(i, i + 60)) for i in range(5)))
    assert metric(metrics, "batch_texts_count") == 5
    assert metric(metrics, "queue_seconds_count") == 1
    assert answer.infer_s >= metric(metrics, "infer_seconds_sum")


async def test_what_the_thread_skipped_runs_if_somebody_wants_it_after_all(engine, metrics):
    jobs, finishers = [], []

    class Worker:
        def __init__(self, engine, finished, died):
            finishers.append(finished)

        def start(self, job):
            jobs.append(job)

        def stop(self):
            pass

    async with open_batcher(engine, metrics, open_worker=Worker) as batcher:
        leaving = asyncio.create_task(submit(batcher, encoding(1)))
        await until(lambda: jobs)
        leaving.cancel()
        await until(leaving.done)
        skipped = jobs.pop()
        assert not skipped.wanted()
        coming = asyncio.create_task(submit(batcher, encoding(1)))
        await asyncio.sleep(0)  # it has come, though it waits for nothing of its own
        finishers[0](skipped, Outcome(None, 0.0))
        await until(lambda: jobs)
        finishers[0](jobs[0], Outcome(engine.infer(jobs[0].batch), 0.01))
        assert (await coming).logits.tolist() == [expected_logits(encoding(1)).tolist()]


async def test_closing_answers_what_was_accepted_and_refuses_what_comes(engine, metrics):
    batcher = open_batcher(engine, metrics)
    async with engine.held(), batcher:
        accepted = [asyncio.create_task(submit(batcher, encoding(1)))]
        await engine.entered()
        accepted.append(asyncio.create_task(submit(batcher, encoding(2))))
        await until(lambda: metric(metrics, "queue_tokens") == 1)
        closing = asyncio.create_task(batcher.__aexit__(None, None, None))
        await until(lambda: not batcher.running)
        with pytest.raises(Unavailable):
            await submit(batcher, encoding(3))
        engine.release()
        await closing
    answers = await asyncio.gather(*accepted)
    assert [answer.logits.tolist() for answer in answers] == [
        [expected_logits(encoding(1)).tolist()],
        [expected_logits(encoding(2)).tolist()],
    ]


async def test_a_defect_of_ours_leaves_nobody_waiting(batcher, engine, metrics, monkeypatch):
    async with engine.held():
        running = asyncio.create_task(submit(batcher, encoding(1)))
        await engine.entered()
        waiting = asyncio.create_task(submit(batcher, encoding(2)))
        await until(lambda: metric(metrics, "queue_tokens") == 1)

        def broken(*_):
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(batcher._queue, "answer", broken)
            engine.release()
            for caller in (running, waiting):
                with pytest.raises(WorkerDown):
                    await caller
    await until(lambda: batcher.running)
    await submit(batcher, encoding(3))


async def test_a_cancelled_loop_leaves_nobody_waiting(batcher, engine):
    async with engine.held():
        waiting = asyncio.create_task(submit(batcher, encoding(1)))
        await engine.entered()
        batcher._task.cancel()
        with pytest.raises(Unavailable):
            await waiting
    assert not batcher.running
    with pytest.raises(Unavailable):
        await submit(batcher, encoding(3))


async def test_padding_is_counted_where_the_engine_pads(metrics):
    class PaddingEngine(GatedEngine):
        batch_type = PaddedBatch

        def infer(self, batch):
            return np.zeros((len(batch.ids), 3), np.float32)

    async with open_batcher(PaddingEngine(), metrics) as batcher:
        await submit(batcher, encoding(1, 2, 3), encoding(4))
    assert metric(metrics, "padding_ratio_sum") == pytest.approx(2 / 6)


async def test_batches_are_counted_by_texts_tokens_and_padding(batcher, metrics):
    await submit(batcher, encoding(1, 2, 3), encoding(4))
    await submit(batcher, encoding(5))
    assert metric(metrics, "batch_texts_sum") == 3
    assert metric(metrics, "batch_tokens_sum") == 5
    assert metric(metrics, "padding_ratio_sum") == 0
    assert metric(metrics, "infer_seconds_count") == 2
    assert metric(metrics, "queue_seconds_count") == 2
    assert metric(metrics, "prediction_error_ratio_count") == 1
    assert metric(metrics, "coalesced_total") == 0


async def test_a_thread_that_dies_is_replaced_and_its_callers_are_told(batcher, engine, metrics):
    def die(logits):
        raise SystemExit(1)

    engine.tamper = die
    with pytest.raises(WorkerDown):
        await submit(batcher, encoding(1))
    engine.tamper = lambda logits: logits
    await until(lambda: batcher.running)
    await submit(batcher, encoding(2))
    assert metric(metrics, "worker_restarts_total") == 1


async def test_a_thread_that_hangs_is_given_up_and_its_late_answer_reaches_nobody(metrics):
    hung, fresh = GatedEngine(), GatedEngine()
    async with open_batcher(hung, metrics, reopen=lambda: fresh, engine_timeout_s=0.05) as batcher:
        hung.hold()
        with pytest.raises(WorkerDown):
            await submit(batcher, encoding(1))
        await until(lambda: batcher.running)
        hung.release()
        answer = await submit(batcher, encoding(2))
        assert answer.logits.tolist() == [expected_logits(encoding(2)).tolist()]
        assert fresh.batches == [[(2,)]]


async def test_a_late_answer_is_not_taken_for_that_of_the_engine_that_serves(metrics):
    hung, fresh = GatedEngine(), GatedEngine()
    threads = set(threading.enumerate())
    async with open_batcher(hung, metrics, reopen=lambda: fresh, engine_timeout_s=0.05) as batcher:
        (thread,) = set(threading.enumerate()) - threads
        hung.hold()
        with pytest.raises(WorkerDown):
            await submit(batcher, encoding(1))
        await until(lambda: batcher.running)
        batcher._dispatcher._timeout_s = 30
        async with fresh.held():
            again = asyncio.create_task(submit(batcher, encoding(1)))
            await fresh.entered()
            hung.release()
            await asyncio.to_thread(thread.join)
            await asyncio.sleep(0)
            assert not again.done()
        await again
        await submit(batcher, encoding(2))
    assert metric(metrics, "worker_restarts_total") == 1


async def test_an_answer_that_cannot_be_delivered_leaves_nobody_waiting(batcher, engine):
    engine.tamper = lambda logits: logits[:, : 4 - len(engine.batches)]  # fewer from the second on
    texts = [encoding(*range(index, index + 60)) for index in range(3)]
    with pytest.raises(WorkerDown):
        await submit(batcher, *texts)


async def test_threads_end_with_the_batcher(engine, metrics):
    before = threading.active_count()
    async with open_batcher(engine, metrics) as batcher:
        await submit(batcher, encoding(1))
        assert threading.active_count() == before + 1
    await until(lambda: threading.active_count() == before)
