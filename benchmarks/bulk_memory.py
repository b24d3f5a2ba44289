"""How much memory `score` takes for a file of any size: CSV to Parquet, every headline different.

The model is a tiny BERT, so that millions of rows take minutes and the whole path is real. Two
sizes, one ten times the other: what grows with the rows would show.
"""

import argparse
import shutil
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bulk_data import headlines, numbered_headlines, write_table
from benchmarks.bulk_runs import Run, score_command, score_settings
from benchmarks.measurement import BenchmarkError, significant
from benchmarks.models import model_folder
from benchmarks.processes import memory_mib

DIFFERENT_TEXTS = 45_000
"""From which the rows are made by numbers; as many real headlines as there are."""

AT_MOST_MIB = 1024.0
AIM_MIB = 600.0

SAMPLE_S = 0.5

BYTES_A_ROW = 600
"""Of disk, generously: the table, the run's folder and the output."""


@dataclass(slots=True)
class Watched:
    """The most memory that a process tree has been seen with."""

    rss_mib: float = 0.0
    """Resident in all processes at one moment; what they share counts in each."""
    pss_mib: float = 0.0
    """The same with what is shared counted once."""
    samples: int = 0
    _high_water_mib: dict[int, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def high_water_mib(self) -> float:
        """The kernel's own peaks (`VmHWM`), those of all processes added up: never too low."""
        return sum(self._high_water_mib.values())

    @property
    def processes(self) -> int:
        """How many have been seen."""
        return len(self._high_water_mib)

    def look(self, process_id: int, tree: list[int]) -> None:
        """Take a sample; one that has ended meanwhile has none."""
        with suppress(OSError):
            now = memory_mib(process_id)
            self.rss_mib = max(self.rss_mib, now["rss"])
            self.pss_mib = max(self.pss_mib, now["pss"])
            self.samples += 1
        for each in tree:
            with suppress(OSError):
                peak = high_water_mib(Path(f"/proc/{each}/status").read_text())
                self._high_water_mib[each] = max(self._high_water_mib[each], peak)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the peaks of both sizes.

    Raises:
        BenchmarkError: `score` fails, or the disk has too little room.
    """
    wanted = arguments.rows * BYTES_A_ROW
    if (free := shutil.disk_usage(folder).free) < wanted:
        raise BenchmarkError(f"{folder}: {wanted / 1e9:.0f} GB wanted, {free / 1e9:.0f} GB free")
    model = model_folder(arguments.model)
    settings = score_settings(model, arguments.precision)
    source = headlines(arguments.texts, min(arguments.rows, DIFFERENT_TEXTS))
    found = {}
    for rows in (arguments.rows // 10, arguments.rows):
        table = folder / f"{rows}.csv"
        write_table(table, numbered_headlines(source, rows))
        found[rows] = watched_run(table, rows, settings)
        table.unlink()
        print(f"{rows} rows: {found[rows]}", flush=True)
    small, large = found.values()
    return {
        "model": model.name,
        "sizes": list(found.values()),
        "growth_mib": significant(large["peak_mib"] - small["peak_mib"]),
        "at_most_mib": AT_MOST_MIB,
        "aim_mib": AIM_MIB,
        "kept": large["peak_mib"] <= AT_MOST_MIB,
    }


def watched_run(table: Path, rows: int, settings: dict[str, str]) -> dict[str, float]:
    """Score a table and watch its memory until the end.

    Raises:
        BenchmarkError: it fails, or what it wrote has another number of rows.
    """
    from pyarrow import parquet

    output = table.with_suffix(".parquet")
    watched = Watched()
    with Run(score_command(table, output), settings) as run:
        while run.wait(SAMPLE_S) is None:
            watched.look(run.process_id, run.tree())
        ended = run.finish()
    written = parquet.read_metadata(output).num_rows
    output_bytes = output.stat().st_size
    output.unlink()
    if written != rows:
        raise BenchmarkError(f"{written} rows of {rows} were written")
    return {
        "rows": rows,
        "input_mib": significant(table.stat().st_size / 2**20),
        "output_mib": significant(output_bytes / 2**20),
        "seconds": significant(ended.seconds),
        "texts_s": significant(rows / ended.seconds),
        "cpu_s": significant(ended.cpu_s),
        "peak_mib": significant(max(watched.high_water_mib, ended.peak_mib)),
        "sampled_rss_mib": watched.rss_mib,
        "sampled_pss_mib": watched.pss_mib,
        "samples": watched.samples,
        "processes": watched.processes,
    }


def high_water_mib(status: str) -> float:
    """Return `VmHWM` of the text of `/proc/<pid>/status`; 0 of a process that has ended."""
    for line in status.splitlines():
        name, _, amount = line.partition(":")
        if name == "VmHWM":
            return int(amount.split()[0]) / 1024
    return 0.0
