"""A model that the server could serve, asked directly: texts in, probabilities out."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from sentiment.engines import Engine, open_engine
from sentiment.errors import ModelError
from sentiment.models import ModelFiles, resolve_model
from sentiment.predictions import LABELS, Logits, softmax
from sentiment.settings import usable_cores
from sentiment.tokenization import TokenIds, Tokenization, load_tokenizer

BATCH_TEXTS = 32


class Classifier:
    """The serving engine and tokenizer of one model, without a server around them."""

    def __init__(self, model: ModelFiles, *, precision: str, cache: Path | None = None) -> None:
        """Open `model`.

        Args:
            precision: as `SENTIMENT_PRECISION`.
            cache: as `SENTIMENT_CACHE_FOLDER`.

        Raises:
            ModelError: the model cannot be served, or its labels are not the data's.
        """
        if sorted(model.labels) != sorted(LABELS):
            raise ModelError(f"{model.reference}: labels {model.labels}, but the data has {LABELS}")
        self.model = model
        self.engine: Engine = open_engine(
            model,
            engine="auto",
            device="auto",
            threads=usable_cores(),
            precision=precision,
            cache=cache,
        )
        tokenizer = load_tokenizer(model.folder)
        model.check_vocabulary(tokenizer.get_vocab_size())
        self._tokenization = Tokenization(tokenizer, max_tokens=model.max_tokens, threads=1)
        self._columns = [model.labels.index(label) for label in LABELS]
        self.texts_per_s = 0.0
        """Of the last call."""

    @classmethod
    def open(cls, model: str, *, precision: str = "fp32", cache: Path | None = None) -> Self:
        """Open the model that `SENTIMENT_MODEL` would name.

        Raises:
            ModelError: as the constructor, or the model cannot be had.
        """
        return cls(resolve_model(model), precision=precision, cache=cache)

    def __enter__(self) -> Self:
        self._tokenization.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tokenization.__exit__(kind, error, traceback)

    def logits(self, texts: Sequence[str]) -> Logits:
        """Return logits `[texts, labels]`, columns as in `LABELS`."""
        began_at = time.perf_counter()
        logits = infer_all(self.engine, self._tokenization.encode_now(texts).ids)
        self.texts_per_s = len(texts) / (time.perf_counter() - began_at)
        return logits[:, self._columns]

    def probabilities(self, texts: Sequence[str]) -> Logits:
        """Return probabilities `[texts, labels]`, columns as in `LABELS`, as the server would."""
        return softmax(self.logits(texts), self.model.temperature)


def infer_all(engine: Engine, encodings: Sequence[TokenIds]) -> Logits:
    """Run all encodings in batches of similar length; rows come back in the given order."""
    order = sorted(range(len(encodings)), key=lambda index: len(encodings[index]))
    rows: list[Logits] = []
    for start in range(0, len(order), BATCH_TEXTS):
        chosen = [encodings[index] for index in order[start : start + BATCH_TEXTS]]
        batch = engine.batch_type.collate(chosen)
        rows.append(engine.infer(batch))
    logits = np.concatenate(rows)
    unsorted = np.empty_like(logits)
    unsorted[order] = logits
    return unsorted
