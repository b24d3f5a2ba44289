"""What a trace costs a request: `python -m benchmarks.tracing`.

The middleware around an application that does nothing, in one process and without a socket, so that
what traces add is not lost in the noise of the rest. Blocks of requests take turns: without traces,
with traces of which none is sampled, and with all sampled. The collector is a process of its own,
which reads and forgets. Writes `tracing.json`.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from starlette.types import Message, Receive, Scope, Send

from benchmarks.measurement import publish, run, significant, turn_order
from sentiment.api.middleware import Observation
from sentiment.api.tracing import Traces
from sentiment.calls import Call, note_call
from sentiment.metrics import Metrics

COLLECTOR = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

BLOCK = 500
"""Requests between two looks at the clock of the process: their spans fit in the queue."""

SHARES = {"off": None, "not sampled": "0", "sampled": "1"}
"""Kind of request -> which share of them is traced; `None`: traces are off."""


@dataclass(slots=True)
class Kind:
    """What was measured of one kind of request."""

    loop_s: list[float] = field(default_factory=list)
    """Of each request, on the event loop."""
    cpu_s: list[float] = field(default_factory=list)
    """Of the whole process for a request, the mean of each block; sending included."""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as if three texts had been computed."""
    now = time.perf_counter()
    call = Call(texts=3, computing_at=now, tokenize_s=0.0, queue_s=0.0, infer_s=0.0)
    call.lengths, call.batch_texts, call.ended_at = np.array([8.0, 9.0, 10.0]), 3, now
    note_call(call)
    scope["state"]["log_fields"]["texts"] = 3
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def nothing() -> Message:
    """Stand in for `receive`: the application does not ask."""
    return {"type": "http.request"}


async def unsent(message: Message) -> None:
    """Stand in for `send`."""


class Matched:
    """The route that a router would have found."""

    path = "/"


async def measure_block(kind: Kind, share: str | None) -> None:
    """Observe a block of requests of which `share` is traced, and send their traces."""
    os.environ |= {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": share or "0"}
    traces = None if share is None else Traces()
    app = Observation(application, metrics=Metrics(), routes=["POST /"], traces=traces)
    cpu_began_s = time.process_time()
    for _ in range(BLOCK):
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "scheme": "http",
            "http_version": "1.1",
            "headers": [(b"host", b"localhost")],
            "route": Matched,
        }
        began_at = time.perf_counter()
        await app(scope, nothing, unsent)
        kind.loop_s.append(time.perf_counter() - began_at)
    if traces is not None:
        await traces.close()
    kind.cpu_s.append((time.process_time() - cpu_began_s) / BLOCK)


def measure(rounds: int) -> dict[str, object]:
    """Return microseconds of a request of each kind, and what traces add to them."""
    with subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE) as collector:
        assert collector.stdout is not None
        try:
            port = int(collector.stdout.readline())
            os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
            kinds = {name: Kind() for name in SHARES}
            for turn in range(rounds):
                for name in turn_order(list(SHARES), turn):
                    asyncio.run(measure_block(kinds[name], SHARES[name]))
        finally:
            collector.kill()
    taken = {
        name: (statistics.median(kind.loop_s), statistics.median(kind.cpu_s))
        for name, kind in kinds.items()
    }
    return {
        name: {
            "loop_us": significant(loop_s * 1e6, 3),
            "cpu_us": significant(cpu_s * 1e6, 3),
            "added_loop_us": significant((loop_s - taken["off"][0]) * 1e6, 3),
            "added_cpu_us": significant((cpu_s - taken["off"][1]) * 1e6, 3),
        }
        for name, (loop_s, cpu_s) in taken.items()
    }


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="blocks of each kind")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: benchmarks/results")
    arguments = parser.parse_args()
    publish("tracing", measure(1 if arguments.quick else arguments.rounds), arguments)


if __name__ == "__main__":
    run(main)
