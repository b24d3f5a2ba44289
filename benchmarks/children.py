"""Child processes that measure when told to: a line of JSON in, a line of JSON out.

Each engine has a process of its own: threads, allocators and settings of one library cannot
disturb another, and memory is its own.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.candidates import Candidate
from benchmarks.measurement import REPOSITORY, BenchmarkError


class Unavailable(Exception):
    """Why something cannot be measured here, in one line."""


class Child:
    """A process that says one line when it is ready, and answers every line."""

    def __init__(self, module: str, *arguments: str) -> None:
        """Start `python -m module` and wait until it is ready.

        Raises:
            Unavailable: it says so, or ends.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            self.facts = self._answer()
        except BenchmarkError as error:
            raise Unavailable(str(error)) from error
        if "unavailable" in self.facts:
            self.close()
            raise Unavailable(self.facts["unavailable"])

    @classmethod
    def engine(cls, candidate: Candidate, folder: Path, device: str) -> Self:
        """Open an engine in a process of its own; see `engine_child`.

        Raises:
            Unavailable: it cannot be opened.
        """
        arguments = (candidate.engine, candidate.precision, str(candidate.batch_texts))
        return cls("benchmarks.engine_child", *arguments, str(folder), device)

    def ask(self, **command: object) -> dict[str, Any]:
        """Give a command and return the answer.

        Raises:
            BenchmarkError: the process ended.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise BenchmarkError(f"a measuring process ended: {self._process.args!r}") from error
        return self._answer()

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
