"""Writes what a run showed: `summary.md`, `plots.png`, `steps.csv`, `figures.json` in a folder."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from locust.env import Environment
from locust.runners import WorkerRunner

from benchmarks.measurement import environment as machine
from loadtests import plots, summary
from loadtests.figures import StepFigures, kind_figures, knee, step_figures
from loadtests.samples import Recording, Stage
from loadtests.shaping import stop_early

WITH_A_KNEE = "staircase"
"""The shape of which the load rises step by step."""


def add_options(parser: Any) -> None:
    """Add where the results go."""
    parser.add_argument(
        "--results",
        metavar="FOLDER",
        default="",
        env_var="LOADTEST_RESULTS",
        help="where to write the summary and its plots",
    )


def write_at_the_end(environment: Environment) -> None:
    """Write the results when all is answered; requests of which nothing is known are an error."""
    if isinstance(environment.runner, WorkerRunner):
        return
    stop_early(environment)
    recording, options = environment.recording, environment.parsed_options
    if recording.lost:
        print(f"error: nothing is known of {recording.lost} requests", file=sys.stderr)
        environment.process_exit_code = 1
    if options.headless and not recording.samples and environment.process_exit_code is None:
        print("error: the run ended before its first answer", file=sys.stderr)
        environment.process_exit_code = 1
    if options.results and recording.samples:
        write(recording, Path(options.results), shape=options.shape)


def write(recording: Recording, folder: Path, *, shape: str) -> None:
    """Write the four files; of a run without a shape as of one step."""
    if not recording.stages:
        recording.stages.append(_whole_run(recording))
    steps = step_figures(recording)
    kinds = kind_figures(recording.samples)
    bend = knee(steps) if shape == WITH_A_KNEE else None
    around = _where()
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{shape or 'no shape'}: {recording.facts.get('model', 'unknown model')}"
    plots.draw(
        folder / "plots.png",
        samples=recording.samples,
        stages=recording.stages,
        steps=steps,
        knee=bend,
        title=title,
    )
    page = summary.page(
        shape=shape or "none",
        recording=recording,
        steps=steps,
        kinds=kinds,
        machine=around,
        with_knee=shape == WITH_A_KNEE,
    )
    (folder / "summary.md").write_text(page)
    _write_steps(folder / "steps.csv", steps)
    document = {
        "shape": shape,
        "interrupted": recording.interrupted,
        "arrivals": recording.all_arrivals,
        "lost": recording.lost,
        "facts": recording.facts,
        "steps": [asdict(step) for step in steps],
        "knee": bend,
        "kinds": [asdict(kind) for kind in kinds],
        "environment": around,
    }
    (folder / "figures.json").write_text(json.dumps(document, indent=1) + "\n")


def _where() -> dict[str, Any]:
    """Return the machine and the versions; without the command line, which may hold a key."""
    around = {name: value for name, value in machine().items() if name != "command"}
    around["versions"] = {**around["versions"], "locust": version("locust")}
    return around


def _whole_run(recording: Recording) -> Stage:
    began_at = min(sample.scheduled_at for sample in recording.samples)
    ended_at = max(sample.scheduled_at for sample in recording.samples) + 1e-6
    rate = len(recording.samples) / (ended_at - began_at)
    return Stage(began_at, ended_at, 1.0, rate)


def _write_steps(path: Path, steps: Sequence[StepFigures]) -> None:
    rows = [_flat(asdict(step)) for step in steps]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures with those of the tail as `tail_*` beside the others."""
    tail = {f"tail_{name}": value for name, value in figures["tail"].items()}
    return {name: value for name, value in figures.items() if name != "tail"} | tail
