"""The real application around an engine that the test controls, and clients that ask it.

Only the engine is a double. It answers for each text what `answer_to` says, so that an answer
proves whose it is.
"""

import gc
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import cache

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from sentiment import Settings
from sentiment.analyzer import Analyzer
from sentiment.api.app import create_app
from sentiment.batching.cost import Coefficients
from sentiment.models import COMPACT_FOLDER, resolve_model
from sentiment.predictions import softmax
from sentiment.tokenization import load_tokenizer
from tests.doubles import GatedEngine, expected_logits

LABELS = ("positive", "negative", "neutral")
OUR_DEFECTS = re.compile(
    "Task was destroyed|never awaited|never retrieved|InvalidStateError|unhandled exception"
)
"""What no log may say, whatever was sent."""


class Application:
    """The application, its engine and its clients; an async engine seen from outside."""

    def __init__(self, **settings) -> None:
        self.engines: list[GatedEngine] = []
        """All that were opened; the last one serves."""
        self.expected_defects = False
        """Whether this test makes the server log a defect."""
        settings = {"model": "compact", "threads": 2} | settings
        self.lost = False
        """Whether this test leaves the server beyond repair."""
        self.app = create_app(Settings(**settings), open_analyzer=self._open)

    @asynccontextmanager
    async def _open(self, settings, metrics):
        async with Analyzer.open(settings, metrics, open_engine=self._open_engine) as analyzer:
            yield analyzer

    def _open_engine(self, *_) -> GatedEngine:
        engine = GatedEngine()
        engine.tamper = telling
        engine.poison = ids_of("poison")[1]
        self.engines.append(engine)
        return engine

    def __enter__(self):
        self._log = _Log()
        logging.getLogger().addHandler(self._log)
        self._clients = ThreadPoolExecutor(80)
        self.client = TestClient(self.app)
        self.client.__enter__()
        self.warm_up = len(self.engine.batches)
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            for engine in self.engines:
                engine.release()
            self._clients.shutdown()
            if kind is None and not self.lost:
                self.check_invariants()
        finally:
            self.client.__exit__(kind, error, trace)
            logging.getLogger().removeHandler(self._log)
        if kind is None and not self.expected_defects:
            gc.collect()
            assert not self._log.lines

    def check_invariants(self) -> None:
        """Whatever a test did, afterwards all is well again."""
        wait_for(lambda: self.client.get("/readyz").is_success)
        self.engine.tamper = telling
        if self.analyzer.model.labels == LABELS:
            assert self.get(*GOLDEN) == answers(*GOLDEN)
        for gauge in ("queue_texts", "queue_tokens", "backlog_seconds"):
            assert self.metric(gauge) == 0

    @property
    def engine(self) -> GatedEngine:
        return self.engines[-1]

    @property
    def analyzer(self) -> Analyzer:
        return self.client.app_state["analyzer"]

    @property
    def batches(self) -> list[list[tuple[int, ...]]]:
        """What the engine was given since the warm-up."""
        return self.engine.batches[self.warm_up :]

    def seen(self, text) -> int:
        """Return how often the engine was given `text`."""
        return sum(batch.count(tuple(ids_of(text))) for batch in self.batches)

    def post(self, *texts, timeout_ms=None):
        headers = {} if timeout_ms is None else {"X-Timeout-Ms": str(timeout_ms)}
        return self.client.post("/?top_k=3", json=list(texts), headers=headers)

    def get(self, *texts):
        """Return the scores of `texts`: one dictionary each."""
        response = self.post(*texts)
        assert response.status_code == 200, response.text
        return scores(response)

    def spawn(self, *texts, **options) -> Future:
        """Post from another thread."""
        return self._clients.submit(self.post, *texts, **options)

    def metric(self, name, /, **wanted) -> float:
        return metric(self.client, f"sentiment_{name}", **wanted)

    def families(self):
        """Return all metrics, of one moment."""
        return text_string_to_metric_families(self.client.get("/metrics").text)

    @contextmanager
    def occupied(self) -> Iterator[Future]:
        """Hold the engine at a batch of one text for the time of the block."""
        self.engine.hold()
        occupying = self.spawn("This text occupies the engine.")
        self.client.portal.call(self.engine.entered)
        self._handed_over = self.metric("batch_texts_sum")
        yield occupying
        self.engine.release()
        occupying.result()

    def wait_until_waiting(self, texts) -> None:
        """Wait until so many wait behind the occupying text, in the queue or at the gate."""

        def waiting():
            samples = {s.name: s.value for family in self.families() for s in family.samples}
            handed_over = samples["sentiment_batch_texts_sum"] - self._handed_over
            return samples["sentiment_queue_texts"] + handed_over

        wait_for(lambda: waiting() == texts)

    def predict(self, *, token_s) -> None:
        """Have the scheduler believe that every token takes so long, until a batch ends."""
        self.analyzer._batcher._cost.coefficients = Coefficients(0.0, token_s, 0.0)


class _Log(logging.Handler):
    def __init__(self):
        super().__init__()
        self.setFormatter(logging.Formatter())
        self.lines = []

    def emit(self, record):
        if OUR_DEFECTS.search(line := self.format(record)):
            self.lines.append(line)


def telling(logits):
    """Bring the double's logits, which would saturate a softmax, to between 0 and 1."""
    return logits % 1


@cache
def _tokenizer():
    tokenizer = load_tokenizer(COMPACT_FOLDER)
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    return tokenizer


@cache
def _temperature():
    """Of the bundled model, whose folder the double stands in for."""
    return resolve_model("compact").temperature


@cache
def ids_of(text):
    """Return the token ids of `text`."""
    return np.array(_tokenizer().encode(text).ids)


def answers(*texts):
    """Return what the double answers to `texts`, as `Application.get` does."""
    temperature = _temperature()
    return [
        pytest.approx(
            dict(zip(LABELS, softmax(telling(logits), temperature), strict=True)), abs=1e-6
        )
        for logits in (expected_logits(ids_of(text)) for text in texts)
    ]


def scores(response):
    return [{item["label"]: item["score"] for item in ranked} for ranked in response.json()]


GOLDEN = ("Net sales rose.", "Loss widens")


def metric(client, name, /, **wanted):
    """Return the sum of a metric's samples that bear the labels `wanted`."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name and wanted.items() <= sample.labels.items()
    )


def wait_for(condition):
    """Ask until `condition` holds; every ask is a request, so this needs no sleep."""
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, "it never came"
