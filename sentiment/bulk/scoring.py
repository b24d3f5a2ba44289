"""Texts in, probabilities out, as fast as the engine goes: windows of them, without an event loop.

While the engine computes one window, the next is read, tokenised and laid out.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sentiment.batching.policy import BatchFill
from sentiment.bulk.repeated import Flags, Lookup, RepeatedTexts
from sentiment.engines import Engine, open_engine
from sentiment.errors import InferenceFailed, ModelError, first_line
from sentiment.models import ModelFiles, resolve_model
from sentiment.predictions import Logits, Probabilities, softmax
from sentiment.settings import Settings
from sentiment.tokenization import Encodings, TokenIds, Tokenization, load_tokenizer

log = logging.getLogger(__name__)

TOKEN_BUDGET = 2048
"""Where the setting is `auto`, if the engine knows no larger one: no text waits for another here,
so batches may be larger than in the server. Not measured, because the last digits of a score
depend on it, and a run that goes on, here or on another machine, must get the same."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model says of a window's texts."""

    probabilities: Probabilities
    """`float32 [texts, labels]`; not a number for a text on which the model fails."""
    truncated: Flags
    """`[texts]`: the text had more tokens than the model reads."""
    computed: int = 0
    """How many texts were computed; the others were the same as one of them, or as one before."""

    @property
    def failed(self) -> int | None:
        """Index of the first text on which the model fails; `None` where it does on none."""
        failed = np.flatnonzero(np.isnan(self.probabilities).any(axis=1))
        return int(failed[0]) if len(failed) else None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A window that waits for the engine."""

    lookup: Lookup
    encodings: Encodings
    """Of the texts to compute."""
    batches: list[tuple[list[int], Any]]
    """Indices into them, and the engine's batch of these."""


