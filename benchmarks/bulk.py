"""How fast, small and safe bulk scoring is: `python -m benchmarks.bulk [part ...]`.

`share` of the engine's speed; `memory` for millions of rows; `pipeline` of transformers on the
same file; `kills` at any moment. Real headlines come from files, one a line or in a column of a
`.csv`: `--texts yahoo_titles.txt --texts SEntFiN.csv`. Each part writes `bulk-<part>-<model>.json`.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bulk_kills, bulk_memory, bulk_pipeline, bulk_share
from benchmarks.children import Unavailable
from benchmarks.measurement import BenchmarkError, base_parser, publish, run

WINDOW_TEXTS = 4096
"""Sorted by length at a time, for the engine alone: as `score` does."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to measure."""

    measure: Callable[[argparse.Namespace, Path], dict[str, object]]
    """From the options and an empty folder to the figures."""
    model: str
    rows: int
    quick_rows: int


PARTS = {
    "share": Part(bulk_share.measure, "compact", 100_000, 500),
    "memory": Part(bulk_memory.measure, "bert-tiny", 5_000_000, 20_000),
    "pipeline": Part(bulk_pipeline.measure, "bert-base", 2000, 64),
    "kills": Part(bulk_kills.measure, "bert-tiny", 20_000, 2000),
}
"""Name -> what it measures, unless `--model` and `--rows` say otherwise."""


def main() -> None:
    """Measure the parts that are named, or all, one after the other."""
    parser = base_parser(__doc__, several_texts=True)
    parser.set_defaults(model=None)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--rows", type=int, help="of the table; each part has its own number")
    parser.add_argument("--precision", default="auto", help="as SENTIMENT_PRECISION")
    parser.add_argument("--folder", type=Path, help="where to make large files; default: /tmp")
    parser.add_argument(
        "--window", type=int, default=WINDOW_TEXTS, help="share: texts sorted at a time"
    )
    parser.add_argument(
        "--slice-s", type=float, default=10, metavar="SECONDS", help="share: of each turn"
    )
    parser.add_argument("--kills", type=int, default=20, help="kills: how many runs")
    parser.add_argument("--seed", type=int, default=0, help="kills: of the moments")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    names = arguments.parts or list(PARTS)
    if arguments.output and len(names) > 1:
        parser.error("--output is for one part")
    if arguments.quick:
        arguments.rounds, arguments.patience = 1, 0
        arguments.slice_s, arguments.kills = 1, 3
    for name in names:
        measure_part(name, arguments)


def measure_part(name: str, arguments: argparse.Namespace) -> None:
    """Measure one part in a folder of its own and write its figures.

    Raises:
        BenchmarkError: it cannot be measured here.
    """
    part, options = PARTS[name], argparse.Namespace(**vars(arguments))
    options.model = arguments.model or ("compact" if arguments.quick else part.model)
    options.rows = arguments.rows or (part.quick_rows if arguments.quick else part.rows)
    with tempfile.TemporaryDirectory(prefix=f"bulk-{name}-", dir=arguments.folder) as folder:
        try:
            figures = part.measure(options, Path(folder))
        except Unavailable as reason:
            raise BenchmarkError(f"{options.model}: {reason}") from reason
    publish(f"bulk-{name}-{figures['model']}", figures, options)


if __name__ == "__main__":
    run(main)
