"""`train` and `evaluate` from the command line, on a BERT of two small layers."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sentiment.engines import open_engine
from sentiment.models import read_model
from sentiment.predictions import LABELS
from sentiment.tokenization import Tokenization, load_tokenizer
from sentiment.training.classifier import infer_all
from sentiment.training.datasets import RESERVED_TEXTS, read_examples
from sentiment.training.recipe import Recipe
from sentiment.training.splits import Part, split_examples
from tests.small_bert import POSITIONS, write_base, write_data, write_golden

HELD_OUT = 0.2
RECIPE = {
    "epochs": 10.0,
    "learning_rate": 0.003,
    "batch_texts": 4,
    "warmup_share": 0.2,
    "weight_decay": 0.02,
    "label_smoothing": 0.05,
    "temperature": 2.0,
    "masked_share": 0.1,
    "max_tokens": 32,
    "seed": 11,
}

RUN_EACH = """
import json, sys, traceback
from sentiment.cli import main

for arguments in json.loads(sys.argv[1]):
    sys.argv = ["sentiment", *arguments]
    code = None
    try:
        main()
    except SystemExit as exit:
        code = exit.code
    except BaseException:
        traceback.print_exc()
    print(f"-- exit {code}", file=sys.stderr, flush=True)
"""
"""Several command lines in one process: importing the libraries takes longer than they do."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def base(folder):
    path = folder / "base"
    path.mkdir()
    return write_base(path)


@pytest.fixture(scope="module")
def data(folder):
    return write_data(folder)


@pytest.fixture(scope="module")
def split(data):
    return split_examples(read_examples(data).examples, held_out=HELD_OUT)


