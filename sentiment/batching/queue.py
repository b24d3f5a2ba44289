"""What waits for the engine, and whose turn it is. Synchronous: the caller brings the clock."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sentiment.batching.policy import (
    QUANTUM_TOKENS,
    WHOLE_TOKENS,
    WINDOW_BUDGETS,
    Backlog,
    BatchFill,
    sorted_batches,
)
from sentiment.errors import DeadlineExceeded
from sentiment.predictions import Logits
from sentiment.tokenization import TokenIds


class Entry:
    """One request: its encodings, and the one future for all of them.

    It is admitted before its texts are tokenised, with a guess of its tokens, so that work on its
    way to the queue counts as backlog.
    """

    def __init__(self, *, tokens: float, deadline_at: float) -> None:
        self.deadline_at = deadline_at
        self.queued_at = 0.0
        """When its encodings came."""
        self.started_at: float | None = None
        """When its first batch began."""
        self.batch_texts = 0
        """Texts in that batch, those of others too."""
        self.encodings: Sequence[TokenIds] = ()
        self.keys: Sequence[bytes] = ()
        self.future: asyncio.Future[Logits] = asyncio.get_running_loop().create_future()
        self.waiting_tokens = tokens
        """Predicted, then known; falls as batches take its texts."""
        self.turns: deque[int] = deque()
        """Its texts that wait for a batch of their own, in order."""
        self.deficit = 0
        self.in_ring = False
        self.left = False
        """Whether the queue has forgotten it."""
        self._logits: Logits | None = None
        self._missing = 0

    def fill(self, rows: Sequence[int], logits: Logits) -> None:
        """Take the logits `[rows, labels]` of some texts; resolve the future with the last."""
        if self.future.done():  # its caller may have left
            return
        if self._logits is None:
            self._logits = np.empty((len(self.encodings), logits.shape[1]), np.float32)
            self._missing = len(self.encodings)
        self._logits[rows] = logits
        self._missing -= len(rows)
        if not self._missing:
            self.future.set_result(self._logits)

    def fail(self, error: Exception) -> None:
        """End the wait with `error`."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # seen: a caller who leaves just now is no reason to complain

    @property
    def queue_s(self) -> float | None:
        """How long its encodings waited for their first batch; `None` while they do."""
        return None if self.started_at is None else self.started_at - self.queued_at

    @property
    def answered(self) -> bool:
        """Whether every text has its logits."""
        return self._logits is not None and not self._missing


Row = tuple[Entry, int]
"""One text: an entry and an index into its encodings."""


