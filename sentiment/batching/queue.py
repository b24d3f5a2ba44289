"""What waits for the engine: entries, first come first served."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sentiment.batching.policy import batch_length
from sentiment.predictions import Logits
from sentiment.tokenization import TokenIds


class Entry:
    """One request's encodings and its one future.

    A large request is served over several batches; its future resolves when the last of its
    texts is answered.
    """

    def __init__(self, encodings: Sequence[TokenIds], *, admitted_at: float) -> None:
        self.encodings = encodings
        self.admitted_at = admitted_at
        self.started_at: float | None = None
        """When its first batch began."""
        self.future: asyncio.Future[Logits] = asyncio.get_running_loop().create_future()
        self.taken = 0
        """Texts already given to a batch."""
        self._parts: list[Logits] = []

    @property
    def waiting(self) -> Sequence[TokenIds]:
        """The encodings that no batch has taken yet."""
        return self.encodings[self.taken :]

    def answer(self, logits: Logits) -> None:
        """Take the logits `[texts, labels]` of this entry's next texts."""
        self._parts.append(logits)
        complete = sum(map(len, self._parts)) == len(self.encodings)
        if complete and not self.future.done():  # its caller may have timed out
            self.future.set_result(np.concatenate(self._parts))

    def fail(self, error: Exception) -> None:
        """End the wait with `error`; whatever of the entry still waits is abandoned."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive texts of one entry that share a batch."""

    entry: Entry
    start: int
    stop: int

    @property
    def encodings(self) -> Sequence[TokenIds]:
        """The slice's encodings."""
        return self.entry.encodings[self.start : self.stop]


class EntryQueue:
    """Entries in order of arrival. `put` from the event loop, `take` from one task."""

    def __init__(self) -> None:
        self.texts = 0
        """Texts that wait."""
        self.tokens = 0
        """Tokens that wait."""
        self._arrivals: asyncio.Queue[Entry | None] = asyncio.Queue()
        self._entries: deque[Entry] = deque()
        self._closed = False

    def put(self, entry: Entry) -> None:
        """Append `entry`; it must hold at least one encoding."""
        self._count(entry.encodings, sign=1)
        self._arrivals.put_nowait(entry)

    def close(self) -> None:
        """Let `take` answer `[]` once nothing waits."""
        self._closed = True
        self._arrivals.put_nowait(None)  # wakes a `take` that waits

    async def take(self, token_budget: int, *, pads: bool) -> list[Slice]:
        """Wait until something waits, then return the head of the queue, one batch of it.

        Never waits for more to come: what arrives while a batch runs is the next batch.
        Entries whose caller has gone are dropped.
        """
        self._receive()
        while not self._entries and not self._closed:
            if (entry := await self._arrivals.get()) is not None:
                self._entries.append(entry)
            self._receive()
        lengths = (len(ids) for entry in self._entries for ids in entry.waiting)
        return list(self._cut(batch_length(lengths, token_budget, pads=pads)))

    def drain(self) -> list[Entry]:
        """Remove and return everything that waits."""
        self._receive()
        entries, self._entries = list(self._entries), deque()
        self.texts = self.tokens = 0
        return entries

    def _receive(self) -> None:
        """Move arrivals behind what waits, and forget entries that nobody waits for."""
        while not self._arrivals.empty():
            if (entry := self._arrivals.get_nowait()) is not None:
                self._entries.append(entry)
        for entry in self._entries:
            if entry.future.done():
                self._count(entry.waiting, sign=-1)
        self._entries = deque(entry for entry in self._entries if not entry.future.done())

    def _cut(self, count: int) -> Iterator[Slice]:
        """Take `count` texts off the head."""
        while count:
            entry = self._entries[0]
            start = entry.taken
            stop = min(len(entry.encodings), start + count)
            count -= stop - start
            self._count(entry.encodings[start:stop], sign=-1)
            entry.taken = stop
            if stop == len(entry.encodings):
                self._entries.popleft()
            yield Slice(entry, start, stop)

    def _count(self, encodings: Sequence[TokenIds], *, sign: int) -> None:
        self.texts += sign * len(encodings)
        self.tokens += sign * sum(map(len, encodings))
