"""`prepare`, `quantize` and `evaluate --precision`, as a user types them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment.cli import main


@pytest.fixture
def sentiment(repository, tmp_path):
    """Run the command line with a cache of its own."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "sentiment", *map(str, arguments)],
            cwd=repository,
            env={**os.environ, "SENTIMENT_CACHE_FOLDER": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_prepare_keeps_what_the_next_start_needs(sentiment, finbert_folder, tmp_path):
    done = sentiment("prepare", finbert_folder)
    assert done.returncode == 0
    assert f"is ready in {finbert_folder}" in done.stdout
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".safetensors"]


def test_quantize_keeps_the_calibration_for_any_folder_of_the_model(sentiment, tmp_path):
    (tmp_path / "texts").write_text("Profit rose.\nThe company is based in Espoo.\nSales fell.\n")
    done = sentiment("quantize", "compact", "--texts", tmp_path / "texts")
    assert done.returncode == 0
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.name.endswith(".int8.safetensors")
    assert done.stdout == f"written to {kept}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["prepare", "/absent"], 3, "neither a folder nor a Hub name"),
        (["quantize", "/absent"], 3, "neither a folder nor a Hub name"),
        (["quantize", "compact", "--texts", "/absent"], 4, "/absent: No such file"),
        (["quantize", "compact", "--output", "/proc/x"], 5, "/proc/x: cannot be written"),
        (
            ["evaluate", "compact", "--data", "/absent", "--precision", "fp64"],
            2,
            "--precision fp64 is none of auto, fp32",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(sentiment, arguments, code, said):
    done = sentiment(*arguments)
    assert done.returncode == code
    lines = [line for line in done.stderr.splitlines() if not line.startswith("calibrating")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert said in lines[0]


@pytest.mark.parametrize("output", [".", "..", "/", "./", "sub/..", "{here}", "{here}/../x/.."])
def test_training_does_not_write_over_the_folder_that_it_runs_in(
    monkeypatch, capsys, tmp_path, output
):
    monkeypatch.chdir(tmp_path)
    given = output.replace("{here}", str(tmp_path))
    arguments = ["train", "--data=no.csv", "--base=/no-base", f"--output={given}"]
    monkeypatch.setattr(sys, "argv", ["sentiment", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --output {Path(given)} is no name of a new folder, but /")


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["train", "--data=no.csv", "--base=/no-base", "--output=new"], "matplotlib"),
        (["calibrate", "compact", "--data=no.csv", "--output=new"], "matplotlib"),
        (["evaluate", "compact", "--data=no.csv"], "matplotlib"),
    ],
)
def test_a_library_that_is_not_installed_is_no_wrong_option(
    monkeypatch, capsys, arguments, missing
):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == missing else found(name)
    )
    monkeypatch.setattr(sys, "argv", ["sentiment", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {missing} not installed: pip install -r requirements-train.txt"
