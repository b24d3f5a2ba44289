"""This server against the design that it replaces: `python -m benchmarks.server`.

Same weights, same texts, same loads, all servers up and idle but the one that is measured; loads
and servers take turns, and medians over the rounds are compared. The engines alone take their
turns too, each in a process without HTTP: what the server adds shows in the same run. The client
shares the machine; its part of one core is reported beside each figure.
"""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.candidates import Candidate
from benchmarks.children import Child, Unavailable
from benchmarks.loads import (
    CAPACITY,
    IDLE,
    IDLE_SHARE,
    LOADS,
    Load,
    Requests,
    Summary,
    measure,
)
from benchmarks.measurement import (
    BenchmarkError,
    base_parser,
    medians,
    publish,
    run,
    significant,
    turn_order,
)
from benchmarks.models import model_folder
from benchmarks.processes import Neighbours, Quiet
from benchmarks.servers import RunningServer, Variant, original, ours, serving
from benchmarks.texts import load_texts

PRECISIONS = ("fp32", "bf16", "int8")

ENGINE_TEXTS = 512
"""Texts that the engines alone are measured on: the first of those that the servers get."""


def main() -> None:
    """Measure and write `benchmarks/results/server-<model>.json`."""
    parser = base_parser(__doc__)
    parser.add_argument("--count", type=int, default=8192, help="texts made before the start")
    parser.add_argument("--seconds", type=float, default=5, help="of each load, each round")
    parser.add_argument("--starts", type=int, default=3, help="how often each server is started")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.starts, arguments.seconds = 1, 1, 1
        arguments.patience = 0
    folder = model_folder(arguments.model)
    figures = uvloop.run(comparison(arguments, folder))
    publish(f"server-{folder.name}", figures, arguments)


