"""What a replica costs on this machine: a real server is started, measured and ended."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import cycle
from pathlib import Path
from typing import IO, Any

import numpy as np

from sentiment.errors import ModelError, OptionError
from sentiment.models import ModelFiles
from sentiment.planning.costs import ReplicaCost
from sentiment.planning.workload import Int64
from sentiment.settings import ENV_PREFIX, Settings, usable_cores
from sentiment.tokenization import Tokenization, load_tokenizer

log = logging.getLogger(__name__)

PROBE_COMMAND = (sys.executable, "-m", "sentiment.planning.probe")

OWN_SETTINGS = {"api_keys", "cache_texts", "metrics_port", "traces"}
"""Which the probe has otherwise: it must be let in, must compute what it is sent, and what it is
sent is nobody's trace."""

LOADS = ((1, 32), (32, 4))
"""Texts of a request, connections: of the two measurements that tell requests from texts."""

LOAD_S = 2.0
"""How long each of them lasts."""

QUIET_LOAD = 0.5
"""A machine whose load average is higher does something else beside."""

READY_S = 120.0
"""After which a probe that is not ready never will be."""

ENDING_S = 5.0
"""So long a process may take to be gone after its connections."""


def token_lengths(model: ModelFiles, texts: Sequence[str]) -> Int64:
    """Return the tokens `int64 [texts]` that the model reads of each text.

    Raises:
        ModelError: there is no tokenizer, or it cannot be read.
    """
    tokenizer = load_tokenizer(model.folder)
    with Tokenization(tokenizer, max_tokens=model.max_tokens, threads=1) as tokenization:
        return np.array([len(ids) for ids in tokenization.encode_now(texts).ids], np.int64)


def measure_replica(settings: Settings, *, texts: Sequence[str], lengths: Int64) -> ReplicaCost:
    """Measure the server that `settings` would start, with texts like these.

    Takes about a quarter of a minute, in which the machine should do nothing else.

    Args:
        lengths: tokens of `texts`, `int64 [texts]`.

    Raises:
        ModelError: it does not start.
    """
    load_average = os.getloadavg()[0]
    log.info("measuring what a replica costs on this machine")
    if load_average > QUIET_LOAD:
        log.warning(
            "the load average is %.1f: beside other programs everything looks dearer than it is",
            load_average,
        )
    with _probe(settings, lengths) as probe:
        costs = asyncio.run(_measure_requests(probe, texts))
        memory_bytes = probe.peak_memory_bytes()
    (few, few_s), (many, many_s) = costs
    text_s = max(0.0, (many_s - few_s) / (many - few))
    said = {name: value for name, value in probe.said.items() if name != "port"}
    lists = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    return ReplicaCost(
        **{**said, **lists},
        machine=_processor(),
        measured_on=date.today().isoformat(),
        load_average=round(load_average, 2),
        cores=usable_cores(),
        threads=settings.thread_count,
        request_s=max(0.0, few_s - few * text_s),
        text_s=text_s,
        memory_bytes=memory_bytes,
    )


