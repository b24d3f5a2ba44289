"""Leads Locust through the table of a shape."""

import logging
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import gevent
from locust import LoadTestShape
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from loadtests import capacity
from loadtests.answers import Unusable
from loadtests.recording import in_flight
from loadtests.shapes import SHAPES, Step, step_at
from loadtests.target import DRAIN_S, give_up, note_memory

USERS_AT_FULL_LOAD = 400
"""So many that a tenth of them still are the mix of user classes that was asked for."""

ALL_AT_ONCE = 100_000
"""Users that may begin in a second."""

REPORTS_S = 7.0
"""A worker's report may be three seconds old, and its last samples come with the next one."""


class TableShape(LoadTestShape):
    """Leads Locust through a table of steps, then waits for the last answers."""

    use_common_options = True  # without --shape, Locust's own options say how much

    def __init__(self) -> None:
        super().__init__()
        self._began_at: float | None = None
        self._step: int | None = None
        self._drained_from: float | None = None

    def reset_time(self) -> None:
        super().reset_time()
        self._began_at = self._step = self._drained_from = None

    def tick(self) -> tuple[int, float] | None:
        """Return how many users there should be, and how many may begin in a second."""
        environment = self.runner.environment
        if environment.recording.interrupted:
            return 0, ALL_AT_ONCE
        if not self._ready(environment):
            # One user a process: with it each makes its table, and says so.
            return self._processes(), ALL_AT_ONCE
        now = time.perf_counter()
        if self._began_at is None:
            self._began_at = now
        steps = shape_steps(environment)
        index = step_at(steps, now - self._began_at)
        if index is None:
            return self._drain(now)
        users = max(self._processes(), users_of(environment, steps[index].load))
        if index != self._step:
            self._step = index
            self._begin_stage(steps[index].load)
        return users, ALL_AT_ONCE

    def _processes(self) -> int:
        return max(1, self.runner.worker_count)

    def _ready(self, environment: Environment) -> bool:
        """Whether the rate is known, and every process that has users made its table."""
        recording = environment.recording
        if isinstance(self.runner, MasterRunner):
            tables = len(recording.workers_in_flight)
            return tables >= self._processes() and "rate" in recording.facts
        return "rate" in recording.facts

    def _begin_stage(self, load: float) -> None:
        environment = self.runner.environment
        rate = load * environment.recording.facts["rate"]
        environment.recording.begin_stage(load, rate=rate, at=time.time())
        gevent.spawn(note_memory, environment)

    def _drain(self, now: float) -> tuple[int, float] | None:
        environment = self.runner.environment
        if self._drained_from is None:
            self._drained_from = now
            environment.recording.end_stage(time.time())
            gevent.spawn(note_memory, environment)
        waited_s = now - self._drained_from
        return None if settled(environment, waited_s) else (0, ALL_AT_ONCE)


def settled(environment: Environment, waited_s: float) -> bool:
    """Whether the last answers are there, or have been waited for long enough."""
    reports_s = REPORTS_S if isinstance(environment.runner, MasterRunner) else 0
    return waited_s > DRAIN_S or (waited_s >= reports_s and not in_flight(environment))


def end_early(environment: Environment) -> None:
    """End the stage that goes on, if one does: then the run was interrupted."""
    recording = environment.recording
    if environment.parsed_options.shape and recording.stage_goes_on:
        recording.interrupted = True
        recording.end_stage(time.time())


def stop_early(environment: Environment) -> None:
    """Stop a run that goes on, and wait for the last answers."""
    runner = environment.runner
    if runner is None or runner.state not in (STATE_SPAWNING, STATE_RUNNING):
        return
    end_early(environment)
    if environment.recording.interrupted:
        # Not the runner's `stop`: Locust's main greenlet, which waits for the shape, would go on.
        began_at = time.perf_counter()
        while not settled(environment, time.perf_counter() - began_at):
            gevent.sleep(0.5)
    else:
        runner.stop()


def shape_steps(environment: Environment) -> Sequence[Step]:
    """Return the steps that were asked for, stretched."""
    options = environment.parsed_options
    return [Step(step.seconds * options.stretch, step.load) for step in SHAPES[options.shape]]


def users_of(environment: Environment, load: float) -> int:
    """Return how many users make a load."""
    rate = load * environment.recording.facts["rate"]
    return math.ceil(rate / environment.parsed_options.rate_per_user - 1e-9)


def add_options(parser: Any) -> None:
    """Add which shape, at which rate, how long."""
    parser.add_argument(
        "--shape",
        choices=["", *SHAPES],
        default="",
        env_var="LOADTEST_SHAPE",
        help="how the load changes; without it, --users says how much",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=0,
        env_var="LOADTEST_RATE",
        help="requests a second at load 1 of a shape (default: about what the server can do)",
    )
    parser.add_argument(
        "--stretch",
        type=float,
        default=1,
        env_var="LOADTEST_STRETCH",
        help="how much longer each step of the shape is",
    )


def say_nothing_of_spawn_rates() -> None:
    """Take a warning out of Locust's log that is not meant for these users."""
    # Locust warns above 100 a second, for users that connect when they begin. Ours draw a time.
    runners = logging.getLogger("locust.runners")
    runners.addFilter(lambda record: "spawn rate is very high" not in str(record.msg))


def check_the_shape(environment: Environment) -> None:
    """Leave the shape out if none was asked for; end Locust if it has no rate."""
    options = environment.parsed_options
    if not options.shape:
        environment.shape_class = None
    elif isinstance(environment.runner, MasterRunner) and not options.rate:
        sys.exit("error: a master needs --rate: it has no users to measure the server with")


def set_the_rate(environment: Environment) -> None:
    """Set what load 1 is, once the target is ready."""
    options, facts = environment.parsed_options, environment.recording.facts
    if not options.shape or isinstance(environment.runner, WorkerRunner):
        return
    facts["rate"] = options.rate or _measured_rate(environment)
    options.rate_per_user = facts["rate"] / USERS_AT_FULL_LOAD


def _measured_rate(environment: Environment) -> float:
    try:
        texts_s = capacity.texts_a_second(environment.target)
    except Unusable as error:
        give_up(environment, error)
    environment.recording.facts["capacity_texts_s"] = texts_s
    return capacity.requests_a_second(texts_s, environment.user_classes)
