"""What a plan predicts against what replicas do: `python -m benchmarks.planning`.

One, two and three replicas are started and loaded, open loop, at shares of what they can do; each
request goes to one of them at random, as kube-proxy sends it. The same arrivals are simulated.
First around an engine that sleeps for a known time, so that two cores are enough for three replicas
and the client. Then around the bundled model with one thread, whose cost is measured before as
`plan` measures it: there client and replicas take each other's cores, which no plan knows of.
"""

import argparse
import itertools
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

import numpy as np
import uvloop

from benchmarks.measurement import base_parser, publish, run, significant
from benchmarks.processes import Neighbours
from benchmarks.reliability.client import Pool
from benchmarks.reliability.load import Request, Sample, ask, percentile, poisson, proof
from benchmarks.reliability.overload import real_requests
from benchmarks.reliability.server import REAL, Server, double, serving
from benchmarks.reliability.texts import headlines, numbered
from sentiment.models import resolve_model
from sentiment.planning.costs import ReplicaCost
from sentiment.planning.measurement import measure_replica, token_lengths
from sentiment.planning.plan import working_replicas
from sentiment.planning.simulation import SETTLE_SHARE, Run, Scenario, simulate
from sentiment.planning.workload import Int64, Workload
from sentiment.settings import Settings

BASE_MS, TOKEN_MS = 40.0, 0.5
"""Slow, so that three replicas and the client need little of two cores, and what neighbours hold
up for tens of milliseconds is little beside a pass."""

TEXT_WORDS = (3, 6, 6, 6, 30)
"""Of the double's texts, each as likely; two tokens more each."""

SIZES = {1: 0.8, 4: 0.15, 16: 0.05}
"""Texts of a request, and how likely."""

SETTINGS: dict[str, object] = {"token_budget": 256, "max_backlog_s": 3.0}

SHARES = (0.5, 0.8)
"""Of the capacity."""

REAL_SHARES = (0.3, 0.5)
"""Less, because the client takes its part of the same cores."""

REQUESTS = 3000
"""Of each load: thirty of them decide the p99."""

WARM_UP_S = 2.0
"""At half the rate."""

SEEDS = 3
"""Simulations of each load, whose mean is the prediction: which replica a request falls to is
chance, and not the chance that the client had."""

TOLERANCE = 0.15


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of a load."""

    p50_ms: float
    p99_ms: float
    texts_per_s: float
    refused: float
    """Share of the requests."""


@dataclass(frozen=True, slots=True)
class Point:
    """One load, predicted and measured."""

    replicas: int
    share: float
    rate: float
    predicted: Figures
    measured: Figures
    stretch: float
    """What passes took over what the cost says: neighbours make it more than one."""
    stretched: Figures
    """Predicted with passes that are so much slower."""
    client_late_ms: float
    """99th percentile of how late the client itself was: it is in what was measured."""
    neighbour_cores: float
    """That other programs took meanwhile."""

    @property
    def ratios(self) -> dict[str, float]:
        """Predicted over measured."""
        return {
            name: getattr(self.predicted, name) / max(1e-9, getattr(self.measured, name))
            for name in ("p50_ms", "p99_ms", "texts_per_s")
        }


@dataclass(frozen=True, slots=True)
class Passes:
    """What a server has run so far."""

    count: float
    seconds: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of replica and what is known of it."""

    command: tuple[str, ...]
    settings: dict[str, object]
    cost: ReplicaCost
    requests: Callable[[], Iterator[Request]]
    pool: Int64
    """Tokens of its texts."""
    capacity: float
    """Requests a second of one replica in full batches."""


def double_subject(edge: ReplicaCost) -> Subject:
    """Return the double, whose HTTP costs what `edge` does."""
    budget = int(str(SETTINGS["token_budget"]))
    cost = replace(
        edge,
        batch_s=BASE_MS / 1000,
        token_s=TOKEN_MS / 1000,
        pair_s=0.0,
        spread=(1.0,),
        cores=2,
        threads=1,
        token_budget=budget,
    )
    pool = np.array([words + 2 for words in TEXT_WORDS])
    return Subject(
        double(base_ms=BASE_MS, token_ms=TOKEN_MS),
        SETTINGS,
        cost,
        mixed,
        pool,
        capacity=_capacity(cost, pool, mean_size=sum(size * each for size, each in SIZES.items())),
    )


