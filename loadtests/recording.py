"""Brings what became of every request to where it is told: Locust's master, or the only process.

Workers send theirs with Locust's own reports, every three seconds.
"""

import os
import socket
import time
from dataclasses import astuple
from typing import Any

import gevent
from locust.env import Environment

from loadtests.samples import ProcessorTime, Recording, Sample


def begin(environment: Environment) -> None:
    """Give the environment its recording."""
    environment.recording = recording = Recording()

    @environment.events.report_to_master.add_listener
    def _report(client_id: str, data: dict[str, Any]) -> None:
        samples, times = recording.unreported()
        data["samples"] = [astuple(sample) for sample in samples]
        data["processor_times"] = [astuple(time) for time in times]
        data["facts"] = recording.facts
        data["arrivals"] = recording.arrivals
        data["in_flight"] = own_in_flight(environment)

    @environment.events.worker_report.add_listener
    def _collect(client_id: str, data: dict[str, Any]) -> None:
        recording.samples += [Sample(*values) for values in data["samples"]]
        recording.processor_times += [ProcessorTime(*each) for each in data["processor_times"]]
        recording.facts.update(data["facts"])
        if "table_texts" in data["facts"]:
            recording.workers_arrivals[client_id] = data["arrivals"]
            recording.workers_in_flight[client_id] = data["in_flight"]


def own_in_flight(environment: Environment) -> int:
    """Return how many requests of this process are under way."""
    target = getattr(environment, "target", None)
    return len(target.in_flight) if target else 0


def in_flight(environment: Environment) -> int:
    """Return how many requests of all processes are under way, as far as is known."""
    workers = environment.recording.workers_in_flight
    return own_in_flight(environment) + sum(workers.values())


def watch_the_processor(environment: Environment) -> None:
    """Record what this process uses of the processor, every second from now on."""
    recording, name = environment.recording, f"{socket.gethostname()} {os.getpid()}"

    def note() -> None:
        while True:
            used = ProcessorTime(name, time.time(), time.process_time())
            recording.processor_times.append(used)
            gevent.sleep(1)

    if getattr(environment, "watch", None) is None:
        environment.watch = gevent.spawn(note)
