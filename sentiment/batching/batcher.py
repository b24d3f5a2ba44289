"""The loop: arrivals -> fair queue -> dispatcher -> engine thread -> futures.

One task drains the arrivals into batches. It survives a text that the engine cannot bear, a
batch that does not fit into memory, and an engine that hangs or dies: then whatever waits fails
at once, `running` turns false, which `/livez` reports, and the engine is opened anew. (uvicorn
would notice none of it.)
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sentiment.batching.admission import Admission
from sentiment.batching.cost import CostModel, Float64
from sentiment.batching.dispatcher import Dispatcher, EngineHung
from sentiment.batching.policy import restart_delay_s
from sentiment.batching.queue import Entry, EntryQueue
from sentiment.batching.worker import EngineThread, WorkerOpener
from sentiment.engines import Engine, EngineFacts
from sentiment.errors import Unavailable, WorkerDown
from sentiment.metrics import Metrics
from sentiment.predictions import Logits
from sentiment.tokenization import TokenIds

log = logging.getLogger(__name__)

MAX_HUNG_ENGINES = 3
"""A pass that hangs keeps its thread and its weights for ever. After so many no more are opened
and `/livez` stays red: the process should be restarted."""

STANDSTILL_S = 1.0
"""The event loop that wakes so much later than it asked to has not been running."""

HEALTHY_S = 60.0
"""An engine that worked so long owes nothing to the failures before it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one submission."""

    logits: Logits
    """`float32 [texts, labels]`."""
    queue_s: float
    """From the end of tokenisation to the start of its first batch."""
    infer_s: float
    """From there to the end of its last."""


class Batcher:
    """An async context manager around the loop; leaving it answers what was accepted."""

    def __init__(
        self,
        engine: Engine,
        *,
        reopen: Callable[[], Engine],
        token_budget: int,
        max_backlog_s: float,
        engine_timeout_s: float,
        metrics: Metrics,
        open_worker: WorkerOpener = EngineThread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Feed `engine`.

        Args:
            reopen: loads the engine again, on a thread, after it was lost.
            token_budget: most tokens in one forward pass.
            max_backlog_s: predicted seconds of work that may lie ahead of a submission.
            engine_timeout_s: a pass that takes longer hangs.
            open_worker: makes what runs the passes.
            clock: monotonic seconds.
        """
        self.engine = EngineFacts(engine.name, engine.device, engine.precision)
        """What it feeds; the same after an engine was lost and opened again."""
        self.token_budget = token_budget
        """Most tokens in one forward pass while memory lasts."""
        self._engine: Engine | None = engine
        self._reopen = reopen
        self._engine_timeout_s = engine_timeout_s
        self._open_worker = open_worker
        self._clock = clock
        self._metrics = metrics
        self._cost = CostModel()
        self._arrivals: asyncio.Queue[Entry | None] = asyncio.Queue()
        self._queue = EntryQueue(pads=engine.batch_type.pads)
        self._admission = Admission(
            self._queue,
            self._cost,
            token_budget=token_budget,
            max_backlog_s=max_backlog_s,
            clock=clock,
        )
        self._proven: TokenIds | None = None
        self._failures = 0
        self._random = random.Random()  # for jitter, which is no secret
        self._dispatcher: Dispatcher | None = None
        self._hung_engines = 0
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        metrics.follow(metrics.queue_texts, self._waiting_texts)
        metrics.follow(metrics.queue_tokens, lambda: self._queue.backlog.tokens)
        metrics.follow(metrics.backlog_seconds, lambda: self._admission.backlog_s)
        metrics.follow(metrics.token_budget, lambda: self._admission.token_budget)
        metrics.max_backlog_seconds.set(max_backlog_s)

    async def __aenter__(self) -> Self:
        assert self._engine is not None
        self._dispatcher = self._open_dispatcher(self._engine)
        self._task = asyncio.create_task(self._run(), name="batcher")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._wake()
        if self._task is not None:
            await asyncio.wait([self._task])

    @property
    def running(self) -> bool:
        """Whether submissions are accepted and will be answered."""
        return self._works and not self._stopped

    @property
    def _works(self) -> bool:
        return self._dispatcher is not None and self._dispatcher.verified

    @property
    def _stopped(self) -> bool:
        return self._task is None or self._task.done() or self._closing.is_set()

    def check_running(self) -> None:
        """Return if submissions will be answered.

        Raises:
            WorkerDown, Unavailable: the engine is lost, or the batcher closed.
        """
        if self._stopped:
            raise Unavailable("the batcher has stopped")
        if not self._works:
            raise self._worker_down()

    def check_admission(self) -> None:
        """Return if a single text would be taken now. Cheap: ask before reading a body.

        Raises:
            Overloaded: more work than the limit lies ahead.
            WorkerDown, Unavailable: the engine is lost, or the batcher closed.
        """
        self.check_running()
        self._admission.check()

    @contextmanager
    def admit(self, lengths: Float64, *, timeout_s: float) -> Iterator[Entry]:
        """Admit texts of `lengths float64 [texts]` predicted tokens: all of them, or none.

        Inside the block they count as backlog; leaving it takes out of the queue what is not
        answered yet.

        Raises:
            Overloaded, WorkerDown, Unavailable: as `check_admission`.
            DeadlineExceeded: they would not be done within `timeout_s`; says how many would.
        """
        self.check_running()
        entry = self._admission.admit(lengths, timeout_s=timeout_s)
        try:
            yield entry
        finally:
            self._queue.remove(entry)

    async def submit(self, entry: Entry, encodings: Sequence[TokenIds]) -> Answer:
        """Classify an admitted entry's encodings, one or more, together with whatever waits.

        Raises:
            InferenceFailed: the forward pass fails on one of these.
            OutOfMemory: one of them alone does not fit into memory.
            DeadlineExceeded: the deadline passed before the engine was free.
            WorkerDown, Unavailable: the engine was lost, or the batcher closed.
        """
        self.check_running()
        self._queue.announce(entry, encodings)
        entry.queued_at = self._clock()
        self._arrivals.put_nowait(entry)
        logits = await entry.future
        ended_at = self._clock()
        # An equal text of somebody else may have been answered: then it waited for that alone.
        started_at = ended_at if entry.started_at is None else entry.started_at
        return Answer(logits, queue_s=started_at - entry.queued_at, infer_s=ended_at - started_at)

    def _open_dispatcher(self, engine: Engine) -> Dispatcher:
        return Dispatcher(
            engine,
            queue=self._queue,
            cost=self._cost,
            admission=self._admission,
            token_budget=self.token_budget,
            timeout_s=self._engine_timeout_s,
            metrics=self._metrics,
            open_worker=self._open_worker,
            clock=self._clock,
            proven=self._proven,
            wake=self._wake,
            came_back=self._came_back,
        )

    async def _run(self) -> None:
        try:
            while self._dispatcher is not None:
                began_at = self._clock()
                try:
                    await self._serve(self._dispatcher)
                    return
                except Exception as error:
                    healthy = self._clock() - began_at > HEALTHY_S
                    self._failures = 1 if healthy else self._failures + 1
                    log.critical(
                        "the engine is lost", exc_info=True, extra={"failures": self._failures}
                    )
                    self._hung_engines += isinstance(error, EngineHung)
                    self._give_up(self._worker_down, cause=error)
                await self._replace()
        finally:
            # However the loop ended, nobody may wait for it.
            self._give_up(lambda: Unavailable("the batcher has stopped"))

    async def _serve(self, dispatcher: Dispatcher) -> None:
        """Feed the engine until the batcher is closed and nothing waits.

        Raises:
            EngineLost: it hangs, died, or answers nothing any more.
        """
        while True:
            self._receive()
            now = self._clock()
            dispatcher.check(now)
            room_in_s = dispatcher.room_in_s(now)
            if room_in_s <= 0 and dispatcher.dispatch(now):
                continue
            if self._closing.is_set() and dispatcher.idle and not self._queue.texts:
                return
            wait_s = dispatcher.hangs_in_s(now)
            if room_in_s > 0:
                # What arrives now has to wait anyway, so it need not wake this task.
                dispatcher.progress.clear()
                wait_s = min(room_in_s, wait_s)
                await _within(wait_s, dispatcher.progress.wait())
            else:
                await _within(wait_s, self._arrive())
            if self._clock() - now - wait_s > STANDSTILL_S:
                # Not the engine but this process stood still: a frozen container, a paused machine.
                dispatcher.forgive(self._clock())

    async def _arrive(self) -> None:
        self._put(await self._arrivals.get())

    def _waiting_texts(self) -> int:
        if not self._arrivals.empty():  # what waits has not always been looked at
            self._receive()
            self._wake()  # the loop may have been woken for what was just taken
        return self._queue.texts

    def _receive(self) -> None:
        """Move arrivals into the queue."""
        while not self._arrivals.empty():
            self._put(self._arrivals.get_nowait())

    def _put(self, entry: Entry | None) -> None:
        if entry is not None and not entry.left:
            self._metrics.coalesced.inc(self._queue.put(entry))

    def _wake(self) -> None:
        """Have the loop look again though nothing arrived."""
        self._arrivals.put_nowait(None)

    def _came_back(self) -> None:
        self._hung_engines -= 1
        log.warning("a pass that was taken to hang has ended")

    def _worker_down(self) -> WorkerDown:
        # Spread over as much time again, so that callers do not come back together.
        wait_s = (1 + restart_delay_s(max(self._failures, 1))) * (1 + self._random.random())
        return WorkerDown("the engine was lost and is being opened again", retry_after_s=wait_s)

    def _give_up(
        self, failure: Callable[[], Unavailable], cause: BaseException | None = None
    ) -> None:
        """Fail whatever waits or runs."""
        if self._dispatcher is not None:
            self._dispatcher.close()
            self._proven = self._dispatcher.proven
            # Its memory must be free before the engine is opened again.
            self._dispatcher = self._engine = None
        self._receive()
        for entry in self._queue.remove_all():
            error = failure()
            error.__cause__ = cause
            entry.fail(error)

    async def _replace(self) -> None:
        """Open the engine anew, however many attempts it takes, unless the batcher closes."""
        while not self._closing.is_set():
            if self._hung_engines >= MAX_HUNG_ENGINES:
                log.critical("too many engines hang; restart the process")
            while self._hung_engines >= MAX_HUNG_ENGINES and not self._closing.is_set():
                await _within(1.0, self._closing.wait())  # one of them may come back
            await _within(restart_delay_s(self._failures), self._closing.wait())
            if self._closing.is_set():
                return
            try:
                self._engine = await asyncio.to_thread(self._reopen)
                self._dispatcher = self._open_dispatcher(self._engine)
            except Exception:
                self._failures += 1
                log.critical("the engine cannot be opened again", exc_info=True)
            else:
                self._metrics.worker_restarts.inc()
                log.warning("the engine was opened again", extra={"failures": self._failures})
                return


async def _within(seconds: float, awaitable: Awaitable[object]) -> None:
    """Wait for `awaitable`, but no longer than `seconds`, which may be infinite."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None if math.isinf(seconds) else seconds):
            await awaitable
