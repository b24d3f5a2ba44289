"""One connection's two ends: writing that ends in bounded time, reading that can be held."""

from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

from sentiment.api.responses import LINGER_S


class LastingTransport(Transport):
    """A transport whose `close` neither loses the last answer nor lasts for ever."""

    def __init__(
        self,
        transport: Transport,
        *,
        loop: AbstractEventLoop,
        unread: Callable[[], bool],
        flush_timeout_s: float,
    ) -> None:
        """Wrap `transport`.

        Args:
            transport: the event loop's own.
            loop: where its timers run.
            unread: whether the client may still be sending a request.
            flush_timeout_s: after `close`, what is not on its way by then is dropped.
        """
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._unread = unread
        self._flush_timeout_s = flush_timeout_s
        self._closing = False
        self._timers: list[TimerHandle] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self._transport.write(data)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._timers.append(self._loop.call_later(self._flush_timeout_s, self._transport.abort))
        if self._unread() and self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
            self._timers.append(self._loop.call_later(LINGER_S, self._transport.close))
        else:
            self._transport.close()

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def lost(self) -> None:
        """Forget the timers: the connection is gone."""
        self._closing = True
        for timer in self._timers:
            timer.cancel()

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


class HoldableFlow(FlowControl):
    """Flow control that stays paused while requests wait unparsed, whoever wants to read."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._held = False

    def hold(self) -> None:
        """Read nothing until `let_go`."""
        self._held = True
        self.pause_reading()

    def let_go(self) -> None:
        """Let `resume_reading` work again."""
        self._held = False

    def resume_reading(self) -> None:
        if not self._held:
            super().resume_reading()
