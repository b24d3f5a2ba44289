"""Batches go to the engine, answers come back; what fails is halved until the culprit is alone.

A dispatcher serves one opening of one engine. When the engine is lost it is thrown away with it,
and whatever a hanging thread still sends reaches nobody.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sentiment.batching.admission import Admission
from sentiment.batching.cost import CostModel
from sentiment.batching.queue import EntryQueue, Row
from sentiment.batching.worker import Outcome, WorkerOpener
from sentiment.engines import Engine
from sentiment.errors import InferenceFailed, OutOfMemory
from sentiment.metrics import Metrics
from sentiment.tokenization import TokenIds

log = logging.getLogger(__name__)

PREPARE_AHEAD_S = 0.005
PREPARE_AHEAD_SHARE = 0.2
PREDICTION_ERROR = 0.1
"""The next batch is made 5 ms, or a fifth of the pass if that is less, before the end of the one
that runs, supposing that it ends a tenth later than predicted. What arrives after it was made
waits for one batch more, and does not share it: too early costs a single text up to a whole
batch, and a fast engine its full batches. Too late costs the engine one wake-up of the loop."""

SUSPICIOUS_FAILURES = 8
"""After so many failed passes in a row the engine must prove itself on a text that it has read
before: a CUDA device, for one, never recovers from some errors."""

GROWTH_BATCHES = 64
"""Batches without an error after which a budget that was halved for memory is doubled again."""


class EngineLost(Exception):
    """The engine hangs, died, or answers nothing any more."""


class EngineHung(EngineLost):
    """A pass does not end. Its thread and its weights cannot be had back."""


@dataclass(slots=True)
class Job:
    """One batch that the engine has been given."""

    rows: Sequence[Row]
    """Whose texts these are; of a probe nobody's."""
    batch: Any
    """Laid out as the engine wants it."""
    wanted: Callable[[], bool]
    """Whether anybody still waits for any of it."""
    tokens: int
    """Computed tokens, padding included."""
    width: int
    predicted_s: float
    started_at: float = 0.0

    @property
    def probe(self) -> bool:
        """Whether nobody asked for it: it shows whether the engine still works."""
        return not self.rows


