"""Models from a Hub on this machine, each resolved by a process with a cache of its own.

`huggingface_hub` reads its settings when it is imported; hence the processes.
"""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sentiment.models import FINBERT

DECISION_S = 5.0
"""What `auto` promises; the imports are measured here too."""

RESOLVE = """
import json, sys, time
from sentiment.errors import ModelError
from sentiment.logs import configure_logging
from sentiment.models import resolve_model

configure_logging("info")
for name in sys.argv[1:]:
    began_at = time.perf_counter()
    try:
        model = resolve_model(name)
        outcome = {
            "reference": model.reference,
            "weights": model.weights.name,
            "folder": sorted(path.name for path in model.folder.iterdir()),
            "labels": model.labels,
            "temperature": model.temperature,
        }
    except ModelError as error:
        outcome = {"error": str(error)}
    print(json.dumps(outcome | {"elapsed_s": time.perf_counter() - began_at}))
"""

CONFIG = {"model_type": "bert", "id2label": {"0": "positive", "1": "negative", "2": "neutral"}}
SMALL_FILES = {
    "README.md": b"A card.",
    "config.json": json.dumps(CONFIG).encode(),
    "special_tokens_map.json": b"{}",
    "tokenizer_config.json": b'{"do_lower_case": true}',
    "vocab.txt": b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n",
}
OTHER_WEIGHTS = {
    "flax_model.msgpack": b"flax",
    "onnx/model.onnx": b"onnx",
    "tf_model.h5": b"tensorflow",
}
PICKLED = SMALL_FILES | OTHER_WEIGHTS | {"pytorch_model.bin": b"pickle"}
"""As ProsusAI/finbert is laid out."""
SAFE = PICKLED | {"model.safetensors": b"safetensors", "tokenizer.json": b"{}"}
WANTED = ["config.json", "pytorch_model.bin", "tokenizer_config.json", "vocab.txt"]
"""Of `PICKLED`."""

REPOSITORY_PATH = r"(?P<name>[^/]+/[^/]+)"
ROUTES = {
    "info": re.compile(rf"/api/models/{REPOSITORY_PATH}(/revision/(?P<revision>[^/]+))?"),
    "tree": re.compile(rf"/api/models/{REPOSITORY_PATH}/tree/(?P<revision>[^/]+)"),
    "file": re.compile(rf"/{REPOSITORY_PATH}/resolve/(?P<revision>[^/]+)/(?P<file>.+)"),
}


