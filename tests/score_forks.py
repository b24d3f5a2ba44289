"""`score` as processes that begin with its libraries imported: forks of one that did.

Importing them takes longer than scoring some hundred rows. The model is loaded by each: a fork
would not inherit the engine's threads.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

IMPORTER = """
import json, os, sys

import openvino, tokenizers
from sentiment import cli
from sentiment.bulk import command, run, summary

def become(order):
    for number, name, flags in (
        (0, "given", os.O_RDONLY),
        (1, "stdout", os.O_CREAT | os.O_WRONLY | os.O_TRUNC),
        (2, "stderr", os.O_CREAT | os.O_WRONLY | os.O_TRUNC),
    ):
        descriptor = os.open(order[name], flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0)
    exec(order["first"], {})
    sys.argv = ["sentiment", "score", *order["arguments"]]
    cli.main()

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        become(json.loads(line))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@dataclass(frozen=True)
class Done:
    """What a process left behind."""

    code: int
    """As `subprocess` counts: -9 for one that was killed."""
    stdout: str
    stderr: str


class ScoreForks:
    """A process with everything imported, and its children one at a time."""

    def __init__(self, folder: Path, *, cwd: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", IMPORTER],
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def run(self, *arguments, first="", given=None):
        """Score in a process of its own; return what it left.

        Args:
            arguments: of `score`.
            first: Python that runs before.
            given: bytes of standard input.
        """
        said = {name: self._folder / name for name in ("given", "stdout", "stderr")}
        said["given"].write_bytes(given or b"")
        order = {"arguments": list(map(str, arguments)), "first": first}
        order |= {name: str(path) for name, path in said.items()}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Done(code, said["stdout"].read_text(), said["stderr"].read_text())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
