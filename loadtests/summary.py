"""The one page that says what a run showed."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.figures import KEPT_UP, TURNED_AWAY, KindFigures, StepFigures, knee

OUTCOMES = ("right", "refused", "late", "wrong", "failed")


def page(
    *,
    shape: str,
    facts: Mapping[str, Any],
    steps: Sequence[StepFigures],
    kinds: Sequence[KindFigures],
    machine: Mapping[str, Any],
) -> str:
    """Return the page in Markdown."""
    parts = [
        f"# Load test: {shape}",
        *_said_of(facts),
        "![Rates and latencies](plots.png)",
        "## By step",
        _steps_table(steps),
        "Offered is what was to begin in the step, answered the right answers that came in it. "
        "Percentiles are of single headlines answered at the first attempt, from when each was to "
        "begin. Refused are 429 and 503 with `Retry-After`, and 504 that foresees no answer in "
        "time; their clients came back when they were told to.",
        "## The knee",
        *_knee(steps),
        "## By user",
        _kinds_table(kinds),
        "## Where",
        _where(facts, machine),
    ]
    return "\n\n".join(parts) + "\n"


def _said_of(facts: Mapping[str, Any]) -> list[str]:
    if "model" not in facts:
        return []
    said = [
        f"`{facts['model']}` on {facts['engine']}. Each answer was compared with what the server "
        f"answered for that text alone: {facts['table_texts']} texts, tolerance "
        f"{facts['tolerance']:g}; exchanged answers would show in {facts['told_apart']:.1%} of "
        "pairs of texts."
    ]
    if "rate" in facts:
        measured = facts.get("capacity_texts_s")
        source = f", about the {measured:.0f} texts/s that it did just before" if measured else ""
        said.append(f"Load 1 is {facts['rate']:.3g} requests/s{source}.")
        backlog_texts = (measured or 0) * facts["limits"]["max_backlog_s"]
        if backlog_texts > facts["table_texts"]:
            said.append(
                f"The queue may hold {backlog_texts:.0f} texts, more than the answers of which are "
                "known: equal ones in flight are computed once, so the figures beyond the knee are "
                "too good. Raise `--table-seconds` and `--table-texts`."
            )
    return said


def _steps_table(steps: Sequence[StepFigures]) -> str:
    rows = [
        "| load | s | offered requests/s | answered | offered texts/s | answered | refused | "
        "came back | failed | p50 ms | p95 ms | p99 ms | of |",
        "|" + "---:|" * 13,
    ]
    rows += [
        f"| {step.load:g} | {step.seconds:.3g} | {step.offered_requests_s:.1f} "
        f"| {step.answered_requests_s:.1f} | {step.offered_texts_s:.0f} "
        f"| {step.answered_texts_s:.0f} | {step.refused:.1%} | {step.came_back} | {step.failed} "
        f"| {step.p50_ms:.0f} | {step.p95_ms:.0f} | {step.p99_ms:.0f} | {step.timed} |"
        for step in steps
    ]
    return "\n".join(rows)


def _knee(steps: Sequence[StepFigures]) -> list[str]:
    defined = (
        f"The last step before the first, as the load rises, in which less than {KEPT_UP:.0%} of "
        f"the texts offered were answered, more than {TURNED_AWAY:.0%} of the requests refused, or "
        "any failed."
    )
    bend = knee(steps)
    if bend is None:
        return [defined, "Already the first step was too much."]
    at = steps[bend]
    found = (
        f"It is at load {at.load:g}: {at.answered_texts_s:.0f} texts/s in "
        f"{at.answered_requests_s:.1f} requests/s, p99 {at.p99_ms:.0f} ms."
    )
    highest = max(range(len(steps)), key=lambda index: steps[index].load)
    if bend == highest:
        return [defined, f"{found} No step was too much: the knee may lie higher."]
    most = max(step.answered_texts_s for step in steps[: highest + 1])
    top = steps[highest]
    beyond = (
        f"Beyond it: at load {top.load:g}, {top.answered_texts_s:.0f} texts/s are answered, "
        f"{top.answered_texts_s / most:.0%} of the most in any step up to it, {top.refused:.1%} of "
        f"the requests are refused, and p99 of what is taken is {top.p99_ms:.0f} ms."
    )
    after = [
        f"Afterwards, at load {step.load:g}: p99 {step.p99_ms:.0f} ms, {step.refused:.1%} refused."
        for step in steps[highest + 1 :]
    ]
    return [defined, found, beyond, *after]


def _kinds_table(kinds: Sequence[KindFigures]) -> str:
    rows = [
        "| user | requests | texts | right | refused | late | wrong | failed | p50 ms | p99 ms |",
        "|---|" + "---:|" * 9,
    ]
    for kind in kinds:
        counts = [kind.outcomes.get(outcome, 0) for outcome in OUTCOMES]
        cells = " | ".join(map(str, [kind.requests, kind.texts, *counts]))
        rows.append(f"| {kind.kind} | {cells} | {kind.p50_ms:.0f} | {kind.p99_ms:.0f} |")
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
