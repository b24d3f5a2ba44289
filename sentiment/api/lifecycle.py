"""What the process is doing with its life, and how long its event loop keeps others waiting.

The launcher tells a `Lifecycle` that the end has begun; probes and the HTTP protocol read it.
Under another ASGI server nobody tells it, and `/readyz` stays green until the end.
"""

import asyncio

from sentiment.metrics import Metrics

LAG_INTERVAL_S = 0.25
"""How often the loop's lag is measured: four wake-ups a second cost nothing measurable."""


class Lifecycle:
    """Whether the process still takes work. Turns once, from running to draining."""

    def __init__(self) -> None:
        self._draining = False

    @property
    def draining(self) -> bool:
        """Whether the process was told to end: it answers what it has and wants no more."""
        return self._draining

    def drain(self) -> None:
        """Say that the end has begun. Safe in a signal handler; a second call changes nothing."""
        self._draining = True


async def measure_event_loop_lag(metrics: Metrics) -> None:
    """Observe, until cancelled, how many seconds late a sleep ends.

    A loop that is busy answers nobody, probes included: this says so before clients do. Each
    time other processes are shown the gauges too, which then are as old as that at most.
    """
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + LAG_INTERVAL_S
        await asyncio.sleep(LAG_INTERVAL_S)
        metrics.event_loop_lag_seconds.observe(max(0.0, loop.time() - due_at))
        metrics.publish()
