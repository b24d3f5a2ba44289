"""What share of the engine's speed `score` reaches, from a CSV file to a Parquet file.

The engine alone, in a process of its own, computes batches that were tokenised, sorted and laid
out before: nothing can be faster. `score` is paused every few seconds and the engine computes for
as long, so what else the machine does slows both down alike. A round is one whole run of `score`
and the engine's turns within; ratios are made within a round. How long a start takes is the time
of a run of one row.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bulk_data import headlines, write_table
from benchmarks.bulk_runs import Run, finished, score_command, score_settings
from benchmarks.candidates import Candidate
from benchmarks.children import Child
from benchmarks.measurement import medians, significant
from benchmarks.models import model_folder
from benchmarks.processes import Quiet

AT_LEAST = 0.95
AIM = 0.98

Round = dict[str, float]


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the rates and the shares, of the whole run and without its start.

    Raises:
        Unavailable: the engine cannot be opened.
        BenchmarkError: `score` fails.
    """
    model = model_folder(arguments.model)
    settings = score_settings(model, arguments.precision)
    texts = headlines(arguments.texts, arguments.rows)
    table, one_row = folder / "headlines.csv", folder / "one.csv"
    write_table(table, texts)
    write_table(one_row, texts[:1])
    rounds: list[Round] = []
    quiet = Quiet(arguments.patience)
    with Child.engine(Candidate("auto", arguments.precision), model, "auto") as engine:
        laid = engine.ask(do="sort", texts=texts, window_texts=arguments.window)
        for turn in range(arguments.rounds):
            quiet.wait()
            start = finished(score_command(one_row, folder / f"start-{turn}.parquet"), settings)
            output = folder / f"scored-{turn}.parquet"
            with Run(score_command(table, output), settings) as run:
                turns = alternate(run, engine, slice_s=arguments.slice_s)
                ended = run.finish()
            output.unlink()
            rounds.append(
                shares(len(texts), whole_s=ended.seconds, start_s=start.seconds, turns=turns)
            )
            print(f"round {turn + 1}: {rounds[-1]}", flush=True)
    return {
        "model": model.name,
        "engine": laid["facts"],
        "rows": len(texts),
        "texts": [path.name for path in arguments.texts or ()] or "invented",
        "window_texts": arguments.window,
        "slice_s": arguments.slice_s,
        "rounds": [{name: significant(each) for name, each in one.items()} for one in rounds],
        **judged(rounds),
    }


def alternate(run: Run, engine: Child, *, slice_s: float) -> list[dict[str, Any]]:
    """Let `run` and the engine compute in turns until the run has ended; return the engine's."""
    turns: list[dict[str, Any]] = []
    while run.wait(slice_s) is None:
        run.pause()
        turns.append(engine.ask(do="turn", seconds=slice_s))
        run.go_on()
    # Also after its last slice, which is shorter: a run that fits into one has a turn beside it.
    return [*turns, engine.ask(do="turn", seconds=slice_s)]


def shares(texts: int, *, whole_s: float, start_s: float, turns: Sequence[dict[str, Any]]) -> Round:
    """Return what one round says.

    Args:
        texts: that `score` has scored.
        whole_s: in which it did, start and end included.
        start_s: a run of one row.
        turns: of the engine, each with `texts` and `seconds`.
    """
    engine_texts_s = sum(turn["texts"] for turn in turns) / sum(turn["seconds"] for turn in turns)
    whole, without_start = texts / whole_s, texts / (whole_s - start_s)
    return {
        "engine_texts_s": engine_texts_s,
        "score_texts_s": whole,
        "score_texts_s_without_start": without_start,
        "start_s": start_s,
        "whole_s": whole_s,
        "share": whole / engine_texts_s,
        "share_without_start": without_start / engine_texts_s,
    }


def judged(rounds: Sequence[Round]) -> dict[str, object]:
    """Return the medians, and whether the share without the start is what it must be."""
    found = statistics.median(one["share_without_start"] for one in rounds)
    return {
        "medians": medians(rounds),
        "at_least": AT_LEAST,
        "aim": AIM,
        "kept": found >= AT_LEAST,
    }
