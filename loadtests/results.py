"""Writes what a run showed: `summary.md`, `plots.png`, `steps.csv`, `figures.json` in a folder."""

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from benchmarks.measurement import environment as machine
from loadtests import plots, summary
from loadtests.figures import StepFigures, kind_figures, knee, step_figures
from loadtests.samples import Recording, Stage


@events.init_command_line_parser.add_listener
def _add_options(parser: Any) -> None:
    parser.add_argument(
        "--results",
        metavar="FOLDER",
        default="",
        env_var="LOADTEST_RESULTS",
        help="where to write the summary and its plots",
    )


@events.quitting.add_listener
def _write_at_the_end(environment: Environment, **_: object) -> None:
    folder = environment.parsed_options.results
    if folder and not isinstance(environment.runner, WorkerRunner):
        write(environment.recording, Path(folder), shape=environment.parsed_options.shape)


def write(recording: Recording, folder: Path, *, shape: str) -> None:
    """Write the four files; of a run without a shape as of one step."""
    stages = recording.stages or _whole_run(recording)
    steps = step_figures(recording.samples, stages)
    kinds = kind_figures(recording.samples)
    bend = knee(steps)
    around = _where()
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{shape or 'no shape'}: {recording.facts.get('model', 'unknown model')}"
    plots.draw(
        folder / "plots.png",
        samples=recording.samples,
        stages=stages,
        steps=steps,
        knee=bend,
        title=title,
    )
    page = summary.page(
        shape=shape or "none", facts=recording.facts, steps=steps, kinds=kinds, machine=around
    )
    (folder / "summary.md").write_text(page)
    _write_steps(folder / "steps.csv", steps)
    document = {
        "shape": shape,
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


def _whole_run(recording: Recording) -> list[Stage]:
    if not recording.samples:
        return []
    began_at = min(sample.scheduled_at for sample in recording.samples)
    ended_at = max(sample.scheduled_at for sample in recording.samples) + 1e-6
    rate = len(recording.samples) / (ended_at - began_at)
    return [Stage(began_at, min(ended_at, time.time()), 1.0, rate)]


def _write_steps(path: Path, steps: Sequence[StepFigures]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = [field.name for field in fields(StepFigures)]
        writer.writerow(names)
        writer.writerows([getattr(step, name) for name in names] for step in steps)
