"""One engine in a process of its own: `python -m benchmarks.engine_child`, started by `Child`.

Commands, each a line of JSON with `do`:
`throughput` (`texts`, `seconds`): batches of token ids, tokenised before the clock starts;
`sort` (`texts`, `window_texts`), then `turn` (`seconds`), often: the same of texts sorted by
length, window by window;
`latency` (`texts` or `tokens`, `seconds`): one text after the other;
`score` (`texts`): from texts to scores, tokenizer included.
"""

import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.candidates import (
    Candidate,
    Int64,
    Laid,
    OpenEngine,
    Texts,
    open_candidate,
    resident_mib,
)
from sentiment.bulk.scoring import TOKEN_BUDGET
from sentiment.errors import first_line

WARM_UP_S = 2.0
WARM_UP_BATCHES = 40

LATENCY_PASSES = 10
"""At least; a median of fewer says nothing."""

BUDGET_TEXTS = 512
"""On which a token budget is chosen for many: a second of work, from all over them."""

CHUNK_TEXTS = 4096
"""How many texts `score` takes at a time, as a request of the largest size would."""


class EngineChild:
    """An engine, its tokenizer, and where in the texts it stands."""

    def __init__(self, engine: OpenEngine, texts: Texts) -> None:
        self._engine = engine
        self._texts = texts
        self._given: list[str] = []
        self._batches: list[Laid] = []
        self._next = 0

    def throughput(self, texts: list[str], seconds: float) -> dict[str, float]:
        """Run batches of `texts` for `seconds`, from where the last call stopped."""
        if texts != self._given:
            self._given = texts
            self._take(self._texts.encode(texts))
        return self.turn(seconds)

    def sort(self, texts: list[str], window_texts: int) -> dict[str, int]:
        """Make batches of `texts` as bulk scoring does, and choose the budget that suits them."""
        encodings = self._texts.encode(texts)
        some = sorted(encodings[:: max(1, len(encodings) // BUDGET_TEXTS)], key=len)
        self._engine.choose_token_budget(some, also=[TOKEN_BUDGET])
        windows = (
            sorted(encodings[first : first + window_texts], key=len)
            for first in range(0, len(encodings), window_texts)
        )
        self._given = []
        self._take(list(itertools.chain.from_iterable(windows)))
        return {"texts": len(encodings), "batches": len(self._batches)}

    def turn(self, seconds: float) -> dict[str, float]:
        """Run the batches that were made for `seconds`, from where the last call stopped."""
        tokens = computed = 0
        began_at = time.perf_counter()
        while (elapsed_s := time.perf_counter() - began_at) < seconds or not tokens:
            laid = self._batches[self._next % len(self._batches)]
            self._engine.infer(laid.batch)
            tokens, computed = tokens + laid.tokens, computed + laid.computed_tokens
            self._next += 1
        return {
            # Of texts of the mean length: which texts fell into the time must not matter.
            "texts_s": tokens / elapsed_s / self._mean_tokens,
            "tokens_s": tokens / elapsed_s,
            "texts": tokens / self._mean_tokens,
            "seconds": elapsed_s,
            "padding_ratio": 1 - tokens / computed,
        }

    def latency(self, seconds: float, texts: Sequence[str] = (), tokens: int = 0) -> dict[str, Any]:
        """Run texts one at a time and return the median; or one text of `tokens` tokens."""
        encodings = self._texts.encode(texts) if texts else [self._synthetic(tokens)]
        batches = [self._engine.lay_out([encoding])[0] for encoding in encodings]
        for laid in batches[:3]:
            self._engine.infer(laid.batch)
        times: list[float] = []
        ends_at = time.perf_counter() + seconds
        for laid in itertools.cycle(batches):
            began_at = time.perf_counter()
            if began_at > ends_at and len(times) >= LATENCY_PASSES:
                return {"p50_ms": statistics.median(times) * 1000, "passes": len(times)}
            self._engine.infer(laid.batch)
            times.append(time.perf_counter() - began_at)
        raise AssertionError("a cycle ends")

    def score(self, texts: list[str]) -> dict[str, float]:
        """Return how long it takes from texts to scores."""
        began_at = time.perf_counter()
        for first in range(0, len(texts), CHUNK_TEXTS):
            encodings = self._texts.encode(texts[first : first + CHUNK_TEXTS])
            for laid in self._engine.lay_out(encodings):
                self._engine.infer(laid.batch)
        return {"seconds": time.perf_counter() - began_at}

    def _take(self, encodings: Sequence[Int64]) -> None:
        self._batches, self._next = self._engine.lay_out(encodings), 0
        self._mean_tokens = sum(map(len, encodings)) / len(encodings)
        self._warm_up()

    def _synthetic(self, tokens: int) -> Int64:
        words = self._texts.encode(["the company said that net sales rose " * 80])[0]
        return np.concatenate([words[: tokens - 1], words[-1:]])

    def _warm_up(self) -> None:
        ends_at = time.perf_counter() + WARM_UP_S
        # From all over the texts: kernels are made for each shape when it first comes.
        for laid in self._batches[:: max(1, len(self._batches) // WARM_UP_BATCHES)]:
            self._engine.infer(laid.batch)
            if time.perf_counter() > ends_at:
                break


def main() -> None:
    """Open the engine, say so, and do what standard input says."""
    name, precision, batch_texts, folder, device = sys.argv[1:]
    # Libraries print to standard output too: it becomes standard error for all but the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(document: dict[str, Any]) -> None:
        print(json.dumps(document), file=answers, flush=True)

    began_at = time.perf_counter()
    try:
        candidate = Candidate(name, precision, int(batch_texts))
        engine = open_candidate(candidate, Path(folder), device)
        texts = Texts(Path(folder))
        child = EngineChild(engine, texts)
        child.latency(0, tokens=26)  # a pass that fails must say so now
    except Exception as error:
        answer({"unavailable": f"{type(error).__name__}: {first_line(error)}"})
        return
    answer({"load_s": round(time.perf_counter() - began_at, 2)})
    for line in sys.stdin:
        command = json.loads(line)
        measured = getattr(child, command.pop("do"))(**command)
        answer({**measured, "facts": {**engine.facts, "resident_mib": resident_mib()}})


if __name__ == "__main__":
    main()
