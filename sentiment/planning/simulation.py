"""Replicas behind a balancer, minute by minute, on a clock that does not wait."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sentiment.errors import RequestError
from sentiment.planning.autoscaling import Autoscaler
from sentiment.planning.costs import ReplicaCost
from sentiment.planning.replica import Replica
from sentiment.planning.virtual import run_virtually
from sentiment.planning.workload import Workload
from sentiment.settings import Settings

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

SETTLE_SHARE = 0.05
"""Of the run, at its start: until the queues are what they will be, latencies do not count."""

SAMPLES = 300
"""So often, at least, the backlog is looked at in a run."""

SAMPLE_S = 1.0
"""Longest time between two looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything but the load and the number of replicas."""

    cost: ReplicaCost
    settings: Settings
    token_budget: int
    balance: str = "random"
    """Key of `BALANCERS`."""
    seed: int = 0


@dataclass(slots=True)
class Run:
    """What came of a load."""

    seconds: float
    """How long requests came."""
    latencies_s: Float64 = field(default_factory=lambda: np.zeros(0))
    """`[answered]`: of the requests that came after the start had settled."""
    counted: int = 0
    """Requests that came after the start had settled."""
    answered: int = 0
    answered_texts: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Error code -> requests."""
    refused_counted: int = 0
    """Of `counted`."""
    ended_s: float = 0.0
    """When the last was answered."""
    busy_s: float = 0.0
    """Of all engines."""
    beside_s: float = 0.0
    """Of all event loops."""
    passes: int = 0
    tokens: int = 0
    replica_s: float = 0.0
    """Replicas times seconds for which they ran."""
    sample_s: float = SAMPLE_S
    """Between two samples of the following."""
    backlog_s: list[float] = field(default_factory=list)
    """Mean over the ready replicas."""
    replicas: list[int] = field(default_factory=list)
    """Ready ones."""

    def quantile_s(self, share: float) -> float:
        """Return the latency that this share of the answers does not exceed; 0 of none."""
        if not len(self.latencies_s):
            return 0.0
        return float(np.quantile(self.latencies_s, share, method="inverted_cdf"))

    @property
    def refused_share(self) -> float:
        """Of the requests that count."""
        return self.refused_counted / max(1, self.counted)

    @property
    def utilization(self) -> float:
        """Share of the time in which an engine ran, in the mean of the replicas."""
        return self.busy_s / max(1e-9, self.replica_s)


def simulate(
    workload: Workload,
    scenario: Scenario,
    *,
    replicas: int,
    autoscaler: Autoscaler | None = None,
) -> Run:
    """Return what comes of `workload` on so many replicas, or at first so many."""
    return run_virtually(_Simulation(workload, scenario, autoscaler).run(replicas))


