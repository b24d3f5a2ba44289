"""Nothing that lies in a model folder runs: every trap known is laid, and none springs.

Each folder is opened by a process of its own, under an audit hook that reports what code
from a model would do first: be imported, be unpickled, start a program, call home.
"""

import json
import pickle
import shutil
import subprocess
import sys

import pytest
from starlette.testclient import TestClient

from sentiment import Settings
from sentiment.api.app import create_app
from sentiment.manifest import renew_entry
from sentiment.models import COMPACT_FOLDER
from tests.contract import NEGATIVE, POSITIVE

OPEN = """
import json, os, sys
from pathlib import Path

from sentiment.engines import open_engine
from sentiment.errors import ModelError
from sentiment.models import resolve_model
from sentiment.tokenization import load_tokenizer

folder, engine = Path(sys.argv[1]), sys.argv[2]
if engine:  # what libraries do while they are imported is their own
    __import__(f"sentiment.engines.{engine}")
sprung = []

def watch(event, arguments):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect",
                 "socket.getaddrinfo", "pickle.find_class"):
        sprung.append(f"{event} {arguments}")
    elif event == "import" and "evil" in str(arguments):
        sprung.append(f"{event} {arguments[0]}")
    elif event == "open" and str(arguments[0]).endswith("evil.py"):
        sprung.append(f"{event} {arguments[0]}")

sys.addaudithook(watch)
try:
    model = resolve_model(str(folder))
    open_engine(model, engine=engine or "auto", device="cpu", threads=1)
    load_tokenizer(model.folder)
    said = ""
except ModelError as error:
    said = str(error)
print(json.dumps({"said": said, "sprung": sprung}))
"""


class Trap:
    """Unpickling this creates the file `sprung`."""

    def __reduce__(self):
        return open, ("sprung", "w")


@pytest.fixture
def trapped(finbert_folder, tmp_path):
    """A small model with every file in it that some library has run at some time."""
    folder = tmp_path / "model"
    shutil.copytree(finbert_folder, folder)
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\n"
    for name in ("modeling_evil.py", "tokenization_evil.py", "configuration_evil.py", "evil.py",
                 "handler.py", "__init__.py", "sitecustomize.py", "setup.py",
                 "custom_generate/generate.py"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(trap)
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "scheduler.pt", "model.pkl"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    return folder


@pytest.fixture
def opened(trapped, repository, tmp_path):
    """Open the folder in a process of its own; return what it said of it."""

    def opened(engine):
        done = subprocess.run(
            [sys.executable, "-c", OPEN, str(trapped), engine],
            cwd=tmp_path,
            env={"PYTHONPATH": str(repository), "HF_HOME": str(tmp_path / "huggingface")},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        report = json.loads(done.stdout.splitlines()[-1])
        assert report["sprung"] == []
        assert not list(tmp_path.rglob("sprung"))
        return report["said"]

    return opened


def change(folder, file, **members):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


@pytest.mark.parametrize("engine", ["packed", pytest.param("padded", marks=pytest.mark.nightly)])
def test_files_that_nobody_asked_for_lie_still(trapped, opened, engine):
    change(trapped, "tokenizer_config.json", chat_template="{{ cycler.__init__.__globals__ }}")
    assert opened(engine) == ""


AUTO_MAP = {"AutoModelForSequenceClassification": "modeling_evil.Evil"}


@pytest.mark.parametrize(
    ("file", "members"),
    [
        ("config.json", {"auto_map": AUTO_MAP | {"AutoConfig": "configuration_evil.Evil"}}),
        ("config.json", {"_attn_implementation_internal": "evil/kernels"}),
        ("config.json", {"_experts_implementation": "evil/kernels"}),
        ("config.json", {"text_config": {"auto_map": AUTO_MAP}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tokenization_evil.E", None]}}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_a_model_that_names_code_is_refused_before_anything_opens(trapped, opened, file, members):
    change(trapped, file, **members)
    said = opened("")
    assert file in said
    assert "names code" in said


@pytest.mark.parametrize("engine", ["packed", pytest.param("padded", marks=pytest.mark.nightly)])
def test_weights_that_would_run_code_are_refused_unrun(trapped, opened, engine):
    (trapped / "pytorch_model.bin").write_bytes(pickle.dumps({"bert.weight": Trap()}))
    said = opened(engine)
    assert "pytorch_model.bin: cannot be loaded" in said
    assert "\n" not in said


def test_a_folder_without_a_tokenizer_is_named(trapped, opened):
    (trapped / "vocab.txt").unlink()
    said = opened("packed")
    assert str(trapped) in said
    assert "neither tokenizer.json nor vocab.txt" in said


def test_labels_are_those_of_the_model_in_its_own_order(tmp_path):
    folder = tmp_path / "permuted"
    shutil.copytree(COMPACT_FOLDER, folder)
    change(folder, "config.json", id2label={"0": "up", "1": "Down", "2": "flat"})
    renew_entry(folder / "config.json")
    with TestClient(create_app(Settings(model=str(folder), threads=2))) as client:
        answers = client.post("/", json=[POSITIVE, NEGATIVE]).json()
        assert [answer["label"] for answer in answers] == ["up", "down"]
        assert client.get("/info").json()["model"]["labels"] == ["up", "down", "flat"]