class Scorer:
    """A model that is loaded, and the threads that tokenise for it. For one caller at a time.

    with Scorer.open(Settings()) as scorer:
        scorer.score_texts(["Profit rose.", "Profit fell."]).probabilities
    """

    def __init__(
        self,
        *,
        model: ModelFiles,
        engine: Engine,
        tokenization: Tokenization,
        token_budget: int,
        threads: int,
    ) -> None:
        """Assemble parts that are ready; `open` is the usual way in."""
        self.model = model
        self.engine = engine
        self.token_budget = token_budget
        """Most tokens in one forward pass."""
        self.threads = threads
        """Of a forward pass."""
        self.engine_s = 0.0
        """Seconds of forward passes so far."""
        self.texts = 0
        """How many were scored so far."""
        self.computed_texts = 0
        """Of these, what was not the same as another."""
        self._tokenization = tokenization
        self._repeated = RepeatedTexts(labels=len(model.labels))

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[Self]:
        """Find and load the model.

        Args:
            settings: which model, and how it is computed; what is of the server is passed over.

        Raises:
            ModelError: the model cannot be had or loaded.
        """
        model = resolve_model(settings.model)
        tokenizer = load_tokenizer(model.folder)
        model.check_vocabulary(tokenizer.get_vocab_size())
        engine = open_engine(
            model,
            engine=settings.engine,
            device=settings.device,
            threads=settings.thread_count,
            precision=settings.precision,
            cache=settings.cache_path,
        )
        if settings.token_budget != "auto":
            token_budget = settings.token_budget
        else:
            token_budget = max(TOKEN_BUDGET, *engine.token_budgets)
        with Tokenization(
            tokenizer, max_tokens=model.max_tokens, threads=settings.thread_count
        ) as tokenization:
            yield cls(
                model=model,
                engine=engine,
                tokenization=tokenization,
                token_budget=token_budget,
                threads=settings.thread_count,
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Lower-cased, in the order of the columns of probabilities."""
        return self.model.labels

    def score_texts(self, texts: Sequence[str]) -> Scores:
        """Score one window of texts."""
        (scores,) = self.score_windows([texts])
        return scores

    def score_windows(
        self,
        windows: Iterable[Sequence[str]],
        *,
        on_batch: Callable[[float], None] = lambda share: None,
    ) -> Iterator[Scores]:
        """Score windows of texts, in order; the next one is read while one is computed.

        The same texts in the same windows, from the same beginning, give the same bits.

        Args:
            windows: of any number of texts.
            on_batch: is told after each batch which share of its window is computed.

        Raises:
            InferenceFailed: the model fails on every text of a window: not they are at fault.
        """
        remaining = iter(windows)
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="prepare") as ahead:
                upcoming = ahead.submit(self._prepare_next, remaining)
                while (prepared := upcoming.result()) is not None:
                    upcoming = ahead.submit(self._prepare_next, remaining)
                    yield self._compute(prepared, on_batch)
        except BaseException:
            # Given up, by the caller perhaps: texts that were looked up have no result.
            self.forget()
            raise

    def recall(self, texts: Sequence[str], scores: Scores) -> None:
        """Take note of a window that was scored before, as if it had been scored now."""
        lookup = self._repeated.look_up(texts)
        new = lookup.new
        self._repeated.settle(lookup, scores.probabilities[new], scores.truncated[new])

    def forget(self) -> None:
        """Forget all texts: what follows does not depend on what came before."""
        self._repeated = RepeatedTexts(labels=len(self.labels))

    def _prepare_next(self, windows: Iterator[Sequence[str]]) -> _Prepared | None:
        texts = next(windows, None)
        if texts is None:
            return None
        lookup = self._repeated.look_up(texts)
        encodings = self._tokenization.encode_now([texts[index] for index in lookup.new])
        lengths = [len(ids) for ids in encodings.ids]
        batch_type = self.engine.batch_type
        batches = [
            (batch, batch_type.collate([encodings.ids[index] for index in batch]))
            for batch in batches_by_length(lengths, self.token_budget, pads=batch_type.pads)
        ]
        return _Prepared(lookup, encodings, batches)

    def _compute(self, prepared: _Prepared, on_batch: Callable[[float], None]) -> Scores:
        ids = prepared.encodings.ids
        done = 0
        logits = np.empty((len(ids), len(self.labels)), dtype=np.float32)
        for indices, batch in prepared.batches:
            found = self._infer(batch, [ids[index] for index in indices])
            logits[indices] = found
            done += len(indices)
            on_batch(done / len(ids))
        if len(ids) > 1 and np.isnan(logits).any(axis=1).all():
            raise InferenceFailed(f"the model fails on every one of {len(ids)} texts")
        probabilities, truncated = self._repeated.settle(
            prepared.lookup,
            softmax(logits, self.model.temperature),
            prepared.encodings.truncated,
        )
        self.texts += len(truncated)
        self.computed_texts += len(ids)
        return Scores(probabilities, truncated, computed=len(ids))

    def _infer(self, batch: Any, encodings: Sequence[TokenIds]) -> Logits:
        """Classify a batch; of one that fails each half by itself, down to the text at fault.

        Args:
            batch: the engine's, of `encodings`.
        """
        began_at = time.perf_counter()
        try:
            logits = self.engine.infer(batch)
        except Exception as error:
            if len(encodings) == 1:
                log.warning("the model fails on a text: %s", first_line(error))
                return np.full((1, len(self.labels)), np.nan, dtype=np.float32)
        else:
            self.engine_s += time.perf_counter() - began_at
            if logits.shape[1] != len(self.labels):
                raise ModelError(
                    f"{self.model.reference}: gives another number of scores than it has labels"
                )
            return logits
        middle = len(encodings) // 2
        halves = (encodings[:middle], encodings[middle:])
        collate = self.engine.batch_type.collate
        return np.concatenate([self._infer(collate(half), half) for half in halves])


def batches_by_length(lengths: Sequence[int], token_budget: int, *, pads: bool) -> list[list[int]]:
    """Cut texts into batches of similar length, the longest first.

    Similar lengths waste no padding, and where nothing pads they leave attention nothing to look
    past. The longest come first, so that what is too much for the memory is met at once.

    Args:
        lengths: tokens of each text.
        token_budget: most tokens in a batch, with padding where the engine pads.

    Returns:
        Indices into `lengths`, each in one batch.
    """
    batches: list[list[int]] = []
    order: npt.NDArray[np.int64] = np.argsort(-np.array(lengths, dtype=np.int64), kind="stable")
    fill = BatchFill(token_budget, pads=pads)
    for index in order.tolist():
        if not batches or not fill.fits(lengths[index]):
            batches.append([])
            fill = BatchFill(token_budget, pads=pads)
        batches[-1].append(index)
        fill.add(lengths[index])
    return batches
