"""A folder with `report.md` and its plots, which appears whole or not at all."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from sentiment.bulk.periods import periods
from sentiment.bulk.report_page import Shown, page
from sentiment.bulk.summary import Summary
from sentiment.errors import LibraryError, OptionError, StorageError
from sentiment.storage import flush, storage_errors

FILES = {"report.md", "labels.png", "scores.png", "days.png", "tickers.png"}
"""What may be lost with the report that is replaced."""

PLOTTED_PERIODS = 120
LISTED_PERIODS = 31
TOP_TICKERS = 20


def check_report(folder: Path) -> None:
    """Find out, before hours of work, whether a report can be written to `folder`.

    Raises:
        LibraryError: matplotlib is not installed.
        OptionError: something else than a report is there and would be lost.
        StorageError: it cannot be written to.
    """
    if find_spec("matplotlib") is None:
        raise LibraryError("matplotlib not installed: pip install -r requirements-bulk.txt")
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise OptionError(f"{existing} is a file; --report names a folder")
    if not os.access(existing, os.W_OK):
        raise StorageError(f"{existing}: cannot be written to")
    _check_replaceable(folder)


def write_report(folder: Path, summary: Summary, *, title: str, model: str) -> None:
    """Write a report into a folder of its own, in the place of one that may lie there.

    Of the same rows every file has always the same bytes.

    Args:
        folder: to write; those around it are made.
        summary: of the run.
        title: what was scored, such as the name of a file.
        model: name and revision.

    Raises:
        LibraryError: matplotlib is not installed.
        OptionError: something else than a report is there and would be lost.
        StorageError: the disk is full or cannot be written; what lay there lies there still.
    """
    check_report(folder)
    place = Path(os.path.realpath(folder))
    writing, aside = (place.with_name(f".{place.name}.{each}") for each in ("writing", "replaced"))
    with storage_errors(folder):
        _restore(place, aside)
        shutil.rmtree(writing, ignore_errors=True)
        try:
            writing.mkdir(parents=True)
            _write(writing, summary, title=title, model=model)
            if place.exists():
                place.rename(aside)
            writing.rename(place)
        finally:
            _restore(place, aside)
            shutil.rmtree(writing, ignore_errors=True)


def _write(folder: Path, summary: Summary, *, title: str, model: str) -> None:
    # Here, because it brings matplotlib, which only a report needs.
    from sentiment.bulk.report_plots import draw_plots

    days = summary.by_day.groups if summary.by_day is not None else ()
    shown = Shown(
        plotted=periods(days, most=PLOTTED_PERIODS) if days else None,
        listed=periods(days, most=LISTED_PERIODS) if days else None,
        tickers=summary.by_ticker.groups[:TOP_TICKERS] if summary.by_ticker is not None else (),
    )
    plots = (
        draw_plots(folder, summary, periods=shown.plotted, tickers=shown.tickers)
        if summary.scored
        else {}
    )
    text = page(summary, shown, plots, title=title, model=model)
    (folder / "report.md").write_text(text, encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        flush(path)


def _restore(place: Path, aside: Path) -> None:
    """Put back what was moved aside; where it has been replaced it goes."""
    if not place.exists() and aside.exists():
        aside.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if entry.name not in FILES or entry.is_dir():
            raise OptionError(
                f"{folder} holds {entry.name}, which is no part of a report and would be lost; "
                "move it away or choose another --report"
            )
