"""A plan as a page for the terminal, and as JSON."""

import sys
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sentiment.planning.costs import ReplicaCost
from sentiment.planning.plan import Plan, Trial, working_replicas
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

    def capacity_share(self, trial: Trial) -> float:
        """Return the share of the replicas' capacity that the load takes."""
        working = working_replicas(self.workload, self.scenario.cost, trial.token_budget)
        return working / trial.replicas

    def million_texts(self, replicas: float) -> float | None:
        """Return the price of a million texts; `None` if no price was given.

        price * replicas / (texts a second * 3,600) * 1,000,000
        """
        if self.price_per_replica_hour is None:
            return None
        return self.price_per_replica_hour * replicas / (self.workload.rate * 3600) * 1e6


def as_json(plan: Plan, asked: Asked) -> dict[str, Any]:
    """Return the plan as what `--json` prints."""
    chosen, scenario = plan.chosen, asked.scenario
    return {
        "replicas": chosen.replicas,
        "met": plan.met,
        "p99_limit_s": plan.goal.p99_s,
        "token_budget": chosen.token_budget,
        "capacity_share": asked.capacity_share(chosen),
        "resources": {"cpu": plan.cpu, "memory_bytes": plan.memory_bytes},
        "autoscaler": {
            "metric": "sentiment_backlog_seconds",
            "target_s": round(plan.backlog_target_s, 4),
        },
        "price_per_million_texts": asked.million_texts(chosen.replicas),
        "load": {
            "texts_per_s": asked.workload.rate,
            "requests": len(asked.workload.arrivals),
            "seconds": asked.workload.seconds,
            "tokens_per_text": float(asked.workload.lengths.mean()),
            "balance": scenario.balance,
            "seed": scenario.seed,
        },
        "outcome": outcome(chosen.run),
        "autoscaled": None if plan.scaled is None else outcome(plan.scaled),
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
        capacity = f"{asked.capacity_share(trial):.0%}"
        met = plan.goal.met_by(trial.run)
        mark = "fails" if not met else "chosen" if trial is plan.chosen else ""
        tried.add_row(
            f"{trial.replicas}", f"{trial.token_budget}", *_figures(trial.run), capacity, mark
        )
    if plan.scaled is not None:
        shown = f"{min(plan.scaled.replicas)}-{max(plan.scaled.replicas)}"
        tried.add_row(
            shown, f"{plan.chosen.token_budget}", *_figures(plan.scaled), "", "autoscaled"
        )
    console.print(tried)
    facts = Table(show_header=False, box=None)
    for name, value in _facts(plan, asked):
        facts.add_row(Text(name), Text(value))
    console.print(facts)


def _facts(plan: Plan, asked: Asked) -> list[tuple[str, str]]:
    chosen = plan.chosen
    met = "" if plan.met else ": too few"
    facts = [
        ("Replicas", f"{chosen.replicas}{met}"),
        ("SENTIMENT_TOKEN_BUDGET", f"{chosen.token_budget}"),
        ("Resources of each", f"cpu {plan.cpu}, memory {plan.memory_bytes // 2**20} MiB"),
        (
            "Autoscaler",
            f"target {plan.backlog_target_s:.3f} s of sentiment_backlog_seconds, mean of the pods",
        ),
    ]
    if (price := asked.million_texts(chosen.replicas)) is not None:
        facts.append(
            ("A million texts", f"{price:.3f} at {asked.price_per_replica_hour:g} an hour")
        )
    return facts


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
