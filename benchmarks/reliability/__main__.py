"""Measure what the server promises: `python -m benchmarks.reliability [part ...]`.

Each part prints its figures, what fell short, and as its last line one JSON object, which is
also added to `benchmarks/results/reliability.json`.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from benchmarks.reliability import (
    fairness,
    faults,
    inputs,
    invariance,
    overload,
    recipients,
    resources,
    shutdown,
    slow_clients,
)
from benchmarks.reliability.report import Report, append

Part = Callable[[], Coroutine[Any, Any, Report]] | Callable[[], Report]

PARTS: dict[str, Part] = {
    "overload": overload.overload,
    "real_overload": overload.real_overload,
    "recovery": overload.recovery,
    "retries": overload.retries,
    "fairness": fairness.fairness,
    "giants_beside_one": fairness.giants_beside_one,
    "recipients": recipients.recipients,
    "invariance": invariance.invariance,
    "shutdown": shutdown.shutdown,
    "slow_clients": slow_clients.slow_clients,
    "memory": resources.memory,
    "leaking_memory": resources.leaking_memory,
    "real_memory": resources.real_memory,
    "bad_memory": resources.bad_memory,
    "connections": resources.connections,
    "idle": resources.idle,
    "poison_stream": faults.poison_stream,
    "stuck_logs": faults.stuck_logs,
    "no_descriptors": faults.no_descriptors,
    "tiny_chunks": faults.tiny_chunks,
    "full_disk": faults.full_disk,
    "inputs": inputs.inputs,
    "added_latency": resources.added_latency,
}


def run(part: Part) -> Report:
    """Run one part, on an event loop if it wants one."""
    found = uvloop.run(part()) if inspect.iscoroutinefunction(part) else part()
    assert isinstance(found, Report)
    return found


def main() -> None:
    """Run the parts that are named, or all; exit 1 if a figure misses its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--dry", action="store_true", help="do not write the result file")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    missed = False
    for name in arguments.parts or PARTS:
        report = run(PARTS[name])
        for check in report.checks:
            mark = "ok  " if check.holds else "MISS"
            print(f"{mark} {check.name}: {check.figure:g} {check.relation} {check.limit:g}")
        document = report.document()
        if not arguments.dry:
            append(document)
        print(json.dumps(document), flush=True)
        missed |= not report.holds
    sys.exit(missed)


if __name__ == "__main__":
    main()
