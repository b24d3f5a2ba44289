"""Whether a request may come in: by the time that it would wait, and would take."""

import math
import random
from collections.abc import Callable

import numpy as np

from sentiment.batching.cost import CostModel, Float64
from sentiment.batching.policy import retry_after_s
from sentiment.batching.queue import Entry, EntryQueue
from sentiment.errors import DeadlineExceeded, Overloaded

STALE_S = 10.0
"""A prediction that nothing has confirmed for so long refuses nobody while the engine is idle:
only what runs can correct what a slow spell has left behind."""


class Admission:
    """Predicts when work would be done, and refuses what would come too late.

    Refused is a request with more than `max_backlog_s` of work ahead of it, or one that cannot
    end within its own deadline. Its own work does not count as ahead: an idle server takes
    whatever fits the deadline.
    """

    def __init__(
        self,
        queue: EntryQueue,
        cost: CostModel,
        *,
        token_budget: int,
        max_backlog_s: float,
        clock: Callable[[], float],
    ) -> None:
        """Admit to `queue`, predicting by `cost`."""
        self.busy_until = 0.0
        """When what the engine has been given is predicted to end."""
        self.planned_tokens = 0
        """Taken from the queue to be run next, not yet given to the engine."""
        self.token_budget = token_budget
        """Most tokens in one batch at present."""
        self.confirmed_at = -math.inf
        """When the cost model last learned from a batch."""
        self._queue = queue
        self._cost = cost
        self._max_backlog_s = max_backlog_s
        self._clock = clock
        self._random = random.Random()  # for jitter, which is no secret

    @property
    def backlog_s(self) -> float:
        """Predicted seconds until everything that was admitted is done."""
        return self._running_s() + self._seconds(self.planned_tokens + self._queue.backlog.tokens)

    def check(self, tokens: float = 1) -> None:
        """Return if a request of `tokens` does not find too much work ahead of it.

        Raises:
            Overloaded: it does.
        """
        ahead_s = self._running_s() + self._seconds(self._ahead_of(tokens))
        if ahead_s > self._max_backlog_s:
            raise Overloaded(
                f"{ahead_s:.1f} s of work lie ahead, more than {self._max_backlog_s:g} s",
                retry_after_s=retry_after_s(
                    ahead_s, max_backlog_s=self._max_backlog_s, jitter=self._random.random()
                ),
            )

    def admit(self, lengths: Float64, *, timeout_s: float) -> Entry:
        """Admit texts of `lengths float64 [texts]` predicted tokens: all of them, or none.

        They count as backlog until the queue forgets the entry.

        Raises:
            Overloaded: too much work lies ahead.
            DeadlineExceeded: they would not be done within `timeout_s`; says how many would.
        """
        totals = np.cumsum(lengths)
        tokens = float(totals[-1])
        self.check(tokens)
        if self._done_in_s(tokens) > timeout_s:
            count = self._count_that_fits(totals, timeout_s)
            stale = self._clock() - self.confirmed_at > STALE_S
            if self.backlog_s or (count and not stale):
                raise DeadlineExceeded(
                    f"cannot be answered within {timeout_s:g} s; fewer texts could",
                    texts_that_fit=count,
                )
        entry = Entry(tokens=tokens, deadline_at=self._clock() + timeout_s)
        self._queue.reserve(entry)
        return entry

    def _count_that_fits(self, totals: Float64, timeout_s: float) -> int:
        low, high = 0, len(totals) - 1  # by bisection: more texts never take less time
        while low < high:
            middle = (low + high + 1) // 2
            if self._done_in_s(float(totals[middle - 1])) <= timeout_s:
                low = middle
            else:
                high = middle - 1
        return low

    def _done_in_s(self, tokens: float) -> float:
        return self._running_s() + self._seconds(self._ahead_of(tokens) + tokens)

    def _ahead_of(self, tokens: float) -> float:
        return self.planned_tokens + self._queue.backlog.ahead_of(tokens)

    def _running_s(self) -> float:
        return max(0.0, self.busy_until - self._clock())

    def _seconds(self, tokens: float) -> float:
        return self._cost.backlog_s(tokens, token_budget=self.token_budget)
