"""Everything that Locust calls here, in one place and in order."""

from typing import Any

from locust import events
from locust.env import Environment

from loadtests import arrivals, recording, results, shaping, target


@events.init_command_line_parser.add_listener
def _add_options(parser: Any) -> None:
    arrivals.add_options(parser)
    target.add_options(parser)
    shaping.add_options(parser)
    results.add_options(parser)


@events.init.add_listener
def _begin(environment: Environment, **_: object) -> None:
    recording.begin(environment)
    shaping.say_nothing_of_spawn_rates()
    shaping.check_the_shape(environment)


@events.test_start.add_listener
def _make_ready(environment: Environment, **_: object) -> None:
    target.make_ready(environment)
    shaping.set_the_rate(environment)


@events.test_stopping.add_listener
def _cut_the_last_stage(environment: Environment, **_: object) -> None:
    shaping.end_early(environment)


@events.test_stop.add_listener
def _wait_for_the_last_answers(environment: Environment, **_: object) -> None:
    target.wait_for_the_last_answers(environment)


@events.quitting.add_listener
def _write_at_the_end(environment: Environment, **_: object) -> None:
    results.write_at_the_end(environment)
