"""Kubernetes' horizontal autoscaler: what it sees late, it does in steps, and undoes slowly.

The rules and defaults are those of `deploy_model.yaml`, whose `behavior` a test compares.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

TOLERANCE = 0.1
"""Nearer than so to the target, nothing changes: the controller's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """How fast an autoscaler may do what it wants."""

    up_window_s: float = 30.0
    """It adds only the least that it wanted in this time."""
    up_percent: int = 100
    """Of the replicas, may be added in `up_period_s`."""
    up_period_s: float = 60.0
    down_window_s: float = 300.0
    """It takes away only down to the most that it wanted in this time."""
    down_pods: int = 1
    """May be taken away in `down_period_s`."""
    down_period_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A sample of the metric."""

    at: float
    backlog_s: float
    """Mean of the ready pods."""
    ready: int


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
    behavior: Behavior = field(default_factory=Behavior)
    _seen: list[Seen] = field(default_factory=list)
    _wanted: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def observe(self, now: float, backlog_s: float, *, ready: int) -> None:
        """Take a sample of the metric, which will be known `delay_s` later."""
        self._seen.append(Seen(now, backlog_s, ready))

    def wanted(self, now: float, replicas: int) -> int:
        """Return how many replicas there shall be, of `replicas` that are ready or will be."""
        allowed = self._allowed(now, replicas, self._stabilized(now, replicas))
        if allowed != replicas:
            self._changes.append((now, allowed - replicas))
        return allowed

    def _recommended(self, now: float, replicas: int) -> int:
        """Return what the metric alone asks for.

        Pods that are not in it yet count as if they had none of it while more are wanted, and as
        if they had what they should while fewer are.
        """
        seen = self._known(now)
        if seen is None:
            return replicas
        ratio = seen.backlog_s / self.target_s
        known = min(seen.ready, replicas)
        missing = replicas - known
        total = known * ratio + (missing if ratio < 1 else 0)
        overall = total / replicas
        if abs(overall - 1) <= TOLERANCE or (ratio < 1) != (overall < 1):
            return replicas
        return math.ceil(total - 1e-9)

    def _known(self, now: float) -> Seen | None:
        """Return the newest sample that is old enough, and forget those before it."""
        old = [seen for seen in self._seen if seen.at <= now - self.delay_s]
        if not old:
            return None
        self._seen = self._seen[len(old) - 1 :]
        return old[-1]

    def _stabilized(self, now: float, replicas: int) -> int:
        """Return what was wanted for long enough."""
        wanted = max(self.minimum, min(self._recommended(now, replicas), self.maximum))
        behavior = self.behavior
        longest_s = max(behavior.up_window_s, behavior.down_window_s)
        self._wanted = [(at, n) for at, n in self._wanted if now - at < longest_s]
        self._wanted.append((now, wanted))
        up = min(n for at, n in self._wanted if now - at < behavior.up_window_s or at == now)
        down = max(n for at, n in self._wanted if now - at < behavior.down_window_s or at == now)
        return min(max(replicas, up), down)

    def _allowed(self, now: float, replicas: int, wanted: int) -> int:
        """Return as much of the way to `wanted` as the policies allow now."""
        behavior = self.behavior
        if wanted > replicas:
            before = replicas - _sum_since(now - behavior.up_period_s, self._changes)
            most = math.ceil(before * (1 + behavior.up_percent / 100))
            return min(wanted, max(most, replicas))
        if wanted < replicas:
            before = replicas - _sum_since(now - behavior.down_period_s, self._changes)
            return max(wanted, min(before - behavior.down_pods, replicas))
        return replicas


def _sum_since(since: float, changes: Sequence[tuple[float, int]]) -> int:
    return sum(change for at, change in changes if at > since)
