"""What the edge does for a request that lasts: its body and its answer are under way together."""

import fcntl
import select
import struct
import termios
from asyncio import AbstractEventLoop, Transport
from collections.abc import Callable

from starlette.types import Message, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

LOOK_S = 0.5
"""How often a client that is not read at present is looked at: it may have hung up."""

POLLRDHUP = getattr(select, "POLLRDHUP", 0)
"""Linux's. Elsewhere only a reset shows."""


class LastingBody:
    """One such body, from when its route lets it last to the end of the answer."""

    def __init__(
        self,
        cycle: RequestResponseCycle,
        transport: Transport,
        flow: FlowControl,
        *,
        loop: AbstractEventLoop,
        tell_hung_up: Callable[[], object],
    ) -> None:
        """Look, while `flow` is paused, whether the client of `cycle` is there.

        An event loop that does not read a connection does not hear of its end either.
        """
        self.cycle = cycle
        self.tell_hung_up = tell_hung_up
        self._transport = transport
        self._flow = flow
        self._loop = loop
        self._look_again()

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look_again(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        if self._flow.read_paused and hung_up(self._transport):
            self._transport.abort()
        else:
            self._look_again()


def hung_up(transport: Transport) -> bool:
    """Return whether the client has closed its end, even behind bytes that nobody has read."""
    poll = select.poll()
    poll.register(_descriptor(transport), POLLRDHUP)
    return bool(poll.poll(0))  # a reset is told without being asked for


def unread_bytes(transport: Transport) -> int:
    """Return how much of what was written has not come to the client's machine."""
    (unsent,) = struct.unpack("i", fcntl.ioctl(_descriptor(transport), termios.TIOCOUTQ, bytes(4)))
    return transport.get_write_buffer_size() + int(unsent)


def _descriptor(transport: Transport) -> int:
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor


def without_chunks(cycle: RequestResponseCycle, send: Send) -> Send:
    """Return `send` for HTTP/1.0, which knows no chunks: there a connection's end is an answer's.

    uvicorn sends an answer of unknown length in chunks whoever asked.
    """
    unframed = False

    async def send_unframed(message: Message) -> None:
        nonlocal unframed
        if message["type"] == "http.response.start":
            unframed = all(name.lower() != b"content-length" for name, _ in message["headers"])
            if unframed:
                cycle.chunked_encoding = False
        elif unframed:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    return send_unframed
