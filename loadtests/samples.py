"""What became of every request of a run. Knows neither Locust nor gevent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """`right`, `refused`, `late`, `wrong` (another text's answer, or none at all) or `failed`."""
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


@dataclass(slots=True)
class Recording:
    """A run so far."""

    samples: list[Sample] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """Of the server, the table of answers and the rate."""
    reported: int = 0
    """Samples that a worker has sent to its master."""
    in_flight: dict[str, int] = field(default_factory=dict)
    """Requests that have no answer yet, by worker, of those that are ready to begin."""

    def clear(self) -> None:
        """Forget the run before."""
        self.samples.clear()
        self.stages.clear()
        self.facts.clear()
        self.in_flight.clear()
        self.reported = 0

    def unreported(self) -> Sequence[Sample]:
        """Return what has not been returned before."""
        fresh = self.samples[self.reported :]
        self.reported = len(self.samples)
        return fresh
