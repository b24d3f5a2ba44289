"""A server around an engine of known service time: `python -m benchmarks.reliability.double`.

Everything but the engine is what `python -m sentiment serve --port 0` runs. A pass sleeps
`base + token * tokens`, so the capacity is known and the processor stays free for the client.

Standard input takes one command a line, each answered on standard output by the same line:
`poison on|off` (fail on the marked word), `die` (the next pass ends the engine's thread),
`hang` (the next pass never ends), `memory N` (batches over N tokens are out of memory; 0: none).
"""

import argparse
import sys
import threading
import time
import zlib
from contextlib import asynccontextmanager

import numpy as np

from benchmarks.reliability.texts import checksum_score, poison
from sentiment.analyzer import Analyzer
from sentiment.api.app import create_app
from sentiment.api.lifecycle import Lifecycle
from sentiment.api.protocol import Edge
from sentiment.engines import Engine
from sentiment.engines.batches import PackedBatch
from sentiment.launcher import run
from sentiment.listeners import Listeners
from sentiment.logs import configure_logging
from sentiment.metrics import Metrics
from sentiment.models import resolve_model
from sentiment.predictions import Logits
from sentiment.settings import Settings


class PacedEngine:
    """Answers a checksum of each text's token ids after a time that depends on tokens alone."""

    name = "paced"
    device = "cpu"
    precision = "fp32"
    batch_type = PackedBatch
    token_budgets = (1024,)

    def __init__(
        self, *, base_s: float, token_s: float, leak_bytes: int, temperature: float
    ) -> None:
        """Take `base_s + token_s * tokens` a pass, and keep `leak_bytes` for each text.

        The server will divide logits by `temperature`.
        """
        self.poisoned = False
        self.dies = False
        self.hangs = False
        self.memory_tokens = 0
        self._base_s = base_s
        self._token_s = token_s
        self._leak_bytes = leak_bytes
        self._temperature = temperature
        self._leaked: list[bytes] = []
        _, self._poison = poison()

    def infer(self, batch: PackedBatch) -> Logits:
        ends_at = time.perf_counter() + self._base_s + self._token_s * batch.tokens
        if self.hangs:
            self.hangs = False
            threading.Event().wait()
        if self.dies:
            self.dies = False
            raise SystemExit("told to die")
        if self.memory_tokens and batch.tokens > self.memory_tokens:
            raise MemoryError
        if self.poisoned and self._poison in batch.ids:
            raise RuntimeError("poison")
        if self._leak_bytes:
            self._leaked += [bytes(self._leak_bytes) for _ in batch.lengths]
        probabilities = np.empty((len(batch.lengths), 3), np.float64)
        for row, ids in enumerate(np.split(batch.ids, batch.row_starts[1:])):
            label, score = checksum_score(zlib.crc32(ids.tobytes()))
            probabilities[row] = (1 - score) / 2
            probabilities[row, label] = score
        time.sleep(max(0.0, ends_at - time.perf_counter()))
        return (self._temperature * np.log(probabilities)).astype(np.float32)

    def obey(self) -> None:
        """Do what standard input says, until it ends."""
        for line in sys.stdin:
            match line.split():
                case ["poison", onoff]:
                    self.poisoned = onoff == "on"
                case ["die"]:
                    self.dies = True
                case ["hang"]:
                    self.hangs = True
                case ["memory", tokens]:
                    self.memory_tokens = int(tokens)
            print(line, end="", flush=True)


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-ms", type=float, default=20.0)
    parser.add_argument("--token-ms", type=float, default=0.25)
    parser.add_argument("--leak-bytes", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    settings = Settings.from_env()
    configure_logging(settings.log_level)
    engine = PacedEngine(
        base_s=arguments.base_ms / 1000,
        token_s=arguments.token_ms / 1000,
        leak_bytes=arguments.leak_bytes,
        temperature=resolve_model(settings.model).temperature,
    )
    threading.Thread(target=engine.obey, daemon=True).start()
    serve_engine(engine, settings, port=arguments.port)


def serve_engine(engine: Engine, settings: Settings, *, port: int = 0) -> None:
    """Run what `python -m sentiment serve` runs, around `engine`."""

    @asynccontextmanager
    async def open_analyzer(settings, metrics):
        async with Analyzer.open(settings, metrics, open_engine=lambda *_: engine) as analyzer:
            yield analyzer

    edge = Edge(settings=settings, metrics=Metrics(), lifecycle=Lifecycle())
    app = create_app(
        settings, metrics=edge.metrics, lifecycle=edge.lifecycle, open_analyzer=open_analyzer
    )
    listeners = Listeners.take(host="127.0.0.1", port=port, metrics_port=settings.metrics_port)
    run(app, edge, listeners)


if __name__ == "__main__":
    main()
