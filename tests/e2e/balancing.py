"""HAProxy in front of three real servers, with `deploy/haproxy/haproxy.cfg` as it is."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.conftest import GATED, Server, starting_server

CONFIGURATION = REPOSITORY / "deploy/haproxy/haproxy.cfg"
PATIENCE_S = 60
PAUSE_S = 0.02
"""Between two looks at what a test waits for: others need the processor."""

REAL = ("-m", "sentiment", "serve", "--port")
"""The server with the bundled model; its port follows."""

CONTROLLED = (*GATED, "--token-ms", "0.25")
"""A server that takes as long on every machine, and may be held; its port follows."""

TABLE_TEXTS = 20
"""Of each of two kinds: Locust asks for each alone before its load begins."""

MAX_BACKLOG_S = 5
SETTINGS = {
    "SENTIMENT_THREADS": "1",
    "SENTIMENT_DRAIN_DELAY_S": "1",  # as the configuration's checks want it
    "SENTIMENT_MAX_BACKLOG_S": str(MAX_BACKLOG_S),
    "SENTIMENT_DEADLINE_S": "600",
}


def required_haproxy() -> str:
    """Return the path of HAProxy; skip the test where there is none, unless in CI."""
    found = shutil.which("haproxy")
    if found is None:
        missing = "needs HAProxy: apt-get install haproxy"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return found


def reserved_port(reservations: ExitStack) -> int:
    """Return a port that stays ours between one server on it and the next."""
    reservation = reservations.enter_context(socket.socket())
    # Two may bind like this, but only one can listen.
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation.getsockname()[1]


class Replica:
    """A server that may end and start again on its ports."""

    def __init__(self, name: str, command: Sequence[str], *, port: int, probes_port: int) -> None:
        self.name = name
        self._command = (*command, str(port))
        self.address = ("127.0.0.1", port)
        self.operations = ("127.0.0.1", probes_port)
        self.servers: list[Server] = []
        """Every process so far; the last one serves."""
        self._running = ExitStack()

    @property
    def server(self) -> Server:
        return self.servers[-1]

    @property
    def serves(self) -> bool:
        """Whether its last process listens and has not ended."""
        return bool(self.server.url) and self.server.process.poll() is None

    @property
    def log(self) -> list[dict]:
        """The lines of every process so far."""
        return [line for server in self.servers for line in list(server.log)]

    def start(self) -> None:
        """Start it; return at once."""
        settings = {**SETTINGS, "SENTIMENT_METRICS_PORT": str(self.operations[1])}
        self.servers.append(
            self._running.enter_context(starting_server(*self._command, **settings))
        )

    def hold(self) -> None:
        """Let a controlled one answer no text until it is released."""
        self.server.say("hold")
        self.server.hear_at_last("held")

    def release(self) -> None:
        self.server.say("release")
        self.server.hear_at_last("released")

    def start_if_ended(self) -> None:
        if self.server.process.poll() is not None:
            self.start()

    def close(self) -> None:
        self._running.close()


class Balancer:
    """HAProxy before its replicas."""

    def __init__(self, process: subprocess.Popen, *, port: int, administration: Path) -> None:
        self.address = ("127.0.0.1", port)
        self.log: list[dict] = []
        """A line for each request that has ended."""
        self._process = process
        self._administration = administration
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self) -> None:
        for line in self._process.stdout:
            if line.startswith("{"):
                self.log.append(json.loads(line))

    def statistics(self, row: str, backend: str = "classification") -> dict[str, str]:
        """Return what HAProxy counts of a replica, or of `BACKEND`."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self._administration))
            connection.sendall(b"show stat\n")
            said = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        rows = csv.DictReader(said.removeprefix("# ").splitlines())
        return next(each for each in rows if (each["pxname"], each["svname"]) == (backend, row))

    def count(self, name: str, row: str = "BACKEND") -> int:
        return int(self.statistics(row)[name])

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more requests have been sent to replicas."""
        wanted = self.count("stot") + count
        ends_at = time.monotonic() + PATIENCE_S
        while self.count("stot") < wanted:
            assert time.monotonic() < ends_at
            time.sleep(PAUSE_S)

    def lines_of(self, request_id: str) -> list[dict]:
        """Return what it has logged of a request."""
        return [line for line in list(self.log) if line["request_id"] == request_id]

    def wait_until_up(self, *replicas: Replica) -> None:
        """Wait until requests go to the replicas, of which each has begun to start."""
        for replica in replicas:
            replica.server.wait_until_it_listens()
            self._wait_for_status(replica, "UP")

    def wait_until_down(self, *replicas: Replica) -> None:
        """Wait until no requests go to the replicas."""
        for replica in replicas:
            self._wait_for_status(replica, "DOWN")

    def _wait_for_status(self, replica: Replica, status: str) -> None:
        ends_at = time.monotonic() + PATIENCE_S
        # It takes a replica for up until the first check has ended: `INI`.
        while (row := self.statistics(replica.name))["check_status"] in ("INI", "") or row[
            "status"
        ].partition(" ")[0] != status:
            assert time.monotonic() < ends_at, row
            time.sleep(PAUSE_S)


@contextmanager
def balanced_replicas(*command: str) -> Iterator[tuple[Balancer, list[Replica]]]:
    """Start HAProxy and three replicas, each by `command` and its port.

    The block begins when all of them are up; without a command none of them ever is.
    """
    haproxy = required_haproxy()
    with ExitStack() as stack:
        replicas = [
            Replica(
                f"replica{number}",
                command,
                port=reserved_port(stack),
                probes_port=reserved_port(stack),
            )
            for number in (1, 2, 3)
        ]
        for replica in replicas:
            stack.callback(replica.close)
            if command:
                replica.start()
        port = reserved_port(stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        variables = {
            "BALANCER_ADDRESS": f"127.0.0.1:{port}",
            "BALANCER_SOCKET": str(folder / "socket"),
        }
        for number, replica in enumerate(replicas, start=1):
            variables[f"REPLICA_{number}"] = "{}:{}".format(*replica.address)
            variables[f"REPLICA_{number}_PROBES"] = str(replica.operations[1])
        process = stack.enter_context(
            subprocess.Popen(
                [haproxy, "-db", "-f", CONFIGURATION],
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        balancer = Balancer(process, port=port, administration=folder / "socket")
        wait_for_file(folder / "socket", process)
        if command:
            balancer.wait_until_up(*replicas)
        yield balancer, replicas


def wait_for_file(path: Path, process: subprocess.Popen) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None, "HAProxy has ended"
        assert time.monotonic() < ends_at
        time.sleep(PAUSE_S)


class Load:
    """Locust at work, with users who know the right answers."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def stop(self) -> int:
        """End it when all is answered; return how many answers came.

        Fail if one was wrong or lost, or if a request was refused again and again.
        """
        self._process.send_signal(signal.SIGTERM)
        said, log = self._process.communicate(timeout=2 * PATIENCE_S)
        assert self._process.returncode == 0, log
        rows = json.loads(said)
        assert sum(row["num_failures"] for row in rows) == 0, log
        # Refusals and missed deadlines have rows of their own, with another word in this place.
        return sum(row["num_requests"] for row in rows if row["method"] == "POST")


@contextmanager
def load(balancer: Balancer, *users: str, rate: float) -> Iterator[Load]:
    """Let Locust's `users` send `rate` requests a second; the block begins when they do."""
    command = ["-m", "locust", "-f", "loadtests/locustfile.py", *users]
    command += ["--host", "http://{}:{}".format(*balancer.address), "--behind-proxy"]
    command += ["--give-up-fails"]
    # Without tables: nobody reads the pipe before the end, and a full one would stop the load.
    command += ["--headless", "--only-summary", "--json"]
    command += ["--users", "10", "--spawn-rate", "10", "--rate-per-user", str(rate / 10)]
    command += ["--table-texts", str(TABLE_TEXTS)]
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            balancer.wait_for_more(2 * TABLE_TEXTS + 10)
            yield Load(process)
        finally:
            if process.poll() is None:
                process.kill()
