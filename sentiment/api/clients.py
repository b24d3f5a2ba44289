"""What a client asks for in headers, and whether it is still there."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from starlette.requests import Request

from sentiment.errors import BadHeader, ClientClosed

LASTING_BODY = "sentiment.lasting_body"
"""An ASGI extension of `api.protocol`: a function to be called as `let_body_last` does."""


def let_body_last(request: Request, hung_up: Callable[[], object]) -> None:
    """Let the body of `request` take as long as it likes, if the server is ours.

    Args:
        hung_up: called once if the client hangs up before its answer ends. Otherwise only
            `receive` tells, which is not asked while there is enough to do.
    """
    extensions = request.scope.get("extensions") or {}
    if begin := extensions.get(LASTING_BODY):
        begin(hung_up)


def timeout_s(request: Request) -> float | None:
    """Return the seconds that `X-Timeout-Ms` allows, or `None` where it is absent.

    Raises:
        BadHeader: not a whole number from 1.
    """
    values = request.headers.getlist("x-timeout-ms")
    if not values:
        return None
    (value, *others) = values
    if others or not (value.isascii() and value.isdigit() and int(value[:12]) > 0):
        raise BadHeader("X-Timeout-Ms must be one whole number of milliseconds from 1")
    return int(value[:12]) / 1000


class WhileConnected:
    """Ends the block early if the client hangs up.

    async with WhileConnected(request):
        ...  # cancelled, and `ClientClosed` raised in its place, once nobody waits for it

    The request's body must have been read: what `receive` brings after it is the hang-up.
    """

    def __init__(self, request: Request) -> None:
        """Watch the connection of `request`."""
        self._receive = request.receive
        self._gone = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._watched = task
        self._watcher = asyncio.create_task(self._watch(), name="hang-up watcher")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watcher.cancel()
        # As `asyncio.timeout` does it: a cancellation that is not ours goes on.
        if self._gone and self._watched.uncancel() == 0 and kind is asyncio.CancelledError:
            raise ClientClosed("the client closed the connection") from error

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._watched.cancel()
