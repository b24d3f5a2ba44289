"""A start that cannot be: its exit code, and a last line that says why.

Kubernetes shows the end of a container's log (`terminationMessagePolicy: FallbackToLogsOnError`),
so that line must be the last.
"""

import json
import shutil
import subprocess
import sys

import pytest

from sentiment.models import COMPACT_FOLDER
from tests.conftest import REPOSITORY
from tests.e2e.conftest import environment

CANNOT_START = 3
"""Exit code, as README.md has it."""


def last_line(**settings):
    """Start a server that is expected to end by itself; return its exit code and last line."""
    done = subprocess.run(
        [sys.executable, "-m", "sentiment", "serve", "--port", "0"],
        cwd=REPOSITORY,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    # What Kubernetes keeps of the log.
    assert len(line) < 2048
    return done.returncode, json.loads(line)["message"] if line.startswith("{") else line


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled model with its manifest."""
    return shutil.copytree(COMPACT_FOLDER, tmp_path / "model")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"SENTIMENT_TREADS": "2"}, "error: unknown setting SENTIMENT_TREADS; known are "),
        ({"SENTIMENT_THREADS": "0"}, "error: SENTIMENT_THREADS='0': Input should be 'auto' or "),
        ({"SENTIMENT_METRICS_PORT": "http"}, "error: SENTIMENT_METRICS_PORT='http': "),
    ],
)
def test_a_wrong_setting(setting, said):
    code, line = last_line(**setting)
    assert code == CANNOT_START
    assert line.startswith(said)


def test_a_model_folder_that_is_not_there():
    code, line = last_line(SENTIMENT_MODEL="/models/absent")
    assert code == CANNOT_START
    assert line.startswith("cannot start: '/models/absent' is neither a folder nor a Hub name")


def test_a_folder_without_weights(folder):
    for name in ("manifest.json", "model.safetensors"):
        (folder / name).unlink()
    code, line = last_line(SENTIMENT_MODEL=str(folder))
    assert code == CANNOT_START
    assert line == (
        f"cannot start: {folder}: neither model.safetensors nor pytorch_model.bin lies there"
    )


def test_a_manifest_that_names_other_weights(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.safetensors"]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, line = last_line(SENTIMENT_MODEL=str(folder))
    assert code == CANNOT_START
    assert line.startswith(f"cannot start: {folder}/model.safetensors: not the file that manifest")


def test_a_precision_that_no_cpu_has():
    code, line = last_line(SENTIMENT_PRECISION="fp16")
    assert code == CANNOT_START
    assert line.startswith("cannot start: fp16 is for GPUs")
