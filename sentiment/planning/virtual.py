"""An event loop whose clock jumps to the next timer: an hour of waiting takes no time.

On it runs what serves, unchanged: the planner's replicas, and the tests of the scheduler.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Returned = TypeVar("Returned")

STARTS_AT_S = 1000.0
"""What the clock shows at first: not zero, which code may take for "never"."""


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """Never waits: where it would, its clock jumps. Threads do not exist; calls run inline."""

    def __init__(self) -> None:
        self._now = STARTS_AT_S
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += seconds

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits and no timer runs: a deadlock")
        self._loop.jump(max(timeout, 0))
        return []  # nothing comes from outside


def run_virtually(main: Coroutine[Any, Any, Returned]) -> Returned:
    """Run `main` on a virtual clock and return what it returns."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main)
