"""Load a server with a shape and write what it showed: `python -m loadtests`.

Without `--host` it starts a server of its own, without a cache, on a free port.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.children import Unavailable
from benchmarks.measurement import REPOSITORY, BenchmarkError, run
from benchmarks.models import model_folder
from benchmarks.servers import ours, serving
from loadtests.shapes import SHAPES

FILES = ("summary.md", "plots.png", "steps.csv", "figures.json")

RUNS = REPOSITORY / "build" / "loadtests"


def main() -> None:
    """Run Locust, and end with its exit code: 1 if anything failed."""
    arguments, for_locust = parser().parse_known_args()
    folder = arguments.output or RUNS / _name(arguments)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:  # of an earlier run, which could pass for this one
        (folder / name).unlink(missing_ok=True)
    with _server(arguments) as url:
        code = _ended(locust_command(url, folder, arguments.shape) + for_locust)
    if (folder / "summary.md").exists():
        print(f"-> {folder / 'summary.md'}")
    sys.exit(code)


def _ended(command: Sequence[str]) -> int:
    """Return the exit code of Locust, which is told to end when this process is."""
    with subprocess.Popen(command, cwd=REPOSITORY) as process:
        # It waits for the last answers and writes; Ctrl-C reaches it without our help.
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        signal.signal(signal.SIGINT, lambda *_: None)
        return process.wait()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; what it does not know is Locust's."""
    options = argparse.ArgumentParser(
        prog="python -m loadtests",
        description="Load a server. Other options go to Locust, such as --rate, --stretch.",
    )
    options.add_argument("--shape", choices=SHAPES, default="staircase")
    options.add_argument("--host", help="a running server; by default one is started")
    options.add_argument(
        "--model",
        default="compact",
        help="of that server: compact, bert-base (random weights) or a model folder",
    )
    options.add_argument("--precision", default="auto", help="of that server")
    options.add_argument("--output", type=Path, metavar="FOLDER", help="default: build/loadtests")
    return options


def locust_command(url: str, folder: Path, shape: str) -> list[str]:
    """Return the command that loads the server at `url` and writes into `folder`."""
    folder = folder.resolve()
    return [
        *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py"),
        *("--headless", "--only-summary", "--host", url, "--shape", shape),
        *("--results", str(folder), "--html", str(folder / "report.html")),
        *("--csv", str(folder / "locust")),
    ]


@contextlib.contextmanager
def _server(arguments: argparse.Namespace) -> Iterator[str]:
    """Give the address of the server that was named, or of one that runs as long as this."""
    if arguments.host:
        yield arguments.host
        return
    try:
        with serving(ours(model_folder(arguments.model), arguments.precision)) as server:
            yield "http://{}:{}".format(*server.address)
    except Unavailable as error:
        raise BenchmarkError(f"no server: {error}") from error


def _name(arguments: argparse.Namespace) -> str:
    if arguments.host:
        return str(arguments.shape)
    return f"{arguments.shape}-{Path(arguments.model).name}"


if __name__ == "__main__":
    run(main)
