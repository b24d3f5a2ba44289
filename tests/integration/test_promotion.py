"""The gate between training and serving, with the bundled model in the place of a trained one."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from sentiment.errors import ModelError, OptionError, StorageError
from sentiment.manifest import verify_manifest, write_manifest
from sentiment.models import COMPACT_FOLDER, read_model
from sentiment.predictions import LABELS
from sentiment.training.classifier import Classifier
from sentiment.training.datasets import Example
from sentiment.training.golden import read_golden
from sentiment.training.promotion import promote
from sentiment.training.replacement import replace_folder, restore
from sentiment.training.splits import Split
from sentiment.training.temperature import fit_temperature

TRAINED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
RECORD = {
    "base": {"name": "acme/base|`", "weights_sha256": "0" * 64},
    "recipe": {"epochs": 3},
    "data": {"files_sha256": {"bank|\n.txt": "1" * 64}, "train": 0, "validation": 6, "test": 3},
    "versions": {"torch": "2"},
    "teacher": "acme/teacher@abc",
    "commit": "c0ffee",
    "command": ["python", "-m", "sentiment", "train", "--data=two words```.txt", "--bf16"],
}

TEXTS = {
    "positive": ("Turnover rose by a tenth.", "Profit rose.", "Earnings grew strongly."),
    "negative": ("Turnover fell by a tenth.", "Losses grew.", "The company went bankrupt."),
    "neutral": ("The office is in Lyon.", "The report is out today.", "It has 40 shops."),
}


def examples(*numbers, soft=False):
    return tuple(
        Example(
            TEXTS[label][number],
            tuple(np.eye(3)[index]),
            frozenset({"bank.txt"}),
            soft=soft,
        )
        for number in numbers
        for index, label in enumerate(LABELS)
    )


SPLIT = Split(train=(), validation=examples(0, 1), test=examples(2), held_out=0.1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What training leaves: a model that is neither calibrated nor described."""
    folder = tmp_path_factory.mktemp("promotion") / "model.work"
    folder.mkdir()
    for name in TRAINED:
        shutil.copy(COMPACT_FOLDER / name, folder)
    (folder / "training.json").write_text(json.dumps(RECORD))
    return folder


@pytest.fixture
def work(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "model.work")


@pytest.fixture(scope="module")
def promoted(trained, tmp_path_factory):
    """The finished folder, and what `promote` answered."""
    folder = tmp_path_factory.mktemp("promoted")
    output = folder / "model"
    work = shutil.copytree(trained, folder / "model.work")
    return output, promote(work, output, split=SPLIT, record=RECORD)


# What comes out


def test_the_folder_is_complete_sealed_and_under_its_name(promoted):
    output, _ = promoted
    written = {"README.md", "evaluation.json", "manifest.json", "temperature.json"}
    assert {path.name for path in output.iterdir()} == {*TRAINED, "training.json", *written}
    assert verify_manifest(output).keys() == {path.name for path in output.iterdir()} - {
        "README.md",
        "manifest.json",
    }
    assert [path.name for path in output.parent.iterdir()] == ["model"]


def test_the_temperature_is_that_of_the_annotated_validation_texts(promoted):
    output, evaluation = promoted
    written = json.loads((output / "temperature.json").read_text())
    with Classifier.open("compact") as classifier:
        logits = classifier.logits([each.text for each in SPLIT.validation])
    targets = [each.target for each in SPLIT.validation]
    assert written["temperature"] == pytest.approx(fit_temperature(logits, targets), abs=1e-3)
    assert written["weights_sha256"] == read_model(output, name="m").weights_sha256
    fitted = written["fitted_on"]
    assert (fitted["texts"], fitted["labels"]) == (6, "annotated")
    assert fitted["split_sha256"] == SPLIT.sha256
    assert fitted["log_loss"] < fitted["log_loss_before"]
    assert evaluation["temperature"] == written


def test_what_is_measured_is_the_calibrated_model(promoted):
    output, evaluation = promoted
    assert json.loads((output / "evaluation.json").read_text()) == evaluation
    with Classifier.open(str(output)) as classifier:
        assert classifier.model.temperature != 1
        score = classifier.probabilities([evaluation["documentation_examples"][0]["text"]]).max()
    assert evaluation["documentation_examples"][0]["score"] == pytest.approx(score, abs=1e-4)
    assert evaluation["model"] == f"model@{classifier.model.revision}"


def test_the_card_has_the_measured_figures_and_invents_no_licence(promoted):
    output, evaluation = promoted
    card = (output / "README.md").read_text()
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert "language: en" in front
    assert "license" not in front
    for part in evaluation["parts"].values():
        assert f"{part['accuracy']:.4f}" in text
        assert f"{part['macro_f1']:.4f}" in text
    temperature = evaluation["temperature"]
    assert f"divided by {temperature['temperature']:.4f}" in text
    assert f"{evaluation['golden_sentences']['positive']} positive" in text
    for example in evaluation["documentation_examples"]:
        assert f"| {example['text']} | {example['label']} | {example['score']:.3f} |" in text


