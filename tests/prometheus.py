"""A real Prometheus: its checker, and a server that scrapes what a test tells it to."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

FOLDER = Path(__file__).parent.parent / "deploy/prometheus"


def tool(name: str) -> str:
    """Return the path of `prometheus` or `promtool`."""
    if path := shutil.which(name):
        return path
    reason = f"no {name}: apt-get install prometheus"
    if os.environ.get("CI"):
        pytest.fail(reason)  # there it must not go unnoticed
    pytest.skip(reason)


def promtool(*arguments: str | Path) -> str:
    """Return what promtool finds wrong; nothing if all is well."""
    done = subprocess.run(
        [tool("promtool"), *map(str, arguments)], capture_output=True, text=True, cwd=FOLDER
    )
    return done.stdout + done.stderr if done.returncode else ""


def rules() -> list[dict]:
    """Return every rule of `rules.yaml`."""
    groups = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recorded() -> set[str]:
    """Return the names of all recorded series."""
    return {rule["record"] for rule in rules() if "record" in rule}


@dataclass(frozen=True)
class Prometheus:
    url: str

    def get(self, path: str, **parameters: str):
        """Return the data of an answer of its API."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=30) as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def values(self, expression: str) -> list[float]:
        """Return the values of an expression now, of each series one."""
        result = self.get("query", query=expression)
        found = result["result"]
        if result["resultType"] == "scalar":
            return [float(found[1])]
        return [float(series["value"][1]) for series in found]


@contextmanager
def running_prometheus(folder: Path, config: dict) -> Iterator[Prometheus]:
    """Run Prometheus with this configuration; its files lie in `folder`."""
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [
            tool("prometheus"),
            f"--config.file={path}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    address: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            if found := re.search(r'msg="Listening on" address=(\S+)', line):
                address.append(found[1])
            if "Server is ready to receive web requests" in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(timeout=60)
        assert process.poll() is None, log
        yield Prometheus(f"http://{address[0]}")
    finally:
        process.terminate()
        process.wait(timeout=60)
        reader.join(timeout=60)
        process.stderr.close()
