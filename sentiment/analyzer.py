"""The façade: texts in, predictions out. Owns tokeniser, batcher and engine."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import numpy.typing as npt

from sentiment.batching.batcher import Batcher
from sentiment.engines import Engine, open_engine
from sentiment.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelError,
    Unavailable,
    first_line,
)
from sentiment.metrics import Metrics
from sentiment.models import ModelFiles, resolve_model
from sentiment.predictions import Logits, Predictions, Timing, softmax
from sentiment.settings import Settings
from sentiment.tokenization import Tokenization, load_tokenizer

log = logging.getLogger(__name__)

EngineOpener = Callable[[ModelFiles, Settings], Engine]

WARM_UP_TEXTS = ("Warm-up.", "The first passes allocate memory and choose kernels. " * 100)


def engine_for(model: ModelFiles, settings: Settings) -> Engine:
    """Open the engine that `settings` ask for."""
    return open_engine(
        model, engine=settings.engine, device=settings.device, threads=settings.thread_count
    )


class Analyzer:
    """Classifies texts for any number of concurrent callers.

    async with Analyzer.open(Settings()) as analyzer:
        predictions = await analyzer.classify(["The economy showed significant growth."])
        predictions[0].label  # "positive"
    """

    def __init__(
        self,
        *,
        settings: Settings,
        metrics: Metrics,
        model: ModelFiles,
        engine: Engine,
        tokenization: Tokenization,
        batcher: Batcher,
    ) -> None:
        """Assemble parts that already run; `open` is the usual way in."""
        self.model = model
        self.engine = engine
        self._deadline_s = settings.deadline_s
        self._metrics = metrics
        self._tokenization = tokenization
        self._batcher = batcher
        self._closing = False
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        metrics: Metrics | None = None,
        *,
        open_engine: EngineOpener = engine_for,
    ) -> AsyncIterator["Analyzer"]:
        """Find and load the model and warm it up; on the way out answer what was accepted.

        Raises:
            ModelError: the model cannot be had or loaded.
        """
        metrics = metrics or Metrics()
        began_at = time.perf_counter()
        # Off the loop: reading weights takes seconds, fetching them minutes.
        model = await asyncio.to_thread(resolve_model, settings.model)
        engine = await asyncio.to_thread(open_engine, model, settings)
        tokenizer = await asyncio.to_thread(load_tokenizer, model.folder)
        _check_vocabulary(tokenizer.get_vocab_size(), model)
        metrics.model.labels(model.name, model.revision, engine.name, engine.precision).set(1)
        with Tokenization(
            tokenizer, max_tokens=model.max_tokens, threads=settings.thread_count
        ) as tokenization:
            async with Batcher(
                engine,
                token_budget=settings.token_budget,
                max_queue_tokens=settings.max_queue_tokens,
                metrics=metrics,
            ) as batcher:
                analyzer = cls(
                    settings=settings,
                    metrics=metrics,
                    model=model,
                    engine=engine,
                    tokenization=tokenization,
                    batcher=batcher,
                )
                await analyzer._warm_up()
                log.info(
                    "ready",
                    extra={
                        "model": model.reference,
                        "engine": engine.name,
                        "device": engine.device,
                        "load_s": round(time.perf_counter() - began_at, 3),
                    },
                )
                try:
                    yield analyzer
                finally:
                    await analyzer._drain()

    @property
    def running(self) -> bool:
        """Whether `classify` can answer."""
        return self._batcher.running and not self._closing

    async def classify(self, texts: Sequence[str]) -> Predictions:
        """Classify `texts`, sharing forward passes with other callers.

        Raises:
            Overloaded: too much waits already; nothing of this call was queued.
            DeadlineExceeded: the settings' `deadline_s` passed; what waited was dropped.
            InferenceFailed: the model failed on a batch that held one of the texts.
            Unavailable: the analyzer is closed or its batcher died.
        """
        if isinstance(texts, str):
            raise TypeError("expected a sequence of texts, not one text")
        if not self.running:
            raise Unavailable("the analyzer is closed or its batcher has died")
        if not texts:
            empty = np.zeros((0, len(self.model.labels)), np.float32)
            return self._predictions(empty, np.zeros(0, bool), Timing(0, 0, 0))
        self._batcher.check_admission()
        began_at = time.perf_counter()
        self._calls += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(self._deadline_s):
                encodings = await self._tokenization.encode(texts)
                tokenize_s = time.perf_counter() - began_at
                answer = await self._batcher.submit(encodings.ids)
        except TimeoutError as error:
            raise DeadlineExceeded(f"not answered within {self._deadline_s:g} s") from error
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        self._metrics.tokenize_seconds.observe(tokenize_s)
        predictions = self._predictions(
            answer.logits,
            encodings.truncated,
            Timing(tokenize_s, answer.queue_s, answer.infer_s),
        )
        for label, count in predictions.label_counts().items():
            self._metrics.texts.labels(label).inc(count)
        self._metrics.truncated.inc(predictions.truncated_count)
        return predictions

    def _predictions(
        self, logits: Logits, truncated: npt.NDArray[np.bool_], timing: Timing
    ) -> Predictions:
        return Predictions(self.model.labels, softmax(logits), truncated, timing)

    async def _warm_up(self) -> None:
        """Run real passes before the first caller does; readiness waits for them.

        The longest fills a model of 512 tokens: one that claims to read more than it can must
        end the start, not turn every long text into an error.
        """
        encodings = await self._tokenization.encode(WARM_UP_TEXTS)
        for ids in encodings.ids:
            try:
                await self._batcher.submit([ids])
            except InferenceFailed as error:
                reason = first_line(error.__cause__ or error)
                raise ModelError(
                    f"{self.model.reference}: fails on a text of {len(ids)} tokens: {reason}"
                ) from error

    async def _drain(self) -> None:
        """Refuse new calls and wait for those in progress; each ends by its deadline."""
        self._closing = True
        await self._idle.wait()


def _check_vocabulary(tokens: int, model: ModelFiles) -> None:
    rows = model.config.get("vocab_size", tokens)
    if isinstance(rows, int) and tokens > rows:
        raise ModelError(
            f"{model.folder}: the tokenizer has {tokens} tokens, the model only {rows}"
        )
