"""Scoring on a Ray cluster loses no row and writes none twice, whatever becomes of its nodes."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.cluster_run import POISON
from benchmarks.clusters import LocalCluster
from benchmarks.texts import financial_texts
from sentiment.bulk.cluster import ITEM_ATTEMPTS
from tests.conftest import REPOSITORY

pytest.importorskip("ray", reason="no ray: pip install -r requirements-ray.txt")

pytestmark = pytest.mark.nightly

GROUP_ROWS = 100
ITEMS = 20


@pytest.fixture(scope="module")
def headlines(tmp_path_factory):
    """A Parquet file of 20 row groups, whose ids are the numbers of its rows."""
    path = tmp_path_factory.mktemp("headlines") / "headlines.parquet"
    write_headlines(path, items=ITEMS)
    return path


@pytest.fixture(scope="module")
def undisturbed(headlines, tmp_path_factory):
    """The parts of a run on one node that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with LocalCluster(1, folder=folder) as cluster:
        assert ended(start(cluster, folder / "scored", headlines)) == ""
    return parts(folder / "scored")


def write_headlines(path, *, items):
    rows = GROUP_ROWS * items
    table = pa.table({"id": range(rows), "text": financial_texts(rows)})
    parquet.write_table(table, path, row_group_size=GROUP_ROWS)


def start(cluster, output, *files, **options):
    """Start a run, with its words on pipes."""
    given = [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.cluster_run", output, *files]
        + (["--address", cluster.address] if cluster else [])
        + given,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def parts(output):
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


def ledger_of(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    opened = [line["opened"] for line in lines if "opened" in line]
    computed = [(line["item"], line["process"]) for line in lines if "item" in line]
    return opened, computed


def test_the_parts_hold_every_row_in_the_order_of_the_input(headlines, undisturbed):
    names = [name for name in undisturbed if name != "_SUCCESS"]
    assert len(names) == ITEMS
    scored = pa.concat_tables(
        parquet.read_table(pa.BufferReader(undisturbed[name])) for name in names
    )
    assert scored.select(["id", "text"]).equals(parquet.read_table(headlines))
    assert scored["score"].null_count == 0
    assert set(scored["label"].to_pylist()) == {"positive", "negative", "neutral"}
    assert json.loads(undisturbed["_SUCCESS"]) == {"rows": GROUP_ROWS * ITEMS}


def test_two_nodes_share_the_items_and_each_loads_the_model_once(headlines, undisturbed, tmp_path):
    with LocalCluster(1, 1, folder=tmp_path) as cluster:
        run = start(cluster, tmp_path / "scored", headlines, ledger=tmp_path / "ledger")
        errors = ended(run)
    assert (run.returncode, errors) == (0, "")
    opened, computed = ledger_of(tmp_path / "ledger")
    assert len(opened) == 2
    assert Counter(item for item, _ in computed) == dict.fromkeys(range(ITEMS), 1)
    assert {process for _, process in computed} == set(opened)
    assert parts(tmp_path / "scored") == undisturbed
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
    assert parts(tmp_path / "scored") == undisturbed


def test_a_node_that_joins_later_is_used(tmp_path):
    many = tmp_path / "many.parquet"
    write_headlines(many, items=5 * ITEMS)
    with LocalCluster(1, folder=tmp_path) as cluster:
        run = start(cluster, tmp_path / "scored", many, ledger=tmp_path / "ledger")
        said(run, count=1)
        cluster.add(1)
        errors = ended(run)
    assert run.returncode == 0, errors
    opened, computed = ledger_of(tmp_path / "ledger")
    assert len(opened) == 2
    assert {process for _, process in computed} == set(opened)
    assert len(parts(tmp_path / "scored")) == 5 * ITEMS + 1


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
        assert errors.count("\n") == 1
        assert not output.exists()
        kept = parts(Path(f"{output}.run", "parts"))
        assert len(kept) >= 3
        cluster.add(1)
        resumed = start(cluster, output, headlines, resume=True, ledger=ledger)
        errors = ended(resumed)
    assert resumed.returncode == 0, errors
    _, computed = ledger_of(ledger)
    assert len(computed) <= ITEMS - 3
    assert parts(output) == undisturbed


def test_a_driver_that_is_killed_is_resumed_where_it_was(headlines, undisturbed, tmp_path):
    output, ledger = tmp_path / "scored", tmp_path / "ledger"
    with LocalCluster(1, folder=tmp_path) as cluster:
        run = start(cluster, output, headlines)
        said(run, count=3)
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=60)
        refused = start(cluster, output, headlines)
        errors = ended(refused)
        assert (refused.returncode, errors.count("\n")) == (2, 1)
        assert "--resume" in errors
        resumed = start(cluster, output, headlines, resume=True, ledger=ledger)
        errors = ended(resumed)
    assert resumed.returncode == 0, errors
    _, computed = ledger_of(ledger)
    assert len(computed) <= ITEMS - 3
    assert parts(output) == undisturbed


def test_an_address_gets_parts_and_at_the_end_the_sign_that_all_are_there(
    headlines, undisturbed, tmp_path
):
    """With file://, which goes the way of gs:// and s3://."""
    with LocalCluster(1, folder=tmp_path) as cluster:
        run = start(cluster, f"file://{tmp_path}/scored", headlines)
        said(run, count=2)
        assert "_SUCCESS" not in parts(tmp_path / "scored")
        errors = ended(run)
    assert run.returncode == 0, errors
    assert parts(tmp_path / "scored") == undisturbed
    assert not (tmp_path / "scored.run").exists()


def test_what_an_actor_refuses_is_said_in_one_line(tmp_path):
    wrong = tmp_path / "wrong.parquet"
    parquet.write_table(pa.table({"headline": ["Profit doubles"]}), wrong)
    with LocalCluster(1, folder=tmp_path) as cluster:
        run = start(cluster, tmp_path / "scored", wrong)
        errors = ended(run)
    assert (run.returncode, errors) == (4, f"error: {wrong}: no column 'text'\n")


def test_an_item_that_ends_every_process_does_not_do_so_for_ever(tmp_path):
    poisoned = tmp_path / "poisoned.parquet"
    parquet.write_table(pa.table({"text": [POISON]}), poisoned)
    with LocalCluster(1, folder=tmp_path) as cluster:
        run = start(cluster, tmp_path / "scored", poisoned, ledger=tmp_path / "ledger")
        errors = ended(run)
    assert run.returncode == 3
    assert f"{poisoned}: item 0 was begun {ITEM_ATTEMPTS} times" in errors
    assert errors.count("\n") == 1
    _, computed = ledger_of(tmp_path / "ledger")
    assert len(computed) == ITEM_ATTEMPTS


def test_an_address_where_nobody_answers_is_said_in_one_line(headlines, tmp_path):
    run = start(None, tmp_path / "scored", headlines, address="127.0.0.1:1")
    errors = ended(run)
    assert run.returncode == 3
    assert "no Ray cluster 127.0.0.1:1" in errors
    assert errors.count("\n") == 1


def test_without_an_address_or_a_cluster_one_is_made_for_the_run(headlines, undisturbed, tmp_path):
    run = start(None, tmp_path / "scored", headlines)
    errors = ended(run)
    assert (run.returncode, errors) == (0, "")
    assert parts(tmp_path / "scored") == undisturbed