class Hub:
    """What `huggingface_hub` needs of the Hub, and a record of what it asked for."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """`METHOD /path` of each request."""
        self.broken_with: int | None = None
        """Status of every answer, if set."""
        self._commits: dict[tuple[str, str], str] = {}
        self._files: dict[tuple[str, str], dict[str, bytes]] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub._answer(self)

            do_HEAD = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def publish(self, name: str, files: dict[str, bytes], *, revision: str = "main") -> str:
        """Put `files` at `revision` and return the commit."""
        commit = hashlib.sha1(repr((name, sorted(files.items()))).encode()).hexdigest()
        self._commits[name, revision] = self._commits[name, commit] = commit
        self._files[name, commit] = files
        return commit

    def downloads(self) -> list[str]:
        """Names of the files whose content was asked for."""
        matches = (re.match(r"GET /[^/]+/[^/]+/resolve/\w+/(.+)", each) for each in self.requests)
        return sorted(match[1] for match in matches if match)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(f"{request.command} {request.path}")
        if self.broken_with:
            return self._send(request, self.broken_with, b"broken")
        path = request.path.partition("?")[0]
        matches = {route: pattern.fullmatch(path) for route, pattern in ROUTES.items()}
        route, match = next((each for each in matches.items() if each[1]), (None, None))
        if match is None:
            return self._refuse(request, "EntryNotFound")
        name, revision = match["name"], match["revision"] or "main"
        if not any(known == name for known, _ in self._commits):
            return self._refuse(request, "RepoNotFound")
        if (name, revision) not in self._commits:
            return self._refuse(request, "RevisionNotFound")
        commit = self._commits[name, revision]
        files = self._files[name, commit]
        if route == "file":
            if match["file"] not in files:
                return self._refuse(request, "EntryNotFound", commit=commit)
            content = files[match["file"]]
            return self._send(request, 200, content, etag=_digest(content), commit=commit)
        if route == "info":
            listing = {"id": name, "sha": commit, "siblings": [{"rfilename": f} for f in files]}
        else:
            listing = [
                {"type": "file", "path": file, "size": len(content), "oid": _digest(content)}
                for file, content in files.items()
            ]
        return self._send(request, 200, json.dumps(listing).encode())

    def _refuse(self, request: BaseHTTPRequestHandler, code: str, *, commit: str = "") -> None:
        body = json.dumps({"error": code}).encode()
        self._send(request, 404, body, error=code, commit=commit)

    @staticmethod
    def _send(
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        *,
        etag: str = "",
        commit: str = "",
        error: str = "",
    ) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        optional = {"ETag": f'"{etag}"' * bool(etag), "X-Repo-Commit": commit}
        for name, value in (optional | {"X-Error-Code": error, "X-Error-Message": error}).items():
            if value:
                request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub():
    with Hub().running() as hub:
        yield hub


@pytest.fixture
def refusing_url():
    """An address where nobody listens: bound, so that no other program takes it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def silent_url():
    """An address that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "huggingface"


@pytest.fixture
def resolve(home, repository):
    """Resolve models in one new process; return an outcome for each, and its warnings."""

    def resolve(*models: str, url: str, **variables: str) -> tuple[list[dict], list[str]]:
        done = run_python(RESOLVE, *models, cwd=repository, home=home, url=url, **variables)
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        outcomes = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(outcomes) == len(models)
        return outcomes, [line["message"] for line in lines if line["level"] != "INFO"]

    return resolve


def run_python(script, *arguments, cwd: Path, home: Path, url: str, **variables: str):
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env=kept | {"HF_HOME": str(home), "HF_ENDPOINT": url} | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


# The Hub answers


def test_a_named_model_is_fetched_at_the_hubs_commit_without_what_nobody_reads(hub, resolve):
    pickled, safe = hub.publish("acme/pickled", PICKLED), hub.publish("acme/safe", SAFE)
    outcomes, warnings = resolve("acme/pickled", "acme/safe", url=hub.url)
    safe_files = sorted({*WANTED, "model.safetensors", "tokenizer.json"} - {"pytorch_model.bin"})
    assert [outcome["reference"] for outcome in outcomes] == [
        f"acme/pickled@{pickled}",
        f"acme/safe@{safe}",
    ]
    assert [outcome["folder"] for outcome in outcomes] == [WANTED, safe_files]
    assert hub.downloads() == sorted([*WANTED, *safe_files])
    assert [outcome["weights"] for outcome in outcomes] == [
        "pytorch_model.bin",
        "model.safetensors",
    ]
    assert outcomes[0]["labels"] == ["positive", "negative", "neutral"]
    assert warnings == []


def test_a_revision_may_be_named_and_an_unknown_one_is_refused(hub, resolve):
    other = PICKLED | {"pytorch_model.bin": b"another pickle"}
    commits = {
        "main": hub.publish("acme/model", PICKLED),
        "v2": hub.publish("acme/model", other, revision="v2"),
    }
    models = ["acme/model@v2", f"acme/model@{commits['v2']}", "acme/model", "acme/model@v3"]
    outcomes, _ = resolve(*models, url=hub.url)
    assert [outcome.get("reference") for outcome in outcomes] == [
        f"acme/model@{commits['v2']}",
        f"acme/model@{commits['v2']}",
        f"acme/model@{commits['main']}",
        None,
    ]
    assert_one_line(outcomes[3]["error"], "acme/model@v3", "404")


def test_the_hubs_newer_commit_replaces_the_cached_one(hub, resolve):
    hub.publish("acme/model", PICKLED)
    resolve("acme/model", url=hub.url)
    newer = hub.publish("acme/model", PICKLED | {"pytorch_model.bin": b"another pickle"})
    (outcome,), _ = resolve("acme/model", url=hub.url)
    assert outcome["reference"] == f"acme/model@{newer}"


def test_an_unknown_model_is_one_line_and_never_replaced_by_another(hub, resolve):
    hub.publish(FINBERT, PICKLED)
    outcomes, _ = resolve("acme/gone", "gone", url=hub.url)
    assert_one_line(outcomes[0]["error"], "acme/gone", "404")
    assert_one_line(outcomes[1]["error"], "gone")


def test_auto_fetches_finbert_when_the_hub_has_it(hub, resolve):
    commit = hub.publish(FINBERT, PICKLED)
    (outcome,), warnings = resolve("auto", url=hub.url)
    assert outcome["reference"] == f"{FINBERT}@{commit}"
    assert hub.downloads() == WANTED
    assert warnings == []


def promoted(**changed: bytes) -> dict[str, bytes]:
    """Return what training publishes, with files changed after their digests were taken."""
    temperature = {"temperature": 1.5, "weights_sha256": sha256(SAFE["model.safetensors"])}
    files = SAFE | {
        "int8.safetensors": b"scales",
        "temperature.json": json.dumps(temperature).encode(),
        "training.json": b"{}",
    }
    entries = {
        name: {"bytes": len(content), "sha256": sha256(content)}
        for name, content in files.items()
        if name not in {*OTHER_WEIGHTS, "README.md"}
    }
    manifest = {"sentiment_manifest": 1, "files": entries}
    files["manifest.json"] = json.dumps(manifest).encode()
    return files | {name.replace("_json", ".json"): value for name, value in changed.items()}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_promotion_has_put_beside_the_weights_is_fetched_before_them(hub, resolve):
    hub.publish("acme/model", promoted())
    (outcome,), warnings = resolve("acme/model", url=hub.url)
    assert outcome["temperature"] == 1.5
    beside = {"temperature.json", "manifest.json", "int8.safetensors"}
    assert beside <= set(hub.downloads())
    assert "training.json" not in hub.downloads()
    order = [request.rpartition("/")[2] for request in hub.requests if request.startswith("GET")]
    assert max(map(order.index, beside)) < order.index("model.safetensors")
    assert len(hub.downloads()) == len(set(hub.downloads()))
    assert warnings == []


def test_a_file_that_is_not_the_promoted_one_is_refused_from_the_hub_too(hub, resolve):
    hub.publish("acme/model", promoted(config_json=json.dumps(CONFIG, indent=1).encode()))
    (outcome,), _ = resolve("acme/model", url=hub.url)
    assert_one_line(outcome["error"], "config.json", "not the file that manifest.json names")


# The cache answers


def test_a_second_start_without_the_hub_serves_from_the_cache(hub, refusing_url, resolve):
    models = ["acme/model", "acme/model@v2"]
    hub.publish("acme/model", PICKLED)
    hub.publish("acme/model", SAFE, revision="v2")
    before, _ = resolve(*models, url=hub.url)
    after, warnings = resolve(*models, url=refusing_url)
    assert [each.get("reference") for each in after] == [each["reference"] for each in before]
    assert len(warnings) == 2
    for warning, outcome in zip(warnings, before, strict=True):
        assert "out of reach" in warning
        assert outcome["reference"].rpartition("@")[2] in warning


def test_a_pinned_commit_in_the_cache_is_served_without_a_request(hub, resolve):
    pinned = f"acme/model@{hub.publish('acme/model', PICKLED)}"
    (before,), _ = resolve(pinned, url=hub.url)
    hub.requests.clear()
    (after,), warnings = resolve(pinned, url=hub.url)
    assert before["reference"] == after["reference"] == pinned
    assert hub.requests == []
    assert warnings == []


DOWNLOAD = "import huggingface_hub, sys; huggingface_hub.snapshot_download(sys.argv[1])"


@pytest.mark.parametrize("by", ["an-earlier-auto", "another-program"])
def test_auto_serves_a_cached_finbert_without_a_request(hub, home, repository, resolve, by):
    commit = hub.publish(FINBERT, PICKLED)
    if by == "an-earlier-auto":
        resolve("auto", url=hub.url)
    else:
        run_python(DOWNLOAD, FINBERT, cwd=repository, home=home, url=hub.url)
    hub.requests.clear()
    (outcome,), warnings = resolve("auto", url=hub.url)
    assert outcome["reference"] == f"{FINBERT}@{commit}"
    assert hub.requests == []
    assert warnings == []


def test_a_broken_hub_does_not_take_away_the_cached_model(hub, resolve):
    commit = hub.publish("acme/model", PICKLED)
    resolve("acme/model", url=hub.url)
    hub.broken_with = 503
    (outcome,), warnings = resolve("acme/model", url=hub.url)
    assert outcome.get("reference") == f"acme/model@{commit}"
    assert len(warnings) == 1


def test_offline_mode_serves_the_cache_and_asks_nobody(hub, resolve):
    commit = hub.publish("acme/model", PICKLED)
    resolve("acme/model", url=hub.url)
    hub.publish(FINBERT, PICKLED)
    hub.requests.clear()
    models = ["acme/model", FINBERT, "auto"]
    (cached, missing, auto), _ = resolve(*models, url=hub.url, HF_HUB_OFFLINE="1")
    assert cached.get("reference") == f"acme/model@{commit}"
    assert_one_line(missing["error"], FINBERT, "not in the local cache", "offline")
    assert auto["reference"].startswith("compact@")
    assert hub.requests == []


def test_an_interrupted_download_is_not_taken_for_a_model(
    hub, home, repository, refusing_url, resolve
):
    commit = hub.publish(FINBERT, PICKLED)
    run_python(DOWNLOAD, FINBERT, cwd=repository, home=home, url=hub.url)
    (weights,) = home.rglob("snapshots/*/pytorch_model.bin")
    weights.resolve().rename(f"{weights.resolve()}.incomplete")
    weights.unlink()
    (named, auto), _ = resolve(FINBERT, "auto", url=refusing_url)
    assert_one_line(named["error"], FINBERT, "not in the local cache", "out of reach")
    assert auto["reference"].startswith("compact@")
    hub.requests.clear()
    (completed,), _ = resolve("auto", url=hub.url)
    assert completed["reference"] == f"{FINBERT}@{commit}"
    assert hub.downloads() == ["pytorch_model.bin"]


# Nobody answers


def test_a_named_model_that_nobody_has_is_one_line(refusing_url, resolve):
    (outcome,), warnings = resolve("acme/model", url=refusing_url)
    assert_one_line(outcome["error"], "acme/model", "not in the local cache", "out of reach")
    assert warnings == []


@pytest.mark.parametrize("address", ["refusing_url", "silent_url"])
def test_auto_falls_back_in_time_when_the_hub_is_out_of_reach(request, resolve, address):
    (auto,), warnings = resolve("auto", url=request.getfixturevalue(address))
    assert auto["reference"].startswith("compact@")
    assert auto["elapsed_s"] < DECISION_S
    (warning,) = warnings
    assert_one_line(warning, "bundled compact model", FINBERT, "out of reach")


@pytest.mark.parametrize("status", [401, 429, 503])
def test_auto_falls_back_in_time_when_the_hub_answers_with_an_error(hub, resolve, status):
    hub.broken_with = status
    (auto,), warnings = resolve("auto", url=hub.url)
    assert auto["reference"].startswith("compact@")
    assert auto["elapsed_s"] < DECISION_S
    (warning,) = warnings
    assert_one_line(warning, "bundled compact model", FINBERT)


def assert_one_line(message: str, *parts: str) -> None:
    assert "\n" not in message
    for part in parts:
        assert part in message
