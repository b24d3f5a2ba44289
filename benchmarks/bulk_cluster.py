"""Measure how a Ray cluster scales: `python -m benchmarks.bulk_cluster`, one node of a CPU and two.

`score --ray` on the same file, with one actor of one thread on each node. Loading the models is
told apart: the rate is that of the items after each node has done one. What driver, head and
raylets compute beside the actors is measured too: here they share the two cores with them, on a
cluster they do not. In the same turns two plain processes of one thread are measured against one:
more than they gain no cluster can on this machine.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from benchmarks.clusters import LocalCluster
from benchmarks.measurement import (
    REPOSITORY,
    BenchmarkError,
    Figures,
    base_parser,
    medians,
    publish,
    run,
    significant,
    turn_order,
)
from benchmarks.texts import load_texts
from sentiment.bulk.scoring import Scorer
from sentiment.settings import Settings

NODES = {"one node": 1, "two nodes": 2}
PROCESSES = {"one process": 1, "two processes": 2}
MODEL = "compact"
ITEM_TEXTS = 500
AT_LEAST = 1.8

ACTOR = "ray::"
"""What Ray calls the processes that do a run's work."""

TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure clusters and plain processes in turns, and publish the ratios."""
    parser: argparse.ArgumentParser = base_parser(__doc__)
    parser.add_argument("--items", type=int, default=24, help=f"of {ITEM_TEXTS} texts each")
    arguments = parser.parse_args()
    items = 6 if arguments.quick else arguments.items
    rounds = 1 if arguments.quick else arguments.rounds
    measured: dict[str, list[Figures]] = {name: [] for name in (*NODES, *PROCESSES)}
    with tempfile.TemporaryDirectory() as folder:
        texts = load_texts(arguments.texts, items * ITEM_TEXTS)
        table = pa.table({"id": range(len(texts)), "text": texts})
        parquet.write_table(table, f"{folder}/texts.parquet", row_group_size=ITEM_TEXTS)
        for turn in range(rounds):
            for name in turn_order(measured, turn):
                if name in NODES:
                    figures = measure(Path(folder), nodes=NODES[name], items=items)
                else:
                    figures = measure_plain(texts, processes=PROCESSES[name])
                print(f"{name}: {figures}", flush=True)
                measured[name].append(figures)
    rates = {name: [each["texts_s"] for each in found] for name, found in measured.items()}
    ratio = median(rates["two nodes"]) / median(rates["one node"])
    limit = median(rates["two processes"]) / median(rates["one process"])
    publish(
        "bulk-cluster",
        {
            "model": MODEL,
            "texts": items * ITEM_TEXTS,
            "rounds": rounds,
            **{name: medians(found) for name, found in measured.items()},
            "ratio": significant(ratio),
            "ratio_of_plain_processes": significant(limit),
            "at_least": AT_LEAST,
            "kept": ratio >= AT_LEAST,
        },
        arguments,
    )


def measure(folder: Path, *, nodes: int, items: int) -> Figures:
    """Score the texts on a new cluster of `nodes`, and return its figures.

    Raises:
        BenchmarkError: the run failed.
    """
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        LocalCluster(*[1] * nodes, folder=Path(place)) as cluster,
    ):
        began = time.perf_counter()
        driver = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "benchmarks.cluster_run",
                    f"--item-rows={ITEM_TEXTS}",
                    "--",
                ),
                *("score", f"{folder}/texts.parquet", "--model", MODEL, "--ray", cluster.address),
                *("--output", f"{place}/scored", "--output-format", "parquet"),
            ],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert driver.stdout
        assert driver.stderr
        done = []
        beside = 0.0
        for _ in driver.stdout:  # a line for each item
            done.append(time.perf_counter())
            if len(done) in (nodes, items):
                beside = cpu_s(cluster.pid) + cpu_s(driver.pid) - beside
        if driver.wait() or len(done) != items:
            raise BenchmarkError(driver.stderr.read().strip())
        ended = time.perf_counter()
    seconds = done[-1] - done[nodes - 1]
    return {
        "texts_s": significant((items - nodes) * ITEM_TEXTS / seconds),
        "first_item_s": significant(done[0] - began),
        "whole_s": significant(ended - began),
        "cores_beside_the_actors": significant(beside / seconds),
    }


def measure_plain(texts: list[str], *, processes: int) -> Figures:
    """Score the texts in processes of one thread, without a cluster; return the rate.

    Raises:
        BenchmarkError: one of them failed.
    """
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(processes + 1)
    shares = [texts[number::processes] for number in range(processes)]
    started = [context.Process(target=score_plainly, args=(share, start)) for share in shares]
    for process in started:
        process.start()
    start.wait(timeout=120)
    began = time.perf_counter()
    for process in started:
        process.join()
    seconds = time.perf_counter() - began
    if any(process.exitcode for process in started):
        raise BenchmarkError("a process that scores has failed")
    return {"texts_s": significant(len(texts) / seconds)}


def score_plainly(texts: list[str], start: Any) -> None:
    """Load the model, wait at the barrier `start` for the others, and score what an actor would."""
    settings = Settings(model=MODEL, threads=1)
    with Scorer.open(settings) as scorer:
        start.wait()
        for at in range(0, len(texts), ITEM_TEXTS):
            scorer.forget()
            scorer.score_texts(texts[at : at + ITEM_TEXTS])


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, without Ray's actors."""
    parents, spent = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text()
        except OSError:
            continue  # it ended meanwhile
        process = int(folder.name)
        parents[process] = int(fields[1])
        is_actor = command.startswith(ACTOR) and "IDLE" not in command
        spent[process] = 0 if is_actor else int(fields[11]) + int(fields[12])
    return sum(ticks for process, ticks in spent.items() if descends(process, pid, parents)) / TICKS


def descends(process: int, ancestor: int, parents: dict[int, int]) -> bool:
    """Whether a process is `ancestor` or was started by it, or by one that was."""
    while process != ancestor and process in parents:
        process = parents[process]
    return process == ancestor


if __name__ == "__main__":
    run(main)