def mixed() -> Iterator[Request]:
    """Yield requests to the double of many sizes, whose texts have many lengths."""
    source = random.Random(2)
    serial = 0
    while True:
        (size,) = source.choices(list(SIZES), list(SIZES.values()))
        asked = [numbered(serial + each, source.choice(TEXT_WORDS)) for each in range(size)]
        serial += size
        yield proof(asked)


def _capacity(cost: ReplicaCost, pool: Int64, *, mean_size: float) -> float:
    """Return the requests a second of one replica in full batches."""
    load = Workload(np.zeros(1), np.array([len(pool)]), pool, seconds=1.0)
    return len(pool) / working_replicas(load, cost, cost.token_budget) / mean_size


def real_subject(settings: Settings, cost: ReplicaCost, pool: Int64) -> Subject:
    """Return the bundled model with one thread."""
    given = {"threads": 1, "precision": settings.precision}
    return Subject(
        REAL,
        {**given, "token_budget": cost.token_budget},
        cost,
        lambda: itertools.cycle(real_requests(1, count=2000)),
        pool,
        capacity=_capacity(cost, pool, mean_size=1),
    )


def validate(
    subject: Subject, *, replicas: Sequence[int], shares: Sequence[float], requests: int
) -> list[Point]:
    """Return a point for each number of replicas and share of their capacity."""
    points = []
    for count in replicas:
        with ExitStack() as stack:
            servers = [
                stack.enter_context(serving(subject.command, **subject.settings))
                for _ in range(count)
            ]
            for share in shares:
                rate = share * count * subject.capacity
                seconds = requests / rate
                before = [_passes(server) for server in servers]
                neighbours = Neighbours()
                samples = uvloop.run(_load(servers, subject, rate=rate, seconds=seconds))
                cores = significant(neighbours.cores(), 2)
                predicted = predict(subject, samples, replicas=count, seconds=seconds)
                stretch = _stretch(subject, before, [_passes(server) for server in servers])
                slowed = replace(subject, cost=slower(subject.cost, stretch))
                stretched = predict(slowed, samples, replicas=count, seconds=seconds)
                point = Point(
                    replicas=count,
                    share=share,
                    rate=rate,
                    predicted=predicted,
                    measured=_measured(samples, seconds),
                    stretch=stretch,
                    stretched=stretched,
                    client_late_ms=significant(
                        percentile([s.sent_at - s.intended_at for s in samples], 0.99) * 1000, 2
                    ),
                    neighbour_cores=cores,
                )
                print(_row(point), flush=True)
                points.append(point)
    return points


def _passes(server: Server) -> Passes:
    return Passes(
        server.metric("sentiment_infer_seconds_count"),
        server.metric("sentiment_infer_seconds_sum"),
        server.metric("sentiment_batch_tokens_sum"),
    )


def _stretch(subject: Subject, before: Sequence[Passes], after: Sequence[Passes]) -> float:
    """Return how much longer the passes between took than the cost says of so many tokens."""
    took_s = sum(b.seconds - a.seconds for a, b in zip(before, after, strict=True))
    count = sum(b.count - a.count for a, b in zip(before, after, strict=True))
    tokens = sum(b.tokens - a.tokens for a, b in zip(before, after, strict=True))
    cost, width = subject.cost, float(np.square(subject.pool).sum() / subject.pool.sum())
    said_s = count * cost.batch_s + tokens * (cost.token_s + width * cost.pair_s)
    return significant(took_s / said_s, 3)


def slower(cost: ReplicaCost, stretch: float) -> ReplicaCost:
    """Return the cost of passes that take `stretch` times as long."""
    return replace(
        cost,
        batch_s=cost.batch_s * stretch,
        token_s=cost.token_s * stretch,
        pair_s=cost.pair_s * stretch,
    )


async def _load(
    servers: Sequence[Server], subject: Subject, *, rate: float, seconds: float
) -> list[Sample]:
    """Send requests at random times to random servers; each server is warmed up before."""
    source = random.Random(1)
    pools = [Pool(server.address) for server in servers]
    most = int(rate * (WARM_UP_S + 1.5 * seconds)) + 100
    requests = iter(list(itertools.islice(subject.requests(), most)))  # composed before
    samples: list[Sample] = []

    async def send(intended_at: float, began_at: float) -> None:
        pool = pools[source.randrange(len(pools))]
        samples.append(await ask(pool, next(requests), intended_at=intended_at, began_at=began_at))

    await poisson(send, rate=rate / 2, seconds=WARM_UP_S, seed=1)  # connections, the cost model
    samples.clear()
    await poisson(send, rate=rate, seconds=seconds)
    for pool in pools:
        pool.close()
    return sorted(samples, key=lambda sample: sample.intended_at)


