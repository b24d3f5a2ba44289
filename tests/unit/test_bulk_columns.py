"""Probabilities of texts become the columns of rows."""

import numpy as np
import pyarrow as pa
import pytest

from sentiment.bulk.chunks import Chunk
from sentiment.bulk.columns import ScoredColumns
from sentiment.bulk.joining import Joiner, Rules, ScoreStream
from sentiment.bulk.scoring import Scores
from sentiment.errors import DataError, OptionError

LABELS = ("positive", "negative", "neutral")
NAN = float("nan")
PROBABILITIES = [[0.5, 0.25, 0.25], [0.0, 0.75, 0.25], [NAN, NAN, NAN], [0.0, 0.25, 0.75]]


def scores(probabilities=PROBABILITIES, truncated=(True, False, False, False)):
    return Scores(np.array(probabilities, np.float32), np.array(truncated))


def joined(columns, counts, given, spans=()):
    rows = columns.of_rows(given, np.array(counts))
    arrays = columns.arrays(rows, given, spans)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(columns.fields)).to_pylist()


def test_a_row_has_the_label_the_score_and_the_probabilities_of_its_text():
    rows = joined(ScoredColumns(LABELS), [1, 1, 0, 1, 1], scores())
    assert rows[0] == {
        "label": "positive",
        "score": 0.5,
        "positive": 0.5,
        "negative": 0.25,
        "neutral": 0.25,
        "truncated": True,
    }
    assert [row["label"] for row in rows] == ["positive", "negative", None, None, "neutral"]
    for without in (2, 3):  # of no text, and of one on which the model fails
        assert set(rows[without].values()) == {None}


def test_a_document_has_the_mean_of_its_sentences_and_says_where_they_stand():
    spans = [[(0, 5), (6, 9)], [], [(1, 2)]]
    given = scores([PROBABILITIES[at] for at in (0, 1, 3)], (False, True, False))
    rows = joined(ScoredColumns(LABELS, documents=True), [2, 0, 1], given, spans)
    assert [rows[0][name] for name in (*LABELS, "net")] == [0.25, 0.5, 0.25, -0.25]
    assert (rows[0]["label"], rows[0]["score"], rows[0]["truncated"]) == ("negative", 0.5, True)
    assert rows[0]["sentence_count"] == 2
    assert rows[0]["sentences"] == [
        {"start": 0, "end": 5, "label": "positive", "score": 0.5},
        {"start": 6, "end": 9, "label": "negative", "score": 0.75},
    ]
    assert set(rows[1].values()) == {None}
    assert rows[2]["sentences"] == [{"start": 1, "end": 2, "label": "neutral", "score": 0.75}]
    assert rows[2]["truncated"] is False


def test_means_are_of_double_precision_as_the_servers():
    given = np.random.default_rng(7).random((999, 3), dtype=np.float32)
    rows = ScoredColumns(LABELS).of_rows(scores(given, [False] * 999), np.array([999]))
    expected = np.mean(given, axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(rows.probabilities[0], expected)


def test_of_other_labels_there_is_no_net_sentiment():
    columns = ScoredColumns(("bullish", "bearish"), documents=True)
    assert "net" not in [field.name for field in columns.fields]
    given = scores([[0.25, 0.75]], [False])
    assert joined(columns, [1], given, [[(0, 1)]])[0]["label"] == "bearish"


def test_a_column_that_is_there_already_is_refused_unless_the_new_ones_have_a_prefix():
    given = pa.schema([("text", pa.string()), ("negative", pa.string())])
    with pytest.raises(OptionError, match="a column 'negative' already: --prefix"):
        ScoredColumns(LABELS).schema(given)
    assert ScoredColumns(LABELS, prefix="x_").schema(given).names[2:4] == ["x_label", "x_score"]


def test_scores_are_taken_in_any_number_in_their_order():
    parts = [scores()] * 2 + [scores(PROBABILITIES[:1], [True])]
    stream = ScoreStream(parts, labels=3)
    taken = [stream.take(count).probabilities for count in (0, 3, 4, 2)]
    assert [len(each) for each in taken] == [0, 3, 4, 2]
    expected = np.concatenate([each.probabilities for each in parts])
    np.testing.assert_array_equal(np.concatenate(taken), expected)
    with pytest.raises(DataError, match="other rows than when it was scored"):
        stream.take(1)


def test_rows_that_are_left_out_are_left_out_of_their_scores_too():
    rows = pa.RecordBatch.from_pydict({"text": ["a", None, "c"]})
    chunk = Chunk(file="news.csv", numbers=np.arange(2, 5), columns=rows, faults={})
    joiner = Joiner(Rules(text_column="text", on_error="skip"), labels=LABELS, schema=rows.schema)
    stream = ScoreStream([scores([PROBABILITIES[0], PROBABILITIES[3]], [True, False])], labels=3)
    found = joiner.join(chunk, stream.take)
    assert found.rows.column("text").to_pylist() == ["a", "c"]
    assert found.scores.probabilities.tolist() == [PROBABILITIES[0], PROBABILITIES[3]]
    assert found.scores.truncated.tolist() == [True, False]
    assert [str(fault) for fault in found.faults] == ["news.csv:3: no text"]
