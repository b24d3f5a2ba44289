"""Decisions of the batcher as plain functions: no clock, no queue, no loop."""

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW_BUDGETS = 4
"""How many token budgets an engine that pads sorts by length at a time. A text waits for the
window that it came too late for: deeper saves little padding and costs latency."""

QUANTUM_TOKENS = 128
"""What a large entry may take each time its turn comes: about four headlines. Less would cut no
finer, because a text is never cut; more would let it fill a batch before a small one."""

WHOLE_TOKENS = 1024
"""An entry with less than this left is served whole when its turn comes. Cut into turns, requests
of a few texts would let later ones overtake them, and under lasting overload all would wait twice
as long."""

SIZE_CLASSES = 40
"""Entries are counted by the power of two of the tokens that they still wait for."""

MAX_RESTART_DELAY_S = 30.0


@dataclass(slots=True)
class BatchFill:
    """A batch as it grows, text by text, and whether one more fits."""

    token_budget: int
    """Most tokens in one forward pass."""
    pads: bool
    """An engine that pads pays for the longest text in every row; one that packs for the tokens
    it is given."""
    texts: int = 0
    tokens: int = 0
    longest: int = 0

    def fits(self, length: int) -> bool:
        """Whether a text of `length` tokens fits; the first always does.

        A text over budget that nobody may take would block the queue for good.
        """
        if not self.texts:
            return True
        if self.pads:
            return max(self.longest, length) * (self.texts + 1) <= self.token_budget
        return self.tokens + length <= self.token_budget

    def add(self, length: int) -> None:
        """Count one more text of `length` tokens."""
        self.texts += 1
        self.tokens += length
        self.longest = max(self.longest, length)


def sorted_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Cut a window into padded batches of texts of similar length.

    Args:
        lengths: tokens of each text, oldest first.
        token_budget: most tokens in one batch, padding included.

    Returns:
        Indices into `lengths`; the batch that holds the oldest text comes first.
    """
    batches: list[list[int]] = []
    fill = BatchFill(token_budget, pads=True)
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or not fill.fits(lengths[index]):
            batches.append([])
            fill = BatchFill(token_budget, pads=True)
        batches[-1].append(index)
        fill.add(lengths[index])
    batches.sort(key=lambda batch: min(batch) != 0)
    return batches


class Backlog:
    """How many tokens wait, and how many of them ahead of a newcomer.

    Small entries are served whole, in their order. With large ones the engine is shared: while a
    newcomer of `n` tokens is served, each of them gets as much, or a turn if that is more. So a
    single headline does not stand behind four thousand of somebody else's. Counting by classes of
    size answers that in constant time, never too low, and too high by less than a factor of two
    for the one class in which the newcomer falls.
    """

    def __init__(self) -> None:
        self.tokens = 0.0
        """All that wait."""
        self._entries = [0] * SIZE_CLASSES
        self._tokens = [0.0] * SIZE_CLASSES

    def change(self, old: float, new: float) -> None:
        """Count an entry that had `old` tokens to wait for and now has `new`; 0 is none."""
        for tokens, sign in ((old, -1), (new, 1)):
            if tokens > 0:
                index = _size_class(tokens)
                self._entries[index] += sign
                # No rounding error may outlive the entries that caused it.
                self._tokens[index] = (
                    self._tokens[index] + sign * tokens if self._entries[index] else 0.0
                )
        self.tokens = sum(self._tokens)

    def ahead_of(self, tokens: float) -> float:
        """Return the tokens served before a newcomer of `tokens` has got all of its own."""
        whole = _size_class(WHOLE_TOKENS)
        share = max(tokens, QUANTUM_TOKENS)
        shared = zip(self._tokens[whole:], self._entries[whole:], strict=True)
        return sum(self._tokens[:whole]) + sum(
            min(waiting, entries * share) for waiting, entries in shared
        )


def _size_class(tokens: float) -> int:
    return min(int(tokens).bit_length(), SIZE_CLASSES - 1)


def retry_after_s(backlog_s: float, *, max_backlog_s: float, jitter: float) -> float:
    """Return how long a refused caller should stay away: until half the limit is free again.

    Coming back at the first free place, everybody who was refused would meet a full queue.

    Args:
        backlog_s: predicted work ahead of the caller.
        jitter: uniform in 0 to 1; spreads the callers over as much time again, so that they do
            not come back together.
    """
    wait_s = max(backlog_s - max_backlog_s / 2, 0.5)
    return wait_s * (1 + jitter)


def restart_delay_s(failures: int) -> float:
    """Return the pause before an engine is replaced for the `failures`-th time in a row."""
    doublings = min(failures - 1, 30)  # days of failures would overflow a float
    return min(0.1 * 2.0**doublings, MAX_RESTART_DELAY_S)
