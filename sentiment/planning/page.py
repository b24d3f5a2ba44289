"""A plan as a page for the terminal, and as JSON."""

import sys
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sentiment.planning.costs import ReplicaCost
from sentiment.planning.plan import Plan
from sentiment.planning.simulation import Run, Scenario
from sentiment.planning.workload import Workload

WIDTH = 100
"""Of a page for a file or a pipe, whose width rich does not know."""

COLUMNS = ("Replicas", "Budget", "p50", "p95", "p99", "Refused", "Engines busy", "Capacity", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The question, as far as the answer repeats it."""

    workload: Workload
    scenario: Scenario
    price_per_replica_hour: float | None

    def million_texts(self, run: Run, replica_s: float) -> float | None:
        """Return the price of a million answered texts; `None` if no price was given.

        price * hours of replicas / texts answered * 1,000,000
        """
        if self.price_per_replica_hour is None or not run.answered_texts:
            return None
        return self.price_per_replica_hour * replica_s / 3600 / run.answered_texts * 1e6

    def planned_million(self, plan: Plan) -> float | None:
        """Return what the replicas cost that are deployed all the time."""
        run = plan.chosen.run
        return self.million_texts(run, plan.replicas * run.seconds)

    def scaled_million(self, plan: Plan) -> float | None:
        """Return what those cost that an autoscaler asks for, spare ones beside."""
        if plan.scaled is None:
            return None
        run = plan.scaled.run
        return self.million_texts(run, run.replica_s + plan.spare * run.ended_s)


def as_json(plan: Plan, asked: Asked) -> dict[str, Any]:
    """Return the plan as what `--json` prints."""
    chosen, scenario = plan.chosen, asked.scenario
    return {
        "replicas": plan.replicas,
        "spare": plan.spare,
        "met": plan.met,
        "p99_limit_s": plan.goal.p99_s,
        "token_budget": chosen.token_budget,
        "capacity_share": chosen.capacity_share,
        "resources": {"cpu": plan.cpu, "memory_bytes": plan.memory_bytes},
        "autoscaler": {
            "metric": "sentiment_backlog_seconds",
            "target_s": round(plan.backlog_target_s, 4),
        }
        if plan.scaled is None
        else {
            "metric": "sentiment_backlog_seconds",
            "target_s": round(plan.scaled.target_s, 4),
            "minimum": plan.scaled.minimum + plan.spare,
        },
        "price_per_million_texts": asked.planned_million(plan),
        "autoscaled_price_per_million_texts": asked.scaled_million(plan),
        "load": {
            "texts_per_s": asked.workload.rate,
            "requests": len(asked.workload.arrivals),
            "seconds": asked.workload.seconds,
            "tokens_per_text": float(asked.workload.lengths.mean()),
            "balance": scenario.balance,
            "seed": scenario.seed,
        },
        "outcome": outcome(chosen.run),
        "confirmed": [outcome(trial.run) for trial in plan.confirmed],
        "steady": None if plan.scaled is None else outcome(plan.scaled.steady),
        "autoscaled": None if plan.scaled is None else outcome(plan.scaled.run),
        "trials": [
            {"replicas": t.replicas, "token_budget": t.token_budget, **outcome(t.run)}
            for t in plan.trials
        ],
        "cost": asdict(scenario.cost),
    }


def outcome(run: Run) -> dict[str, Any]:
    """Return what a simulation came to."""
    return {
        "p50_s": run.quantile_s(0.5),
        "p95_s": run.quantile_s(0.95),
        "p99_s": run.quantile_s(0.99),
        "texts_per_s": run.answered_texts / run.seconds,
        "refused_share": run.refused_share,
        "refused": dict(sorted(run.refused.items())),
        "utilization": run.utilization,
        "tokens_per_pass": run.tokens / max(1, run.passes),
        "mean_replicas": sum(run.replicas) / max(1, len(run.replicas)),
        "most_replicas": max(run.replicas, default=0),
    }


def print_plan(plan: Plan, asked: Asked) -> None:
    """Print the plan to standard output."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    workload, scenario = asked.workload, asked.scenario
    console.print(
        Text(
            f"{workload.rate:,.0f} texts/s in {len(workload.arrivals) / workload.seconds:,.0f} "
            f"requests/s, {workload.lengths.mean():.1f} tokens a text, p99 at most "
            f"{_time(plan.goal.p99_s)}; {_engine(scenario.cost)}"
        )
    )
    tried = Table(*COLUMNS, box=SIMPLE_HEAD)
    for column in tried.columns[:-1]:
        column.justify = "right"
    for trial in sorted(plan.trials, key=lambda t: (t.replicas, t.token_budget)):
        capacity = f"{trial.capacity_share:.0%}"
        accepted = plan.goal.accepts(trial)
        mark = "fails" if not accepted else "chosen" if trial is plan.chosen else ""
        tried.add_row(
            f"{trial.replicas}", f"{trial.token_budget}", *_figures(trial.run), capacity, mark
        )
    if plan.scaled is not None:
        for run, mark in ((plan.scaled.steady, "steady"), (plan.scaled.run, "autoscaled")):
            shown = f"{min(run.replicas)}-{max(run.replicas)}"
            tried.add_row(shown, f"{plan.chosen.token_budget}", *_figures(run), "", mark)
    console.print(tried)
    facts = Table(show_header=False, box=None)
    for name, value in _facts(plan, asked):
        facts.add_row(Text(name), Text(value))
    console.print(facts)


def _facts(plan: Plan, asked: Asked) -> list[tuple[str, str]]:
    facts = [
        ("Replicas", _replicas(plan)),
        ("SENTIMENT_TOKEN_BUDGET", f"{plan.chosen.token_budget}"),
        ("Resources of each", f"cpu {plan.cpu}, memory {plan.memory_bytes // 2**20} MiB"),
        ("Autoscaler", _autoscaler(plan)),
    ]
    if plan.confirmed:
        tried = (plan.chosen, *plan.confirmed)
        times = ", ".join(_time(trial.run.quantile_s(0.99)) for trial in tried)
        facts.insert(1, ("p99 of three draws", times))
    for name, price in (
        ("A million texts", asked.planned_million(plan)),
        ("- autoscaled", asked.scaled_million(plan)),
    ):
        if price is not None:
            facts.append((name, f"{price:.3f} at {asked.price_per_replica_hour:g} an hour"))
    return facts


def _replicas(plan: Plan) -> str:
    if not plan.met:
        return f"{plan.replicas}: too few"
    if not plan.spare:
        return f"{plan.replicas}"
    return f"{plan.replicas}, of which {plan.spare} may be away (a rollout, a lost node)"


def _autoscaler(plan: Plan) -> str:
    if plan.scaled is None:
        target = f"target {plan.backlog_target_s:.3f} s of sentiment_backlog_seconds"
        return f"{target}, mean of the pods; not tried, --autoscale does"
    minimum = plan.scaled.minimum + plan.spare
    target = f"target {plan.scaled.target_s:.3f} s of sentiment_backlog_seconds"
    return f"{target}, mean of the pods; minReplicas {minimum}"


def _figures(run: Run) -> list[str]:
    times = [_time(run.quantile_s(share)) for share in (0.5, 0.95, 0.99)]
    return [*times, f"{run.refused_share:.2%}", f"{run.utilization:.0%}"]


def _engine(cost: ReplicaCost) -> str:
    threads = f"{cost.threads} thread{'s' * (cost.threads > 1)}"
    return (
        f"{cost.model}, {cost.engine} {cost.precision}, {threads} on {cost.cores} of {cost.machine}"
    )


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 10 else f"{seconds * 1000:.0f} ms"
