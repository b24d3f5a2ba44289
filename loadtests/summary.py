"""The one page that says what a run showed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.answers import KINDS
from loadtests.figures import (
    ENOUGH_REQUESTS,
    GRACE_S,
    LEFT_OVER,
    TURNED_AWAY,
    KindFigures,
    StepFigures,
    knee,
)
from loadtests.samples import Recording, Stage

OUTCOMES = ("right", "refused", "late", "wrong", "failed")

MIB = 2**20


def page(
    *,
    shape: str,
    recording: Recording,
    steps: Sequence[StepFigures],
    kinds: Sequence[KindFigures],
    machine: Mapping[str, Any],
    with_knee: bool,
) -> str:
    """Return the page in Markdown."""
    facts = recording.facts
    parts = [
        f"# Load test: {shape}",
        *_not_to_be_trusted(recording),
        *_said_of(facts, steps),
        "![Rates and latencies](plots.png)",
        "## By step",
        _steps_table(steps),
        "Offered is what was to begin in the step, answered the right answers that came in it, "
        "attempts what was sent in it, by clients that came back too. Left over are the texts "
        f"without an answer {GRACE_S:g} s after the end. Refused are 429 and 503 with "
        "`Retry-After`, and 504 that foresees no answer in time; their clients came back when they "
        "were told to, and gave up when they were refused the last time. Latencies are of single "
        "headlines answered at the first attempt, from when each was to begin: p99 with 1,000 of "
        "them or more, p95 with 200, and the interval in which it lies with 95 %.",
        _generator_table(steps),
        "Sent late is the tail of how much later than planned requests were sent, the CPU a share "
        "of one core. In steps marked * the load generator's own delay is more than a tenth of the "
        "tail of the latencies.",
        *_knee(steps, recording.stages, with_knee=with_knee),
        "## By user",
        _kinds_table(kinds),
        "## Where",
        _where(facts, machine),
    ]
    return "\n\n".join(parts) + "\n"


def _not_to_be_trusted(recording: Recording) -> list[str]:
    said = []
    if recording.interrupted:
        said.append("**Interrupted**: the last step was cut, and those after it are missing.")
    if recording.lost:
        said.append(f"**Nothing is known of {recording.lost} requests**: the figures are wrong.")
    return said


def _said_of(facts: Mapping[str, Any], steps: Sequence[StepFigures]) -> list[str]:
    if "model" not in facts:
        return []
    sizes: Mapping[str, int] = facts["table_texts"]
    known = " and ".join(f"{sizes[kind]} {kind}s" for kind in KINDS)
    said = [
        f"`{facts['model']}` on {facts['engine']}. Each answer was compared with what the server "
        f"answered for that text alone: {known}, tolerance "
        f"{facts['tolerance']:g}; exchanged answers would show in {facts['told_apart']:.1%} of "
        "pairs of texts."
    ]
    measured = facts.get("capacity_texts_s")
    if "rate" in facts:
        source = f", about the {measured:.0f} texts/s that it did just before" if measured else ""
        said.append(f"Load 1 is {facts['rate']:.3g} requests/s{source}.")
    fastest = measured or max((step.answered_texts_s for step in steps), default=0.0)
    backlog_texts = fastest * facts["limits"]["max_backlog_s"]
    few = [f"{sizes[kind]} {kind}s" for kind in KINDS if sizes[kind] < backlog_texts]
    if few:
        said.append(
            f"The queue may hold {backlog_texts:.0f} texts, more than the {' and the '.join(few)} "
            "of which the answers are known: equal ones in flight are computed once, so the "
            "figures beyond the knee are too good. Raise `--table-seconds` and `--table-texts`."
        )
    return said


def _steps_table(steps: Sequence[StepFigures]) -> str:
    rows = [
        "| load | s | offered requests/s | attempts/s | answered | offered texts/s | answered "
        "| left over | refused | came back | gave up | failed | p50 ms | tail ms |",
        "|" + "---:|" * 14,
    ]
    rows += [
        f"| {step.load:g} | {step.seconds:.3g} | {step.offered_requests_s:.1f} "
        f"| {step.attempts_s:.1f} | {step.answered_requests_s:.1f} | {step.offered_texts_s:.0f} "
        f"| {step.answered_texts_s:.0f} | {step.left_over:.1%} | {step.refused:.1%} "
        f"| {step.came_back} | {step.gave_up} | {step.failed} | {step.p50_ms:.0f} | {step.tail} |"
        for step in steps
    ]
    return "\n".join(rows)


def _generator_table(steps: Sequence[StepFigures]) -> str:
    rows = [
        "| load | sent late ms | generator's CPU | server's MiB at the beginning | at the end |",
        "|" + "---:|" * 5,
    ]
    rows += [
        f"| {step.load:g}{' *' if step.late_start_matters else ''} | {step.late_start_ms:.1f} "
        f"| {_or_dash(step.generator_cpu, '.0%')} "
        f"| {_mib(step.memory_began_bytes)} | {_mib(step.memory_ended_bytes)} |"
        for step in steps
    ]
    return "\n".join(rows)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _mib(size: float | None) -> str:
    return _or_dash(size and size / MIB, ".0f")


def _knee(steps: Sequence[StepFigures], stages: Sequence[Stage], *, with_knee: bool) -> list[str]:
    if not with_knee or not steps:
        return []
    defined = [
        "## The knee",
        f"The last step before the first, as the load rises, in which more than {LEFT_OVER:.0%} of "
        f"the texts were left over, more than {TURNED_AWAY:.0%} of the requests refused, or any "
        "failed.",
        *_too_short(stages),
    ]
    bend = knee(steps)
    if bend is None:
        return [*defined, "Already the first step was too much."]
    at = steps[bend]
    found = (
        f"It is at load {at.load:g}: {at.answered_texts_s:.0f} texts/s in "
        f"{at.answered_requests_s:.1f} requests/s, {at.tail} ms."
    )
    highest = max(range(len(steps)), key=lambda index: steps[index].load)
    if bend == highest:
        return [*defined, f"{found} No step was too much: the knee may lie higher."]
    most = max(step.answered_texts_s for step in steps[: highest + 1])
    top = steps[highest]
    beyond = (
        f"Beyond it: at load {top.load:g}, {top.answered_texts_s:.0f} texts/s are answered, "
        f"{top.answered_texts_s / most:.0%} of the most in any step up to it, {top.refused:.1%} of "
        f"the requests are refused, and of what is taken {top.tail} ms."
    )
    after = [
        f"Afterwards, at load {step.load:g}: {step.tail} ms, {step.refused:.1%} refused."
        for step in steps[highest + 1 :]
    ]
    return [*defined, found, beyond, *after]


def _too_short(stages: Sequence[Stage]) -> list[str]:
    fewest = min(
        (each.rate / each.load * (each.ended_at - each.began_at) for each in stages[:-1]),
        default=ENOUGH_REQUESTS,
    )
    if fewest >= ENOUGH_REQUESTS:
        return []
    longer = math.ceil(ENOUGH_REQUESTS / max(1, fewest))
    return [
        f"A step has about {fewest:.0f} requests at load 1, fewer than {ENOUGH_REQUESTS}: a few "
        "large ones decide, and where the knee is, is chance in part. "
        f"With `--stretch` {longer} times that of this run it would not be."
    ]


def _kinds_table(kinds: Sequence[KindFigures]) -> str:
    rows = [
        "| user | requests | texts | right | refused | late | wrong | failed | gave up | p50 ms "
        "| tail ms |",
        "|---|" + "---:|" * 10,
    ]
    for kind in kinds:
        counts = [kind.outcomes.get(outcome, 0) for outcome in OUTCOMES]
        cells = " | ".join(map(str, [kind.requests, kind.texts, *counts, kind.gave_up]))
        rows.append(f"| {kind.kind} | {cells} | {kind.p50_ms:.0f} | {kind.tail} |")
    return "\n".join(rows)


def _where(facts: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    versions = {**machine["versions"], **facts.get("server_versions", {})}
    lines = [
        f"- {machine['date']}, commit {machine['commit']}",
        f"- {machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, "
        f"load average {_loads(facts.get('load_average', ()))} before the run, "
        f"{_loads(machine['load_average'])} after it",
        "- " + ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    return "\n".join(lines)


def _loads(averages: Sequence[float]) -> str:
    return ", ".join(f"{average:.2f}" for average in averages)
