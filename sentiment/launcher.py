"""The server's process: sockets, signals, and an end that loses no answer.

uvicorn's server with three differences. Ports are taken before the model is loaded, so that a
taken one ends the start at once. A signal turns `/readyz` red the moment it comes. And the
drain has bounds: half-sent requests are cut, and what is unanswered at its end gets 503.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import ServerState

from sentiment.api.app import create_app, create_operations_app
from sentiment.api.lifecycle import Lifecycle
from sentiment.api.protocol import Edge, protocol_class
from sentiment.errors import ListenError
from sentiment.listeners import Listeners, shown_address
from sentiment.metrics import Metrics
from sentiment.settings import Settings
from sentiment.signals import end_by, is_first_process

log = logging.getLogger(__name__)

POLL_S = 0.02
"""How often a drain looks whether it is done."""

LAST_WORDS_S = 2.0
"""What the 503s of an expired drain have to reach their clients, and the model to close."""


BEAT_S = 1.0
"""How often a worker of several tells its parent that it can answer."""


def serve(
    settings: Settings,
    listeners: Listeners,
    *,
    processes: int = 1,
    beat: Callable[[], None] | None = None,
    port_stays_open: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until a signal comes; SIGTERM then ends the process itself, as it would have.

    The first process of a container ends with 0 instead: see `sentiment.signals`.

    Args:
        settings: of the application and of its HTTP edge.
        listeners: taken already; the server opens them when it is ready and closes them.
        processes: how many should serve, this one included; the metrics show it.
        beat: called on the event loop when the server is ready, and then every second in which
            it could answer or drains.
        port_stays_open: asked when a drain stops to accept. Where other processes go on accepting
            from `listeners`, what waits there is theirs.

    Raises:
        ListenError: another process listened on the port while the model was loaded.
        SystemExit: 3, when the application could not start; its log says why.
    """
    edge = Edge(settings=settings, metrics=Metrics(), lifecycle=Lifecycle())
    edge.metrics.wanted_worker_processes.set(processes)
    app = create_app(settings, metrics=edge.metrics, lifecycle=edge.lifecycle)
    run(app, edge, listeners, beat=beat, port_stays_open=port_stays_open)


def run(
    app: Any,
    edge: Edge,
    listeners: Listeners,
    *,
    beat: Callable[[], None] | None = None,
    port_stays_open: Callable[[], bool] = lambda: False,
) -> None:
    """As `serve`, for an application that is made already.

    Raises:
        ListenError: as `serve`.
        SystemExit: as `serve`.
    """
    server = Server(app, edge, listeners, beat=beat, port_stays_open=port_stays_open)
    # uvicorn raises a SIGINT again when it has ended gracefully.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=list(listeners.api))
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class Server(uvicorn.Server):
    """uvicorn's server, which knows when to begin its end and when that must be over."""

    def __init__(
        self,
        app: Any,
        edge: Edge,
        listeners: Listeners,
        *,
        beat: Callable[[], None] | None = None,
        port_stays_open: Callable[[], bool] = lambda: False,
    ) -> None:
        """Serve `app`, and probes and metrics where `listeners` has sockets for them."""
        super().__init__(_config(app, edge))
        self._edge = edge
        self._listeners = listeners
        self._beat = beat
        self._port_stays_open = port_stays_open
        self._beating: asyncio.Task[None] | None = None
        self._operations_config = _config(create_operations_app(edge.metrics), edge, lifespan="off")
        self._operations_state = ServerState()
        self._operations_servers: list[asyncio.Server] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain. Before there is anything to drain, and at a second SIGINT, just end."""
        if not self.started or (self.should_exit and sig == signal.SIGINT):
            end_by(sig)
        self._edge.lifecycle.drain()
        if is_first_process():
            self.should_exit = True  # uvicorn would then end by the signal, which does not come
        else:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        # Libraries and model are hundreds of thousands of objects that live as long as the process.
        # Walking them in search of garbage would hold up the event loop for 50 to 80 ms at a time.
        gc.collect()
        gc.freeze()
        try:
            # Here, because uvloop does not say that another was quicker to listen.
            self._listeners.listen(self.config.backlog)
        except ListenError:
            await self.lifespan.shutdown()
            raise
        self.servers = await self._open(self._listeners.api, self.config, self.server_state)
        self._operations_config.load()
        self._operations_servers = await self._open(
            self._listeners.operations, self._operations_config, self._operations_state
        )
        for listener in self._listeners.operations:
            log.info("probes and metrics on http://%s", shown_address(*listener.getsockname()[:2]))
        for listener in self._listeners.api:
            log.info("running on http://%s", shown_address(*listener.getsockname()[:2]))
        self.started = True
        if self._beat is not None:
            self._beating = asyncio.create_task(self._beat_on(self._beat), name="beat")

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
        loop = asyncio.get_running_loop()
        drain_ends_at = loop.time() + settings.drain_s
        # Closing the port would reset them, and their clients may have sent requests already.
        most = 2 * self.config.backlog
        waiting = [] if self._port_stays_open() else self._listeners.accept_waiting(most=most)
        for server in self.servers:
            server.close()
        for listener in self._listeners.api:
            listener.close()
        _shut(state)
        await asyncio.gather(*map(self._connect, waiting))
        await asyncio.sleep(POLL_S)  # what the event loop had accepted begins a turn or two later
        _shut(state)
        if not await _within(drain_ends_at - loop.time(), lambda: _idle(state)):
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

    async def _connect(self, accepted: socket.socket) -> None:
        """Serve a connection as if the event loop had accepted it."""
        accepted.setblocking(False)
        with contextlib.suppress(OSError):  # its client has gone
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol_factory(self.config, self.server_state), accepted
            )

    def _protocol_factory(
        self, config: uvicorn.Config, state: ServerState
    ) -> Callable[[], asyncio.Protocol]:
        def connect() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=state, app_state=self.lifespan.state
            )

        return connect

    async def _open(
        self, sockets: Sequence[socket.socket], config: uvicorn.Config, state: ServerState
    ) -> list[asyncio.Server]:
        connect = self._protocol_factory(config, state)
        loop = asyncio.get_running_loop()
        return [
            await loop.create_server(connect, sock=listener, backlog=config.backlog)
            for listener in sockets
        ]

    async def _beat_on(self, beat: Callable[[], None]) -> None:
        """Call `beat` for as long as the server can do its work; a loop that hangs cannot."""
        while True:
            if self._edge.lifecycle.draining or self.lifespan.state["analyzer"].running:
                beat()
            await asyncio.sleep(BEAT_S)

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
