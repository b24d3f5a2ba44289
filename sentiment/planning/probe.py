"""The server that a plan measures: `python -m sentiment.planning.probe`.

On standard input comes one JSON array, the tokens of typical texts. The engine that the settings
ask for is opened and measured alone; what that gave goes to standard output as one JSON object.
Then the server runs, port and all, but its passes sleep: what processor time it takes from there
on is that of everything beside the engine.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from sentiment.analyzer import Analyzer, engine_for
from sentiment.api.app import create_app
from sentiment.api.lifecycle import Lifecycle
from sentiment.api.protocol import Edge
from sentiment.batching.cost import Coefficients, Float64, fit
from sentiment.batching.tuning import best_token_budget
from sentiment.engines import Engine
from sentiment.errors import ModelError, first_line
from sentiment.launcher import run
from sentiment.listeners import Listeners
from sentiment.logs import configure_logging
from sentiment.metrics import Metrics
from sentiment.models import resolve_model
from sentiment.predictions import Logits
from sentiment.settings import Settings

LIMIT_S = 8.0
"""How long the engine is measured; at least `MIN_ROUNDS` rounds."""

MIN_ROUNDS = 3

PASS_S = 0.02
"""How long a pass of the running server sleeps: batches become as large as under load."""

SPREAD_POINTS = 50
"""So many passes stand for all that were measured, from the quickest to the slowest."""


class SleepingEngine:
    """Keeps an engine in memory and sleeps in its place."""

    def __init__(self, engine: Engine, *, labels: int) -> None:
        self.name = engine.name
        self.device = engine.device
        self.precision = engine.precision
        self.batch_type = engine.batch_type
        self.token_budgets = engine.token_budgets[:1]
        self._engine = engine
        self._labels = labels

    def infer(self, batch: Any) -> Logits:
        time.sleep(PASS_S)
        texts = len(batch.ids if batch.pads else batch.lengths)
        return np.zeros((texts, self._labels), np.float32)


def measure(
    engine: Engine, lengths: Sequence[int], *, token_budget: int
) -> tuple[Coefficients, Float64]:
    """Run batches of every size up to the budget, in turns, for `LIMIT_S`.

    Returns:
        The line through them, and what passes took over what it says, `[SPREAD_POINTS]`.
    """
    encodings = list(_sizes(lengths, token_budget))
    batches = [engine.batch_type.collate(each) for each in encodings]
    for batch in batches:
        engine.infer(batch)  # the first pass of a shape prepares its kernels
    took: list[list[float]] = [[] for _ in batches]
    ends_at = time.perf_counter() + LIMIT_S
    while len(took[0]) < MIN_ROUNDS or time.perf_counter() < ends_at:
        for batch, seconds in zip(batches, took, strict=True):
            began_at = time.perf_counter()
            engine.infer(batch)
            seconds.append(time.perf_counter() - began_at)
    tokens = np.array([batch.computed_tokens for batch in batches], np.float64)
    widths = np.array([batch.width for batch in batches], np.float64)
    # Medians: what held up a single pass must not bend the line; it is in the spread.
    line = fit(tokens=tokens, widths=widths, seconds=np.median(took, axis=1))
    predicted = line.batch_s + tokens * (line.token_s + widths * line.pair_s)
    ratios = (np.array(took) / predicted[:, None]).ravel()
    return line, np.quantile(ratios, (np.arange(SPREAD_POINTS) + 0.5) / SPREAD_POINTS)


def _sizes(lengths: Sequence[int], token_budget: int) -> Iterator[list[Any]]:
    """Yield batches: single texts, then texts as they come up to an eighth of the budget and on."""
    source = np.random.default_rng(0)
    for share in (0.05, 0.5, 0.95, 1.0):
        yield [np.ones(int(np.quantile(lengths, share)), np.int64)]
    for share in (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0):
        for _ in range(2):
            batch: list[Any] = []
            while (length := int(source.choice(lengths))) + sum(
                map(len, batch)
            ) <= token_budget * share or not batch:
                batch.append(np.ones(length, np.int64))
            yield batch


def fill(engine: Engine, lengths: Sequence[int], *, token_budget: int) -> None:
    """Run the largest batch that a plan may choose, for the memory that it takes."""
    *_, largest = _sizes(lengths, token_budget)
    engine.infer(engine.batch_type.collate(largest))


def main() -> None:
    """Measure the engine, say what it costs, then serve until a signal comes."""
    settings = Settings.from_env()
    configure_logging(settings.log_level)
    lengths = json.loads(sys.stdin.readline())
    try:
        model = resolve_model(settings.model)
        engine = engine_for(model, settings)
    except ModelError as error:
        sys.exit(f"error: {first_line(error)}")
    token_budget = (
        best_token_budget(engine) if settings.token_budget == "auto" else settings.token_budget
    )
    line, spread = measure(engine, lengths, token_budget=token_budget)
    fill(engine, lengths, token_budget=max(token_budget, *engine.token_budgets))
    listeners = Listeners.take(host="127.0.0.1", port=0, metrics_port=None)
    said = {
        "port": listeners.api[0].getsockname()[1],
        "model": model.reference,
        "engine": engine.name,
        "precision": engine.precision,
        "layout": "padded" if engine.batch_type.pads else "packed",
        "batch_s": line.batch_s,
        "token_s": line.token_s,
        "pair_s": line.pair_s,
        "spread": [round(ratio, 4) for ratio in spread.tolist()],
        "token_budget": token_budget,
        "token_budgets": engine.token_budgets,
    }
    print(json.dumps(said), flush=True)
    serve(SleepingEngine(engine, labels=len(model.labels)), settings, listeners)


def serve(engine: Engine, settings: Settings, listeners: Listeners) -> None:
    """Run what `python -m sentiment serve` runs, around `engine`."""

    @asynccontextmanager
    async def open_analyzer(settings: Settings, metrics: Metrics) -> Any:
        async with Analyzer.open(settings, metrics, open_engine=lambda *_: engine) as analyzer:
            yield analyzer

    edge = Edge(settings=settings, metrics=Metrics(), lifecycle=Lifecycle())
    app = create_app(
        settings, metrics=edge.metrics, lifecycle=edge.lifecycle, open_analyzer=open_analyzer
    )
    run(app, edge, listeners)


if __name__ == "__main__":
    main()
