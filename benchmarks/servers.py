"""Servers to measure, each a process tree: start, readiness, processor time, memory."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks import processes
from benchmarks.children import Unavailable
from benchmarks.measurement import REPOSITORY

START_S = 300.0
"""How long a start may take; the first one may convert the model."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A server to start."""

    name: str
    command: Sequence[str]
    """Of `python -m`; `{port}` stands for the port."""
    settings: Mapping[str, str]
    """`SENTIMENT_*`; none others are inherited."""


def original(folder: Path) -> Variant:
    """Return the design that this server replaces."""
    return Variant("original", ("benchmarks.original", str(folder), "{port}"), {})


def ours(folder: Path, precision: str, **settings: object) -> Variant:
    """Return this server without its cache, with other settings in lower case."""
    wanted = {"model": folder, "precision": precision, "cache_texts": 0, **settings}
    return Variant(
        f"ours {precision}",
        ("sentiment", "serve", "--port", "{port}"),
        {f"SENTIMENT_{name.upper()}": str(value) for name, value in wanted.items()},
    )


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that has answered its first request."""

    name: str
    process_id: int
    address: tuple[str, int]
    ready_s: float
    """From the start of the process to the first answer, 200, to a text."""

    def cpu_s(self) -> float:
        """Return the processor seconds that its processes have used."""
        return processes.cpu_s(self.process_id)

    def info(self) -> dict[str, Any]:
        """Return what it says of itself; nothing where it has no such route."""
        try:
            with urllib.request.urlopen("http://{}:{}/info".format(*self.address)) as answer:
                said: dict[str, Any] = orjson.loads(answer.read())
                return said
        except urllib.error.HTTPError:
            return {}

    def memory_mib(self) -> dict[str, float]:
        """Return resident, proportional and unshared memory of its processes."""
        return processes.memory_mib(self.process_id)


@contextmanager
def serving(variant: Variant) -> Iterator[RunningServer]:
    """Run a server until the end of the context.

    Raises:
        Unavailable: it does not start; with the last line that it logged.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if "SENTIMENT_" not in name}
    with tempfile.NamedTemporaryFile(prefix="server-", suffix=".log") as log:
        began_at = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(port=port) for part in variant.command)],
            cwd=REPOSITORY,
            env={**inherited, **variant.settings},
            stdout=log.fileno(),
            stderr=log.fileno(),
        )
        try:
            _wait_for_an_answer(process, port, Path(log.name))
            ready_s = round(time.perf_counter() - began_at, 2)
            yield RunningServer(variant.name, process.pid, ("127.0.0.1", port), ready_s)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_an_answer(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/",
        data=orjson.dumps([{"text": "Is anybody there?"}]),
        headers={"Content-Type": "application/json"},
    )
    ends_at = time.perf_counter() + START_S
    while time.perf_counter() < ends_at:
        try:
            with urllib.request.urlopen(request, timeout=START_S):
                return
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None:
                said = log.read_text().strip() or f"ended with code {process.returncode}"
                raise Unavailable(said.splitlines()[-1]) from None
            time.sleep(0.02)
    raise Unavailable(f"gives no answer within {START_S:g} s")
