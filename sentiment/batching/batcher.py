"""The loop: queue -> policy -> engine thread -> futures.

One task drains the queue into batches and runs each on the engine's own thread. It survives
a batch that fails, and if it ends nobody waits on it for ever: what waits fails, what comes
is refused, and `running` turns false, which `/livez` reports. (uvicorn would not notice.)
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from sentiment.batching.policy import retry_after_s, smoothed
from sentiment.batching.queue import Entry, EntryQueue, Slice
from sentiment.engines import Engine
from sentiment.errors import InferenceFailed, Overloaded, Unavailable
from sentiment.metrics import Metrics
from sentiment.predictions import Logits
from sentiment.tokenization import TokenIds

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one submission."""

    logits: Logits
    """`float32 [texts, labels]`."""
    queue_s: float
    """From admission to the start of its first batch."""
    infer_s: float
    """From there to the end of its last."""


class Batcher:
    """An async context manager around the loop; leaving it answers what was accepted."""

    def __init__(
        self,
        engine: Engine,
        *,
        token_budget: int,
        max_queue_tokens: int,
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._token_budget = token_budget
        self._max_queue_tokens = max_queue_tokens
        self._metrics = metrics
        self._queue = EntryQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._tokens_per_s: float | None = None
        self._task: asyncio.Task[None] | None = None
        metrics.queue_texts.set_function(lambda: self._queue.texts)
        metrics.queue_tokens.set_function(lambda: self._queue.tokens)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="batcher")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        self._queue.close()
        if task is not None:
            await asyncio.wait([task])
        self._thread.shutdown()

    @property
    def running(self) -> bool:
        """Whether submissions are accepted and will be answered."""
        return self._task is not None and not self._task.done()

    def check_admission(self) -> None:
        """Return if a submission would be taken now. Cheap: ask before tokenising.

        Raises:
            Overloaded: too many tokens wait ahead.
            Unavailable: the loop does not run.
        """
        if not self.running:
            raise Unavailable("the batcher has stopped")
        ahead = self._queue.tokens
        if ahead > self._max_queue_tokens:
            raise Overloaded(
                f"{ahead} tokens wait, more than {self._max_queue_tokens}",
                retry_after_s=retry_after_s(ahead, self._tokens_per_s),
            )

    async def submit(self, encodings: Sequence[TokenIds]) -> Answer:
        """Classify one request's encodings, together with whatever else waits.

        The request is admitted whole or not at all. Cancelling the call takes it out of the
        queue.

        Raises:
            Overloaded, Unavailable: as `check_admission`.
            InferenceFailed: the forward pass failed on a batch that held one of these.
        """
        if not encodings:
            raise ValueError("nothing to classify")
        self.check_admission()
        entry = Entry(encodings, admitted_at=time.perf_counter())
        self._queue.put(entry)
        logits = await entry.future
        ended_at = time.perf_counter()
        started_at = entry.started_at or entry.admitted_at
        return Answer(logits, queue_s=started_at - entry.admitted_at, infer_s=ended_at - started_at)

    async def _run(self) -> None:
        slices: list[Slice] = []
        pads = self._engine.batch_type.pads
        try:
            while slices := await self._queue.take(self._token_budget, pads=pads):
                await self._run_batch(slices)
        except Exception:
            log.critical("the batcher died", exc_info=True)
        finally:
            # However the loop ended, nobody may wait for it.
            for entry in [*(piece.entry for piece in slices), *self._queue.drain()]:
                entry.fail(Unavailable("the batcher has stopped"))

    async def _run_batch(self, slices: Sequence[Slice]) -> None:
        loop = asyncio.get_running_loop()
        encodings = [ids for piece in slices for ids in piece.encodings]
        began_at = time.perf_counter()
        for piece in slices:
            if piece.entry.started_at is None:
                piece.entry.started_at = began_at
                self._metrics.queue_seconds.observe(began_at - piece.entry.admitted_at)
        try:
            logits = await loop.run_in_executor(self._thread, self._infer, encodings)
        except Exception as error:
            log.error("a batch failed", exc_info=True, extra={"texts": len(encodings)})
            for piece in slices:
                failure = InferenceFailed("the model failed on the batch that held this request")
                failure.__cause__ = error
                piece.entry.fail(failure)
        else:
            tokens_per_s = sum(map(len, encodings)) / (time.perf_counter() - began_at)
            self._tokens_per_s = smoothed(self._tokens_per_s, tokens_per_s)
            row = 0
            for piece in slices:
                rows = piece.stop - piece.start
                piece.entry.answer(logits[row : row + rows])
                row += rows

    def _infer(self, encodings: Sequence[TokenIds]) -> Logits:
        """Lay out and run one batch, on the engine's thread."""
        began_at = time.perf_counter()
        batch = self._engine.batch_type.collate(encodings)
        logits = self._engine.infer(batch)
        self._metrics.infer_seconds.observe(time.perf_counter() - began_at)
        self._metrics.batch_texts.observe(len(encodings))
        self._metrics.batch_tokens.observe(batch.tokens)
        self._metrics.padding_ratio.observe(1 - batch.tokens / batch.computed_tokens)
        # An answer to the wrong text is worse than none.
        if len(logits) != len(encodings):
            raise InferenceFailed(f"{len(logits)} rows of logits for {len(encodings)} texts")
        if not np.isfinite(logits).all():
            raise InferenceFailed("logits that are not finite")
        return logits
