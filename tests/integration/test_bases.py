"""Bases of every kind become a classifier over our labels, or an error that says why not."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from sentiment.errors import ModelError
from sentiment.models import resolve_base
from sentiment.predictions import LABELS
from sentiment.training.bases import load_classifier, load_training_tokenizer
from tests.small_bert import POSITIONS, write_base


@pytest.fixture
def encoder(tmp_path):
    """A base without a classifier."""
    path = tmp_path / "encoder"
    path.mkdir()
    return write_base(path)


@pytest.fixture
def classifier(tmp_path):
    """Write a small classifier of the labels that are given."""

    def classifier(*labels):
        config = BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            id2label=dict(enumerate(labels)),
        )
        model = BertForSequenceClassification(config)
        torch.nn.init.normal_(model.classifier.bias)
        model.save_pretrained(tmp_path / "classifier")
        return resolve_base(str(tmp_path / "classifier")), model.classifier

    return classifier


def test_a_base_without_a_classifier_gets_one(encoder):
    model = load_classifier(resolve_base(str(encoder)))
    assert model.classifier.out_features == len(LABELS)
    assert model.config.id2label == dict(enumerate(LABELS))


def test_a_classifier_of_another_number_of_labels_gets_a_new_last_layer(classifier):
    base, _ = classifier("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
    model = load_classifier(base)
    assert model.classifier.weight.shape == (len(LABELS), 8)
    assert model.config.id2label == dict(enumerate(LABELS))


@pytest.mark.parametrize(
    "labels", [LABELS, ("negative", "neutral", "positive"), ("Neutral", "POSITIVE", "negative ")]
)
def test_what_was_learnt_of_a_label_stays_with_it(classifier, labels):
    base, given = classifier(*labels)
    last = load_classifier(base).classifier
    rows = [[label.strip().lower() for label in labels].index(label) for label in LABELS]
    assert torch.equal(last.weight, given.weight[rows])
    assert torch.equal(last.bias, given.bias[rows])


@pytest.mark.parametrize("labels", [("a", "b", "c"), ("LABEL_0", "LABEL_1", "LABEL_2")])
def test_what_was_learnt_of_other_labels_is_not_kept_under_our_names(classifier, labels):
    base, given = classifier(*labels)
    last = load_classifier(base).classifier
    assert not torch.isclose(last.weight, given.weight).any()
    assert last.weight.std() < 0.05
    assert last.bias.tolist() == [0, 0, 0]


def test_an_encoder_of_another_size_than_its_configuration_is_not_made_new_in_silence(encoder):
    weights = load_file(encoder / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    save_file(
        weights | {name: weights[name][:-3].clone()},
        encoder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(
        ModelError, match=r"cannot be fine-tuned: .*word_embeddings\.weight is of another"
    ):
        load_classifier(resolve_base(str(encoder)))


def test_texts_are_cut_at_what_the_base_reads(encoder):
    base = resolve_base(str(encoder))
    for wanted, cut in ((8, 8), (POSITIONS, POSITIONS), (512, POSITIONS)):
        tokenizer = load_training_tokenizer(base, wanted)
        assert len(tokenizer.encode("sales rose " * 100).ids) == cut


def test_a_tokenizer_of_more_tokens_than_the_base_has_is_refused(encoder):
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(config | {"vocab_size": 5}))
    with pytest.raises(ModelError, match="the model only 5"):
        load_training_tokenizer(resolve_base(str(encoder)), 32)
