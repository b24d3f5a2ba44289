"""A real server process on a real socket."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import pytest

from tests.conftest import REPOSITORY

GATED = ("-m", "tests.servers")
"""The server around an engine that the test controls: see `Server.tell`."""


@dataclass
class Server:
    process: subprocess.Popen
    url: str = ""
    log: list[dict] = field(default_factory=list)
    """Its log lines so far; complete after `stop`."""
    metrics_port: int | None = None

    def __post_init__(self) -> None:
        self._listens = threading.Event()
        # Read all the time: a full pipe would stop the server at its next log line.
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self._said: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._hear_all, daemon=True).start()

    def _hear_all(self) -> None:
        with contextlib.suppress(ValueError):  # closed while it was being read
            for line in self.process.stdout:
                self._said.put(line.rstrip("\n"))

    def _read_log(self) -> None:
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            message = self.log[-1]["message"]
            if match := re.search(r"metrics on http://\S+:(\d+)", message):
                self.metrics_port = int(match[1])
            if match := re.search(r"running on (http://\S+)", message):
                self.url = match[1]
                self._listens.set()
        self._listens.set()

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    @property
    def operations(self) -> tuple[str, int]:
        """Address of probes and metrics, where they have a port of their own."""
        assert self.metrics_port
        return self.address[0], self.metrics_port

    def wait_until_it_listens(self) -> None:
        assert self._listens.wait(timeout=60)
        if not self.url:
            pytest.fail(f"the server ended before it was ready: {self.log}")

    def wait_for_line(self, message: str) -> None:
        """Wait until the log has a line with this message."""
        waited = threading.Event()
        for _ in range(3000):
            if any(message in line["message"] for line in self.log):
                return
            waited.wait(0.01)
        pytest.fail(f"no line says {message!r}: {self.log}")

    def tell(self, word: str, *, until: str) -> None:
        """Tell a gated server to `hold` or `release`; return when it says `until`."""
        assert self.ask(word) == until

    def ask(self, word: str) -> str:
        """Return what a gated server says next after `word`."""
        self.say(word)
        return self._said.get(timeout=60)

    def say(self, word: str) -> None:
        """Say `word` to a gated server."""
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def hear(self, word: str) -> None:
        """Wait until a gated server says `word`."""
        assert self._said.get(timeout=60) == word

    def hear_at_last(self, word: str) -> None:
        """As `hear`, whatever the server says before."""
        while self._said.get(timeout=60) != word:
            pass

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; return the exit code, with the log read to its end."""
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=60)
        return code

    def stop(self) -> int:
        """Send SIGTERM, read the log to its end and return the exit code."""
        self.process.terminate()
        return self.wait()


def environment(**settings: str) -> dict[str, str]:
    # No cache: a test counts on what it sends being computed.
    defaults = {
        "SENTIMENT_MODEL": "compact",
        "SENTIMENT_CACHE_TEXTS": "0",
        "SENTIMENT_PRECISION": "fp32",  # the same answers on every CPU
    }
    return {**os.environ, **defaults, **settings}


@contextmanager
def starting_server(
    *command: str, within: Sequence[str] = (sys.executable,), **settings: str
) -> Iterator[Server]:
    """Start a server with `settings`; kill it at the end if it still runs.

    Args:
        command: what Python is given.
        within: the Python that runs it, and what that runs in.
    """
    command = command or ("-m", "sentiment", "serve", "--port", "0")
    process = subprocess.Popen(
        [*within, *command],
        cwd=REPOSITORY,
        env=environment(**settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process)
    try:
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        server.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


@contextmanager
def running_server(
    *command: str, within: Sequence[str] = (sys.executable,), **settings: str
) -> Iterator[Server]:
    """As `starting_server`; the block begins when the server listens."""
    with starting_server(*command, within=within, **settings) as server:
        server.wait_until_it_listens()
        yield server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server
