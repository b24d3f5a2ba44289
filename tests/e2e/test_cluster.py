"""Scoring on a Ray cluster loses no row and writes none twice, whatever becomes of its nodes."""

import csv
import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.clusters import LocalCluster
from benchmarks.texts import financial_texts
from sentiment.bulk.cluster import ITEM_ATTEMPTS
from tests.conftest import REPOSITORY

pytest.importorskip("ray", reason="no ray: pip install -r requirements-ray.txt")

pytestmark = pytest.mark.nightly

GROUP_ROWS = 40
ITEMS = 20
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
    "SENTIMENT_MODEL": "compact",
    "SENTIMENT_PRECISION": "fp32",
}
LABELS = ("positive", "negative", "neutral")


@pytest.fixture(scope="module")
def headlines(tmp_path_factory):
    """A Parquet file of 20 row groups, whose ids are the numbers of its rows."""
    path = tmp_path_factory.mktemp("headlines") / "headlines.parquet"
    write_headlines(path, items=ITEMS)
    return path


@pytest.fixture(scope="module")
def one_node(tmp_path_factory):
    """A cluster of one node, for runs that leave it as it is."""
    with LocalCluster(1, folder=tmp_path_factory.mktemp("one-node")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(headlines, one_node, tmp_path_factory):
    """The parts of a run on one node that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = start(one_node, folder / "scored", headlines)
    errors = ended(run)
    assert run.returncode == 0, errors
    assert f"Rows           {GROUP_ROWS * ITEMS:,}, {GROUP_ROWS * ITEMS:,} scored" in errors
    return parts(folder / "scored")


def write_headlines(path, *, items):
    rows = GROUP_ROWS * items
    table = pa.table({"id": range(rows), "text": financial_texts(rows)})
    parquet.write_table(table, path, row_group_size=GROUP_ROWS)


def start(cluster, output, *given, **watched):
    """Start a run, with its words on pipes."""
    watched = {"item-rows": GROUP_ROWS, **watched}
    options = [f"--{name}={value}" for name, value in watched.items()]
    arguments = ["--output", output, "--ray", cluster.address if cluster else "local"]
    if "--output-format" not in given:
        arguments += ["--output-format", "parquet"]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.cluster_run", *options, "--", "score"),
            *map(str, (*given, *arguments)),
        ],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def scored_here(output, *given):
    """Score on one machine, without Ray; return the summary."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sentiment",
            "score",
            *map(str, given),
            "--json",
            "--output",
            output,
        ],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def said(run, *, count):
    """Wait until a run has said that so many items are done."""
    lines = [run.stdout.readline() for _ in range(count)]
    assert all(line.startswith("done ") for line in lines), run.stderr.read()
    return lines


def ended(run, *, seconds=200):
    """Wait for a run's end; return what it said of itself on standard error."""
    _, errors = run.communicate(timeout=seconds)
    # Ray's C++ writes lines of its own there, and has no setting against it.
    return "".join(
        line for line in errors.splitlines(keepends=True) if not re.match(r"\[\d{4}-", line)
    )


def is_one_error(said):
    """Whether a run ended with a line of error, after how far it was, if anything."""
    *before, last = said.splitlines()
    return last.startswith("error: ") and all(re.match("scored|going on", line) for line in before)


def figures(summary):
    """Return a summary without what depends on time, its numbers to five digits."""
    kept = {name: value for name, value in summary.items() if name not in ("speed", "score")}
    return json.loads(
        json.dumps(kept), parse_float=lambda text: pytest.approx(float(text), abs=1e-5)
    )


def kept_of(found):
    """Return the same of the summary that lies beside parts, its numbers as they are."""
    summary = json.loads(found["_SUCCESS"])
    return {name: value for name, value in summary.items() if name not in ("speed", "score")}


def parts(output):
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


def same_parts(found, expected):
    """Whether the parts are the same bytes, and the figures beside them those of the same rows."""
    sums = [json.loads(each.pop("_SUCCESS")) for each in (dict(found), dict(expected))]
    for each in sums:
        del each["speed"]
    without = [
        {name: found[name] for name in found if name != "_SUCCESS"} for found in (found, expected)
    ]
    return sums[0] == sums[1] and without[0] == without[1]