class Dispatcher:
    """Keeps one engine busy: one batch runs, the next stands ready just before it is needed."""

    def __init__(
        self,
        engine: Engine,
        *,
        queue: EntryQueue,
        cost: CostModel,
        admission: Admission,
        token_budget: int,
        timeout_s: float,
        metrics: Metrics,
        open_worker: WorkerOpener,
        clock: Callable[[], float],
        proven: TokenIds | None,
        wake: Callable[[], None],
        came_back: Callable[[], None],
    ) -> None:
        """Feed `engine` from `queue`; a pass that takes longer than `timeout_s` hangs.

        Args:
            proven: what an engine before this one could read; this one must show that it can too.
            wake: called on the event loop whenever there is something new to decide.
            came_back: called if a pass ends after all that was taken to hang.
        """
        self.progress = asyncio.Event()
        """Set whenever the engine has finished something, or died."""
        self.proven = proven
        """An encoding that the engine has read."""
        self.verified = proven is None
        """Whether the engine has shown that it works."""
        self._max_token_budget = admission.token_budget = token_budget
        self._engine = engine
        self._queue = queue
        self._cost = cost
        self._admission = admission
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._clock = clock
        self._wake = wake
        self._came_back = came_back
        self._planned: deque[list[Row]] = deque()  # taken from the queue, to be run next
        self._jobs: deque[Job] = deque()  # at the engine
        self._lost: EngineLost | None = None
        self._failures_in_a_row = 0
        self._good_batches = 0
        self._hung = False
        self._worker = open_worker(engine, self._finished, self._died)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing is planned."""
        return not self._jobs and not self._planned

    def close(self) -> None:
        """Let the worker end after what it has been given, and heed it no more."""
        self._worker.stop()
        self._jobs.clear()
        self._planned.clear()
        self._count_planned()
        self._admission.busy_until = 0.0

    def check(self, now: float) -> None:
        """Return if the engine works, as far as one can know.

        Raises:
            EngineLost: it hangs, died, or answers nothing any more.
        """
        if self._lost is not None:
            raise self._lost
        if self.hangs_in_s(now) <= 0:
            self._hung = True
            raise EngineHung(f"a batch has been running for {self._timeout_s:g} s")

    def forgive(self, seconds: float) -> None:
        """Do not count time in which this process stood still against the pass that runs."""
        if self._jobs:
            self._jobs[0].started_at += seconds

    def hangs_in_s(self, now: float) -> float:
        """Return after how many seconds the pass that runs would be taken to hang."""
        return self._jobs[0].started_at + self._timeout_s - now if self._jobs else float("inf")

    def room_in_s(self, now: float) -> float:
        """Return when to hand over the next batch; infinite while one stands ready."""
        if not self._jobs:
            return 0.0
        if len(self._jobs) > 1:
            return float("inf")
        (running,) = self._jobs
        if not running.predicted_s:
            return float("inf")
        ahead_s = min(PREPARE_AHEAD_S, running.predicted_s * PREPARE_AHEAD_SHARE)
        return running.started_at + running.predicted_s * (1 + PREDICTION_ERROR) - ahead_s - now

    def dispatch(self, now: float) -> bool:
        """Give the engine its next batch, if anything waits for one."""
        suspicious = self._failures_in_a_row >= SUSPICIOUS_FAILURES
        if self.proven is not None and (suspicious or not self.verified):
            if suspicious or not self._jobs:
                self._failures_in_a_row = 0
                self._start([self.proven], (), now)
                return True
            return False
        rows = self._next(now)
        self._count_planned()
        if rows:
            self._start([entry.encodings[row] for entry, row in rows], rows, now)
        return bool(rows)

    def _next(self, now: float) -> list[Row]:
        """Return the next batch's texts, taking from the queue where nothing is planned."""
        while self._planned:
            if rows := self._queue.wanted(self._planned.popleft(), now=now):
                return rows
        self._planned.extend(self._queue.take(self._admission.token_budget, now=now))
        return self._planned.popleft() if self._planned else []

    def _count_planned(self) -> None:
        self._admission.planned_tokens = sum(
            len(entry.encodings[row]) for rows in self._planned for entry, row in rows
        )

    def _start(self, encodings: Sequence[TokenIds], rows: Sequence[Row], now: float) -> None:
        """Lay out a batch and give it to the worker."""
        batch = self._engine.batch_type.collate(encodings)
        tokens, width = batch.computed_tokens, batch.width
        predicted_s = self._cost.batch_s(tokens=tokens, width=width)
        job = Job(
            rows,
            batch,
            wanted=lambda: not rows or self._queue.anybody_wants(rows),
            tokens=tokens,
            width=width,
            predicted_s=predicted_s,
        )
        if not self._jobs:
            self._begin(job, now)
        self._jobs.append(job)
        self._admission.busy_until = max(now, self._admission.busy_until) + predicted_s
        self._metrics.batch_texts.observe(len(encodings))
        self._metrics.batch_tokens.observe(batch.tokens)
        self._metrics.padding_ratio.observe(1 - batch.tokens / tokens)
        self._worker.start(job)

    def _begin(self, job: Job, now: float) -> None:
        job.started_at = now
        for entry, _ in job.rows:
            if entry.started_at is None:
                entry.started_at = now
                entry.batch_texts = len(job.rows)
                self._metrics.queue_seconds.observe(now - entry.queued_at)

    def _finished(self, job: Job, outcome: Outcome) -> None:
        """Take what the worker brings, on the event loop."""
        if not self._jobs:  # given up: whoever waited knows already
            if self._hung:
                self._hung = False
                self._came_back()
            return
        self._jobs.popleft()
        now = self._clock()
        self._admission.busy_until = now
        if self._jobs:
            self._begin(self._jobs[0], now)
            self._admission.busy_until += self._jobs[0].predicted_s
        try:
            self._settle(job, outcome)
        except Exception as error:  # a defect of ours must not leave anybody waiting
            self._lose("an answer could not be delivered", error)
        self._advance()

    def _died(self, error: BaseException) -> None:
        self._lose("the engine's thread died", error)
        self._advance()

    def _advance(self) -> None:
        self.progress.set()
        self._wake()

    def _lose(self, reason: str, cause: BaseException) -> None:
        self._lost = EngineLost(reason)
        self._lost.__cause__ = cause

    def _settle(self, job: Job, outcome: Outcome) -> None:
        result = outcome.result
        if result is None:
            self._planned.appendleft(list(job.rows))  # unless somebody came to want it just now
            return
        if not isinstance(result, Exception):
            # An answer to the wrong text is worse than none.
            texts = len(job.rows) or 1
            if len(result) != texts:
                result = InferenceFailed(f"{len(result)} rows of logits for {texts} texts")
            elif not np.isfinite(result).all():
                result = InferenceFailed("logits that are not finite")
        if isinstance(result, Exception):
            self._fail(job, result)
            return
        if job.probe:
            self.verified = True
        else:
            self._queue.answer(job.rows, result)  # first: nobody waits for the rest
            entry, row = job.rows[0]
            self.proven = entry.encodings[row]
        self._learn(job, outcome.seconds)
        self._failures_in_a_row = 0
        self._good_batches += 1
        if self._good_batches >= GROWTH_BATCHES:
            self._good_batches = 0
            budget = min(self._admission.token_budget * 2, self._max_token_budget)
            self._admission.token_budget = budget

    def _learn(self, job: Job, seconds: float) -> None:
        self._metrics.infer_seconds.observe(seconds)
        if job.predicted_s:
            error_s = abs(job.predicted_s - seconds)
            self._metrics.prediction_error_ratio.observe(error_s / max(seconds, 1e-6))
        self._cost.observe(tokens=job.tokens, width=job.width, seconds=seconds)
        self._admission.confirmed_at = self._clock()

    def _fail(self, job: Job, error: Exception) -> None:
        """Find out by halves which text the engine cannot bear: only that one fails."""
        if job.probe:
            self._lose("the engine fails on a text that it has read before", error)
            return
        self._good_batches = 0
        self._failures_in_a_row += 1
        self._metrics.failed_batches.inc()
        out_of_memory = isinstance(error, MemoryError)
        if out_of_memory:
            budget = min(self._admission.token_budget, max(1, job.tokens // 2))
            self._admission.token_budget = budget
        if len(job.rows) > 1:
            log.warning(
                "a batch failed; each half is tried alone",
                extra={"texts": len(job.rows), "error": type(error).__name__},
            )
            middle = len(job.rows) // 2
            self._planned.extendleft([list(job.rows[middle:]), list(job.rows[:middle])])
            return
        log.error("the engine fails on a text", exc_info=error, extra={"tokens": job.tokens})
        failure = (
            OutOfMemory("not enough memory for a single text")
            if out_of_memory
            else InferenceFailed("the model fails on one of the texts")
        )
        failure.__cause__ = error
        self._queue.fail(job.rows[0], failure)
