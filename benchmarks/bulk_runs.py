"""Runs of `python -m sentiment score` to measure: they can be paused, watched and killed."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.bulk_data import TEXT_COLUMN
from benchmarks.measurement import REPOSITORY, BenchmarkError
from benchmarks.processes import Neighbours, tree


def score_command(table: Path, output: Path, *more: str) -> list[str]:
    """Return the command that scores a table of ours."""
    command = [sys.executable, "-m", "sentiment", "score", str(table)]
    return [*command, "--text-column", TEXT_COLUMN, "--output", str(output), *more]


def score_settings(model: Path, precision: str) -> dict[str, str]:
    """Return the environment that `score` runs with."""
    return {"SENTIMENT_MODEL": str(model), "SENTIMENT_PRECISION": precision}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run came to."""

    code: int
    """Of its end; a signal's number, negative, where one killed it."""
    seconds: float
    """In which it was allowed to run, from the start of its process to its end."""
    cpu_s: float
    """Of the process and those of its children that it waited for."""
    peak_mib: float
    """Resident in the largest of those processes, as the kernel kept count until the end."""
    foreign_cores: float
    """Used by others meanwhile; of a run with pauses this says nothing."""
    said: str
    """The last line of standard error."""


class Run:
    """A command in a process group of its own."""

    def __init__(self, command: Sequence[str], settings: Mapping[str, str]) -> None:
        """Start it with these `SENTIMENT_*` and no others."""
        inherited = {name: value for name, value in os.environ.items() if "SENTIMENT_" not in name}
        self._log = tempfile.TemporaryFile(prefix="score-")  # noqa: SIM115  lives as long as self
        self._neighbours = Neighbours()
        self._ran_s = 0.0
        self._began_at: float | None = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**inherited, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
        )
        self._descriptor = os.pidfd_open(self._process.pid)
        self.ended: Ended | None = None

    def wait(self, timeout_s: float | None = None) -> Ended | None:
        """Return what it came to once it has ended, `None` if it has not within `timeout_s`."""
        timeout_ms = None if timeout_s is None else max(0.0, timeout_s) * 1000
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if self.ended is None and poll.poll(timeout_ms):
            self._stop_clock()
            self.ended = self._reap()
        return self.ended

    def finish(self) -> Ended:
        """Wait for its end.

        Raises:
            BenchmarkError: it failed; with the last line that it said.
        """
        ended = self.wait()
        assert ended is not None
        if ended.code:
            raise BenchmarkError(f"a run ended with code {ended.code}: {ended.said}")
        return ended

    def pause(self) -> None:
        """Stop it and its clock; if it has ended, nothing happens."""
        self._signal(signal.SIGSTOP)
        self._stop_clock()

    def go_on(self) -> None:
        """Let it run again."""
        self._began_at = time.perf_counter()
        self._signal(signal.SIGCONT)

    def kill(self) -> Ended:
        """Kill it and its children as kill -9 does, and wait for its end."""
        self._signal(signal.SIGKILL)
        ended = self.wait()
        assert ended is not None
        return ended

    @property
    def process_id(self) -> int:
        """Of the first of its processes."""
        return self._process.pid

    def tree(self) -> list[int]:
        """Return its process and the descendants that live."""
        return tree(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.ended is None:
            self.kill()
        os.close(self._descriptor)
        self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        if self.ended is None:  # a process that was waited for leaves its number to others
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _stop_clock(self) -> None:
        if self._began_at is not None:
            self._ran_s += time.perf_counter() - self._began_at
            self._began_at = None

    def _reap(self) -> Ended:
        # While it has not been waited for, the kernel still tells what it has used.
        foreign_cores = self._neighbours.cores()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return Ended(
            code=self._process.returncode,
            seconds=self._ran_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_mib=usage.ru_maxrss / 1024,
            foreign_cores=foreign_cores,
            said=lines[-1] if lines else "nothing said",
        )


def finished(command: Sequence[str], settings: Mapping[str, str]) -> Ended:
    """Run a command from its start to its end.

    Raises:
        BenchmarkError: it failed.
    """
    with Run(command, settings) as run:
        return run.finish()