class EntryQueue:
    """Deficit round robin by tokens between entries, first come first served inside each.

    (Shreedhar & Varghese 1995.) An entry with little left is served whole when its turn comes.

    Equal encodings are computed once: whoever comes while one waits or runs shares its answer. It
    waits among the turns of whoever has least before it, so that a single text does not wait for
    the end of a large request that holds it too.
    """

    def __init__(self, *, pads: bool) -> None:
        """Make batches for an engine that `pads`, or does not."""
        self.backlog = Backlog()
        self.texts = 0
        """Texts that wait for a batch of their own."""
        self._pads = pads
        self._ring: deque[Entry] = deque()
        # For each encoding that waits or runs, who wants its answer. The first of them has it
        # in `turns` until a batch takes it.
        self._claims: dict[bytes, list[Row]] = {}

    def reserve(self, entry: Entry) -> None:
        """Count an entry whose texts are still being tokenised."""
        self.backlog.change(0, entry.waiting_tokens)

    def announce(self, entry: Entry, encodings: Sequence[TokenIds]) -> None:
        """Count an entry by its encodings, which will be put."""
        entry.encodings = encodings
        self._set_waiting(entry, sum(map(len, encodings)))

    def put(self, entry: Entry) -> int:
        """Let an entry wait for its encodings, one or more of them.

        Returns:
            How many of them share the answer of an equal one that waits or runs.
        """
        entry.keys = [ids.tobytes() for ids in entry.encodings]
        size = sum(map(len, entry.encodings))
        shared = 0
        given_up: dict[Entry, set[int]] = {}
        for row, key in enumerate(entry.keys):
            claims = self._claims.get(key)
            if claims is None:
                self._claims[key] = [(entry, row)]
                entry.turns.append(row)
                continue
            shared += 1
            claims.append((entry, row))
            holder, held = claims[0]
            if holder.waiting_tokens > size and holder is not entry:
                given_up.setdefault(holder, set()).add(held)
        self.texts += len(entry.turns)
        self._set_waiting(entry, sum(len(entry.encodings[row]) for row in entry.turns))
        if entry.turns:
            self._join(entry)
        for holder, rows in given_up.items():
            self._hand_on(holder, rows, to=entry)
        return shared

    def take(self, token_budget: int, *, now: float) -> list[list[Row]]:
        """Take the texts of the next batch; for an engine that pads, of the next few.

        Nothing is taken whose deadline has passed; those entries are told so.
        """
        if not self._pads:
            rows = self._draw(token_budget, now)
            return [rows] if rows else []
        rows = self._draw(token_budget * WINDOW_BUDGETS, now)
        lengths = [len(entry.encodings[row]) for entry, row in rows]
        return [[rows[index] for index in batch] for batch in sorted_batches(lengths, token_budget)]

    def _draw(self, token_budget: int, now: float) -> list[Row]:
        """Take texts in fair order until the next would not fit."""
        fill = BatchFill(token_budget, pads=False)
        rows: list[Row] = []
        while self._ring:
            entry = self._ring[0]
            if entry.deadline_at <= now:
                self._expire(entry)
            elif entry.future.done():
                self.remove(entry)
            if not entry.turns:
                self._leave_ring(entry)
                continue
            if entry.waiting_tokens < WHOLE_TOKENS:
                entry.deficit = max(entry.deficit, int(entry.waiting_tokens))
            taken = 0
            while entry.turns:
                length = len(entry.encodings[entry.turns[0]])
                if length > entry.deficit:
                    entry.deficit += QUANTUM_TOKENS
                    self._ring.rotate(-1)
                    break
                if not fill.fits(length):
                    self._took(entry, taken)
                    return rows
                fill.add(length)
                entry.deficit -= length
                taken += length
                rows.append((entry, entry.turns.popleft()))
                self.texts -= 1
            self._took(entry, taken)
        return rows

    def anybody_wants(self, rows: Iterable[Row]) -> bool:
        """Return whether somebody waits for any of `rows`. Only reads: any thread may ask."""
        return any(self._claims.get(entry.keys[row]) for entry, row in rows)

    def wanted(self, rows: Iterable[Row], *, now: float) -> list[Row]:
        """Return those of `rows`, taken earlier, that somebody still waits for."""
        kept = []
        for entry, row in rows:
            claims = self._claims[entry.keys[row]]
            for claimant, _ in list(claims):
                if claimant.deadline_at <= now:
                    self._expire(claimant)
            if claims:
                kept.append((entry, row))
            else:
                del self._claims[entry.keys[row]]
        return kept

    def answer(self, rows: Sequence[Row], logits: Logits) -> None:
        """Give the logits `[rows, labels]` of a batch to everybody who waits for them."""
        for start, stop in _runs(rows):
            entry = rows[start][0]
            own = []
            for index in range(start, stop):
                row = rows[index][1]
                for claimant, claimed in self._claims[entry.keys[row]]:
                    if claimant is entry and claimed == row:
                        own.append(index)
                    else:
                        claimant.fill([claimed], logits[index : index + 1])
            if own:
                entry.fill([rows[index][1] for index in own], logits[own])
        # Last: if one answer cannot be delivered, everybody can still be told so.
        for entry, row in rows:
            del self._claims[entry.keys[row]]

    def fail(self, row: Row, error: Exception) -> None:
        """Fail everybody who waits for one text; the rest of their texts is not run."""
        entry, index = row
        for claimant, _ in self._claims.pop(entry.keys[index]):
            claimant.fail(error)
            self.remove(claimant)

    def remove(self, entry: Entry) -> None:
        """Forget an entry, wherever it is. What runs goes on; what others wait for stays."""
        self._set_waiting(entry, 0)
        if entry.left or entry.answered:
            return
        entry.left = True
        own = {entry.keys[row] for row in entry.turns} if entry.keys else set()
        self.texts -= len(entry.turns)
        entry.turns.clear()
        for key in dict.fromkeys(entry.keys):  # each once: a request may hold a text often
            claims = self._claims.get(key, [])
            others = [claim for claim in claims if claim[0] is not entry]
            claims[:] = others
            if key not in own:  # it is answered, or runs, or somebody else has it in his turns
                continue
            if others:
                self._wait_for(claims, min(others, key=lambda claim: claim[0].waiting_tokens))
            else:
                del self._claims[key]

    def remove_all(self) -> list[Entry]:
        """Forget everything that waits or runs, and return whom to tell."""
        entries = {id(entry): entry for claims in self._claims.values() for entry, _ in claims}
        self._claims.clear()
        self.texts = 0
        for entry in entries.values():
            self._set_waiting(entry, 0)
            entry.turns.clear()
            entry.left = True
        return list(entries.values())

    def _expire(self, entry: Entry) -> None:
        entry.fail(DeadlineExceeded("the deadline passed in the queue"))
        self.remove(entry)

    def _hand_on(self, holder: Entry, rows: set[int], *, to: Entry) -> None:
        """Have a smaller entry wait for those of `rows` that no batch has taken yet."""
        rows &= set(holder.turns)
        holder.turns = deque(row for row in holder.turns if row not in rows)
        self.texts -= len(rows)
        tokens = sum(len(holder.encodings[row]) for row in rows)
        self._set_waiting(holder, holder.waiting_tokens - tokens)
        for row in sorted(rows):
            claims = self._claims[holder.keys[row]]
            self._wait_for(claims, next(claim for claim in claims if claim[0] is to))

    def _wait_for(self, claims: list[Row], heir: Row) -> None:
        """Have one of an encoding's claims be the one that waits for it."""
        claims.remove(heir)
        claims.insert(0, heir)
        entry, row = heir
        entry.turns.append(row)
        self.texts += 1
        self._set_waiting(entry, entry.waiting_tokens + len(entry.encodings[row]))
        self._join(entry)

    def _join(self, entry: Entry) -> None:
        if not entry.in_ring:
            self._ring.append(entry)
            entry.in_ring = True
            entry.deficit = QUANTUM_TOKENS

    def _leave_ring(self, entry: Entry) -> None:
        self._ring.popleft()
        entry.in_ring = False

    def _took(self, entry: Entry, tokens: int) -> None:
        self._set_waiting(entry, entry.waiting_tokens - tokens)
        if not entry.turns:
            self._leave_ring(entry)

    def _set_waiting(self, entry: Entry, tokens: float) -> None:
        self.backlog.change(entry.waiting_tokens, tokens)
        entry.waiting_tokens = tokens


def _runs(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each stretch of rows of one entry."""
    start = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index][0] is not rows[start][0]:
            yield start, index
            start = index
