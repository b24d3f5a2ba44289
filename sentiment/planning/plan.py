"""How many replicas a load needs: the fewest whose simulated answers come in time."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
"""The autoscaler's target is what the backlog stays under for this share of the planned run."""

STEADY_S = 900.0
"""So long an autoscaler must keep the goal at the planned load: it takes away after 300 s."""

CONFIRMATIONS = 2
"""More draws of the same load that the chosen number of replicas must stand."""

MIN_TARGET_S = 0.01
"""Less backlog than this cannot be told from none."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A simulation and what was tried in it."""

    replicas: int
    token_budget: int
    capacity_share: float
    """Of the replicas' capacity, that the load takes."""
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

    def accepts(self, trial: Trial) -> bool:
        """Whether it is met with the headroom that it asks for."""
        return trial.capacity_share <= 1 - self.headroom + 1e-9 and self.met_by(trial.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a load needs, and how it was found."""

    goal: Goal
    chosen: Trial
    """With as many replicas as must be there."""
    trials: tuple[Trial, ...]
    """All of the search, in the order in which they were tried."""
    confirmed: tuple[Trial, ...]
    """The chosen replicas with other draws of the load."""
    spare: int
    """Replicas beside, so that so many may be away: for a rollout, with a lost node."""
    cpu: int
    """Cores to request for a replica."""
    memory_bytes: int
    """To request for a replica."""
    backlog_target_s: float
    """For an autoscaler on the mean of `sentiment_backlog_seconds`."""
    scaled: "Scaled | None" = None

    @property
    def met(self) -> bool:
        """Whether the goal is reached; with a given number of replicas it may not be."""
        return self.goal.accepts(self.chosen)

    @property
    def replicas(self) -> int:
        """Replicas to deploy."""
        return self.chosen.replicas + self.spare


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """What comes of an autoscaler in the plan's place."""

    minimum: int
    """Fewest replicas; more than asked for where those did not keep the goal."""
    target_s: float
    steady: Run
    """The planned load, for `STEADY_S` or more."""
    run: Run
    """The load with its burst, or the trace."""


Draw = Callable[[int], Workload]
"""The load, as the chance of a seed draws it."""


def make_plan(
    draw: Draw,
    scenario: Scenario,
    goal: Goal,
    *,
    replicas: int | None = None,
    spare: int = 0,
) -> Plan:
    """Find the fewest replicas that reach `goal`, or see what so many `replicas` do.

    Raises:
        OptionError: no number of replicas does.
    """
    seed = scenario.seed
    workload = draw(seed)
    trials: list[Trial] = []

    def attempt(count: int, token_budget: int) -> Trial:
        trials.append(_try(workload, scenario, replicas=count, token_budget=token_budget))
        return trials[-1]

    budgets = [scenario.token_budget]
    if scenario.settings.token_budget == "auto":
        budgets += [each for each in scenario.cost.token_budgets if each != budgets[0]]
    if replicas is not None:
        found = [attempt(replicas, budget) for budget in budgets]
        chosen = min(found, key=lambda trial: not goal.accepts(trial))
    else:
        least = [_least(workload, scenario.cost, goal, token_budget=each) for each in budgets]
        _check_idle(workload, scenario, goal)
        chosen = _fewest(partial(attempt, token_budget=budgets[0]), goal, least=least[0])
        found = [chosen]
        for budget, fewest in zip(budgets[1:], least[1:], strict=True):
            if fewest <= chosen.replicas:
                found.append(
                    _fewest_up_to(
                        attempt(chosen.replicas, budget),
                        partial(attempt, token_budget=budget),
                        goal,
                        too_few=fewest - 1,
                    )
                )
    for other in found[1:]:
        if goal.accepts(other) and _better(other, chosen):
            chosen = other
    confirmed: list[Trial] = []
    if replicas is None:
        draws = [draw(seed + 1 + index) for index in range(CONFIRMATIONS)]
        while True:
            confirmed = _confirm(draws, scenario, chosen)
            if all(map(goal.accepts, (chosen, *confirmed))):
                break
            chosen = attempt(chosen.replicas + 1, chosen.token_budget)
    needed = scenario.cost.memory_bytes * MEMORY_RESERVE
    return Plan(
        goal=goal,
        chosen=chosen,
        trials=tuple(trials),
        confirmed=tuple(confirmed),
        spare=spare if replicas is None else 0,
        cpu=scenario.cost.cores,
        memory_bytes=math.ceil(needed / MEMORY_STEP) * MEMORY_STEP,
        backlog_target_s=max(
            MIN_TARGET_S, float(np.quantile(chosen.run.backlog_s, TARGET_QUANTILE))
        ),
    )


def _try(workload: Workload, scenario: Scenario, *, replicas: int, token_budget: int) -> Trial:
    changed = replace(scenario, token_budget=token_budget)
    share = working_replicas(workload, scenario.cost, token_budget) / replicas
    trial = Trial(replicas, token_budget, share, simulate(workload, changed, replicas=replicas))
    log.info("%s", _line(trial))
    return trial


def _better(other: Trial, chosen: Trial) -> bool:
    """Whether another token budget needs fewer replicas, or with as many answers sooner."""
    if other.replicas != chosen.replicas:
        return other.replicas < chosen.replicas
    return other.run.quantile_s(0.99) < chosen.run.quantile_s(0.99) * (1 - NEGLIGIBLE)


def _confirm(draws: Sequence[Workload], scenario: Scenario, chosen: Trial) -> list[Trial]:
    return [
        _try(
            workload,
            replace(scenario, seed=scenario.seed + 1 + index),
            replicas=chosen.replicas,
            token_budget=chosen.token_budget,
        )
        for index, workload in enumerate(draws)
    ]


def with_autoscaler(
    plan: Plan,
    scenario: Scenario,
    autoscaler: Autoscaler,
    *,
    steady: Workload,
    workload: Workload,
) -> Plan:
    """Return the plan with what comes of `workload` when replicas come and go.

    At first the `steady` load must be served as planned. Where the autoscaler takes too many away,
    its minimum rises, at last to the plan's own number.

    Raises:
        OptionError: the goal is missed even so: `maximum` is too low.
    """
    changed = replace(scenario, token_budget=plan.chosen.token_budget)
    planned = min(plan.chosen.replicas, autoscaler.maximum)
    minimum = autoscaler.minimum
    while True:
        first = max(minimum, planned)
        calm = simulate(
            steady, changed, replicas=first, autoscaler=_from(autoscaler, minimum=minimum)
        )
        log.info("autoscaler with a minimum of %d: %s", minimum, _outcome(calm))
        if plan.goal.met_by(calm):
            break
        if minimum >= planned:
            raise OptionError(
                f"an autoscaler with at most {autoscaler.maximum} replicas and a target of "
                f"{autoscaler.target_s:.3g} s misses the p99 at the planned load"
            )
        minimum = max(minimum + 1, math.ceil((minimum + planned) / 2))
    run = simulate(workload, changed, replicas=first, autoscaler=_from(autoscaler, minimum=minimum))
    scaled = Scaled(minimum=minimum, target_s=autoscaler.target_s, steady=calm, run=run)
    return replace(plan, scaled=scaled)


def _from(autoscaler: Autoscaler, *, minimum: int) -> Autoscaler:
    """Return the same autoscaler, which has seen nothing yet, with another minimum."""
    return replace(autoscaler, minimum=minimum, _seen=[], _wanted=[], _changes=[])


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


def _least(workload: Workload, cost: ReplicaCost, goal: Goal, *, token_budget: int) -> int:
    """Return how many replicas the work and the headroom need at least.

    Raises:
        OptionError: more than `MAX_REPLICAS`.
    """
    working = working_replicas(workload, cost, token_budget)
    least = max(1, math.ceil(working / (1 - goal.headroom) - 1e-9))
    if least > MAX_REPLICAS:
        raise OptionError(
            f"the work alone needs {least:,} replicas; more than {MAX_REPLICAS:,} are not simulated"
        )
    return least


def _fewest(attempt: Callable[[int], Trial], goal: Goal, *, least: int) -> Trial:
    """Return the trial of the fewest replicas that reach the goal: upwards, then by halves.

    Raises:
        OptionError: not even `MAX_REPLICAS` do.
    """
    too_few, step, count = least - 1, 1, least
    while not goal.accepts(found := attempt(count)):
        too_few, step, count = count, step * 2, count + step
        if count > MAX_REPLICAS:
            raise OptionError(f"{too_few} replicas are too few, and over {MAX_REPLICAS} too many")
    return _fewest_up_to(found, attempt, goal, too_few=too_few)


def _fewest_up_to(
    found: Trial, attempt: Callable[[int], Trial], goal: Goal, *, too_few: int
) -> Trial:
    """Return the trial of the fewest that reach the goal; `found` if that does not."""
    if not goal.accepts(found):
        return found
    while found.replicas - too_few > 1:
        trial = attempt((found.replicas + too_few) // 2)
        if goal.accepts(trial):
            found = trial
        else:
            too_few = trial.replicas
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
    return f"{trial.replicas} replicas, budget {trial.token_budget}: {_outcome(trial.run)}"


def _outcome(run: Run) -> str:
    return (
        f"p99 {run.quantile_s(0.99) * 1000:.0f} ms, refused {run.refused_share:.2%}, "
        f"busy {run.utilization:.0%}"
    )