def predict(
    subject: Subject, samples: Sequence[Sample], *, replicas: int, seconds: float
) -> Figures:
    """Return what simulations of the very same arrivals come to, in the mean."""
    settings = Settings(
        token_budget=subject.cost.token_budget,
        max_backlog_s=float(str(subject.settings.get("max_backlog_s", 10))),
    )
    arrivals = np.array([sample.intended_at for sample in samples])
    texts = np.array([sample.texts for sample in samples])
    runs = []
    for seed in range(SEEDS):
        workload = Workload.at(
            arrivals, seconds=seconds, pool=subject.pool, sizes={}, seed=seed, texts=texts
        )
        scenario = Scenario(
            cost=subject.cost,
            settings=settings,
            token_budget=subject.cost.token_budget,
            seed=100 * seed,
        )
        runs.append(simulate(workload, scenario, replicas=replicas))
    return _mean(runs)


def _mean(runs: Sequence[Run]) -> Figures:
    return Figures(
        p50_ms=statistics.mean(run.quantile_s(0.5) for run in runs) * 1000,
        p99_ms=statistics.mean(run.quantile_s(0.99) for run in runs) * 1000,
        texts_per_s=statistics.mean(run.answered_texts / run.seconds for run in runs),
        refused=statistics.mean(run.refused_share for run in runs),
    )


def _measured(samples: Sequence[Sample], seconds: float) -> Figures:
    counted = [sample for sample in samples if sample.intended_at >= SETTLE_SHARE * seconds]
    answered = [sample.latency_s * 1000 for sample in counted if sample.status == 200]
    return Figures(
        p50_ms=percentile(answered, 0.5),
        p99_ms=percentile(answered, 0.99),
        texts_per_s=sum(sample.texts for sample in samples if sample.status == 200) / seconds,
        refused=1 - len(answered) / max(1, len(counted)),
    )


def _row(point: Point) -> str:
    """Return a row of docs/planning.md: predicted, with passes as slow as they were, measured."""
    three = (point.predicted, point.stretched, point.measured)

    def cell(name: str, form: str) -> str:
        return " / ".join(format(getattr(figures, name), form) for figures in three)

    cells = [
        str(point.replicas),
        f"{point.share:.0%}",
        f"{point.rate:,.0f}",
        cell("p50_ms", ".0f"),
        cell("p99_ms", ".0f"),
        cell("texts_per_s", ",.0f"),
        cell("refused", ".1%"),
        f"{point.stretch:.2f}",
        f"{point.client_late_ms:.0f}",
        f"{point.neighbour_cores:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def edge_cost(settings: Settings) -> tuple[ReplicaCost, Int64]:
    """Return what a replica of `settings` costs here, with headlines, and their tokens."""
    texts = headlines(1000)
    pool = token_lengths(resolve_model(settings.model), texts)
    return measure_replica(settings, texts=texts, lengths=pool), pool


def main() -> None:
    """Measure both subjects and publish the table."""
    parser: argparse.ArgumentParser = base_parser(__doc__)
    parser.add_argument("--shares", type=float, nargs="+", help="of the capacity to be offered")
    parser.add_argument("--only", choices=("double", "real"), help="one of the two subjects")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each load")
    arguments = parser.parse_args()
    requests = 200 if arguments.quick else arguments.requests
    settings = Settings(model="compact", precision="fp32", threads=1)
    cost, pool = edge_cost(settings)
    print(f"request {cost.request_s * 1e6:.0f} us, text {cost.text_s * 1e6:.0f} us of CPU")
    figures: dict[str, object] = {}
    for name, subject, replicas, shares in (
        ("double", double_subject(cost), (1, 2, 3), SHARES),
        ("real", real_subject(settings, cost, pool), (1,), REAL_SHARES),
    ):
        if arguments.only not in (None, name):
            continue
        print(f"{name}: {subject.capacity:.0f} requests/s a replica")
        shares = arguments.shares or shares
        points = validate(subject, replicas=replicas, shares=shares, requests=requests)
        figures[name] = {
            "cost": asdict(subject.cost),
            "capacity_texts_per_s": significant(subject.capacity),
            "points": [{**asdict(point), "ratios": point.ratios} for point in points],
        }
    publish("planning", figures, arguments)


if __name__ == "__main__":
    run(main)
