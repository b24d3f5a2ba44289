"""Finds the token budget of an engine on this machine, by measuring."""

import logging
import time
from collections.abc import Callable

import numpy as np

from sentiment.engines import Engine

log = logging.getLogger(__name__)

TEXT_TOKENS = 32
"""Of the texts that are measured: about the mean of financial headlines."""

NEGLIGIBLE = 0.05
"""A larger budget must gain more than this share: every text waits for its whole batch."""

LIMIT_S = 1.0
"""After which no larger budget is tried."""


def best_token_budget(engine: Engine, clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the smallest of the engine's budgets that is as good as any, or nearly.

    Runs on the caller's thread, before anybody else uses the engine. A budget that the engine
    cannot bear, for want of memory say, is none.
    """
    budgets = engine.token_budgets
    best, best_rate = budgets[0], 0.0
    if len(budgets) == 1:
        return best
    ends_at = clock() + LIMIT_S
    for budget in budgets:
        texts = budget // TEXT_TOKENS
        batch = engine.batch_type.collate([np.ones(TEXT_TOKENS, dtype=np.int64)] * texts)
        try:
            engine.infer(batch)  # the first pass of a shape prepares its kernels
            began_at = clock()
            engine.infer(batch)
            took_s = clock() - began_at
        except Exception:
            log.debug("a budget of %d tokens is too much", budget, exc_info=True)
            break
        rate = budget / max(took_s, 1e-9)
        log.debug("measured a token budget", extra={"tokens": budget, "tokens_per_s": round(rate)})
        if rate > best_rate * (1 + NEGLIGIBLE):
            best, best_rate = budget, rate
        # The next takes about four times as long as this one did: twice the tokens, two passes.
        if clock() + 4 * took_s > ends_at:
            break
    log.info("token budget", extra={"tokens": best})
    return best
