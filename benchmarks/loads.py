"""The loads that servers are compared under, and what one of them shows."""

import itertools
import math
import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from benchmarks.measurement import Figures, medians, significant
from benchmarks.processes import Neighbours
from benchmarks.reliability.client import Pool, posting
from benchmarks.reliability.load import (
    Request,
    Sample,
    closed_loop,
    open_loop,
    percentile,
    statuses,
)
from benchmarks.servers import RunningServer
from benchmarks.texts import unique_texts

IDLE_SHARE = 0.02
"""Of one core; a server that uses more while another is measured does not rest."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of so many texts, one after the other or at a rate."""

    name: str
    texts: int = 1
    """In a request."""
    clients: int = 0
    """Requests in flight; 0 with a rate."""
    capacity_share: float = 0
    """Arrivals as a share of what the server has answered at `CAPACITY`."""

    @property
    def closed(self) -> bool:
        """Whether a request waits for the one before it."""
        return self.clients > 0


IDLE = Load("single texts, 1 at a time", clients=1)
CAPACITY = Load("single texts, 32 at a time", clients=32)
LOADS = (
    IDLE,
    CAPACITY,
    Load("arrays of 32, 4 at a time", texts=32, clients=4),
    Load("arrays of 256, 2 at a time", texts=256, clients=2),
    Load("single texts at 0.5 of capacity", capacity_share=0.5),
    Load("single texts at 0.8 of capacity", capacity_share=0.8),
    Load("single texts at 3 times capacity", capacity_share=3),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One load on one server, once."""

    figures: Figures
    """`client_cpu_share` is of one core; `foreign_cores` are busy with what is not ours."""
    latencies_ms: list[float]
    """Of the requests that were answered 200."""
    statuses: dict[str, int]
    idle_shares: dict[str, float]
    """Of one core, of each server that was not measured."""


@dataclass(slots=True)
class Summary:
    """One load on one server over the rounds."""

    measured: list[Measured] = field(default_factory=list)

    def median(self, figure: str) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(each.figures[figure] for each in self.measured)

    def document(self) -> dict[str, object]:
        """Return medians over the rounds; the 99th percentile is of all rounds' requests."""
        latencies = [each for measured in self.measured for each in measured.latencies_ms]
        counted: dict[str, int] = {}
        for measured in self.measured:
            for status, count in measured.statuses.items():
                counted[status] = counted.get(status, 0) + count
        rates = [each.figures["texts_s"] for each in self.measured]
        return {
            **medians([each.figures for each in self.measured]),
            "p99_ms": significant(percentile(latencies, 0.99)),
            "texts_s_range": [significant(min(rates)), significant(max(rates))],
            "statuses": counted,
        }


class Requests:
    """Requests of texts that are all different, the same for every server.

    Made before they are needed, once around the texts: what the client does meanwhile is taken
    from the server, because both share the machine.
    """

    def __init__(self, texts: Sequence[str], *, sizes: Collection[int]) -> None:
        """Prepare requests of `sizes` texts each."""
        self._sources = {size: _requests(texts, size) for size in sizes}
        self._made = {
            size: list(itertools.islice(source, math.ceil(len(texts) / size)))
            for size, source in self._sources.items()
        }

    def of(self, size: int) -> Iterator[Request]:
        """Yield requests of `size` texts without end, from the first."""
        made = self._made[size]
        for index in itertools.count():
            if index == len(made):
                made.append(next(self._sources[size]))
            yield made[index]


def _requests(texts: Sequence[str], size: int) -> Iterator[Request]:
    source = unique_texts(texts)
    while True:
        body = orjson.dumps([{"text": text} for text in itertools.islice(source, size)])
        yield Request(posting(body), size, lambda answer: answer.count(b'"label"') == size)


async def measure(
    server: RunningServer,
    load: Load,
    requests: Requests,
    *,
    seconds: float,
    capacity: float,
    idle: Sequence[RunningServer],
) -> Measured:
    """Put one load on one server while the others rest.

    Args:
        requests: where those of the load's size come from.
        seconds: how long requests are sent; all answers are waited for.
        capacity: texts a second that the server has shown.
        idle: the other servers.
    """
    pool = Pool(server.address)
    await pool.open(max(1, load.clients))
    idle_before = {each.name: each.cpu_s() for each in idle}
    neighbours = Neighbours()
    cpu_before, client_before, began_at = server.cpu_s(), time.process_time(), time.perf_counter()
    source = requests.of(load.texts)
    if load.closed:
        samples = await closed_loop(pool, source, clients=load.clients, seconds=seconds)
    else:
        samples = await open_loop(
            pool, source, rate=load.capacity_share * capacity, seconds=seconds
        )
    elapsed_s = time.perf_counter() - began_at
    client_share = (time.process_time() - client_before) / elapsed_s
    cpu_s = server.cpu_s() - cpu_before
    pool.close()
    return _measured(
        samples,
        {
            "cpu_s": cpu_s,
            "client_cpu_share": client_share,
            "foreign_cores": neighbours.cores(),
        },
        {each.name: (each.cpu_s() - idle_before[each.name]) / elapsed_s for each in idle},
    )


def _measured(
    samples: Sequence[Sample], shares: Mapping[str, float], idle_shares: dict[str, float]
) -> Measured:
    answered = [sample for sample in samples if sample.right]
    latencies = [sample.latency_s * 1000 for sample in answered]
    texts = sum(sample.texts for sample in answered)
    last_s = max((sample.ended_at for sample in samples), default=1.0)
    return Measured(
        figures={
            "texts_s": texts / last_s,
            "p50_ms": percentile(latencies, 0.5),
            "p99_ms": percentile(latencies, 0.99),
            "cpu_s_per_1000_texts": shares["cpu_s"] / max(texts, 1) * 1000,
            "client_cpu_share": shares["client_cpu_share"],
            "foreign_cores": shares["foreign_cores"],
        },
        latencies_ms=latencies,
        statuses=statuses(samples),
        idle_shares=idle_shares,
    )
