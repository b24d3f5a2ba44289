"""Load: requests whose answers are checked, sent on a schedule or one after the other.

Open loop: arrivals are Poisson and do not wait for answers, and latency counts from when a
request was meant to be sent. A client that falls behind measures itself as slow, never the
server as fast (no coordinated omission).
"""

import asyncio
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.reliability.client import Pool, Unanswered, posting
from benchmarks.reliability.texts import (
    DOUBLE_WORDS,
    Text,
    answers_to,
    body_of,
    labels_of,
    numbered,
)

LOST = 0
"""Stands for a status where no answer came."""


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes to send, and whether a 200's body is the right answer to them."""

    data: bytes
    texts: int
    right: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one request; times in seconds from the load's start."""

    intended_at: float
    sent_at: float
    ended_at: float
    status: int
    texts: int
    right: bool
    retry_after_s: int | None

    @property
    def latency_s(self) -> float:
        return self.ended_at - self.intended_at


def proving(
    texts: int = 1, *, words: int = DOUBLE_WORDS, start: int = 0, fields: Sequence[str] = ()
) -> Iterator[Request]:
    """Yield requests to the double of `texts` texts each, no two texts alike."""
    for serial in itertools.count(start, texts):
        yield proof([numbered(serial + index, words) for index in range(texts)], *fields)


def proof(asked: Sequence[Text], *fields: str) -> Request:
    """Return the request of these texts to the double."""
    labels = labels_of()
    return Request(
        posting(body_of(asked), *fields), len(asked), lambda body: answers_to(asked, body, labels)
    )


async def ask(pool: Pool, request: Request, *, intended_at: float, began_at: float) -> Sample:
    """Send one request and say what became of it."""
    sent_at = time.perf_counter() - began_at
    try:
        answer = await pool.request(request.data)
    except Unanswered:
        ended_at = time.perf_counter() - began_at
        return Sample(intended_at, sent_at, ended_at, LOST, request.texts, False, None)
    ended_at = time.perf_counter() - began_at
    right = answer.status == 200 and request.right(answer.body)
    return Sample(
        intended_at, sent_at, ended_at, answer.status, request.texts, right, answer.retry_after_s
    )


async def open_loop(
    pool: Pool, requests: Iterator[Request], *, rate: float, seconds: float, seed: int = 0
) -> list[Sample]:
    """Send `rate` requests a second, at random times, for `seconds`; wait for all answers."""
    samples: list[Sample] = []

    async def send(intended_at: float, began_at: float) -> None:
        samples.append(await ask(pool, next(requests), intended_at=intended_at, began_at=began_at))

    await poisson(send, rate=rate, seconds=seconds, seed=seed)
    return samples


async def poisson(
    send: Callable[[float, float], Coroutine[Any, Any, None]],
    *,
    rate: float,
    seconds: float,
    seed: int = 0,
) -> None:
    """Begin `send(intended_at, began_at)` at random times; return when all have ended."""
    source = random.Random(seed)
    began_at = time.perf_counter()
    intended_at = 0.0
    running: set[asyncio.Task[None]] = set()
    while (intended_at := intended_at + source.expovariate(rate)) < seconds:
        wait_s = began_at + intended_at - time.perf_counter()
        if wait_s > 0.0005:
            await asyncio.sleep(wait_s)
        task = asyncio.create_task(send(intended_at, began_at))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.gather(*running)


async def closed_loop(
    pool: Pool, requests: Iterator[Request], *, clients: int, seconds: float
) -> list[Sample]:
    """Keep `clients` requests in flight for `seconds`, each sent when one before it ended."""
    began_at = time.perf_counter()
    samples: list[Sample] = []

    async def client() -> None:
        while (now := time.perf_counter() - began_at) < seconds:
            samples.append(await ask(pool, next(requests), intended_at=now, began_at=began_at))

    await asyncio.gather(*(client() for _ in range(clients)))
    return samples


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else 0.0


def goodput(samples: Sequence[Sample], *, from_s: float, until_s: float) -> float:
    """Return the texts a second that were answered right between two times."""
    texts = sum(s.texts for s in samples if s.right and from_s <= s.ended_at < until_s)
    return texts / (until_s - from_s)


def statuses(samples: Sequence[Sample]) -> dict[str, int]:
    """Return how many requests ended with each status; `0` is no answer."""
    return {str(k): v for k, v in sorted(Counter(s.status for s in samples).items())}


def latencies_ms(samples: Sequence[Sample], status: int = 200) -> dict[str, float]:
    """Return median, 99th percentile and maximum of the answers with `status`."""
    values = [sample.latency_s * 1000 for sample in samples if sample.status == status]
    return {
        "count": len(values),
        "p50_ms": round(percentile(values, 0.5), 1),
        "p99_ms": round(percentile(values, 0.99), 1),
        "max_ms": round(max(values, default=0.0), 1),
    }


def wrong(samples: Sequence[Sample]) -> int:
    """Return how many 200s were not the right answer."""
    return sum(sample.status == 200 and not sample.right for sample in samples)


def server_errors(samples: Sequence[Sample]) -> int:
    """Return how many answers were 5xx."""
    return sum(sample.status >= 500 for sample in samples)
