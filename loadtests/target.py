"""The server under load, as the users of one process see it, made ready before they begin."""

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from gevent.pool import Group
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner

from loadtests import recording  # noqa: F401  gives the environment its recording
from loadtests.answers import TOLERANCES, AnswerTable, Unusable
from loadtests.connections import Connections

DRAIN_S = 90.0
"""How long the requests in flight are waited for when no more begin."""


class Target:
    """A server, the answers that are known of it, and what is under way."""

    def __init__(
        self, connections: Connections, *, table: AnswerTable, limits: Mapping[str, Any]
    ) -> None:
        """Take connections, the known answers and the limits that `/info` says."""
        self.connections = connections
        self.table = table
        self.limits = limits
        self.in_flight = Group()
        """Greenlets of the requests that have no answer yet."""


def server_info(connections: Connections) -> Any:
    """Return what `/info` says.

    Raises:
        Unusable: nothing, or it is another server.
    """
    try:
        answer = connections.get("/info")
    except OSError as error:
        raise Unusable(f"{connections.url}: {error}") from error
    info = answer.document()
    if answer.status != 200 or not isinstance(info, dict) or "engine" not in info:
        raise Unusable(f"{connections.url}/info: {answer.status}, not what this server says")
    return info


@events.test_start.add_listener
def _make_ready(environment: Environment, **_: object) -> None:
    """Ask for the table before the first user begins, in every process that has users."""
    environment.recording.clear()
    environment.recording.facts["load_average"] = os.getloadavg()
    if isinstance(environment.runner, MasterRunner):
        return
    try:
        environment.target = _opened(environment)
    except Unusable as error:
        give_up(environment, error)


def give_up(environment: Environment, error: Unusable) -> NoReturn:
    """End Locust with exit code 1 and one line, from whichever greenlet."""
    environment.process_exit_code = 1  # should Locust end by itself at this moment
    sys.exit(f"error: {error}")


@events.test_stop.add_listener
def _wait_for_the_last_answers(environment: Environment, **_: object) -> None:
    target = getattr(environment, "target", None)
    if target is not None and not target.in_flight.join(timeout=DRAIN_S):
        target.in_flight.kill()


def _opened(environment: Environment) -> Target:
    options = environment.parsed_options
    if not environment.host:
        raise Unusable("no server: --host names one")
    headers = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
    connections = Connections(environment.host, headers=headers)
    info = server_info(connections)
    precision = info["engine"]["precision"]
    tolerance = options.tolerance or TOLERANCES.get(precision, max(TOLERANCES.values()))
    table = AnswerTable.ask(
        connections, texts=options.table_texts, seconds=options.table_seconds, tolerance=tolerance
    )
    environment.recording.facts.update(
        model=f"{info['model']['name']}@{info['model']['revision']}",
        engine=f"{info['engine']['name']} {info['engine']['precision']}",
        limits=info["limits"],
        server_versions=info["versions"],
        table_texts=len(table),
        tolerance=tolerance,
        told_apart=table.told_apart(),
    )
    return Target(connections, table=table, limits=info["limits"])


@events.init_command_line_parser.add_listener
def _add_options(parser: Any) -> None:
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
