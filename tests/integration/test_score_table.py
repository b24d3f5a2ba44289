"""`sentiment.score_table`: tables and batches in memory, with the bundled model."""

import numpy as np
import pyarrow as pa
import pytest

import sentiment
from sentiment import Analyzer, Scorer, Settings, score_table
from sentiment.bulk.windows import WINDOW_ROWS
from sentiment.errors import DataError, InferenceFailed, OptionError

TEXTS = [
    "Operating profit rose to EUR 13.1 mn from EUR 8.7 mn.",
    "The company will cut 400 jobs after a loss.",
    "The annual meeting is held in Helsinki.",
    "Sales fell. The outlook is good. " * 150,
]
LABELS = ("positive", "negative", "neutral")
SETTINGS = Settings(model="compact", precision="fp32", cache_texts=0)


@pytest.fixture(scope="module")
def scorer():
    with Scorer.open(SETTINGS) as opened:
        yield opened


def table(texts=TEXTS, **columns):
    return pa.table(
        {"id": pa.array(range(len(texts))), "text": pa.array(texts, pa.string())} | columns
    )


def probabilities(scored):
    return np.stack([scored[label].to_numpy() for label in LABELS], axis=1)


def test_every_row_gets_label_score_probabilities_and_whether_it_was_truncated(scorer):
    scored = score_table(table(), scorer=scorer)
    assert scored.column_names == ["id", "text", "label", "score", *LABELS, "truncated"]
    assert scored["id"].to_pylist() == [0, 1, 2, 3]
    assert scored["label"].to_pylist()[:3] == ["positive", "negative", "neutral"]
    assert scored["truncated"].to_pylist() == [False, False, False, True]
    np.testing.assert_allclose(probabilities(scored).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(scored["score"].to_numpy(), probabilities(scored).max(axis=1))


async def test_the_numbers_are_the_servers(scorer):
    scored = score_table(table(), scorer=scorer)
    async with Analyzer.open(SETTINGS) as analyzer:
        served = await analyzer.classify(TEXTS)
    np.testing.assert_allclose(probabilities(scored), served.probabilities, rtol=0, atol=1e-5)
    assert scored["label"].to_pylist() == [each.label for each in served]
    assert scored["truncated"].to_pylist() == served.truncated.tolist()


def test_the_model_of_the_settings_is_loaded_where_none_is_given(monkeypatch):
    monkeypatch.setenv("SENTIMENT_MODEL", "compact")
    assert score_table(table(TEXTS[:1]))["label"].to_pylist() == ["positive"]


def test_batches_are_scored_as_they_come(scorer):
    read = []

    def batches():
        for number in range(6):
            read.append(number)
            texts = [f"Profit of unit {number} rose by {row} %." for row in range(WINDOW_ROWS // 2)]
            yield pa.RecordBatch.from_pydict({"text": texts})

    scored = score_table(batches(), scorer=scorer)
    first = next(scored)
    assert first.num_rows == WINDOW_ROWS // 2
    assert first["text"][7].as_py() == "Profit of unit 0 rose by 7 %."
    assert len(read) < 6  # what comes later waits
    assert [batch.num_rows for batch in scored] == [WINDOW_ROWS // 2] * 5


def test_what_is_given_up_leaves_no_trace_in_the_model(scorer):
    texts = [
        f"Sales of shop {number} rose by {number % 80} %." for number in range(2 * WINDOW_ROWS)
    ]
    batches = [
        pa.RecordBatch.from_pydict({"text": texts[at:][:64]}) for at in range(0, len(texts), 64)
    ]
    scored = score_table(iter(batches), scorer=scorer)
    next(scored)
    scored.close()  # while the next window is read ahead
    again = scorer.score_texts(texts[-64:])
    assert again.computed == 64
    np.testing.assert_allclose(again.probabilities.sum(axis=1), 1, rtol=1e-6)


def test_a_record_batch_reader_is_read_batch_by_batch(scorer):
    reader = pa.RecordBatchReader.from_batches(table().schema, table().to_batches(max_chunksize=2))
    (scored,) = [pa.Table.from_batches(score_table(reader, scorer=scorer))]
    assert scored.equals(score_table(table(), scorer=scorer))


def test_what_pyarrow_takes_for_a_table_is_one(scorer):
    class Frame:
        def __arrow_c_stream__(self, requested_schema=None):
            return table().__arrow_c_stream__(requested_schema)

    assert score_table(Frame(), scorer=scorer).equals(score_table(table(), scorer=scorer))


def test_a_table_without_rows_gets_the_columns_all_the_same(scorer):
    scored = score_table(table([]), scorer=scorer)
    assert (scored.num_rows, scored.column_names[-1]) == (0, "truncated")
    assert list(score_table(iter(()), scorer=scorer)) == []


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_strings_of_every_kind_are_texts(scorer, kind):
    texts = pa.array(TEXTS[:3]).cast(kind)
    scored = score_table(pa.table({"text": texts}), scorer=scorer)
    assert scored["text"].type == kind
    assert scored["label"].to_pylist() == ["positive", "negative", "neutral"]


def test_order_and_neighbours_change_nothing(scorer):
    texts = [f"Sales of unit {number} fell by {number % 90} %." for number in range(2000)]
    shuffled = np.random.default_rng(7).permutation(len(texts))
    forward = probabilities(score_table(table(texts), scorer=scorer))
    backward = probabilities(score_table(table([texts[at] for at in shuffled]), scorer=scorer))
    np.testing.assert_allclose(forward[shuffled], backward, rtol=0, atol=1e-5)


def test_equal_texts_are_computed_once(scorer):
    texts = [f"Unit {number} is new." for number in range(50)]
    assert scorer.score_texts(texts * 3).computed == 50
    again = scorer.score_texts(texts)
    assert again.computed == 0
    np.testing.assert_array_equal(
        again.probabilities, scorer.score_texts(texts[::-1]).probabilities[::-1]
    )


@pytest.mark.parametrize("blank", [None, "", " \n", "\u200b"])
def test_a_row_without_a_text_ends_it_unless_something_else_is_asked_for(scorer, blank):
    rows = table([TEXTS[0], blank, TEXTS[1]])
    with pytest.raises(DataError, match=r"^row:1: no"):
        score_table(rows, scorer=scorer)
    skipped = score_table(rows, on_error="skip", scorer=scorer)
    assert skipped["id"].to_pylist() == [0, 2]
    kept = score_table(rows, on_error="null", scorer=scorer)
    assert kept["id"].to_pylist() == [0, 1, 2]
    for name in ("label", "score", *LABELS, "truncated"):
        assert kept[name].to_pylist()[1] is None
        assert kept[name].to_pylist()[::2] == skipped[name].to_pylist()


def test_the_sentences_of_a_document_are_scored_each_and_summed_up(scorer):
    text = "Profit rose by 20 %. The loss of market share goes on.\n\nThe meeting is in May."
    rows = score_table(
        table([text, None, TEXTS[0]]), documents=True, on_error="null", scorer=scorer
    )
    assert rows.column_names[-4:] == ["truncated", "net", "sentence_count", "sentences"]
    assert rows["sentence_count"].to_pylist() == [3, None, 1]
    found = rows["sentences"].to_pylist()
    assert found[1] is None
    parts = [text[each["start"] : each["end"]] for each in found[0]]
    assert parts == [
        "Profit rose by 20 %.",
        "The loss of market share goes on.",
        "The meeting is in May.",
    ]
    alone = score_table(table(parts), scorer=scorer)
    assert [each["label"] for each in found[0]] == alone["label"].to_pylist()
    np.testing.assert_allclose(
        [each["score"] for each in found[0]], alone["score"].to_numpy(), atol=1e-5
    )
    np.testing.assert_allclose(
        probabilities(rows)[0], probabilities(alone).mean(axis=0), rtol=0, atol=1e-5
    )
    net = probabilities(rows)[0, 0] - probabilities(rows)[0, 1]
    assert rows["net"].to_pylist()[0] == pytest.approx(net, abs=1e-6)


def test_a_prefix_keeps_new_columns_apart_from_old_ones(scorer):
    rows = table(label=pa.array(["own"] * 4))
    with pytest.raises(OptionError, match=r"'label' already.*--prefix"):
        score_table(rows, scorer=scorer)
    scored = score_table(rows, prefix="finbert_", scorer=scorer)
    assert scored["label"].to_pylist() == ["own"] * 4
    assert scored["finbert_label"].to_pylist()[0] == "positive"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (table(), "expected a column named 'headline'; there are 'id', 'text'"),
        (pa.table({"headline": [1]}), "column 'headline' is int64; expected string"),
        (pa.table([["a"], ["b"]], ["headline"] * 2), "two columns are named 'headline'"),
    ],
)
def test_a_table_without_such_a_column_of_strings_is_refused(scorer, rows, said):
    with pytest.raises(DataError, match=said):
        score_table(rows, text_column="headline", scorer=scorer)


@pytest.mark.parametrize("rows", [{"text": TEXTS}, [{"text": TEXTS[0]}], ["text"]])
def test_what_is_neither_a_table_nor_batches_is_refused(scorer, rows):
    with pytest.raises(DataError, match=r"expected a table or record batches, found: (str|dict)"):
        list(score_table(rows, scorer=scorer))


def test_batches_of_different_columns_are_refused(scorer):
    batches = [pa.RecordBatch.from_pydict({"text": TEXTS, "id": ids}) for ids in ("1234", range(4))]
    with pytest.raises(DataError, match="row 4: a batch with other columns than the first"):
        list(score_table(batches, scorer=scorer))


def test_what_becomes_of_a_bad_row_is_one_of_three_things(scorer):
    with pytest.raises(OptionError, match="'ignore' is none of fail, skip, null"):
        score_table(table(), on_error="ignore", scorer=scorer)


class Failing:
    """The engine, which fails on batches with one of these first tokens."""

    def __init__(self, engine, lengths):
        self._engine, self._lengths = engine, lengths

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def infer(self, batch):
        if set(batch.lengths.tolist()) & self._lengths:
            raise MemoryError("too large")
        return self._engine.infer(batch)


@pytest.fixture
def failing(scorer, monkeypatch):
    def fail(*lengths):
        monkeypatch.setattr(scorer, "engine", Failing(scorer.engine, set(lengths)))

    return fail


def test_of_a_batch_that_fails_only_the_text_at_fault_has_no_score(scorer, failing):
    texts = [f"{'Very ' * (5 + number % 7)}new unit {number}." for number in range(300)]
    whole = scorer.score_texts(texts)
    lengths = scorer._tokenization.encode_now(["Surely " * 40]).ids[0]
    failing(len(lengths))
    rows = table([*texts, "Surely " * 40])
    with pytest.raises(DataError, match=r"^row:300: the model fails on the text"):
        score_table(rows, scorer=scorer)
    scored = score_table(rows, on_error="null", scorer=scorer)
    assert scored["label"].null_count == 1
    np.testing.assert_allclose(probabilities(scored)[:300], whole.probabilities, atol=1e-5)


def test_a_model_that_fails_on_everything_ends_it(scorer, failing):
    failing(*range(512))
    with pytest.raises(InferenceFailed, match="fails on every one of 2 texts"):
        scorer.score_texts(["One text that nobody has seen.", "And one more that is as new."])


def test_the_package_offers_both():
    assert {"score_table", "Scorer"} <= set(sentiment.__all__)
