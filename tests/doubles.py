"""Stand-ins for the slow parts: an engine whose answers and timing a test controls."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np

from sentiment.engines.batches import PackedBatch, PaddedBatch
from sentiment.predictions import Logits

POISON = 666
"""A token id on which `GatedEngine` fails."""


def expected_logits(ids: np.ndarray) -> np.ndarray:
    """Return what the double answers for one encoding: no two encodings share it."""
    weights = np.arange(1, len(ids) + 1)
    return np.array([len(ids), ids.sum(), (ids * weights).sum()], dtype=np.float32) / 1000


class GatedEngine:
    """Answers `expected_logits`; waits at a gate before each batch; records batches."""

    name = "gated"
    device = "cpu"
    precision = "fp32"
    batch_type = PackedBatch
    token_budgets = (1024,)

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, ...]]] = []
        self.poison = POISON
        """The token id on which it fails."""
        self.tamper: Callable[[Logits], Logits] = lambda logits: logits
        self._open = threading.Event()
        self._open.set()
        self._entered = threading.Event()

    def infer(self, batch: PackedBatch | PaddedBatch) -> Logits:
        assert isinstance(batch, PackedBatch)
        self._entered.set()
        assert self._open.wait(timeout=30), "the test never opened the gate"
        encodings = np.split(batch.ids, batch.row_starts[1:])
        self.batches.append([tuple(ids.tolist()) for ids in encodings])
        if any(self.poison in ids for ids in encodings):
            raise RuntimeError("poison")
        return self.tamper(np.stack([expected_logits(ids) for ids in encodings]))

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold every batch that begins inside the block until it ends."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def hold(self) -> None:
        """Hold every batch that begins from now on."""
        self._entered.clear()
        self._open.clear()

    def release(self) -> None:
        """Let held batches go."""
        self._open.set()

    async def entered(self) -> None:
        """Wait until a batch stands at the gate."""
        entered = await asyncio.to_thread(self._entered.wait, 30)
        assert entered, "no batch began"


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until `condition` holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)
