"""Every Prometheus metric in one place: name, unit, buckets, help.

A `Metrics` owns its registry, so that two servers in one process (tests) do not mix.

Where `PROMETHEUS_MULTIPROC_DIR` names a folder before this module is imported, the metrics live
in files there and each process that shares the folder shows the sum of all.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder in which processes share their metrics."""

LATENCY_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
)  # fmt: skip
POWERS_OF_TWO = tuple(2**exponent for exponent in range(13))  # 1 .. 4096
BATCH_TOKENS = tuple(2**exponent for exponent in range(3, 16))  # 8 .. 32768
ERROR_RATIOS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5)
TENTHS = tuple(tenth / 10 for tenth in range(10))


EXPECTED_STATUSES = ("200", "429", "500", "503", "504")
"""What alerts tell apart; others show when they come."""

Outcome = Literal["answered", "refused", "failed"]


OverProcesses = Literal["livesum", "livemin", "livemax"]
"""What one gauge shows of several processes that share it; a dead one's value goes with it."""


def share_as(number: int) -> None:
    """Let this process be number `number` of those that share a folder; before any metric is made.

    prometheus_client's own choice is the process id. Under a number that stays the same, whoever
    takes a dead process' place goes on with its counters, in its files: a process that dies again
    and again leaves nothing behind that every scrape would have to read.
    """
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def forget_gauges(number: int, folder: str) -> None:
    """Take the gauges of a process that has ended out of the sum; its counters remain."""
    mark_process_dead(number, folder)  # type: ignore[no-untyped-call]


def outcome_of(status: int) -> Outcome:
    """Return what became of a request with this status, for metrics of how long it took.

    What is refused is so at once: told apart, so that it makes no slow server look quick. A client
    that hung up (499) is among it.
    """
    return "failed" if status >= 500 else "refused" if status >= 400 else "answered"


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> float:
    """Return how much memory this process has in use; NaN where the kernel does not tell."""
    try:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return math.nan


