"""Labelled texts as the batches that training sees. Knows tensors, not models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from sentiment.training.examples import Example

Feature = dict[str, Any]
"""`input_ids` (list), `length`, and `labels`: a target `float32 [labels]`."""

POOL_BATCHES = 32
"""Batches whose texts are sorted by length together: more would pad less and mix less."""


def features(examples: Sequence[Example], tokenizer: Tokenizer) -> list[Feature]:
    """Return `input_ids`, `length` and the target distribution of each example."""
    encodings = tokenizer.encode_batch_fast([example.text for example in examples])
    return [
        {
            "input_ids": encoding.ids,
            "length": len(encoding.ids),
            "labels": np.asarray(example.target, dtype=np.float32),
        }
        for example, encoding in zip(examples, encodings, strict=True)
    ]


class MaskedTexts(torch.utils.data.Dataset[Feature]):
    """Features with a random share of their tokens hidden; first and last stay.

    Which ones follows from seed, epoch and index alone, so that a resumed training hides what
    an unbroken one would, however far ahead batches are prepared.
    """

    def __init__(self, features: list[Feature], *, mask_id: int, share: float, seed: int) -> None:
        self._features = features
        self._mask_id = mask_id
        self._share = share
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._features)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [feature["length"] for feature in self._features]

    def set_epoch(self, epoch: int) -> None:
        """Hide other tokens; the trainer calls this before each epoch."""
        self._epoch = epoch

    def __getitem__(self, index: int) -> Feature:
        feature = self._features[index]
        if not self._share:
            return feature
        rng = np.random.default_rng((self._seed, self._epoch, index))
        ids = np.array(feature["input_ids"])
        hidden = rng.random(len(ids)) < self._share
        hidden[[0, -1]] = False
        ids[hidden] = self._mask_id
        return {**feature, "input_ids": ids.tolist()}


@dataclass(frozen=True, slots=True)
class Collator:
    """Pad a batch to its longest text."""

    pad_id: int

    def __call__(self, features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        width = max(feature["length"] for feature in features)
        ids = torch.full((len(features), width), self.pad_id)
        mask = torch.zeros_like(ids)
        for row, feature in enumerate(features):
            ids[row, : feature["length"]] = torch.tensor(feature["input_ids"])
            mask[row, : feature["length"]] = 1
        targets = torch.from_numpy(np.stack([feature["labels"] for feature in features]))
        return {"input_ids": ids, "attention_mask": mask, "labels": targets}


class LengthBuckets(torch.utils.data.Sampler[int]):
    """Indices of texts such that each run of `batch_texts` is of similar length."""

    def __init__(self, lengths: Sequence[int], *, batch_texts: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch_texts = batch_texts
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose another order; the trainer calls this before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = rng.permutation(len(self._lengths))
        batches: list[npt.NDArray[np.int64]] = []
        for start in range(0, len(order), POOL_BATCHES * self._batch_texts):
            pool = order[start : start + POOL_BATCHES * self._batch_texts]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches += np.split(pool, range(self._batch_texts, len(pool), self._batch_texts))
        full = [batch for batch in batches if len(batch) == self._batch_texts]
        rng.shuffle(full)
        # The one batch that is not full comes last, or it would shift all after it.
        for batch in (*full, *(batch for batch in batches if len(batch) < self._batch_texts)):
            yield from batch.tolist()
