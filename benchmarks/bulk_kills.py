"""What is left of `score` when it is killed: nothing that `--resume` does not put right.

A run is killed by SIGKILL, with all its processes, at a moment of its known duration; moments are
drawn evenly, so that its start, its windows, the writing and the end are met. Every second run is
killed once more while it is resumed. Then it is resumed to its end, and every file must be byte for
byte that of an unbroken run: the scored table, the rows that were bad, and the report.
"""

import argparse
import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bulk_data import headlines, write_table
from benchmarks.bulk_runs import Ended, Run, finished, score_command, score_settings
from benchmarks.measurement import BenchmarkError, significant
from benchmarks.models import model_folder

OUTPUT = "scored.parquet"
RUN_FOLDER = f"{OUTPUT}.run"
JOURNAL = "scores.journal"
WRITTEN = "output"
"""In the run's folder, until it is whole."""

BAD_ROW_EVERY = 500
"""The side file must have something in it."""

MORE = (
    "--on-error", "skip", "--date-column", "date", "--ticker-column", "ticker",
)  # fmt: skip


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return what each killed run had come to, and whether its files are the unbroken run's.

    Raises:
        BenchmarkError: `score` fails, or two unbroken runs differ.
    """
    model = model_folder(arguments.model)
    settings = score_settings(model, arguments.precision)
    table, place = folder / "headlines.csv", folder / "run"
    texts = headlines(arguments.texts, arguments.rows)
    write_table(table, texts, bad_row_every=BAD_ROW_EVERY)
    # All runs use the same folder: a report may name its files.
    command = score_command(table, place / OUTPUT, *MORE, "--report", str(place / "report"))
    unbroken, duration_s = unbroken_run(place, command, settings)
    again, duration_s = unbroken_run(place, command, settings)
    if different(unbroken, again):
        raise BenchmarkError(f"two unbroken runs differ in {', '.join(different(unbroken, again))}")
    runs = []
    for moments in kill_moments(arguments.kills, duration_s, seed=arguments.seed):
        empty(place)
        runs.append(killed_run(place, command, settings, moments=moments))
        runs[-1]["different"] = different(unbroken, digests(place))
        print(f"run {len(runs)}: {runs[-1]}", flush=True)
    failed = sum(bool(run["different"] or run["error"]) for run in runs)
    return {
        "model": model.name,
        "rows": arguments.rows,
        "bad_rows": arguments.rows // BAD_ROW_EVERY,
        "seed": arguments.seed,
        "duration_s": significant(duration_s),
        "files": sorted(unbroken),
        "phases": dict(Counter(kill["phase"] for run in runs for kill in run["kills"])),
        "runs": runs,
        "failed": failed,
        "kept": not failed,
    }


def kill_moments(runs: int, duration_s: float, *, seed: int) -> list[list[float]]:
    """Return when to kill each run, in seconds from its start, and every second run's resumption.

    The duration is cut into as many parts as there are runs, and each part has one moment.
    """
    source = random.Random(seed)
    moments = [[(part + source.random()) / runs * duration_s] for part in range(runs)]
    for run in moments[1::2]:
        run.append(source.random() * duration_s)
    return moments


def killed_run(
    place: Path,
    command: Sequence[str],
    settings: Mapping[str, str],
    *,
    moments: Sequence[float],
) -> dict[str, object]:
    """Start, kill at the moments, resume to the end; return what was met, and what failed."""
    kills: list[dict[str, object]] = []
    resume: tuple[str, ...] = ()
    for moment_s in moments:
        with Run([*command, *resume], settings) as run:
            ended = run.wait(moment_s) or run.kill()
        kills.append({"after_s": significant(moment_s, 3), "phase": phase(ended, place)})
        resume = ("--resume",)
    with Run([*command, *resume], settings) as run:
        ended = run.wait()
    assert ended is not None
    return {"kills": kills, "error": f"{ended.code}: {ended.said}" if ended.code else ""}


def phase(ended: Ended, place: Path) -> str:
    """Return how far a run had come, by what it left."""
    if ended.code >= 0:
        return "ended" if ended.code == 0 else f"failed with {ended.code}"
    if (place / OUTPUT).exists():
        return "after the rename"
    if (place / RUN_FOLDER / WRITTEN).exists():
        return "writing"
    journal = place / RUN_FOLDER / JOURNAL
    return "scoring" if journal.exists() and journal.stat().st_size else "start"


def unbroken_run(
    place: Path, command: Sequence[str], settings: Mapping[str, str]
) -> tuple[dict[str, str], float]:
    """Return the digests of what a run writes, and the seconds it takes."""
    empty(place)
    ended = finished(command, settings)
    return digests(place), ended.seconds


def digests(place: Path) -> dict[str, str]:
    """Return path -> SHA-256 of every file but those of a run's own folder."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files_below(place)
        if RUN_FOLDER not in path.relative_to(place).parts
    }


def different(expected: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """Return the paths that only one has, or that differ."""
    return sorted(
        path for path in expected.keys() | given.keys() if expected.get(path) != given.get(path)
    )


def files_below(place: Path) -> list[Path]:
    """Return every file in a folder and its folders, sorted."""
    return sorted(path for path in place.rglob("*") if path.is_file())


def empty(place: Path) -> None:
    """Make a folder of nothing."""
    if place.exists():
        shutil.rmtree(place)
    place.mkdir()
