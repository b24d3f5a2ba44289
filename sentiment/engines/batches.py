"""Encodings laid out for one forward pass, with and without padding. numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """A rectangle: every text as wide as the longest."""

    pads: ClassVar[bool] = True

    ids: Int64
    """`[texts, width]`, zero where nothing stands."""
    mask: Int64
    """`[texts, width]`: 1 for a token, 0 for padding."""

    @classmethod
    def collate(cls, encodings: Sequence[Int64]) -> Self:
        """Lay out one or more encodings `[tokens]`."""
        lengths = np.array([len(encoding) for encoding in encodings])
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
        ids = np.zeros_like(mask)
        ids[mask == 1] = np.concatenate(encodings)
        return cls(ids, mask)

    def filled(self, pad_id: int) -> Int64:
        """Return the ids with `pad_id` where nothing stands."""
        return self.ids if pad_id == 0 else np.where(self.mask == 1, self.ids, pad_id)

    @property
    def tokens(self) -> int:
        """Tokens that stand for something."""
        return int(self.mask.sum())

    @property
    def computed_tokens(self) -> int:
        """Tokens that the engine computes, padding included."""
        return self.mask.size

    @property
    def width(self) -> int:
        """Length of the longest text."""
        return int(self.ids.shape[1])


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """All texts end to end, and where each begins: no padding.

    Attention needs a rectangle again, because a token may look at its own text only.
    `slots` says where each token goes in it: `row * width + position`.
    """

    pads: ClassVar[bool] = False

    ids: Int64
    """`[tokens]`."""
    positions: Int64
    """`[tokens]`: counts from 0 in each text."""
    row_starts: Int64
    """`[texts]`: index of each text's first token."""
    lengths: Int64
    """`[texts]`."""

    @classmethod
    def collate(cls, encodings: Sequence[Int64]) -> Self:
        """Lay out one or more encodings `[tokens]`."""
        lengths = np.array([len(encoding) for encoding in encodings], dtype=np.int64)
        row_starts = np.cumsum(lengths) - lengths
        ids = np.concatenate(encodings)
        positions = np.arange(len(ids)) - np.repeat(row_starts, lengths)
        return cls(ids, positions, row_starts, lengths)

    @property
    def tokens(self) -> int:
        """Tokens that stand for something."""
        return len(self.ids)

    @property
    def computed_tokens(self) -> int:
        """Tokens that the engine computes: the same, which is the point."""
        return self.tokens

    @property
    def width(self) -> int:
        """Length of the longest text."""
        return int(self.lengths.max())

    @property
    def slots(self) -> Int64:
        """`[tokens]`: index of each token in a rectangle `[texts * width]`."""
        rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return rows * self.width + self.positions