class Metrics:
    """The server's metrics; every name begins with `sentiment_`.

    To be scraped on the event loop: some gauges ask the scheduler.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.shared = SHARED_FOLDER in os.environ
        """Whether other processes show these metrics too."""
        self._followed: dict[Gauge, Callable[[], float]] = {}
        self._shown = self.registry
        if self.shared:
            self._shown = CollectorRegistry()
            MultiProcessCollector(self._shown)  # type: ignore[no-untyped-call]
        else:
            # Of one process: of several, each scrape would show another's.
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self.requests = self._counter(
            "requests", "Requests answered, by route and HTTP status.", "route", "status"
        )
        self.request_seconds = self._histogram(
            "request_seconds",
            "From the request's head to the answer's end, by what became of it.",
            LATENCY_S,
            "route",
            "outcome",
        )
        self.rejected = self._counter(
            "rejected", "Requests refused, by the error's code.", "reason"
        )
        self.texts = self._counter("texts", "Texts classified, by label.", "label")
        self.truncated = self._counter("truncated", "Texts longer than the model reads.")
        self.tokenize_seconds = self._histogram(
            "tokenize_seconds", "Tokenising one request, waiting for a thread included.", LATENCY_S
        )
        self.queue_seconds = self._histogram(
            "queue_seconds", "From a request's tokens to the start of its first batch.", LATENCY_S
        )
        self.infer_seconds = self._histogram("infer_seconds", "One forward pass.", LATENCY_S)
        self.batch_texts = self._histogram("batch_texts", "Texts in one batch.", POWERS_OF_TWO)
        self.batch_tokens = self._histogram(
            "batch_tokens", "Tokens in one batch, padding aside.", BATCH_TOKENS
        )
        self.padding_ratio = self._histogram(
            "padding_ratio", "Share of a batch's computed tokens that is padding.", TENTHS
        )
        self.failed_batches = self._counter(
            "failed_batches", "Forward passes that failed, those of the search included."
        )
        self.worker_restarts = self._counter(
            "worker_restarts", "How often the engine was lost and opened again."
        )
        self.coalesced = self._counter(
            "coalesced", "Texts that shared the pass of an equal one in flight."
        )
        self.cache_hits = self._counter("cache_hits", "Texts answered from the cache.")
        self.prediction_error_ratio = self._histogram(
            "prediction_error_ratio",
            "How far a batch's predicted time was off, relative to the time it took.",
            ERROR_RATIOS,
        )
        # Not the sum: two processes that are each five seconds late answer in five, not in ten.
        self.backlog_seconds = self._gauge(
            "backlog_seconds",
            "Predicted time until everything accepted so far is done.",
            over_processes="livemax",
        )
        self.token_budget = self._gauge(
            "token_budget",
            "Most tokens in one batch now; lower after memory ran out.",
            over_processes="livemin",
        )
        self.queue_texts = self._gauge("queue_texts", "Texts that wait for a batch.")
        self.queue_tokens = self._gauge("queue_tokens", "Tokens that wait for a batch.")
        self.max_backlog_seconds = self._gauge(
            "max_backlog_seconds",
            "Predicted time ahead of a request over which it is refused.",
            over_processes="livemin",
        )
        self.cache_texts = self._gauge("cache_texts", "Finished texts that are remembered.")
        self.streams = self._gauge("streams", "Streams that are open.")
        self.worker_processes = self._gauge("worker_processes", "Processes that serve.")
        # Each tells what the parent told it, and it counts while one of them lives.
        self.wanted_worker_processes = self._gauge(
            "wanted_worker_processes", "Processes that should serve.", over_processes="livemax"
        )
        self.wanted_worker_processes.set(1)
        self.ready = self._gauge("ready", "Processes to which requests should come: 0 or 1 of one.")
        self.memory_bytes = self._gauge("memory_bytes", "Resident memory of the processes.")
        self.follow(self.memory_bytes, resident_bytes)
        self.cpu_seconds = self._counter("cpu_seconds", "Time of cores that the processes took.")
        self._counted_cpu_s = 0.0
        self.event_loop_lag_seconds = self._histogram(
            "event_loop_lag_seconds", "How late the event loop wakes a sleeper.", LATENCY_S
        )
        self.model = self._gauge(
            "model_info", "1; the labels say what is served.",
            "name", "revision", "engine", "precision", over_processes="livemax",
        )  # fmt: skip

    def expect(self, route: str) -> None:
        """Show what is counted of a route that classifies before the first request comes to it.

        A counter that begins with its first failure never grew, as far as Prometheus can see.
        """
        for status in EXPECTED_STATUSES:
            self.requests.labels(route, status)
        self.request_seconds.labels(route, outcome_of(200))

    def count_request(self, *, route: str, status: int, duration_s: float) -> None:
        """Count a request that has ended; `status` is of its answer."""
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route, outcome_of(status)).observe(duration_s)

    def follow(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Have `gauge` show what `value()` is when it is looked at.

        Another process sees what it was at the last `publish`.
        """
        self._followed[gauge] = value
        if not self.shared:
            gauge.set_function(value)

    def publish(self) -> None:
        """Bring up to date what does not follow by itself: of several processes also the gauges."""
        cpu_s = time.process_time()
        self.cpu_seconds.inc(cpu_s - self._counted_cpu_s)
        self._counted_cpu_s = cpu_s
        if self.shared:
            for gauge, value in self._followed.items():
                gauge.set(value())

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        self.publish()
        return generate_latest(self._shown)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"sentiment_{name}", help_text, labels, registry=self.registry)

    def _gauge(
        self,
        name: str,
        help_text: str,
        *labels: str,
        over_processes: OverProcesses = "livesum",
    ) -> Gauge:
        gauge = Gauge(
            f"sentiment_{name}",
            help_text,
            labels,
            registry=self.registry,
            multiprocess_mode=over_processes,
        )
        if self.shared and over_processes == "livemin":
            gauge.set(math.inf)  # what is not known yet must not pass for the least
        return gauge

    def _histogram(
        self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"sentiment_{name}", help_text, labels, buckets=buckets, registry=self.registry
        )
