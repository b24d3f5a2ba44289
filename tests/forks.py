"""Command lines as processes that begin with the libraries imported: forks of one that did.

Importing them takes longer than training a small model. A fork is a process like any other:
it has its own exit code, receives signals, and can be killed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

IMPORTER = """
import json, os, resource, signal, sys, traceback
from sentiment import cli
from sentiment.errors import ModelError
from sentiment.training import distillation, pipeline, replacement

def ungated(work, output, **_):
    '''Give a model its name unasked: trained this little, it would not pass the gate.'''
    (work / "evaluation.json").write_text("{}")
    replacement.replace_folder(work, output)
    return {}

pipeline.promote = ungated

def refusing(work, output, **_):
    '''Find that the model is not good enough.'''
    raise ModelError("refused by the gate")

def watch(folder, die_at, die_removing, opened):
    '''Write down every file that is opened in `folder`, and die at the event `die_at`.

    Or, where `die_removing` names the end of a folder's path and a number of files, as soon as
    so many files are removed after that folder was to be moved away or removed.
    '''
    events = removed = 0
    removing = False
    def hook(event, arguments):
        nonlocal events, removing, removed
        if die_removing and event in ("os.rename", "shutil.rmtree"):
            removing = removing or str(arguments[0]).endswith(die_removing[0])
        if removing and removed == die_removing[1]:
            removing = False  # to be killed is an event as well
            os.kill(os.getpid(), signal.SIGKILL)
        removed += removing and event == "os.remove"
        if event == "pickle.find_class":
            os.write(opened, b"pickle\\n")
        if event in ("open", "os.rename", "os.mkdir", "shutil.rmtree", "os.remove"):
            place = str(arguments[0])
            if place.startswith(folder):
                os.write(opened, place.encode() + b"\\n")
                events += 1
                if events == die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def not_a_number(at):
    '''Let the loss be no number at its call `at`.'''
    compute, calls = distillation.SoftTargetLoss.__call__, 0
    def loss(self, *arguments, **named):
        nonlocal calls
        calls += named["weighted"]
        return compute(self, *arguments, **named) * (float("nan") if calls == at else 1)
    distillation.SoftTargetLoss.__call__ = loss

def run(order):
    said = {
        name: os.open(f"{order['said']}.{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for name in ("stdout", "stderr", "opened")
    }
    os.dup2(said["stdout"], 1)
    os.dup2(said["stderr"], 2)
    if order["largest_file"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"],) * 2)
    if order["nan_at"]:
        not_a_number(order["nan_at"])
    if order["refused"]:
        pipeline.promote = refusing
    watch(order["folder"], order["die_at"], order["die_removing"], said["opened"])
    sys.argv = ["sentiment", *order["arguments"]]
    cli.main()

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sys.stdin.close()
        code = 1
        try:
            run(json.loads(line))
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
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
    opened: list[str]
    """Every file that it opened, made or moved in the folder it was watched in."""


class Forks:
    """A process with everything imported, and its children one at a time."""

    def __init__(self, *, cwd: Path, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", IMPORTER],
            cwd=cwd,
            # Threads would wait for each other longer than such small matrices take.
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def start(
        self, arguments, *, die_at=0, die_removing=None, nan_at=0, largest_file=0, refused=False
    ):
        """Begin one; `wait` for it."""
        self._count += 1
        self._said = str(self._folder / f"said-{self._count}")
        order = {
            "arguments": [str(each) for each in arguments],
            "folder": str(self._folder),
            "said": self._said,
            "die_at": die_at,
            "die_removing": die_removing,
            "refused": refused,
            "nan_at": nan_at,
            "largest_file": largest_file,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._child = int(self._process.stdout.readline())

    def signal_when(self, condition, number=signal.SIGTERM):
        """Send a signal as soon as `condition()` holds; fail if it never does."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self._text("stderr")
            time.sleep(0.0005)  # what it waits for is a file of another process
        os.kill(self._child, number)

    def wait(self):
        """Return what the process left, when it has ended."""
        code = int(self._process.stdout.readline())
        opened = self._text("opened").splitlines()
        return Done(code, self._text("stdout"), self._text("stderr"), opened)

    def run(self, arguments, **how):
        """Begin one and wait for it."""
        self.start(arguments, **how)
        return self.wait()

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def _text(self, name):
        with contextlib.suppress(FileNotFoundError):
            return Path(f"{self._said}.{name}").read_text()
        return ""