async def comparison(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the figures of all servers, and how they stand to the original and the engines."""
    texts = load_texts(arguments.texts, arguments.count)
    variants = [original(folder), *(ours(folder, precision) for precision in PRECISIONS)]
    unavailable: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        servers: dict[str, RunningServer] = {}
        ready_s: dict[str, list[float]] = {}
        for variant in variants:
            try:
                ready_s[variant.name] = _earlier_starts(variant, arguments.starts - 1)
                server = stack.enter_context(serving(variant))
            except Unavailable as reason:
                unavailable[variant.name] = str(reason)
                print(f"{variant.name}: unavailable: {reason}")
                continue
            ready_s[variant.name].append(server.ready_s)
            servers[variant.name] = server
        if "original" not in servers:
            raise BenchmarkError(f"the original does not start: {unavailable['original']}")
        loaded_mib = {name: server.memory_mib() for name, server in servers.items()}
        engines = _open_engines(stack, [name for name in servers if name != "original"], folder)
        run_of = Run(arguments, texts, servers, engines)
        await run_of.rounds()
        return {
            "model": folder.name,
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
            "servers": {
                name: {
                    "info": server.info(),
                    "ready_s": ready_s[name],
                    "memory_mib": {"ready": loaded_mib[name], "after": server.memory_mib()},
                    "idle_core_share": significant(run_of.idle_shares[name], 2),
                    "idles": run_of.idle_shares[name] <= IDLE_SHARE,
                    "loads": {
                        load.name: run_of.summaries[name, load.name].document() for load in LOADS
                    },
                }
                for name, server in servers.items()
            },
            "engines_alone": {name: medians(each) for name, each in run_of.alone.items()},
            "against_the_original": {
                name: run_of.against_the_original(name) for name in servers if name != "original"
            },
            "against_the_engine": {name: run_of.against_the_engine(name) for name in engines},
            "unavailable": unavailable,
        }


class Run:
    """All rounds of one comparison."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        texts: Sequence[str],
        servers: dict[str, RunningServer],
        engines: dict[str, Child],
    ) -> None:
        self._rounds: int = arguments.rounds
        self._seconds: float = arguments.seconds
        self._quiet = Quiet(arguments.patience)
        self._texts = list(texts[:ENGINE_TEXTS])
        self._requests = Requests(texts, sizes={load.texts for load in LOADS})
        self._servers = servers
        self._engines = engines
        self.summaries = {(name, load.name): Summary() for name in servers for load in LOADS}
        self.alone: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
        self.idle_shares = dict.fromkeys(servers, 0.0)
        """Of one core: the most that a server used while another was measured."""

    async def rounds(self) -> None:
        """Measure every load on every server, and every engine alone, in each round."""
        for turn in range(self._rounds):
            for load in LOADS:
                for name in turn_order(self._servers, turn):
                    await self._measure(turn, name, load)
            for name in turn_order(self._engines, turn):
                self._measure_alone(turn, name, self._engines[name])

    def against_the_original(self, name: str) -> dict[str, dict[str, float | None]]:
        """Return the ratios of medians, ours to the original's."""
        ratios = {}
        for load in LOADS:
            own, theirs = self.summaries[name, load.name], self.summaries["original", load.name]
            ratios[load.name] = {
                figure: ratio(own.median(figure), theirs.median(figure))
                for figure in ("texts_s", "p50_ms", "cpu_s_per_1000_texts")
            }
        return ratios

    def against_the_engine(self, name: str) -> dict[str, object]:
        """Return what is left of the engine's throughput, and what HTTP adds to one pass."""
        alone = medians(self.alone[name])
        return {
            "throughput_share": {
                load.name: ratio(
                    self.summaries[name, load.name].median("texts_s"), alone["texts_s"]
                )
                for load in LOADS
                if load.closed and load is not IDLE
            },
            "idle_p50_over_one_pass": ratio(
                self.summaries[name, IDLE.name].median("p50_ms"), alone["one_text_ms"]
            ),
        }

    async def _measure(self, turn: int, name: str, load: Load) -> None:
        self._quiet.wait()
        capacity = self.summaries[name, CAPACITY.name]
        measured = await measure(
            self._servers[name],
            load,
            self._requests,
            seconds=self._seconds,
            capacity=0 if load.closed else capacity.median("texts_s"),
            idle=[server for other, server in self._servers.items() if other != name],
        )
        self.summaries[name, load.name].measured.append(measured)
        for other, share in measured.idle_shares.items():
            self.idle_shares[other] = max(self.idle_shares[other], share)
        figures = measured.figures
        print(
            f"round {turn + 1}: {load.name}: {name}: {figures['texts_s']:.1f} texts/s, "
            f"p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms",
            flush=True,
        )

    def _measure_alone(self, turn: int, name: str, child: Child) -> None:
        self._quiet.wait()
        neighbours = Neighbours()
        batched = child.ask(do="throughput", texts=self._texts, seconds=self._seconds)
        single = child.ask(do="latency", texts=self._texts, seconds=self._seconds)
        self.alone[name].append(
            {
                "texts_s": batched["texts_s"],
                "tokens_s": batched["tokens_s"],
                "one_text_ms": single["p50_ms"],
                "foreign_cores": neighbours.cores(),
            }
        )
        print(
            f"round {turn + 1}: engine alone: {name}: {batched['texts_s']:.1f} texts/s, "
            f"one text {single['p50_ms']:.1f} ms",
            flush=True,
        )


def ratio(figure: float, base: float) -> float | None:
    """Return how often `base` goes into `figure`; nothing where nothing was answered."""
    return significant(figure / base, 3) if base else None


def _earlier_starts(variant: Variant, count: int) -> list[float]:
    """Start and end a server `count` times; the first may have to convert the model."""
    times = []
    for _ in range(count):
        with serving(variant) as server:
            times.append(server.ready_s)
    return times


def _open_engines(
    stack: contextlib.ExitStack, names: Sequence[str], folder: Path
) -> dict[str, Child]:
    """Open the engine of each of our servers, without the server."""
    engines: dict[str, Child] = {}
    for name in names:
        candidate = Candidate("auto", name.removeprefix("ours "))
        with contextlib.suppress(Unavailable):
            engines[name] = stack.enter_context(Child.engine(candidate, folder, "auto"))
    return engines


if __name__ == "__main__":
    run(main)
