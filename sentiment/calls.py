"""What became of each call of the analyzer, for whoever follows a request from outside.

The analyzer knows no request, and the handler of a request no trace. Whoever begins a request says
`follow_calls()`, and the calls made for it, by whatever task, are noted there. Without that nobody
keeps them.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sentiment.predictions import Timing

MAX_KEPT = 32
"""Calls of one request that are kept one by one. Only streams make more, and without end."""


@dataclass(slots=True)
class Call:
    """One call of `Analyzer.classify`. The analyzer fills it in as it goes.

    What it computes goes through three stages, each of which begins where the one before it ended.
    A stage whose time is `None` was not reached, or is the one in which the call ended.
    """

    texts: int
    cached_texts: int = 0
    """How many of them were answered from the cache."""
    truncated_texts: int = 0
    computing_at: float | None = None
    """When the first stage began, as `time.perf_counter` says it; `None`: nothing was computed."""
    tokenize_s: float | None = None
    queue_s: float | None = None
    infer_s: float | None = None
    lengths: npt.NDArray[np.float64] | None = None
    """Tokens of each text that was computed; known once it was."""
    batch_texts: int = 0
    """Texts in its first batch, those of others too; 0: an equal text of somebody else ran."""
    code: str | None = None
    """Of the error that ended it."""
    ended_at: float = 0.0
    """When it ended, as `time.perf_counter` says it."""

    @property
    def tokens(self) -> int:
        """How many tokens were computed, as far as it is known."""
        return 0 if self.lengths is None else int(self.lengths.sum())

    @property
    def timing(self) -> Timing:
        """Where its time went; what was not reached took none."""
        return Timing(self.tokenize_s or 0.0, self.queue_s or 0.0, self.infer_s or 0.0)


@dataclass(slots=True)
class Calls:
    """All calls of one request."""

    computed: list[Call] = field(default_factory=list)
    """The first of those for which something was computed."""
    count: int = 0
    tokens: int = 0
    cached_texts: int = 0
    truncated_texts: int = 0

    def note(self, call: Call) -> None:
        """Take in a call that has ended."""
        self.count += 1
        self.tokens += call.tokens
        self.cached_texts += call.cached_texts
        self.truncated_texts += call.truncated_texts
        if call.computing_at is not None and len(self.computed) < MAX_KEPT:
            self.computed.append(call)


_followed: ContextVar[Calls | None] = ContextVar("followed_calls", default=None)


def follow_calls() -> Calls:
    """Have the calls of this context, and of the tasks that it starts, noted in what is returned.

    A request has a context of its own, which ends with it.
    """
    calls = Calls()
    _followed.set(calls)
    return calls


def note_call(call: Call) -> None:
    """Tell whoever follows the current context, if anybody does, of a call that has ended."""
    calls = _followed.get()
    if calls is not None:
        calls.note(call)
