"""Open-loop load with Locust: requests begin at random times, whether or not earlier ones ended.

Each Locust user is a Poisson process of `--rate-per-user` requests a second. Poisson processes add
up to one, so `n` users are a Poisson process of `n` times that rate: Locust's count of users, its
shapes and its distribution over workers set the rate of arrivals and nothing else. A request runs in
a greenlet of its own, and its latency counts from when it was to begin: a server that falls behind,
or a load generator that does, is measured as slow (no coordinated omission).
"""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent.pool import Group
from locust import User, events, task
from locust.env import Environment
from locust.exception import StopUser

from loadtests.answers import AnswerTable, Unusable
from loadtests.connections import Answer, Connections

ATTEMPTS = 3
"""How often one arrival asks, waiting between as long as it is told."""

DRAIN_S = 90.0
"""How long the requests in flight are waited for when no more begin."""

CLOCK_OFFSET_S = time.time() - time.perf_counter()  # so that several machines' samples compare

REFUSED = "REFUSED"
LATE = "LATE"
"""What Locust's tables show in the place of the method; not part of its totals."""


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


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one attempt of one arrival; times in seconds since 1970."""

    kind: str
    scheduled_at: float
    sent_at: float
    ended_at: float
    outcome: str
    """`right`, `refused`, `late`, `wrong` (someone else's answer, or none of ours) or `failed`."""
    texts: int
    attempt: int
    """From 1."""


class Target:
    """The server under load, as the users of one process see it."""

    def __init__(self, connections: Connections, table: AnswerTable) -> None:
        """Take connections and the answers that are known."""
        self.connections = connections
        self.table = table
        self.in_flight = Group()
        self.samples: list[Sample] = []


class OpenLoopUser(User):
    """Begins requests at random times and never waits for one."""

    abstract = True

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
        self.target.in_flight.spawn(self._serve, self._next_at)

    def compose(self) -> Request:
        """Return the next request."""
        raise NotImplementedError

    def _serve(self, scheduled_at: float) -> None:
        request = self.compose()
        for attempt in itertools.count(1):
            exchange = self._attempt(request, scheduled_at, attempt)
            if exchange.refused_for_s is None or attempt == ATTEMPTS:
                return
            gevent.sleep(exchange.refused_for_s)

    def _attempt(self, request: Request, scheduled_at: float, attempt: int) -> Exchange:
        sent_at = time.perf_counter()
        error: OSError | None = None
        try:
            exchange = request.perform()
        except OSError as no_answer:
            error, exchange = no_answer, Exchange(0, wrong=f"no answer: {no_answer!r}")
        ended_at = time.perf_counter()
        outcome = _outcome(exchange, error)
        times = [CLOCK_OFFSET_S + at for at in (scheduled_at, sent_at, ended_at)]
        sample = Sample(type(self).__name__, *times, outcome, request.texts, attempt)
        self.target.samples.append(sample)
        self._tell_locust(request, sample, exchange)
        return exchange

    def _tell_locust(self, request: Request, sample: Sample, exchange: Exchange) -> None:
        elapsed_ms = (sample.ended_at - sample.scheduled_at) * 1000
        if sample.outcome in ("refused", "late"):
            # Into its own row and not into the totals: it is neither an answer nor a failure.
            method = REFUSED if sample.outcome == "refused" else LATE
            since_sent_ms = (sample.ended_at - sample.sent_at) * 1000
            row = self.environment.stats.get(f"{request.name}: {exchange.status}", method)
            row.log(since_sent_ms, exchange.size)
            return
        self.environment.events.request.fire(
            request_type="POST",
            name=request.name if sample.attempt == 1 else f"{request.name}, come back",
            response_time=elapsed_ms,
            response_length=exchange.size,
            exception=LoadTestFailure(exchange.wrong) if exchange.wrong else None,
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


def _outcome(exchange: Exchange, error: OSError | None) -> str:
    if error is not None:
        return "failed"
    if exchange.refused_for_s is not None:
        return "refused"
    if exchange.late:
        return "late"
    if exchange.wrong:
        return "wrong" if exchange.status == 200 else "failed"
    return "right"


@events.init_command_line_parser.add_listener
def _add_options(parser) -> None:
    parser.add_argument(
        "--rate-per-user",
        type=float,
        default=0.1,
        env_var="LOADTEST_RATE_PER_USER",
        help="requests a second of one user; 100 users of 0.1 are 10 requests a second",
    )
    parser.add_argument(
        "--table-texts",
        type=int,
        default=5000,
        env_var="LOADTEST_TABLE_TEXTS",
        help="texts of each kind of which the answers are asked before the load begins, at most",
    )
    parser.add_argument(
        "--table-seconds",
        type=float,
        default=30,
        env_var="LOADTEST_TABLE_SECONDS",
        help="how long they are asked for, at most",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        env_var="LOADTEST_TOLERANCE",
        help="how far a score may differ from that of the text alone (default: by precision)",
    )
    parser.add_argument(
        "--api-key",
        env_var="LOADTEST_API_KEY",
        is_secret=True,
        help="sent as Authorization: Bearer",
    )
    parser.add_argument(
        "--behind-proxy",
        action="store_true",
        env_var="LOADTEST_BEHIND_PROXY",
        help="what stands in front may refuse hostile requests in its own words",
    )


@events.test_start.add_listener
def _ask_for_the_table(environment: Environment, **_: object) -> None:
    """Make the table before the first user begins, in every process that has users."""
    if type(environment.runner).__name__ == "MasterRunner":
        return
    options = environment.parsed_options
    headers = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
    connections = Connections(environment.host or "", headers=headers)
    try:
        table = AnswerTable.ask(
            connections,
            texts=options.table_texts,
            seconds=options.table_seconds,
            tolerance=options.tolerance,
        )
    except Unusable as error:
        environment.process_exit_code = 1
        print(f"error: {error}")
        gevent.spawn(environment.runner.quit)
        raise StopUser from error
    environment.target = Target(connections, table)


@events.test_stop.add_listener
def _wait_for_the_last_answers(environment: Environment, **_: object) -> None:
    target = getattr(environment, "target", None)
    if target is not None and not target.in_flight.join(timeout=DRAIN_S):
        target.in_flight.kill()
