"""How cost grows with what is asked: `python -m benchmarks.scaling`.

Four sweeps: number of texts and length of a text, from texts to scores without HTTP; size of an
array and number of clients, through HTTP. On logarithmic axes a straight line of slope 1 is
linear; slopes are fitted where fixed costs no longer count. Writes `scaling.json` and a plot.
"""

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.candidates import Candidate
from benchmarks.children import Child, Unavailable
from benchmarks.loads import Requests
from benchmarks.measurement import (
    REPOSITORY,
    TRIALS,
    BenchmarkError,
    base_parser,
    loglog_slope,
    publish,
    run,
    significant,
    turn_order,
)
from benchmarks.models import model_folder
from benchmarks.processes import Quiet
from benchmarks.reliability.client import Pool
from benchmarks.reliability.load import closed_loop, percentile
from benchmarks.reliability.texts import vocabulary
from benchmarks.servers import RunningServer, ours, serving
from benchmarks.texts import load_texts

PLOT = REPOSITORY / "docs" / "plots" / "scaling.png"

ONCE_S = 10.0
"""What takes longer is measured once: noise is small beside it."""

PATIENT = {"deadline_s": 3600, "max_backlog_s": 100_000}
"""Settings of the server: large requests must not be refused for being large."""

LENGTH_TOKENS = 8192
"""In all texts together, at each length."""


@dataclass(slots=True)
class Sweep:
    """One quantity that grows, and what it costs."""

    x_name: str
    y_name: str
    sizes: list[int]
    linear_from: int
    """From here on the fixed costs are small and the slope is fitted."""
    measured: dict[int, list[float]] = field(default_factory=dict)

    @property
    def costs(self) -> list[float]:
        """The least that each size cost: what is more was somebody else's."""
        return [significant(min(self.measured[size])) for size in self.sizes]

    @property
    def slope(self) -> float:
        """Of the line in the logarithms, from `linear_from` on."""
        points = [
            (size, cost)
            for size, cost in zip(self.sizes, self.costs, strict=True)
            if size >= self.linear_from
        ]
        return loglog_slope(*zip(*points, strict=True))

    def document(self) -> dict[str, object]:
        """Return the points and the slope."""
        return {
            "x": self.x_name,
            "y": self.y_name,
            "sizes": self.sizes,
            "costs": self.costs,
            "measured": {
                str(size): [significant(cost) for cost in costs]
                for size, costs in self.measured.items()
            },
            "slope": significant(self.slope, 3),
            "slope_from": self.linear_from,
        }


def sweeps(*, quick: bool) -> dict[str, Sweep]:
    """Return what to measure."""
    texts, tokens, array, clients = (
        ([100, 300, 1000], [8, 32, 128], [1, 16, 64, 256], [1, 8, 32, 128])
        if quick
        else (
            [100, 300, 1000, 3000, 10_000, 30_000, 100_000],
            [8, 16, 32, 64, 128, 256, 512],
            [1, 4, 16, 64, 256, 1024, 4096],
            [1, 4, 16, 64, 256, 1024],
        )
    )
    return {
        "texts": Sweep("texts", "seconds", texts, 100),
        "length": Sweep("tokens in a text", "milliseconds a text", tokens, 16),
        "array": Sweep("texts in a request", "milliseconds a request", array, 16),
        "clients": Sweep("requests at a time", "median latency, milliseconds", clients, 16),
    }


def main() -> None:
    """Measure; write `benchmarks/results/scaling.json` and `docs/plots/scaling.png`."""
    parser = base_parser(__doc__)
    parser.add_argument("--precision", default="auto", help="as SENTIMENT_PRECISION")
    parser.add_argument("--seconds", type=float, default=4, help="of each point through HTTP")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="default: docs/plots")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.patience = 1, 1, 0
    arguments.plot = arguments.plot or (TRIALS / "scaling.png" if arguments.quick else PLOT)
    publish("scaling", uvloop.run(scaling(arguments)), arguments)


async def scaling(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the sweeps' figures, drawn as well."""
    from benchmarks.plots import draw

    folder = model_folder(arguments.model)
    found = sweeps(quick=arguments.quick)
    texts = load_texts(arguments.texts, found["texts"].sizes[-1])
    try:
        with (
            serving(ours(folder, arguments.precision, **PATIENT)) as server,
            Child.engine(Candidate("auto", arguments.precision), folder, "auto") as engine,
        ):
            # One pass over a few hundred texts: the engine is warm and has its token budget.
            facts = engine.ask(do="throughput", texts=texts[:256], seconds=1)["facts"]
            await _measure(found, arguments, texts, engine, server)
    except Unavailable as reason:
        raise BenchmarkError(f"{folder}: {reason}") from reason
    draw(found, arguments.plot, title=f"{folder.name}, {facts['engine']} {facts['precision']}")
    print(f"-> {arguments.plot}")
    return {
        "model": folder.name,
        "rounds": arguments.rounds,
        "engine": facts,
        "sweeps": {name: sweep.document() for name, sweep in found.items()},
    }


async def _measure(
    found: dict[str, Sweep],
    arguments: argparse.Namespace,
    texts: list[str],
    engine: Child,
    server: RunningServer,
) -> None:
    requests = Requests(texts[:8192], sizes=found["array"].sizes)
    without_http: dict[str, Callable[[int], float]] = {
        "texts": lambda size: float(engine.ask(do="score", texts=texts[:size])["seconds"]),
        "length": lambda size: _length_ms(engine, size),
    }
    quiet = Quiet(arguments.patience)
    for turn in range(arguments.rounds):
        for name in turn_order(found, turn):
            sweep = found[name]
            for size in sweep.sizes:
                before = sweep.measured.setdefault(size, [])
                if before and _seconds(sweep, before[0]) > ONCE_S:
                    continue
                quiet.wait()
                if name in without_http:
                    cost = without_http[name](size)
                else:
                    cost = await _latency_ms(
                        server,
                        requests,
                        texts=size if name == "array" else 1,
                        clients=size if name == "clients" else 1,
                        seconds=arguments.seconds,
                    )
                before.append(cost)
                print(f"round {turn + 1}: {size} {sweep.x_name}: {cost:.4g} {sweep.y_name}")


def _seconds(sweep: Sweep, cost: float) -> float:
    return cost if sweep.y_name == "seconds" else cost / 1000


def _length_ms(engine: Child, tokens: int) -> float:
    """Return what a text of so many tokens costs among others like it."""
    words, _, _, _ = vocabulary()
    source = random.Random(tokens)
    count = max(4, LENGTH_TOKENS // tokens)
    texts = [" ".join(source.choices(words, k=tokens - 2)) for _ in range(count)]
    return float(engine.ask(do="score", texts=texts)["seconds"]) * 1000 / count


async def _latency_ms(
    server: RunningServer, requests: Requests, *, texts: int, clients: int, seconds: float
) -> float:
    """Return the median latency of requests of so many texts from so many clients at once."""
    pool = Pool(server.address)
    await pool.open(clients)
    samples = await closed_loop(pool, requests.of(texts), clients=clients, seconds=seconds)
    pool.close()
    if refused := sum(not sample.right for sample in samples):
        raise BenchmarkError(f"{refused} of {len(samples)} requests were not answered")
    return percentile([sample.latency_s * 1000 for sample in samples], 0.5)


if __name__ == "__main__":
    run(main)
