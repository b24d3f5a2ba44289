"""Decisions of the batcher as plain functions: no clock, no queue, no loop."""

from collections.abc import Iterable

MAX_ATTENTION_SLOTS = 4
"""Largest rectangle `texts * longest` of a packed batch, in token budgets. Attention is padded
even where nothing else is: without this bound one text of 512 tokens among a hundred of 5 makes
a batch ten times slower than two batches would be."""


def batch_length(lengths: Iterable[int], token_budget: int, *, pads: bool) -> int:
    """Return how many texts from the head of the queue fit in one batch.

    An engine that pads pays for the longest text in every row, one that packs for the tokens
    it is given, and a little for the rectangle that attention needs. At least 1 when anything
    waits, even over budget: a text that nobody can take would block the queue for good. Reads
    `lengths` only as far as the budget goes.

    Args:
        lengths: tokens of each waiting text, in the order of the queue.
        token_budget: most tokens in one forward pass.
    """
    count = longest = total = 0
    for length in lengths:
        longest, total = max(longest, length), total + length
        rectangle = longest * (count + 1)
        computed = rectangle if pads else max(total, rectangle / MAX_ATTENTION_SLOTS)
        if count and computed > token_budget:
            break
        count += 1
    return count


def retry_after_s(tokens_ahead: int, tokens_per_s: float | None) -> float:
    """Return how long a refused caller should wait: the time that the backlog needs.

    Args:
        tokens_per_s: rate of the batches so far; `None` before the first, then 1 s.
    """
    return tokens_ahead / tokens_per_s if tokens_per_s else 1.0


def smoothed(old: float | None, new: float, *, weight: float = 0.2) -> float:
    """Return the exponentially weighted mean; the last ten values decide nine tenths."""
    return new if old is None else (1 - weight) * old + weight * new
