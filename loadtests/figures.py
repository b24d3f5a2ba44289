"""Figures of a run: what was offered, what was answered, how late, and where the knee is."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.samples import MemoryReading, ProcessorTime, Recording, Sample, Stage

LATENCIES_OF = "HeadlineSingles"
"""Of whom latencies are told step by step: all requests are alike, and somebody waits for each."""

HOSTILE = "HostileClients"
"""Of whom nothing is counted but failures."""

GRACE_S = 5.0
LEFT_OVER = 0.05
"""Of the texts that were to begin in a step, the share that may have no answer so long after its
end. A server that falls behind has more work left the longer the step is; by chance it never has
much more than a few large requests."""

TURNED_AWAY = 0.01
"""Of the requests of a step, the share that may be refused or have no time."""

ENOUGH_REQUESTS = 2000
"""In a step at load 1: with fewer, a few large requests more or less are much of its load."""

LATE_START = 0.1
"""Of the tail of the latencies, the share that the load generator's own delay may be."""

TAILS = {"p99": 99, "p95": 95}
BEYOND = 10
"""Samples that must lie beyond a percentile for it to be told: 1,000 for p99, 200 for p95."""

DEVIATIONS = 1.96
"""Of a normal distribution, about 95 % lie within so many standard deviations."""

MEMORY_S = 10.0
"""How long after the beginning or end of a step a reading of the memory counts for it."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The highest percentile that there are enough samples for, else the maximum."""

    name: str
    """`p99`, `p95` or `max`."""
    ms: float
    low_ms: float
    high_ms: float
    """Between them it lies with 95 %, by the order of the samples, were they independent: those of
    one queue are not, and so it is wider."""
    samples: int

    def __str__(self) -> str:
        if self.name == "max":
            return f"max {self.ms:.0f} of {self.samples}" if self.samples else "-"
        return f"{self.name} {self.ms:.0f} ({self.low_ms:.0f} to {self.high_ms:.0f})"


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One step of a shape. Rates in 1/s, latencies in ms from when requests were to begin."""

    load: float
    seconds: float
    offered_requests_s: float
    answered_requests_s: float
    """Right answers that came in the step, whenever they were asked for."""
    offered_texts_s: float
    answered_texts_s: float
    attempts_s: float
    """Requests sent in the step: first attempts, and those of clients that came back."""
    left_over: float
    """Share of the step's texts without an answer `GRACE_S` after its end."""
    refused: float
    """Share of the step's requests that were refused at first, or had no time."""
    came_back: int
    """Right answers at a later attempt."""
    gave_up: int
    """Requests that were refused at their last attempt."""
    failed: int
    """Neither a right answer nor a documented refusal."""
    p50_ms: float
    tail: Tail
    """Of single headlines answered at the first attempt, as p50."""
    late_start_ms: float
    """Tail of how much later than planned requests were sent: the load generator's own delay."""
    generator_cpu: float | None
    """Share of a core that the busiest process of the load generator used."""
    memory_began_bytes: float | None
    memory_ended_bytes: float | None
    """Of the server, at the beginning and the end, where it tells."""

    @property
    def keeps_up(self) -> bool:
        """Whether the server does what is asked of it."""
        return self.left_over <= LEFT_OVER and self.refused <= TURNED_AWAY and not self.failed

    @property
    def late_start_matters(self) -> bool:
        """Whether much of the tail is the load generator's own delay."""
        return self.late_start_ms > LATE_START * self.tail.ms > 0


@dataclass(frozen=True, slots=True)
class KindFigures:
    """One class of users over the whole run."""

    kind: str
    requests: int
    texts: int
    outcomes: dict[str, int]
    """Of the first attempts."""
    refusals: int
    """At all attempts."""
    gave_up: int
    """Refused at the last attempt."""
    p50_ms: float
    tail: Tail


def step_figures(recording: Recording) -> list[StepFigures]:
    """Return the figures of each step that has ended, in their order."""
    return [_of_step(recording, stage) for stage in recording.stages]


def knee(steps: Sequence[StepFigures]) -> int | None:
    """Return the last step before the first that the server did not keep up with.

    Only the rising part of a shape counts, up to its highest load. `None` if already the first
    step was too much; the highest step if none was.
    """
    if not steps:
        return None
    highest = max(range(len(steps)), key=lambda index: steps[index].load)
    for index in range(highest + 1):
        if not steps[index].keeps_up:
            return index - 1 if index else None
    return highest


def kind_figures(samples: Sequence[Sample]) -> list[KindFigures]:
    """Return the figures of each class of users, the most frequent first."""
    kinds = Counter(sample.kind for sample in samples if sample.attempt == 1)
    return [_of_kind(kind, samples) for kind, _ in kinds.most_common()]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that at least `share` of the values do not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else 0.0


