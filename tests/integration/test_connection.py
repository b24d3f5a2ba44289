"""Closing a connection: the last answer arrives, and no client can put the end off."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager

from sentiment.api.connection import HoldableFlow, LastingTransport
from sentiment.api.lifecycle import Lifecycle, measure_event_loop_lag
from sentiment.metrics import Metrics


class Lost(asyncio.Protocol):
    """Keeps what it is told, as uvicorn's protocol would."""

    def __init__(self):
        self.lost = asyncio.Event()
        self.received = b""

    def data_received(self, data):
        self.received += data

    def connection_lost(self, exc):
        self.lost.set()


@asynccontextmanager
async def pair(*, unread, flush_timeout_s):
    """Yield a transport, its protocol and the socket at the other end, with small buffers."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    theirs.settimeout(30)
    loop = asyncio.get_running_loop()
    inner, protocol = await loop.create_connection(Lost, sock=ours)
    transport = LastingTransport(
        inner, loop=loop, unread=lambda: unread, flush_timeout_s=flush_timeout_s
    )
    try:
        yield transport, protocol, theirs
    finally:
        transport.abort()
        transport.lost()
        await protocol.lost.wait()
        theirs.close()


def drained(connection):
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


async def test_a_closed_connection_that_nobody_reads_is_dropped_in_the_end():
    async with pair(unread=False, flush_timeout_s=0.1) as (transport, protocol, _):
        transport.write(b"a" * 60_000)  # below the mark at which writing would be paused
        transport.close()
        assert transport.is_closing()
        async with asyncio.timeout(30):
            await protocol.lost.wait()


async def test_what_was_written_before_a_close_still_arrives():
    async with pair(unread=True, flush_timeout_s=30) as (transport, protocol, client):
        transport.write(b"a" * 60_000)
        transport.close()
        transport.close()
        transport.write(b"too late")
        assert await asyncio.to_thread(drained, client) == b"a" * 60_000
        client.sendall(b"the rest of a body that nobody wants")
        client.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(30):
            await protocol.lost.wait()
        assert protocol.received  # swallowed: unread bytes would have reset the connection


async def test_a_connection_lingers_for_a_while_only():
    async with pair(unread=True, flush_timeout_s=30) as (transport, protocol, client):
        transport.close()
        assert await asyncio.to_thread(drained, client) == b""
        async with asyncio.timeout(10):  # the client goes on for ever
            await protocol.lost.wait()


async def test_reading_that_is_held_is_resumed_by_nobody_else():
    async with pair(unread=False, flush_timeout_s=30) as (transport, _, _):
        flow = HoldableFlow(transport)
        flow.hold()
        flow.resume_reading()
        assert flow.read_paused
        flow.let_go()
        flow.resume_reading()
        assert not flow.read_paused


async def test_a_busy_event_loop_shows_in_its_lag():
    metrics = Metrics()
    task = asyncio.create_task(measure_event_loop_lag(metrics))
    # Half a second from the middle of a measured sleep: at least a quarter is late.
    asyncio.get_running_loop().call_later(0.1, time.sleep, 0.5)
    async with asyncio.timeout(30):
        while metrics.event_loop_lag_seconds._sum.get() < 0.2:
            await asyncio.sleep(0.01)
    task.cancel()


def test_a_lifecycle_turns_once():
    lifecycle = Lifecycle()
    assert not lifecycle.draining
    lifecycle.drain()
    lifecycle.drain()
    assert lifecycle.draining
