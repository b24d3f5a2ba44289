"""Kubernetes' horizontal autoscaler: what it sees late, it does in steps, and undoes slowly."""

import math
from dataclasses import dataclass, field

TOLERANCE = 0.1
"""Nearer than so to the target, nothing changes: the controller's default."""

DOWN_WINDOW_S = 300.0
"""Replicas fall only to the most that was wanted in this time: the default stabilisation."""

UP_FACTOR, UP_REPLICAS = 2, 4
"""In one period the default policies allow twice as many, or four more, whichever is more."""


@dataclass(slots=True, kw_only=True)
class Autoscaler:
    """A HorizontalPodAutoscaler on the mean of `sentiment_backlog_seconds`."""

    minimum: int
    maximum: int
    target_s: float
    """Backlog that a replica should have, in the mean."""
    sync_s: float = 15.0
    """How often it decides."""
    delay_s: float = 30.0
    """Age of the metric that it decides by: scrape, adapter, cache."""
    start_s: float = 20.0
    """From the decision until a new pod is ready, on a node that is there."""
    _seen: list[tuple[float, float]] = field(default_factory=list)
    _wanted: list[tuple[float, int]] = field(default_factory=list)

    def observe(self, now: float, backlog_s: float) -> None:
        """Take a sample of the metric, which will be known `delay_s` later."""
        self._seen.append((now, backlog_s))

    def wanted(self, now: float, replicas: int) -> int:
        """Return how many replicas there shall be, of `replicas` that there are or will be."""
        wanted = self._recommended(now, replicas)
        self._wanted = [(at, n) for at, n in self._wanted if now - at <= DOWN_WINDOW_S]
        self._wanted.append((now, wanted))
        if wanted < replicas:
            wanted = min(replicas, max(n for _, n in self._wanted))
        most = max(replicas * UP_FACTOR, replicas + UP_REPLICAS)
        return max(self.minimum, min(wanted, most, self.maximum))

    def _recommended(self, now: float, replicas: int) -> int:
        known = [backlog_s for at, backlog_s in self._seen if at <= now - self.delay_s]
        if not known:
            return replicas
        ratio = known[-1] / self.target_s
        if abs(ratio - 1) <= TOLERANCE:
            return replicas
        return max(self.minimum, min(math.ceil(replicas * ratio), self.maximum))
