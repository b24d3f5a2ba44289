"""What a machine makes of an item follows from the item alone. With the bundled model."""

import csv
import gzip
import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.texts import financial_texts
from sentiment.bulk.inputs import find_inputs, open_reader
from sentiment.bulk.items import cut_items
from sentiment.bulk.joining import Rules
from sentiment.bulk.parts import ScoreRows
from sentiment.bulk.places import Place
from sentiment.bulk.run import model_record
from sentiment.bulk.summary import Speed
from sentiment.bulk.table import score_table
from sentiment.bulk.tally import Tally
from sentiment.errors import DataError, ModelError
from sentiment.models import resolve_model
from sentiment.settings import Settings

COMPACT = resolve_model("compact")
SETTINGS = Settings(model="compact", precision="fp32")
HEADLINES = financial_texts(60)


class Run:
    """A run over files, whose items are done here, in any order."""

    def __init__(self, folder, *given, output_format="parquet", on_error="fail", ticker=None):
        files = find_inputs(
            [str(each) for each in given], input_format=None, run_folder=folder / "scored.run"
        )
        looked_at = files if files[0].format == "jsonl" else files[:1]
        self.files = files
        self.work = ScoreRows(
            files={file.name: file for file in files},
            schema=open_reader(looked_at, text_column="text", for_format=output_format).schema,
            rules=Rules(text_column="text", on_error=on_error),
            settings=SETTINGS,
            model=model_record(COMPACT),
            output_format=output_format,
            ticker_column=ticker,
        )
        self.items = cut_items(files, item_rows=20, cut_bytes=0)
        self.place = Place.at(
            str(folder / "scored"), suffix=f".{output_format}", items=len(self.items)
        )
        self.place.begin({}, resume=False, overwrite=True)
        self.output = folder / "scored"

    def do(self, items):
        facts = {}
        with pickle.loads(pickle.dumps(self.work)).open(threads=1) as score:
            for item in items:
                with self.place.writing(item) as drafts:
                    facts[item.number] = score(item, drafts)
        return facts

    def parts(self):
        return [
            (self.output.parent / "scored.run/parts" / self.place.part_name(item.number))
            for item in self.items
        ]


@pytest.fixture
def headlines(tmp_path):
    """A Parquet file of six row groups, some of whose texts are in several of them."""
    texts = [HEADLINES[number % 25] for number in range(60)]
    table = pa.table({"id": range(60), "text": texts, "ticker": ["ACME", "FOO", "BAR"] * 20})
    path = tmp_path / "headlines.parquet"
    parquet.write_table(table, path, row_group_size=10)
    return path


def test_in_whatever_order_items_are_done_their_parts_are_the_same(headlines, tmp_path):
    for name in ("forward", "backward"):
        (tmp_path / name).mkdir()
    forward, backward = (Run(tmp_path / name, headlines) for name in ("forward", "backward"))
    forward.do(forward.items)
    backward.do(reversed(backward.items))
    assert len(forward.items) == 3
    assert [part.read_bytes() for part in forward.parts()] == [
        part.read_bytes() for part in backward.parts()
    ]


def test_the_parts_and_sums_are_those_of_the_whole_table(headlines, tmp_path, monkeypatch):
    for name in ("MODEL", "PRECISION"):
        monkeypatch.setenv(f"SENTIMENT_{name}", getattr(SETTINGS, name.lower()))
    run = Run(tmp_path, headlines, ticker="ticker")
    facts = run.do(run.items)
    scored = pa.concat_tables(parquet.read_table(part) for part in run.parts())
    expected = score_table(parquet.read_table(headlines))
    assert scored.drop(["score", *COMPACT.labels]) == expected.drop(["score", *COMPACT.labels])
    for name in ("score", *COMPACT.labels):
        np.testing.assert_allclose(scored[name], expected[name], atol=1e-5, rtol=0)
    tally = Tally(labels=COMPACT.labels, ticker_column="ticker")
    for sums in run.place.tallies():
        tally.merge(sums)
    speed = Speed(texts=0, computed_texts=0, seconds=0, engine_seconds=0)
    summary = tally.summary(speed)
    assert (summary.rows, summary.scored) == (60, 60)
    assert [(group.name, group.rows) for group in summary.by_ticker.groups] == [
        ("ACME", 20), ("BAR", 20), ("FOO", 20)
    ]  # fmt: skip
    labels = expected["label"].to_pylist()
    assert {each.label: each.rows for each in summary.labels} == {
        label: labels.count(label) for label in COMPACT.labels
    }
    assert [told["texts"] for told in facts.values()] == [20, 20, 20]
    assert [told["computed_texts"] for told in facts.values()] == [20, 20, 20]