def tail_of(values: Sequence[float]) -> Tail:
    """Return the highest percentile that so many values tell, with its interval."""
    ranked, count = sorted(values), len(values)
    for name, percent in TAILS.items():
        if count * (100 - percent) >= 100 * BEYOND:
            share = percent / 100
            # How many values lie below a percentile is binomially distributed.
            spread = DEVIATIONS * math.sqrt(count * share * (1 - share))
            low, high = math.floor(count * share - spread), math.ceil(count * share + spread)
            interval = ranked[max(0, low - 1)], ranked[min(count, high) - 1]
            return Tail(name, percentile(ranked, share), *interval, count)
    most = ranked[-1] if ranked else 0.0
    return Tail("max", most, most, most, count)


def _latencies_ms(samples: Sequence[Sample]) -> list[float]:
    return [sample.latency_s * 1000 for sample in samples]


def _of_step(recording: Recording, stage: Stage) -> StepFigures:
    samples, seconds = recording.samples, stage.ended_at - stage.began_at
    asked = [each for each in samples if stage.began_at <= each.scheduled_at < stage.ended_at]
    counted = [each for each in samples if each.kind != HOSTILE]
    first = [each for each in asked if each.attempt == 1 and each.kind != HOSTILE]
    answered = [
        each
        for each in counted
        if each.outcome == "right" and stage.began_at <= each.ended_at < stage.ended_at
    ]
    timed = [each for each in first if each.kind == LATENCIES_OF and each.outcome == "right"]
    late_starts_ms = [(each.sent_at - each.scheduled_at) * 1000 for each in first]
    turned_away = sum(each.outcome in ("refused", "late") for each in first)
    return StepFigures(
        load=stage.load,
        seconds=seconds,
        offered_requests_s=len(first) / seconds,
        answered_requests_s=len(answered) / seconds,
        offered_texts_s=sum(each.texts for each in first) / seconds,
        answered_texts_s=sum(each.texts for each in answered) / seconds,
        attempts_s=sum(stage.began_at <= each.sent_at < stage.ended_at for each in counted)
        / seconds,
        left_over=_left_over(first, asked, by=stage.ended_at + GRACE_S),
        refused=turned_away / len(first) if first else 0.0,
        came_back=sum(each.attempt > 1 and each.outcome == "right" for each in asked),
        gave_up=sum(each.outcome == "gave up" for each in asked),
        failed=sum(each.outcome in ("wrong", "failed") for each in asked),
        p50_ms=percentile(_latencies_ms(timed), 0.5),
        tail=tail_of(_latencies_ms(timed)),
        late_start_ms=tail_of(late_starts_ms).ms,
        generator_cpu=_busiest(recording.processor_times, stage),
        memory_began_bytes=_memory_at(recording.memory, stage.began_at),
        memory_ended_bytes=_memory_at(recording.memory, stage.ended_at),
    )


def _left_over(first: Sequence[Sample], asked: Sequence[Sample], *, by: float) -> float:
    """Return the share of the texts that were asked for without an answer at a time."""
    texts = sum(each.texts for each in first)
    done = sum(
        each.texts
        for each in asked
        if each.kind != HOSTILE and each.outcome == "right" and each.ended_at <= by
    )
    return 1 - done / texts if texts else 0.0


def _busiest(times: Sequence[ProcessorTime], stage: Stage) -> float | None:
    within: dict[str, list[ProcessorTime]] = {}
    for each in times:
        if stage.began_at <= each.at <= stage.ended_at:
            within.setdefault(each.process, []).append(each)
    return max(
        (
            (own[-1].used_s - own[0].used_s) / (own[-1].at - own[0].at)
            for own in within.values()
            if len(own) > 1
        ),
        default=None,
    )


def _memory_at(readings: Sequence[MemoryReading], at: float) -> float | None:
    return next((each.size for each in readings if at <= each.at < at + MEMORY_S), None)


def _of_kind(kind: str, samples: Sequence[Sample]) -> KindFigures:
    own = [sample for sample in samples if sample.kind == kind]
    first = [sample for sample in own if sample.attempt == 1]
    right = [sample for sample in first if sample.outcome == "right"]
    return KindFigures(
        kind=kind,
        requests=len(first),
        texts=sum(sample.texts for sample in first),
        outcomes=dict(Counter(sample.outcome for sample in first)),
        refusals=sum(sample.outcome in ("refused", "gave up") for sample in own),
        gave_up=sum(sample.outcome == "gave up" for sample in own),
        p50_ms=percentile(_latencies_ms(right), 0.5),
        tail=tail_of(_latencies_ms(right)),
    )
