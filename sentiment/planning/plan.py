"""How many replicas a load needs: the fewest whose simulated answers come in time."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sentiment.errors import OptionError
from sentiment.planning.autoscaling import Autoscaler
from sentiment.planning.costs import ReplicaCost
from sentiment.planning.simulation import Run, Scenario, simulate
from sentiment.planning.workload import Workload

log = logging.getLogger(__name__)

MAX_REPLICAS = 1000

IDLE_REQUESTS = 500
"""Of the workload, are sent one by one to learn what an idle replica needs."""

IDLE_GAP_S = 60.0
"""Between two of them."""

NEGLIGIBLE = 0.05
"""Another token budget must lower the 99th percentile by more than this share."""

MEMORY_RESERVE = 1.25
"""Memory to be requested over what was measured: allocators keep what they once had."""

MEMORY_STEP = 64 * 2**20
"""Bytes; a request is a multiple of them."""

TARGET_QUANTILE = 0.95
"""The autoscaler's target is what the backlog stays under for this share of the planned run: so
at the planned load it adds nothing, and above it does."""

MIN_TARGET_S = 0.01
"""Less backlog than this cannot be told from none."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A simulation and what was tried in it."""

    replicas: int
    token_budget: int
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a plan must reach."""

    p99_s: float
    refused_share: float = 0.0
    headroom: float = 0.0
    """Share of the replicas' capacity that the load must leave free. At the limit of its capacity
    a queue grows slowly: minutes of it may look well."""

    def met_by(self, run: Run) -> bool:
        """Whether the answers came in time, and few enough were refused."""
        return run.quantile_s(0.99) <= self.p99_s and run.refused_share <= self.refused_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a load needs, and how it was found."""

    goal: Goal
    chosen: Trial
    trials: tuple[Trial, ...]
    """All, in the order in which they were tried."""
    cpu: int
    """Cores to request for a replica."""
    memory_bytes: int
    """To request for a replica."""
    backlog_target_s: float
    """For an autoscaler on the mean of `sentiment_backlog_seconds`."""
    scaled: Run | None = None
    """The same load, burst included, while an autoscaler decides."""

    @property
    def met(self) -> bool:
        """Whether the goal is reached; with a given number of replicas it may not be."""
        return self.goal.met_by(self.chosen.run)


def make_plan(
    workload: Workload, scenario: Scenario, goal: Goal, *, replicas: int | None = None
) -> Plan:
    """Find the fewest replicas that reach `goal`, or see what so many `replicas` do.

    Raises:
        OptionError: no number of replicas does.
    """
    trials: list[Trial] = []

    def attempt(count: int, token_budget: int) -> Trial:
        changed = replace(scenario, token_budget=token_budget)
        trial = Trial(count, token_budget, simulate(workload, changed, replicas=count))
        log.info("%s", _line(trial))
        trials.append(trial)
        return trial

    if replicas is not None:
        chosen = attempt(replicas, scenario.token_budget)
    else:
        _check_idle(workload, scenario, goal)
        chosen = _fewest(
            lambda count: attempt(count, scenario.token_budget),
            goal,
            least=math.ceil(
                working_replicas(workload, scenario.cost, scenario.token_budget)
                / (1 - goal.headroom)
            ),
        )
    if scenario.settings.token_budget == "auto":
        for budget in scenario.cost.token_budgets:
            if budget != scenario.token_budget:
                other = attempt(chosen.replicas, budget)
                limit_s = chosen.run.quantile_s(0.99) * (1 - NEGLIGIBLE)
                if goal.met_by(other.run) and other.run.quantile_s(0.99) < limit_s:
                    chosen = other
    needed = scenario.cost.memory_bytes * MEMORY_RESERVE
    return Plan(
        goal=goal,
        chosen=chosen,
        trials=tuple(trials),
        cpu=scenario.cost.cores,
        memory_bytes=math.ceil(needed / MEMORY_STEP) * MEMORY_STEP,
        backlog_target_s=max(
            MIN_TARGET_S, float(np.quantile(chosen.run.backlog_s, TARGET_QUANTILE))
        ),
    )


def with_autoscaler(
    plan: Plan, workload: Workload, scenario: Scenario, autoscaler: Autoscaler
) -> Plan:
    """Return the plan with what comes of `workload` when replicas come and go."""
    first = max(autoscaler.minimum, min(plan.chosen.replicas, autoscaler.maximum))
    changed = replace(scenario, token_budget=plan.chosen.token_budget)
    run = simulate(workload, changed, replicas=first, autoscaler=autoscaler)
    return replace(plan, scaled=run)


def working_replicas(workload: Workload, cost: ReplicaCost, token_budget: int) -> float:
    """Return how many replicas the work alone would keep busy, in full batches without a gap.

    Over the replicas that there are, that is the share of their capacity that the load takes.
    Their engines are busy for more of the time: with less to do, they do it in smaller batches.
    """
    tokens = float(workload.lengths.sum())
    width = float(np.square(workload.lengths).sum()) / tokens
    busy_s = tokens * (cost.batch_s / token_budget + cost.token_s + width * cost.pair_s)
    beside_s = len(workload.arrivals) * cost.request_s + len(workload.lengths) * cost.text_s
    needed_s = busy_s + beside_s if cost.shares_cores else max(busy_s, beside_s)
    return needed_s / workload.seconds


def _fewest(attempt: Callable[[int], Trial], goal: Goal, *, least: int) -> Trial:
    """Return the trial of the fewest replicas that reach the goal: upwards, then by halves.

    Raises:
        OptionError: not even `MAX_REPLICAS` do.
    """
    too_few, step, count = least - 1, 1, least
    while not goal.met_by((found := attempt(count)).run):
        too_few, step, count = count, step * 2, count + step
        if count > MAX_REPLICAS:
            raise OptionError(f"{too_few} replicas are too few, and over {MAX_REPLICAS} too many")
    while found.replicas - too_few > 1:
        middle = (found.replicas + too_few) // 2
        trial = attempt(middle)
        if goal.met_by(trial.run):
            found = trial
        else:
            too_few = middle
    return found


def _check_idle(workload: Workload, scenario: Scenario, goal: Goal) -> None:
    """See that an idle replica is quick enough.

    Raises:
        OptionError: it is not, so that no number of replicas is.
    """
    count = min(IDLE_REQUESTS, len(workload.arrivals))
    texts = workload.texts[:count]
    alone = Workload(
        np.arange(count, dtype=np.float64) * IDLE_GAP_S,
        texts,
        workload.lengths[: int(texts.sum())],
        count * IDLE_GAP_S,
    )
    run = simulate(alone, scenario, replicas=1)
    if not goal.met_by(run):
        shown = f"{run.quantile_s(0.99) * 1000:.0f} ms"
        refused = f" and refuses {run.refused_share:.1%}" if run.refused_share else ""
        raise OptionError(
            f"no number of replicas reaches a p99 of {goal.p99_s * 1000:g} ms: one that is idle "
            f"needs {shown}{refused}; fewer texts a request, a smaller model or more cores help"
        )


def _line(trial: Trial) -> str:
    run = trial.run
    return (
        f"{trial.replicas} replicas, budget {trial.token_budget}: "
        f"p99 {run.quantile_s(0.99) * 1000:.0f} ms, refused {run.refused_share:.2%}, "
        f"busy {run.utilization:.0%}"
    )