def write_csv(path, names, rows):
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)


def test_csv_files_are_an_item_each_with_the_columns_of_the_first_and_bad_rows_listed(tmp_path):
    write_csv(tmp_path / "a.csv.gz", ["id", "text"], [[1, HEADLINES[0]], [2, ""], [3, "x", "y"]])
    write_csv(tmp_path / "b.csv.gz", ["text", "id"], [[HEADLINES[1], 4], [HEADLINES[2], 5]])
    write_csv(tmp_path / "c.csv.gz", ["id", "text"], [[6, " "]])
    run = Run(tmp_path, *sorted(tmp_path.glob("*.gz")), output_format="csv", on_error="null")
    facts = run.do(run.items)
    rows = [list(csv.DictReader(part.read_text().splitlines())) for part in run.parts()]
    assert [[row["id"] for row in part] for part in rows] == [["1", "2", ""], ["4", "5"], ["6"]]
    assert [told["bad_rows"] for told in facts.values()] == [2, 0, 1]
    run.place.put_faults(number for number, told in facts.items() if told["bad_rows"])
    with (tmp_path / "scored.errors.csv").open(newline="") as file:
        listed = [(row["file"], row["row"]) for row in csv.DictReader(file)]
    first, last = (str(tmp_path / f"{name}.csv.gz") for name in "ac")
    assert listed == [(first, "3"), (first, "4"), (last, "2")]


def test_lines_of_json_have_the_columns_of_all_files(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "Profit rose.", "id": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "Profit fell.", "id": 2.5, "source": "wire"}\n')
    run = Run(tmp_path, tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    run.do(run.items)
    parts = [parquet.read_table(part) for part in run.parts()]
    assert parts[0].schema == parts[1].schema
    assert pa.concat_tables(parts).select(["text", "id", "source"]).to_pylist() == [
        {"text": "Profit rose.", "id": 1.0, "source": None},
        {"text": "Profit fell.", "id": 2.5, "source": "wire"},
    ]


def test_lines_of_json_stay_as_they_are_but_for_what_is_added(tmp_path):
    line = '{"text":  "Profit rose.", "n": 1.50}'
    (tmp_path / "a.jsonl").write_text(line + "\n")
    run = Run(tmp_path, tmp_path / "a.jsonl", output_format="jsonl")
    run.do(run.items)
    (written,) = run.parts()[0].read_text().splitlines()
    assert written.startswith(line.removesuffix("}"))
    assert json.loads(written)["label"] == "positive"


def test_a_bad_row_is_named_by_its_row_in_the_file(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [*HEADLINES[:35], None, *HEADLINES[36:40]]
    parquet.write_table(pa.table({"text": texts}), path, row_group_size=10)
    run = Run(tmp_path, path)
    with pytest.raises(DataError, match=r"a\.parquet:36: no text; --on-error skip"):
        run.do(run.items)


def test_a_file_with_other_columns_than_the_first_is_refused_by_who_reads_it(tmp_path):
    for name, column in (("a", "id"), ("b", "ticker")):
        parquet.write_table(pa.table({column: ["1"], "text": ["x"]}), tmp_path / f"{name}.parquet")
    run = Run(tmp_path, tmp_path / "a.parquet", tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"a\.parquet and .*b\.parquet have different columns"):
        run.do(run.items)


def test_a_file_that_is_another_by_now_is_refused(headlines, tmp_path):
    run = Run(tmp_path, headlines)
    parquet.write_table(pa.table({"id": [1], "text": ["x"], "ticker": ["A"]}), headlines)
    with pytest.raises(DataError, match="has changed while it was read"):
        run.do(run.items)


def test_a_machine_with_another_model_does_nothing(headlines, tmp_path):
    run = Run(tmp_path, headlines)
    run.work.model["weights_sha256"] = "of another"
    with pytest.raises(ModelError, match="has another compact than the machine of the command"):
        run.do(run.items)