@dataclass(slots=True)
class _Probe:
    """A running server and what it said of its engine."""

    process: subprocess.Popen[str]
    said: dict[str, Any]

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.said["port"]

    def peak_memory_bytes(self) -> int:
        """Return the most memory that it ever had resident, its largest pass included."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(peak) * 1024


@contextmanager
def _probe(settings: Settings, lengths: Int64) -> Iterator[_Probe]:
    """Start the probe; the block begins when it has measured its engine.

    Raises:
        ModelError: it ended too early.
    """
    with tempfile.TemporaryFile("w+", prefix="sentiment-plan-") as log_file:
        process = subprocess.Popen(
            PROBE_COMMAND,
            env=probe_environment(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
        )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(lengths.tolist()) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                process.wait()
                raise ModelError(_last_words(log_file))
            yield _Probe(process, json.loads(line))
        except (OSError, EOFError) as error:
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_S)
                raise ModelError(_last_words(log_file)) from error
            raise
        finally:
            process.terminate()
            process.communicate()


def probe_environment(settings: Settings) -> dict[str, str]:
    """Return the environment in which the probe is the server that `settings` mean."""
    inherited = {n: v for n, v in os.environ.items() if not n.upper().startswith(ENV_PREFIX)}
    wanted = settings.model_dump(exclude=OWN_SETTINGS, exclude_none=True) | {"cache_texts": 0}
    return inherited | {ENV_PREFIX + name.upper(): str(value) for name, value in wanted.items()}


def _last_words(log_file: IO[str]) -> str:
    log_file.seek(0)
    lines = log_file.read().splitlines() or ["the server to be measured ended without a word"]
    return lines[-1].removeprefix("error: ")


async def _measure_requests(probe: _Probe, texts: Sequence[str]) -> list[tuple[int, float]]:
    """Return, for each of `LOADS`, texts of a request and processor seconds of one."""
    await _until_ready(probe)
    measured = []
    for size, connections in LOADS:
        await _load(probe, texts, size=size, connections=connections, seconds=LOAD_S / 4)
        before_s = await _processor_seconds(probe)
        requests = await _load(probe, texts, size=size, connections=connections, seconds=LOAD_S)
        after_s = await _processor_seconds(probe)
        measured.append((size, (after_s - before_s) / requests))
    return measured


async def _until_ready(probe: _Probe) -> None:
    """Return when it answers; `ConnectionError` if it has ended.

    Raises:
        ModelError: it is never ready.
    """
    ends_at = time.monotonic() + READY_S
    while time.monotonic() < ends_at:
        if probe.process.poll() is not None:
            raise ConnectionError("the server to be measured has ended")
        # Until then nobody listens, or it says 503, or takes the connection and ends.
        with suppress(OSError, EOFError, OptionError):
            await _ask(probe, "GET /readyz")
            return
        await asyncio.sleep(0.05)
    raise ModelError(f"the server to be measured is not ready after {READY_S:g} s")


async def _load(
    probe: _Probe, texts: Sequence[str], *, size: int, connections: int, seconds: float
) -> int:
    """Return how many requests of `size` texts were answered in so many seconds."""
    turns = cycle(texts)
    bodies = [json.dumps([next(turns) for _ in range(size)]).encode() for _ in range(256)]
    ends_at = time.perf_counter() + seconds

    async def client(first: int) -> int:
        reader, writer = await asyncio.open_connection(*probe.address)
        count = 0
        while time.perf_counter() < ends_at:
            await _exchange(reader, writer, "POST /", bodies[(first + count) % len(bodies)])
            count += 1
        writer.close()
        return count

    return sum(await asyncio.gather(*(client(each) for each in range(connections))))


async def _processor_seconds(probe: _Probe) -> float:
    """Return the processor seconds that the server has taken."""
    lines = (await _ask(probe, "GET /metrics")).decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if line.startswith("process_"))
    return float(samples["process_cpu_seconds_total"])


async def _ask(probe: _Probe, target: str) -> bytes:
    reader, writer = await asyncio.open_connection(*probe.address)
    try:
        return await _exchange(reader, writer, target, b"")
    finally:
        writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str, body: bytes
) -> bytes:
    """Send a request and return the body of its answer.

    Raises:
        OptionError: the answer is no 200: some limit is too low for what is measured.
    """
    fields = ["Host: plan", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    writer.write("\r\n".join([f"{target} HTTP/1.1", *fields, "", ""]).encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    names = dict(line.split(": ", 1) for line in head.lower().splitlines()[1:] if line)
    answer = await reader.readexactly(int(names["content-length"]))
    if not head.startswith("HTTP/1.1 200"):
        raise OptionError(f"the measured server refuses what it is sent: {answer.decode()}")
    return answer


def _processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"
