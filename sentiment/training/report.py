"""An evaluation as a page that a person reads: `report.md`, with `report.json` and plots."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sentiment.errors import OptionError, StorageError
from sentiment.training.findings import figures_of
from sentiment.training.page import SUMMARY, page
from sentiment.training.plots import draw_plots
from sentiment.training.textsets import set_title


def check_folder(folder: Path) -> None:
    """Find out, before minutes of work, whether a report can be written to `folder`.

    Raises:
        OptionError: it is a file, or inside one.
        StorageError: it cannot be written to.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise OptionError(f"{existing} is a file; --output names a folder")
    if not os.access(existing, os.W_OK):
        raise StorageError(f"{existing}: cannot be written to")


def write_report(folder: Path, evaluation: dict[str, Any]) -> None:
    """Write `report.md`, `report.json` and plots; what `evaluate_models` answered goes in.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plots = draw_plots(folder, evaluation)
        report = json.dumps(evaluation, indent=2, allow_nan=False)
        (folder / "report.json").write_text(report + "\n", encoding="utf-8")
        (folder / "report.md").write_text(page(evaluation, plots), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: {error.strerror}") from error


def print_summary(evaluation: dict[str, Any]) -> None:
    """Print a short table of every set and model to standard output."""
    shown = Table("Texts", "Model", "n", *SUMMARY.values(), box=SIMPLE_HEAD)
    for column in shown.columns[2:]:
        column.justify = "right"
    for each in evaluation["sets"]:
        for name, part in figures_of(evaluation, each["name"]):
            # `Text`, because brackets in a file's name are no markup.
            cells = [set_title(each["name"]), name, f"{part['texts']:,}"]
            shown.add_row(*map(Text, [*cells, *(f"{part[key]:.4f}" for key in SUMMARY)]))
    # Of a file or a pipe rich does not know the width, and would wrap at 80.
    Console(width=None if sys.stdout.isatty() else 120).print(shown)
