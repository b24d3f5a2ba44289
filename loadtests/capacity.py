"""About how much a server can do, to know where to look for its knee."""

import time
from collections.abc import Sequence

import gevent

from loadtests.answers import Unusable
from loadtests.arrivals import OpenLoopUser
from loadtests.target import Target

CLIENTS = 4
"""That ask at once, each when its last answer is there."""

ARRAY_TEXTS = 32
SECONDS = 6.0


def texts_a_second(target: Target) -> float:
    """Return how many texts the server answers in a second when it always has work.

    Raises:
        Unusable: it does not answer them.
    """
    began_at = time.perf_counter()
    ends_at = began_at + SECONDS
    clients = [gevent.spawn(_ask_until, ends_at, target) for _ in range(CLIENTS)]
    answered = sum(client.get() for client in clients)
    return answered / (time.perf_counter() - began_at)


def requests_a_second(texts_s: float, users: Sequence[type[OpenLoopUser]]) -> float:
    """Return how many requests of the users' mix have so many texts."""
    weight = sum(user.weight for user in users)
    return texts_s * weight / sum(user.weight * max(user.mean_texts, 1) for user in users)


def _ask_until(ends_at: float, target: Target) -> int:
    answered = 0
    while time.perf_counter() < ends_at:
        asked = target.table.take("headline", ARRAY_TEXTS)
        try:
            answer = target.connections.post("/", [{"text": known.text} for known in asked])
        except OSError as error:
            raise Unusable(f"{target.connections.url}: {error}") from error
        if answer.status == 200:
            answered += ARRAY_TEXTS
        elif answer.refused:
            gevent.sleep(answer.retry_after_s)
        else:
            raise Unusable(f"{target.connections.url}: {answer.status} {answer.code} to an array")
    return answered
