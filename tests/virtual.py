"""An engine of known service time on an event loop whose clock jumps to the next timer.

A test of an hour takes milliseconds, and the same schedule comes out every time.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from sentiment.batching.worker import Outcome
from sentiment.engines.batches import PackedBatch, PaddedBatch
from tests.doubles import POISON, expected_logits


class VirtualEngine:
    """An engine whose passes take `base_s + token_s * tokens` on the virtual clock.

    It is the `Engine` and opens its own `Worker`s. A test may poison it, let it run out of
    memory, hang or die.
    """

    name = "virtual"
    device = "cpu"
    precision = "fp32"

    def __init__(self, *, base_s=0.02, token_s=0.001, batch_type=PackedBatch) -> None:
        self.base_s = base_s
        self.token_s = token_s
        self.batch_type = batch_type
        self.batches: list[list[tuple[int, ...]]] = []
        self.calls = 0
        self.memory_tokens = 10**9
        """More tokens than this in a batch are out of memory."""
        self.broken = False
        """Whether every pass fails."""
        self.hangs = False
        self.dies = False
        self.tamper: Callable[[np.ndarray], np.ndarray] = lambda logits: logits
        self.openings = 0

    def open_worker(self, engine, finished, died) -> "VirtualWorker":
        assert engine is self
        self.openings += 1
        return VirtualWorker(self, finished, died)

    def reopen(self) -> "VirtualEngine":
        return self

    def seconds(self, batch) -> float:
        return self.base_s + self.token_s * batch.computed_tokens

    def infer(self, batch) -> np.ndarray:
        encodings = encodings_of(batch)
        self.calls += 1
        self.batches.append([tuple(ids.tolist()) for ids in encodings])
        if batch.computed_tokens > self.memory_tokens:
            raise MemoryError
        if self.broken or any(POISON in ids for ids in encodings):
            raise RuntimeError("poison")
        return self.tamper(np.stack([expected_logits(ids) for ids in encodings]))


class VirtualWorker:
    """Runs the batches of a `VirtualEngine`, one after the other."""

    def __init__(self, engine: VirtualEngine, finished, died) -> None:
        self._engine = engine
        self._finished = finished
        self._died = died
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[Any] = deque()
        self._busy = False

    def start(self, job) -> None:
        self._jobs.append(job)
        if not self._busy:
            self._next()

    def stop(self) -> None:
        pass

    def _next(self) -> None:
        self._busy = bool(self._jobs)
        if not self._busy:
            return
        job = self._jobs.popleft()
        if job.wanted():
            self._loop.call_later(self._engine.seconds(job.batch), self._end, job)
        else:
            self._loop.call_soon(self._report, job, Outcome(None, 0.0))

    def _end(self, job) -> None:
        if self._engine.hangs:
            return
        if self._engine.dies:
            self._engine.dies = False
            self._died(SystemExit(1))
            return
        try:
            result: Any = self._engine.infer(job.batch)
        except Exception as error:
            result = error
        self._report(job, Outcome(result, self._engine.seconds(job.batch)))

    def _report(self, job, outcome) -> None:
        self._next()
        self._finished(job, outcome)


def encodings_of(batch) -> list[np.ndarray]:
    """Return the encodings that a batch was laid out from."""
    if isinstance(batch, PaddedBatch):
        return [ids[mask == 1] for ids, mask in zip(batch.ids, batch.mask, strict=True)]
    return np.split(batch.ids, batch.row_starts[1:])
