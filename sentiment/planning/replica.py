"""One replica on the virtual clock: the real batcher around an engine that only takes time.

Queue, turns, token budget, admission, dispatcher and learned cost are those that serve. What is
made up is what a pass takes, and what HTTP, JSON and tokenising take of the event loop.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import numpy as np

from sentiment.batching.batcher import Batcher
from sentiment.batching.worker import Died, Finished, Job, Outcome
from sentiment.engines import Engine
from sentiment.engines.batches import PackedBatch, PaddedBatch
from sentiment.metrics import Metrics
from sentiment.planning.costs import PADDED, ReplicaCost
from sentiment.predictions import Logits
from sentiment.settings import Settings
from sentiment.tokenization import TokenIds

WARM_UP_TOKENS = (5, 512)
"""Lengths of the texts that a server runs twice each before it is ready."""


class EventLoopTime:
    """What a replica does beside the engine: one thing after the other, as its event loop does."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._busy_until = 0.0
        self._planned_s = 0.0

    @property
    def worked_s(self) -> float:
        """Seconds worked so far."""
        return self._planned_s - self.free_in_s

    @property
    def free_in_s(self) -> float:
        """Seconds until it turns to what comes now."""
        return max(0.0, self._busy_until - self._clock())

    async def work(self, seconds: float) -> None:
        """Return when everything before this, and this, is done."""
        if seconds:
            now = self._clock()
            self._busy_until = max(now, self._busy_until) + seconds
            self._planned_s += seconds
            await asyncio.sleep(self._busy_until - now)


class PlannedEngine:
    """An engine that answers nothing, after the time that a cost says; opens its own worker."""

    device = "planned"

    def __init__(self, cost: ReplicaCost, beside: EventLoopTime, *, seed: int) -> None:
        self.name = cost.engine
        self.precision = cost.precision
        self.token_budgets = cost.token_budgets
        self.batch_type: type[PackedBatch] | type[PaddedBatch] = (
            PaddedBatch if cost.layout == PADDED else PackedBatch
        )
        self.busy_s = 0.0
        """Time spent in passes that have ended."""
        self.passes = 0
        self.tokens = 0
        self.cost = cost
        self.beside = beside
        self._spread = np.array(cost.spread)
        self._source = np.random.default_rng(seed)

    def infer(self, batch: Any) -> Logits:
        """Answer at once; the worker takes the time."""
        texts = len(batch.ids if batch.pads else batch.lengths)
        return np.zeros((texts, 1), np.float32)

    def seconds(self, batch: Any) -> float:
        """Return how long a pass takes while nothing else wants its cores."""
        seconds = self.cost.pass_s(tokens=batch.computed_tokens, width=batch.width)
        return seconds * float(self._spread[self._source.integers(len(self._spread))])

    def open_worker(self, engine: Engine, finished: Finished, died: Died) -> "PlannedWorker":
        """Return what runs its passes: a `WorkerOpener`."""
        return PlannedWorker(self, finished)


class PlannedWorker:
    """Runs the batches of a `PlannedEngine`, one after the other.

    A batch that stands at the engine's door begins at once. Everything else needs the event loop:
    a finished batch is noticed, and the next one handed over, when it has done what it was doing,
    which after a batch is to write its answers.
    """

    def __init__(self, engine: PlannedEngine, finished: Finished) -> None:
        self._engine = engine
        self._finished = finished
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[Job] = deque()
        self._reports: deque[tuple[Job, Outcome]] = deque()
        self._busy = False

    def start(self, job: Job) -> None:
        self._jobs.append(job)
        if not self._busy:
            self._busy = True
            self._loop.call_later(self._engine.beside.free_in_s, self._next)

    def stop(self) -> None:
        pass

    def _next(self) -> None:
        self._busy = bool(self._jobs)
        if not self._busy:
            return
        job = self._jobs.popleft()
        if not job.wanted():
            self._loop.call_soon(self._report, job, Outcome(None, 0.0))
            return
        seconds = self._engine.seconds(job.batch)
        began_at, worked_s = self._loop.time(), self._engine.beside.worked_s
        self._loop.call_later(seconds, self._end, job, began_at, worked_s, 0.0)

    def _end(self, job: Job, began_at: float, worked_before_s: float, waited_s: float) -> None:
        """End a pass, or prolong it by what the event loop has taken of its cores meanwhile.

        The threads of a pass wait for each other: while one has lost its core, all stand still.
        """
        if self._engine.cost.shares_cores:
            lost_s = self._engine.beside.worked_s - worked_before_s
            if lost_s - waited_s > 1e-9:
                self._loop.call_later(
                    lost_s - waited_s, self._end, job, began_at, worked_before_s, lost_s
                )
                return
        seconds = self._loop.time() - began_at
        self._engine.busy_s += seconds
        self._engine.passes += 1
        self._engine.tokens += job.batch.computed_tokens
        self._report(job, Outcome(self._engine.infer(job.batch), seconds))

    def _report(self, job: Job, outcome: Outcome) -> None:
        self._reports.append((job, outcome))
        self._loop.call_later(self._engine.beside.free_in_s, self._deliver)
        self._next()

    def _deliver(self) -> None:
        self._finished(*self._reports.popleft())


class Replica:
    """A server as the balancer sees it. An async context manager, as its batcher is."""

    def __init__(
        self, cost: ReplicaCost, settings: Settings, *, token_budget: int, seed: int
    ) -> None:
        clock = asyncio.get_running_loop().time
        self.in_flight = 0
        """Requests that it has not answered yet."""
        self.beside = EventLoopTime(clock)
        self.engine = PlannedEngine(cost, self.beside, seed=seed)
        self._cost = cost
        self._deadline_s = settings.deadline_s
        self._metrics = Metrics()
        self._batcher = Batcher(
            self.engine,
            reopen=lambda: self.engine,
            token_budget=token_budget,
            max_backlog_s=settings.max_backlog_s,
            engine_timeout_s=math.inf,
            metrics=self._metrics,
            open_worker=self.engine.open_worker,
            clock=clock,
        )
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Begin to answer, after the passes by which a server learns its cost."""
        await self._stack.enter_async_context(self._batcher)
        for length in WARM_UP_TOKENS:
            for fill in (-1, -2):
                await self.answer([np.full(length, fill, np.int64)])
        self.engine.busy_s = 0.0
        self.engine.passes = self.engine.tokens = 0

    async def close(self) -> None:
        """Answer what was accepted, then stop."""
        await self._stack.aclose()

    async def answer(self, encodings: Sequence[TokenIds]) -> None:
        """Do what a server does with a request of these texts.

        Raises:
            Overloaded, DeadlineExceeded: it refuses, or the deadline passes.
        """
        self.in_flight += 1
        try:
            await self.beside.work(self._cost.request_s / 2)
            self._batcher.check_admission()
            await self.beside.work(self._cost.text_s * len(encodings))
            lengths = np.array([len(ids) for ids in encodings], np.float64)
            with self._batcher.admit(lengths, timeout_s=self._deadline_s) as entry:
                await self._batcher.submit(entry, encodings)
            await self.beside.work(self._cost.request_s / 2)
        finally:
            self.in_flight -= 1

    @property
    def backlog_s(self) -> float:
        """`sentiment_backlog_seconds`, as a scrape would find it now."""
        (family,) = self._metrics.backlog_seconds.collect()
        return float(family.samples[0].value)
