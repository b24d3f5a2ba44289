"""The server under load, as the users of one process see it, made ready before they begin."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from gevent.pool import Group
from locust.env import Environment
from locust.runners import MasterRunner

from loadtests.answers import TOLERANCES, AnswerTable, Unusable
from loadtests.connections import Connections
from loadtests.recording import watch_the_processor
from loadtests.samples import MemoryReading

DRAIN_S = 90.0
"""How long the requests in flight are waited for, from when the last began."""

MEMORY = "sentiment_memory_bytes"


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
        self.last_arrival_at = time.perf_counter()

    def drain(self) -> None:
        """Wait for the last answers; those that do not come are failures."""
        ends_at = self.last_arrival_at + DRAIN_S
        if not self.in_flight.join(timeout=max(0.0, ends_at - time.perf_counter())):
            self.in_flight.kill()


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


def make_ready(environment: Environment) -> None:
    """Ask for the table before the first user begins, in every process that has users."""
    environment.recording.clear()
    environment.recording.facts["load_average"] = os.getloadavg()
    watch_the_processor(environment)
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


def wait_for_the_last_answers(environment: Environment) -> None:
    """Wait until nothing of this process is under way."""
    target = getattr(environment, "target", None)
    if target is not None:
        target.drain()


def note_memory(environment: Environment) -> None:
    """Record what the server says of its memory, where it says so on this port."""
    if environment.parsed_options.behind_proxy:
        return  # it would be another replica's each time
    read_at = time.time()
    connections = _connections(environment)
    try:
        answer = connections.get("/metrics")
    except OSError:
        return
    finally:
        connections.close()
    for line in answer.body.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        if name == MEMORY:
            environment.recording.memory.append(MemoryReading(read_at, float(value)))


def _connections(environment: Environment) -> Connections:
    api_key = environment.parsed_options.api_key
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return Connections(environment.host, headers=headers)


def _opened(environment: Environment) -> Target:
    options = environment.parsed_options
    if not environment.host:
        raise Unusable("no server: --host names one")
    connections = _connections(environment)
    info = server_info(connections)
    precision = info["engine"]["precision"]
    tolerance = options.tolerance or TOLERANCES.get(precision, max(TOLERANCES.values()))
    table = AnswerTable.ask(
        connections,
        texts=options.table_texts,
        seconds=options.table_seconds,
        tolerance=tolerance,
        seed=getattr(environment.runner, "worker_index", 0),
    )
    environment.recording.facts.update(
        model=f"{info['model']['name']}@{info['model']['revision']}",
        engine=f"{info['engine']['name']} {info['engine']['precision']}",
        limits=info["limits"],
        server_versions=info["versions"],
        table_texts=table.sizes,
        tolerance=tolerance,
        told_apart=table.told_apart(),
    )
    return Target(connections, table=table, limits=info["limits"])


def add_options(parser: Any) -> None:
    """Add what is known of the server, and how to reach it."""
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
