"""The engine's own thread: batches in, logits out, one wake-up of the event loop each."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

from sentiment.engines import Engine
from sentiment.predictions import Logits


class Job(Protocol):
    """One batch and what belongs to it."""

    batch: Any

    def wanted(self) -> bool:
        """Whether anybody still waits for any of it. Called from the worker's thread."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one batch."""

    result: Logits | Exception | None
    """`None`: it was not run, because nobody wanted it any more."""
    seconds: float
    """Of the forward pass alone."""


Finished = Callable[[Any, Outcome], None]
"""Called on the event loop with the job and its outcome, in the order of the jobs."""
Died = Callable[[BaseException], None]
"""Called on the event loop when the thread has ended by an error that is no `Exception`."""


class Worker(Protocol):
    """Runs the jobs it is given on one engine, one after the other."""

    def start(self, job: Job) -> None:
        """Run a job once those started before are finished, unless nobody wants it by then."""
        ...

    def stop(self) -> None:
        """Run what was started, then end. Does not wait."""
        ...


WorkerOpener = Callable[[Engine, Finished, Died], Worker]


class EngineThread:
    """The `Worker` that serves: a daemon thread.

    A daemon, because a forward pass that hangs in native code cannot be stopped, and must not
    keep the process from ending. While one batch runs, the next waits at the thread's door: no
    time passes between them.
    """

    def __init__(self, engine: Engine, finished: Finished, died: Died) -> None:
        self._engine = engine
        self._finished = finished
        self._died = died
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        Thread(target=self._run, name="engine", daemon=True).start()

    def start(self, job: Job) -> None:
        self._jobs.put(job)

    def stop(self) -> None:
        self._jobs.put(None)

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                outcome = self._infer(job.batch) if job.wanted() else Outcome(None, 0.0)
                self._call(self._finished, job, outcome)
        except BaseException as error:
            self._call(self._died, error)

    def _infer(self, batch: Any) -> Outcome:
        began_at = time.perf_counter()
        try:
            result: Logits | Exception = self._engine.infer(batch)
        except Exception as error:
            result = error
        return Outcome(result, time.perf_counter() - began_at)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens any more
            self._loop.call_soon_threadsafe(callback, *arguments)
