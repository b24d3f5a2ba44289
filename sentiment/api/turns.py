"""Long work on the event loop: a slice of it at a time, and everybody else in between."""

import asyncio
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sentiment.errors import Overloaded

T = TypeVar("T")

SLICE_S = 0.002
"""How long a piece of work goes on before others have their turn."""

MAX_BODIES = 4
"""Bodies of the largest size that may be worked on at once; what waits for its turn is memory."""


class Turns:
    """Runs work that is made of short steps, one slice of one of them between two events.

    Not in a thread: there nobody could end it, and its waiting line would have no end.
    """

    def __init__(self, *, max_body_bytes: int) -> None:
        """Admit a few bodies of `max_body_bytes`, or more smaller ones."""
        self._free_chars = MAX_BODIES * max_body_bytes
        self._turn = asyncio.Lock()

    @contextmanager
    def admitted(self, chars: int) -> Iterator[None]:
        """Count so many characters as worked on for the time of the block.

        Raises:
            Overloaded: too many others are.
        """
        if chars > self._free_chars:
            raise Overloaded("too many large documents are being split", retry_after_s=1.0)
        self._free_chars -= chars
        try:
            yield
        finally:
            self._free_chars += chars

    async def run(self, work: Generator[object, None, T]) -> T:
        """Return what `work` returns. It ends where it is when the call is cancelled.

        Args:
            work: yields wherever it may pause, every few milliseconds at least.
        """
        while True:
            # In order of arrival, so work of any length waits for one slice of each other.
            async with self._turn:
                pause_at = time.perf_counter() + SLICE_S
                try:
                    while time.perf_counter() < pause_at:
                        next(work)
                except StopIteration as end:
                    result: T = end.value
                    return result
            await asyncio.sleep(0)
