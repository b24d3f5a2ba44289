"""What the speed benchmarks share: rounds, medians, slopes, facts of the machine, result files."""

import argparse
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"

TRIALS = REPOSITORY / "build" / "benchmarks"
"""Where `--quick` writes: its figures must not take the place of real ones."""

INSTRUCTIONS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip
"""Of the processor, what decides how fast a matrix is multiplied in which precision."""

LIBRARIES = (
    "numpy", "openvino", "pyarrow", "starlette", "tokenizers", "torch", "transformers", "uvicorn",
)  # fmt: skip

Figures = dict[str, float]


class BenchmarkError(Exception):
    """What keeps a benchmark from running, in one line."""


def turn_order(names: Iterable[str], turn: int) -> list[str]:
    """Return the names in the order of a round, each round beginning with another.

    In turns, a machine that slows down for a minute slows all down alike, and nobody always
    follows the same neighbour.
    """
    ordered = list(names)
    first = turn % max(1, len(ordered))
    return ordered[first:] + ordered[:first]


def medians(measured: Sequence[Mapping[str, float]]) -> Figures:
    """Return the median of each figure over the rounds."""
    return {
        name: significant(statistics.median(each[name] for each in measured))
        for name in measured[0]
    }


def loglog_slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the exponent `b` of the `a * x^b` that fits best: 1 is linear, 0 constant."""
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def significant(value: float, digits: int = 4) -> float:
    """Return `value` rounded to so many digits that mean something."""
    return float(f"{value:.{digits}g}")


def base_parser(description: str | None, *, several_texts: bool = False) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has; `--texts` perhaps repeatedly."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--model",
        default="compact",
        help="compact, bert-base or bert-tiny (random weights, made when wanted), or a folder",
    )
    parser.add_argument(
        "--texts",
        type=Path,
        action="append" if several_texts else "store",
        metavar="FILE",
        help="one text a line, or PhraseBank's sentence@label; otherwise invented ones",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument(
        "--patience",
        type=float,
        default=300,
        metavar="SECONDS",
        help="to wait, in all, for other programs to leave the machine alone",
    )
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: benchmarks/results")
    return parser


def run(main: Callable[[], None]) -> None:
    """Run a benchmark's main function; say in one line why it cannot run."""
    # Told to end, it must end the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def publish(name: str, figures: Mapping[str, object], arguments: argparse.Namespace) -> None:
    """Write the figures with when, where and on what they were measured; print them last."""
    document = {"benchmark": name, "figures": figures, "environment": environment()}
    folder = TRIALS if arguments.quick else RESULTS
    path = arguments.output or folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"-> {path}")
    print(json.dumps(document), flush=True)


def environment() -> dict[str, object]:
    """Return what a reader needs to judge a figure, or to measure it again."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.executable).name, *_module_and_arguments()]),
        "commit": git("describe", "--always", "--dirty"),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": [each for each in INSTRUCTIONS if each in _processor_flags()],
        "memory_gib": significant(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **_library_versions()},
    }


def git(*arguments: str) -> str:
    """Return what git says of this checkout, or `unknown`."""
    done = subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def processor() -> str:
    """Return the processor's name."""
    return _cpuinfo("model name") or platform.processor() or "unknown"


def _processor_flags() -> set[str]:
    return set((_cpuinfo("flags") or _cpuinfo("Features")).split())


def _cpuinfo(field: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(field):
            return line.partition(":")[2].strip()
    return ""


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _module_and_arguments() -> list[str]:
    """Return this process' command without the folder it was run in."""
    path = Path(sys.argv[0]).resolve()
    if path.is_relative_to(REPOSITORY):
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        return ["-m", module.removesuffix(".__main__"), *sys.argv[1:]]
    return [path.name, *sys.argv[1:]]
