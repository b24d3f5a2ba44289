"""Open-loop load with Locust: requests begin at random times, whether or not earlier ones ended.

Each Locust user is a Poisson process of `--rate-per-user` requests a second. Poisson processes add
up to one, so `n` users are a Poisson process of `n` times that rate: Locust's count of users, its
shapes and its distribution over workers set the rate of arrivals and nothing else. A request runs
in a greenlet of its own, and its latency counts from when it was to begin: a server that falls
behind, or a load generator that does, is measured as slow (no coordinated omission).
"""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from locust import User, task

from loadtests.connections import Answer
from loadtests.samples import Sample
from loadtests.target import Target

ATTEMPTS = 3
"""How often one arrival asks, waiting between as long as it is told."""

CLOCK_OFFSET_S = time.time() - time.perf_counter()  # so that several machines' samples compare

ROWS = {"refused": "REFUSED", "gave up": "GAVE UP", "late": "LATE"}
"""By outcome, what Locust's tables show in the place of the method; not part of its totals."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What became of one attempt."""

    status: int
    size: int = 0
    """Bytes of the answer's body."""
    wrong: str = ""
    """What is wrong with it, if anything."""
    refused_for_s: float | None = None
    """How long the server asked to be left alone."""
    late: bool = False
    """Whether the server said that there was no time for it: 504, documented."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an arrival asks: the same at every attempt."""

    name: str
    texts: int
    perform: Callable[[], Exchange]
    """Send it and check the answer; an `OSError` is a failure."""


class OpenLoopUser(User):
    """Begins requests at random times and never waits for one."""

    abstract = True
    mean_texts: float
    """Of a request, about: what the mix costs is reckoned with it."""

    def on_start(self) -> None:
        self.target: Target = self.environment.target
        self._source = random.Random()
        self._next_at = time.perf_counter()
        self.wait()  # a Poisson process does not begin with an arrival

    def wait_time(self) -> float:
        """Return the seconds until the next arrival, which may be overdue."""
        options = self.environment.parsed_options
        self._next_at += self._source.expovariate(options.rate_per_user)
        return max(0.0, self._next_at - time.perf_counter())

    @task
    def arrive(self) -> None:
        """Begin a request; it runs on when this user is stopped."""
        request = self.compose()
        self.environment.recording.arrivals += 1
        self.target.last_arrival_at = time.perf_counter()
        self.target.in_flight.spawn(self._serve, request, self._next_at)

    def compose(self) -> Request:
        """Return the next request."""
        raise NotImplementedError

    def _serve(self, request: Request, scheduled_at: float) -> None:
        for attempt in itertools.count(1):
            exchange = self._attempt(request, scheduled_at, attempt)
            if exchange.refused_for_s is None or attempt == ATTEMPTS:
                return
            gevent.sleep(exchange.refused_for_s)

    def _attempt(self, request: Request, scheduled_at: float, attempt: int) -> Exchange:
        sent_at = time.perf_counter()
        try:
            exchange = request.perform()
        except (OSError, gevent.GreenletExit) as error:  # the latter: waited for long enough
            exchange = Exchange(0, wrong=f"no answer: {error!r}")
        except Exception as error:  # an arrival without a sample would look as if it never was
            exchange = Exchange(0, wrong=f"an answer that cannot be checked: {error!r}")
        ended_at = time.perf_counter()
        outcome = _outcome(exchange, attempt)
        times = [CLOCK_OFFSET_S + at for at in (scheduled_at, sent_at, ended_at)]
        sample = Sample(type(self).__name__, *times, outcome, request.texts, attempt)
        self.environment.recording.samples.append(sample)
        self._tell_locust(request, sample, exchange)
        return exchange

    def _tell_locust(self, request: Request, sample: Sample, exchange: Exchange) -> None:
        elapsed_ms = (sample.ended_at - sample.scheduled_at) * 1000
        failure = exchange.wrong
        if sample.outcome == "gave up" and self.environment.parsed_options.give_up_fails:
            failure = f"given up after {ATTEMPTS} attempts: {exchange.status}"
        elif row := ROWS.get(sample.outcome):
            # Not into the totals: it is neither an answer nor a failure.
            since_sent_ms = (sample.ended_at - sample.sent_at) * 1000
            entry = self.environment.stats.get(f"{request.name}: {exchange.status}", row)
            entry.log(since_sent_ms, exchange.size)
            return
        self.environment.events.request.fire(
            request_type="POST",
            name=request.name if sample.attempt == 1 else f"{request.name}, come back",
            response_time=elapsed_ms,
            response_length=exchange.size,
            exception=LoadTestFailure(failure) if failure else None,
            context=self.context(),
        )


class LoadTestFailure(Exception):
    """What Locust counts as a failure."""


def judged(answer: Answer, wrong: Callable[[Answer], str]) -> Exchange:
    """Return what an answer amounts to; a 200 is right if nothing is `wrong` with it."""
    size = len(answer.body)
    if answer.refused:
        return Exchange(answer.status, size, refused_for_s=answer.retry_after_s)
    if answer.status == 504 and answer.code == "deadline-exceeded":
        return Exchange(answer.status, size, late=True)
    if answer.status != 200:
        return Exchange(answer.status, size, wrong=f"{answer.status} {answer.code}".strip())
    return Exchange(answer.status, size, wrong=wrong(answer))


def _outcome(exchange: Exchange, attempt: int) -> str:
    if exchange.refused_for_s is not None:
        return "gave up" if attempt == ATTEMPTS else "refused"
    if exchange.late:
        return "late"
    if exchange.wrong:
        return "wrong" if exchange.status == 200 else "failed"
    return "right"


def add_options(parser: Any) -> None:
    """Add how much a user asks, and what becomes of one that is always refused."""
    parser.add_argument(
        "--rate-per-user",
        type=float,
        default=0.1,
        env_var="LOADTEST_RATE_PER_USER",
        help="requests a second of one user; 100 users of 0.1 are 10 requests a second",
    )
    parser.add_argument(
        "--give-up-fails",
        action="store_true",
        env_var="LOADTEST_GIVE_UP_FAILS",
        help=f"a request that is refused {ATTEMPTS} times is a failure",
    )
