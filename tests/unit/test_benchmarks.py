"""What the speed benchmarks compute without measuring anything."""

import itertools
import statistics

import pytest

from benchmarks.limits import model_flop
from benchmarks.loads import Measured, Requests, Summary
from benchmarks.measurement import BenchmarkError, loglog_slope, medians, significant, turn_order
from benchmarks.scaling import Sweep, sweeps
from benchmarks.texts import financial_texts, load_texts, read_texts, spelling, unique_texts
from sentiment.models import COMPACT_FOLDER
from sentiment.tokenization import Tokenization, load_tokenizer


@pytest.fixture(scope="module")
def tokenize():
    with Tokenization(load_tokenizer(COMPACT_FOLDER), max_tokens=512, threads=1) as tokenization:
        yield lambda texts: [tuple(ids) for ids in tokenization.encode_now(texts).ids]


def test_invented_texts_are_as_long_as_phrasebank(tokenize):
    lengths = sorted(map(len, tokenize(financial_texts(3000))))
    assert statistics.mean(lengths) == pytest.approx(30, abs=2)
    assert statistics.stdev(lengths) == pytest.approx(13.5, abs=1.5)
    assert lengths[0] >= 4
    assert lengths[-1] <= 115
    assert 50 <= lengths[int(0.95 * len(lengths))] <= 62


def test_invented_texts_are_different_to_a_tokenizer(tokenize):
    encodings = tokenize(financial_texts(3000))
    assert len(set(encodings)) == len(encodings)


def test_invented_texts_depend_on_the_seed_alone():
    assert financial_texts(50) == financial_texts(80)[:50]
    assert financial_texts(50, seed=1) != financial_texts(50)


def test_variants_stay_different_to_a_tokenizer(tokenize):
    texts = ["Profit rose", "profit  ROSE", "Profit rose one", "Sales fell .", "Café opens"]
    variants = list(itertools.islice(unique_texts(texts), 60))
    assert variants[:4] == ["Profit rose", "Profit rose one", "Sales fell .", "Café opens"]
    assert len(set(tokenize(variants))) == 60


@pytest.mark.parametrize(
    ("one", "other"), [("Profit rose.", "profit rose ."), ("Café", "cafe"), ("a  b", "A b")]
)
def test_spellings_that_a_tokenizer_takes_for_the_same_are_the_same(tokenize, one, other):
    assert spelling(one) == spelling(other)
    assert tokenize([one]) == tokenize([other])


def test_phrasebank_is_read_without_its_labels(tmp_path):
    path = tmp_path / "phrases.txt"
    path.write_bytes("Sales fell in Malmö .@negative\n\nProfit @ 5 %\n".encode("latin-1"))
    assert read_texts(path) == ["Sales fell in Malmö .", "Profit @ 5 %"]
    assert len(load_texts(path, 7)) == 7


def test_a_file_without_texts_is_an_error_in_one_line(tmp_path):
    with pytest.raises(BenchmarkError, match="No such file"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(BenchmarkError, match="no text"):
        read_texts(tmp_path / "empty.txt")


@pytest.mark.parametrize("exponent", [0, 0.5, 1, 2])
def test_the_slope_is_the_exponent(exponent):
    sizes = [1, 10, 100, 1000]
    assert loglog_slope(sizes, [3 * size**exponent for size in sizes]) == pytest.approx(exponent)


def test_a_sweep_is_fitted_where_fixed_costs_are_small():
    sweep = Sweep("texts", "seconds", [1, 100, 1000], linear_from=100)
    sweep.measured = {1: [5.0, 4.0], 100: [10.0, 11.0], 1000: [100.0]}
    assert sweep.costs == [4, 10, 100]
    assert sweep.slope == pytest.approx(1)


@pytest.mark.parametrize("quick", [True, False])
def test_every_sweep_has_points_enough_for_a_slope(quick):
    for sweep in sweeps(quick=quick).values():
        assert sum(size >= sweep.linear_from for size in sweep.sizes) >= 2


def test_each_round_begins_with_another():
    assert [turn_order("abc", turn)[0] for turn in range(4)] == ["a", "b", "c", "a"]
    assert sorted(turn_order("abc", 7)) == ["a", "b", "c"]
    assert turn_order([], 1) == []


def test_medians_and_digits():
    assert medians([{"a": 1.0}, {"a": 30.0}, {"a": 2.00004}]) == {"a": 2.0}
    assert significant(123456) == 123500


def test_a_token_of_bert_base_costs_170_mflop():
    assert model_flop(768, 3072, 12) == 2 * 12 * 12 * 768**2
    assert model_flop(768, 3072, 12) == pytest.approx(170e6, rel=0.01)


def test_every_server_gets_the_same_requests_and_no_text_twice():
    requests = Requests(["Profit rose", "Sales fell"], sizes={1, 2})
    first = [request.data for request in itertools.islice(requests.of(2), 5)]
    assert first == [request.data for request in itertools.islice(requests.of(2), 5)]
    assert len(set(first)) == 5
    assert {request.texts for request in itertools.islice(requests.of(2), 5)} == {2}


def test_a_summary_pools_latencies_and_counts():
    summary = Summary()
    for rate, slowest in ((10.0, 5.0), (30.0, 100.0), (20.0, 6.0)):
        summary.measured.append(
            Measured({"texts_s": rate, "p50_ms": 4.0}, [4.0, slowest], {"200": 2}, {})
        )
    document = summary.document()
    assert document["texts_s"] == 20
    assert document["p99_ms"] == 100
    assert document["statuses"] == {"200": 6}
