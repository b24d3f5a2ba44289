"""The batcher on a virtual clock with an engine of known service time: when what happens."""

import asyncio
import contextlib
import functools
import math
import time

import numpy as np
import pytest

from sentiment.batching.batcher import MAX_HUNG_ENGINES, Batcher
from sentiment.batching.dispatcher import GROWTH_BATCHES, SUSPICIOUS_FAILURES
from sentiment.engines.batches import PaddedBatch
from sentiment.errors import (
    DeadlineExceeded,
    InferenceFailed,
    OutOfMemory,
    Overloaded,
    WorkerDown,
)
from sentiment.metrics import Metrics
from sentiment.planning.virtual import run_virtually
from tests.doubles import POISON, expected_logits
from tests.virtual import VirtualEngine

TEXT_TOKENS = 32
BUDGET = 1024


class Bench:
    """A batcher around a virtual engine, and callers who know what they should get."""

    def __init__(self, engine=None, **options):
        self.engine = engine or VirtualEngine()
        self.metrics = Metrics()
        self.options = options
        self.fresh = 1000

    async def __aenter__(self):
        self.now = asyncio.get_running_loop().time
        options = {
            "reopen": self.engine.reopen,
            "token_budget": BUDGET,
            "max_backlog_s": 10,
            "engine_timeout_s": 30,
        }
        self.batcher = Batcher(
            self.engine,
            metrics=self.metrics,
            open_worker=self.engine.open_worker,
            clock=self.now,
            **options | self.options,
        )
        await self.batcher.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.batcher.__aexit__(None, None, None)

    def text(self, tokens=TEXT_TOKENS):
        """Return an encoding that nobody else sends."""
        self.fresh += 1
        return np.array([self.fresh] + [1] * (tokens - 1))

    def texts(self, count, tokens=TEXT_TOKENS):
        return [self.text(tokens) for _ in range(count)]

    async def call(self, *encodings, timeout_s=math.inf):
        """Submit, check the answer, and return the seconds that it took."""
        began_at = self.now()
        lengths = np.array([float(len(ids)) for ids in encodings])
        async with asyncio.timeout(None if math.isinf(timeout_s) else timeout_s):
            with self.batcher.admit(lengths, timeout_s=timeout_s) as entry:
                answer = await self.batcher.submit(entry, encodings)
        expected = [expected_logits(ids).tolist() for ids in encodings]
        assert answer.logits.tolist() == expected
        return self.now() - began_at

    def spawn(self, *encodings, **options):
        return asyncio.create_task(self.call(*encodings, **options))

    async def learn(self):
        """Let the cost model see small and full batches."""
        for _ in range(3):
            await self.call(self.text())
            await self.call(*self.texts(64))

    def metric(self, name):
        return self.metrics.registry.get_sample_value(f"sentiment_{name}")


