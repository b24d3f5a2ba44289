"""What became of every request of a run. Knows neither Locust nor gevent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one attempt of one arrival; times in seconds since 1970."""

    kind: str
    """The user class."""
    scheduled_at: float
    sent_at: float
    ended_at: float
    outcome: str
    """`right`, `refused`, `gave up` (refused at the last attempt), `late`, `failed`, or `wrong`
    (another text's answer, or none in an answer)."""
    texts: int
    attempt: int
    """From 1."""

    @property
    def latency_s(self) -> float:
        """From when it was to begin, so that waiting for the load generator counts too."""
        return self.ended_at - self.scheduled_at


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of a shape as it was run; times in seconds since 1970."""

    began_at: float
    ended_at: float
    load: float
    rate: float
    """Requests a second that were to begin."""


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """What a process of the load generator had used of the processor, at a time."""

    process: str
    at: float
    used_s: float


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """What the server said of its memory, at a time."""

    at: float
    size: float
    """Bytes."""


@dataclass(slots=True)
class Recording:
    """A run so far: in a worker what it saw itself, in a master what all saw."""

    samples: list[Sample] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    processor_times: list[ProcessorTime] = field(default_factory=list)
    memory: list[MemoryReading] = field(default_factory=list)
    """At the beginning of each stage, and at the end of the last."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Of the server, the table of answers and the rate."""
    arrivals: int = 0
    """Requests begun by this process."""
    interrupted: bool = False
    """Whether it ended before its shape did."""
    workers_arrivals: dict[str, int] = field(default_factory=dict)
    workers_in_flight: dict[str, int] = field(default_factory=dict)
    """Requests begun, and those under way, by each worker that has made its table."""
    _reported: int = 0
    _reported_times: int = 0

    def clear(self) -> None:
        """Forget the run before."""
        fresh = Recording()
        for each in fields(self):
            setattr(self, each.name, getattr(fresh, each.name))

    @property
    def all_arrivals(self) -> int:
        """Requests begun by this process and its workers."""
        return self.arrivals + sum(self.workers_arrivals.values())

    @property
    def lost(self) -> int:
        """Requests of which nothing is known: each leaves a sample, once it is not under way."""
        return self.all_arrivals - sum(sample.attempt == 1 for sample in self.samples)

    def begin_stage(self, load: float, *, rate: float, at: float) -> None:
        """Begin a stage, which ends the one before."""
        self.end_stage(at)
        self.stages.append(Stage(at, math.inf, load, rate))

    @property
    def stage_goes_on(self) -> bool:
        """Whether the last stage has not ended."""
        return bool(self.stages) and self.stages[-1].ended_at == math.inf

    def end_stage(self, at: float) -> None:
        """End the stage that goes on, if one does."""
        if self.stage_goes_on:
            self.stages[-1] = replace(self.stages[-1], ended_at=at)

    def unreported(self) -> tuple[Sequence[Sample], Sequence[ProcessorTime]]:
        """Return what has not been returned before."""
        samples = self.samples[self._reported :]
        times = self.processor_times[self._reported_times :]
        self._reported, self._reported_times = len(self.samples), len(self.processor_times)
        return samples, times