def test_the_card_says_how_to_make_the_model_again(promoted):
    card = (promoted[0] / "README.md").read_text()
    assert "c0ffee" in card
    assert "Teacher: `acme/teacher@abc`" in card
    (block,) = re.findall("^```sh\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    assert block.count("\n") == 3  # the options, each in a line
    assert shlex.split(block.replace("\\\n", "")) == RECORD["command"]


def test_no_name_of_a_file_draws_columns_in_the_card(promoted):
    card = (promoted[0] / "README.md").read_text()
    assert "| `bank\\| .txt` |" in card
    assert "base_model" not in card
    assert "Base: `acme/base\\|'`" in card


def test_without_annotated_texts_the_teachers_fit_the_temperature(work, tmp_path):
    split = Split((), examples(0, 1, soft=True), examples(2, soft=True), held_out=0.1)
    evaluation = promote(work, tmp_path / "model", split=split, record=RECORD)
    assert evaluation["temperature"]["fitted_on"]["labels"] == "teacher's"


# What does not pass


def fails(work, output, *, says, split=SPLIT, error=ModelError, **options):
    before = sorted(path.name for path in output.iterdir()) if output.is_dir() else None
    with pytest.raises(error) as found:
        promote(work, output, split=split, record=RECORD, **options)
    message = str(found.value)
    assert says in message
    assert "\n" not in message
    if error is not OptionError:
        assert f"left for inspection in {work}" in message
    else:
        assert not (work / "temperature.json").exists()  # it was told before anything was done
    assert (work / "model.safetensors").is_file()
    assert (sorted(path.name for path in output.iterdir()) if output.is_dir() else None) == before


def test_swapped_labels_are_found_and_an_older_model_stays(work, tmp_path):
    config = json.loads((work / "config.json").read_text())
    config["id2label"] = {"0": "negative", "1": "positive", "2": "neutral"}
    (work / "config.json").write_text(json.dumps(config))
    output = shutil.copytree(COMPACT_FOLDER, tmp_path / "model")
    fails(work, output, says="it says positive for negative, negative for positive")


def test_a_model_that_the_server_would_refuse_stays_where_it_is(work, tmp_path):
    (work / "tokenizer.json").write_text("{}")
    fails(work, tmp_path / "model", says="not a tokenizer file")


def test_a_model_that_fails_on_a_long_text_stays_where_it_is(work, tmp_path, monkeypatch):
    def probabilities(self, texts):
        if max(map(len, texts)) > 5000:
            raise IndexError("index 512 is out of range\nand much more")
        return np.array([each.target for each in read_golden(None, trained_on=())] + [[1, 0, 0]])

    monkeypatch.setattr(Classifier, "probabilities", probabilities)
    fails(work, tmp_path / "model", says="fails on a text: index 512 is out of range;")


def test_what_is_no_model_is_never_replaced(work, tmp_path):
    output = tmp_path / "home"
    output.mkdir()
    (output / "thesis.tex").write_text("Years of work.")
    fails(work, output, says="holds thesis.tex", error=OptionError)
    (tmp_path / "file").touch()
    fails(work, tmp_path / "file", says="is a file", error=OptionError)
    (tmp_path / "link").symlink_to(work)
    fails(work, tmp_path / "link", says="is a link", error=OptionError)


def test_a_second_attempt_begins_anew(work, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sentiment.training.promotion.replace_folder", full)
        fails(work, tmp_path / "model", says="No space left on device", error=StorageError)
    (work / "temperature.json").write_text("damaged")
    assert promote(work, tmp_path / "model", split=SPLIT, record=RECORD)
    assert read_model(tmp_path / "model", name="m").temperature != 1


# Moving


KILLED = """
import os, signal, sys
from pathlib import Path
from sentiment.training.replacement import replace_folder

step, finished, output = int(sys.argv[1]), *map(Path, sys.argv[2:])
steps = 0

def killing(function):
    def call(*arguments, **options):
        global steps
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1
        return function(*arguments, **options)
    return call

os.rename, os.fsync = killing(os.rename), killing(os.fsync)
os.unlink, os.rmdir = killing(os.unlink), killing(os.rmdir)
replace_folder(finished, output)
print(steps)
"""
"""Ends itself as `kill -9` does, before the step whose number it is given."""


def make(folder, content):
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "training.json"):
        (folder / name).write_text(f"{content} {name}")
    write_manifest(folder)
    return folder


def content(folder):
    """Return what a folder's files say they are, all of them."""
    assert verify_manifest(folder)
    (word,) = {path.read_text().split()[0] for path in folder.iterdir() if path.suffix != ".json"}
    return word


@pytest.mark.parametrize("exists", [True, False])
def test_killed_at_any_step_the_old_or_the_new_model_is_there(tmp_path, repository, exists):
    step, steps, seen = 0, None, []
    while steps is None:
        folder = tmp_path / str(step)
        folder.mkdir()
        finished, output = make(folder / "model.work", "new"), folder / "model"
        if exists:
            make(output, "old")
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(step), str(finished), str(output)],
            cwd=repository, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        if done.returncode == 0:
            steps = int(done.stdout)
        else:
            assert done.returncode == -signal.SIGKILL, done.stderr
        lying = output if output.exists() else next(folder.glob(".model.*"), None)
        seen.append(content(lying) if lying else None)
        if not finished.exists():
            make(finished, "new")
        replace_folder(finished, output)  # the next attempt goes through
        assert content(output) == "new"
        assert [path.name for path in folder.iterdir()] == ["model"]
        step += 1
    assert step == steps + 1
    before = "old" if exists else None
    switched = seen.index("new")
    assert seen == [before] * switched + ["new"] * (len(seen) - switched)
    assert 0 < switched < len(seen)


def test_a_model_left_aside_is_put_back(tmp_path):
    make(tmp_path / "model", "old").rename(tmp_path / ".model.replaced-by-promotion")
    restore(tmp_path / "model")
    assert content(tmp_path / "model") == "old"


def test_a_move_that_fails_puts_the_old_model_back(tmp_path, monkeypatch):
    finished, output = make(tmp_path / "model.work", "new"), make(tmp_path / "model", "old")
    rename = os.rename

    def failing(source, target):
        if source == finished:
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="cross-device"):
        replace_folder(finished, output)
    assert content(output) == "old"
    assert content(finished) == "new"
