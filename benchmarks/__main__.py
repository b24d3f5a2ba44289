"""Measure speed: `python -m benchmarks [engine | server | precision | scaling ...]`, or all.

`engine` and `server` run for bert-base and for the bundled model, the others for the latter,
unless `--model` says otherwise. `benchmarks.reliability` has a command of its own.
"""

import argparse
import subprocess
import sys

from benchmarks.measurement import REPOSITORY

PARTS = {
    "engine": ("bert-base", "compact"),
    "server": ("bert-base", "compact"),
    "precision": ("compact",),
    "stream": ("compact",),
    "scaling": ("compact",),
}
"""Name of a part -> models that it is run for."""


def main() -> None:
    """Run the parts that are named, or all, one process after the other."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="Each part alone has more options: python -m benchmarks.engine --help",
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--model", action="append", help="may be given several times")
    parser.add_argument("--texts", metavar="FILE", help="texts to measure with")
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--patience", type=float, help="seconds to wait for other programs")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    options = ["--texts", arguments.texts] if arguments.texts else []
    options += ["--rounds", str(arguments.rounds)] if arguments.rounds else []
    if arguments.patience is not None:
        options += ["--patience", str(arguments.patience)]
    options += ["--quick"] if arguments.quick else []
    failed = False
    for part in arguments.parts or PARTS:
        for model in arguments.model or PARTS[part]:
            command = [sys.executable, "-m", f"benchmarks.{part}", "--model", model, *options]
            failed |= subprocess.run(command, cwd=REPOSITORY, check=False).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
