"""Brings what became of every request to where it is told: Locust's master, or the only process.

Workers send theirs with Locust's own reports, every three seconds.
"""

from dataclasses import astuple
from typing import Any

from locust import events
from locust.env import Environment

from loadtests.samples import Recording, Sample


@events.init.add_listener
def _begin(environment: Environment, **_: object) -> None:
    environment.recording = recording = Recording()

    @environment.events.report_to_master.add_listener
    def _report(client_id: str, data: dict[str, Any]) -> None:
        target = getattr(environment, "target", None)
        data["samples"] = [astuple(sample) for sample in recording.unreported()]
        data["facts"] = recording.facts
        data["in_flight"] = len(target.in_flight) if target else 0

    @environment.events.worker_report.add_listener
    def _collect(client_id: str, data: dict[str, Any]) -> None:
        recording.samples += [Sample(*values) for values in data["samples"]]
        recording.facts.update(data["facts"])
        if "table_texts" in data["facts"]:
            recording.in_flight[client_id] = data["in_flight"]