def ledger_of(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    opened = [line["opened"] for line in lines if "opened" in line]
    computed = [(line["item"], line["process"]) for line in lines if "item" in line]
    return opened, computed


def test_the_parts_hold_every_row_with_the_numbers_of_one_machine(headlines, undisturbed, tmp_path):
    names = [name for name in undisturbed if name != "_SUCCESS"]
    assert len(names) == ITEMS
    scored = pa.concat_tables(
        parquet.read_table(pa.BufferReader(undisturbed[name])) for name in names
    )
    assert scored.select(["id", "text"]).equals(parquet.read_table(headlines))
    summary = scored_here(tmp_path / "here.parquet", headlines)
    here = parquet.read_table(tmp_path / "here.parquet")
    assert scored.schema == here.schema
    assert scored["label"].equals(here["label"])
    for name in ("score", *LABELS):
        np.testing.assert_allclose(scored[name], here[name], atol=1e-5, rtol=0)
    assert json.loads(undisturbed["_SUCCESS"]).keys() == summary.keys()
    assert figures(summary) == kept_of(undisturbed)


@pytest.mark.parametrize("form", ["csv.gz", "jsonl"])
def test_files_that_are_not_cut_give_the_rows_and_the_bad_rows_of_one_machine(
    one_node, form, tmp_path
):
    texts = financial_texts(120)
    texts[7] = texts[50] = texts[119] = ""
    folder = tmp_path / "exported"
    folder.mkdir()
    for number in range(4):
        rows = [(str(row), texts[row]) for row in range(30 * number, 30 * number + 30)]
        if form == "jsonl":
            lines = [json.dumps({"id": row, "text": text}) + "\n" for row, text in rows]
            (folder / f"{number}.jsonl").write_text("".join(lines))
        else:
            with gzip.open(folder / f"{number}.csv.gz", "wt", newline="") as file:
                csv.writer(file).writerows([("id", "text"), *rows])
    given = (folder, "--on-error", "skip", "--output-format", form)
    run = start(one_node, tmp_path / "parts", *given)
    errors = ended(run)
    assert run.returncode == 0, errors
    summary = scored_here(tmp_path / "here", *given)
    found = parts(tmp_path / "parts")
    assert figures(summary) == kept_of(found)
    del found["_SUCCESS"]
    assert list(found) == [f"part-0000{number}.{form}" for number in range(4)]
    pieces = [rows_of(content, form) for content in found.values()]
    here = rows_of((tmp_path / "here").read_bytes(), form)
    for ours, theirs in zip([row for piece in pieces for row in piece], here, strict=True):
        assert (ours["id"], ours["text"], ours["label"]) == (
            theirs["id"], theirs["text"], theirs["label"]
        )  # fmt: skip
        assert float(ours["score"]) == pytest.approx(float(theirs["score"]), abs=1e-5)
    listed = [(tmp_path / f"{name}.errors.csv").read_bytes() for name in ("parts", "here")]
    assert listed[0] == listed[1]
    assert listed[0].count(b"\n") == 4


def rows_of(content, form):
    if form == "jsonl":
        return [json.loads(line) for line in content.splitlines()]
    return list(csv.DictReader(gzip.decompress(content).decode().splitlines()))


def test_two_nodes_share_the_items_and_each_loads_the_model_once(headlines, undisturbed, tmp_path):
    with LocalCluster(1, 1, folder=tmp_path) as cluster:
        run = start(cluster, tmp_path / "scored", headlines, ledger=tmp_path / "ledger")
        errors = ended(run)
    assert run.returncode == 0, errors
    opened, computed = ledger_of(tmp_path / "ledger")
    assert len(opened) == 2
    assert Counter(item for item, _ in computed) == dict.fromkeys(range(ITEMS), 1)
    assert {process for _, process in computed} == set(opened)
    assert same_parts(parts(tmp_path / "scored"), undisturbed)
    assert not (tmp_path / "scored.run").exists()


def test_a_node_that_is_killed_in_the_middle_takes_no_row_with_it(headlines, undisturbed, tmp_path):
    with LocalCluster(1, 1, folder=tmp_path) as cluster:
        run = start(cluster, tmp_path / "scored", headlines, ledger=tmp_path / "ledger")
        said(run, count=4)
        assert not (tmp_path / "scored").exists()
        cluster.kill(0)
        errors = ended(run)
    assert run.returncode == 0, errors
    opened, computed = ledger_of(tmp_path / "ledger")
    assert {item for item, _ in computed} == set(range(ITEMS))
    assert len(opened) >= 2
    assert same_parts(parts(tmp_path / "scored"), undisturbed)


def test_a_node_that_joins_later_is_used(tmp_path):
    many = tmp_path / "many.parquet"
    write_headlines(many, items=8 * ITEMS)
    with LocalCluster(1, folder=tmp_path) as cluster:
        run = start(cluster, tmp_path / "scored", many, ledger=tmp_path / "ledger")
        said(run, count=1)
        cluster.add(1)
        errors = ended(run)
    assert run.returncode == 0, errors
    opened, computed = ledger_of(tmp_path / "ledger")
    assert len(opened) == 2
    assert {process for _, process in computed} == set(opened)
    assert len(parts(tmp_path / "scored")) == 8 * ITEMS + 1


def test_a_run_without_a_node_left_says_so_and_is_resumed_where_it_was(
    headlines, undisturbed, tmp_path
):
    output, ledger = tmp_path / "scored", tmp_path / "ledger"
    with LocalCluster(1, folder=tmp_path) as cluster:
        run = start(cluster, output, headlines, patience=1)
        said(run, count=3)
        cluster.kill(0)
        errors = ended(run)
        assert run.returncode == 3, errors
        assert "no node of the cluster has had 1 CPU" in errors
        assert is_one_error(errors)
        assert not output.exists()
        kept = parts(Path(f"{output}.run", "parts"))
        assert len(kept) >= 3
        cluster.add(1)
        resumed = start(cluster, output, headlines, "--resume", ledger=ledger)
        errors = ended(resumed)
    assert resumed.returncode == 0, errors
    _, computed = ledger_of(ledger)
    assert len(computed) <= ITEMS - 3
    assert same_parts(parts(output), undisturbed)


def test_a_driver_that_is_killed_is_resumed_where_it_was(
    one_node, headlines, undisturbed, tmp_path
):
    output, ledger = tmp_path / "scored", tmp_path / "ledger"
    run = start(one_node, output, headlines)
    said(run, count=3)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    refused = start(one_node, output, headlines)
    errors = ended(refused)
    assert refused.returncode == 2
    assert is_one_error(errors)
    assert "--resume" in errors
    resumed = start(one_node, output, headlines, "--resume", ledger=ledger)
    errors = ended(resumed)
    assert resumed.returncode == 0, errors
    _, computed = ledger_of(ledger)
    assert len(computed) <= ITEMS - 3
    assert same_parts(parts(output), undisturbed)


def test_an_address_gets_parts_and_at_the_end_the_sign_that_all_are_there(
    one_node, headlines, undisturbed, tmp_path
):
    """With file://, which goes the way of gs:// and s3://."""
    run = start(one_node, f"file://{tmp_path}/scored", headlines)
    said(run, count=2)
    assert "_SUCCESS" not in parts(tmp_path / "scored")
    errors = ended(run)
    assert run.returncode == 0, errors
    assert same_parts(parts(tmp_path / "scored"), undisturbed)
    assert not (tmp_path / "scored.run").exists()


def test_what_an_actor_refuses_is_said_in_one_line(one_node, tmp_path):
    bad = tmp_path / "bad.parquet"
    parquet.write_table(pa.table({"text": ["Profit doubles", None]}), bad)
    run = start(one_node, tmp_path / "scored", bad)
    errors = ended(run)
    assert run.returncode == 4
    assert f"error: {bad}:2: no text; --on-error skip" in errors
    assert is_one_error(errors)


def test_an_item_that_ends_every_process_does_not_do_so_for_ever(one_node, headlines, tmp_path):
    run = start(
        one_node, tmp_path / "scored", headlines, ledger=tmp_path / "ledger", deadly=ITEMS - 1
    )
    errors = ended(run)
    assert run.returncode == 3
    assert f"{headlines}: item {ITEMS - 1} was begun {ITEM_ATTEMPTS} times" in errors
    assert is_one_error(errors)
    _, computed = ledger_of(tmp_path / "ledger")
    assert Counter(item for item, _ in computed)[ITEMS - 1] == ITEM_ATTEMPTS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_of_its_own_cluster_is_interrupted_in_one_line_and_goes_on(
    headlines, undisturbed, tmp_path, number
):
    run = start(None, tmp_path / "scored", headlines)
    said(run, count=1)
    run.send_signal(number)
    errors = ended(run)
    assert run.returncode == 128 + number
    assert errors.splitlines()[-1] == "error: interrupted: the same command with --resume goes on"
    assert "Traceback" not in errors
    resumed = start(None, tmp_path / "scored", headlines, "--resume")
    errors = ended(resumed)
    assert resumed.returncode == 0, errors
    assert same_parts(parts(tmp_path / "scored"), undisturbed)
    again = start(None, tmp_path / "scored", headlines, "--resume")
    assert "is complete: nothing is left to do" in ended(again)
    assert again.returncode == 0
