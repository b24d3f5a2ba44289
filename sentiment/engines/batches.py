"""Encodings laid out for one forward pass, with and without padding. numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def rounded_up(count: int, multiple: int) -> int:
    """Return the next multiple.

    Engines prepare kernels for each shape that they meet: the first batch of a new one takes up to
    a fifth longer, the first single text up to twice as long. Every batch would have its own
    shape.
    """
    return -(-count // multiple) * multiple


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
    """All texts end to end, and where each begins: no padding."""

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
    def attention_rows(self) -> "AttentionRows":
        """Where attention finds the texts."""
        return AttentionRows.of(self.lengths)


@dataclass(frozen=True, slots=True)
class AttentionRows:
    """A rectangle for attention alone, in which short texts share a row.

    A token may look at its own text only, so attention needs a width. One row a text would cost
    `texts * width^2`: a single text of 512 tokens among thirty headlines would double the time of
    the whole batch. Rows filled with several texts cost about `tokens * width`.
    """

    segments: Int32
    """`[rows, width]`: the text that stands there, -1 for none."""
    sources: Int32
    """`[rows * width]`: index of the token that stands there, 0 where none does."""
    slots: Int32
    """`[tokens]`: index of each token in `[rows * width]`."""

    @classmethod
    def of(cls, lengths: Int64) -> Self:
        """Lay out texts of `lengths int64 [texts]`: longest first, each where there is room.

        Width and rows are rounded up, so that fewer shapes occur; see `rounded_up`.
        """
        width = rounded_up(int(lengths.max()), 8)
        starts = np.empty_like(lengths)  # where each text's slots begin
        rows = free = 0
        for text in np.argsort(-lengths, kind="stable").tolist():
            length = int(lengths[text])
            if length > free:
                rows, free = rows + 1, width
            starts[text] = rows * width - free
            free -= length
        rows = 1 if rows == 1 else rounded_up(rows, 2)
        tokens = int(lengths.sum())
        counted = np.arange(tokens)
        slots = (counted + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)).astype(
            np.int32
        )
        segments = np.full(rows * width, -1, dtype=np.int32)
        segments[slots] = np.repeat(np.arange(len(lengths)), lengths)
        sources = np.zeros(rows * width, dtype=np.int32)
        sources[slots] = counted
        return cls(segments.reshape(rows, width), sources, slots)
