"""Figures of a run: what was offered, what was answered, how late, and where the knee is."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.samples import Sample, Stage

LATENCIES_OF = "HeadlineSingles"
"""Of whom latencies are told step by step: all requests are alike, and somebody waits for each."""

HOSTILE = "HostileClients"
"""Of whom nothing is counted but failures."""

KEPT_UP = 0.9
"""Of the texts offered in a step, the share that must be answered in it: a step of 20 s ends with
less than 2 s of work more than it began with."""

TURNED_AWAY = 0.01
"""Of the requests of a step, the share that may be refused or have no time."""


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
    refused: float
    """Share of the step's requests that were refused at first, or had no time."""
    came_back: int
    """Right answers at a later attempt."""
    failed: int
    """Neither a right answer nor a documented refusal."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    timed: int
    """Requests behind the percentiles: single headlines answered at the first attempt."""

    @property
    def keeps_up(self) -> bool:
        """Whether the server does what is asked of it."""
        behind = self.answered_texts_s < KEPT_UP * self.offered_texts_s
        return not behind and self.refused <= TURNED_AWAY and not self.failed


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
    p50_ms: float
    p99_ms: float


def step_figures(samples: Sequence[Sample], stages: Sequence[Stage]) -> list[StepFigures]:
    """Return the figures of each step, in their order."""
    return [_of_step(samples, stage) for stage in stages]


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


def percentile_ms(samples: Sequence[Sample], share: float) -> float:
    """Return the latency in ms that at least `share` of the samples do not exceed; 0 of none."""
    ranked = sorted(sample.latency_s for sample in samples)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] * 1000 if ranked else 0.0


def _of_step(samples: Sequence[Sample], stage: Stage) -> StepFigures:
    seconds = stage.ended_at - stage.began_at
    asked = [each for each in samples if stage.began_at <= each.scheduled_at < stage.ended_at]
    first = [each for each in asked if each.attempt == 1 and each.kind != HOSTILE]
    answered = [
        each
        for each in samples
        if each.outcome == "right"
        and each.kind != HOSTILE
        and stage.began_at <= each.ended_at < stage.ended_at
    ]
    timed = [each for each in first if each.kind == LATENCIES_OF and each.outcome == "right"]
    turned_away = sum(each.outcome in ("refused", "late") for each in first)
    return StepFigures(
        load=stage.load,
        seconds=seconds,
        offered_requests_s=len(first) / seconds,
        answered_requests_s=len(answered) / seconds,
        offered_texts_s=sum(each.texts for each in first) / seconds,
        answered_texts_s=sum(each.texts for each in answered) / seconds,
        refused=turned_away / len(first) if first else 0.0,
        came_back=sum(each.attempt > 1 and each.outcome == "right" for each in asked),
        failed=sum(each.outcome in ("wrong", "failed") for each in asked),
        p50_ms=percentile_ms(timed, 0.5),
        p95_ms=percentile_ms(timed, 0.95),
        p99_ms=percentile_ms(timed, 0.99),
        timed=len(timed),
    )


def _of_kind(kind: str, samples: Sequence[Sample]) -> KindFigures:
    own = [sample for sample in samples if sample.kind == kind]
    first = [sample for sample in own if sample.attempt == 1]
    right = [sample for sample in first if sample.outcome == "right"]
    return KindFigures(
        kind=kind,
        requests=len(first),
        texts=sum(sample.texts for sample in first),
        outcomes=dict(Counter(sample.outcome for sample in first)),
        refusals=sum(sample.outcome == "refused" for sample in own),
        p50_ms=percentile_ms(right, 0.5),
        p99_ms=percentile_ms(right, 0.99),
    )
