"""The server's process: sockets, signals, and an end that loses no answer.

uvicorn's server with three differences. Ports are taken before the model is loaded, so that a
taken one ends the start at once. A signal turns `/readyz` red the moment it comes. And the
drain has bounds: half-sent requests are cut, and what is unanswered at its end gets 503.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import ServerState

from sentiment.api.app import create_app, create_operations_app
from sentiment.api.lifecycle import Lifecycle
from sentiment.api.protocol import Edge, protocol_class
from sentiment.errors import ListenError
from sentiment.metrics import Metrics
from sentiment.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.02
"""How often a drain looks whether it is done."""

LAST_WORDS_S = 2.0
"""What the 503s of an expired drain have to reach their clients, and the model to close."""


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serve until a signal comes; SIGTERM then ends the process itself, as it would have.

    Args:
        settings: of the application and of its HTTP edge.
        host: name or address to listen on; a name with several addresses means all of them.
        port: of the API; 0 takes a free one.

    Raises:
        ListenError: a port is taken, or the host is none of this machine's.
        SystemExit: 3, when the application could not start; its log says why.
    """
    edge = Edge(settings=settings, metrics=Metrics(), lifecycle=Lifecycle())
    app = create_app(settings, metrics=edge.metrics, lifecycle=edge.lifecycle)
    run(app, edge, host=host, port=port)


def run(app: Any, edge: Edge, *, host: str, port: int) -> None:
    """As `serve`, for an application that is made already.

    Raises:
        ListenError: as `serve`.
        SystemExit: as `serve`.
    """
    sockets = bind(host, port)
    metrics_port = edge.settings.metrics_port
    operations = [] if metrics_port is None else bind(host, metrics_port)
    server = Server(app, edge, operations)
    # uvicorn raises a SIGINT again when it has ended gracefully.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=sockets)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a socket for each address of `host`, all with one port; nobody listens yet.

    Raises:
        ListenError: the port is taken, or the host is none of this machine's.
    """
    bound: list[socket.socket] = []
    failure = "no such address"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror}") from error
    for family, kind, protocol, _, address in dict.fromkeys(found):
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            same_port = bound[0].getsockname()[1] if bound else port
            listener.bind((address[0], same_port, *address[2:]))
        except OSError as error:
            listener.close()
            failure = os.strerror(error.errno or 0).lower()
            if error.errno == errno.EADDRNOTAVAIL:  # as ::1 where IPv6 is switched off
                continue
            break
        bound.append(listener)
    else:
        if bound:
            return bound
    for listener in bound:
        listener.close()
    raise ListenError(f"cannot listen on {_address(host, port)}: {failure}")


class Server(uvicorn.Server):
    """uvicorn's server, which knows when to begin its end and when that must be over."""

    def __init__(self, app: Any, edge: Edge, operations: list[socket.socket]) -> None:
        """Serve `app`, and probes and metrics on the sockets `operations`, if any."""
        super().__init__(_config(app, edge))
        self._edge = edge
        self._operations = operations
        self._operations_config = _config(create_operations_app(edge.metrics), edge, lifespan="off")
        self._operations_state = ServerState()
        self._operations_servers: list[asyncio.Server] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain. Before there is anything to drain, and at a second SIGINT, just end."""
        if not self.started or (self.should_exit and sig == signal.SIGINT):
            signal.signal(sig, signal.SIG_DFL)
            os.kill(os.getpid(), sig)
            return
        self._edge.lifecycle.drain()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        # Libraries and model are hundreds of thousands of objects that live as long as the process.
        # Walking them in search of garbage would hold up the event loop for 50 to 80 ms at a time.
        gc.collect()
        gc.freeze()
        sockets = sockets or []
        try:
            # Here, because uvloop does not say that another was quicker to listen.
            for listener in (*sockets, *self._operations):
                listener.listen(self.config.backlog)
        except OSError as error:
            await self.lifespan.shutdown()
            raise ListenError(f"cannot listen: {os.strerror(error.errno or 0).lower()}") from error
        self.servers = await self._open(sockets, self.config, self.server_state)
        self._operations_config.load()
        self._operations_servers = await self._open(
            self._operations, self._operations_config, self._operations_state
        )
        for listener in self._operations:
            log.info("probes and metrics on http://%s", _address(*listener.getsockname()[:2]))
        for listener in sockets:
            log.info("running on http://%s", _address(*listener.getsockname()[:2]))
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        ends = await super().on_tick(counter)
        self._operations_state.default_headers = self.server_state.default_headers
        return ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was accepted, within `drain_s`, then close the application."""
        settings, state = self._edge.settings, self.server_state
        self._edge.lifecycle.drain()
        log.info("draining", extra={"connections": len(state.connections)})
        await asyncio.sleep(settings.drain_delay_s)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        _shut(state)
        if not await _within(settings.drain_s, lambda: _idle(state)):
            log.warning("cutting a drain short", extra={"unanswered": len(state.tasks)})
            for task in list(state.tasks):
                task.cancel()
            await _within(LAST_WORDS_S / 2, lambda: _idle(state))
            for connection in list(state.connections):
                connection.transport.abort()
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self.lifespan.shutdown()
        except TimeoutError:
            log.error("the application did not close in time")
        await self._close_operations()

    async def _open(
        self, sockets: list[socket.socket], config: uvicorn.Config, state: ServerState
    ) -> list[asyncio.Server]:
        def connect() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=state, app_state=self.lifespan.state
            )

        loop = asyncio.get_running_loop()
        return [
            await loop.create_server(connect, sock=listener, backlog=config.backlog)
            for listener in sockets
        ]

    async def _close_operations(self) -> None:
        for server in self._operations_servers:
            server.close()
        _shut(self._operations_state)
        await _within(LAST_WORDS_S / 2, lambda: _idle(self._operations_state))


def _config(app: Any, edge: Edge, *, lifespan: Any = "on") -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol_class(edge),
        ws="none",
        lifespan=lifespan,
        log_config=None,  # ours is in place
        access_log=False,  # ours knows the route and the texts, and no client's path
        server_header=False,
        timeout_keep_alive=edge.settings.keep_alive_s,
    )


def _shut(state: ServerState) -> None:
    for connection in list(state.connections):
        connection.shutdown()


def _idle(state: ServerState) -> bool:
    return not state.connections and not state.tasks


async def _within(limit_s: float, condition: Callable[[], bool]) -> bool:
    """Return whether `condition` came to hold before the time was over."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + limit_s
    while not condition():
        if loop.time() >= ends_at:
            return False
        await asyncio.sleep(POLL_S)
    return True


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
