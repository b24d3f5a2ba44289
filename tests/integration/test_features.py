"""What training sees: targets, masks, batches of similar length."""

import numpy as np
import pytest
from tokenizers import Tokenizer

from sentiment.models import COMPACT_FOLDER
from sentiment.training.datasets import Example
from sentiment.training.features import Collator, LengthBuckets, MaskedTexts, features

HARD = Example("Profit rose .", (1.0, 0.0, 0.0), sources=frozenset({"bank.txt"}), soft=False)
SOFT = Example(
    "Profit fell sharply .", (0.1, 0.7, 0.2), sources=frozenset({"teacher.csv"}), soft=True
)
LENGTHS = np.random.default_rng(0).integers(3, 60, 1000).tolist()


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(COMPACT_FOLDER / "tokenizer.json"))


def buckets(*, epoch=0, seed=1):
    sampler = LengthBuckets(LENGTHS, batch_texts=16, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_a_target_is_learnt_as_it_is(tokenizer):
    made = features([HARD, SOFT], tokenizer)
    assert [each["labels"] for each in made] == [
        pytest.approx(HARD.target),
        pytest.approx(SOFT.target),
    ]


def test_collating_pads_to_the_longest_text_and_masks_the_rest(tokenizer):
    made = features([HARD, SOFT], tokenizer)
    batch = Collator(pad_id=0)(made)
    assert batch["attention_mask"].tolist() == [[1] * 5 + [0], [1] * 6]
    assert batch["input_ids"][0].tolist() == [*made[0]["input_ids"], 0]
    assert batch["labels"].shape == (2, 3)


def test_masking_hides_about_its_share_anew_each_epoch_but_never_the_ends():
    feature = {"input_ids": [101, *range(1000, 2000), 102], "length": 1002, "labels": None}
    texts = MaskedTexts([feature], mask_id=103, share=0.2, seed=7)
    first, again = (texts[0]["input_ids"] for _ in range(2))
    texts.set_epoch(1)
    second = texts[0]["input_ids"]
    assert first == again
    assert first != second
    for ids in (first, second):
        assert 130 < ids.count(103) < 270
        assert (ids[0], ids[-1]) == (101, 102)
    assert 103 not in feature["input_ids"]


def test_every_text_comes_once_an_epoch():
    assert sorted(buckets()) == list(range(1000))


def test_batches_are_of_similar_length():
    order = buckets()
    widths = [max(LENGTHS[i] for i in order[s : s + 16]) for s in range(0, 1000, 16)]
    assert sum(widths) * 16 < 1.1 * sum(LENGTHS)


def test_batches_come_in_no_order_of_length():
    order = buckets()
    means = [np.mean([LENGTHS[i] for i in order[s : s + 16]]) for s in range(0, 992, 16)]
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.4


def test_epochs_differ_and_a_seed_repeats_them():
    assert buckets(epoch=0) != buckets(epoch=1)
    assert buckets(epoch=1) == buckets(epoch=1)
    assert buckets(seed=1) != buckets(seed=2)
