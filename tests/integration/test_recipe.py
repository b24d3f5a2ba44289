"""The parts of a recipe: rates by depth, unfreezing, weights of classes, targets, averages."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from sentiment.errors import OptionError
from sentiment.training import fitting
from sentiment.training.averages import WeightAverage
from sentiment.training.distillation import SoftTargetLoss, label_weights, smoothed, taught
from sentiment.training.examples import Example
from sentiment.training.layers import GradualUnfreezing, depths, parameter_groups
from sentiment.training.recipe import Recipe
from sentiment.training.runs import RunOptions
from sentiment.training.splits import Split

LAYERS = 3


@pytest.fixture(scope="module")
def model():
    config = BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=8,
        num_labels=3,
    )
    return BertForSequenceClassification(config)


def example(label, *, soft=False, agreement=None):
    target = tuple(float(index == label) for index in range(3))
    return Example("text", target, frozenset({"file"}), soft=soft, agreement=agreement)


def at(step):
    return SimpleNamespace(global_step=step)


def test_depth_counts_from_the_classifier_down_to_the_embeddings(model):
    below = depths(model)
    assert below["classifier.weight"] == below["bert.pooler.dense.weight"] == 0
    for layer in range(LAYERS):
        assert below[f"bert.encoder.layer.{layer}.output.dense.weight"] == LAYERS - layer
    assert below["bert.embeddings.word_embeddings.weight"] == LAYERS + 1
    assert set(below.values()) == set(range(LAYERS + 2))


def test_each_lower_layer_learns_at_the_rate_of_the_one_above_times_the_decay(model):
    groups = parameter_groups(
        model, learning_rate=1.0, layer_decay=0.5, weight_decay=0.1, decayed={"classifier.weight"}
    )
    rates = {id(each): group["lr"] for group in groups for each in group["params"]}
    below = depths(model)
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == 0.5 ** below[name]
    (decayed,) = (group for group in groups if group["weight_decay"])
    assert decayed["params"] == [model.classifier.weight]


def test_without_a_decay_there_are_two_groups_and_every_parameter_in_one(model):
    names = {name for name, _ in model.named_parameters() if "bias" not in name}
    groups = parameter_groups(
        model, learning_rate=2e-5, layer_decay=1.0, weight_decay=0.1, decayed=names
    )
    assert [group["weight_decay"] for group in groups] in ([0.1, 0], [0, 0.1])
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_layers_are_unfrozen_from_the_top_one_at_a_time(model):
    unfreezing = GradualUnfreezing(model, every_steps=2.5)
    below = depths(model)
    for step, deepest in [(0, 0), (2, 0), (3, 1), (5, 2), (8, 3), (10, 4), (99, 39)]:
        unfreezing.on_step_begin(None, at(step), None)
        trained = {below[name] for name, each in model.named_parameters() if each.requires_grad}
        assert trained == {depth for depth in below.values() if depth <= deepest}


def test_balanced_weights_make_every_label_weigh_alike_and_a_text_one_on_average():
    examples = [example(0)] * 6 + [example(1)] * 3 + [example(2)]
    weights = label_weights(examples, "balanced")
    assert np.allclose([6 * weights[0], 3 * weights[1], weights[2]], 10 / 3)
    assert label_weights(examples, "none") == (1, 1, 1)
    assert label_weights([example(0), example(2)], "balanced") == (1, 1, 1)


def test_the_loss_is_cross_entropy_less_the_entropy_of_the_target():
    logits, targets = torch.randn(5, 3), torch.softmax(torch.randn(5, 3), -1)
    loss = SoftTargetLoss(1.0, (1.0, 1.0, 1.0))(logits, targets, texts=5, weighted=False)
    entropy = -(targets * targets.log()).sum(-1).mean()
    expected = torch.nn.functional.cross_entropy(logits, targets) - entropy
    torch.testing.assert_close(loss, expected)


def test_batches_summed_into_one_step_have_the_loss_of_the_large_batch():
    logits, targets = torch.randn(7, 3), torch.softmax(torch.randn(7, 3), -1)
    loss = SoftTargetLoss(2.0, (1.0, 2.0, 0.5))
    whole = loss(logits, targets, texts=7, weighted=True)
    parts = [loss(logits[i:j], targets[i:j], texts=7, weighted=True) for i, j in ((0, 4), (4, 7))]
    torch.testing.assert_close(sum(parts), whole)


def test_weights_of_labels_count_in_training_alone():
    logits, targets = torch.randn(4, 3), torch.eye(3)[[1, 1, 1, 1]]
    loss = SoftTargetLoss(1.0, (1.0, 3.0, 1.0))
    plain = loss(logits, targets, texts=4, weighted=False)
    torch.testing.assert_close(loss(logits, targets, texts=4, weighted=True), 3 * plain)


def test_smoothing_spreads_an_annotators_label_and_leaves_a_teachers_alone():
    hard, soft = smoothed([example(0), example(1, soft=True)], Recipe(label_smoothing=0.3))
    assert hard.target == pytest.approx([0.8, 0.1, 0.1])
    assert soft == example(1, soft=True)


def test_a_label_that_not_all_annotators_chose_counts_as_much_as_they_were():
    levels = [example(0, agreement=level) for level in (50, 66, 75, 100, None)]
    made = smoothed(levels, Recipe(label_smoothing=0.03, by_agreement=True))
    assert [each.target[0] for each in made] == pytest.approx([0.6, 0.72, 0.87, 0.98, 0.98])
    assert all(sum(each.target) == pytest.approx(1) for each in made)


def test_a_teacher_is_mixed_into_smoothed_labels_and_leaves_soft_ones_alone():
    recipe = Recipe(label_smoothing=0.3, teacher_share=0.25)
    answers = np.array([[0.2, 0.2, 0.6], [0.2, 0.2, 0.6]], dtype=np.float32)
    labels = smoothed([example(0), example(1, soft=True)], recipe)
    hard, soft = taught(labels, answers, recipe)
    assert hard.target == pytest.approx(
        [0.75 * 0.8 + 0.25 * 0.2, 0.75 * 0.1 + 0.25 * 0.2, 0.75 * 0.1 + 0.25 * 0.6]
    )
    assert hard.soft  # and is not smoothed again
    assert soft == example(1, soft=True)


def test_annotators_who_differed_count_beside_a_teacher_too():
    recipe = Recipe(by_agreement=True, teacher_share=0.5)
    labels = smoothed([example(0, agreement=50)], recipe)
    (mixed,) = taught(labels, np.array([[0.0, 0.0, 1.0]], dtype=np.float32), recipe)
    assert mixed.target == pytest.approx([0.3, 0.1, 0.6])


def test_fitting_trains_on_labels_that_are_smoothed_before_the_teacher_is_mixed_in(
    monkeypatch, tmp_path
):
    split = Split(
        train=(example(0, agreement=50), example(1)),
        validation=(example(0),),
        test=(example(1),),
        held_out=0.1,
    )
    seen = {}

    class Learnt(Exception):
        """What training would see is known: no need to train."""

    def features(examples, tokenizer):
        seen["targets"] = [each.target for each in examples]
        raise Learnt

    monkeypatch.setattr(fitting, "features", features)
    monkeypatch.setattr(fitting, "ask", lambda *_, **__: np.eye(3, dtype=np.float32)[[2, 2]])
    monkeypatch.setattr(fitting, "load_training_tokenizer", lambda *_: None)
    with pytest.raises(Learnt):
        fitting.fit(
            split,
            base=None,
            teacher=object(),
            recipe=Recipe(by_agreement=True),
            folder=tmp_path,
            options=RunOptions(tmp_path),
        )
    assert seen["targets"] == [pytest.approx((0.3, 0.1, 0.6)), pytest.approx((0.0, 0.5, 0.5))]


def test_the_average_follows_the_weights_by_its_definition(model):
    average = WeightAverage(model, decay=0.5)
    weight = model.classifier.weight
    expected = weight.detach().clone()
    for step in range(1, 20):
        with torch.no_grad():
            weight.add_(torch.randn_like(weight))
        average.on_step_end(None, at(step), None)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach()
    torch.testing.assert_close(average.tensors["classifier.weight"], expected)
    own = weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(model.classifier.weight.detach(), expected)
    assert torch.equal(model.classifier.weight, own)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bf16": True, "fp16": True}, "--bf16 and --fp16 exclude each other"),
        ({"class_weights": "heavy"}, "--class-weights heavy is none of none, balanced"),
        ({"layer_decay": 0.0}, "--layer-decay 0 is not above 0"),
        ({"average_decay": 1.0}, "--average-decay 1 is not in"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(wrong, said):
    with pytest.raises(OptionError, match=said):
        Recipe(**wrong)
