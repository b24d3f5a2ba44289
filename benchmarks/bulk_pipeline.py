"""How many times as fast as `transformers.pipeline(batch_size=32)` `score` is, on the same file.

The pipeline scores the file as its documentation shows, with the library's own precision and in
bf16; `score` with its own and in bf16. All take turns. Both are compared without the time to start
and load, which is told apart, and the labels are compared row by row.
"""

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.bulk_data import headlines, write_table
from benchmarks.bulk_runs import finished, score_command, score_settings
from benchmarks.children import Child
from benchmarks.measurement import BenchmarkError, Figures, medians, significant, turn_order
from benchmarks.models import model_folder
from benchmarks.processes import Quiet

BATCH_TEXTS = 32

DTYPES = {"pipeline": "default", "pipeline bf16": "bfloat16"}
"""Way of the pipeline -> its `dtype`."""

AT_LEAST = 6.0
AIM = 9.0

Answers = list[tuple[str, float]]
"""Label and score of each row."""


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the rates of all ways, the ratios, and how far the labels agree.

    Raises:
        Unavailable: the pipeline cannot be loaded.
        BenchmarkError: `score` fails, or a way does not answer every row.
    """
    model = model_folder(arguments.model)
    table, one_row = folder / "headlines.csv", folder / "one.csv"
    texts = headlines(arguments.texts, arguments.rows)
    write_table(table, texts)
    write_table(one_row, texts[:1])
    measured: dict[str, list[Figures]] = {}
    answers: dict[str, Answers] = {}
    facts: dict[str, dict[str, object]] = {}
    quiet = Quiet(arguments.patience)
    with ExitStack() as stack:
        ways: dict[str, Callable[[], tuple[float, float, Answers]]] = {}
        for way, dtype in DTYPES.items():
            child = stack.enter_context(
                Child("benchmarks.pipeline_child", str(model), dtype, str(BATCH_TEXTS))
            )
            facts[way] = child.facts
            ways[way] = partial(through_the_pipeline, child, table, folder / "pipeline.csv")
        for precision in dict.fromkeys((arguments.precision, "bf16")):
            settings = score_settings(model, precision)
            ways[f"score {precision}"] = partial(through_score, table, one_row, settings)
        for turn in range(arguments.rounds):
            for way in turn_order(ways, turn):
                quiet.wait()
                seconds, start_s, answers[way] = ways[way]()
                if len(answers[way]) != len(texts):
                    raise BenchmarkError(f"{way}: {len(answers[way])} answers to {len(texts)} rows")
                measured.setdefault(way, []).append(
                    {
                        "texts_s": len(texts) / seconds,
                        "texts_s_with_start": len(texts) / (seconds + start_s),
                        "start_s": start_s,
                    }
                )
                print(f"round {turn + 1}: {way}: {len(texts) / seconds:.1f} texts/s", flush=True)
    found = ratios(measured)
    return {
        "model": model.name,
        "rows": len(texts),
        "texts": [path.name for path in arguments.texts or ()] or "invented",
        "rounds": arguments.rounds,
        "pipelines": facts,
        "ways": {way: medians(each) for way, each in measured.items()},
        "texts_s_of_each_round": {
            way: [significant(one["texts_s"]) for one in each] for way, each in measured.items()
        },
        "ratios": found,
        "agreement": {
            way: agreement(answers["pipeline"], each)
            for way, each in answers.items()
            if way != "pipeline"
        },
        "at_least": AT_LEAST,
        "aim": AIM,
        "kept": found["score bf16"]["pipeline"] >= AT_LEAST,
    }


def through_the_pipeline(child: Child, table: Path, output: Path) -> tuple[float, float, Answers]:
    """Return the seconds for the table, those to load the model, and the answers."""
    seconds = child.ask(table=str(table), output=str(output))["seconds"]
    with output.open(encoding="utf-8", newline="") as file:
        rows = [(row["label"].lower(), float(row["score"])) for row in csv.DictReader(file)]
    return seconds, child.facts["load_s"], rows


def through_score(
    table: Path, one_row: Path, settings: Mapping[str, str]
) -> tuple[float, float, Answers]:
    """Return the seconds for the table, those of a run of one row, and the answers."""
    from pyarrow import parquet

    output = table.with_suffix(".parquet")
    start_s = finished(score_command(one_row, output), settings).seconds
    output.unlink()
    whole_s = finished(score_command(table, output), settings).seconds
    rows = parquet.read_table(output, columns=["label", "score"]).to_pydict()
    output.unlink()
    return whole_s - start_s, start_s, list(zip(rows["label"], rows["score"], strict=True))


def ratios(measured: Mapping[str, Sequence[Figures]]) -> dict[str, Figures]:
    """Return how many times as fast as each pipeline each `score` is: medians by medians."""
    rates = {way: medians(each)["texts_s"] for way, each in measured.items()}
    return {
        ours: {theirs: significant(rates[ours] / rates[theirs], 3) for theirs in DTYPES}
        for ours in rates
        if ours not in DTYPES
    }


def agreement(expected: Answers, given: Answers) -> Figures:
    """Return the share of rows with the same label, and how far their scores are apart at most."""
    apart = [
        abs(score - own)
        for (label, score), (own_label, own) in zip(expected, given, strict=True)
        if label == own_label
    ]
    return {
        "same_label": significant(len(apart) / len(expected)),
        "score_apart_at_most": significant(max(apart, default=0.0), 2),
    }
