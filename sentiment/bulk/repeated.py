"""Remembers texts, so that one that occurs again is not computed again.

What is remembered depends on the texts alone and their order, never on time: a run that was
interrupted and goes on computes exactly what an unbroken one does.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentiment.predictions import Probabilities

CAPACITY = 2**18
"""Distinct texts that are remembered, the last ones: about 40 MiB."""

DIGEST_BYTES = 16
"""Of two texts in a trillion the chance of the same digest is 1e-15."""

Int64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where the results of a window's texts come from."""

    new: list[int]
    """Indices of the texts that must be computed: the first of each kind."""
    sources: Int64
    """`[texts]`: index into `new`, -1 for a text that is remembered."""
    remembered: Int64
    """`[texts]`: slot of the remembered result, -1 for a text that is not."""
    slots: Int64
    """`[new]`: where their results are kept, -1 for those pushed out by later ones at once."""


class RepeatedTexts:
    """The results of the last distinct texts.

    Looking up may run ahead of settling, each in the order of the windows: a result that is
    looked up is settled by the time that it is read.
    """

    def __init__(self, *, labels: int, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._slots: dict[bytes, int] = {}
        self._keys: list[bytes | None] = [None] * capacity
        self._next = 0
        self._probabilities = np.zeros((capacity, labels), dtype=np.float32)
        self._truncated = np.zeros(capacity, dtype=np.bool_)

    def look_up(self, texts: Sequence[str]) -> Lookup:
        """Find out which of a window's texts must be computed."""
        new: list[int] = []
        sources: list[int] = []
        remembered: list[int] = []
        here: dict[bytes, int] = {}
        for index, text in enumerate(texts):
            key = hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
            slot = self._slots.get(key, -1)
            source = -1
            if slot < 0:
                source = here.setdefault(key, len(new))
                if source == len(new):
                    new.append(index)
            sources.append(source)
            remembered.append(slot)
        return Lookup(
            new, np.array(sources, np.int64), np.array(remembered, np.int64), self._keep(here)
        )

    def settle(
        self, lookup: Lookup, probabilities: Probabilities, truncated: Flags
    ) -> tuple[Probabilities, Flags]:
        """Keep what was computed, and return the results of all of the window's texts.

        Args:
            probabilities: `float32 [new, labels]`.
            truncated: `bool [new]`.

        Returns:
            The same for each text of the window, `[texts, labels]` and `[texts]`.
        """
        every = np.empty((len(lookup.sources), probabilities.shape[1]), dtype=np.float32)
        every_truncated = np.empty(len(lookup.sources), dtype=np.bool_)
        computed = lookup.sources >= 0
        every[computed] = probabilities[lookup.sources[computed]]
        every_truncated[computed] = truncated[lookup.sources[computed]]
        slots = lookup.remembered[~computed]
        every[~computed] = self._probabilities[slots]
        every_truncated[~computed] = self._truncated[slots]
        # Only now: the new ones may push out those that were just read.
        kept = lookup.slots >= 0
        self._probabilities[lookup.slots[kept]] = probabilities[kept]
        self._truncated[lookup.slots[kept]] = truncated[kept]
        return every, every_truncated

    def _keep(self, new: dict[bytes, int]) -> Int64:
        """Give each new text a slot, and forget what was in it."""
        slots = np.full(len(new), -1, dtype=np.int64)
        for key, index in list(new.items())[-self._capacity :]:
            slot = self._next
            if (old := self._keys[slot]) is not None:
                del self._slots[old]
            self._keys[slot], self._slots[key] = key, slot
            slots[index] = slot
            self._next = (slot + 1) % self._capacity
        return slots
