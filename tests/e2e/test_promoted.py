"""A server of a promoted folder: calibrated scores, and no other folder than the one promoted."""

import json
import shutil
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from sentiment.manifest import file_sha256, write_manifest
from sentiment.models import COMPACT_FOLDER
from sentiment.predictions import LABELS
from sentiment.training.classifier import Classifier
from tests.conftest import REPOSITORY
from tests.e2e.conftest import environment, running_server

TEMPERATURE = 2.5
TEXTS = ["Profit rose sharply.", "Sales collapsed.", "The office is in Espoo."]


def seal(folder, temperature):
    """Have the bundled model's folder as if it were promoted with this temperature."""
    shutil.copytree(COMPACT_FOLDER, folder)
    digest = file_sha256(folder / "model.safetensors")
    (folder / "temperature.json").write_text(
        json.dumps({"temperature": temperature, "weights_sha256": digest})
    )
    write_manifest(folder)
    return folder


def test_scores_are_calibrated_labels_are_not_touched_and_info_shows_it(tmp_path):
    folder = seal(tmp_path / "calibrated", TEMPERATURE)
    with Classifier.open(str(folder)) as classifier:
        logits = classifier.logits(TEXTS).astype(float)
        evaluated = classifier.probabilities(TEXTS)
    with running_server(SENTIMENT_MODEL=str(folder)) as server:
        model = ask(server, "/info")["model"]
        answers = ask(server, "/?top_k=3", TEXTS)
    assert model["temperature"] == TEMPERATURE
    expected = np.exp(logits / TEMPERATURE)
    expected /= expected.sum(axis=1, keepdims=True)
    served = np.array(
        [[{each["label"]: each["score"] for each in row}[label] for label in LABELS]
         for row in answers]
    )  # fmt: skip
    assert np.abs(served - expected).max() <= 1e-5
    assert np.abs(served - evaluated).max() <= 1e-6
    assert (served.argmax(axis=1) == logits.argmax(axis=1)).all()


def ask(server, path, body=None):
    request = urllib.request.Request(
        server.url + path,
        data=body and json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def damage_weights(folder):
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))


def swap_labels(folder):
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "negative", "1": "positive", "2": "neutral"}
    (folder / "config.json").write_text(json.dumps(config))


def move_temperature(folder):
    path = folder / "temperature.json"
    path.write_text(path.read_text().replace("2.5", "2.4"))


def bring_other_weights(folder):
    damage_weights(folder)
    (folder / "manifest.json").unlink()


REFUSED = {
    damage_weights: "model.safetensors: not the file that manifest.json names",
    swap_labels: "config.json: not the file that manifest.json names",
    move_temperature: "temperature.json: not the file that manifest.json names",
    bring_other_weights: "temperature.json: fitted for other weights",
}


@pytest.mark.parametrize("damage", REFUSED)
def test_another_folder_than_the_one_promoted_ends_the_start_in_one_line(damage, tmp_path):
    folder = seal(tmp_path / "damaged", TEMPERATURE)
    damage(folder)
    done = subprocess.run(
        [sys.executable, "-m", "sentiment", "serve", "--port", "0"],
        cwd=REPOSITORY,
        env=environment(SENTIMENT_MODEL=str(folder)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    told = [line for line in done.stderr.splitlines() if f"{folder / REFUSED[damage]}" in line]
    assert len(told) == 1
    assert "Traceback" not in done.stderr
