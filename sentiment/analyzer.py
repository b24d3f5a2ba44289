"""The façade: texts in, predictions out. Owns tokeniser, batcher and engine."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import numpy.typing as npt

from sentiment.batching.batcher import Answer, Batcher
from sentiment.batching.tuning import best_token_budget
from sentiment.cache import LogitsCache
from sentiment.calls import Call, note_call
from sentiment.engines import Engine, EngineFacts, open_engine
from sentiment.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelError,
    RequestError,
    TooManyTokens,
    Unavailable,
    first_line,
)
from sentiment.metrics import Metrics
from sentiment.models import ModelFiles, resolve_model
from sentiment.predictions import Logits, Predictions, Timing
from sentiment.settings import Settings
from sentiment.tokenization import (
    Encodings,
    TokenEstimate,
    Tokenization,
    Truncation,
    load_tokenizer,
)

log = logging.getLogger(__name__)

EngineOpener = Callable[[ModelFiles, Settings], Engine]

WARM_UP_TEXTS = ("Warm-up.", "The first passes allocate memory and choose kernels. " * 100) * 2
"""Each size twice: the first pass is slow, the second is what the cost model begins with."""

WARM_UP_TIMEOUT_S = 600.0
"""Of one text of the warm-up; a pass that hangs is noticed long before."""


def engine_for(model: ModelFiles, settings: Settings) -> Engine:
    """Open the engine that `settings` ask for."""
    return open_engine(
        model,
        engine=settings.engine,
        device=settings.device,
        threads=settings.thread_count,
        precision=settings.precision,
        cache=settings.cache_path,
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
        engine: EngineFacts,
        tokenization: Tokenization,
        batcher: Batcher,
    ) -> None:
        """Assemble parts that already run; `open` is the usual way in."""
        self.model = model
        self.engine = engine
        self._cache = LogitsCache(
            settings.cache_texts, labels=len(model.labels), model=model.reference
        )
        self._estimate = TokenEstimate(
            max_tokens=model.max_tokens, special_tokens=tokenization.special_tokens
        )
        self._deadline_s = settings.deadline_s
        self._metrics = metrics
        metrics.follow(metrics.cache_texts, lambda: len(self._cache))
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
        opened, token_budget = await asyncio.to_thread(_open, open_engine, model, settings)
        batcher = Batcher(
            opened,
            reopen=lambda: open_engine(model, settings),
            token_budget=token_budget,
            max_backlog_s=settings.max_backlog_s,
            engine_timeout_s=settings.engine_timeout_s,
            metrics=metrics,
        )
        del opened  # the memory of an engine that is lost is needed by the next
        engine = batcher.engine
        metrics.model.labels(model.name, model.revision, engine.name, engine.precision).set(1)
        tokenizer = await asyncio.to_thread(load_tokenizer, model.folder)
        model.check_vocabulary(tokenizer.get_vocab_size())
        with Tokenization(
            tokenizer, max_tokens=model.max_tokens, threads=settings.thread_count
        ) as tokenization:
            async with batcher:
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
    def token_budget(self) -> int:
        """Most tokens in one forward pass, as set or as measured at the start."""
        return self._batcher.token_budget

    @property
    def running(self) -> bool:
        """Whether `classify` can answer."""
        return self._batcher.running and not self._closing

    def check_running(self) -> None:
        """Return if `classify` can answer.

        Raises:
            WorkerDown: its engine was lost and is being opened again.
            Unavailable: it is closed.
        """
        if self._closing:
            raise Unavailable("the analyzer is closed")
        self._batcher.check_running()

    def check_admission(self) -> None:
        """Return if a single text would be taken now; cheap, before a body is read.

        Raises:
            Overloaded: too much work lies ahead.
            WorkerDown, Unavailable: as `check_running`.
        """
        self.check_running()
        self._batcher.check_admission()

    async def classify(
        self,
        texts: Sequence[str],
        *,
        timeout_s: float | None = None,
        truncation: Truncation = Truncation.RIGHT,
    ) -> Predictions:
        """Classify `texts`, sharing forward passes with other callers.

        All of them are admitted or none. Cancelling the call takes them out of the queue.

        Args:
            timeout_s: may shorten the settings' `deadline_s`, never lengthen it.
            truncation: what becomes of texts with more tokens than the model reads.

        Raises:
            TooManyTokens: there are such texts, and `truncation` refuses them; none was classified.
            Overloaded: too much work lies ahead; nothing of this call was queued.
            DeadlineExceeded: they cannot be answered in time, or were not.
            InferenceFailed: the model fails on one of the texts.
            Unavailable: the analyzer is closed, its engine was lost, or memory ran out.
        """
        if isinstance(texts, str):
            raise TypeError("expected a sequence of texts, not one text")
        self.check_running()
        timeout_s = min(math.inf if timeout_s is None else timeout_s, self._deadline_s)
        self._calls += 1
        self._idle.clear()
        call = Call(texts=len(texts))
        try:
            predictions = await self._classify(call, texts, timeout_s, truncation)
            call.truncated_texts = predictions.truncated_count
        except RequestError as error:
            call.code = error.code
            raise
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
            call.ended_at = time.perf_counter()
            note_call(call)
        for label, count in predictions.label_counts().items():
            self._metrics.texts.labels(label).inc(count)
        self._metrics.truncated.inc(call.truncated_texts)
        return predictions

    async def _classify(
        self, call: Call, texts: Sequence[str], timeout_s: float, truncation: Truncation
    ) -> Predictions:
        if not self._cache.capacity and texts:
            answer, encodings = await self._compute(call, texts, timeout_s, truncation)
            return self._predictions(answer.logits, encodings.truncated, call.timing)
        keys = self._cache.keys(texts)
        found = self._cache.get(keys, truncation)
        call.cached_texts = int(found.known.sum())
        self._metrics.cache_hits.inc(call.cached_texts)
        if not found.known.all():
            missing = np.flatnonzero(~found.known).tolist()
            try:
                answer, encodings = await self._compute(
                    call, [texts[index] for index in missing], timeout_s, truncation
                )
            except DeadlineExceeded as error:
                if error.texts_that_fit is not None:  # of the missing ones; the others cost nothing
                    error.texts_that_fit = missing[error.texts_that_fit]
                raise
            except TooManyTokens as error:
                tokens = {missing[index]: count for index, count in error.tokens.items()}
                raise TooManyTokens(tokens, max_tokens=error.max_tokens) from None
            found.logits[missing] = answer.logits
            found.truncated[missing] = encodings.truncated
            self._cache.put(
                [keys[index] for index in missing],
                answer.logits,
                encodings.truncated,
                truncation=truncation,
            )
        return self._predictions(found.logits, found.truncated, call.timing)

    async def _compute(
        self,
        call: Call,
        texts: Sequence[str],
        timeout_s: float,
        truncation: Truncation = Truncation.RIGHT,
    ) -> tuple[Answer, Encodings]:
        """Tokenise and classify one or more texts; `call` is told the time that each stage took."""
        chars = np.fromiter(map(len, texts), np.float64, len(texts))
        began_at = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                with self._batcher.admit(
                    self._estimate.lengths(chars), timeout_s=timeout_s
                ) as entry:
                    call.computing_at = began_at
                    encodings = await self._tokenization.encode(texts, truncation)
                    if truncation is Truncation.REFUSE:
                        self._check_lengths(encodings)
                    call.tokenize_s = time.perf_counter() - began_at
                    try:
                        answer = await self._batcher.submit(entry, encodings.ids)
                    finally:
                        call.queue_s, call.batch_texts = entry.queue_s, entry.batch_texts
        except TimeoutError as error:
            raise DeadlineExceeded(f"not answered within {timeout_s:g} s") from error
        if answer.logits.shape[1] != len(self.model.labels):
            raise InferenceFailed("the model gives another number of scores than it has labels")
        call.queue_s, call.infer_s = answer.queue_s, answer.infer_s
        self._metrics.tokenize_seconds.observe(call.tokenize_s)
        whole = ~encodings.truncated
        tokens = np.fromiter(map(len, encodings.ids), np.float64, len(texts))
        self._estimate.observe(chars=chars[whole], tokens=tokens[whole])
        call.lengths = tokens
        return answer, encodings

    def _check_lengths(self, encodings: Encodings) -> None:
        """Return if the model reads every text whole.

        Raises:
            TooManyTokens: it does not.
        """
        too_long = np.flatnonzero(encodings.truncated).tolist()
        if too_long:
            raise TooManyTokens(
                {i: len(encodings.ids[i]) + int(encodings.left_out[i]) for i in too_long},
                max_tokens=self.model.max_tokens,
            )

    def _predictions(
        self, logits: Logits, truncated: npt.NDArray[np.bool_], timing: Timing
    ) -> Predictions:
        return Predictions(
            self.model.labels,
            logits,
            temperature=self.model.temperature,
            truncated=truncated,
            timing=timing,
        )

    async def _warm_up(self) -> None:
        """Run real passes before the first caller does; readiness waits for them.

        The longest fills a model of 512 tokens: one that claims to read more than it can must
        end the start, not turn every long text into an error.
        """
        for text in WARM_UP_TEXTS:
            try:
                await self._compute(Call(texts=1), [text], WARM_UP_TIMEOUT_S)
            except (InferenceFailed, Unavailable) as error:
                reason = first_line(error.__cause__ or error)
                raise ModelError(
                    f"{self.model.reference}: fails on a text of {len(text)} characters: {reason}"
                ) from error

    async def _drain(self) -> None:
        """Refuse new calls and wait for those in progress; each ends by its deadline."""
        self._closing = True
        await self._idle.wait()


def _open(open_engine: EngineOpener, model: ModelFiles, settings: Settings) -> tuple[Engine, int]:
    """Return the engine and the token budget that suits it."""
    engine = open_engine(model, settings)
    if settings.token_budget != "auto":
        return engine, settings.token_budget
    return engine, best_token_budget(engine)