@pytest.fixture(scope="module")
def sentiment(repository):
    """Run `python -m sentiment`."""

    def sentiment(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run(["-m", "sentiment", *map(str, arguments)], cwd=repository)

    return sentiment


@pytest.fixture(scope="module")
def trained(sentiment, base, data, folder):
    """The finished process and the folder that it wrote."""
    output = folder / "trained"
    return sentiment(*train_arguments(base, data, output)), output


@pytest.fixture(scope="module")
def model(trained):
    return read_model(trained[1], name="trained")


@pytest.fixture(scope="module")
def record(trained):
    return json.loads((trained[1] / "training.json").read_text())


@pytest.fixture(scope="module")
def evaluation(trained):
    return json.loads((trained[1] / "evaluation.json").read_text())


def run(arguments, *, cwd):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        # Threads would wait for each other longer than such small matrices take.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def train_arguments(base, data, output, *flags, **recipe):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in (RECIPE | recipe).items()]
    files = [f"--data={path}" for path in data]
    folders = [f"--base={base}", f"--output={output}", f"--golden={write_golden(base.parent)}"]
    return ["train", *folders, f"--held-out={HELD_OUT}", *files, *options, *flags]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# The folder


def test_training_ends_well_and_prints_the_evaluation(trained):
    done, output = trained
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((output / "evaluation.json").read_text())
    assert "Traceback" not in done.stderr
    assert "epoch 10 of 10: validation loss" in done.stderr


def test_the_model_is_a_plain_folder_in_the_hubs_form(model, trained):
    assert {path.name for path in trained[1].iterdir()} == {
        "README.md",
        "config.json",
        "evaluation.json",
        "manifest.json",
        "model.safetensors",
        "temperature.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    }
    assert model.architecture == "bert"
    assert model.weights.name == "model.safetensors"
    assert model.max_tokens == POSITIONS


def test_labels_are_in_finberts_order(model):
    assert model.labels == ("positive", "negative", "neutral")
    assert model.config["id2label"] == {"0": "positive", "1": "negative", "2": "neutral"}
    assert model.config["label2id"] == {"positive": 0, "negative": 1, "neutral": 2}


def test_weights_are_in_half_precision(model):
    weights = load_file(model.weights)
    assert {str(tensor.dtype) for tensor in weights.values()} == {"float16"}
    assert weights["classifier.weight"].shape == (3, 32)


def test_the_tokenizer_neither_cuts_nor_pads_although_the_bases_did(base, trained):
    before, after = (
        json.loads((path / "tokenizer.json").read_text()) for path in (base, trained[1])
    )
    assert before["truncation"] is not None
    assert before["padding"] is not None
    assert after == before | {"truncation": None, "padding": None}


def test_the_record_says_how_the_model_came_about(record, base, data, split):
    assert record["recipe"] == Recipe(**RECIPE).as_dict()
    digest = sha256(base / "model.safetensors")
    assert record["base"] == {"name": "base", "revision": digest[:12], "weights_sha256": digest}
    assert record["data"] == {
        "files_sha256": {path.name: sha256(path) for path in data},
        "rows": 62,
        "duplicates_merged": 1,
        "label_conflicts": 1,
        "reserved_left_out": 1,
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "held_out": HELD_OUT,
        "seen_sha256": {},
        "agreement_sha256": {},
        "earlier": [],
        "split_sha256": split.sha256,
    }
    assert record["versions"] == {
        name: version(name) for name in ("torch", "transformers", "tokenizers")
    }


def test_the_record_has_figures_for_every_epoch(record):
    assert [entry["epoch"] for entry in record["epochs"]] == list(range(1, 11))
    for entry in record["epochs"]:
        assert math.isfinite(entry["eval_loss"])
        assert 0 <= entry["eval_accuracy"] <= 1
        assert 0 <= entry["eval_macro_f1"] <= 1
    assert record["epochs"][-1]["eval_loss"] < record["epochs"][0]["eval_loss"]


def test_the_base_is_left_as_it_was(base):
    assert {path.name for path in base.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


# What it learnt


@pytest.mark.parametrize("engine", ["packed", "padded"])
def test_the_serving_engine_reads_the_verb_in_held_out_texts(model, split, engine):
    opened = open_engine(model, engine=engine, device="cpu", threads=1)
    assert opened.name == engine
    held_out = [*split.validation, *split.test]
    tokenizer = load_tokenizer(model.folder)
    with Tokenization(tokenizer, max_tokens=model.max_tokens, threads=1) as tokenization:
        encodings = tokenization.encode_now([each.text for each in held_out]).ids
    predicted = [model.labels[row.argmax()] for row in infer_all(opened, encodings)]
    assert predicted == [LABELS[each.label] for each in held_out]


def test_the_same_seed_gives_the_same_weights(sentiment, base, data, folder, model):
    again = sentiment(*train_arguments(base, data, folder / "again"))
    assert again.returncode == 0, again.stderr
    assert sha256(folder / "again" / "model.safetensors") == sha256(model.weights)


# The evaluation


def test_annotators_and_teacher_are_evaluated_apart_on_texts_held_out(evaluation, split):
    parts = {
        f"{part}_{kind}": sum(each.soft is soft for each in split.part(part))
        for part in (Part.VALIDATION, Part.TEST)
        for kind, soft in (("annotated", False), ("teacher", True))
    }
    assert all(parts.values())
    assert {name: part["texts"] for name, part in evaluation["parts"].items()} == parts
    for part in evaluation["parts"].values():
        counts = np.array(part["confusion"]["counts"])
        assert part["confusion"]["columns"] == list(LABELS)
        assert [part["labels"][label]["texts"] for label in LABELS] == counts.sum(axis=1).tolist()
        assert part["accuracy"] == pytest.approx(counts.trace() / counts.sum(), abs=1e-4)


def test_the_evaluation_names_model_engine_and_data(evaluation, model, record):
    assert evaluation["model"] == f"trained@{sha256(model.weights)[:12]}"
    assert evaluation["engine"]["name"] == "openvino"
    assert evaluation["data_sha256"] == record["data"]["files_sha256"]


def test_the_evaluation_answers_the_documentations_examples(evaluation):
    examples = evaluation["documentation_examples"]
    assert [example["text"] for example in examples] == list(RESERVED_TEXTS)
    assert all(example["label"] in LABELS for example in examples)
    assert all(1 / 3 <= example["score"] <= 1 for example in examples)


def test_evaluate_agrees_with_the_evaluation_after_training(sentiment, evaluation, model, data):
    files = [f"--data={path}" for path in data]
    done = sentiment("evaluate", model.folder, *files, f"--held-out={HELD_OUT}")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)["models"]
    measured_alone = without_speed(entry)
    del measured_alone["mistakes"], measured_alone["uncertain"]  # texts, so not in the folder
    assert measured_alone == {name: without_speed(evaluation)[name] for name in measured_alone}


@pytest.mark.parametrize(
    ("files", "held_out", "same"), [(2, HELD_OUT, True), (1, HELD_OUT, False), (2, 0.3, False)]
)
def test_evaluate_says_whether_the_texts_were_held_out_from_training(
    sentiment, model, data, files, held_out, same
):
    chosen = [f"--data={path}" for path in data[:files]]
    done = sentiment("evaluate", model.folder, *chosen, f"--held-out={held_out}")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)["models"]
    assert entry["held_out_from_its_training"] is same
    assert ("was trained on another selection of texts" in done.stderr) is not same


def without_speed(evaluation):
    parts = {
        name: {key: value for key, value in part.items() if key != "texts_per_s"}
        for name, part in evaluation["parts"].items()
    }
    return evaluation | {"parts": parts}


# Failures


FAILURES = {
    "base-of-another-digest": (3, "/base: the weights have SHA-256 {base_sha256}, not 0000"),
    "no-base": (3, "/no-base' is neither a folder nor a Hub name"),
    "no-base-with-digest": (3, "/no-base' is neither a folder nor a Hub name"),
    "base-without-weights": (3, "/base-without-weights: neither model.safetensors nor"),
    "base-with-damaged-weights": (3, "/base-with-damaged-weights: cannot be fine-tuned: "),
    "base-with-damaged-tokenizer": (3, "/tokenizer.json: not a tokenizer file: "),
    "unknown-label": (4, "/unknown-label.csv:3: unknown label 'good'"),
    "no-data": (4, "/no-data.csv: No such file or directory"),
    "too-little-data": (4, "too few texts"),
    "diverged": (3, "the loss is not finite at step "),
    "output-is-a-file": (2, "/unknown-label.csv is a file; --output names a folder"),
    "evaluate-no-model": (3, "/no-model"),
    "evaluate-no-data": (4, "/no-data.csv: No such file or directory"),
}


@pytest.fixture(scope="module")
def failures(base, data, folder, repository):
    """Exit code and standard error of each command line that must fail."""
    for damage in ("base-without-weights", "base-with-damaged-weights"):
        shutil.copytree(base, folder / damage)
        (folder / damage / "model.safetensors").unlink()
    (folder / "base-with-damaged-weights" / "model.safetensors").write_bytes(b"damaged")
    shutil.copytree(base, folder / "base-with-damaged-tokenizer")
    (folder / "base-with-damaged-tokenizer" / "tokenizer.json").write_text("{}")
    (folder / "unknown-label.csv").write_text("text,label\nSales rose,positive\nUp,good\n")
    (folder / "too-little-data.csv").write_text("text,label\nSales rose,positive\n")

    def train(base="base", data=data, output="never", **recipe):
        return train_arguments(folder / base, data, folder / output, **recipe)

    def on(name):
        return [folder / f"{name}.csv"]

    commands = {
        "base-of-another-digest": train(base_sha256="0" * 64),
        "no-base": train("no-base"),
        "no-base-with-digest": train("no-base", base_sha256="0" * 64),
        "base-without-weights": train("base-without-weights"),
        "base-with-damaged-weights": train("base-with-damaged-weights"),
        "base-with-damaged-tokenizer": train("base-with-damaged-tokenizer"),
        "unknown-label": train(data=[*data, *on("unknown-label")]),
        "no-data": train(data=on("no-data")),
        "too-little-data": train(data=on("too-little-data")),
        "diverged": train(learning_rate=1e9, epochs=1),
        "output-is-a-file": train(output="unknown-label.csv"),
        "evaluate-no-model": ["evaluate", f"{folder}/no-model", f"--data={data[0]}"],
        "evaluate-no-data": ["evaluate", "compact", f"--data={folder}/no-data.csv"],
    }
    assert commands.keys() == FAILURES.keys()
    done = run(["-c", RUN_EACH, json.dumps(list(commands.values()))], cwd=repository)
    assert done.returncode == 0, done.stderr
    *said, rest = done.stderr.split("-- exit ")
    outputs = [said[0], *(each.partition("\n")[2] for each in said[1:])]
    codes = [each.partition("\n")[0] for each in [*said[1:], rest]]
    return dict(zip(commands, zip(codes, outputs, strict=True), strict=True))


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line_and_its_own_exit_code(failures, base, name):
    expected_code, message = FAILURES[name]
    code, output = failures[name]
    news = ("epoch ", "texts with two labels")
    lines = [line for line in output.splitlines() if not line.startswith(news)]
    assert len(lines) == 1, output
    assert lines[0].startswith("error: ")
    assert message.format(base_sha256=sha256(base / "model.safetensors")) in output
    assert code == str(expected_code)


def test_what_fails_leaves_no_folder_behind(failures, folder):
    assert failures
    assert not (folder / "never").exists()


def test_an_error_ends_the_process_with_its_code(sentiment, base, data, folder):
    done = sentiment(*train_arguments(base, data, folder / "never", base_sha256="0" * 64))
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {base}: the weights have SHA-256")
