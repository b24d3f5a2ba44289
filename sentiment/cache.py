"""Finished texts, least recently used forgotten first."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from sentiment.predictions import Logits
from sentiment.tokenization import Truncation

Key = bytes

KEY_BYTES = 16
"""Of BLAKE2b (RFC 7693): two of a billion texts share a key with a probability below 1e-20."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the cache knows of one request's texts."""

    known: npt.NDArray[np.bool_]
    """`[texts]`."""
    logits: Logits
    """`float32 [texts, labels]`; zero where nothing is known."""
    truncated: npt.NDArray[np.bool_]
    """`[texts]`."""


class LogitsCache:
    """Logits of up to `capacity` texts, in one array; texts themselves are not kept.

    A text that is read whole has one answer, however it was to be truncated; one that is not has
    another from each end.
    """

    def __init__(self, capacity: int, *, labels: int, model: str) -> None:
        """Remember for one model, named with its digest; `capacity` 0 remembers nothing."""
        self.capacity = capacity
        self._model = blake2b(model.encode()).digest()
        self._slots: OrderedDict[Key, int] = OrderedDict()  # least recently used first
        self._logits = np.zeros((capacity, labels), np.float32)
        self._truncated = np.zeros(capacity, bool)

    def __len__(self) -> int:
        return len(self._slots)

    def keys(self, texts: Sequence[str]) -> list[Key]:
        """Return the key of each text for this model."""
        return [
            blake2b(text.encode(), digest_size=KEY_BYTES, key=self._model).digest()
            for text in texts
        ]

    def get(self, keys: Sequence[Key], truncation: Truncation = Truncation.RIGHT) -> Found:
        """Look texts up that are to be truncated so; those that are found count as used."""
        if truncation is not Truncation.RIGHT:
            keys = [key if self._is_whole(key) else _cut(key, truncation) for key in keys]
        slots = [self._slots.get(key, -1) for key in keys]
        for key, slot in zip(keys, slots, strict=True):
            if slot >= 0:
                self._slots.move_to_end(key)
        indices = np.array(slots, dtype=np.intp)
        known = indices >= 0
        logits = np.zeros((len(keys), self._logits.shape[1]), np.float32)
        logits[known] = self._logits[indices[known]]
        truncated = np.zeros(len(keys), bool)
        truncated[known] = self._truncated[indices[known]]
        return Found(known, logits, truncated)

    def put(
        self,
        keys: Sequence[Key],
        logits: Logits,
        truncated: npt.NDArray[np.bool_],
        *,
        truncation: Truncation = Truncation.RIGHT,
    ) -> None:
        """Remember the logits `[texts, labels]` of texts, the last `capacity` of them."""
        if truncation is not Truncation.RIGHT:
            keys = [
                _cut(key, truncation) if cut else key
                for key, cut in zip(keys, truncated, strict=True)
            ]
        for key, row, cut in zip(keys, logits, truncated, strict=True):
            slot = self._slots.get(key)
            if slot is None:
                if len(self._slots) < self.capacity:
                    slot = len(self._slots)
                else:
                    _, slot = self._slots.popitem(last=False)
                self._slots[key] = slot
            else:
                self._slots.move_to_end(key)
            self._logits[slot] = row
            self._truncated[slot] = cut

    def _is_whole(self, key: Key) -> bool:
        """Whether a text is remembered and the model read all of it."""
        slot = self._slots.get(key)
        return slot is not None and not self._truncated[slot]


def _cut(key: Key, truncation: Truncation) -> Key:
    """Return the key of a text that is not read whole, nor truncated as most are."""
    return key + truncation.name.encode()