def virtually(test):
    """Run an async test on the virtual clock."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        run_virtually(test(*args, **kwargs))

    return run


FULL_BATCH_S = VirtualEngine().base_s + VirtualEngine().token_s * BUDGET


@virtually
async def test_an_idle_engine_takes_a_single_text_at_once():
    async with Bench() as bench:
        assert await bench.call(bench.text()) == pytest.approx(0.02 + 0.032)


@virtually
async def test_the_engine_never_stands_idle_while_something_waits():
    async with Bench() as bench:
        await bench.learn()
        seconds = await bench.call(*bench.texts(32 * 50))
        assert seconds == pytest.approx(50 * FULL_BATCH_S, rel=1e-3)


@virtually
async def test_a_large_request_raises_a_single_text_to_two_batch_times_at_most():
    async with Bench(max_backlog_s=1000) as bench:
        await bench.learn()
        large = bench.spawn(*bench.texts(4096))
        rng = np.random.default_rng(0)
        singles = []
        while not large.done():
            await asyncio.sleep(rng.uniform(0, 0.4))
            singles.append(bench.spawn(bench.text(30)))
        latencies = await asyncio.gather(*singles)
        assert len(latencies) > 300
        assert max(latencies) <= 2 * FULL_BATCH_S + 0.01
        shared_s = 30 * len(singles) * bench.engine.token_s
        assert await large <= 128 * FULL_BATCH_S + shared_s * 1.1


@virtually
async def test_ten_large_requests_do_not_starve_a_single_text():
    async with Bench(max_backlog_s=10_000) as bench:
        await bench.learn()
        large = [bench.spawn(*bench.texts(2000)) for _ in range(10)]
        await asyncio.sleep(1)
        for _ in range(20):
            # Ten turns of 128 tokens come before: one batch more.
            assert await bench.call(bench.text()) <= 3 * FULL_BATCH_S + 0.01
        for task in large:
            task.cancel()


@virtually
async def test_more_work_ahead_than_the_limit_is_refused_with_a_time_to_come_back():
    async with Bench() as bench:
        await bench.learn()
        accepted, refusals = [], []
        while len(refusals) < 50:
            accepted.append(bench.spawn(bench.text()))
            await asyncio.sleep(0)
            try:
                bench.batcher.check_admission()
            except Overloaded as refusal:
                refusals.append(refusal)
                accepted.pop().cancel()
                await asyncio.sleep(0)
        latencies = await asyncio.gather(*accepted)
        assert max(latencies) <= 10 + 2 * FULL_BATCH_S
        assert max(latencies) >= 9  # nor is it refused too early
        assert all(5 <= refusal.retry_after_s <= 11 for refusal in refusals)
        assert len({refusal.retry_after_s for refusal in refusals}) > 40  # jitter


@virtually
async def test_under_lasting_overload_requests_of_any_size_wait_no_longer_than_the_limit():
    async with Bench() as bench:
        await bench.learn()
        accepted = []
        rng = np.random.default_rng(1)
        for _ in range(3000):
            await asyncio.sleep(rng.exponential(8 * 0.032 / 3))  # three times the capacity
            with contextlib.suppress(Overloaded):
                bench.batcher.check_admission()
                accepted.append(bench.spawn(*bench.texts(int(rng.choice([1, 8, 15])))))
        outcomes = await asyncio.gather(*accepted, return_exceptions=True)
        latencies = [outcome for outcome in outcomes if isinstance(outcome, float)]
        assert len(latencies) > 500
        assert np.percentile(latencies, 99) <= 10 + 2 * FULL_BATCH_S


@virtually
async def test_an_idle_server_takes_any_request_whatever_its_size():
    async with Bench(max_backlog_s=1) as bench:
        await bench.learn()
        assert await bench.call(*bench.texts(4096)) > 100


@virtually
async def test_a_large_request_does_not_close_the_door_to_single_texts():
    async with Bench(max_backlog_s=1) as bench:
        await bench.learn()
        large = bench.spawn(*bench.texts(4096))
        await asyncio.sleep(1)
        assert bench.metric("backlog_seconds") > 100
        await bench.call(bench.text())
        with pytest.raises(Overloaded):
            await bench.call(*bench.texts(4096))
        large.cancel()


@virtually
async def test_a_request_that_cannot_meet_its_deadline_is_told_at_once_how_many_could():
    async with Bench() as bench:
        await bench.learn()
        began_at = bench.now()
        with pytest.raises(DeadlineExceeded, match=r"within 20 s") as no:
            await bench.call(*bench.texts(4096), timeout_s=20)
        assert bench.now() == began_at
        assert bench.metric("queue_tokens") == 0
        fits = no.value.texts_that_fit
        assert 0.9 * 20 / FULL_BATCH_S * 32 < fits < 4096
        assert await bench.call(*bench.texts(int(0.98 * fits)), timeout_s=20) <= 20


@virtually
async def test_what_expires_in_the_queue_never_runs():
    async with Bench() as bench:
        await bench.learn()
        bench.engine.token_s *= 2  # slower than predicted, or it would be refused at once
        busy = [bench.spawn(bench.text()) for _ in range(64)]
        await asyncio.sleep(0.01)
        expired = bench.text()
        with pytest.raises(TimeoutError):
            await bench.call(expired, timeout_s=2.5)
        await asyncio.gather(*busy)
        await bench.call(bench.text())
        assert not any(tuple(expired) in batch for batch in bench.engine.batches)


@virtually
async def test_equal_texts_in_flight_share_a_pass():
    async with Bench() as bench:
        busy = bench.spawn(bench.text())
        await asyncio.sleep(0.001)
        text = bench.text()
        await asyncio.gather(*(bench.call(text) for _ in range(50)), busy)
        assert sum(batch.count(tuple(text)) for batch in bench.engine.batches) == 1
        assert bench.metric("coalesced_total") == 49


@virtually
async def test_a_text_that_a_large_request_has_at_its_end_is_not_held_up_by_it():
    async with Bench(max_backlog_s=1000) as bench:
        await bench.learn()
        texts = bench.texts(4096)
        large = bench.spawn(*texts)
        await asyncio.sleep(1)
        for wanted in (texts[-1], texts[-2]):
            assert await bench.call(wanted) <= 2 * FULL_BATCH_S + 0.01
        await large
        assert sum(batch.count(tuple(texts[-1])) for batch in bench.engine.batches) == 1


@virtually
async def test_a_text_that_was_inherited_goes_to_whom_it_holds_up_least():
    async with Bench(max_backlog_s=1000) as bench:
        await bench.learn()
        busy = bench.spawn(*bench.texts(64))
        await asyncio.sleep(0.001)
        text = bench.text()
        leaving = bench.spawn(text)
        await asyncio.sleep(0)
        large = bench.spawn(*bench.texts(4095), text)
        await asyncio.sleep(0)
        small = bench.spawn(text)
        await asyncio.sleep(0.001)
        assert bench.metric("queue_texts") > 4095  # all of them have arrived
        leaving.cancel()
        assert await small <= 4 * FULL_BATCH_S
        large.cancel()
        await busy


@virtually
async def test_what_was_taken_to_be_sorted_still_counts_as_backlog():
    async with Bench(VirtualEngine(batch_type=PaddedBatch)) as bench:
        await bench.learn()
        call = bench.spawn(*bench.texts(32 * 8))
        await asyncio.sleep(0.001)
        assert bench.metric("queue_tokens") == 4 * BUDGET
        assert bench.metric("backlog_seconds") == pytest.approx(8 * FULL_BATCH_S, rel=0.05)
        await call
        assert bench.metric("backlog_seconds") == 0


@virtually
async def test_a_slow_spell_does_not_refuse_short_deadlines_for_ever():
    async with Bench() as bench:
        bench.engine.base_s = 3
        for _ in range(20):
            await bench.call(bench.text())
        bench.engine.base_s = 0.02
        outcomes = [
            await asyncio.gather(bench.call(bench.text(), timeout_s=1), return_exceptions=True)
            for _ in range(20)
        ]
        assert isinstance(outcomes[-1][0], float)


@pytest.mark.parametrize("place", [0, 1, 15, 16, 30, 31])
@virtually
async def test_one_poisonous_text_of_thirty_two_is_found_in_eleven_passes(place):
    async with Bench() as bench:
        busy = bench.spawn(bench.text())
        await asyncio.sleep(0.001)
        texts = bench.texts(32)
        texts[place] = np.array([POISON])
        outcomes = await asyncio.gather(
            *(bench.call(text) for text in texts), busy, return_exceptions=True
        )
        failed = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
        assert failed == [place]
        assert isinstance(outcomes[place], InferenceFailed)
        assert bench.engine.calls - 2 <= 11
        assert bench.metric("failed_batches_total") == 6
        assert bench.engine.openings == 1


@virtually
async def test_memory_that_runs_out_halves_the_budget_and_fails_nobody():
    async with Bench() as bench:
        bench.engine.memory_tokens = 300
        await asyncio.gather(*(bench.call(bench.text()) for _ in range(200)))
        assert 128 <= bench.metric("token_budget") <= 300
        bench.engine.memory_tokens = 10**9
        for _ in range(3 * GROWTH_BATCHES):
            await bench.call(bench.text())
        assert bench.metric("token_budget") == BUDGET


@virtually
async def test_a_text_that_alone_exhausts_memory_is_refused_alone():
    async with Bench() as bench:
        bench.engine.memory_tokens = 100
        outcomes = await asyncio.gather(
            bench.call(bench.text(200)), bench.call(bench.text(50)), return_exceptions=True
        )
        assert isinstance(outcomes[0], OutOfMemory)
        assert isinstance(outcomes[1], float)


@virtually
async def test_an_engine_that_hangs_is_noticed_at_its_limit_and_replaced():
    async with Bench(engine_timeout_s=5) as bench:
        bench.engine.hangs = True
        began_at = bench.now()
        callers = [bench.spawn(bench.text()) for _ in range(40)]
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert bench.now() - began_at == pytest.approx(5)
        assert all(isinstance(outcome, WorkerDown) for outcome in outcomes)
        assert not bench.batcher.running
        with pytest.raises(WorkerDown):
            await bench.call(bench.text())
        bench.engine.hangs = False
        await asyncio.sleep(1)
        await bench.call(bench.text())
        assert bench.metric("worker_restarts_total") == 1


@virtually
async def test_a_hang_is_noticed_at_its_limit_though_nothing_else_comes():
    async with Bench(engine_timeout_s=5) as bench:
        await bench.learn()
        bench.engine.hangs = True
        began_at = bench.now()
        with pytest.raises(WorkerDown):
            await bench.call(bench.text(), timeout_s=100)
        assert bench.now() - began_at == pytest.approx(5)
        bench.engine.hangs = False


@virtually
async def test_an_engine_that_dies_is_noticed_at_once_and_replaced():
    async with Bench() as bench:
        bench.engine.dies = True
        began_at = bench.now()
        outcomes = await asyncio.gather(
            *(bench.call(bench.text()) for _ in range(40)), return_exceptions=True
        )
        assert bench.now() - began_at <= 2 * FULL_BATCH_S
        assert all(isinstance(outcome, WorkerDown) for outcome in outcomes)
        await asyncio.sleep(1)
        await bench.call(bench.text())
        assert bench.engine.openings == 2


@virtually
async def test_an_engine_that_dies_again_and_again_is_opened_ever_more_rarely():
    async with Bench() as bench:
        for _ in range(600):
            bench.engine.dies = True
            try:
                await bench.call(bench.text())
            except WorkerDown:
                await asyncio.sleep(0.5)
        assert bench.engine.openings < 30


@virtually
async def test_an_engine_that_cannot_be_opened_is_tried_again():
    async with Bench() as bench:
        attempts = []

        def reopen():
            attempts.append(bench.now())
            if len(attempts) < 4:
                raise OSError("no such file")
            return bench.engine

        bench.batcher._reopen = reopen
        bench.engine.dies = True
        with pytest.raises(WorkerDown):
            await bench.call(bench.text())
        await asyncio.sleep(60)
        await bench.call(bench.text())
        pauses = np.diff(attempts)
        assert (np.diff(pauses) > 0).all()


@virtually
async def test_after_three_hung_engines_no_more_weights_are_loaded():
    async with Bench(engine_timeout_s=5) as bench:
        bench.engine.hangs = True
        for _ in range(MAX_HUNG_ENGINES):
            with pytest.raises(WorkerDown):
                await bench.call(bench.text())
            await asyncio.sleep(10)
        bench.engine.hangs = False
        await asyncio.sleep(3600)
        assert bench.engine.openings == MAX_HUNG_ENGINES
        assert not bench.batcher.running


@virtually
async def test_an_engine_that_fails_on_everything_is_replaced():
    async with Bench() as bench:
        await bench.call(bench.text())
        bench.engine.broken = True
        outcomes = await asyncio.gather(
            *(bench.call(bench.text()) for _ in range(40)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} <= {InferenceFailed, WorkerDown}
        bench.engine.broken = False
        await asyncio.sleep(1)
        await bench.call(bench.text())
        assert bench.engine.openings == 2


@virtually
async def test_poison_alone_does_not_make_an_engine_suspect():
    async with Bench() as bench:
        await bench.call(bench.text())
        for index in range(5 * SUSPICIOUS_FAILURES):
            with pytest.raises(InferenceFailed):
                await bench.call(np.array([POISON, index]))
        assert bench.engine.openings == 1


@virtually
async def test_a_batcher_closes_though_its_engine_is_lost():
    async with Bench() as bench:
        bench.engine.dies = True
        with pytest.raises(WorkerDown):
            await bench.call(bench.text())
        bench.batcher._reopen = lambda: 1 / 0
        await asyncio.sleep(100)


@virtually
async def test_predictions_meet_what_happens():
    async with Bench() as bench:
        await bench.learn()
        for count in (1, 5, 20, 32, 100):
            texts = bench.texts(count)
            predicted_s = bench.batcher._admission._seconds(count * TEXT_TOKENS)
            assert await bench.call(*texts) == pytest.approx(predicted_s, rel=0.1)


@virtually
async def test_a_queue_of_mixed_lengths_is_sorted_for_an_engine_that_pads():
    engine = VirtualEngine(batch_type=PaddedBatch)
    async with Bench(engine, token_budget=512) as bench:
        texts = [bench.text(tokens) for tokens in (8, 120) * 40]
        await bench.call(*texts)
        ratio = bench.metric("padding_ratio_sum") / bench.metric("padding_ratio_count")
        assert ratio < 0.2


@virtually
async def test_the_clock_on_the_wall_may_jump():
    original = time.time
    time.time = lambda: 0.0  # deadlines are kept on the clock that was given
    try:
        async with Bench() as bench:
            assert await bench.call(bench.text(), timeout_s=1) < 1
    finally:
        time.time = original


@virtually
async def test_a_slow_spell_does_not_lock_larger_requests_out_for_ever():
    async with Bench() as bench:
        await bench.learn()
        bench.engine.token_s *= 20
        await bench.call(*bench.texts(64))
        bench.engine.token_s /= 20
        texts = bench.texts(10)
        with pytest.raises(DeadlineExceeded):
            await bench.call(*texts, timeout_s=0.5)
        answered = 0
        for _ in range(100):
            await asyncio.sleep(11)
            with contextlib.suppress(DeadlineExceeded):
                await bench.call(*bench.texts(10), timeout_s=0.5)
                answered += 1
        assert answered > 50


@virtually
async def test_an_engine_that_is_still_broken_when_opened_again_stays_red():
    async with Bench() as bench:
        await bench.call(bench.text())
        bench.engine.broken = True
        await asyncio.gather(*(bench.call(bench.text()) for _ in range(40)), return_exceptions=True)
        openings = bench.engine.openings
        for _ in range(50):
            await asyncio.sleep(10)
            assert not bench.batcher.running
            with pytest.raises(WorkerDown) as down:
                await bench.call(bench.text())
            assert 1 <= down.value.retry_after_s <= 62
        assert bench.engine.openings > openings
        bench.engine.broken = False
        await asyncio.sleep(60)
        await bench.call(bench.text())


@virtually
async def test_a_smaller_budget_counts_in_what_is_admitted():
    async with Bench(max_backlog_s=2) as bench:
        bench.engine.base_s = 0.2  # so that small batches take much longer
        await bench.learn()
        bench.engine.memory_tokens = 40
        await bench.call(*bench.texts(32))
        accepted = []
        with contextlib.suppress(Overloaded):
            while True:
                bench.batcher.check_admission()
                accepted.append(bench.spawn(bench.text()))
                await asyncio.sleep(0)
        assert max(await asyncio.gather(*accepted)) <= 2 + 4 * 0.25


@virtually
async def test_a_process_that_stood_still_does_not_blame_its_engine():
    async with Bench(engine_timeout_s=5) as bench:
        bench.engine.base_s = 64  # by the clock: 4 s of work, and 60 in which it stood still too
        calling = bench.spawn(bench.text())
        await asyncio.sleep(0.01)
        asyncio.get_running_loop()._now += 60
        await calling
        assert bench.engine.openings == 1


@virtually
async def test_an_engine_that_hung_and_came_back_does_not_count_for_ever():
    async with Bench(engine_timeout_s=5) as bench:
        for _ in range(3 * MAX_HUNG_ENGINES):
            bench.engine.token_s = 1.0  # 32 s: longer than the limit, and yet it ends
            with pytest.raises(WorkerDown):
                await bench.call(bench.text())
            bench.engine.token_s = 0.001
            await asyncio.sleep(100)
        await bench.call(bench.text())
