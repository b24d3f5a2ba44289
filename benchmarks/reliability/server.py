"""Server processes to measure: how they start and end, and what the kernel says of them."""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prometheus_client.parser import text_string_to_metric_families

REPOSITORY = Path(__file__).parents[2]

START_S = 120.0
"""How long a start may take before it counts as failed."""

MIB = 2**20

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running server process."""

    process: subprocess.Popen[str]
    log_file: IO[bytes]
    address: tuple[str, int] = ("", 0)

    def tell(self, command: str) -> None:
        """Give the double a command and wait until it has heard."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        heard = self.process.stdout.readline().strip()
        assert heard == command, f"{heard!r} in answer to {command!r}"

    @property
    def cpu_s(self) -> float:
        """Processor seconds that the process has used."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND

    @property
    def resident_bytes(self) -> int:
        return int(self._status("VmRSS")) * 1024

    @property
    def threads(self) -> int:
        return int(self._status("Threads"))

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def log_bytes(self) -> int:
        return os.fstat(self.log_file.fileno()).st_size

    def log(self) -> str:
        """Return what it has logged so far."""
        return Path(self.log_file.name).read_text()

    def get(self, path: str) -> bytes:
        """Return the body of one `GET`, which must succeed."""
        url = "http://{}:{}".format(*self.address) + path
        with urllib.request.urlopen(url, timeout=30) as answer:
            body: bytes = answer.read()
        return body

    def metric(self, name: str, /, **wanted: str) -> float:
        """Return the sum of a metric's samples that bear the labels `wanted`."""
        return sum(
            value for labels, value in self.samples(name) if wanted.items() <= labels.items()
        )

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and values of a metric's samples."""
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(self.get("/metrics").decode())
            for sample in family.samples
            if sample.name == name
        ]

    def quantile(self, name: str, share: float) -> float:
        """Return an upper bound of a histogram's quantile: the bucket's end that holds it."""
        buckets = sorted(
            (float(labels["le"]), count) for labels, count in self.samples(f"{name}_bucket")
        )
        return next((end for end, count in buckets if count >= share * buckets[-1][1]), 0.0)

    def _proc(self, file: str) -> str:
        return Path(f"/proc/{self.process.pid}/{file}").read_text()

    def _status(self, field: str) -> str:
        match = re.search(rf"^{field}:\s+(\d+)", self._proc("status"), re.MULTILINE)
        assert match
        return match[1]


REAL = ("sentiment", "serve", "--port", "0")
"""The server as it is shipped, with the bundled model."""


def double(*, base_ms: float = 20, token_ms: float = 0.25, leak_bytes: int = 0) -> tuple[str, ...]:
    """Return the command of a server around the double; see `double.py`."""
    return (
        "benchmarks.reliability.double",
        *("--base-ms", str(base_ms), "--token-ms", str(token_ms)),
        *("--leak-bytes", str(leak_bytes)),
    )


@contextmanager
def serving(
    command: tuple[str, ...], *, relay_log_to: int | None = None, **settings: object
) -> Iterator[Server]:
    """Run a server with `SENTIMENT_` settings given in lower case; kill it if it still runs.

    The model is the bundled one and the cache is off, unless the settings say otherwise. With
    `relay_log_to` its log goes to that descriptor, and where it listens is found by `/proc`.
    """
    wanted: dict[str, object] = {"model": "compact", "cache_texts": 0, **settings}
    environment = {f"SENTIMENT_{name.upper()}": str(value) for name, value in wanted.items()}
    inherited = {name: value for name, value in os.environ.items() if "SENTIMENT_" not in name}
    with tempfile.NamedTemporaryFile(prefix="server-", suffix=".log") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=REPOSITORY,
            env={**inherited, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file if relay_log_to is None else relay_log_to,
            text=True,
        )
        server = Server(process, log_file)
        try:
            if relay_log_to is None:
                _wait_until_it_listens(server)
            else:
                _wait_for_socket(server)
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()


def _wait_until_it_listens(server: Server) -> None:
    ends_at = time.monotonic() + START_S
    while not (match := re.search(r"running on http://([\d.]+):(\d+)", server.log())):
        if server.process.poll() is not None or time.monotonic() > ends_at:
            raise RuntimeError(f"the server does not start: {server.log()}")
        time.sleep(0.02)
    server.address = match[1], int(match[2])


def _wait_for_socket(server: Server) -> None:
    """Find the port by the kernel's table, where there is no log to read it from."""
    ends_at = time.monotonic() + START_S
    while time.monotonic() < ends_at:
        targets = set()
        for descriptor in Path(f"/proc/{server.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                targets.add(os.readlink(descriptor))
        for line in Path(f"/proc/{server.process.pid}/net/tcp").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in targets:
                server.address = "127.0.0.1", int(local.partition(":")[2], 16)
                return
        time.sleep(0.05)
    raise RuntimeError("the server does not start")