class _Simulation:
    def __init__(
        self, workload: Workload, scenario: Scenario, autoscaler: Autoscaler | None
    ) -> None:
        self._workload = workload
        self._scenario = scenario
        self._autoscaler = autoscaler
        self._replicas: list[Replica] = []
        self._all: list[Replica] = []
        self._latencies: list[float] = []
        self._starting: list[asyncio.Task[None]] = []
        self._paid_until_s = 0.0
        self._result = Run(
            seconds=workload.seconds, sample_s=min(SAMPLE_S, workload.seconds / SAMPLES)
        )

    async def run(self, replicas: int) -> Run:
        self._loop = asyncio.get_running_loop()
        self._choose = BALANCERS[self._scenario.balance](random.Random(self._scenario.seed))
        for _ in range(replicas):
            await self._open()
        self._began_at = self._loop.time()
        beside = [asyncio.create_task(self._watch())]
        if self._autoscaler is not None:
            beside.append(asyncio.create_task(self._scale(self._autoscaler)))
        async with asyncio.TaskGroup() as group:
            await self._arrive(group)
        self._pay()
        self._result.ended_s = self._now()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        for replica in self._all:
            await replica.close()
        return self._finish()

    def _now(self) -> float:
        return self._loop.time() - self._began_at

    async def _open(self) -> None:
        scenario = self._scenario
        replica = Replica(
            scenario.cost,
            scenario.settings,
            token_budget=scenario.token_budget,
            seed=scenario.seed + 1 + len(self._all),
        )
        self._all.append(replica)
        await replica.open()
        self._replicas.append(replica)

    async def _arrive(self, group: asyncio.TaskGroup) -> None:
        """Send every request when its time has come."""
        workload = self._workload
        serial = 0
        for at_s, texts in zip(workload.arrivals.tolist(), workload.texts.tolist(), strict=True):
            if (wait_s := at_s - self._now()) > 0:
                await asyncio.sleep(wait_s)
            lengths = workload.lengths[serial : serial + texts].tolist()
            # No two texts alike: equal ones would be computed once.
            encodings = [np.full(n, serial + i, np.int64) for i, n in enumerate(lengths)]
            serial += texts
            group.create_task(self._send(at_s, encodings))

    async def _send(self, at_s: float, encodings: Sequence[Int64]) -> None:
        result = self._result
        counts = at_s >= SETTLE_SHARE * self._workload.seconds
        result.counted += counts
        try:
            await self._choose(self._replicas).answer(encodings)
        except RequestError as error:
            result.refused[error.code] += 1
            result.refused_counted += counts
            return
        result.answered += 1
        result.answered_texts += len(encodings)
        if counts:
            self._latencies.append(self._now() - at_s)

    async def _watch(self) -> None:
        while True:
            backlogs = [replica.backlog_s for replica in self._replicas]
            mean_s = sum(backlogs) / len(backlogs)
            self._result.backlog_s.append(mean_s)
            self._result.replicas.append(len(backlogs))
            if self._autoscaler is not None:
                self._autoscaler.observe(self._now(), mean_s, ready=len(backlogs))
            await asyncio.sleep(self._result.sample_s)

    async def _scale(self, autoscaler: Autoscaler) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(autoscaler.sync_s)
                self._pay()
                there = len(self._replicas) + len(self._starting)
                wanted = autoscaler.wanted(self._now(), there)
                for _ in range(wanted - there):
                    self._starting.append(group.create_task(self._start(autoscaler.start_s)))
                for _ in range(there - max(wanted, 1)):
                    if self._starting:  # Kubernetes takes those first that are not ready
                        self._starting.pop().cancel()
                    else:
                        self._replicas.pop()  # answers what it has; it gets nothing new

    async def _start(self, start_s: float) -> None:
        await asyncio.sleep(start_s)
        await self._open()
        self._starting.pop(0)  # this one: all take as long

    def _pay(self) -> None:
        """Count the time since the last call: a pod costs from when it is asked for."""
        now = self._now()
        count = len(self._replicas) + len(self._starting)
        self._result.replica_s += count * (now - self._paid_until_s)
        self._paid_until_s = now

    def _finish(self) -> Run:
        result = self._result
        result.latencies_s = np.array(self._latencies)
        for replica in self._all:
            result.busy_s += replica.engine.busy_s
            result.passes += replica.engine.passes
            result.tokens += replica.engine.tokens
            result.beside_s += replica.beside.worked_s
        return result


Chooser = Callable[[Sequence[Replica]], Replica]


def _random(source: random.Random) -> Chooser:
    return lambda replicas: replicas[int(source.random() * len(replicas))]


def _least(source: random.Random) -> Chooser:
    """Fewest requests in flight; any of those that have as few."""

    def choose(replicas: Sequence[Replica]) -> Replica:
        least = min(replica.in_flight for replica in replicas)
        free = [replica for replica in replicas if replica.in_flight == least]
        return free[int(source.random() * len(free))]

    return choose


def _round_robin(source: random.Random) -> Chooser:
    turn = -1

    def choose(replicas: Sequence[Replica]) -> Replica:
        nonlocal turn
        turn += 1
        return replicas[turn % len(replicas)]

    return choose


BALANCERS: dict[str, Callable[[random.Random], Chooser]] = {
    "random": _random,
    "least": _least,
    "round-robin": _round_robin,
}
"""How a replica is chosen. `random` is what kube-proxy does, which is a Service without more;
`least` and `round-robin` are what a proxy in front can do."""
