"""The model that an image is given: `deploy/image/weights.py`, as weights.sh calls it."""

import importlib.util
import json
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from sentiment.manifest import file_sha256, verify_manifest
from sentiment.models import COMPACT_FOLDER, FINBERT, resolve_model
from sentiment.origin import Origin, read_origin
from tests.integration.test_hub import Hub

COMMIT = "a" * 40


@pytest.fixture
def weights(repository, monkeypatch, capsys):
    """Run the program as weights.sh does, in this process, which has torch already."""
    source = repository / "deploy/image/weights.py"
    specification = importlib.util.spec_from_file_location("weights", source)
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["weights.py", *map(str, arguments)])
        code = 0
        try:
            program.main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


@pytest.fixture
def weights_process(repository):
    """Run it in a process of its own, for what is read when a library is imported."""

    def run(*arguments, libraries="", **variables):
        return subprocess.run(
            [sys.executable, "deploy/image/weights.py", *map(str, arguments)],
            cwd=repository,
            env={"PYTHONPATH": f"{repository}:{libraries}", **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def assert_refused(done, code, said):
    assert done.returncode == code
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line


def test_the_bundled_model_is_laid_down_with_its_manifest_and_where_it_is_from(weights, tmp_path):
    folder = tmp_path / "model"
    done = weights("fetch", "compact", folder)
    digest = file_sha256(COMPACT_FOLDER / "model.safetensors")
    assert done.returncode == 0, done.stderr
    assert digest in done.stdout
    named = verify_manifest(folder)
    assert named["model.safetensors"] == digest
    assert "origin.json" in named
    assert read_origin(folder) == Origin("compact", digest[:12], digest, digest)
    assert resolve_model(str(folder)).reference == f"compact@{digest[:12]}"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((FINBERT,), 2, "neither a folder nor a Hub name with its commit"),
        ((f"{FINBERT}@main",), 2, "neither a folder nor a Hub name with its commit"),
        ((f"{FINBERT}@{COMMIT}",), 2, "needs MODEL_SHA256, the digest of its weights"),
        (("auto",), 2, "neither a folder nor a Hub name with its commit"),
        (("models",), 3, "config.json: No such file"),
        (("compact", "--sha256", "0" * 64), 3, "compact: the SHA-256 of its weights is "),
    ],
)
def test_what_is_not_named_exactly_or_is_another_is_refused(
    weights, tmp_path, arguments, code, said
):
    assert_refused(weights("fetch", arguments[0], tmp_path / "model", *arguments[1:]), code, said)
    assert not (tmp_path / "model").exists()


def test_a_pickle_of_the_hub_becomes_the_same_tensors_in_a_form_that_needs_no_torch(
    weights, weights_process, finbert_folder, tmp_path
):
    files = {path.name: path.read_bytes() for path in finbert_folder.iterdir()}
    digest = file_sha256(finbert_folder / "pytorch_model.bin")
    folder = tmp_path / "model"
    with Hub().running() as hub:
        model = f"{FINBERT}@{hub.publish(FINBERT, files)}"
        elsewhere = {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": hub.url}
        fetched = weights_process("fetch", model, folder, "--sha256", digest, **elsewhere)
    assert fetched.returncode == 0, fetched.stderr
    converted = weights("convert", folder)
    assert converted.returncode == 0, converted.stderr
    assert not (folder / "pytorch_model.bin").exists()
    assert {"model.safetensors", "origin.json", "vocab.txt"} <= verify_manifest(folder).keys()
    assert read_origin(folder).published_sha256 == digest
    assert resolve_model(str(folder)).reference == model
    before = torch.load(finbert_folder / "pytorch_model.bin", weights_only=True)
    after = load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not there')")
    tried = weights_process("try", folder, libraries=tmp_path)
    assert tried.returncode == 0, tried.stderr
    assert " answers " in tried.stdout


def test_what_holds_for_a_pickle_alone_is_not_carried_over_to_other_weights(
    weights, finbert_folder, tmp_path
):
    folder = shutil.copytree(finbert_folder, tmp_path / "model")
    digest = file_sha256(folder / "pytorch_model.bin")
    record = {"temperature": 1.5, "weights_sha256": digest}
    (folder / "temperature.json").write_text(json.dumps(record))
    assert_refused(weights("convert", folder), 3, "temperature.json would not hold for converted")
    assert (folder / "pytorch_model.bin").exists()


def test_a_pickle_with_code_is_refused_unrun(weights, finbert_folder, tmp_path):
    class Canary:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    folder = shutil.copytree(finbert_folder, tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(), protocol=2))
    assert_refused(weights("convert", folder), 3, "pytorch_model.bin: cannot be read")
    assert not (tmp_path / "ran").exists()
