"""A real server process on a real socket."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.conftest import REPOSITORY


@dataclass
class Server:
    process: subprocess.Popen
    url: str
    log: list[dict]
    """Its log lines until it was ready; `stop` adds the rest."""

    def stop(self) -> int:
        """Send SIGTERM, read the log to its end and return the exit code."""
        self.process.terminate()
        _, rest = self.process.communicate(timeout=30)
        self.log += [json.loads(line) for line in rest.splitlines()]
        return self.process.returncode


def environment(**settings: str) -> dict[str, str]:
    return {**os.environ, "SENTIMENT_MODEL": "compact", **settings}


@contextmanager
def running_server(*command: str, **settings: str) -> Iterator[Server]:
    """Start a server with `settings`, wait until it listens, stop it at the end."""
    command = command or ("-m", "sentiment", "serve", "--port", "0")
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env=environment(**settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    log = []
    try:
        for line in process.stderr:
            log.append(json.loads(line))
            if match := re.search(r"running on (http://\S+)", log[-1]["message"]):
                yield Server(process, match[1], log)
                break
        else:
            pytest.fail(f"the server ended before it was ready: {log}")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server
